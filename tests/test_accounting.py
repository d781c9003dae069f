"""The bound's accounts against closed forms: information, the parts of the gap, bits."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from torch import nn

from lowerbound import VAE
from lowerbound.accounting import mutual_information, split_gap
from lowerbound.distributions import DiagonalGaussian, Noise, make_generator
from lowerbound.evaluate import accounts, summarize
from tests import linear_gaussian as toy


def noise(seed: int = 0) -> Noise:
    return Noise(make_generator(seed, "noise"))


class Channel(nn.Module):
    """q(z|x) = N(ax, s²)."""

    def __init__(self, a: float, s: float) -> None:
        super().__init__()
        self.a, self.s = a, s

    def forward(self, batch, noise=None):
        return DiagonalGaussian(self.a * batch.x, torch.full_like(batch.x, math.log(self.s)))


@pytest.mark.parametrize(("a", "s"), [(0.0, 1.0), (1.0, 1.0), (2.0, 0.5)])
def test_information_through_a_gaussian_channel(a, s):
    data = toy.rows(toy.numbers(4000, 2, seed=3))
    found = mutual_information(Channel(a, s), data, noise())
    exact = 2 * 0.5 * math.log(1 + (a / s) ** 2)
    assert found is not None
    assert found.kind == "lower"
    assert abs(found.value - exact) < 4 * found.standard_error + 0.02  # q(z) of 4,000 rows is not that of all


def test_information_is_at_most_the_logarithm_of_the_rows():
    data = toy.rows(toy.numbers(20, 2, seed=3))
    found = mutual_information(Channel(1.0, 1e-4), data, noise())
    assert found is not None
    assert found.value == pytest.approx(math.log(20), abs=1e-3)


def test_the_gap_and_its_parts_in_closed_form():
    p, q = toy.model(), toy.posterior("diagonal")
    x = toy.numbers(40, toy.F, seed=9)
    gap = split_gap(p, q, toy.rows(x), noise(), n_steps=1500, n_samples=2000, n_importance=5000)
    with torch.no_grad():
        encoded = q(next(toy.rows(x).batches(40)))
        elbo = toy.exact_elbo(p, encoded.mean, encoded.scale_tril, x)
        log_p = toy.marginal(p).log_prob(x)
        W, _ = toy.parameters(p)
        precision = torch.eye(toy.D, dtype=W.dtype) + W.T @ W / toy.SIGMA**2
        best = 0.5 * (precision.diagonal().log().sum() - precision.logdet())  # KL of N(μ, 1/Λ_jj) from the posterior
    assert best > 0.01  # else the test shows nothing
    assert gap.approximation.value == pytest.approx(best.item(), abs=0.03)
    assert gap.total.value == pytest.approx((log_p - elbo).mean().item(), rel=0.03)
    assert gap.total.value == pytest.approx(gap.approximation.value + gap.amortization.value)
    assert gap.log_likelihood.value == pytest.approx(log_p.mean().item(), abs=0.02)


def test_bits_add_up_to_the_bound_and_z_costs_its_entropy():
    p, data = toy.model(), toy.rows(toy.numbers(500, toy.F, seed=9))

    class Ignorant(nn.Module):
        def forward(self, batch, noise=None):
            return DiagonalGaussian(*(batch.x.new_zeros(len(batch.x), toy.D) for _ in range(2)))

    whole = accounts(p, Ignorant(), data, noise(), 50)
    found = summarize([whole])
    bits = found.bits
    assert bits.total == pytest.approx(-found.elbo.value / math.log(2))
    assert bits.total == pytest.approx(bits.z + bits.x - bits.back)
    entropy = toy.D * (0.5 * math.log2(2 * math.pi * math.e) + 8)
    assert bits.z == pytest.approx(entropy, abs=0.05)
    assert bits.back == pytest.approx(bits.z)  # q is the prior
    halves = [accounts(p, Ignorant(), toy.rows(data.raw[part]), noise(), 50) for part in (slice(250), slice(250, 500))]
    assert summarize(halves).bits.z == pytest.approx(bits.z, abs=0.2)


def test_the_estimator_gives_them():
    X = load_iris().data
    settings = {"hidden_layer_sizes": (16,), "max_epochs": 40, "lr": 1e-2, "scale": 0.2, "random_state": 0}
    vae = VAE(2, **settings).fit(X)
    gap = vae.gap(X[:50], n_steps=100)
    assert gap.amortization.value > 0
    assert gap.total.value > 0
    information = vae.mutual_information(X)
    assert information is not None
    assert 1 < information.value < math.log(len(X)) + 1e-6
    assert information.value < vae.summary(X, 16).kl.sum() + 4 * information.standard_error
    with pytest.raises(ValueError, match="for an encoder's q with a diagonal covariance"):
        VAE(2, covariance="full", **settings).set_params(max_epochs=1).fit(X).gap(X[:5])
    assert VAE(2, levels=2, **settings).set_params(max_epochs=1, latent_dim=2).fit(X).mutual_information(X) is None
    np.testing.assert_array_equal(vae.gap(X[:9], 3).total.value, vae.gap(X[:9], 3).total.value)
