"""Fills that can be: within the support, not dragged along by absurd values, and no worse than the mean."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from tests.imputation.test_imputer import with_gaps

from lowerbound import VAEImputer, load
from lowerbound.data.table_code import TableCode
from lowerbound.imputation.fillers import Marginal, OfValues, WithErrors, expected_values
from lowerbound.imputation.gaussians import fit_gaussian, fit_location, fit_mixture
from lowerbound.imputation.stacking import Stack, column_weights, shrunk_gains

EXACT = ("gaussian", "mixture")


def amounts(n: int = 400, spread: float = 6.0) -> np.ndarray:
    """Lognormal amounts with a common factor, and a normal column."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(n, 1))
    return np.c_[np.exp(spread * (0.8 * z + 0.6 * rng.normal(size=(n, 2)))), z + 0.5 * rng.normal(size=(n, 1))]


@pytest.mark.parametrize("models", [("gaussian",), EXACT])
def test_positive_amounts_are_filled_within_their_range(models):
    X = amounts()
    gaps = with_gaps(X, 0.25)
    imputer = VAEImputer(models=models, random_state=0).fit(gaps)
    for filled in [imputer.transform(gaps), *imputer.sample_imputations(gaps, 3)]:
        assert (filled[:, :2] >= np.nanmin(gaps[:, :2], 0)).all()
        assert (filled[:, :2] <= np.nanmax(gaps[:, :2], 0)).all()
    low, _ = imputer.impute_interval(gaps)
    assert (low[:, :2] > 0).all()


def test_moderate_amounts_are_not_filled_below_zero():
    rng = np.random.default_rng(1)
    x = rng.uniform(0.01, 1, 300)
    gaps = with_gaps(np.c_[x, x + 0.3 * rng.normal(size=300)], 0.3)
    imputer = VAEImputer(models=("gaussian",), random_state=0).fit(gaps)
    assert not imputer._code.scale.places
    new = np.array([[np.nan, -5.0]])
    assert imputer.transform(new)[0, 0] > 0
    assert min(table[0, 0] for table in imputer.sample_imputations(np.repeat(new, 50, 0), 3)) > 0


@pytest.mark.parametrize("dtype", ["uint8", "UInt8", "int8", "Int64"])
def test_small_whole_numbers_are_filled(dtype):
    rng = np.random.default_rng(0)
    z = rng.normal(size=200)
    counts = np.minimum(rng.poisson(np.exp(1 + z)), 120)
    frame = pd.DataFrame({"count": pd.array(counts, dtype="Int64"), "x": z})
    frame.loc[::3, "count"] = pd.NA
    imputer = VAEImputer(models=("gaussian",), random_state=0).set_output(transform="pandas")
    imputer.fit(frame.dropna().astype({"count": dtype}))
    gaps = frame.astype({"count": "Float64" if dtype[0] in "ui" else dtype})
    gaps.loc[0, "x"] = -40.0
    filled = imputer.transform(gaps)["count"]
    assert (filled >= 0).all()
    assert (filled <= counts.max()).all()


def test_an_absurd_value_drags_no_other_column_along():
    rng = np.random.default_rng(0)
    age = rng.uniform(18, 80, 500)
    X = np.c_[age, 1000 * age + 20_000 * rng.normal(size=500)]
    X[:3, 0] = 999
    imputer = VAEImputer(models=EXACT, random_state=0).fit(X)
    (at_80,), (absurd,) = (imputer.transform([[value, np.nan]])[:, 1] for value in (80.0, 999.0))
    assert abs(absurd - at_80) < 1.5 * X[:, 1].std()
    clean = VAEImputer(models=EXACT, random_state=0).fit(X[3:])
    far, further = (clean.transform([[value, np.nan]])[0, 1] for value in (999.0, 1e9))
    assert far == further
    assert abs(far - X[:, 1].mean()) < 6 * X[:, 1].std()


def test_expectations_are_of_values_and_not_of_their_scores():
    """For lognormal pairs E[x|y] is known; exp of the mean of the logarithm would be too small."""
    rng = np.random.default_rng(0)
    z = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 20_000)
    code = TableCode(np.exp(z))
    filler = fit_gaussian(code.encode(np.exp(z)), 0)
    given = np.array([-1.0, 0.0, 1.0])
    Z = code.encode(np.c_[np.exp(given), np.full(3, np.nan)])
    column = code.columns[1]
    filled = column.decode(expected_values(filler, Z, code.scale)[:, 1:])
    np.testing.assert_allclose(filled, np.exp(0.6 * given + 0.64 / 2), rtol=0.06)


