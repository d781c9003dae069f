"""Mixtures: densities, marginals, EM and draws against what is known exactly."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp
from tests.conftest import whole_batch

from lowerbound.core import Batch
from lowerbound.distributions.noise import make_generator
from lowerbound.inference import em
from lowerbound.models import gaussian
from lowerbound.models.bernoulli_mixture import MixtureOfBernoullis
from lowerbound.models.gaussian import MixtureOfDiagonalGaussians, MixtureOfGaussians

F, K = 5, 3
STATES = torch.tensor(list(itertools.product((0.0, 1.0), repeat=F)), dtype=torch.float64)


def bernoullis(n_features: int = F, smoothing: float = 1.0) -> MixtureOfBernoullis:
    """With parameters at random."""
    model = MixtureOfBernoullis(K, (n_features,), smoothing)
    rng = np.random.default_rng(0)
    model.logits.copy_(torch.from_numpy(rng.normal(0, 1.5, (K, n_features))))
    model.log_weights.copy_(torch.from_numpy(np.log([0.5, 0.3, 0.2])))
    return model


def gaussians(full: bool, log_unit: torch.Tensor | None = None) -> MixtureOfGaussians | MixtureOfDiagonalGaussians:
    model = (MixtureOfGaussians if full else MixtureOfDiagonalGaussians)(K, (F,), log_unit)
    rng = np.random.default_rng(0)
    model.means.copy_(torch.from_numpy(rng.normal(0, 1, (K, F))))
    model.log_weights.copy_(torch.from_numpy(np.log([0.5, 0.3, 0.2])))
    if full:
        model.scale_trils.copy_(torch.linalg.cholesky(torch.from_numpy(stats.wishart(F + 2, np.eye(F)).rvs(K, rng))))
    else:
        model.scales.copy_(torch.from_numpy(rng.uniform(0.5, 2, (K, F))))
    return model


def covariances(model) -> np.ndarray:
    if isinstance(model, MixtureOfGaussians):
        return (model.scale_trils @ model.scale_trils.mT).numpy()
    return torch.diag_embed(model.scales.square()).numpy()


def from_clusters(n: int, n_features: int = 8, seed: int = 3) -> torch.Tensor:
    """Draws from a mixture of Bernoullis that overlap."""
    random = np.random.default_rng(seed)
    theta = random.uniform(0.1, 0.9, (K, n_features))
    return torch.from_numpy((random.random((n, n_features)) < theta[random.integers(K, size=n)]).astype(float))


def with_gaps(x: torch.Tensor, observed: float = 0.6) -> Batch:
    mask = torch.rand(x.shape, generator=make_generator(0, "gaps")) < observed
    return Batch(torch.where(mask, x, 7.0), mask, torch.arange(len(x)))  # a hidden 7 must not matter


# mixtures of Bernoullis


def test_probabilities_of_all_states_sum_to_1():
    assert bernoullis().log_prob(whole_batch(STATES)).exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_bernoulli_components_are_scipys():
    model = bernoullis()
    theta = model.logits.sigmoid().numpy()
    expected = stats.bernoulli(theta[:, None]).logpmf(STATES.numpy()).sum(-1)  # (K, states)
    np.testing.assert_allclose(model.log_prob_given(whole_batch(STATES)).T, expected, atol=1e-12)
    joint = expected + np.log([[0.5], [0.3], [0.2]])
    np.testing.assert_allclose(
        model.responsibilities(whole_batch(STATES)).T, np.exp(joint - logsumexp(joint, 0)), atol=1e-12
    )


def test_log_p_of_the_observed_entries_is_the_sum_over_the_hidden_ones():
    model, batch = bernoullis(), with_gaps(STATES)
    p = model.log_prob(whole_batch(STATES))
    for x, mask, log_p in zip(STATES, batch.mask, model.log_prob(batch), strict=True):
        same = (x == STATES)[:, mask].all(1)
        assert log_p.item() == pytest.approx(p[same].logsumexp(0).item(), abs=1e-12)


def test_many_extreme_features_stay_finite():
    model = bernoullis(3000)
    model.logits.mul_(30)
    x = torch.from_numpy(np.random.default_rng(1).integers(0, 2, (4, 3000)).astype(float))
    log_p = model.log_prob(whole_batch(x))
    assert (log_p < -10_000).all()  # far below the smallest float64
    np.testing.assert_allclose(model.responsibilities(whole_batch(x)).sum(1), 1)


def test_an_em_step_is_the_one_written_out():
    """r_nk by Bayes' rule and the weighted means, one row, component and feature at a time."""
    model, batch = bernoullis(8, smoothing=0.7), with_gaps(from_clusters(20))
    model.average.copy_(torch.linspace(0.2, 0.8, 8))
    x, mask = batch.x.numpy(), batch.mask.numpy()
    theta, weights, average = model.logits.sigmoid().numpy(), model.log_weights.exp().numpy(), model.average.numpy()
    r = np.ones((20, K)) * weights
    for n, k, j in itertools.product(range(20), range(K), range(8)):
        if mask[n, j]:
            r[n, k] *= theta[k, j] if x[n, j] else 1 - theta[k, j]
    evidence = r.sum(1, keepdims=True)
    r /= evidence
    expected = np.empty_like(theta)
    for k, j in itertools.product(range(K), range(8)):
        seen = mask[:, j]
        expected[k, j] = (r[seen, k] @ x[seen, j] + 0.7 * average[j]) / (r[seen, k].sum() + 0.7)
    sums = model.expect(batch)
    assert sums.log_p.item() == pytest.approx(np.log(evidence).sum())
    model.maximize(sums)
    np.testing.assert_allclose(model.logits.sigmoid(), expected)
    np.testing.assert_allclose(model.log_weights.exp(), r.mean(0))


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_em_never_falls_and_ends_at_a_maximum(gaps, seed):
    x = from_clusters(300, seed=seed)
    batch = with_gaps(x) if gaps else whole_batch(x)
    model = bernoullis(8, smoothing=0.5)
    halves = [Batch(batch.x[i::2], batch.mask[i::2], batch.index[i::2]) for i in (0, 1)]
    ascent = em.fit(model, lambda: halves, tol=1e-12, max_iter=20_000)
    assert ascent.converged
    assert np.diff(ascent.objective).min() > -1e-12
    model.logits.requires_grad_()
    objective = (model.log_prob(batch).sum() + model.log_prior()) / 300
    assert objective.item() == pytest.approx(ascent.objective[-1], abs=1e-12)
    assert torch.autograd.grad(objective, model.logits)[0].abs().max() < 1e-4  # nothing left to climb


