"""The RBM against sums over all its states: energy, conditionals, gradient, log Z."""

import math
from itertools import pairwise

import pytest
import torch
from tests.conftest import whole_batch
from torch import Tensor

from lowerbound.core import Batch
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.models import rbm as module
from lowerbound.models.rbm import RBM, annealed_log_z, contrastive_divergence, enumerated_log_z, pseudo_log_likelihood

SIZES = pytest.mark.parametrize(("D", "H"), [(4, 3), (3, 5), (6, 6)])


def machine(D: int, H: int, seed: int = 0, strength: float = 1.0, **more) -> RBM:
    """Strong weights and biases, and base rates that aren't the biases."""
    generator = make_generator(seed, "machine")
    rbm = RBM(torch.randn(D, generator=generator), H, generator, **more).double()
    with torch.no_grad():
        for parameter in rbm.parameters():
            parameter.normal_(std=strength, generator=generator)
    return rbm


def some_noise(purpose: str = "noise") -> Noise:
    return Noise(make_generator(0, purpose))


def states(n: int) -> Tensor:
    """All 2ⁿ rows, shape (2ⁿ, n)."""
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * n).view(-1, n)


def joint(rbm: RBM) -> Tensor:
    """p(v, h), shape (2^D, 2^H), from the definition."""
    W, b, c = rbm.weight.detach(), rbm.visible_bias.detach(), rbm.hidden_bias.detach()
    v, h = states(len(b)), states(len(c))
    weight = ((v @ b)[:, None] + h @ c + v @ W @ h.T).exp()
    return weight / weight.sum()


def transition(rbm: RBM) -> Tensor:
    """p(v'|v) of a step of block Gibbs sampling, Σ_h p(h|v) p(v'|h), shape (2^D, 2^D)."""
    p = joint(rbm)
    return (p / p.sum(1, keepdim=True)) @ (p / p.sum(0)).T


def frequencies(v: Tensor) -> Tensor:
    place = v.flatten(1) @ 2.0 ** torch.arange(v.flatten(1).shape[1] - 1, -1, -1, dtype=v.dtype)
    return torch.bincount(place.long(), minlength=2 ** v.flatten(1).shape[1]).double() / len(v)


def assert_draws(v: Tensor, p: Tensor) -> None:
    """Frequencies of all states within 4 standard errors."""
    assert ((frequencies(v) - p).abs() <= 4 * (p * (1 - p) / len(v)).sqrt()).all()


def draws(p: Tensor, n: int) -> Tensor:
    """States drawn from a vector of their probabilities."""
    generator = make_generator(1, "states")
    return states(int(math.log2(len(p))))[torch.multinomial(p, n, replacement=True, generator=generator)]


# the density


@SIZES
def test_the_density_is_that_of_the_definition(D, H):
    rbm = machine(D, H)
    rbm.log_z.fill_(enumerated_log_z(rbm).value)
    log_p = rbm.log_prob(whole_batch(states(D)))
    torch.testing.assert_close(log_p, joint(rbm).sum(1).log(), rtol=0, atol=1e-12)
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_enumeration_in_parts(monkeypatch):
    rbm = machine(7, 6)
    whole = enumerated_log_z(rbm)
    monkeypatch.setattr(module, "PASS_NUMBERS", 7 * 5)
    assert enumerated_log_z(rbm).value == pytest.approx(whole.value, abs=1e-12)
    assert whole[1:] == (0.0, None)


@pytest.mark.parametrize(("D", "H"), [(300, 4), (4, 300)])
def test_the_larger_layer_is_never_enumerated(D, H):
    """2³⁰⁰ states could not be visited; annealing agrees within 4 standard errors."""
    rbm = machine(D, H, strength=0.3)
    exact, annealed = enumerated_log_z(rbm), annealed_log_z(rbm, 100, 300, some_noise())
    assert abs(annealed.value - exact.value) <= 4 * annealed.standard_error


@SIZES
def test_the_gradient_of_the_free_energy(D, H):
    rbm, v = machine(D, H), draws(torch.full((2**D,), 2.0**-D), 5)
    expected = torch.autograd.grad(rbm.free_energy(v).mean(), list(rbm.parameters()))
    torch.testing.assert_close(tuple(rbm.free_energy_gradient(v)), expected)


def test_missing_entries_are_refused():
    x = states(3)
    with pytest.raises(ValueError, match="whole rows"):
        machine(3, 2).log_prob(Batch(x, x > 0, torch.arange(8)))


