"""A class that is known of some rows only: the bound with the class summed out, where everything is known exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import nn

from lowerbound import ELBO, MLP, VAE, GaussianLikelihood, SampledELBO
from lowerbound.assembly.vae import choose_objective
from lowerbound.classification.fitting import with_label, with_label_loss
from lowerbound.core import ObjectiveState
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.models.classes import ClassModel, ClassPosterior

W, SIGMA, V = np.array([1.0, -0.5, 0.3]), 0.4, np.array([[0.0, 0.0, 0.0], [0.8, 0.5, -0.2], [-0.3, 0.9, 0.4]])
LOG_PRIOR = np.log([0.5, 0.3, 0.2])
TOTAL = W @ W + SIGMA**2
N = 60


class ExactClassifier(nn.Module):
    """log p(c|x) of x = W z + V_c + σ ε."""

    def forward(self, x: torch.Tensor, mask: object = None, missing: object = None) -> torch.Tensor:
        return torch.from_numpy(log_joint(x.double().numpy())).log_softmax(-1).to(x)


def log_joint(x: np.ndarray) -> np.ndarray:
    """log p(x, c), (n, 3)."""
    d = x[:, None] - V
    covariance = np.outer(W, W) + SIGMA**2 * np.eye(3)
    quadratic = np.einsum("nki,ij,nkj->nk", d, np.linalg.inv(covariance), d)
    return -0.5 * (quadratic + np.linalg.slogdet(2 * math.pi * covariance)[1]) + LOG_PRIOR


@pytest.fixture(scope="module")
def exact():
    """The model with its exact posterior, its rows, and the labels, of which two thirds aren't known."""
    rng = np.random.default_rng(0)
    c = np.arange(N) % 3
    x = rng.normal(size=(N, 1)) * W + V[c] + SIGMA * rng.normal(size=(N, 3))
    labels = np.where(rng.random(N) < 1 / 3, np.array(["a", "b", "c"], dtype=object)[c], None)
    likelihood = GaussianLikelihood(SIGMA, standardize=False)
    vae = VAE(1, network=MLP(()), likelihood=likelihood, max_epochs=1, early_stopping=False, random_state=0)
    vae.fit(x, context=labels)
    assert vae.context_.columns[0].categories == ("a", "b", "c")
    coded = np.vstack([V, np.zeros(3)])
    decoder, encoder = vae.model_.decoder.network, vae.posterior_.encoder.network.layers[0]
    with torch.no_grad():
        decoder.layers[0].weight.copy_(torch.from_numpy(np.vstack([W, coded]).T))
        for bias in (decoder.bias, decoder.layers[0].bias):
            if bias is not None:
                bias.zero_()
        encoder.weight.zero_()
        encoder.weight[0].copy_(torch.from_numpy(np.concatenate([W, -coded @ W]) / TOTAL))
        encoder.bias.copy_(torch.tensor([0.0, math.log(SIGMA / math.sqrt(TOTAL))]))
    fitted = vae.given(labels).fitted_.exactly()
    rows = fitted.rows(x)
    log_p = torch.from_numpy(LOG_PRIOR)
    some = with_label(rows)
    posterior = ClassPosterior(
        ExactClassifier(), fitted.posterior, log_p, lambda noise: next(some.batches(5)), len(some) / N
    )
    return ClassModel(fitted.model, log_p), posterior.eval(), next(rows.batches(N)), x, labels


def drawn(exact, objective):
    model, posterior, batch, *_ = exact
    return model.draw(batch, posterior, objective, Noise(make_generator(0, "test")))


def test_every_importance_weight_is_the_exact_density(exact):
    *_, x, labels = exact
    log_p = log_joint(x)
    known = np.array([label is not None for label in labels])
    own = np.array(["abc".index(label) if label else 0 for label in labels])
    truth = np.where(known, log_p[np.arange(N), own], logsumexp(log_p, axis=1))
    found = drawn(exact, choose_objective(VAE(objective=SampledELBO(n_samples=2)).asked())).log_w.detach()
    np.testing.assert_allclose(found, np.broadcast_to(truth, (2, N)), atol=1e-5)


