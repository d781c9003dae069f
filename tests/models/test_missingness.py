"""Values that hide themselves: against numerical integration, and a truth that is known."""

import numpy as np
import pytest
import torch
from tests import linear_gaussian as toy
from torch.distributions import Normal as TorchNormal

from lowerbound import IWAE, MLP, VAE, Adam, GaussianLikelihood, Ladder, VAEImputer, load
from lowerbound.core import Batch
from lowerbound.data.batches import RowsInMemory
from lowerbound.distributions.gaussians import FullGaussian
from lowerbound.distributions.likelihoods.normal import Normal
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.models.missingness import SelectedNormal, SelfMasking
from lowerbound.tasks import conditional

SLOPE = torch.tensor([1.5, -0.8, 0.0], dtype=torch.float64)
OFFSET = torch.tensor([0.3, -0.5, 0.7], dtype=torch.float64)
GRID = torch.linspace(-12, 12, 20_001, dtype=torch.float64)


def selected() -> SelectedNormal:
    location = torch.tensor([[0.4, -1.0, 2.0]], dtype=torch.float64)
    return SelectedNormal(Normal(location, torch.tensor([0.7, 1.3, 0.5], dtype=torch.float64)), SLOPE, OFFSET)


def masking() -> SelfMasking:
    masks = SelfMasking((3,)).double()
    with torch.no_grad():
        masks.slope.copy_(SLOPE)
        masks.offset.copy_(OFFSET)
    return masks


def test_entries_that_hid_have_the_density_mean_and_share_of_the_integral():
    p = selected()
    x = GRID[:, None]
    joint = p.normal.log_prob(x).exp() * TorchNormal(0.0, 1.0).cdf(SLOPE * x + OFFSET)
    share = torch.trapezoid(joint, GRID, dim=0)
    torch.testing.assert_close(p.log_p_missing[0].exp(), share)
    torch.testing.assert_close(p.log_prob(x).exp(), joint / share)
    torch.testing.assert_close(p.mean[0], torch.trapezoid(x * joint, GRID, dim=0) / share)


def test_draws_of_entries_that_hid_have_their_distribution():
    p, n = selected(), 40_000
    wide = SelectedNormal(Normal(p.normal.mean.expand(n, 3), p.normal.scale), SLOPE, OFFSET)
    x = wide.sample(Noise(make_generator(0, "test")))
    density = p.log_prob(GRID[:, None]).exp()
    variance = torch.trapezoid((GRID[:, None] - p.mean).square() * density, GRID, dim=0)
    assert ((x.mean(0) - p.mean[0]).abs() < 4 * (variance / n).sqrt()).all()
    assert ((x.var(0) / variance - 1).abs() < 4 * (3 / n) ** 0.5).all()
    below = torch.cumulative_trapezoid(density, GRID, dim=0)
    for j in range(3):  # Kolmogorov and Smirnov: 1.95/√n is passed once in a thousand times
        expected = below[torch.searchsorted(GRID, x[:, j].sort().values).clamp_max(len(below)) - 1, j]
        assert (expected - (torch.arange(n) + 0.5) / n).abs().max() < 1.95 / n**0.5


def test_an_entry_that_almost_never_hides_can_be_drawn():
    p = SelectedNormal(Normal(torch.zeros(1000, 1), torch.ones(1)), torch.tensor([5.0]), torch.tensor([-60.0]))
    x = p.sample(Noise(make_generator(0, "test")))
    assert torch.isfinite(x).all()
    assert (x > 5).all()


@pytest.mark.parametrize("observed", [(True, True, True), (True, False, True), (False, False, True)])
def test_the_mask_s_probability_is_the_integral_over_what_is_missing(observed):
    x = torch.tensor([[0.2, -1.4, 1.1]], dtype=torch.float64)
    mask, p = torch.tensor([observed]), selected().normal
    batch = Batch(x, mask, torch.arange(1), missing=~mask)
    cdf = TorchNormal(0.0, 1.0).cdf
    hidden = torch.trapezoid(p.log_prob(GRID[:, None]).exp() * cdf(SLOPE * GRID[:, None] + OFFSET), GRID, dim=0)
    expected = torch.where(mask, cdf(-(SLOPE * x + OFFSET)), hidden).log().sum()
    torch.testing.assert_close(masking().log_prob(batch, Normal(p.mean[None], p.scale))[0, 0], expected)


