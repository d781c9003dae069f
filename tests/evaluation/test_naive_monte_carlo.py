"""p(x) by averaging p(x|z) over the prior, against importance sampling from q, where p(x) is known.

For draws z_k of a proposal r(z), p̂(x) = (1/K) Σ_k p(x, z_k)/r(z_k) is unbiased whatever r is. What r decides is the
variance: one weight, divided by p(x), has the variance ∫ p(z|x)²/r(z) dz − 1. With the prior as r that grows
exponentially with the number of latent variables.
"""

import math

import pytest
import torch
from tests.conftest import whole_batch
from tests.linear_gaussian import numbers, rows
from torch import Tensor, nn

from lowerbound.core import Batch, Posterior
from lowerbound.distributions.gaussians import DiagonalGaussian
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.bound import importance_weighted
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.inference.posteriors import StartAtPrior
from lowerbound.models.ppca import LinearGaussian

SIGMA = 0.5
DIMENSIONS = (1, 4, 16, 64)


def linear_gaussian(D: int) -> LinearGaussian:
    """z ~ N(0, I) in D dimensions, x = Wz + σε in as many; Wz has variance 1 on average.

    z is turned so that its entries are independent given x.
    """
    model = LinearGaussian((D,), D)
    with torch.no_grad():
        model.weights.copy_(numbers(D, D, seed=D) / math.sqrt(D))
        model.log_scale.fill_(math.log(SIGMA))
        model.rotate()
    return model.requires_grad_(False)


def draw_rows(model: LinearGaussian, n: int) -> Tensor:
    z, epsilon = numbers(n, model.latent_dim, seed=100), numbers(n, model.latent_dim, seed=101)
    return z @ model.weights.T + SIGMA * epsilon


class Widened(Posterior):
    """A q that is nearly right: the exact posterior with its standard deviations times ``factor``."""

    def __init__(self, model: LinearGaussian, factor: float = 1.2) -> None:
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, batch: Batch, noise: Noise | None = None) -> DiagonalGaussian:
        exact = self.model.posterior(batch)
        return DiagonalGaussian(exact.mean, (self.factor * exact.scale).log())


def proposals(model: LinearGaussian) -> dict[str, nn.Module]:
    return {"prior": StartAtPrior(model.latent_dim), "q": Widened(model)}


def errors(model: LinearGaussian, proposal: nn.Module, x: Tensor, K: int, purpose: str = "noise") -> Tensor:
    """log p̂(x) − log p(x) of every row, shape (n,)."""
    noise = Noise(make_generator(0, purpose))
    return importance_weighted(Evaluation(model, proposal, rows(x), noise), K)[0] - model.log_prob(whole_batch(x))


def mean_and_error(values: Tensor) -> tuple[float, float]:
    return values.mean().item(), values.std().item() / math.sqrt(len(values))


def relative_variance(model: LinearGaussian, proposal: nn.Module, x: Tensor) -> Tensor:
    """∫ p(z|x)²/r(z) dz − 1 of every row, for p(z|x) = N(m, S) and r(z) = N(a, R).

    The integrand is exp(−½[zᵀΛz − 2hᵀz + c]) times constants, with Λ = 2S⁻¹ − R⁻¹ and h = 2S⁻¹m − R⁻¹a.
    """
    batch = whole_batch(x)
    p, r = model.posterior(batch), proposal(batch)
    S, R = (q.scale_tril @ q.scale_tril.mT for q in (p, r))
    m, a = p.mean.unsqueeze(-1), r.mean.unsqueeze(-1)
    precision = 2 * S.inverse() - R.inverse()
    h = 2 * S.inverse() @ m - R.inverse() @ a
    c = 2 * m.mT @ S.inverse() @ m - a.mT @ R.inverse() @ a
    square = (h.mT @ precision.inverse() @ h - c).flatten()
    return torch.expm1(0.5 * (R.logdet() - precision.logdet() + square) - S.logdet())


@pytest.mark.parametrize("D", [1, 2, 4])
@pytest.mark.parametrize("name", ["prior", "q"])
def test_both_are_unbiased_estimates_of_p(name, D):
    model = linear_gaussian(D)
    x = draw_rows(model, 1).expand(2000, D)  # one row, 2,000 times, with noise of its own each time
    mean, error = mean_and_error(errors(model, proposals(model)[name], x, K=50).exp())
    assert error < 0.05
    assert abs(mean - 1) < 4 * error


@pytest.mark.parametrize("name", ["prior", "q"])
def test_the_variance_of_a_weight_is_what_the_integral_says(name):
    model = linear_gaussian(2)
    x = draw_rows(model, 1)
    proposal = proposals(model)[name]
    squared = (errors(model, proposal, x.expand(100_000, 2), K=1).exp() - 1).square()
    mean, error = mean_and_error(squared)
    exact = relative_variance(model, proposal, x).item()
    assert error < 0.05 * exact
    assert abs(mean - exact) < 4 * error


def test_the_prior_fails_as_the_latent_dimension_grows_and_q_does_not():
    """1,000 draws for each of 200 rows. Typical errors |log p̂ − log p|, in nats."""
    found = {name: [] for name in ("prior", "q")}
    for D in DIMENSIONS:
        model = linear_gaussian(D)
        x = draw_rows(model, 200)
        for name, proposal in proposals(model).items():
            found[name].append(mean_and_error(errors(model, proposal, x, K=1000).abs()))
    for (smaller, error), (larger, other_error) in zip(found["prior"], found["prior"][1:], strict=False):
        assert larger - smaller > 4 * math.hypot(error, other_error)
    assert found["prior"][-1][0] > 5
    assert all(mean + 4 * error < 0.2 for mean, error in found["q"])
    assert found["prior"][-1][0] > 50 * found["q"][-1][0]


def test_the_variance_grows_exponentially_only_under_the_prior():
    """Nats of log variance for each further latent variable: one or so from the prior, a twentieth from q."""
    slope = {}
    for name in ("prior", "q"):
        models = [linear_gaussian(D) for D in (8, 32)]
        logs = [relative_variance(m, proposals(m)[name], draw_rows(m, 200)).log1p().mean().item() for m in models]
        slope[name] = (logs[1] - logs[0]) / 24
    assert slope["q"] == pytest.approx(math.log(1.2**2 / math.sqrt(2 * 1.2**2 - 1)))  # s²/√(2s² − 1) a dimension
    assert slope["prior"] > 10 * slope["q"]


@pytest.mark.parametrize("name", ["prior", "q"])
def test_the_logarithm_is_too_small_on_average(name):
    """Jensen: E log p̂ ≤ log E p̂ = log p. More draws raise it."""
    model = linear_gaussian(8)
    x, proposal = draw_rows(model, 1000), proposals(model)[name]
    few, many = errors(model, proposal, x, K=2), errors(model, proposal, x, K=200, purpose="more")
    mean, error = mean_and_error(few)
    assert mean < -4 * error
    gain, error = mean_and_error(many - few)
    assert gain > 4 * error


def test_one_draw_from_the_exact_posterior_is_enough():
    for D in DIMENSIONS:
        model = linear_gaussian(D)
        assert errors(model, Widened(model, 1.0), draw_rows(model, 20), K=1).abs().max() < 1e-10
