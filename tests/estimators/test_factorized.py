"""Independent features as an estimator."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from tests import contract

from lowerbound import BernoulliLikelihood, Factorized, LikelihoodError
from lowerbound.parameters.tables import FACTORIZED_PARAMETERS

IRIS = load_iris().data
DIGITS = (load_digits().images[:300] * 255 / 16).round().astype(np.uint8)
LEVELS = np.random.default_rng(0).integers(0, 4, (50, 3))


@pytest.mark.parametrize(("estimator", "check"), contract.checks(Factorized()))
@pytest.mark.touches_global_random_state
def test_scikit_learn_conventions(estimator, check):
    check(clone(estimator))


def test_the_parameter_table_is_the_signature():
    contract.assert_the_table_is_the_signature(Factorized, FACTORIZED_PARAMETERS)


@pytest.mark.parametrize(
    ("X", "parameters", "likelihood"),
    [
        (IRIS, {}, "gaussian"),
        (IRIS.astype(np.float32), {}, "gaussian"),
        (DIGITS, {}, "categorical"),
        (DIGITS[..., None].repeat(3, -1), {}, "categorical"),
        (DIGITS.reshape(300, 64), {"image_shape": (8, 8)}, "categorical"),
        (DIGITS > 100, {}, "bernoulli"),
        ((DIGITS > 100).astype(np.uint8), {}, "bernoulli"),
        (DIGITS, {"likelihood": BernoulliLikelihood("sample")}, "bernoulli"),
        (DIGITS / 255, {"likelihood": BernoulliLikelihood("threshold")}, "bernoulli"),
        (LEVELS, {"likelihood": "categorical"}, "categorical"),
        (LEVELS.astype(np.uint8), {"likelihood": "categorical"}, "categorical"),
        (DIGITS.astype(float), {"likelihood": "gaussian"}, "gaussian"),
    ],
)
@pytest.mark.filterwarnings("ignore::lowerbound.ConstantFeatureWarning")
def test_every_kind_of_data_can_be_fitted_scored_drawn_and_kept(X, parameters, likelihood, tmp_path):
    estimator = Factorized(random_state=0, **parameters).fit(X)
    assert estimator.schema_.likelihood == likelihood
    contract.assert_verbs(estimator, X)
    contract.assert_kept(estimator, X, tmp_path / "model")


def test_the_gaussian_is_the_maximum_likelihood():
    entropy = 0.5 * np.log(2 * np.pi * np.e * IRIS.var(0)).sum()
    assert Factorized().fit(IRIS).score(IRIS) == pytest.approx(-entropy, abs=1e-12)


def test_units_constants_and_seeds():
    contract.assert_units(Factorized(), IRIS, atol=1e-9)
    contract.assert_constant_columns_stay_apart(Factorized(random_state=0), IRIS)
    contract.assert_same_seed_same_result(Factorized(), IRIS)


def test_bytes_have_256_levels_seen_or_not():
    estimator = Factorized().fit(DIGITS[:, :4])
    assert estimator.model_.log_probability.shape == (256, 1, 4, 8)
    unseen = np.full((1, 4, 8), 254, np.uint8)
    assert unseen.max() not in DIGITS
    assert estimator.score_samples(unseen)[0] == pytest.approx(32 * np.log(0.1 / (300 + 25.6)))


def test_grey_values_are_fitted_by_their_expectation():
    """The limit of ever more binarizations; and one that is cut at ½ is what the cut rows give."""
    theta = Factorized(likelihood=BernoulliLikelihood("sample")).fit(DIGITS).model_.logits.sigmoid().numpy()
    np.testing.assert_allclose(theta[0], ((DIGITS / 255).sum(0) + 0.1) / 300.2)
    same = Factorized(likelihood=BernoulliLikelihood("sample")).fit(DIGITS / 255).model_.logits.sigmoid().numpy()
    np.testing.assert_allclose(same, theta, rtol=1e-6)  # kept as float32
    cut = Factorized(likelihood=BernoulliLikelihood("threshold")).fit(DIGITS)
    plain = Factorized().fit(DIGITS >= 128)
    np.testing.assert_allclose(cut.score_samples(DIGITS), plain.score_samples(DIGITS >= 128))


def test_smoothing_is_a_pseudo_count():
    X = np.array([[0], [1], [1], [1]])
    theta = Factorized(smoothing=2.0).fit(X).model_.logits.sigmoid()
    assert theta.item() == pytest.approx(5 / 8)


@pytest.mark.parametrize(
    ("X", "parameters", "message"),
    [
        (IRIS, {"likelihood": "bernoulli"}, "0/1 data"),
        (IRIS, {"likelihood": "categorical"}, "whole numbers.*fractions"),
        (IRIS, {"likelihood": "discretized_logistic"}, "likelihood must be"),
        (IRIS, {"smoothing": 0.0}, "smoothing must be a number > 0"),
        (np.full((9, 2), 7.0), {}, "every feature of X is constant"),
    ],
)
def test_what_cannot_be_described_is_refused(X, parameters, message):
    with pytest.raises(ValueError, match=message):
        Factorized(**parameters).fit(X)


def test_a_level_out_of_range_is_refused():
    with pytest.raises(LikelihoodError, match="values 0 to 3"):
        Factorized(likelihood="categorical").fit(LEVELS).score_samples(LEVELS + 2)
