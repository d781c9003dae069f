"""Gradient estimators against exact gradients: of the closed-form bound, and of E log (w₁ + w₂)/2 by quadrature."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from lowerbound.core import Draw, ObjectiveState
from lowerbound.distributions.gaussians import DiagonalGaussian, StandardNormal
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.inference.objectives import make_objective
from tests import linear_gaussian as toy
from tests.conftest import whole_batch

N, M = 5, 2  # rows of the data, rows of a minibatch
ROUNDS, REPLICATES = 100, 200  # 20,000 draws of a minibatch and its noise, in rounds of one backward pass each

UNBIASED = {
    "elbo": {},
    "elbo, 3 draws": {"n_samples": 3},
    "elbo, score": {"gradient": "score", "baseline": "none"},
    "elbo, score, running": {"gradient": "score", "baseline": "running"},
    "elbo, score, leave one out": {"gradient": "score", "n_samples": 3},
    "elbo_sampled": {"objective": "elbo_sampled"},
    "elbo_sampled, score": {"objective": "elbo_sampled", "gradient": "score", "baseline": "none"},
    "elbo_sampled, score, running": {"objective": "elbo_sampled", "gradient": "score", "baseline": "running"},
    "elbo_sampled, score, leave one out": {"objective": "elbo_sampled", "gradient": "score", "n_samples": 3},
    "elbo_sampled, stl, 3 draws": {"objective": "elbo_sampled", "gradient": "stl", "n_samples": 3},
    "iwae, 1 draw, stl": {"objective": "iwae", "gradient": "stl"},
    "iwae, 1 draw, dreg": {"objective": "iwae", "gradient": "dreg"},
    "iwae": {"objective": "iwae", "n_samples": 2},
    "iwae, score": {"objective": "iwae", "n_samples": 2, "gradient": "score", "baseline": "none"},
    "iwae, score, running": {"objective": "iwae", "n_samples": 2, "gradient": "score", "baseline": "running"},
    "iwae, score, leave one out": {"objective": "iwae", "n_samples": 2, "gradient": "score"},
    "iwae, vimco": {"objective": "iwae", "n_samples": 2, "gradient": "vimco"},
    "iwae, dreg": {"objective": "iwae", "n_samples": 2, "gradient": "dreg"},
}
BIASED = {"objective": "iwae", "n_samples": 2, "gradient": "stl"}


def data() -> Tensor:
    return toy.numbers(N, toy.F, seed=5)


def pair():
    """The model, and an encoder that is wrong by little: log w stays smooth enough for quadrature."""
    p, q = toy.model(), toy.posterior("diagonal")
    right = toy.ExactPosterior(p)
    with torch.no_grad():
        weight, bias = q.encoder.network.weight, q.encoder.network.bias
        weight *= 0.1
        weight[: toy.D] += 0.9 * right.slope.mT
        bias[: toy.D] -= right.b @ right.slope
        bias[toy.D :] += right.factor.diagonal().log()
    return p, q


def weights(p, q) -> list[Tensor]:
    return [*p.parameters(), *q.parameters()]


def flat_gradient(y: Tensor, w: list[Tensor]) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(y, w)])


def measure(p, q, objective) -> tuple[Tensor, Tensor]:
    """Mean and standard error of (N/M) Σ over random minibatches of M rows, by round."""
    x, state = data(), ObjectiveState()
    order, noise = make_generator(1, "rows"), Noise(make_generator(1, "noise"))
    rounds = []
    for _ in range(ROUNDS):
        index = torch.rand(REPLICATES, N, generator=order).argsort(1)[:, :M].flatten()
        draw = p.draw(whole_batch(x[index]), q, objective, noise)
        loss = N / M * objective.loss(draw, state).sum() / REPLICATES
        rounds.append(flat_gradient(loss, weights(p, q)))
    drawn = torch.stack(rounds)
    return drawn.mean(0), drawn.std(0) / math.sqrt(ROUNDS)


def exact_elbo_gradient(p, q) -> Tensor:
    x = data()
    distribution = q(whole_batch(x))
    return flat_gradient(-toy.exact_elbo(p, distribution.mean, distribution.scale_tril, x).sum(), weights(p, q))


def exact_iwae_gradient(p, q, n_nodes: int = 14) -> Tensor:
    """∇ of −Σ_x E log ½(w₁ + w₂) over z₁, z₂ ∈ R², by Gauss–Hermite quadrature in all four dimensions."""
    nodes, mass = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(n_nodes))
    mass = mass / mass.sum()
    epsilon = torch.cartesian_prod(*[nodes] * 4).reshape(-1, 2, toy.D).movedim(1, 0)  # (2, n⁴, D)
    probability = torch.cartesian_prod(*[mass] * 4).prod(-1)
    W, b = toy.parameters(p)
    total = torch.zeros((), dtype=torch.float64)
    for x in data():
        distribution = q(whole_batch(x[None]))
        z = distribution.mean + distribution.scale * epsilon
        log_w = Normal(z @ W.T + b, toy.SIGMA).log_prob(x).sum(-1) + Normal(0.0, 1.0).log_prob(z).sum(-1)
        log_w = log_w - Normal(distribution.mean, distribution.scale).log_prob(z).sum(-1)
        total = total - probability @ (torch.logaddexp(log_w[0], log_w[1]) - math.log(2))
    return flat_gradient(total, weights(p, q))


@pytest.fixture(scope="module")
def exact():
    p, q = pair()
    bound = exact_elbo_gradient(p, q)
    return {"elbo": bound, "elbo_sampled": bound, "iwae": exact_iwae_gradient(p, q)}


def test_the_quadrature_has_converged(exact):
    p, q = pair()
    torch.testing.assert_close(exact_iwae_gradient(p, q, 11), exact["iwae"], rtol=0, atol=0.02)


@pytest.mark.parametrize("name", UNBIASED)
def test_unbiased_in_every_coordinate(name, exact):
    """Decoder's and encoder's; the total over N rows from minibatches of M."""
    options = UNBIASED[name]
    p, q = pair()
    mean, error = measure(p, q, make_objective(**options))
    one_draw = options.get("n_samples", 1) == 1
    expected = exact["elbo" if one_draw else options.get("objective", "elbo")]
    assert (error < 0.15 * expected.abs().max()).all()  # so that the comparison means something
    assert ((mean - expected).abs() <= 4 * error + 1e-9).all()


def test_sticking_the_landing_is_biased_for_two_draws_and_the_test_above_sees_it(exact):
    p, q = pair()
    mean, error = measure(p, q, make_objective(**BIASED))
    off = (mean - exact["iwae"]).abs() / error
    n_decoder = sum(w.numel() for w in p.parameters())
    assert (off[:n_decoder] <= 4).all()  # the decoder's gradient is right
    assert (off[n_decoder:] > 4).any()


@pytest.mark.parametrize("gradient", ["pathwise", "score", "vimco"])
def test_unbiased_estimators_agree_for_more_draws(gradient):
    """With 2 draws VIMCO's baseline is the other draw; with 5 it is a geometric mean."""
    (p, q), K = pair(), 5
    mean, error = measure(p, q, make_objective("iwae", gradient, K))
    reference, reference_error = measure(p, q, make_objective("iwae", "dreg", K))
    assert (error < 0.15 * reference.abs().max()).all()
    assert ((mean - reference).abs() <= 4 * torch.hypot(error, reference_error)).all()


