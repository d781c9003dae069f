"""The mathematics of the lower bound, on a model whose log p(x), posterior and gradients are known."""

import math

import pytest
import torch

from lowerbound.core import Objective, ObjectiveState
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.bound import elbo_terms, importance_weighted
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.inference.objectives import elbo
from tests import linear_gaussian as toy
from tests.conftest import whole_batch

COVARIANCES = pytest.mark.parametrize("covariance", ["isotropic", "diagonal", "full"])


def some_noise(purpose: str = "noise") -> Noise:
    return Noise(make_generator(0, purpose))


def test_with_the_exact_posterior_every_weight_is_log_p():
    p, x = toy.model(), toy.numbers(6, toy.F, seed=5)
    objective = Objective(lambda draw, state: -draw.log_w.mean(0), samples=9)
    draw = p.draw(whole_batch(x), toy.ExactPosterior(p), objective, some_noise())
    exact = toy.marginal(p).log_prob(x)
    assert draw.log_w.shape == (9, 6)
    torch.testing.assert_close(draw.log_w, exact.expand(9, 6), rtol=0, atol=1e-12)


def test_log_joint_is_the_sum_of_its_factors():
    p, x, z = toy.model(), toy.numbers(6, toy.F, seed=5), toy.numbers(4, 6, toy.D)
    W, b = toy.parameters(p)
    normal = torch.distributions.Normal
    expected = normal(z @ W.T + b, toy.SIGMA).log_prob(x).sum(-1) + normal(0.0, 1.0).log_prob(z).sum(-1)
    torch.testing.assert_close(p.log_joint(whole_batch(x), z), expected)


@COVARIANCES
def test_gradients_of_the_bound_are_unbiased(covariance):
    """200 means of 100 draws against the gradient of the closed-form bound, in every coordinate of θ and φ."""
    p, q, x = toy.model(), toy.posterior(covariance), toy.numbers(4, toy.F, seed=5)
    weights = [*p.parameters(), *q.parameters()]
    batch, objective, noise = whole_batch(x), elbo(n_samples=100), some_noise()

    def gradient(loss):
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])

    drawn = []
    for _ in range(200):
        draw = p.draw(batch, q, objective, noise)
        drawn.append(gradient(objective.loss(draw, ObjectiveState()).mean()))
    measured = torch.stack(drawn)
    distribution = q(batch)
    exact = gradient(-toy.exact_elbo(p, distribution.mean, distribution.scale_tril, x).mean())
    error = measured.std(0) / len(measured) ** 0.5
    assert ((measured.mean(0) - exact).abs() <= 4 * error + 1e-12).all()
    assert (error < 0.05 * exact.abs().max()).all()  # so that the comparison means something


@COVARIANCES
def test_the_bound_is_below_log_p_and_equals_its_closed_form(covariance):
    p, q, x = toy.model(), toy.posterior(covariance), toy.numbers(400, toy.F, seed=5)
    distribution = q(whole_batch(x))
    exact = toy.exact_elbo(p, distribution.mean, distribution.scale_tril, x).detach()
    assert (exact < toy.marginal(p).log_prob(x)).all()
    measured = elbo_terms(Evaluation(p, q, toy.rows(x), some_noise()), n_samples=50).elbo
    error = (measured - exact).std() / len(x) ** 0.5
    assert (measured - exact).mean().abs() < 4 * error


def test_importance_weighted_bound_approaches_log_p():
    p, x = toy.model(), toy.numbers(300, toy.F, seed=6)
    q = toy.ExactPosterior(p, shift=0.3, widen=1.4)
    exact = toy.marginal(p).log_prob(x).detach()
    gaps = []
    for n_importance in (1, 10, 100, 5000):
        log_p, ess = importance_weighted(Evaluation(p, q, toy.rows(x), some_noise()), n_importance)
        gaps.append((exact - log_p).mean().item())
    assert gaps == sorted(gaps, reverse=True)
    # at K = 5000 the error of a row has standard deviation √(1/ESS − 1/K), and the bound's bias is half its square
    variance = 1 / ess - 1 / n_importance
    error = variance.mean().sqrt() / len(x) ** 0.5
    assert abs(gaps[-1] - 0.5 * variance.mean()) < 4 * error
    assert ((exact - log_p).abs() < 6 * variance.sqrt() + 1e-3).float().mean() > 0.99


