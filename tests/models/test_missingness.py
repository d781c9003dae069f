"""Values that hide themselves: against numerical integration, and a truth that is known."""

import itertools

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
CROSS = torch.tensor([[7.0, 7.0, 7.0], [0.9, 7.0, 7.0], [-0.6, 0.5, 7.0]], dtype=torch.float64)  # 7: not before
GRID = torch.linspace(-12, 12, 20_001, dtype=torch.float64)


def selected() -> SelectedNormal:
    location = torch.tensor([[0.4, -1.0, 2.0]], dtype=torch.float64)
    return SelectedNormal(Normal(location, torch.tensor([0.7, 1.3, 0.5], dtype=torch.float64)), SLOPE, OFFSET)


def masking() -> SelfMasking:
    masks = SelfMasking((3,)).double()
    with torch.no_grad():
        masks.slope.copy_(SLOPE)
        masks.offset.copy_(OFFSET)
        masks.cross_slopes.copy_(CROSS)
        masks.before.copy_(torch.ones(3, 3).tril(-1))
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
    offset = OFFSET + (CROSS.tril(-1) * torch.where(mask, x, 0.0)).sum(1)
    hidden = torch.trapezoid(p.log_prob(GRID[:, None]).exp() * cdf(SLOPE * GRID[:, None] + offset), GRID, dim=0)
    expected = torch.where(mask, cdf(-(SLOPE * x + offset)), hidden).log().sum()
    torch.testing.assert_close(masking().log_prob(batch, Normal(p.mean[None], p.scale))[0, 0], expected)


def test_what_is_seen_and_which_entries_are_have_one_density():
    """Σ_s ∫ p(x_o, s) dx_o = 1 for two entries, of which the second's mask reads the first where it is seen."""
    masks = SelfMasking((2,)).double()
    with torch.no_grad():
        masks.slope.copy_(SLOPE[:2])
        masks.offset.copy_(OFFSET[:2])
        masks.cross_slopes.copy_(CROSS[:2, :2])
        masks.before.copy_(torch.ones(2, 2).tril(-1))
    grid = torch.linspace(-7, 7, 401, dtype=torch.float64)
    step, total = grid[1] - grid[0], 0.0
    p = Normal(torch.tensor([0.4, -1.0], dtype=torch.float64), torch.tensor([0.7, 1.3], dtype=torch.float64))
    for seen in itertools.product((True, False), repeat=2):
        x = torch.cartesian_prod(*(grid if here else grid[:1] for here in seen))
        mask = torch.tensor(seen).expand(x.shape)
        wide = Normal(p.mean.expand(1, *x.shape), p.scale)
        log_p = torch.where(mask, wide.log_prob(x), 0.0).sum(-1)
        log_p = log_p + masks.log_prob(Batch(x, mask, torch.arange(len(x)), missing=~mask), wide)
        total += float(log_p.detach().exp().sum()) * float(step) ** sum(seen)
    assert total == pytest.approx(1, abs=1e-6)


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
    exact = SelectedNormal(Normal(mean.view(1), scale), SLOPE[1], OFFSET[1] + CROSS[1, 0] * x[0, 0])

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


def hidden_pairs(cause: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """x_2 = .8 x_1 + .6 ε, both with mean 0 and variance 1, and with gaps in x_2 with probability Φ(3 x_cause)."""
    rng = np.random.default_rng(0)
    x1 = rng.standard_normal(n)
    X = np.stack([x1, 0.8 * x1 + 0.6 * rng.standard_normal(n)], 1)
    hidden = rng.standard_normal(n) < 3 * X[:, cause]
    gaps = X.copy()
    gaps[hidden, 1] = np.nan
    return X, gaps


@pytest.mark.parametrize("cause", [0, 1])
def test_the_start_tells_an_entry_s_own_value_from_that_of_another(cause):
    _, gaps = hidden_pairs(cause, 4000)
    deviation = np.nanstd(gaps, 0)
    x, missing = torch.from_numpy((gaps - np.nanmean(gaps, 0)) / deviation).float(), torch.from_numpy(np.isnan(gaps))
    masks = SelfMasking((2,))
    masks.start(Batch(x, ~missing, torch.arange(len(x)), missing=missing), len(x))
    slopes = np.array([masks.cross_slopes[1, 0].item(), masks.slope[1].item()]) / deviation
    assert slopes[cause] == pytest.approx(3, abs=0.5)
    assert slopes[1 - cause] == pytest.approx(0, abs=0.4)
    assert masks.cross_slopes[0, 1] == 0  # the second is missing more often
    few = SelfMasking((2,))
    few.start(Batch(x, ~missing, torch.arange(len(x)), missing=missing), 10 * len(x))
    torch.testing.assert_close(few.penalty(), masks.penalty() / 10, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("cause", [0, 1])
def test_both_reasons_to_hide_are_recovered(cause, tmp_path):
    X, gaps = hidden_pairs(cause, 2000)
    truth, hidden = X[:, 1].mean(), np.isnan(gaps[:, 1])
    common: dict = {
        "latent_dim": 1, "network": MLP(()), "objective": IWAE(10), "optimizer": Adam(2e-2), "early_stopping": False,
        "max_epochs": 60, "batch_size": 128, "random_state": 0,
    }  # fmt: skip
    told = VAE(**common, likelihood=GaussianLikelihood(missingness="self_masking")).fit(gaps)
    filled = VAEImputer(told, n_importance=100).fit(gaps).transform(gaps)
    assert abs(filled[:, 1].mean() - truth) < 0.05
    assert np.mean((filled - X)[hidden, 1] ** 2) < (0.5 if cause == 0 else 0.3)
    if cause == 1:
        slope = told.model_.missingness.slope[1].item() / told.schema_.unit[1]
        assert slope == pytest.approx(3, abs=0.5)
        naive = VAEImputer(VAE(**common).fit(gaps), n_importance=100).fit(gaps).transform(gaps)
        assert naive[:, 1].mean() - truth < -0.2
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
