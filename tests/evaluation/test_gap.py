"""The bound's accounts against closed forms: information, the parts of the gap, bits."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from tests import linear_gaussian as toy
from torch import nn

from lowerbound import MLP, VAE, Adam, GaussianLikelihood, Ladder
from lowerbound.core import Model, Posterior
from lowerbound.distributions.gaussians import DiagonalGaussian, GaussianPrior, StandardNormal
from lowerbound.distributions.likelihoods.normal import NormalHead
from lowerbound.distributions.likelihoods.scale import Scale
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.bound import elbo_terms, summarize
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.evaluation.gap import inference_gap, information_given_context, mutual_information
from lowerbound.inference.posteriors import Amortized
from lowerbound.models.chain import Chain, Lowest, places
from lowerbound.models.vae import Decoder, Encoder, LatentModel
from lowerbound.nn.heads import GaussianHead
from lowerbound.nn.inputs import Values
from lowerbound.parameters import parts


def noise(seed: int = 0) -> Noise:
    return Noise(make_generator(seed, "noise"))


class Channel(Posterior):
    """q(z|x) = N(ax, s²)."""

    def __init__(self, a: float, s: float) -> None:
        super().__init__()
        self.a, self.s = a, s

    def forward(self, batch, noise=None):
        return DiagonalGaussian(self.a * batch.x, torch.full_like(batch.x, math.log(self.s)))


@pytest.mark.parametrize(("a", "s"), [(0.0, 1.0), (1.0, 1.0), (2.0, 0.5)])
def test_information_through_a_gaussian_channel(a, s):
    data = toy.rows(toy.numbers(4000, 2, seed=3))
    found = mutual_information(Evaluation(Model(), Channel(a, s), data, noise()))
    exact = 2 * 0.5 * math.log(1 + (a / s) ** 2)
    assert found.kind == "lower"
    assert abs(found.value - exact) < 4 * found.standard_error + 0.02  # q(z) of 4,000 rows is not that of all


def linear(slope: float, scale: float):
    """z → N(slope · z, scale²)."""
    return lambda z: DiagonalGaussian(slope * z, torch.full_like(z, math.log(scale)))


class TwoChannels(Channel):
    """q(z_1|x) q(z_2|z_1), where z_2 knows of x only what z_1 does."""

    def forward(self, batch, noise=None):
        return Chain(super().forward(batch), [linear(0.7, 0.3)], places([2, 2]))


def test_a_second_level_above_the_first_adds_no_information():
    """I(x; z_1, z_2) = I(x; z_1) for a Markov chain x → z_1 → z_2."""
    data = toy.rows(toy.numbers(1500, 2, seed=3))
    found = mutual_information(Evaluation(Model(), TwoChannels(1.0, 1.0), data, noise()))
    assert abs(found.value - math.log(2)) < 4 * found.standard_error + 0.02


def test_information_is_at_most_the_logarithm_of_the_rows():
    data = toy.rows(toy.numbers(20, 2, seed=3))
    found = mutual_information(Evaluation(Model(), Channel(1.0, 1e-4), data, noise()))
    assert found.value == pytest.approx(math.log(20), abs=1e-3)


class Shifted(Model):
    """p(z|c) = N(c, 1), p(x|z) = N(z, s²): z tells of c, but given c only what x does."""

    def __init__(self, s: float) -> None:
        super().__init__()
        self.s = s

    def prior_of(self, batch):
        return GaussianPrior(batch.context, torch.zeros_like(batch.context))

    def log_px(self, batch, z):
        return DiagonalGaussian(batch.x, torch.full_like(batch.x, math.log(self.s))).log_prob(z)


@pytest.mark.parametrize("s", [0.5, 1.0, 100.0])
def test_information_given_a_context_through_a_gaussian_channel(s):
    """I(x; z|c) = ½ D log(1 + 1/s²); that of z with x and c together would be 5 nats and more."""
    model, rng = Shifted(s), noise(1)
    context = 100 * toy.numbers(2000, 2, seed=3)
    rows = replace(toy.rows(toy.numbers(2000, 2, seed=4)), context=context)

    def drawn(batch, z, noise):
        return replace(batch, x=z[0] + model.s * noise.normal(z[0].shape, z))

    found = information_given_context(Evaluation(model, Channel(1.0, 1.0), rows, rng), drawn)
    exact = math.log(1 + 1 / s**2)
    assert found.kind == "lower"
    assert abs(found.value - exact) < 4 * found.standard_error + 0.01  # 500 draws of p(z|c) for the integral


def test_information_given_a_context_is_found_a_few_draws_at_a_time():
    """Rows of many entries don't take more memory, nor another number."""
    model, sizes, found = Shifted(0.5), [], []
    context = toy.numbers(30, 2, seed=3)
    rows = replace(toy.rows(toy.numbers(30, 2, seed=4)), context=context)

    def drawn(batch, z, noise):
        return replace(batch, x=z[0] + model.s * noise.normal(z[0].shape, z))

    honest = model.log_px
    model.log_px = lambda batch, z: sizes.append(z[..., 0].numel()) or honest(batch, z)
    for most in (2 * 500, 2 * 90):  # entries of x
        on = Evaluation(model, Channel(1.0, 1.0), rows, noise(1), pass_elements=most)
        found.append(information_given_context(on, drawn).value)
    assert max(sizes) == 500
    assert max(sizes[30:]) == 90
    assert found[0] == pytest.approx(found[1], abs=1e-9)


