"""Mixtures as an estimator."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from tests import contract

from lowerbound import BernoulliLikelihood, Factorized, Gaussian, LikelihoodError, Mixture
from lowerbound.data.schema import ConstantFeatureWarning
from lowerbound.parameters.tables import MIXTURE_PARAMETERS

IRIS = load_iris().data
STANDARDIZED = (IRIS - IRIS.mean(0)) / IRIS.std(0)
DIGITS = (load_digits().images[:300] * 255 / 16).round().astype(np.uint8)
BINARY = DIGITS > 100
IN_SCIKIT_LEARN = {"full": "full", "tied": "tied", "diagonal": "diag", "isotropic": "spherical"}


@pytest.mark.parametrize(("estimator", "check"), contract.checks(Mixture()))
@pytest.mark.touches_global_random_state
def test_scikit_learn_conventions(estimator, check):
    check(clone(estimator))


def test_the_parameter_table_is_the_signature():
    contract.assert_the_table_is_the_signature(Mixture, MIXTURE_PARAMETERS)


@pytest.mark.parametrize(
    ("X", "parameters"),
    [
        (IRIS, {}),
        (IRIS.astype(np.float32), {"covariance": "tied"}),
        (IRIS, {"covariance": "diagonal"}),
        (IRIS, {"covariance": "isotropic"}),
        (DIGITS[:, 2:6, 2:6] / 255, {}),
        (np.stack([DIGITS / 255] * 3, -1)[:, 2:6, 2:6], {"covariance": "diagonal"}),
        (DIGITS[:, 2:6, 2:6], {"likelihood": "gaussian"}),
        (BINARY, {}),
        (BINARY[..., None].repeat(3, -1).astype(np.uint8), {}),
        (BINARY.reshape(300, 64).astype(float), {"image_shape": (8, 8)}),
        (DIGITS, {"likelihood": BernoulliLikelihood("sample")}),
        (DIGITS / 255, {"likelihood": BernoulliLikelihood("threshold")}),
    ],
)
@pytest.mark.filterwarnings("ignore::lowerbound.ConstantFeatureWarning")
def test_every_kind_of_data_can_be_fitted_scored_drawn_and_kept(X, parameters, tmp_path):
    estimator = Mixture(3, random_state=0, **parameters).fit(X)
    contract.assert_verbs(estimator, X)
    contract.assert_kept(estimator, X, tmp_path / "model")
    r = estimator.responsibilities(X)
    assert r.shape == (len(X), 3)
    np.testing.assert_allclose(r.sum(1), 1)
    assert estimator.weights_.sum() == pytest.approx(1)
    assert estimator.objective_ <= estimator.score(X) + 1  # the likelihood times a prior, before the last step


def test_units_constants_and_seeds():
    contract.assert_units(Mixture(2, random_state=0), IRIS, atol=1e-6)
    for covariance in ("full", "tied", "diagonal", "isotropic"):
        contract.assert_constant_columns_stay_apart(Mixture(2, covariance=covariance, random_state=0), IRIS)
    contract.assert_same_seed_same_result(Mixture(2), IRIS)
    contract.assert_same_seed_same_result(Mixture(2), BINARY)


# Gaussians


@pytest.mark.parametrize("covariance", ["full", "tied", "diagonal", "isotropic"])
def test_gaussians_are_scikit_learns_on_standardized_rows_in_the_users_units(covariance):
    ours = Mixture(3, covariance=covariance, random_state=5).fit(IRIS)
    seed = int(np.random.SeedSequence(5).generate_state(1)[0])
    theirs = GaussianMixture(3, covariance_type=IN_SCIKIT_LEARN[covariance], max_iter=200, random_state=seed).fit(
        STANDARDIZED
    )
    unit = np.log(IRIS.std(0)).sum()
    np.testing.assert_allclose(ours.score_samples(IRIS), theirs.score_samples(STANDARDIZED) - unit, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.responsibilities(IRIS), theirs.predict_proba(STANDARDIZED), atol=1e-9)
    np.testing.assert_allclose(ours.weights_, theirs.weights_)
    assert ours.objective_ == pytest.approx(theirs.lower_bound_ - unit)
    assert (ours.n_iter_, ours.converged_) == (theirs.n_iter_, True)


def test_one_full_gaussian_is_the_maximum_likelihood():
    best = -0.5 * (4 * np.log(2 * np.pi * np.e) + np.linalg.slogdet(np.cov(IRIS.T, bias=True))[1])
    assert Mixture(1).fit(IRIS).score(IRIS) == pytest.approx(best, abs=1e-4)  # reg_covar costs a little


def test_more_components_describe_held_out_flowers_better():
    one, three = (Mixture(k, random_state=0).fit(IRIS[::2]).score(IRIS[1::2]) for k in (1, 3))
    assert three > one > Factorized().fit(IRIS[::2]).score(IRIS[1::2])


# Gaussians over gaps

GAPPY = np.where(np.random.default_rng(1).random(IRIS.shape) < 0.3, np.nan, IRIS)


def test_one_component_over_gaps_is_the_gaussian():
    one = Mixture(1, tol=1e-12, max_iter=5000, reg_covar=1 / 150, random_state=0).fit(GAPPY)
    gaussian = Gaussian(shrinkage=1, tol=1e-12, max_iter=5000).fit(GAPPY)
    np.testing.assert_allclose(one.score_samples(GAPPY), gaussian.score_samples(GAPPY), atol=1e-5)
    np.testing.assert_allclose(one.score_samples(IRIS), gaussian.score_samples(IRIS), atol=1e-5)


@pytest.mark.parametrize("covariance", ["full", "tied", "diagonal", "isotropic"])
def test_what_em_climbed_over_gaps_is_the_likelihood_in_the_users_units(covariance, capsys):
    mixture = Mixture(3, covariance=covariance, reg_covar=1e-9, tol=1e-4, random_state=0, verbose=1).fit(GAPPY)
    log_prior = mixture.model_.log_weights.sum().item() / 150  # all there is of it but for reg_covar
    assert mixture.objective_ == pytest.approx(mixture.score(GAPPY) + log_prior, abs=1e-3)
    climb = [float(line.split()[3]) for line in capsys.readouterr().err.splitlines()]
    assert len(climb) == mixture.n_iter_ + 1
    assert np.diff(climb).min() >= -1e-4  # as it is printed
    finer = Mixture(3, covariance=covariance, reg_covar=1e-9, tol=1e-4, random_state=0).fit(1000 * GAPPY + 5)
    shift = (~np.isnan(GAPPY)).sum(1) * np.log(1000)
    np.testing.assert_allclose(finer.score_samples(1000 * GAPPY + 5), mixture.score_samples(GAPPY) - shift, atol=1e-6)
    contract.assert_same_seed_same_result(Mixture(2, covariance=covariance), GAPPY)


def test_one_hidden_cell_hardly_changes_the_fit():
    rows = IRIS.copy()
    rows[3, 1] = np.nan
    almost = Mixture(3, tol=1e-6, max_iter=2000, random_state=0).fit(rows)
    complete = Mixture(3, tol=1e-6, max_iter=2000, random_state=0).fit(IRIS)
    assert almost.score(IRIS) == pytest.approx(complete.score(IRIS), abs=0.05)


def test_a_column_without_values_and_a_singular_covariance(tmp_path):
    rows = np.column_stack([GAPPY, np.full(150, np.nan), GAPPY[:, 0]])
    with pytest.warns(ConstantFeatureWarning):
        mixture = Mixture(2, random_state=0).fit(rows)
    contract.assert_kept(mixture, rows, tmp_path / "model")
    assert np.isnan(mixture.sample(2)[:, 4]).all()
    with pytest.warns(ConstantFeatureWarning), pytest.raises(ValueError, match="singular: raise reg_covar"):
        Mixture(2, reg_covar=0, random_state=0).fit(rows)


# Bernoullis


def test_bernoullis_find_the_components_that_made_the_rows():
    """θ and π within 4.5 standard errors, when the components hardly overlap."""
    rng = np.random.default_rng(0)
    theta, weights = np.array([[0.9] * 10 + [0.1] * 10, [0.1] * 10 + [0.8] * 10]), np.array([0.3, 0.7])
    k = rng.choice(2, 5000, p=weights)
    X = (rng.random((5000, 20)) < theta[k]).astype(np.uint8)
    mixture = Mixture(2, smoothing=0.01, tol=1e-7, random_state=0).fit(X)
    order = np.argsort(mixture.weights_)
    assert np.abs(mixture.weights_[order] - weights).max() < 4.5 * np.sqrt(0.21 / 5000)
    error = np.sqrt(theta * (1 - theta) / (5000 * weights[:, None]))
    assert (np.abs(mixture.model_.logits.sigmoid().numpy()[order] - theta) < 4.5 * error).all()
    assert (mixture.responsibilities(X).argmax(1) == order[k]).mean() > 0.999


def test_held_out_digits_need_more_than_one_component():
    X = load_digits().images > 7
    independent = Factorized().fit(X[:1200]).score(X[1200:])
    one, ten = (Mixture(k, random_state=0).fit(X[:1200]).score(X[1200:]) for k in (1, 10))
    assert one == pytest.approx(independent, abs=0.1)  # they smooth differently
    assert ten > one + 3


def test_the_best_of_several_starts_is_kept():
    alone = [Mixture(5, random_state=seed).fit(BINARY).objective_ for seed in range(4)]
    assert np.ptp(alone) > 1e-3  # starts do differ
    once, often = (Mixture(5, n_init=n, random_state=0).fit(BINARY) for n in (1, 8))
    assert often.objective_ > once.objective_
    penalized = often.score(BINARY) + often.model_.log_prior().item() / len(BINARY)
    assert penalized == pytest.approx(often.objective_, abs=1e-9)  # its parameters are the ones that are kept


def test_components_are_smoothed_towards_the_average_row():
    mixture = Mixture(3, smoothing=1e9, random_state=0).fit(BINARY)
    average = (BINARY.sum(0).ravel() + 0.1) / 300.2
    np.testing.assert_allclose(mixture.model_.logits.sigmoid(), np.tile(average, (3, 1)), atol=1e-6)


def test_em_goes_on_until_tol_or_says_so(capsys):
    with pytest.warns(ConvergenceWarning, match="max_iter=2 steps.*tol=0.001"):
        mixture = Mixture(5, max_iter=2, random_state=0, verbose=1).fit(BINARY)
    assert (mixture.n_iter_, mixture.converged_) == (2, False)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("EM step    0  -")
    far = Mixture(5, tol=1e-6, max_iter=1000, random_state=0).fit(BINARY)
    assert far.objective_ > Mixture(5, tol=1e-2, random_state=0).fit(BINARY).objective_


def test_small_passes_give_the_same_fit(monkeypatch):
    whole = Mixture(4, random_state=0).fit(BINARY)
    monkeypatch.setattr("lowerbound.estimators.mixture.PASS_ELEMENTS", 68 * 7)  # seven rows at a time
    parts = Mixture(4, random_state=0).fit(BINARY)
    assert parts.n_iter_ == whole.n_iter_
    np.testing.assert_allclose(parts.score_samples(BINARY), whole.score_samples(BINARY), atol=1e-9)


def test_redrawn_grey_values_generalize_better_than_one_drawing():
    X = (load_digits().images * 255 / 16).round().astype(np.uint8)
    rng = np.random.default_rng(0)
    once = (rng.random(X.shape) * 255 < X).astype(np.uint8)
    redrawn = Mixture(20, likelihood=BernoulliLikelihood("sample"), random_state=0).fit(X[:600])
    fixed = Mixture(20, random_state=0).fit(once[:600])
    gain = redrawn.score_samples(255 * once[600:]) - fixed.score_samples(once[600:])
    assert redrawn.converged_
    assert gain.mean() > 3 * gain.std() / len(gain) ** 0.5


@pytest.mark.parametrize(
    ("X", "parameters", "message"),
    [
        (
            DIGITS,
            {},
            r"neither gives the probability of grey levels.*\('sample'\) to redraw.*Factorized or VAE",
        ),
        (IRIS, {"likelihood": "bernoulli"}, "0/1 data"),
        (IRIS, {"likelihood": "categorical"}, "likelihood must be"),
        (IRIS, {"covariance": "diag"}, "covariance must be 'full' or .*did you mean 'diagonal'"),
        (IRIS, {"n_components": 0}, "n_components must be a whole number ≥ 1"),
        (IRIS, {"n_components": 151}, "n_components=151 needs at least as many rows"),
        (BINARY, {"smoothing": 0.0}, "smoothing must be a number > 0"),
    ],
)
def test_what_cannot_be_described_is_refused(X, parameters, message):
    with pytest.raises(ValueError, match=message):
        Mixture(**parameters).fit(X)


def test_new_rows_must_be_of_the_same_kind():
    with pytest.raises(LikelihoodError, match="0/1 data"):
        Mixture(2, random_state=0).fit(BINARY).score_samples(DIGITS)
