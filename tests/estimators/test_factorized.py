"""Independent features as an estimator."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from tests import contract

from lowerbound import PPCA, BernoulliLikelihood, Factorized, LikelihoodError
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


def test_bytes_of_another_type_are_the_same_bytes():
    dark = DIGITS[DIGITS.max((1, 2)) < 255][:3] // 2
    for likelihood in ("auto", BernoulliLikelihood("threshold")):
        ours, theirs = (Factorized(likelihood=likelihood).fit(X) for X in (DIGITS.astype(np.int64), DIGITS))
        assert ours.schema_.likelihood == theirs.schema_.likelihood
        assert ours.score(dark.astype(np.int64)) == theirs.score(dark)
    assert ours.sample(2).dtype == np.int64
    columns = DIGITS.reshape(300, -1)[:, 10:14].astype(np.int64)  # no images
    assert Factorized().fit(columns).schema_.likelihood == "gaussian"
    with pytest.raises(LikelihoodError, match=r"binarize needs bytes .* from 0 to 15"):
        Factorized(likelihood=BernoulliLikelihood("sample")).fit(DIGITS.astype(np.int64) // 17)


def test_labels_are_said_to_be_unused():
    y = load_iris().target
    with pytest.warns(UserWarning, match=r"y is not used: Factorized is .* VAE\(\)\.fit\(X, context=y\)"):
        Factorized().fit(IRIS, y)
    with pytest.warns(UserWarning, match="y is not used: PPCA"):
        PPCA(2).fit(IRIS, y)
    np.testing.assert_array_equal(PPCA(2).fit_transform(IRIS, y), PPCA(2).fit(IRIS).transform(IRIS))  # as in pipelines


def test_rows_of_another_shape_are_named_as_they_are():
    model = Factorized().fit(DIGITS)
    for X, words in (
        (DIGITS[0], r"the shape of one row, \(8, 8\): give it as X\[None\]"),
        (DIGITS[:, :7], r"rows of X have shape \(7, 8\), but the model was fitted to rows of shape \(8, 8\)"),
        (DIGITS.reshape(300, 64), r"rows of X have shape \(64,\), but .* \(8, 8\)"),
    ):
        with pytest.raises(ValueError, match=words):
            model.score_samples(X)