def test_importance_weights_are_streamed_exactly(monkeypatch):
    p, x = toy.model(), toy.numbers(7, toy.F, seed=6)
    q = toy.ExactPosterior(p, shift=0.3, widen=1.4)
    batch, K = whole_batch(x), 64
    noise = some_noise()  # of 64 draws 58 are from q and 6 from p(z), and the weights are p(x, z)/(58 q + 6 p)/64
    z = torch.cat([q(batch).rsample((58,), noise), p.prior().rsample((6, 7), noise)])
    proposal = torch.logaddexp(q(batch).log_prob(z) + math.log(58 / K), p.prior().log_prob(z) + math.log(6 / K))
    weights = (p.log_joint(batch, z) - proposal).detach()
    log_p, ess = importance_weighted(Evaluation(p, q, toy.rows(x), some_noise()), K)
    torch.testing.assert_close(log_p, weights.logsumexp(0) - torch.tensor(K).log())
    normalized = weights.softmax(0)
    torch.testing.assert_close(ess, 1 / normalized.square().sum(0))
    monkeypatch.setattr("lowerbound.evaluation.evaluation.PASS_ELEMENTS", 7 * toy.F * 5)
    streamed, _ = importance_weighted(Evaluation(p, q, toy.rows(x), some_noise()), 20_000)
    whole = toy.marginal(p).log_prob(x)
    assert (streamed - whole).abs().max() < 0.05


def test_exact_posterior_has_full_effective_sample_size():
    p, x = toy.model(), toy.numbers(5, toy.F, seed=6)
    log_p, ess = importance_weighted(Evaluation(p, toy.ExactPosterior(p), toy.rows(x), some_noise()), 9)
    torch.testing.assert_close(ess, torch.full((5,), 9.0, dtype=torch.float64))
    torch.testing.assert_close(log_p, toy.marginal(p).log_prob(x).detach())


def test_missing_entries_are_not_counted():
    p, x = toy.model(), toy.numbers(5, toy.F, seed=6)
    batch = whole_batch(x)
    batch.mask[:, 1] = False
    z = toy.numbers(2, 5, toy.D)
    W, b = toy.parameters(p)
    expected = torch.distributions.Normal(z @ W.T + b, toy.SIGMA).log_prob(x)[..., [0, 2]].sum(-1)
    torch.testing.assert_close(p.log_px(batch, z), expected)


def test_kl_weight_warm_up_and_free_bits():
    p, q, x = toy.model(), toy.posterior("diagonal"), toy.numbers(5, toy.F, seed=6)
    draw = p.draw(whole_batch(x), q, elbo(), some_noise())
    kl, log_px = draw.kl, draw.log_px[0]
    at = lambda step, **options: elbo(**options).loss(draw, ObjectiveState(step))  # noqa: E731
    torch.testing.assert_close(at(0), kl.sum(-1) - log_px)
    torch.testing.assert_close(at(0, kl_weight=3.0), 3 * kl.sum(-1) - log_px)
    torch.testing.assert_close(at(0, kl_warmup_steps=10), -log_px)
    torch.testing.assert_close(at(5, kl_warmup_steps=10, kl_weight=2.0), kl.sum(-1) - log_px)
    torch.testing.assert_close(at(99, kl_warmup_steps=10), kl.sum(-1) - log_px)
    threshold = kl.mean(0).mean().item()  # between the two groups
    held = torch.where(kl.mean(0) > threshold, kl, threshold).sum(-1)
    torch.testing.assert_close(at(0, free_bits=threshold), held - log_px)
    by_group = kl.mean(0).clamp_min(threshold).sum() - log_px.mean()
    torch.testing.assert_close(at(0, free_bits=threshold).mean(), by_group)
