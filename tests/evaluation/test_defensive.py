"""Draws from the prior among those from q: what they see, and what they cost."""

import math

import numpy as np
import pytest
import torch
from tests import linear_gaussian as toy

from lowerbound import VAE, FlowPosterior, Ladder
from lowerbound.core import Model, Posterior
from lowerbound.distributions.gaussians import DiagonalGaussian, StandardNormal
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.annealing import expected_bias, naive
from lowerbound.evaluation.bound import importance_weighted
from lowerbound.evaluation.evaluation import Evaluation

LOW, HIGH, WIDTH = -1.0, 1.2, 0.1


def log_normal(z, mean, scale):
    return -0.5 * ((z - mean) / scale) ** 2 - math.log(scale) - 0.5 * math.log(2 * math.pi)


class TwoSides(Model):
    """z ~ N(0, 1) and a p(x|z) with two peaks over z, the right one e⁶ times as high."""

    log_unit = None

    def prior(self):
        return StandardNormal(1, torch.zeros((), dtype=torch.float64))

    def log_px(self, batch, z):
        z = z[..., 0]
        return torch.logaddexp(log_normal(z, LOW, WIDTH), 6 + log_normal(z, HIGH, WIDTH))


class LeftOnly(Posterior):
    def forward(self, batch, noise=None):
        mean = torch.full((len(batch.x), 1), LOW, dtype=torch.float64)
        return DiagonalGaussian(mean, torch.full_like(mean, math.log(WIDTH)))


def noise(shared: bool = False) -> Noise:
    return Noise(make_generator(0, "defensive"), shared)


@pytest.mark.parametrize("shared", [False, True])
def test_the_effective_sample_size_sees_a_mode_that_q_misses(shared):
    rows = toy.rows(torch.zeros(20, 1, dtype=torch.float64))
    log_p, ess = importance_weighted(Evaluation(TwoSides(), LeftOnly(), rows, noise(shared)), 5000)
    spread = math.hypot(1, WIDTH)  # ∫ N(z; m, s²) N(z; 0, 1) dz = N(m; 0, 1 + s²)
    exact = np.logaddexp(log_normal(LOW, 0, spread), 6 + log_normal(HIGH, 0, spread))
    missed = exact - log_normal(LOW, 0, spread)
    assert missed > 5  # what draws from q alone are too low by
    assert ess.max() < 100
    assert (log_p - exact).abs().max() < 6 / math.sqrt(ess.min())


@pytest.mark.parametrize("K", [10, 64, 5000])
def test_the_estimate_is_unbiased_and_costs_a_hundredth_of_a_nat_where_q_is_good(K):
    p, x = toy.model(), toy.numbers(2000, toy.F, seed=6)
    log_p, ess = importance_weighted(Evaluation(p, toy.ExactPosterior(p), toy.rows(x), noise()), K)
    error = (log_p - toy.marginal(p).log_prob(x)).detach()
    ratio = error.exp()
    assert (ratio.mean() - 1).abs() < 4 * ratio.std() / len(x) ** 0.5
    assert error.mean() > -0.01
    assert expected_bias(ess, K) < (0.01 if K > 10 else 0.05)


def test_few_draws_are_all_from_q():
    p, x = toy.model(), toy.numbers(5, toy.F, seed=6)
    log_p, _ = importance_weighted(Evaluation(p, toy.ExactPosterior(p), toy.rows(x), noise()), 9)
    torch.testing.assert_close(log_p, toy.marginal(p).log_prob(x).detach())


@pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")
@pytest.mark.parametrize(
    "parameters",
    [{"latent_dim": (2, 1)}, {"latent_dim": Ladder(2, 1, width=16)}, {"posterior": FlowPosterior()}, {"prior": "vamp"},
     {"prior": "flow"}, {"posterior": "mean_field"}, {"posterior": "shared"}],
    ids=str,
)  # fmt: skip
def test_every_kind_of_latent_variables_agrees_with_draws_of_the_prior(parameters):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 1)) * [1.0, -1.0, 0.5] + rng.normal(size=(100, 3))
    vae = VAE(**{"latent_dim": 2, "max_epochs": 3, "random_state": 0, "early_stopping": False, **parameters}).fit(X)
    on = vae.fitted_.exactly().on(X[:10])
    mixed, ess = importance_weighted(on, 5000)
    prior, other = naive(on, 20_000)
    assert (mixed - prior).abs().max() < 6 * (1 / ess + 1 / other).max().sqrt()
    assert (mixed - prior).mean().abs() < 0.03
