"""The scores of outliers against the linear-Gaussian model, whose conditionals are known."""

import math
from dataclasses import astuple

import numpy as np
import pytest
import torch
from tests import linear_gaussian as toy
from tests.conftest import whole_batch
from torch.distributions import Independent, Normal, kl_divergence

from lowerbound.distributions.atoms import FIRST
from lowerbound.distributions.gaussians import DiagonalGaussian
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.inference.posteriors import StartAtPrior
from lowerbound.models.priors.mixture import GaussianMixture
from lowerbound.tasks.outlier_scores import (
    PATCH,
    ClimbedInSingle,
    aggregate_kl,
    beyond,
    bound,
    codes,
    draws_of_entry,
    parts_of,
    refined,
    surprise,
)

X = toy.numbers(5, toy.F, seed=3)
ANY = torch.full((toy.F,), torch.inf)


def noise(seed: int = 0, shared: bool = False) -> Noise:
    return Noise(make_generator(seed, "noise"), shared)


def exact_conditionals(x: torch.Tensor) -> torch.Tensor:
    """−log p(x_j | x_-j), (B, F), of a joint normal of precision Λ: N(μ_j − Λ_j,-j (x − μ)_-j / Λ_jj, 1/Λ_jj)."""
    p = toy.marginal(toy.model())
    precision, deviation = p.precision_matrix, x - p.mean
    diagonal = precision.diagonal()
    mean = p.mean + deviation - deviation @ precision / diagonal
    return -Normal(mean, diagonal.rsqrt()).log_prob(x).detach()


def test_the_surprise_is_the_exact_conditional():
    runs = [
        surprise(Evaluation(toy.model(), StartAtPrior(toy.D), toy.rows(X), noise(seed)), n_parts=9, n_samples=4000)
        for seed in range(16)
    ]
    estimates = torch.stack(runs)
    error = estimates.std(0) / math.sqrt(len(estimates))
    assert (error < 0.02).all()
    assert ((estimates.mean(0) - exact_conditionals(X)).abs() < 5 * error + 1e-3).all()  # 1e-3: a logarithm's bias


def test_a_missing_entry_surprises_nobody_and_is_no_evidence():
    rows = toy.rows(X[:1].repeat(2, 1))
    rows.raw[1, 0] = 100.0
    rows.mask = torch.tensor([False, True, True])
    nats = surprise(Evaluation(toy.model(), StartAtPrior(toy.D), rows, noise(shared=True)), n_samples=20)
    assert nats[:, 0].isnan().all()
    torch.testing.assert_close(nats[0], nats[1], equal_nan=True)


def test_what_is_beyond_the_limit_is_no_evidence_of_the_others():
    rows, without = (toy.rows(X[:2].clone()) for _ in range(2))
    limit = torch.full((toy.F,), 5.0)
    rows.raw[0, 1], without.raw[0, 1] = 70.0, 0.0
    without.observed = torch.ones(2, 3, dtype=torch.bool)
    without.observed[0, 1] = False
    model, q = toy.model(), toy.posterior("diagonal")
    nats, expected = (surprise(Evaluation(model, q, r, noise(shared=True)), 3, 20, limit) for r in (rows, without))
    torch.testing.assert_close(nats[0, [0, 2]], expected[0, [0, 2]])
    torch.testing.assert_close(nats[1], expected[1])
    assert nats[0, 1] > 100  # given the others, as ever
    torch.testing.assert_close(nats[0, 1], surprise(Evaluation(model, q, rows, noise(shared=True)), 3, 20)[0, 1])
    each = [Evaluation(model, q, r, noise(0)) for r in (rows, without)]
    drawn = (draws_of_entry(on, np.array([0, 1]), 2, 50, limit)[0][:, 2] for on in each)
    torch.testing.assert_close(*drawn)
    assert beyond(torch.tensor([[-6.0, FIRST, 4.0]]), limit).tolist() == [[True, False, False]]