def test_the_gap_and_its_parts_in_closed_form():
    p, q = toy.model(), toy.posterior("diagonal")
    x = toy.numbers(40, toy.F, seed=9)
    gap = inference_gap(Evaluation(p, q, toy.rows(x), noise()), n_steps=1500, n_samples=2000, n_importance=5000)
    with torch.no_grad():
        encoded = q(next(toy.rows(x).batches(40)))
        elbo = toy.exact_elbo(p, encoded.mean, encoded.scale_tril, x)
        log_p = toy.marginal(p).log_prob(x)
        W, _ = toy.parameters(p)
        precision = torch.eye(toy.D, dtype=W.dtype) + W.T @ W / toy.SIGMA**2
        best = 0.5 * (precision.diagonal().log().sum() - precision.logdet())  # KL of N(μ, 1/Λ_jj) from the posterior
    assert best > 0.01  # else the test shows nothing
    assert gap.approximation.value == pytest.approx(best.item(), abs=0.04)  # 72 nats were climbed, but for 0.03
    assert gap.total.value == pytest.approx((log_p - elbo).mean().item(), rel=0.03)
    assert gap.total.value == pytest.approx(gap.approximation.value + gap.amortization.value)
    assert gap.log_likelihood.value == pytest.approx(log_p.mean().item(), abs=0.02)


def test_a_full_covariance_leaves_nothing_to_approximate():
    p, q = toy.model(), toy.posterior("full")
    x = toy.numbers(40, toy.F, seed=9)
    gap = inference_gap(Evaluation(p, q, toy.rows(x), noise()), n_steps=1500, n_samples=1000, n_importance=2000)
    with torch.no_grad():
        encoded = q(next(toy.rows(x).batches(40)))
        exact = toy.marginal(p).log_prob(x) - toy.exact_elbo(p, encoded.mean, encoded.scale_tril, x)
    assert exact.mean() > 1  # else the test shows nothing
    assert gap.amortization.value == pytest.approx(exact.mean().item(), rel=0.04)
    assert gap.approximation.value == pytest.approx(0, abs=0.04)  # four samples a step leave some noise


def test_the_gap_of_two_levels_in_closed_form():
    """With q(z_2|z_1) = p(z_2|z_1) the gap is KL(q(z_1|x) ‖ p(z_1|x)), and the best features of x close it.

    z_2 ~ N(0, 1), z_1 ~ N(c z_2, r²), x ~ N(w z_1, σ²): z_1 alone is N(0, c² + r²).
    """
    c, r, w = 0.8, 0.5, 1.3
    variance = c**2 + r**2

    class Model(LatentModel):
        def prior(self):
            return Chain(StandardNormal(1, torch.zeros((), dtype=torch.float64)), [linear(c, r)], places([1, 1])[::-1])

    class Head(nn.Module):
        def forward(self, features):
            return Chain(
                GaussianHead(1, "diagonal")(features), [linear(c / variance, r / variance**0.5)], places([1, 1])
            )

    decoder, scale = toy._Affine(1, 1, 10, True), torch.tensor(toy.SIGMA, dtype=torch.float64)
    with torch.no_grad():
        decoder.weight.fill_(w)
        decoder.bias.zero_()
    p = Model(Decoder(Lowest(decoder, (1, 1)), NormalHead(Scale("fixed", scale, torch.zeros(())))), 2).double()
    q = Amortized(Encoder(Values(), toy._Affine(1, 2, 20, False), Head()))
    x = toy.numbers(40, 1, seed=9)
    gap = inference_gap(Evaluation(p, q, toy.rows(x), noise()), n_steps=500, n_samples=1000, n_importance=2000)
    precision = 1 / variance + w**2 / toy.SIGMA**2
    with torch.no_grad():
        first = q(next(toy.rows(x).batches(40))).first
        shift = first.mean - w * x / toy.SIGMA**2 / precision
        s2 = first.scale**2 * precision
        exact = 0.5 * (s2 + shift**2 * precision - 1 - s2.log())
        log_p = torch.distributions.Normal(0.0, (w**2 * variance + toy.SIGMA**2) ** 0.5).log_prob(x)
    assert exact.mean() > 0.5  # else the test shows nothing
    assert gap.amortization.value == pytest.approx(exact.mean().item(), rel=0.04)
    assert gap.approximation.value == pytest.approx(0, abs=0.04)  # four samples a step leave some noise
    assert gap.log_likelihood.value == pytest.approx(log_p.mean().item(), abs=0.02)