def test_one_component_is_the_smoothed_mean():
    x = from_clusters(50)
    model = MixtureOfBernoullis(1, (8,), smoothing=2.0)
    model.start(torch.full((8,), 0.25, dtype=torch.float64), whole_batch(x[:1]))
    em.fit(model, lambda: [whole_batch(x)], tol=1e-9, max_iter=5)
    np.testing.assert_allclose(model.logits.sigmoid()[0], (x.sum(0) + 0.5) / 52)


def test_the_start_is_halfway_to_the_seeds():
    model = MixtureOfBernoullis(2, (3,))
    seeds = Batch(
        torch.tensor([[1.0, 0, 0], [0, 1, 9]]).double(), torch.tensor([[True] * 3, [True, True, False]]), None
    )
    model.start(torch.tensor([0.2, 0.4, 0.6]).double(), seeds)
    np.testing.assert_allclose(model.logits.sigmoid(), [[0.6, 0.2, 0.3], [0.1, 0.7, 0.6]])


def test_a_component_without_rows_does_no_harm():
    model, x = bernoullis(8), from_clusters(40)
    model.log_weights[2] = -torch.inf
    model.maximize(model.expect(whole_batch(x)))
    assert torch.isfinite(model.logits).all()
    assert torch.isfinite(model.log_prob(whole_batch(x))).all()


def test_bernoulli_draws_come_as_often_as_they_should(noise):
    model, n = bernoullis(), 40_000
    p = model.log_prob(whole_batch(STATES)).exp().numpy()
    place = (model.sample(n, noise) @ 2.0 ** torch.arange(F - 1, -1, -1, dtype=torch.float64)).long()
    seen = np.bincount(place, minlength=len(p)) / n
    assert (np.abs(seen - p) < 4.5 * np.sqrt(p * (1 - p) / n)).all()


# mixtures of Gaussians


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("gaps", ["none", "same", "own"])
def test_gaussian_marginals_are_scipys(full, gaps, monkeypatch):
    monkeypatch.setattr(gaussian, "SOLVE_ELEMENTS", 7 * (K + 1) * F * F)  # seven rows at a time
    unit = np.array([1.0, 10.0, 0.1, 2.0, 3.0])
    model = gaussians(full, torch.from_numpy(np.log(unit)))
    rng = np.random.default_rng(1)
    x = rng.normal(0, 1.5, (30, F))
    mask = {
        "none": np.ones((30, F), bool),
        "same": np.tile([True, False, True, True, False], (30, 1)),
        "own": rng.random((30, F)) < 0.5,
    }[gaps]
    mask[:, 0] |= ~mask.any(1)
    log_p = model.log_prob(Batch(torch.from_numpy(np.where(mask, x, 9.0)), torch.from_numpy(mask), torch.arange(30)))
    scale = np.diag(unit)
    for row, seen, value in zip(x * unit, mask, log_p, strict=True):
        components = [
            stats.multivariate_normal((mean * unit)[seen], (scale @ cov @ scale)[np.ix_(seen, seen)]).logpdf(row[seen])
            for mean, cov in zip(model.means.numpy(), covariances(model), strict=True)
        ]
        assert value.item() == pytest.approx(logsumexp(components, b=[0.5, 0.3, 0.2]), abs=1e-10)


def test_a_row_with_nothing_observed_has_log_p_0():
    batch = Batch(torch.full((2, F), 9.0).double(), torch.zeros(2, F, dtype=torch.bool), torch.arange(2))
    for model in (gaussians(True), gaussians(False), bernoullis()):
        np.testing.assert_allclose(model.log_prob(batch), 0, atol=1e-14)


@pytest.mark.parametrize("full", [True, False])
def test_gaussian_draws_have_the_moments(full, noise):
    model, n = gaussians(full), 40_000
    x = model.sample(n, noise).numpy()
    weights, means = np.array([0.5, 0.3, 0.2]), model.means.numpy()
    mean = weights @ means
    covariance = np.einsum("k,kij->ij", weights, covariances(model)) + np.cov(means.T, aweights=weights, bias=True)
    assert (np.abs(x.mean(0) - mean) < 4.5 * np.sqrt(np.diag(covariance) / n)).all()
    products = (x - mean)[:, :, None] * (x - mean)[:, None, :]
    assert (np.abs(products.mean(0) - covariance) < 4.5 * products.std(0) / np.sqrt(n)).all()


@pytest.mark.parametrize("full", [True, False])
def test_draws_within_a_component(full, noise):
    model = gaussians(full)
    x = model.sample_given(torch.full((3000,), 1), noise).numpy()
    L = np.linalg.cholesky(covariances(model)[1])
    white = np.linalg.solve(L, (x - model.means[1].numpy()).T)
    for column in white:
        assert stats.kstest(column, "norm").pvalue > 1e-3
    means = model.sample(50, noise, mean=True)
    assert all((row == model.means).all(1).any() for row in means)