class Gappy(RowsInMemory):
    """One row, many times, with its second entry missing."""

    def __init__(self, x: torch.Tensor, missing: torch.Tensor) -> None:
        every = torch.ones(x.shape[1:], dtype=torch.bool)
        super().__init__(x, lambda raw, noise: raw, every, torch.device("cpu"), ~missing)


def test_imputations_given_that_an_entry_hid_are_exact():
    """x_2 given x_1 is normal in the linear-Gaussian model, so among those that hid it is a SelectedNormal."""
    model = toy.model()
    model.missingness = masking()
    missing = torch.tensor([[False, True, False]])
    x = torch.tensor([[0.5, 99.0, -0.4]], dtype=torch.float64)
    marginal = toy.marginal(model)
    o, cov = [0, 2], marginal.covariance_matrix.detach()
    gain = cov[1, o] @ torch.linalg.inv(cov[o][:, o])
    mean = marginal.mean[1].detach() + gain @ (x[0, o] - marginal.mean[o].detach())
    scale = (cov[1, 1] - gain @ cov[o, 1]).sqrt()
    exact = SelectedNormal(Normal(mean.view(1), scale), SLOPE[1], OFFSET[1])

    def proposal(batch: Batch, noise: Noise | None = None) -> FullGaussian:
        return FullGaussian(batch.x.new_zeros(1, toy.D), 1.2 * torch.eye(toy.D, dtype=batch.x.dtype)[None])

    rows, draws = Gappy(x, missing), 4000
    with torch.no_grad():
        noise = Noise(make_generator(3, "impute"))
        filled = conditional.expected(Evaluation(model, proposal, rows, noise), 40_000)  # type: ignore[arg-type]
        drawn = conditional.drawn(Evaluation(model, proposal, rows, noise), draws, 40_000)  # type: ignore[arg-type]
    assert filled.ess is not None
    assert abs(filled.x[0, 1] - exact.mean) < 4 * scale / filled.ess.item() ** 0.5
    assert abs(drawn.x[:, 0, 1].mean() - exact.mean) < 4 * scale / draws**0.5
    assert abs(mean - exact.mean) > 20 * scale / draws**0.5  # which is not the mean of entries that hide at random


def test_what_hides_because_it_is_high_biases_the_mean_unless_its_hiding_is_modelled(tmp_path):
    """x_2 = .8 x_1 + .6 ε is hidden with probability Φ(3 x_2): both have mean 0 and variance 1."""
    rng = np.random.default_rng(0)
    n = 4000
    x1 = rng.standard_normal(n)
    X = np.stack([x1, 0.8 * x1 + 0.6 * rng.standard_normal(n)], 1)
    hidden = rng.standard_normal(n) < 3 * X[:, 1]
    gaps = X.copy()
    gaps[hidden, 1] = np.nan
    common: dict = {
        "latent_dim": 1, "network": MLP(()), "objective": IWAE(10), "optimizer": Adam(1e-2), "early_stopping": False,
        "max_epochs": 60, "batch_size": 128, "random_state": 0,
    }  # fmt: skip
    naive = VAE(**common).fit(gaps)
    told = VAE(**common, likelihood=GaussianLikelihood(missingness="self_masking")).fit(gaps)
    of_naive, of_told = (
        VAEImputer(vae, n_importance=300).fit(gaps).transform(gaps)[:, 1].mean() for vae in (naive, told)
    )
    error = 0.05  # about 1/√n of each of the mean and the slope, with half the rows hidden
    assert of_naive < -4 * error
    assert abs(of_told) < 2 * error
    assert np.mean((VAEImputer(told).fit(gaps).transform(gaps) - X)[hidden, 1] ** 2) < 0.5
    told.save(tmp_path / "told")
    assert np.array_equal(load(tmp_path / "told").score_samples(gaps[:50]), told.score_samples(gaps[:50]))


NUMBERS = np.random.default_rng(0).standard_normal((40, 3))


@pytest.mark.parametrize(
    ("X", "parameters", "message"),
    [
        (NUMBERS, {}, "nothing is"),
        (np.where(np.eye(40, 3) > 0, np.nan, NUMBERS), {"latent_dim": Ladder(2)}, "leave"),
    ],
    ids=["no gaps", "levels"],
)  # fmt: skip
def test_where_it_has_no_meaning_it_is_refused(X, parameters, message):
    with pytest.raises(ValueError, match=message):
        VAE(**{"max_epochs": 1, "likelihood": GaussianLikelihood(missingness="self_masking"), **parameters}).fit(X)