def test_bits_add_up_to_the_bound_and_z_costs_its_entropy():
    p, data = toy.model(), toy.rows(toy.numbers(500, toy.F, seed=9))

    class Ignorant(Posterior):
        def forward(self, batch, noise=None):
            return DiagonalGaussian(*(batch.x.new_zeros(len(batch.x), toy.D) for _ in range(2)))

    whole = elbo_terms(Evaluation(p, Ignorant(), data, noise()), 50)
    found = summarize([whole])
    bits = found.bits
    assert bits.total == pytest.approx(-found.elbo.value / math.log(2))
    assert bits.total == pytest.approx(bits.z + bits.x - bits.back)
    entropy = toy.D * (0.5 * math.log2(2 * math.pi * math.e) + 8)
    assert bits.z == pytest.approx(entropy, abs=0.05)
    assert bits.back == pytest.approx(bits.z)  # q is the prior
    halves = [
        elbo_terms(Evaluation(p, Ignorant(), toy.rows(data.raw[part]), noise()), 50)
        for part in (slice(250), slice(250, 500))
    ]
    assert summarize(halves).bits.z == pytest.approx(bits.z, abs=0.2)


def test_the_estimator_gives_them():
    X = load_iris().data
    vae = VAE(
        2, network=MLP((16,)), likelihood=GaussianLikelihood(0.2), optimizer=Adam(1e-2), max_epochs=40, random_state=0
    ).fit(X)
    gap = vae.inference_gap(X[:50], n_steps=100)
    assert gap.amortization.value > 0
    assert gap.total.value > 0
    information = vae.mutual_information(X)
    assert 1 < information.value < math.log(len(X)) + 1e-6
    assert information.value < vae.summary(X, 16).kl.sum() + 4 * information.standard_error
    np.testing.assert_array_equal(vae.inference_gap(X[:9], 3).total.value, vae.inference_gap(X[:9], 3).total.value)


@pytest.mark.parametrize(
    "kind",
    [
        {"posterior": parts.Amortized("full")},
        {"posterior": "flow"},
        {"prior": "flow"},
        {"latent_dim": Ladder(2, 2, width=16), "network": "auto"},
        {"latent_dim": (2, 2)},
    ],
    ids=lambda kind: next(iter(kind)),
)
def test_every_posterior_has_them(kind):
    if "flow" in kind.values():
        pytest.importorskip("zuko")
    X = load_iris().data
    settings = {
        "latent_dim": 2, "network": MLP((16,)), "likelihood": GaussianLikelihood(0.2), "optimizer": Adam(1e-2),
        "max_epochs": 15,
    }  # fmt: skip
    vae = VAE(**(settings | kind), random_state=0).fit(X)
    gap = vae.inference_gap(X[:20], n_steps=30)
    assert gap.amortization.value > 0
    assert gap.total.value == pytest.approx(gap.approximation.value + gap.amortization.value)
    information = vae.mutual_information(X)
    assert 0.5 < information.value < math.log(len(X)) + 1e-6
    assert information.value < vae.summary(X, 16).kl.sum() + 4 * information.standard_error


def test_one_q_for_all_rows_has_no_gap_to_split_and_knows_nothing():
    X = load_iris().data
    vae = VAE(2, network=MLP((16,)), posterior="shared", max_epochs=3, random_state=0).fit(X)
    assert vae.mutual_information(X).value == pytest.approx(0, abs=1e-5)
    with pytest.raises(ValueError, match="comes from an encoder"):
        vae.inference_gap(X[:5])