class Told(StartAtPrior):
    """The prior as a proposal, which keeps what it was told to be missing."""

    def forward(self, batch, noise=None):
        self.missing = batch.missing
        return super().forward(batch, noise)


def test_an_entry_is_drawn_given_the_others_and_the_encoder_is_told_that_it_is_hidden():
    rows, told = np.array([0, 3]), Told(toy.D)
    runs = [
        draws_of_entry(Evaluation(toy.model(), told, toy.rows(X), noise(seed)), rows, 1, 500, ANY)[0]
        for seed in range(16)
    ]
    assert (told.missing == torch.tensor([False, True, False])).all()
    draws = torch.stack(runs).unflatten(1, (500, 2))
    assert torch.equal(draws[..., [0, 2]], X[rows][:, [0, 2]].expand(16, 500, 2, 2))
    p = toy.marginal(toy.model())
    precision = p.precision_matrix.detach()
    mean = X[:, 1] - (precision[1] * (X - p.mean)).sum(-1).detach() / precision[1, 1]
    for values, target in ((draws[..., 1], mean[rows]), ((draws[..., 1] - mean[rows]).square(), 1 / precision[1, 1])):
        means = values.mean(1)
        assert ((means.mean(0) - target).abs() < 4.5 * means.std(0) / 4).all()


class Off(StartAtPrior):
    """A proposal far from p(z|x_-j) and too narrow, as an encoder's far off the data."""

    def features(self, batch):
        zeros = batch.x.new_zeros(len(batch.x), toy.D)
        return zeros + 2, zeros - 0.7


def test_an_entry_far_off_gets_as_many_samples_as_it_takes_and_says_how_many_count():
    """One in a hundred samples from q counts; draws of x_j by so few would be all alike."""
    rows, n = np.arange(40), 100
    on = Evaluation(toy.model(), Off(toy.D), toy.rows(X[:1].expand(40, -1).clone()), noise(0))
    draws, ess = draws_of_entry(on, rows, 1, n, ANY)
    assert ess.min() >= 50
    values = draws.unflatten(0, (n, 40))[..., 1]
    p = toy.marginal(toy.model())
    precision = p.precision_matrix.detach()
    mean = (X[0, 1] - (precision[1] * (X[0] - p.mean)).sum() / precision[1, 1]).detach()
    for found, target in ((values, mean), ((values - mean).square(), 1 / precision[1, 1])):
        means = found.mean(0)
        assert (means.mean() - target).abs() < 4 * means.std() / 40**0.5


@pytest.mark.parametrize("n_parts", [1, 2, 3])
def test_a_row_is_scored_alone_as_among_others(n_parts):
    together = surprise(Evaluation(toy.model(), toy.posterior("diagonal"), toy.rows(X), noise(shared=True)), n_parts)
    alone = surprise(Evaluation(toy.model(), toy.posterior("diagonal"), toy.rows(X[2:3]), noise(shared=True)), n_parts)
    torch.testing.assert_close(together[2:3], alone)


@pytest.mark.parametrize(("shape", "n_parts"), [((7,), 3), ((7,), 20), ((1, 10, 9), 4), ((3, 8, 8), 2), ((1,), 8)])
def test_parts_are_a_partition(shape, n_parts):
    parts = parts_of(shape, n_parts, is_image=len(shape) == 3)
    assert parts.shape[1:] == shape
    assert len(parts) <= n_parts
    assert (parts.sum(0) == 1).all()
    assert parts.flatten(1).any(1).all()


def test_images_are_hidden_in_patches():
    part = parts_of((3, 16, 16), 4, is_image=True)
    patches = part.unflatten(2, (-1, PATCH)).unflatten(4, (-1, PATCH))  # (P, C, H/4, 4, W/4, 4)
    assert (patches == patches[:, :1, :, :1, :, :1]).all()


def climbed(rows, start=StartAtPrior, **how):
    """Both bounds of some rows, in float64, with a q that climbs in float32."""
    model, single = toy.model(), toy.model().float()
    on = Evaluation(model, start(toy.D), rows, noise(shared=True))
    return refined(on, Evaluation(single, start(toy.D), rows, noise(shared=True)), **how)