def test_the_marginal_filler_fills_with_the_mean_whatever_the_column():
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=2000), rng.lognormal(size=2000), rng.random(2000) * (rng.random(2000) < 0.1)]
    code = TableCode(X)
    Z = code.encode(X)
    assert code.scale.places == [1, 2]
    filled = expected_values(Marginal.of(Z), np.full((1, 3), np.nan), code.scale)
    np.testing.assert_allclose(filled, 0, atol=0.03)  # standardized: 0 is the mean
    drawn = Stack([Marginal.of(Z)], np.ones((1, 3)), code.raw, code.scale).draws(np.full((4000, 3), np.nan), 1, 0)[0]
    np.testing.assert_allclose(drawn.mean(0), 0, atol=0.08)
    assert (code.columns[2].numbers(drawn[:, 2:]) == 0).mean() == pytest.approx((X[:, 2] == 0).mean(), abs=0.03)


def test_the_variances_of_the_models_are_those_of_their_draws():
    X = load_iris().data
    frame = pd.DataFrame((X - X.mean(0)) / X.std(0)).assign(kind=np.repeat(list("abc"), 50))
    gaps = frame.mask(np.random.default_rng(0).random(frame.shape) < 0.4)
    code = TableCode(gaps)
    Z = code.encode(gaps)
    gaussian = fit_gaussian(Z, 0)
    numbers = Z[:, :4]
    of_numbers = fit_gaussian(numbers, 0)
    wide = np.tile(numbers[:, :3], 25) + np.random.default_rng(1).normal(size=(len(Z), 75))
    fillers = [
        (gaussian, Z), (fit_mixture(numbers, of_numbers, 3, 1.0, 0), numbers), (fit_gaussian(wide, 0), wide),
        (fit_location(Z, code.raw, gaussian, 3, 1.0, 0), Z),
    ]  # fmt: skip
    for filler, rows in fillers:
        draws, (mean, variance) = filler.draws(rows[:20], 4000, 0), filler.moments(rows[:20], [2, 0])
        hidden = np.isnan(rows[:20])
        np.testing.assert_allclose(mean, filler.mean(rows[:20]))
        ratio = draws.var(0)[:, [2, 0]][hidden[:, [2, 0]]] / variance[hidden[:, [2, 0]]]
        assert np.abs(ratio - 1).max() < 0.2  # 4 standard errors are .09, more for mixtures


def test_columns_that_nothing_tells_are_filled_with_their_means():
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=(500, 4)), rng.lognormal(size=(500, 4))]
    gaps = with_gaps(X, 0.2)
    filled = VAEImputer(models=EXACT, random_state=0).fit_transform(gaps)
    means = np.where(np.isnan(gaps), np.nanmean(gaps, 0), gaps)
    assert np.isclose(filled, means).all(0).sum() >= 6


def test_gains_are_shrunk_towards_those_of_other_columns():
    rng = np.random.default_rng(0)
    true = 0.3 + 0.2 * rng.normal(size=4000)
    sd = rng.uniform(0.1, 0.5, 4000)
    seen = true + sd * rng.normal(size=4000)
    mean, error = shrunk_gains(seen, sd**2)
    assert np.mean((mean - true) ** 2) < 0.7 * np.mean((seen - true) ** 2)
    assert np.mean(((mean - true) / error) ** 2) == pytest.approx(1, abs=0.2)
    predicted, target = np.stack([seen[:400], np.zeros(400)]), rng.normal(size=400)
    kind, owner = np.array([True, True]), np.repeat([0, 1], 200)
    weights = column_weights(predicted, target, np.ones(400), np.arange(400), owner, kind, 1)
    assert weights.tolist() == [[0, 0], [1, 1]]  # nothing tells the target


@pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")
def test_scores_and_their_fillers_are_saved(tmp_path):
    from lowerbound import MLP, VAE
    from lowerbound.imputation.network import EstimatorFiller

    X = with_gaps(amounts(200, 1.5), 0.2)
    imputer = VAEImputer(models=("gaussian",), random_state=0).fit(X)
    code = imputer._code
    Z, V = code.encode(X), code.scale.bounded(code.encode(X))
    assert code.scale.places == [0, 1]
    vae = VAE(2, network=MLP((8,)), likelihood="gaussian", max_epochs=2, random_state=0).fit(Z)
    fillers = [
        Marginal.of(Z),
        OfValues(fit_gaussian(V, 0), code.scale),
        WithErrors(EstimatorFiller(vae, 20), Z[0] ** 0),
    ]
    imputer._filler = Stack(fillers, np.full((3, 3), 1 / 3), code.raw, code.scale)
    imputer.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    np.testing.assert_array_equal(again.transform(X), imputer.transform(X))
    np.testing.assert_array_equal(again.sample_imputations(X, 2), imputer.sample_imputations(X, 2))


@pytest.mark.parametrize("sign", [1, -1])
def test_no_value_is_made_frequent_by_the_end_of_the_support(sign):
    X = sign * np.random.default_rng(0).beta(2, 5, (400, 2))
    gaps = with_gaps(X, 0.2)
    imputer = VAEImputer(models=("gaussian",), fill="mode", random_state=0).fit(gaps)
    values, counts = np.unique(imputer.transform(gaps)[np.isnan(gaps)], return_counts=True)
    assert counts.max() <= 3
    assert (sign * values >= 0).all()
