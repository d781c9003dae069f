"""A fit that ends below independent features says so; those are exact, in the words of the model's own likelihood."""

import warnings

import numpy as np
import pandas as pd
import pytest

from lowerbound import (
    ELBO,
    VAE,
    Adam,
    Autoencoder,
    CollapsedPosteriorWarning,
    Factorized,
    GaussianLikelihood,
    PixelRNN,
    WorseThanIndependentWarning,
)
from lowerbound.assembly.independent import independent_log_prob

rng = np.random.default_rng(0)
N = 300
X = rng.normal(size=(N, 4))
X[:, 1] += X[:, 0]


def independent(X, part="auto", batch=70):
    vae = VAE(1, likelihood=part, max_epochs=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vae.fit(X)
    fitted = vae.fitted_
    return independent_log_prob(vae.schema_, vae.asked().likelihood, fitted.rows(X), fitted.noise("x"), batch).numpy()


@pytest.mark.parametrize("part", ["auto", GaussianLikelihood("decoder"), GaussianLikelihood(standardize=False)])
def test_independent_normals_are_those_of_factorized(part):
    units = X * [1, 10, 100, 0.1]
    units[::7, 2] = np.nan
    np.testing.assert_allclose(independent(units, part), Factorized().fit(units).score_samples(units), atol=2e-4)


def test_independent_bits_and_categories_are_those_of_factorized():
    bits = (rng.random((N, 5)) < 0.3).astype(np.uint8)
    exact = Factorized(smoothing=1e-9).fit(bits).score_samples(bits)
    np.testing.assert_allclose(independent(bits), exact, atol=1e-4)
    words = pd.DataFrame({"a": rng.choice(list("xyz"), N), "b": rng.choice(list("uvw"), N)})
    np.testing.assert_allclose(independent(words), Factorized().fit(words).score_samples(words), atol=1e-4)


def test_with_a_model_of_the_mask():
    gaps = X.copy()
    gaps[rng.random(X.shape) < 0.3] = np.nan
    rate = np.isnan(gaps).mean(0)
    log_mask = np.where(np.isnan(gaps), np.log(rate), np.log1p(-rate)).sum(1)
    part = GaussianLikelihood(missingness="self_masking")
    found = independent(gaps, part, batch=N)  # rates are those of the rows that are scored together
    np.testing.assert_allclose(found, independent(gaps) + log_mask, atol=2e-4)


@pytest.mark.parametrize(
    "model",
    [
        VAE(2, optimizer=Adam(10.0), max_epochs=20, random_state=0),
        VAE(2, optimizer=Adam(10.0), max_epochs=20, early_stopping=False, random_state=0),
        PixelRNN(hidden_size=8, optimizer=Adam(30.0), max_epochs=20, random_state=0),
        Autoencoder(2, optimizer=Adam(30.0), max_epochs=20, random_state=0),
    ],
    ids=["held out", "nothing held out", "pixel rnn", "autoencoder"],
)
def test_a_finite_divergence_is_said(model):
    with pytest.warns(match="") as caught:
        model.fit(X)
    assert [each.category for each in caught] == [WorseThanIndependentWarning]  # and not that it has collapsed
    message = str(caught[0].message)
    assert "worse than independent features" in message
    assert f"Lower the learning rate, which was {model.optimizer.lr:g}" in message
    assert caught[0].filename == __file__
    assert ("held out" in message) == bool(model.early_stopping)


@pytest.mark.parametrize(
    "model",
    [
        VAE(2, max_epochs=30, random_state=0),
        VAE(2, max_epochs=1, random_state=0),
        VAE(2, max_epochs=30, objective=ELBO(kl_weight=0), random_state=0),
        PixelRNN(hidden_size=8, max_epochs=2, random_state=0),
        Autoencoder(2, max_epochs=2, random_state=0),
    ],
    ids=["vae", "brief", "without KL", "pixel rnn", "autoencoder"],
)
def test_a_sound_or_brief_fit_is_not_called_diverged(model):
    far = X.copy()
    far[:6] *= 1e4  # a few rows, of which independent features make more than a model that trims them
    with warnings.catch_warnings():
        warnings.simplefilter("error", WorseThanIndependentWarning)
        warnings.simplefilter("ignore", CollapsedPosteriorWarning)
        model.fit(X)
        model.fit(far)
