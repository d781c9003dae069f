"""Densities against torch.distributions, scipy and enumeration."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.distributions import MultivariateNormal, kl_divergence
from torch.distributions import Normal as TorchNormal

from lowerbound.distributions.gaussians import LOG_2PI, DiagonalGaussian, FullGaussian, StandardNormal
from lowerbound.distributions.likelihoods.bernoulli import Bernoulli
from lowerbound.distributions.likelihoods.categorical import Categorical
from lowerbound.distributions.likelihoods.discretized_logistic import DiscretizedLogistic
from lowerbound.distributions.likelihoods.likelihood import event_sum
from lowerbound.distributions.likelihoods.normal import Normal
from lowerbound.distributions.noise import Noise, make_generator

ROWS, D = 5, 4


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=make_generator(seed, "numbers"), dtype=torch.float64)


def isotropic() -> DiagonalGaussian:
    return DiagonalGaussian(random(ROWS, D), 0.3 * random(ROWS, 1, seed=1))


def diagonal() -> DiagonalGaussian:
    return DiagonalGaussian(random(ROWS, D), 0.3 * random(ROWS, D, seed=1))


def full() -> FullGaussian:
    factor = random(ROWS, D, D, seed=1).tril(-1) + torch.diag_embed(random(ROWS, D, seed=2).exp())
    return FullGaussian(random(ROWS, D), factor)


GAUSSIANS = pytest.mark.parametrize("make", [isotropic, diagonal, full])


@GAUSSIANS
def test_kl_equals_torchs(make):
    q = make()
    reference = MultivariateNormal(q.mean, scale_tril=q.scale_tril)
    prior = MultivariateNormal(torch.zeros(D, dtype=torch.float64), torch.eye(D, dtype=torch.float64))
    torch.testing.assert_close(q.kl_to_standard_normal().sum(-1), kl_divergence(reference, prior), rtol=0, atol=1e-12)


@GAUSSIANS
def test_kl_equals_monte_carlo(make):
    q, noise, n = make(), Noise(make_generator(0, "kl")), 100_000
    z = q.rsample((n,), noise)
    difference = q.log_prob(z) - StandardNormal(D, z).log_prob(z)
    error = difference.std(0) / n**0.5
    assert ((difference.mean(0) - q.kl_to_standard_normal().sum(-1)).abs() < 4 * error).all()


@GAUSSIANS
def test_density_equals_torchs(make):
    q, z = make(), random(3, ROWS, D, seed=9)
    reference = MultivariateNormal(q.mean, scale_tril=q.scale_tril)
    torch.testing.assert_close(q.log_prob(z), reference.log_prob(z), rtol=0, atol=1e-11)


@GAUSSIANS
def test_draws_have_the_mean_and_covariance(make):
    q, n = make(), 50_000
    z = q.rsample((n,), Noise(make_generator(1, "draws")))
    covariance = q.scale_tril @ q.scale_tril.mT
    assert ((z.mean(0) - q.mean).abs() < 4 * q.scale / n**0.5).all()
    centered = z - z.mean(0)
    measured = torch.einsum("sbi,sbj->bij", centered, centered) / n
    diagonal = covariance.diagonal(dim1=-2, dim2=-1)
    error = ((covariance**2 + diagonal[:, :, None] * diagonal[:, None, :]) / n).sqrt()
    assert ((measured - covariance).abs() < 4.5 * error).all()  # 80 comparisons


def test_total_correlation_is_zero_without_correlation():
    q = full()
    independent = FullGaussian(q.mean, torch.diag_embed(q.scale))
    kl = independent.kl_to_standard_normal()
    assert kl[:, -1].abs().max() < 1e-12
    torch.testing.assert_close(kl[:, :-1], q.kl_to_standard_normal()[:, :-1])


def test_marginal_kls_are_those_of_the_marginals():
    q = full()
    marginal = kl_divergence(TorchNormal(q.mean, q.scale), TorchNormal(0.0, 1.0))
    torch.testing.assert_close(q.kl_to_standard_normal()[:, :-1], marginal)


def test_normal_integrates_to_one_and_matches_scipy():
    p = Normal(torch.tensor(0.7, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64))
    x = np.linspace(-2, 3, 7)
    np.testing.assert_allclose(p.log_prob(torch.from_numpy(x)), stats.norm(0.7, 0.3).logpdf(x), atol=1e-12)
    area, _ = integrate.quad(lambda x: p.log_prob(torch.tensor(x, dtype=torch.float64)).exp().item(), -4, 5)
    assert abs(area - 1) < 1e-8


def test_bernoulli_sums_to_one_and_is_stable():
    logits = torch.tensor([-300.0, -2.0, 0.0, 5.0, 300.0])
    p = Bernoulli(logits)
    total = p.log_prob(torch.ones(5)).exp() + p.log_prob(torch.zeros(5)).exp()
    torch.testing.assert_close(total, torch.ones(5))
    assert p.log_prob(torch.ones(5))[0] == -300


def test_categorical_sums_to_one():
    p = Categorical(random(2, 3, 6, 5))
    total = sum(p.log_prob(torch.full((3, 6), float(k))).exp() for k in range(5))
    torch.testing.assert_close(total, torch.ones(2, 3, 6, dtype=torch.float64))


@pytest.mark.parametrize("scale", [1e-3, 0.05, 0.7, 20.0])
def test_discretized_logistic_sums_to_one(scale):
    location = torch.tensor([-1.4, -1.0, -0.3, 0.0, 0.9951, 1.0, 3.0], dtype=torch.float64)
    p = DiscretizedLogistic(location, torch.full_like(location, scale))
    levels = torch.arange(256, dtype=torch.float64)[:, None]
    torch.testing.assert_close(p.log_prob(levels).exp().sum(0), torch.ones_like(location), rtol=0, atol=1e-10)


def test_discretized_logistic_is_the_logistic_mass_of_each_bin():
    location, scale, levels = 0.2, 0.13, np.arange(256)
    edges = np.concatenate([[-np.inf], (np.arange(1, 256) - 0.5) * 2 / 255 - 1, [np.inf]])
    expected = np.diff(stats.logistic(location, scale).cdf(edges))
    p = DiscretizedLogistic(torch.tensor(location, dtype=torch.float64), torch.tensor(scale, dtype=torch.float64))
    np.testing.assert_allclose(p.log_prob(torch.from_numpy(levels).double()).exp(), expected, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(p.mean, (expected * levels).sum(), rtol=1e-10)


def test_discretized_logistic_stays_finite_with_gradients_in_float32():
    location = torch.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    scale = torch.full((3,), 1e-3, requires_grad=True)
    for level in (0.0, 1.0, 127.0, 254.0, 255.0):
        log_p = DiscretizedLogistic(location, scale).log_prob(torch.full((3,), level))
        gradients = torch.autograd.grad(log_p.sum(), (location, scale))
        assert torch.isfinite(log_p).all()
        assert all(torch.isfinite(g).all() for g in gradients)


def frequencies(p, levels: int, n: int) -> np.ndarray:
    return np.bincount(p.sample(Noise(make_generator(3, "draws"))).long().ravel().numpy(), minlength=levels) / n


@pytest.mark.parametrize("kind", ["bernoulli", "categorical", "discretized_logistic"])
def test_draws_have_the_probabilities(kind):
    n, levels = 40_000, {"bernoulli": 2, "categorical": 5, "discretized_logistic": 256}[kind]
    if kind == "bernoulli":
        p = Bernoulli(torch.full((n, 1, 1), -0.8, dtype=torch.float64))
    elif kind == "categorical":
        p = Categorical(random(levels).expand(n, 1, 1, levels))
    else:
        p = DiscretizedLogistic(
            torch.full((n, 1, 1), 0.9, dtype=torch.float64), torch.full((n, 1, 1), 0.05, dtype=torch.float64)
        )
    expected = np.array([p.log_prob(torch.full((1, 1), float(k)))[0].exp().item() for k in range(levels)])
    measured = frequencies(p, levels, n)
    assert measured.sum() == 1
    assert (np.abs(measured - expected) <= 4.5 * np.sqrt(expected * (1 - expected) / n) + 2 / n).all()


def test_event_sum_counts_observed_entries_only():
    log_prob = random(2, 3, 4, 5)
    mask = torch.rand(3, 4, 5, generator=make_generator(0, "mask")) < 0.5
    expected = (log_prob * mask).flatten(2).sum(-1)
    torch.testing.assert_close(event_sum(log_prob, mask), expected)
    infinite = torch.where(mask, log_prob, -torch.inf)
    torch.testing.assert_close(event_sum(infinite, mask), expected)


def test_shared_noise_is_the_same_for_every_row_and_any_batch():
    noise = Noise(make_generator(0, "shared"), shared=True)
    like = torch.zeros((), dtype=torch.float64)
    four = noise.normal((3, 4, 2), like)
    assert (four == four[:, :1]).all()
    noise.restart()
    torch.testing.assert_close(noise.normal((3, 7, 2), like)[:, 0], four[:, 0])


def test_prior_is_standard_normal():
    p = StandardNormal(3, torch.zeros((), dtype=torch.float64))
    z = random(2, 5, 3)
    torch.testing.assert_close(p.log_prob(z), TorchNormal(0.0, 1.0).log_prob(z).sum(-1))
    assert p.log_prob(torch.zeros(1, 1, 3)) == -1.5 * LOG_2PI