# the toy whose variances are known: z ~ N(0, I), x ~ N(z, I), q = N(x/2 + b, ⅔ I) in 20 dimensions


def toy_gradients(n: int, dimensions: int = 20, **options) -> Tensor:
    """n draws of the gradient in b, (n, D): every row has a b of its own."""
    objective, noise = make_objective(**options), Noise(make_generator(0, "toy"))
    b = 0.01 * toy.numbers(1, dimensions).expand(n, -1).clone().requires_grad_()
    x = (2**0.5 * toy.numbers(1, dimensions, seed=1)).expand(n, -1)
    unit = DiagonalGaussian(torch.zeros_like(x), torch.zeros_like(x))
    q = DiagonalGaussian(x / 2 + b, torch.full_like(x, 0.5 * math.log(2 / 3)))
    z = q.rsample((objective.samples,), noise)
    z = z.detach() if objective.gradient == "score" else z
    log_px = DiagonalGaussian(x, unit.log_scale).log_prob(z)
    draw = Draw(z, log_px, StandardNormal(dimensions, x), q, q.detach() if objective.gradient == "fixed_density" else q)
    return torch.autograd.grad(objective.loss(draw, ObjectiveState()).sum(), b)[0]


def variance(gradients: Tensor) -> tuple[float, float]:
    """Mean over coordinates, and its standard error over the draws."""
    squares = (gradients - gradients.mean(0)).square().mean(1)
    return squares.mean().item(), squares.std().item() / math.sqrt(len(squares))


@pytest.mark.parametrize(
    ("expected", "options"),
    [
        (8 / 3, {"objective": "elbo_sampled"}),  # −∂/∂b log w = 2(z − x/2), and var z = ⅔
        (2 / 3, {"objective": "elbo"}),  # z − x
        (2 / 3 / 4, {"objective": "elbo", "n_samples": 4}),
        (1 / 6, {"objective": "elbo_sampled", "gradient": "stl"}),  # ½(z − m) + …
        (1 / 6, {"objective": "iwae", "gradient": "dreg"}),
    ],
)
def test_the_toy_has_the_variance_it_must_have(expected, options):
    value, error = variance(toy_gradients(20_000, **options))
    assert error < 0.01 * expected
    assert abs(value - expected) < 4 * error


@pytest.mark.parametrize(
    ("published", "options"),
    [
        (0.741, {"gradient": "pathwise"}),
        (0.0463, {"gradient": "stl"}),
        (0.0105, {"gradient": "dreg"}),
        (0.254, {"gradient": "vimco"}),
    ],
)
def test_the_toy_with_four_importance_samples(published, options):
    value, error = variance(toy_gradients(20_000, objective="iwae", n_samples=4, **options))
    assert value == pytest.approx(published, rel=0.05)
    assert error < 0.02 * published


def test_a_baseline_lowers_the_variance():
    values = [
        variance(toy_gradients(4_000, objective="iwae", n_samples=4, gradient="score", baseline=baseline))[0]
        for baseline in ("none", "leave_one_out")
    ]
    assert values[1] < values[0] / 100