@SIZES
def test_the_pseudo_likelihood_is_unbiased(D, H):
    rbm, p = machine(D, H), joint(machine(D, H)).sum(1)
    v = states(D)
    flipped = [(v - torch.eye(D, dtype=v.dtype)[i]).abs() for i in range(D)]
    index = [(f @ 2.0 ** torch.arange(D - 1, -1, -1, dtype=v.dtype)).long() for f in flipped]
    exact = sum((p / (p + p[k])).log() for k in index)
    n = 4000
    estimates = pseudo_log_likelihood(rbm, v.repeat(n, 1), some_noise()).detach().view(n, -1)
    assert ((estimates.mean(0) - exact).abs() <= 4 * estimates.std(0) / math.sqrt(n)).all()


# Gibbs sampling


@SIZES
def test_the_conditionals_are_those_of_the_joint(D, H):
    rbm, p, v, h = machine(D, H), joint(machine(D, H)), states(D), states(H)
    torch.testing.assert_close(rbm.hidden_logits(v).sigmoid(), p @ h / p.sum(1, keepdim=True))
    torch.testing.assert_close(rbm.visible_logits(h).sigmoid(), p.T @ v / p.sum(0)[:, None])


@pytest.mark.parametrize("start", [0, 5, 15])
def test_a_step_has_the_transition_probabilities_of_the_joint(start):
    rbm, n = machine(4, 3), 50_000
    v = rbm.gibbs_step(states(4)[start].expand(n, 4), some_noise())
    assert_draws(v.detach(), transition(rbm)[start])


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.7, 1.0])
def test_a_step_at_each_temperature_leaves_its_distribution(beta):
    """p_β(v) ∝ exp((1−β) a·v + β b·v) Π_j (1 + exp β(c + Wᵀv)_j)."""
    rbm, v = machine(4, 3), states(4)
    log_p = (1 - beta) * v @ rbm.base + beta * v @ rbm.visible_bias
    log_p = log_p + torch.log1p(torch.exp(beta * rbm.hidden_logits(v))).sum(1)
    p = log_p.softmax(0).detach()
    assert_draws(rbm.gibbs_step(draws(p, 50_000), some_noise(), beta).detach(), p)


def test_samples_follow_the_density():
    rbm = machine(4, 3, burn_in=40)
    assert_draws(rbm.sample(50_000, some_noise()), joint(rbm).sum(1))


def test_samples_have_the_shape_of_the_event():
    rbm = RBM(torch.zeros(2, 3, 1), 4, make_generator(0, "weights"), burn_in=2)
    assert rbm.sample(5, some_noise()).shape == (5, 2, 3, 1)


def test_probabilities_have_the_mean_of_draws():
    rbm, n = machine(4, 3, burn_in=40), 20_000
    means = rbm.sample(n, some_noise(), mean=True)
    exact = joint(rbm).sum(1) @ states(4)
    assert ((means.mean(0) - exact).abs() <= 4 * means.std(0) / math.sqrt(n)).all()


# learning


def exact_gradient(rbm: RBM, v: Tensor) -> Tensor:
    """Of mean log p(v) = −mean F(v) − log Σ_v exp(−F(v)), in all parameters, flat."""
    log_p = -rbm.free_energy(v).mean() - (-rbm.free_energy(states(len(rbm.base)))).logsumexp(0)
    return torch.cat([g.flatten() for g in torch.autograd.grad(log_p, list(rbm.parameters()))])


def expected_divergence(rbm: RBM, v: Tensor, n_steps: int) -> Tensor:
    """The expectation of CD-k over its chains, summed over all states."""
    reached = frequencies(v) @ torch.linalg.matrix_power(transition(rbm), n_steps)
    energy = rbm.free_energy(states(len(rbm.base))) @ reached - rbm.free_energy(v).mean()
    return torch.cat([g.flatten() for g in torch.autograd.grad(energy, list(rbm.parameters()))])


def flat(gradient) -> Tensor:
    return torch.cat([g.flatten() for g in gradient]).detach()


@pytest.mark.parametrize("n_steps", [1, 3])
def test_contrastive_divergence_has_the_expectation_of_its_chains(n_steps):
    """200 runs from 100 data each; every coordinate within 4 standard errors."""
    rbm, noise = machine(4, 3, strength=0.7), some_noise()
    v = draws(torch.tensor([0.4, 0.1, *[0.0] * 12, 0.2, 0.3]), 100)
    runs = torch.stack([flat(contrastive_divergence(rbm, v, v, n_steps, noise)[0]) for _ in range(200)])
    error = runs.std(0) / math.sqrt(200)
    assert ((runs.mean(0) - expected_divergence(rbm, v, n_steps)).abs() <= 4 * error).all()