def test_the_kl_is_that_of_z_and_that_of_the_class(exact):
    *_, x, labels = exact
    known = np.array([label is not None for label in labels])
    q = np.exp(log_joint(x) - logsumexp(log_joint(x), axis=1, keepdims=True))
    q[known] = np.eye(3)[["abc".index(label) for label in labels if label]]
    mean, variance = (x[:, None] - V) @ W / TOTAL, SIGMA**2 / TOTAL
    of_z = (q * 0.5 * (mean**2 + variance - 1 - math.log(variance))).sum(1)
    of_class = np.where(q > 0, q * (np.log(np.maximum(q, 1e-300)) - LOG_PRIOR), 0).sum(1)
    found = drawn(exact, choose_objective(VAE().asked())).kl.detach()
    np.testing.assert_allclose(found, np.column_stack([of_z, of_class]), atol=1e-5)


def test_the_label_loss_is_the_mean_cross_entropy_of_the_labels(exact):
    *_, x, labels = exact
    log_q = log_joint(x) - logsumexp(log_joint(x), axis=1, keepdims=True)
    truth = -np.mean([log_q[i, "abc".index(label)] for i, label in enumerate(labels) if label])
    draw = drawn(exact, choose_objective(VAE().asked()))
    assert draw.label_loss.mean().item() == pytest.approx(truth, abs=1e-5)
    plain = choose_objective(VAE(objective=ELBO()).asked())
    more = with_label_loss(plain, 3.0).loss(draw, ObjectiveState()) - plain.loss(draw, ObjectiveState())
    assert more.mean().item() == pytest.approx(3 * truth, abs=1e-4)


def test_classes_that_are_drawn_have_the_gradient_of_the_sum_over_all(exact, monkeypatch):
    """Means over draws agree with the exact sum within 4 standard errors; few of the classes are decoded."""
    model, posterior, batch, *_ = exact
    objective, shift = choose_objective(VAE().asked()), torch.tensor([0.3, -0.2, 0.1], requires_grad=True)
    decoder, n_pairs = model.model.decoder.network.layers[0].weight, []
    monkeypatch.setattr(posterior, "log_class", lambda b: (ExactClassifier()(b.x) * 0.3 + shift).log_softmax(-1))
    inner = model.model.draw
    monkeypatch.setattr(model.model, "draw", lambda b, *others: n_pairs.append(len(b.x)) or inner(b, *others))

    def gradients(threshold: float, seed: int) -> np.ndarray:
        monkeypatch.setattr("lowerbound.models.classes.KEPT_FROM", threshold)
        draw = model.draw(batch, posterior, objective, Noise(make_generator(seed, "test")))
        loss = objective.loss(draw, ObjectiveState()).sum()
        return np.concatenate([[loss.item()], *(g.flatten() for g in torch.autograd.grad(loss, (shift, decoder)))])

    posterior.train()
    found = np.array([[gradients(threshold, seed) for seed in range(400)] for threshold in (0.5, 1e-30)])
    posterior.eval()
    drawn_pairs, all_pairs = np.array(n_pairs).reshape(2, -1).mean(1)
    error = np.sqrt((found.var(1) / 400).sum(0))
    assert (np.abs(found[0].mean(0) - found[1].mean(0)) <= 4 * error + 1e-9).all()
    assert drawn_pairs < 0.75 * all_pairs


def test_training_tells_labels_of_some_rows_in_every_step(exact):
    _, posterior, _, x, labels = exact
    first = [i for i, label in enumerate(labels) if label][:5]  # those that the fixture's ``labeled`` gives
    log_q = log_joint(x) - logsumexp(log_joint(x), axis=1, keepdims=True)
    posterior.train()
    draw = drawn(exact, choose_objective(VAE().asked()))
    posterior.eval()
    truth = -np.mean([log_q[i, "abc".index(labels[i])] for i in first])
    np.testing.assert_allclose(draw.label_loss.detach(), np.full(N, truth), atol=1e-5)
