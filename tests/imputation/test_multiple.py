"""Multiple imputation: Rubin's rules, and tables that differ as far as models and gaps are uncertain."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.datasets import load_iris
from tests.imputation.test_imputer import table, with_gaps

from lowerbound import MLP, PPCA, VAE, Gaussian, Mixture, VAEImputer, load, pool
from lowerbound.imputation.gaussians import CategoryFiller, FewValues, fit_gaussian, fit_location, fit_mixture
from lowerbound.imputation.multiple import bootstrap, refitted
from lowerbound.imputation.network import EstimatorFiller
from lowerbound.models.ppca import LinearGaussian

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
IRIS = load_iris().data


def half_hidden(n: int, seed: int = 0) -> np.ndarray:
    """Normal pairs with r = .7; the second of half of them is hidden at random."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    y = 0.7 * x + 0.51**0.5 * rng.standard_normal(n)
    return np.c_[x, np.where(rng.random(n) < 0.5, np.nan, y)]


# Rubin's rules


def test_rubin_s_rules_by_hand():
    q, u = np.array([1.0, 3.0, 5.0]), np.array([2.0, 3.0, 4.0])
    pooled = pool(q, u)
    total = 3 + 4 / 3 * 4  # W + (1 + 1/m) B
    assert (pooled.value, pooled.within, pooled.between, pooled.n_tables) == (3, 3, 4, 3)
    assert pooled.standard_error == pytest.approx(total**0.5)
    assert pooled.df == pytest.approx(2 * (1 + 3 / (4 / 3 * 4)) ** 2)  # Rubin, 1987, eq. 3.1.6
    assert pooled.missing_fraction == pytest.approx(16 / 3 / total)
    low, high = pooled.interval(0.9)
    half = stats.t.ppf(0.95, pooled.df) * total**0.5
    assert (low, high) == pytest.approx((3 - half, 3 + half))


def test_degrees_of_freedom_never_exceed_those_of_the_complete_table():
    q, u = [1.0, 1.1, 0.9, 1.0], [1.0, 1.0, 1.0, 1.0]
    large, small = pool(q, u), pool(q, u, complete_df=20)
    part = small.missing_fraction
    observed = 21 / 23 * 20 * (1 - part)
    assert small.df == pytest.approx(1 / (1 / large.df + 1 / observed))  # Barnard & Rubin, 1999
    assert small.df < 20 < large.df
    assert pool(q, u, complete_df=1e12).df == pytest.approx(large.df)


def test_tables_without_gaps_pool_to_the_analysis_itself():
    pooled = pool([2.0, 2.0], [0.25, 0.25])
    assert pooled.df == np.inf
    assert pooled.interval() == pytest.approx((2 - 1.959964 * 0.5, 2 + 1.959964 * 0.5))
    assert pool([2.0, 2.0], [0.25, 0.25], complete_df=9).df == pytest.approx(10 / 12 * 9)
    assert pool([2.0, 2.0], [0.0, 0.0]).interval() == (2, 2)


def test_coefficients_are_pooled_each_by_itself():
    rng = np.random.default_rng(0)
    q, u = rng.normal(size=(5, 3)), rng.random((5, 3))
    together = pool(q, u, complete_df=30)
    for j in range(3):
        alone = pool(q[:, j], u[:, j], complete_df=30)
        assert alone.df == pytest.approx(together.df[j])
        assert np.ravel(alone.interval()) == pytest.approx([end[j] for end in together.interval()])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [1.0]), "at least 2 tables"),
        (([1.0, 2.0], [1.0]), "one shape"),
        (([1.0, 2.0], [1.0, -1.0]), "not negative"),
        (([1.0, np.nan], [1.0, 1.0]), "finite"),
    ],
)
def test_what_cannot_be_pooled_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        pool(*arguments)
    with pytest.raises(ValueError, match="complete_df"):
        pool([1.0, 2.0], [1.0, 1.0], complete_df=0)
    with pytest.raises(ValueError, match="level"):
        pool([1.0, 2.0], [1.0, 1.0]).interval(95)


# fits to bootstraps


def test_parameters_differ_by_their_standard_errors():
    """With x complete, the ML intercept, slope and residual variance of y are those of a regression."""
    X, m = half_hidden(400), 100
    shown = ~np.isnan(X[:, 1])
    x, y = X[shown].T
    design = np.c_[np.ones(len(x)), x]
    beta, _, _, _ = np.linalg.lstsq(design, y, rcond=None)
    residual = y - design @ beta
    variance = residual @ residual / len(x)
    errors = np.sqrt(np.r_[np.diag(variance * np.linalg.inv(design.T @ design)), 2 * variance**2 / len(x)])
    found = []
    for filler in refitted(fit_gaussian(X, 0), X, m, 0):
        mean, covariance = filler.model.means[0].numpy(), filler.model.covariances[0].numpy()
        slope = covariance[0, 1] / covariance[0, 0]
        found.append([mean[1] - slope * mean[0], slope, covariance[1, 1] - slope * covariance[0, 1]])
    ratio = np.std(found, 0, ddof=1) / errors
    assert (np.abs(ratio - 1) < 0.25).all()  # the sandwich differs by some %, the standard error of a deviation is 7 %
    assert (np.abs(np.mean(found, 0) - [*beta, variance]) < 4 * errors / m**0.5 + 0.01 * errors).all()


@pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")
def test_every_kind_of_model_is_fitted_to_other_rows_and_left_as_it_is():
    frame = table(300).assign(code=np.random.default_rng(1).integers(0, 5, 300).astype(float))
    imputer = VAEImputer(models=("gaussian",), random_state=0).fit(frame)
    code, Z = imputer._code, imputer._code.encode(frame)
    gaussian, few = fit_gaussian(Z, 0), FewValues.of(Z, np.flatnonzero(code.raw.blocks < 0))
    wide = with_gaps(np.random.default_rng(0).normal(size=(60, 3)) @ np.random.default_rng(1).normal(size=(3, 70)))
    factors = fit_gaussian(wide, 0)
    assert isinstance(factors.model, LinearGaussian)
    vae = VAE(2, network=MLP((8,)), likelihood="gaussian", max_epochs=4, random_state=0).fit(Z)
    fillers = [
        (gaussian, Z), (fit_mixture(Z, gaussian, 4, 1.0, 0), Z), (fit_location(Z, code.raw, gaussian, 4, 1.0, 0), Z),
        (CategoryFiller(few, fit_gaussian(few.widened(Z), 0)), Z), (factors, wide), (EstimatorFiller(vae, 20), Z),
    ]  # fmt: skip
    for filler, rows in fillers:
        before, again = filler.mean(rows), filler.refit(bootstrap(rows, 3), 3)
        np.testing.assert_array_equal(filler.mean(rows), before)
        difference = np.abs(again.mean(rows) - before)[np.isnan(rows)]
        assert 0 < difference.mean() < 0.5


@pytest.mark.parametrize("estimator", [PPCA(2), Gaussian(), Mixture(3, random_state=0)])
def test_estimators_that_the_imputer_fits_are_fitted_for_each_table(estimator):
    gaps = with_gaps(IRIS)
    imputer = VAEImputer(estimator, random_state=0).fit(gaps)
    own, given = imputer.sample_imputations(gaps, 3), imputer.sample_imputations(gaps, 3, refit=False)
    assert not np.array_equal(own, given)
    assert np.array_equal(np.stack(own)[:, ~np.isnan(gaps)], np.tile(gaps[~np.isnan(gaps)], (3, 1)))
    fitted = VAEImputer(imputer._filler.estimator, random_state=0).fit(gaps)
    np.testing.assert_array_equal(fitted.sample_imputations(gaps, 3), given)
    with pytest.raises(ValueError, match="used unchanged"):
        fitted.sample_imputations(gaps, 3, refit=True)
    with pytest.raises(ValueError, match="refit must be"):
        fitted.sample_imputations(gaps, 3, refit="no")


def test_new_rows_are_drawn_by_models_of_the_rows_that_were_fitted():
    gaps = half_hidden(200)
    imputer = VAEImputer(models=("gaussian",), random_state=0).fit(gaps)
    alone, among = imputer.sample_imputations(np.array([[1.0, np.nan]]), 40), imputer.sample_imputations(gaps, 40)
    assert np.std(alone, 0)[0, 1] == pytest.approx(0.51**0.5, rel=0.4)
    assert len(among) == 40


def test_a_saved_imputer_takes_the_rows_that_it_is_given(tmp_path):
    gaps = half_hidden(120)
    imputer = VAEImputer(models=("gaussian", "mixture"), random_state=0).fit(gaps)
    imputer.save(tmp_path / "imputer")
    again = load(tmp_path / "imputer")
    np.testing.assert_array_equal(again.sample_imputations(gaps, 3), imputer.sample_imputations(gaps, 3))
    with pytest.warns(UserWarning, match="fitted to 120 rows, which it doesn't hold"):
        again.sample_imputations(gaps[:50], 2)
    np.testing.assert_array_equal(
        again.sample_imputations(gaps[:50], 2, refit=False), imputer.sample_imputations(gaps[:50], 2, refit=False)
    )


def test_frames_of_every_kind_are_drawn_by_models_of_their_own():
    frame = table()
    imputer = VAEImputer(Mixture(2, random_state=0), random_state=0).fit(
        frame[["length"]].assign(b=1.5 * frame["length"])
    )
    assert len(imputer.sample_imputations(frame[["length"]].assign(b=1.5 * frame["length"]), 2)) == 2
    drawn = VAEImputer(models=("gaussian",), random_state=0).fit(frame).sample_imputations(frame, 2)
    assert all(not one.isna().any().any() and one.dtypes.equals(frame.dtypes) for one in drawn)
    assert isinstance(drawn[0], pd.DataFrame)


# coverage


@pytest.mark.parametrize("mechanism", ["mcar", "mar"])
def test_intervals_by_rubin_s_rules_cover_the_truth(mechanism):
    """The benchmark's simulation, shortened; its own result is there for all repetitions."""
    from coverage import simulate

    R = 10
    inside = np.mean([simulate(repetition, mechanism, refit=True) for repetition in range(R)], 0)
    assert (inside > 0.95 - 3 * (0.95 * 0.05 / R) ** 0.5).all()
    path = Path(__file__).parents[2] / "benchmarks" / "results" / "coverage.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    repetitions = found["repetitions"]
    for record in found["results"]:
        if record["mechanism"] == mechanism and record["refit"]:
            assert abs(record["coverage"] - 0.95) < 2.5 * (0.95 * 0.05 / repetitions) ** 0.5