def test_contrastive_divergence_nears_the_gradient_as_chains_grow():
    rbm, v = machine(4, 3, strength=2.0), draws(torch.tensor([0.4, 0.1, *[0.0] * 12, 0.2, 0.3]), 100)
    exact = exact_gradient(rbm, v)
    bias = [(expected_divergence(rbm, v, k) - exact).norm() / exact.norm() for k in (0, 1, 2, 4, 8, 16)]
    assert bias[0] == pytest.approx(1)  # chains that don't move: no gradient at all
    assert all(later < 0.8 * earlier for earlier, later in pairwise(bias))
    assert bias[-1] < 1e-6


def test_chains_from_the_model_give_the_gradient():
    """What persistent chains aim at: 200 runs with 100 chains that are draws from p(v)."""
    rbm, noise = machine(4, 3, strength=0.7), some_noise()
    v = draws(torch.tensor([0.4, 0.1, *[0.0] * 12, 0.2, 0.3]), 100)
    chains = draws(joint(rbm).sum(1), 20_000).view(200, 100, 4)
    runs = torch.stack([flat(contrastive_divergence(rbm, v, start, 1, noise)[0]) for start in chains])
    assert ((runs.mean(0) - exact_gradient(rbm, v)).abs() <= 4 * runs.std(0) / math.sqrt(200)).all()


def test_chains_go_on_from_where_they_were():
    rbm, v, start = machine(4, 3), states(4)[:5], states(4)[9:]
    gradient, chains = contrastive_divergence(rbm, v, start, 0, some_noise())
    assert torch.equal(chains, start)
    expected = flat(rbm.free_energy_gradient(start)) - flat(rbm.free_energy_gradient(v))
    torch.testing.assert_close(flat(gradient), expected)
    once, _ = some_noise(), contrastive_divergence(rbm, v, start, 2, some_noise())[1]
    torch.testing.assert_close(_, rbm.gibbs_step(rbm.gibbs_step(start, once), once))


# the normalizer


@pytest.mark.parametrize("seed", range(5))
@SIZES
def test_annealing_agrees_with_enumeration(D, H, seed):
    rbm = machine(D, H, seed)
    annealed, exact = annealed_log_z(rbm, 500, 100, some_noise()), enumerated_log_z(rbm)
    assert abs(annealed.value - exact.value) <= 4 * annealed.standard_error
    assert annealed.standard_error < 0.05
    assert annealed.ess is not None
    assert annealed.ess > 250


@pytest.mark.parametrize("n_temperatures", [1, 5])
def test_annealing_is_unbiased_in_z_and_knows_its_error(n_temperatures):
    """400 runs of 50 chains: E[Ẑ] = Z, and the spread of log Ẑ is the error that is reported."""
    rbm, noise = machine(6, 5, seed=1), some_noise()
    exact = enumerated_log_z(rbm).value
    runs = [annealed_log_z(rbm, 50, n_temperatures, noise) for _ in range(400)]
    log_ratio = torch.tensor([run.value - exact for run in runs])
    ratio = log_ratio.exp()
    assert abs(ratio.mean() - 1) <= 4 * ratio.std() / 20
    reported = torch.tensor([run.standard_error for run in runs]).square().mean().sqrt()
    assert 0.7 < reported / log_ratio.std() < 1.4


def test_log_z_is_too_small_in_expectation():
    """Jensen: E[log Ẑ] < log E[Ẑ], by more than 4 standard errors where five chains are annealed in one step."""
    rbm, noise = machine(6, 5, seed=1), some_noise()
    exact = enumerated_log_z(rbm).value
    log_ratio = torch.tensor([annealed_log_z(rbm, 5, 1, noise).value - exact for _ in range(400)])
    assert log_ratio.mean() < -4 * log_ratio.std() / 20


def test_annealing_is_exact_where_there_is_nothing_to_anneal():
    rbm = RBM(torch.tensor([0.3, -1.0, 2.0]), 7, make_generator(0, "weights")).double()
    with torch.no_grad():
        rbm.weight.zero_()
    annealed = annealed_log_z(rbm, 10, 3, some_noise())
    assert annealed.value == pytest.approx(enumerated_log_z(rbm).value, abs=1e-12)
    assert annealed.standard_error == pytest.approx(0, abs=1e-6)
