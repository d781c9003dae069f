"""The Gaussian as an estimator."""

import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from tests import contract

from lowerbound import Gaussian, LikelihoodError
from lowerbound.parameters.tables import GAUSSIAN_PARAMETERS

IRIS, WINE = load_iris().data, load_wine().data


@pytest.mark.parametrize(("estimator", "check"), contract.checks(Gaussian()))
@pytest.mark.touches_global_random_state
def test_scikit_learn_conventions(estimator, check):
    check(clone(estimator))


def test_the_parameter_table_is_the_signature():
    contract.assert_the_table_is_the_signature(Gaussian, GAUSSIAN_PARAMETERS)


@pytest.mark.parametrize("X", [IRIS, IRIS.astype(np.float32), WINE[:10], IRIS.reshape(-1, 2, 2)])
def test_rows_of_any_shape_can_be_fitted_scored_drawn_and_kept(X, tmp_path):
    estimator = Gaussian(random_state=0).fit(X)
    contract.assert_verbs(estimator, X)
    contract.assert_kept(estimator, X, tmp_path / "model")


def test_units_constants_and_seeds():
    contract.assert_units(Gaussian(), IRIS, atol=1e-6)
    contract.assert_constant_columns_stay_apart(Gaussian(random_state=0), IRIS)
    contract.assert_same_seed_same_result(Gaussian(), IRIS)


def test_maximum_likelihood_is_scipys():
    estimator = Gaussian(shrinkage=0).fit(WINE)
    np.testing.assert_allclose(estimator.mean_, WINE.mean(0))
    np.testing.assert_allclose(estimator.covariance_, np.cov(WINE.T, bias=True), rtol=1e-9)
    theirs = stats.multivariate_normal(WINE.mean(0), np.cov(WINE.T, bias=True))
    np.testing.assert_allclose(estimator.score_samples(WINE), theirs.logpdf(WINE), atol=1e-8)


def test_a_singular_covariance_is_an_error_with_a_way_out():
    twice = np.hstack([IRIS, IRIS])
    with pytest.raises(ValueError, match=r"150 rows and 8 features is singular.*raise shrinkage"):
        Gaussian(shrinkage=0).fit(twice)
    assert np.isfinite(Gaussian().fit(twice).score(twice))


def test_discrete_data_are_refused():
    with pytest.raises(LikelihoodError, match="Gaussian is a density of real values"):
        Gaussian().fit(IRIS > 3)


def test_too_few_steps_are_a_warning():
    with pytest.warns(ConvergenceWarning, match="max_iter=1"):
        Gaussian(max_iter=1).fit(IRIS)
