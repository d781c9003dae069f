"""The limit without variance."""

import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from tests import contract
from tests import linear_gaussian as toy
from tests.conftest import whole_batch

from lowerbound import MLP, Adam, Autoencoder, GaussianLikelihood, load
from lowerbound.core import ObjectiveState
from lowerbound.distributions.gaussians import DiagonalGaussian
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.inference.autoencoding import Point, hide, jitter, l1, reconstruction, sparsity
from lowerbound.inference.objectives import elbo
from lowerbound.parameters.tables import AUTOENCODER_PARAMETERS

IRIS = load_iris().data


@pytest.mark.parametrize(("estimator", "check"), contract.checks(Autoencoder(max_epochs=2)))
@pytest.mark.touches_global_random_state
def test_scikit_learn_conventions(estimator, check):
    check(clone(estimator))


def test_the_parameter_table_is_the_signature():
    contract.assert_the_table_is_the_signature(Autoencoder, AUTOENCODER_PARAMETERS)


def test_it_is_the_vae_whose_variance_is_held_at_zero():
    """log σ = −∞ and kl_weight = 0: the same loss and the same gradient, in every coordinate."""
    p, q, x = toy.model(), toy.posterior("diagonal"), toy.numbers(9, toy.F, seed=5)
    weights, noise = [*p.parameters(), *q.parameters()], Noise(make_generator(0, "noise"))

    def without_variance(batch, noise=None):
        mean = q(batch).mean
        return DiagonalGaussian(mean, torch.full_like(mean, -torch.inf))

    gradients = []
    for posterior, objective in ((Point(q.encoder), reconstruction()), (without_variance, elbo(kl_weight=0.0))):
        draw = p.draw(whole_batch(x), posterior, objective, noise)
        log_px = -draw.log_px.mean(0) if posterior is without_variance else objective.loss(draw, ObjectiveState())
        gradients.append(torch.autograd.grad(log_px.mean(), weights, allow_unused=True))
    for plain, limit in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, limit)


def test_a_linear_one_finds_the_principal_subspace():
    """Baldi & Hornik, 1989: the least squared error of a linear autoencoder is that of PCA."""
    linear = Autoencoder(
        latent_dim=2, network=MLP(()), likelihood=GaussianLikelihood(standardize=False), optimizer=Adam(0.02),
        early_stopping=False, max_epochs=300, batch_size=25, random_state=0,
    ).fit(IRIS)  # fmt: skip
    pca = PCA(2).fit(IRIS)
    best = np.square(pca.inverse_transform(pca.transform(IRIS)) - IRIS).sum(1).mean()
    reached = np.square(linear.reconstruct(IRIS) - IRIS).sum(1).mean()
    assert best * 0.9999 < reached < best * 1.01


def test_penalties_against_their_formulas():
    z = torch.tensor([[[0.0, 2.0], [-1.0, 3.0]]], dtype=torch.float64)
    torch.testing.assert_close(l1(z), torch.tensor([2.0, 4.0], dtype=torch.float64))
    activity = z.sigmoid().mean((0, 1))
    kl = torch.distributions.kl_divergence
    expected = kl(torch.distributions.Bernoulli(torch.tensor(0.1)), torch.distributions.Bernoulli(activity)).sum()
    torch.testing.assert_close(sparsity(0.1)(z), expected.expand(2).double())


def test_sparse_codes_are_smaller():
    fit = {"latent_dim": 3, "max_epochs": 60, "random_state": 0, "early_stopping": False}
    plain = Autoencoder(**fit).fit(IRIS).transform(IRIS)
    sparse = Autoencoder(**fit, penalty="l1").fit(IRIS).transform(IRIS)
    assert np.abs(sparse).mean() < 0.5 * np.abs(plain).mean()


def test_what_the_denoising_encoder_sees():
    x, noise = torch.ones(4000, 2, dtype=torch.float64), Noise(make_generator(0, "noise"))
    share = (hide(0.3)(x, noise) == 0).double().mean()
    assert abs(share - 0.3) < 4 * (0.21 / 8000) ** 0.5
    assert abs(jitter(0.5)(x, noise).std() - 0.5) < 4 * 0.5 / (2 * 8000) ** 0.5
    q = toy.posterior("diagonal")
    point, batch = Point(q.encoder, hide(0.5)), whole_batch(toy.numbers(5, toy.F))
    clean = q(batch).mean
    assert not torch.equal(point.train()(batch, noise).mean, clean)
    assert torch.equal(point.eval()(batch, noise).mean, clean)


def test_it_has_no_density_and_no_samples(tmp_path):
    autoencoder = Autoencoder(latent_dim=2, max_epochs=3, random_state=0).fit(IRIS)
    assert autoencoder.history_[-1]["elbo"] is None
    with pytest.raises(TypeError, match="use VAE"):
        autoencoder.sample(3)
    with pytest.raises(TypeError, match="no density"):
        autoencoder.posterior_(whole_batch(torch.zeros(2, 4))).log_prob(torch.zeros(1, 2, 2))
    autoencoder.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").transform(IRIS), autoencoder.transform(IRIS))
    copy.deepcopy(autoencoder)
