"""Rows may share their noise; the entries of a row, and new rows, never do."""

import numpy as np
import pytest
from sklearn.datasets import load_iris

from lowerbound import MLP, PPCA, VAE, BernoulliLikelihood, Factorized, Gaussian, Mixture
from lowerbound.evaluation.annealing import naive
from lowerbound.evaluation.bound import importance_weighted

X = load_iris().data
BINARY = (np.random.default_rng(0).random((300, 4)) < [0.2, 0.4, 0.6, 0.5]).astype(float)


@pytest.mark.parametrize("shared", ["exactly", "with_shared_noise"])
@pytest.mark.parametrize(
    ("model", "rows"),
    [(Factorized(random_state=0), X), (Factorized(random_state=0), BINARY), (Gaussian(random_state=0), X)],
    ids=["normal", "bernoulli", "gaussian"],
)
def test_features_of_new_rows_are_as_they_are_without_shared_noise(model, rows, shared):
    fitted = model.fit(rows).fitted_
    draws = getattr(fitted, shared)().sample(4000)
    own = fitted.sample(4000, random_state=1)
    error = 5 * np.sqrt(2 / 4000)  # of the difference of two correlations, five standard errors at most
    np.testing.assert_allclose(np.corrcoef(draws.T), np.corrcoef(own.T), atol=error)


def test_latent_variables_of_new_rows_differ_from_each_other():
    fitted = VAE(3, network=MLP((8,)), max_epochs=2, random_state=0).fit(X).fitted_
    draws, own = fitted.exactly().sample(4000), fitted.sample(4000, random_state=1)
    np.testing.assert_allclose(draws.std(0), own.std(0), rtol=0.1)


def test_draws_of_the_prior_that_rows_share_give_the_same_log_p():
    fitted = VAE(2, network=MLP((16,)), max_epochs=60, random_state=0).fit(X).fitted_.exactly()
    by_prior, ess = naive(fitted.on(X[:40]), 20_000)
    by_posterior, _ = importance_weighted(fitted.on(X[:40]), 2000)
    error = float(ess.min()) ** -0.5  # of one row, and of the mean too, since all rows share their draws
    assert error < 0.02
    np.testing.assert_allclose(by_prior, by_posterior, atol=4.5 * error)


@pytest.mark.parametrize(
    ("model", "rows"),
    [
        (PPCA(2, random_state=0), X),
        (Gaussian(random_state=0), X),
        (Mixture(2, likelihood=BernoulliLikelihood(), random_state=0), BINARY),
    ],
    ids=["ppca", "gaussian", "mixture of Bernoullis"],
)
def test_a_fitted_model_that_knows_log_p_gives_it(model, rows):
    fitted = model.fit(rows).fitted_
    found = fitted.log_likelihood(rows)
    assert found.kind == "exact"
    assert found.value == pytest.approx(model.score_samples(rows).mean(), abs=1e-9)
    np.testing.assert_allclose(fitted.score_samples(rows), model.score_samples(rows), atol=1e-9)
