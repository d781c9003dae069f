"""Numbers and categories in one mixture: against sums over components, and EM."""

import numpy as np
import pytest
import torch
from scipy import stats
from tests.conftest import whole_batch

from lowerbound.core import Batch
from lowerbound.distributions.noise import make_generator
from lowerbound.inference import em
from lowerbound.models.location import LocationModel

BLOCKS = torch.tensor([-1, 0, 0, 0, -1, 1, 1])
K = 3


def model(n_components: int = K) -> LocationModel:
    """With parameters at random."""
    frequencies = torch.tensor([0, 0.5, 0.3, 0.2, 0, 0.6, 0.4]).double()
    location, rng = LocationModel(n_components, BLOCKS, frequencies, 1.0), np.random.default_rng(0)
    location.numbers.means.copy_(torch.from_numpy(rng.normal(0, 1.5, (n_components, 2))))
    covariances = stats.wishart(4, np.eye(2)).rvs(n_components, rng) / 4
    location.numbers.scale_trils.copy_(torch.linalg.cholesky(torch.from_numpy(covariances)))
    location.numbers.log_weights.copy_(torch.from_numpy(rng.dirichlet(np.full(n_components, 4))).log())
    theta = np.hstack([rng.dirichlet(np.ones(3), n_components), rng.dirichlet(np.ones(2), n_components)])
    location.log_theta.copy_(torch.from_numpy(theta).log())
    return location


def rows(n: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    x = np.zeros((n, 7))
    x[:, [0, 4]] = rng.normal(0, 1.5, (n, 2))
    x[np.arange(n), 1 + rng.integers(3, size=n)] = 1
    x[np.arange(n), 5 + rng.integers(2, size=n)] = 1
    return torch.from_numpy(x)


def with_gaps(x: torch.Tensor) -> Batch:
    """A category's indicators are hidden together."""
    cells = torch.rand((len(x), 4), generator=make_generator(0, "gaps")) < 0.6
    mask = cells[:, [0, 1, 1, 1, 2, 3, 3]]
    return Batch(torch.where(mask, x, 9.0), mask, torch.arange(len(x)))


def by_hand(location: LocationModel, x: np.ndarray, o: np.ndarray) -> tuple[float, np.ndarray]:
    """log p(x_o) and E[x|x_o], component by component."""
    p, filled = [], []
    numbers, levels = np.array([0, 4]), np.array([1, 2, 3, 5, 6])
    for k in range(K):
        mean, cov = location.numbers.means[k].numpy(), location.numbers.covariances[k].numpy()
        theta, on = location.log_theta[k].exp().numpy(), o[numbers]
        weight = location.numbers.log_weights[k].exp().item()
        if on.any():
            weight *= stats.multivariate_normal(mean[on], cov[np.ix_(on, on)]).pdf(x[numbers][on])
        weight *= np.prod(np.where(o[levels] & (x[levels] == 1), theta, 1))
        row = x.copy()
        row[levels] = theta
        gain = cov[np.ix_(~on, on)] @ np.linalg.inv(cov[np.ix_(on, on)])
        row[numbers[~on]] = mean[~on] + gain @ (x[numbers][on] - mean[on])
        p.append(weight)
        filled.append(np.where(o, x, row))
    return np.log(sum(p)), np.average(filled, axis=0, weights=p)


def test_densities_and_conditionals_are_sums_over_components():
    location, batch = model(), with_gaps(rows(25))
    log_p, mean = location.log_prob(batch), location.conditional_mean(batch)
    for i in range(25):
        expected_log_p, expected = by_hand(location, batch.x[i].numpy(), batch.mask[i].numpy())
        assert log_p[i].item() == pytest.approx(expected_log_p, abs=1e-9)
        np.testing.assert_allclose(mean[i], expected, atol=1e-9)


def test_draws_have_the_conditional_mean_and_one_level_each(noise):
    location, batch, n = model(), with_gaps(rows(8)), 20_000
    drawn = location.conditional_sample(batch, n, noise)
    error = drawn.std(0) / n**0.5
    assert ((drawn.mean(0) - location.conditional_mean(batch)).abs() <= 4.5 * error + 1e-12).all()
    filled = torch.where(batch.mask, rows(8), drawn)
    assert (filled[..., 1:4].sum(-1) == 1).all()
    assert (filled[..., 5:].sum(-1) == 1).all()


def test_em_never_falls_and_finds_what_made_the_rows(noise):
    truth, nothing = (
        model(),
        Batch(torch.zeros(1500, 7).double(), torch.zeros(1500, 7, dtype=torch.bool), torch.arange(1500)),
    )
    x = truth.conditional_sample(nothing, 1, noise)[0]
    batch = with_gaps(x)
    location = model()
    with torch.no_grad():
        location.log_theta.copy_(location.frequencies.log().expand(K, -1))
        location.numbers.means.add_(0.3)
    ascent = em.fit(location, lambda: [batch], 1e-7, 2000)
    assert ascent.converged
    assert np.diff(ascent.objective).min() > -1e-12
    assert location.log_prob(batch).mean() > truth.log_prob(batch).mean()
    new = truth.conditional_sample(nothing, 1, noise)[0]
    assert location.log_prob(whole_batch(new)).mean().item() == pytest.approx(
        truth.log_prob(whole_batch(new)).mean().item(), abs=0.05
    )


def test_levels_of_one_component_are_counts_and_one_imaginary_row():
    location, batch, levels = model(1), with_gaps(rows(30)), torch.tensor([1, 2, 3, 5, 6])
    location.maximize(location.expect(batch))
    ones = torch.where(batch.mask, batch.x, 0.0)[:, levels].sum(0)
    theta = (ones + location.frequencies) / (batch.mask[:, levels].sum(0) + 1)
    torch.testing.assert_close(location.log_theta[0].exp(), theta)
