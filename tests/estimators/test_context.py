"""A VAE given a context: p(x|c) where it is known exactly, its codes, draws and refusals."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris

from lowerbound import (
    MLP,
    VAE,
    Adam,
    Amortized,
    ContextPrior,
    GaussianLikelihood,
    Ladder,
    MixturePrior,
    PixelRNN,
    UnseenCategoryWarning,
    VampPrior,
    load,
)
from lowerbound.data.context import ContextSchema

X, SPECIES = load_iris(return_X_y=True)
TINY = {"network": MLP((8,)), "max_epochs": 2, "random_state": 0}
OWN = (torch.nn.Linear(4, 3), torch.nn.Linear(2, 4))
pytestmark = pytest.mark.filterwarnings("ignore:the posterior has collapsed")


@pytest.fixture(scope="module")
def exact():
    """x = w z + V c + σ ε with one z, whose posterior is N(w·(x − V c)/(‖w‖² + σ²), σ²/(‖w‖² + σ²)): set by hand."""
    rng = np.random.default_rng(0)
    C = rng.normal(size=(400, 2))
    w, sigma = np.array([1.0, -0.5, 0.3]), 0.4
    likelihood = GaussianLikelihood(sigma, standardize=False)
    vae = VAE(1, network=MLP(()), likelihood=likelihood, max_epochs=1, early_stopping=False, random_state=0)
    coded = ContextSchema.infer(C).encode(C, 400)
    V = rng.normal(size=(coded.shape[1], 3))
    rows = rng.normal(size=(400, 1)) * w + coded @ V + sigma * rng.normal(size=(400, 3))
    vae.fit(rows, context=C)
    total = w @ w + sigma**2
    decoder, encoder = vae.model_.decoder.network, vae.posterior_.encoder.network.layers[0]
    with torch.no_grad():
        decoder.layers[0].weight.copy_(torch.from_numpy(np.vstack([w, V]).T))
        for bias in (decoder.bias, decoder.layers[0].bias):
            if bias is not None:
                bias.zero_()
        encoder.weight.zero_()
        encoder.weight[0].copy_(torch.from_numpy(np.concatenate([w, -V @ w]) / total))
        encoder.bias.copy_(torch.tensor([0.0, math.log(sigma / math.sqrt(total))]))
    covariance = np.outer(w, w) + sigma**2 * np.eye(3)
    return vae, rows, C, coded @ V, w, covariance


def test_information_given_the_context(exact):
    """I(x; z|c) = ½ log(1 + ‖w‖²/σ²) of one z."""
    vae, rows, C, _, w, _ = exact
    found = vae.given(C).mutual_information(rows, 400)
    assert abs(found.value - 0.5 * math.log(1 + w @ w / 0.4**2)) < 4 * found.standard_error + 0.01


@pytest.mark.filterwarnings("ignore:.*constant feature")
def test_a_constant_column_adds_no_information():
    """It is kept out of the density, and its decoder is what it was before the fit."""
    rows, found = np.c_[X, np.full(len(X), 7.0)], []
    vae = VAE(1, **TINY).fit(rows, context=SPECIES)
    for weight in (0.0, 5.0):
        with torch.no_grad():
            vae.model_.decoder.network.layers[2].weight[-1] = weight
        found.append(vae.given(SPECIES).mutual_information(rows, 20).value)
    assert found[0] == pytest.approx(found[1], abs=1e-6)


def log_normal(x: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    quadratic = np.einsum("ni,ij,nj->n", x, np.linalg.inv(covariance), x)
    return -0.5 * (quadratic + np.linalg.slogdet(2 * math.pi * covariance)[1])


def test_log_p_is_the_exact_conditional(exact):
    vae, rows, C, mean, _, covariance = exact
    truth = log_normal(rows - mean, covariance)
    given = vae.given(C)
    np.testing.assert_allclose(given.score_samples(rows, 9), truth, atol=1e-4)  # every weight is p(x|c)
    elbo = given.elbo(rows, 4000)
    assert np.abs(elbo - truth).max() < 4 * 2 / math.sqrt(4000)  # a reconstruction varies by 1.5 nats at most
    found = given.log_likelihood(rows, 9)
    assert found.value == pytest.approx(truth.mean(), abs=1e-4)


def test_codes_and_reconstructions_are_the_exact_conditionals(exact):
    vae, rows, C, mean, w, covariance = exact
    codes = (rows - mean) @ np.linalg.solve(covariance, w)
    np.testing.assert_allclose(vae.given(C).transform(rows)[:, 0], codes, atol=1e-5)
    np.testing.assert_allclose(vae.given(C).reconstruct(rows), codes[:, None] * w + mean, atol=1e-5)


def test_draws_have_the_conditional_moments(exact):
    vae, _, C, mean, _, covariance = exact
    n = 20_000
    drawn = vae.given(C[:1]).sample(n)
    error = np.sqrt(np.diag(covariance) / n)
    assert (np.abs(drawn.mean(0) - mean[0]) < 4.5 * error).all()
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=4.5 * 1.4 * covariance.max() / math.sqrt(n))


def test_rows_are_scored_with_their_own_context_whatever_their_order(exact):
    vae, rows, C, *_ = exact
    scores = vae.given(C).score_samples(rows)
    order = np.random.default_rng(1).permutation(len(rows))
    np.testing.assert_allclose(vae.given(C[order]).score_samples(rows[order]), scores[order], atol=1e-9)
    assert np.abs(vae.given(C[order]).score_samples(rows) - scores).max() > 1


def test_a_class_is_a_context_and_raises_log_p():
    vae = VAE(2, network=MLP((32,)), optimizer=Adam(5e-3), max_epochs=50, random_state=0)
    with_class, without = clone(vae).fit(X, context=SPECIES), clone(vae).fit(X)
    for k in range(3):
        drawn = with_class.given(k).sample(500).mean(0)
        assert np.abs(drawn - X[k == SPECIES].mean(0)).max() < 0.5 < np.abs(drawn - X[k != SPECIES].mean(0)).max()
    gained = with_class.given(SPECIES).log_likelihood(X, 500).value - without.log_likelihood(X, 500).value
    assert gained > 0.5  # of log 3 nats at most, and what either is short of the truth
    species = np.array(["setosa", "versicolor", "virginica"])[SPECIES]
    named = VAE(2, **TINY).fit(X, context=species)
    assert named.given("setosa").sample(2).shape == (2, 4)


@pytest.mark.filterwarnings("ignore:.*constant feature")
def test_images_are_given_a_class_by_convolutions_too():
    images = np.repeat(np.repeat(load_digits().images[:200] / 16, 2, 1), 2, 2)
    vae = VAE(2, max_epochs=1, random_state=0).fit(images, context=load_digits().target[:200])
    assert vae.given(3).sample(2).shape == (2, 16, 16)
    assert vae.given(load_digits().target[:5]).transform(images[:5]).shape == (5, 2)


def test_a_context_has_columns_of_several_kinds_and_gaps():
    frame = pd.DataFrame({"species": SPECIES.astype(str), "length": X[:, 0]})
    frame.loc[::5, "species"] = None
    frame.loc[::7, "length"] = np.nan
    vae = VAE(2, **TINY).fit(X[:, 1:], context=frame)
    scores = vae.given(frame).score_samples(X[:, 1:])
    assert np.isfinite(scores).all()
    unknown = frame.assign(species=None)
    assert np.abs(vae.given(unknown).score_samples(X[:, 1:]) - scores).max() > 1e-6
    with pytest.warns(UnseenCategoryWarning, match="species"):
        new = vae.given(frame.assign(species="orchid")).score_samples(X[:, 1:])
    np.testing.assert_allclose(new, vae.given(unknown).score_samples(X[:, 1:]))


def test_a_learned_prior_goes_with_a_context():
    vae = VAE(2, prior=MixturePrior(3), **TINY).fit(X, context=SPECIES)
    assert vae.sample(3, context=1).shape == (3, 4)
    by_prior = vae.log_likelihood(X, 5000, method="naive", context=SPECIES).value
    assert by_prior == pytest.approx(vae.log_likelihood(X, 2000, context=SPECIES).value, abs=0.1)


EVERY_KIND = (
    VAE(Ladder(2, 2, width=16), max_epochs=2, random_state=0), VAE((2, 1), **TINY), VAE(2, prior="context", **TINY),
    VAE(2, prior=ContextPrior((4,)), posterior=Amortized(covariance="full"), **TINY),
    VAE(2, posterior="mean_field", **TINY), VAE(2, posterior="shared", **TINY), VAE(2, posterior="mcem", **TINY),
    VAE(2, posterior="mean_field", prior="context", **TINY), VAE(2, posterior="flow", **TINY),
)  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("vae", EVERY_KIND, ids=str)
def test_every_kind_of_model_is_given_a_context(vae, tmp_path):
    vae = clone(vae).set_params(max_epochs=20, optimizer=Adam(1e-2)).fit(X, context=SPECIES)
    rows, c = X[::3], SPECIES[::3]
    own, other = vae.score_samples(rows, context=c), vae.score_samples(rows, context=(c + 1) % 3)
    assert own.mean() > other.mean()
    by_prior = vae.log_likelihood(rows, 4000, method="naive", context=c)
    assert by_prior.value == pytest.approx(vae.log_likelihood(rows, 500, context=c).value, abs=0.15)
    assert vae.sample(3, context=[0, 1, 2]).shape == (3, 4)
    vae.save(tmp_path / "m")
    np.testing.assert_array_equal(load(tmp_path / "m").score_samples(rows, context=c), own)


@pytest.mark.parametrize("latent_dim", [Ladder(2, 2, width=16), (2, 1), 2], ids=str)
@pytest.mark.parametrize("prior", ["normal", "context"])
def test_nothing_known_of_a_row_but_its_context(latent_dim, prior):
    if prior == "context" and latent_dim != 2:
        pytest.skip("levels have their own prior")
    rows = X.copy()
    rows[::10] = np.nan
    quick = {"optimizer": Adam(5e-3), "max_epochs": 25, "random_state": 0}
    vae = VAE(latent_dim, prior=prior, **quick).fit(rows, context=SPECIES).given(SPECIES)
    np.testing.assert_allclose(vae.score_samples(rows)[::10], 0, atol=1e-9)
    means = np.stack([X[k == SPECIES].mean(0) for k in SPECIES[::10]])
    assert np.abs(vae.reconstruct(rows)[::10] - means).max() < 0.6


def test_a_prior_given_a_context_is_the_exact_conditional_of_a_gaussian_mixture():
    """x = z + σ ε with z ~ N(m_c, s_c²): log p(x|c), codes, draws and KL of a model set by hand."""
    m, s, sigma = np.array([-2.0, 0.5, 3.0]), np.array([0.5, 1.0, 0.2]), 0.4
    rng, c = np.random.default_rng(0), np.arange(300) % 3
    rows = (m[c] + s[c] * rng.normal(size=300) + sigma * rng.normal(size=300))[:, None]
    likelihood = GaussianLikelihood(sigma, standardize=False)
    vae = VAE(1, network=MLP(()), likelihood=likelihood, prior="context", max_epochs=1, random_state=0)
    vae.fit(rows, context=c)
    order = [vae.context_.columns[0].categories.index(k) for k in range(3)]
    decoder, prior = vae.model_.decoder.network, vae.model_.learned_prior.layers[0]
    with torch.no_grad():
        decoder.layers[0].weight.copy_(torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0]]))
        for bias in (decoder.bias, decoder.layers[0].bias):
            if bias is not None:
                bias.zero_()
        prior.weight[0, order] = torch.from_numpy(m).float()
        prior.weight[1, order] = torch.from_numpy(s).log().float()
        prior.bias.zero_()
    truth = norm.logpdf(rows[:, 0], m[c], np.sqrt(s[c] ** 2 + sigma**2))
    naive = vae.log_likelihood(rows, 20_000, method="naive", context=c)
    assert naive.value == pytest.approx(truth.mean(), abs=0.02)
    drawn = vae.sample(9000, context=np.arange(9000) % 3)[:, 0].reshape(-1, 3)
    error = np.sqrt((s**2 + sigma**2) / 3000)
    assert (np.abs(drawn.mean(0) - m) < 4.5 * error).all()
    assert (np.abs(drawn.std(0) - np.sqrt(s**2 + sigma**2)) < 4.5 * error).all()
    mean, scale = (t[:, 0] for t in vae.given(c).encode(rows))
    kl = np.log(s[c] / scale) + (scale**2 + (mean - m[c]) ** 2) / (2 * s[c] ** 2) - 0.5
    np.testing.assert_allclose(vae.given(c).elbo_terms(rows).kl[:, 0], kl, rtol=1e-4, atol=1e-5)


def test_bounds_from_both_sides_are_of_rows_given_a_context():
    vae = VAE(2, **TINY).fit(X, context=SPECIES)
    bounds = vae.given(1).bidirectional_bounds(20, n_temperatures=20, n_chains=4)
    assert abs(bounds.gap.value) < 0.05 + 4 * bounds.gap.standard_error


def test_a_model_given_a_context_comes_back(tmp_path):
    vae = VAE(2, **TINY).fit(X, context=SPECIES)
    vae.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.given(SPECIES).score_samples(X), vae.given(SPECIES).score_samples(X))
    assert loaded.given(1).sample(3, random_state=5).tolist() == vae.given(1).sample(3, random_state=5).tolist()


def test_methods_take_the_context_too():
    vae, given = (VAE(2, **TINY).fit(X, context=SPECIES) for _ in range(2))
    given = given.given(SPECIES)
    for name in ("transform", "reconstruct", "score_samples", "elbo"):
        np.testing.assert_array_equal(getattr(vae, name)(X, context=SPECIES), getattr(given, name)(X))
    assert vae.score(X, context=SPECIES) == given.score(X)
    assert vae.log_likelihood(X, 20, context=SPECIES) == given.log_likelihood(X, 20)
    np.testing.assert_array_equal(vae.sample(150, context=SPECIES), given.sample(150))
    np.testing.assert_array_equal(vae.decode(np.zeros((3, 2)), context=1), vae.given(1).decode(np.zeros((3, 2))))
    np.testing.assert_array_equal(vae.traverse(X[0], 0, [0, 1], context=2), vae.given(2).traverse(X[0], 0, [0, 1]))


def test_a_fit_without_a_context_forgets_it():
    vae = VAE(2, **TINY).fit(X, context=SPECIES)
    assert vae.fit(X).sample(2).shape == (2, 4)
    with pytest.raises(ValueError, match="fitted without a context"):
        vae.given(1)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda vae: vae.score_samples(X), "given a context of the columns .'context'.: use given"),
        (lambda vae: vae.sample(2), "use given"),
        (lambda vae: vae.decode(np.zeros((1, 2))), "use given"),
        (lambda vae: vae.bidirectional_bounds(2), "use given"),
        (lambda vae: vae.given(SPECIES[:3]).transform(X), "3 rows, and there are 150"),
        (lambda vae: vae.given(np.zeros((150, 2))).transform(X), "of the columns"),
        (lambda vae: VAE(network=OWN).fit(X, context=SPECIES), "modules of one's own can't be given a context"),
        (lambda vae: VAE(prior="context").fit(X), "a model that is given a context"),
        (lambda vae: VAE(prior="context", posterior="flow").fit(X, context=SPECIES), "so must the posterior be"),
        (lambda vae: VAE(prior=VampPrior(3)).fit(X, context=SPECIES), "can't be given a context: use prior"),
        (lambda vae: vae.given(1).fit(X), "shares its weights"),
        (lambda vae: vae.given(1).partial_fit(X), "partial_fit can't be given a context"),
        (lambda vae: VAE(2, optimizer=Adam(compile=True)).fit(X, context=SPECIES), "leave compile=False"),
        (lambda vae: VAE(2).fit(X, context=[None] * 150), "no value in 'context'"),
        (lambda vae: PixelRNN().fit(X, context=SPECIES), "PixelRNN can't be given a context: use VAE"),
        (lambda vae: VAE(2, **TINY).fit(X, context=SPECIES[:9]), "9 rows, and there are 150"),
    ],
)
def test_what_cannot_be_given_a_context_says_so(act, message):
    vae = VAE(2, **TINY).fit(X, context=SPECIES)
    with pytest.raises(ValueError, match=message):
        act(vae)


def test_class_probabilities_are_those_of_bayes_rule():
    """x = w z + v_c + σ ε with two classes, set by hand; the classes are as frequent as in the fit."""
    rng = np.random.default_rng(0)
    c = (rng.random(600) < 0.3).astype(int)
    w, sigma, v = np.array([1.0, -0.5, 0.3]), 0.8, np.array([[0.0, 0.0, 0.0], [0.8, 0.5, -0.2]])
    rows = rng.normal(size=(600, 1)) * w + v[c] + sigma * rng.normal(size=(600, 3))  # more than one part
    likelihood = GaussianLikelihood(sigma, standardize=False)
    vae = VAE(1, network=MLP(()), likelihood=likelihood, max_epochs=1, early_stopping=False, random_state=0)
    vae.fit(rows, context=c)
    order = [vae.context_.columns[0].categories.index(k) for k in (0, 1)]
    decoder = vae.model_.decoder.network
    with torch.no_grad():
        decoder.layers[0].weight.zero_()
        decoder.layers[0].weight[:, 0] = torch.from_numpy(w)
        for k in (0, 1):
            decoder.layers[0].weight[:, 1 + order[k]] = torch.from_numpy(v[k])
        for bias in (decoder.bias, decoder.layers[0].bias):
            if bias is not None:
                bias.zero_()
    covariance = np.outer(w, w) + sigma**2 * np.eye(3)
    log_p = np.stack([log_normal(rows - v[k], covariance) for k in (0, 1)], 1) + np.log([1 - c.mean(), c.mean()])
    truth = np.exp(log_p - np.logaddexp.reduce(log_p, 1)[:, None])
    found = vae.class_probabilities(rows, 2000)
    error = np.maximum(found.standard_error, 1e-3)
    assert (np.abs(found.probability - truth) < 5 * error).all()
    assert np.abs((found.probability - truth) / error).std() < 2
    assert (vae.predict(rows) == c).mean() > 0.7
    np.testing.assert_allclose(vae.predict_proba(rows).sum(1), 1)


def test_classes_are_of_a_model_that_is_given_one():
    for vae in (VAE(2, **TINY).fit(X), VAE(2, **TINY).fit(X, context=X[:, :2])):
        with pytest.raises(AttributeError):
            vae.predict(X)
        with pytest.raises(ValueError, match="isn't given a class"):
            vae.class_probabilities(X)
        assert not hasattr(vae, "predict_proba")
