"""Members that are trained abreast are what each would be alone."""

import copy

import numpy as np
import pytest
import torch

from lowerbound import MLP, VAE, Adam, Amortized, GaussianLikelihood
from lowerbound.core import ObjectiveState
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.inference.objectives import elbo, of_members, trimmed
from lowerbound.inference.posteriors import MaskedInput
from lowerbound.outliers.ensemble import fit_together, side_by_side
from lowerbound.training.step import BatchLoss

pytestmark = pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")

rng = np.random.default_rng(0)
X = rng.normal(size=(90, 1)) @ rng.normal(size=(1, 5)) + 0.2 * rng.normal(size=(90, 5))
X[3, 2] = np.nan
COMMON = {
    "latent_dim": 2,
    "network": MLP((12, 10)),
    "optimizer": Adam(1e-2),
    "early_stopping": False,
    "max_epochs": 40,
    "batch_size": 30,
}
SCALES = ("feature", "decoder", "feature")


def members(**more) -> list[VAE]:
    return [
        VAE(**COMMON, **more, likelihood=GaussianLikelihood(scale), random_state=seed)
        for seed, scale in enumerate(SCALES)
    ]


class Replayed(Noise):
    """The numbers that were drawn for all members; of those for their z the ones of one member, or all."""

    def __init__(self, member: int | None = None) -> None:
        super().__init__(make_generator(0, "replayed"))
        self.of = slice(None) if member is None else slice(member, member + 1)

    def draw(self, how, shape, like):
        if how is torch.rand:  # of hidden entries
            return super().draw(how, shape, like)
        return super().draw(how, (len(SCALES), *shape[-2:]), like)[self.of]


@pytest.mark.parametrize(("hide", "trim"), [(0.0, 0.0), (0.5, 0.2)])
def test_each_member_has_its_own_gradient(hide, trim):
    several = members(posterior=Amortized(input_dropout=hide))
    for member in several:
        rows = member.begin_fit(X).rows
    batch = next(rows.batches(30))
    alone = copy.deepcopy(several)
    for i, member in enumerate(alone):
        down(member.model_, member.posterior_, batch, trimmed(elbo(), trim), Replayed(i), hide)
    model, posterior, stacks = side_by_side(several)
    down(model, posterior, batch, of_members(trim), Replayed(), hide)
    for stack in stacks:
        stack.copy_back()
    for one, other in zip(several, alone, strict=True):
        torch.testing.assert_close(one.model_.state_dict(), other.model_.state_dict(), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(one.posterior_.state_dict(), other.posterior_.state_dict(), atol=1e-5, rtol=1e-4)


def down(model, posterior, batch, objective, noise, hide) -> None:
    """One step down the gradient."""
    q = MaskedInput(posterior, hide).train() if hide else posterior
    BatchLoss(model, q)(batch, objective, noise, ObjectiveState())[0].backward()
    moved = 0
    with torch.no_grad():
        for weight in torch.nn.ModuleList([model, posterior]).parameters():
            if weight.grad is not None:
                weight -= weight.grad
                moved += 1
    assert moved > 10


def test_the_bound_is_the_mean_over_members():
    several = members()
    fit_together(several, X)
    for member in several:
        assert member.n_iter_ == 40
        assert member.history_[-1]["step"] == 120
    alone = np.mean(VAE(**COMMON, likelihood=GaussianLikelihood("feature"), random_state=0).fit(X).elbo(X))
    bounds = [np.mean(member.elbo(X, n_samples=32)) for member in several]
    assert abs(bounds[0] - alone) < 0.6
    assert len(set(np.round(bounds, 6))) == 3
    assert abs(several[0].history_[-1]["elbo"] - np.mean(bounds)) < 0.6
    untrained = VAE(**COMMON, random_state=0)
    untrained.begin_fit(X)
    assert min(bounds) > np.mean(untrained.elbo(X)) + 1


def test_members_come_out_as_estimators_of_their_own(tmp_path):
    from lowerbound import load

    several = members(posterior=Amortized(input_dropout=0.5))
    fit_together(several, X)
    several[1].save(tmp_path / "second")
    np.testing.assert_allclose(load(tmp_path / "second").score_samples(X), several[1].score_samples(X))