def test_rows_climb_together_whatever_a_pass_holds(monkeypatch):
    together = []
    features = ClimbedInSingle.features
    monkeypatch.setattr(
        ClimbedInSingle, "features", lambda self, batch: together.append(len(batch.x)) or features(self, batch)
    )
    model, rows = toy.model(), toy.rows(X[:1].repeat(40, 1))
    on = Evaluation(model, StartAtPrior(toy.D), rows, noise(shared=True), pass_elements=8 * X.shape[1])
    refined(on, Evaluation(toy.model().float(), StartAtPrior(toy.D), rows, noise(shared=True)), n_steps=2)
    assert together == [32, 8]


def test_the_climb_ends_at_the_best_diagonal_q():
    model = toy.model()
    bounds = climbed(toy.rows(X), n_steps=300, n_samples=20_000)
    q = toy.ExactPosterior(model)(whole_batch(X))
    precision = torch.linalg.inv(q.scale_tril @ q.scale_tril.mT)
    nearest = torch.diag_embed(precision.diagonal(dim1=-2, dim2=-1).rsqrt())  # diag 1/Λ_jj (Bishop, 2006, eq. 10.12)
    unit = torch.eye(toy.D, dtype=X.dtype).expand(len(X), -1, -1)
    before, after = toy.exact_elbo(model, torch.zeros_like(q.mean), unit, X), toy.exact_elbo(model, q.mean, nearest, X)
    for estimate, exact in zip(bounds, (before, after), strict=True):
        assert estimate.dtype == torch.float64
        torch.testing.assert_close(estimate, exact.detach(), rtol=0.01, atol=0.1)


def test_a_climb_depends_on_its_row_alone():
    many = toy.numbers(70, toy.F, seed=5)
    _, together = climbed(toy.rows(many))
    _, turned = climbed(toy.rows(many.flip(0)))
    _, some = climbed(toy.rows(many[40:43]))
    torch.testing.assert_close(turned.flip(0), together, rtol=1e-9, atol=0)
    torch.testing.assert_close(some, together[40:43], rtol=1e-9, atol=0)


def test_a_row_that_float32_does_not_hold_keeps_the_q_of_the_encoder():
    rows = X.clone()
    rows[1, 0] = 1e60
    before, after = climbed(toy.rows(rows))
    assert after[1] == before[1]
    assert (after >= before).all()
    assert (after[[0, 2]] > before[[0, 2]]).all()


def test_the_parts_of_the_bound_are_the_exact_ones():
    model, q = toy.model(), toy.ExactPosterior(toy.model(), shift=0.3, widen=1.2)
    runs = [bound(Evaluation(model, q, toy.rows(X), noise(seed)), n_samples=4000) for seed in range(8)]
    elbo = -torch.stack([kl + rebuilt.sum(1) for kl, rebuilt in runs])
    encoded = q(whole_batch(X))
    exact = toy.exact_elbo(model, encoded.mean, encoded.scale_tril, X).detach()
    assert ((elbo.mean(0) - exact).abs() < 5 * elbo.std(0) / math.sqrt(8)).all()


def test_nats_of_entries_are_in_the_units_of_the_user():
    model, scaled = toy.model(), toy.model()
    scaled.log_unit = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    for score in (
        lambda p: bound(Evaluation(p, StartAtPrior(toy.D), toy.rows(X), noise()))[1],
        lambda p: surprise(Evaluation(p, StartAtPrior(toy.D), toy.rows(X), noise())),
    ):
        torch.testing.assert_close(score(scaled) - score(model), scaled.log_unit.expand_as(X))


def diagonal(n: int, seed: int) -> DiagonalGaussian:
    return DiagonalGaussian(2 * toy.numbers(n, 3, seed=seed), 0.5 * toy.numbers(n, 3, seed=seed + 1))


