"""The scores of outliers against the linear-Gaussian model, whose conditionals are known."""

import math

import numpy as np
import pytest
import torch
from tests import linear_gaussian as toy
from tests.conftest import whole_batch
from torch.distributions import Normal

from lowerbound.distributions import Noise, make_generator
from lowerbound.inference.posteriors import Prior
from lowerbound.tasks.outliers import PATCH, bound, draws_of_entry, parts_of, regret, surprise

X = toy.numbers(5, toy.F, seed=3)


def noise(seed: int = 0, shared: bool = False) -> Noise:
    return Noise(make_generator(seed, "noise"), shared)


def exact_conditionals(x: torch.Tensor) -> torch.Tensor:
    """−log p(x_j | x_-j), (B, F), of a joint normal of precision Λ: N(μ_j − Λ_j,-j (x − μ)_-j / Λ_jj, 1/Λ_jj)."""
    p = toy.marginal(toy.model())
    precision, deviation = p.precision_matrix, x - p.mean
    diagonal = precision.diagonal()
    mean = p.mean + deviation - deviation @ precision / diagonal
    return -Normal(mean, diagonal.rsqrt()).log_prob(x).detach()


def test_the_surprise_is_the_exact_conditional():
    runs = [
        surprise(toy.model(), Prior(toy.D), toy.rows(X), noise(seed), n_parts=9, n_samples=4000) for seed in range(16)
    ]
    estimates = torch.stack(runs)
    error = estimates.std(0) / math.sqrt(len(estimates))
    assert (error < 0.02).all()
    assert ((estimates.mean(0) - exact_conditionals(X)).abs() < 5 * error + 1e-3).all()  # 1e-3: a logarithm's bias


def test_a_missing_entry_surprises_nobody_and_is_no_evidence():
    rows = toy.rows(X[:1].repeat(2, 1))
    rows.raw[1, 0] = 100.0
    rows.mask = torch.tensor([False, True, True])
    nats = surprise(toy.model(), Prior(toy.D), rows, noise(shared=True), n_samples=20)
    assert nats[:, 0].isnan().all()
    torch.testing.assert_close(nats[0], nats[1], equal_nan=True)


class Told(Prior):
    """The prior as a proposal, which keeps what it was told to be missing."""

    def forward(self, batch, noise=None):
        self.missing = batch.missing
        return super().forward(batch, noise)


def test_an_entry_is_drawn_given_the_others_and_the_encoder_is_told_that_it_is_hidden():
    rows, told = np.array([0, 3]), Told(toy.D)
    runs = [draws_of_entry(toy.model(), told, toy.rows(X), noise(seed), rows, 1, 500) for seed in range(16)]
    assert torch.equal(told.missing, torch.tensor([[False, True, False]] * 2))
    draws = torch.stack(runs).unflatten(1, (500, 2))
    assert torch.equal(draws[..., [0, 2]], X[rows][:, [0, 2]].expand(16, 500, 2, 2))
    p = toy.marginal(toy.model())
    precision = p.precision_matrix.detach()
    mean = X[:, 1] - (precision[1] * (X - p.mean)).sum(-1).detach() / precision[1, 1]
    for values, target in ((draws[..., 1], mean[rows]), ((draws[..., 1] - mean[rows]).square(), 1 / precision[1, 1])):
        means = values.mean(1)
        assert ((means.mean(0) - target).abs() < 4.5 * means.std(0) / 4).all()


@pytest.mark.parametrize("n_parts", [1, 2, 3])
def test_a_row_is_scored_alone_as_among_others(n_parts):
    together = surprise(toy.model(), toy.posterior("diagonal"), toy.rows(X), noise(shared=True), n_parts)
    alone = surprise(toy.model(), toy.posterior("diagonal"), toy.rows(X[2:3]), noise(shared=True), n_parts)
    torch.testing.assert_close(together[2:3], alone)


@pytest.mark.parametrize(("shape", "n_parts"), [((7,), 3), ((7,), 20), ((1, 10, 9), 4), ((3, 8, 8), 2), ((1,), 8)])
def test_parts_are_a_partition(shape, n_parts):
    parts = parts_of(shape, n_parts)
    assert parts.shape[1:] == shape
    assert len(parts) <= n_parts
    assert (parts.sum(0) == 1).all()
    assert parts.flatten(1).any(1).all()


def test_images_are_hidden_in_patches():
    part = parts_of((3, 16, 16), 4)
    patches = part.unflatten(2, (-1, PATCH)).unflatten(4, (-1, PATCH))  # (P, C, H/4, 4, W/4, 4)
    assert (patches == patches[:, :1, :, :1, :, :1]).all()


def test_the_regret_is_what_the_best_diagonal_q_gains():
    model, start = toy.model(), Prior(toy.D)
    gain = regret(model, start, toy.rows(X), noise(shared=True), n_steps=300, n_samples=20_000)
    q = toy.ExactPosterior(model)(whole_batch(X))
    precision = torch.linalg.inv(q.scale_tril @ q.scale_tril.mT)
    nearest = torch.diag_embed(precision.diagonal(dim1=-2, dim2=-1).rsqrt())  # diag 1/Λ_jj (Bishop, 2006, eq. 10.12)
    unit = torch.eye(toy.D, dtype=X.dtype).expand(len(X), -1, -1)
    before, after = toy.exact_elbo(model, torch.zeros_like(q.mean), unit, X), toy.exact_elbo(model, q.mean, nearest, X)
    torch.testing.assert_close(gain, (after - before).detach(), rtol=0.01, atol=0.1)


def test_the_parts_of_the_bound_are_the_exact_ones():
    model, q = toy.model(), toy.ExactPosterior(toy.model(), shift=0.3, widen=1.2)
    runs = [bound(model, q, toy.rows(X), noise(seed), n_samples=4000) for seed in range(8)]
    elbo = -torch.stack([kl + rebuilt.sum(1) for kl, rebuilt in runs])
    encoded = q(whole_batch(X))
    exact = toy.exact_elbo(model, encoded.mean, encoded.scale_tril, X).detach()
    assert ((elbo.mean(0) - exact).abs() < 5 * elbo.std(0) / math.sqrt(8)).all()


def test_nats_of_entries_are_in_the_units_of_the_user():
    model, scaled = toy.model(), toy.model()
    scaled.log_unit = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    for score in (
        lambda p: bound(p, Prior(toy.D), toy.rows(X), noise())[1],
        lambda p: surprise(p, Prior(toy.D), toy.rows(X), noise()),
    ):
        torch.testing.assert_close(score(scaled) - score(model), scaled.log_unit.expand_as(X))
