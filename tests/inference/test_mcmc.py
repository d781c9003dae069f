"""Hamiltonian Monte Carlo against distributions that are known."""

import pytest
import torch
from tests import linear_gaussian as toy
from tests.conftest import whole_batch

from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.bound import importance_weighted
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.inference.mcmc import TARGET_ACCEPTANCE, Chains, hmc
from lowerbound.inference.posteriors import Refined, StartAtPrior

N_CHAINS = 4000


def noise(purpose: str = "hmc") -> Noise:
    return Noise(make_generator(0, purpose))


def test_it_draws_from_a_correlated_normal():
    covariance = torch.tensor([[1.0, 0.8], [0.8, 2.0]], dtype=torch.float64)
    target = torch.distributions.MultivariateNormal(torch.tensor([1.0, -2.0], dtype=torch.float64), covariance)
    z, source = torch.zeros(N_CHAINS, 2, dtype=torch.float64), noise()
    for _ in range(60):
        z, acceptance = hmc(target.log_prob, z, 0.4, 8, source)
    assert 0.7 < acceptance.mean() < 1
    error = (covariance.diagonal() / N_CHAINS).sqrt()
    assert ((z.mean(0) - target.mean).abs() < 4 * error).all()
    measured = torch.cov(z.T)
    spread = ((covariance**2 + torch.outer(covariance.diagonal(), covariance.diagonal())) / N_CHAINS).sqrt()
    assert ((measured - covariance).abs() < 4 * spread).all()


def test_it_leaves_the_target_invariant_whatever_the_step_size():
    """Exact draws stay exact draws after one coarse transition: the Metropolis test corrects the leapfrog's error."""
    target = torch.distributions.Gamma(torch.tensor(3.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))

    def log_density(z):  # of log gamma, one dimension
        return (target.log_prob(z.exp()) + z).sum(-1)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        z = target.sample((N_CHAINS, 1)).log()
    moved, acceptance = hmc(log_density, z, 1.1, 3, noise())
    assert 0.2 < acceptance.mean() < 0.95  # coarse enough that the test matters
    exact_mean, exact_variance = torch.digamma(torch.tensor(3.0)), torch.polygamma(1, torch.tensor(3.0))
    assert (moved.mean() - exact_mean).abs() < 4 * (exact_variance / N_CHAINS).sqrt()
    assert (moved.var() - exact_variance).abs() < 4 * exact_variance * (3.5 / N_CHAINS) ** 0.5


def test_a_step_that_leaves_the_numbers_is_refused():
    z = torch.zeros(5, 1, dtype=torch.float64)
    moved, acceptance = hmc(lambda z: (z - z.abs().exp().exp()).sum(-1), z, 300.0, 5, noise())
    assert torch.equal(moved, z)
    assert (acceptance == 0).all()


def test_chains_draw_from_the_posterior_and_adapt():
    p, x = toy.model(), toy.numbers(300, toy.F, seed=5)
    chains = Chains(300, toy.D, p.log_joint, Refined(StartAtPrior(toy.D), p.draw, 3)).double()
    source, batch = noise(), whole_batch(x)
    for _ in range(150):
        draws = chains(batch, source)
    exact = toy.ExactPosterior(p)(batch)
    standardized = torch.linalg.solve_triangular(exact.scale_tril, (draws.mean - exact.mean)[..., None], upper=False)
    standardized = standardized.flatten()
    assert standardized.mean().abs() < 4 / len(standardized) ** 0.5
    assert (standardized.var() - 1).abs() < 4 * (2 / len(standardized)) ** 0.5
    assert chains.acceptance == pytest.approx(TARGET_ACCEPTANCE, abs=0.07)


def test_chains_continue_where_they_were_and_only_for_the_batch():
    p, x = toy.model(), toy.numbers(6, toy.F, seed=5)
    chains = Chains(10, toy.D, p.log_joint, Refined(StartAtPrior(toy.D), p.draw, 3)).double()
    batch = whole_batch(x)
    first = chains(batch, noise()).mean
    torch.testing.assert_close(chains.state[:6], first)
    assert (chains.state[6:] == 0).all()
    assert (chains(batch, noise("again")).mean != first).any()


def test_draws_have_no_density():
    p, x = toy.model(), toy.numbers(6, toy.F, seed=5)
    chains = Chains(6, toy.D, p.log_joint, Refined(StartAtPrior(toy.D), p.draw, 3)).double()
    with pytest.raises(TypeError, match=r"no density.*importance sampling"):
        importance_weighted(Evaluation(p, chains, toy.rows(x), noise()), 1)


def test_small_leapfrog_steps_conserve_the_energy():
    """The error of H after a trajectory is of the order of the step squared (Neal, 2011, section 5.2.3)."""
    z = noise("start").normal((1, 500, 3), torch.zeros((), dtype=torch.float64))[0]
    _, acceptance = hmc(lambda z: -0.5 * z.square().sum(-1), z, 0.02, 50, noise())
    assert acceptance.mean() > 0.9995
