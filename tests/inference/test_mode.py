"""Codes far out: the search for a row's own q(z|x) against posteriors that are known."""

import numpy as np
import pytest
import torch
from tests import linear_gaussian as toy
from tests.conftest import whole_batch

from lowerbound import MCEM, MLP, VAE, Adam, GaussianLikelihood, MeanField
from lowerbound.assembly.vae import searched
from lowerbound.inference.mode import Laplace, curvature, mode
from lowerbound.inference.posteriors import Refined, StartAtPrior, StillRisingWarning

TOWARDS = np.array([1.0, -1.0, 0.5])


def exact_log_p(vae: VAE, X: np.ndarray) -> np.ndarray:
    """log N(x; b, WWᵀ + σ²I) of the fitted linear decoder."""
    layer = vae.model_.decoder.network.layers[-1]
    W, b = (t.detach().double() for t in (layer.weight, layer.bias))
    covariance = W @ W.mT + 0.09 * torch.eye(3, dtype=torch.float64)
    return torch.distributions.MultivariateNormal(b, covariance).log_prob(torch.from_numpy(X)).numpy()


@pytest.mark.parametrize("posterior", [MeanField(), MCEM()])
def test_codes_beyond_those_that_were_fitted_are_reached(posterior):
    """x = z(1, −1, ½) + .3ε: with one latent variable q can be p(z|x), and the bound log p(x), however far z is."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 1)) * TOWARDS + 0.3 * rng.normal(size=(300, 3))
    likelihood = GaussianLikelihood(0.3, standardize=False)
    vae = VAE(
        1, network=MLP(()), likelihood=likelihood, posterior=posterior, optimizer=Adam(0.02), early_stopping=False,
        max_epochs=4, random_state=0,
    ).fit(X)  # fmt: skip
    far = np.linspace(-8, 8, 33)[:, None] * TOWARDS
    assert np.abs(vae.score_samples(far, 200) - exact_log_p(vae, far)).max() < 0.05


def test_the_mode_and_the_curvature_of_a_gaussian_are_exact():
    """log p = −½(z − m)ᵀ Λ (z − m): the top is m and the inverse matrix Λ⁻¹, from as far as a thousand away."""
    D, B = 6, 20
    root = toy.numbers(B, D, D, seed=1)
    precision = root @ root.mT + torch.eye(D, dtype=torch.float64)
    m = 300 * toy.numbers(B, D, seed=2)

    def log_density(z):
        away = (z - m).unsqueeze(-1)
        return -0.5 * (away.mT @ precision @ away).flatten()

    z, inverse = mode(log_density, torch.zeros(B, D, dtype=torch.float64), 200)
    assert (-log_density(z)).max() < 1e-4
    assert torch.linalg.eigvalsh(inverse).min() > 0
    found = curvature(log_density, z, torch.full_like(z, 0.3))
    torch.testing.assert_close(found, precision.diagonal(dim1=1, dim2=2))


def test_the_start_is_the_best_diagonal_posterior_where_the_posterior_is_gaussian():
    p, x = toy.model(), toy.numbers(30, toy.F, seed=5) * torch.logspace(0, 3, 30, dtype=torch.float64)[:, None]
    q = Laplace(StartAtPrior(toy.D), p.log_joint, p.prior_of, 100)(whole_batch(x))
    exact = toy.ExactPosterior(p)(whole_batch(x))
    precision = torch.linalg.inv(exact.scale_tril @ exact.scale_tril.mT).diagonal(dim1=1, dim2=2)
    assert ((q.mean - exact.mean) / exact.scale).abs().max() < 0.02
    torch.testing.assert_close(q.scale, precision.rsqrt(), rtol=1e-4, atol=0)


def test_no_steps_are_the_start():
    p = toy.model()
    q = searched(p, 0)(whole_batch(toy.numbers(4, toy.F)))
    assert (q.mean == 0).all()
    assert (q.scale == 1).all()


def test_a_row_depends_on_that_row_alone():
    p, x = toy.model(), 20 * toy.numbers(20, toy.F, seed=5)
    search = searched(p, 100)
    together, alone = search(whole_batch(x)), search(whole_batch(x[3:4]))
    torch.testing.assert_close(alone.mean, together.mean[3:4])
    torch.testing.assert_close(alone.scale, together.scale[3:4])


def test_the_best_of_a_few_starts_finds_the_other_side_of_a_valley():
    """log p has its higher peak, by 8 nats, at 1.5, and the prior's mean is on the slope of the lower one, at −0.5."""

    def log_joint(batch, z):
        low, high = (-0.5 * ((z[..., 0] - m) / 0.2).square() for m in (-0.5, 1.5))
        return torch.logaddexp(low, high + 8) - 0.5 * z.square().sum(-1)

    p, batch = toy.model(), whole_batch(torch.zeros(1, toy.F, dtype=torch.float64))
    q = Laplace(StartAtPrior(toy.D), log_joint, p.prior_of, 100)(batch)
    assert q.mean[0, 0] == pytest.approx(1.5 / (1 + 0.04), abs=0.01)


def test_a_search_that_ends_too_early_says_so():
    p, x = toy.model(), 30 + toy.numbers(5, toy.F)
    with pytest.warns(StillRisingWarning, match="still rises after 8 steps"):
        Refined(StartAtPrior(toy.D), p.draw, 4, n_rounds=2)(whole_batch(x))


def test_rounds_go_on_for_the_rows_that_need_them_only():
    """In rounds of 2.5 units of z, a row at 0 needs one and a row at 8 more; the bound ends close to the best."""
    p = toy.model()
    W, b = toy.parameters(p)
    z = torch.tensor([[0.0, 0.0], [8.0, 0.0]], dtype=torch.float64)
    x = (z @ W.mT + b).detach()
    q = Refined(StartAtPrior(toy.D), p.draw, 100, n_rounds=8)(whole_batch(x))
    start = Laplace(StartAtPrior(toy.D), p.log_joint, p.prior_of, 100)(whole_batch(x))
    reached, best = (toy.exact_elbo(p, each.mean, torch.diag_embed(each.scale), x) for each in (q, start))
    assert (best - reached).max() < 0.1