def as_torch(q: DiagonalGaussian) -> Independent:
    return Independent(Normal(q.mean, q.scale), 1)


def test_the_kl_to_each_is_that_of_another_library():
    q, others = diagonal(5, 1), diagonal(4, 3)
    each = [kl_divergence(as_torch(q), as_torch(DiagonalGaussian(m, s))) for m, s in zip(*astuple(others), strict=True)]
    torch.testing.assert_close(q.kl_to_each(others), torch.stack(each, 1))
    isotropic = DiagonalGaussian(others.mean, others.log_scale[:, :1])
    whole = DiagonalGaussian(others.mean, others.log_scale[:, :1].expand_as(others.mean))
    torch.testing.assert_close(q.kl_to_each(isotropic), q.kl_to_each(whole))


def test_the_kl_to_the_aggregate_is_exact_for_one_component_and_for_equal_ones():
    q, one = diagonal(6, 1), diagonal(1, 3)
    exact = kl_divergence(as_torch(q), as_torch(one))
    torch.testing.assert_close(aggregate_kl(q, one), exact)
    equal = DiagonalGaussian(one.mean.expand(4, 3), one.log_scale.expand(4, 3))
    torch.testing.assert_close(aggregate_kl(q, equal), exact)
    torch.testing.assert_close(aggregate_kl(q, equal, n_left_out=3), exact)
    torch.testing.assert_close(aggregate_kl(q, equal, n_left_out=9), exact)  # one is always left


def test_the_kl_to_the_aggregate_is_bounded_from_above():
    q, others = diagonal(6, 1), diagonal(20, 3)
    mixture = GaussianMixture(others.mean, others.log_scale, torch.full((20,), -math.log(20), dtype=torch.float64))
    z = q.rsample((40_000,), noise())
    sampled = q.log_prob(z) - mixture.log_prob(z)
    exact, error = sampled.mean(0), sampled.std(0) / math.sqrt(len(z))
    bounded = aggregate_kl(q, others)
    assert (bounded > exact - 4 * error).all()
    assert (bounded < q.kl_to_each(others).min(1).values + math.log(20)).all()
    apart = DiagonalGaussian(100.0 * torch.arange(20.0).double()[:, None].expand(20, 3), others.log_scale)
    own = DiagonalGaussian(apart.mean[:6], apart.log_scale[:6])  # components that don't overlap: KL = log J, exactly
    torch.testing.assert_close(aggregate_kl(own, apart), torch.full((6,), math.log(20)).double())


def test_the_nearest_components_are_left_out_row_by_row():
    q, others = diagonal(6, 1), diagonal(9, 3)
    nearest = q.kl_to_each(others).argsort(1)
    for row in range(6):
        rest = nearest[row, 2:]
        alone = DiagonalGaussian(q.mean[row : row + 1], q.log_scale[row : row + 1])
        without = DiagonalGaussian(others.mean[rest], others.log_scale[rest])
        torch.testing.assert_close(aggregate_kl(q, others, 2)[row : row + 1], aggregate_kl(alone, without))


def test_a_row_among_the_others_cant_vouch_for_itself():
    far = DiagonalGaussian(torch.cat([diagonal(8, 1).mean, torch.full((1, 3), 30.0)]), torch.zeros(9, 3))
    assert aggregate_kl(far, far)[-1] <= math.log(9) + 1e-9
    assert aggregate_kl(far, far, n_left_out=1)[-1] > 100


def test_codes_are_those_of_the_posterior_and_none_without_a_diagonal_covariance():
    q = toy.posterior("diagonal")(whole_batch(X))
    found = codes(Evaluation(toy.model(), toy.posterior("diagonal"), toy.rows(X), noise()))
    assert found is not None
    torch.testing.assert_close(found.mean, q.mean.detach())
    torch.testing.assert_close(found.log_scale, q.log_scale.detach().expand_as(q.mean))
    assert codes(Evaluation(toy.model(), toy.ExactPosterior(toy.model()), toy.rows(X), noise())) is None
