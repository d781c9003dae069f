"""The imputer: scikit-learn's conventions, and how good the filling is."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris, load_wine
from tests import contract

from lowerbound import PPCA, VAE, Factorized, Gaussian, Mixture, VAEImputer
from lowerbound.data.table_code import MAX_CATEGORIES, Raw, TableCode
from lowerbound.imputation import selection
from lowerbound.imputation.gaussians import (
    CategoryFiller,
    ExactFiller,
    FewValues,
    fit_gaussian,
    fit_location,
    fit_mixture,
)
from lowerbound.imputation.stacking import OTHERS, Stack, cautious, column_weights, stack
from lowerbound.parameters.tables import IMPUTER_PARAMETERS

IRIS, WINE = load_iris().data, load_wine().data
EXACT = ("gaussian", "mixture")


def with_gaps(X: np.ndarray, share: float = 0.3, seed: int = 0) -> np.ndarray:
    return np.where(np.random.default_rng(seed).random(X.shape) < share, np.nan, X)


def rings(n: int = 300, seed: int = 0) -> np.ndarray:
    """Points near a circle: uncorrelated, and far from independent."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, n)
    return np.c_[np.cos(angle), np.sin(angle), np.cos(2 * angle)] + rng.normal(0, 0.05, (n, 3))


def table(n: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    size = rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "length": (10 + size).astype(np.float32),
            "count": pd.array(rng.poisson(np.exp(1 + 0.4 * size)), dtype="Int64"),
            "color": pd.Categorical(np.where(size > 0, "red", "blue"), categories=["blue", "red", "never"]),
            "word": np.where(size > 0.5, "large", "small"),
            "flag": pd.array(size > -0.5, dtype="boolean"),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta((30 * size).round(), unit="D"),
        }
    )
    return frame.mask(rng.random(frame.shape) < 0.2)


# conventions


@pytest.mark.parametrize(("estimator", "check"), contract.checks(VAEImputer(models=EXACT)))
@pytest.mark.touches_global_random_state
def test_scikit_learn_conventions(estimator, check):
    check(clone(estimator))


def test_the_parameter_table_is_the_signature():
    signature = {k: v for k, v in VAEImputer().get_params().items() if k != "estimator"}
    assert signature == {name: p.default for name, p in IMPUTER_PARAMETERS.items()}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_observed_values_come_back_bit_for_bit_and_no_gap_is_left(dtype):
    X = with_gaps(IRIS).astype(dtype)
    filled = VAEImputer(models=EXACT, random_state=0).fit_transform(X)
    assert filled.dtype == dtype
    assert np.array_equal(filled[~np.isnan(X)], X[~np.isnan(X)])
    assert np.isfinite(filled).all()
    assert np.isnan(X).any()  # the caller's array is left alone


def test_rows_that_were_not_fitted_can_be_filled_alone_as_among_others():
    imputer = VAEImputer(models=EXACT, random_state=0).fit(with_gaps(IRIS[::2]))
    new = with_gaps(IRIS[1::2], 0.5, seed=3)
    filled = imputer.transform(new)
    np.testing.assert_allclose(imputer.transform(new[7:8]), filled[7:8], rtol=1e-9)
    np.testing.assert_allclose(imputer.transform(new[::-1])[::-1], filled, rtol=1e-9)
    assert np.array_equal(imputer.transform(IRIS), IRIS)


def test_frames_keep_their_types_names_and_index():
    frame = table().set_index(np.arange(500, 620))
    imputer = VAEImputer(models=EXACT, random_state=0).set_output(transform="pandas")
    filled = imputer.fit_transform(frame)
    assert isinstance(filled, pd.DataFrame)
    assert filled.dtypes.equals(frame.dtypes)
    assert list(filled.columns) == list(frame.columns)
    assert (filled.index == frame.index).all()
    assert not filled.isna().any().any()
    for name in frame:
        seen = frame[name].notna()
        assert filled.loc[seen, name].equals(frame.loc[seen, name])
    assert "never" not in set(filled["color"])
    assert isinstance(VAEImputer(models=EXACT).fit_transform(frame), np.ndarray)
    for drawn in imputer.sample_imputations(frame, 2):
        assert drawn.dtypes.equals(frame.dtypes)
        assert not drawn.isna().any().any()
    low, high = imputer.impute_interval(frame)
    gaps = frame["length"].isna()
    assert (low["length"] < high["length"])[gaps].all()
    assert (low["length"] == frame["length"])[~gaps].all()
    assert low["word"].isna().all()


def test_a_category_that_others_tell_is_told():
    frame = table(400)
    truth = frame.copy()
    hidden = truth["length"].notna() & truth["word"].notna() & (np.arange(400) % 2 == 0)
    frame.loc[hidden, "word"] = np.nan
    filled = VAEImputer(models=EXACT, random_state=0).set_output(transform="pandas").fit_transform(frame)
    right = (filled["word"] == truth["word"])[hidden].mean()
    assert right > 0.75
    assert right > truth["word"][hidden].value_counts(normalize=True).max() + 0.05  # than the mode


def test_indicators_say_where_gaps_were():
    X = with_gaps(IRIS)
    X[:, 1] = IRIS[:, 1]
    imputer = VAEImputer(models=EXACT, add_indicator=True).fit(X)
    out = imputer.transform(X)
    assert out.shape == (150, 7)
    np.testing.assert_array_equal(out[:, 4:], np.isnan(X[:, [0, 2, 3]]))
    assert list(imputer.get_feature_names_out()[4:]) == [
        "missingindicator_x0",
        "missingindicator_x2",
        "missingindicator_x3",
    ]
    frame = pd.DataFrame(X, columns=list("abcd"))
    out = VAEImputer(models=EXACT, add_indicator=True).set_output(transform="pandas").fit_transform(frame)
    assert list(out.columns) == [*"abcd", "missingindicator_a", "missingindicator_c", "missingindicator_d"]


def test_the_same_seed_gives_the_same_result():
    X = with_gaps(IRIS)
    one, two = (VAEImputer(models=EXACT, random_state=3).fit(X) for _ in range(2))
    np.testing.assert_array_equal(one.transform(X), two.transform(X))
    np.testing.assert_array_equal(one.sample_imputations(X, 2), two.sample_imputations(X, 2))
    assert not np.array_equal(one.sample_imputations(X, 1), one.sample_imputations(X, 1, random_state=4))


# what is strange


def test_a_column_without_any_value_is_left_out_or_zero():
    X = with_gaps(IRIS)
    X[:, 2] = np.nan
    with pytest.warns(UserWarning, match=r"left out 1 column\(s\) without any value: 2"):
        imputer = VAEImputer(models=EXACT).fit(X)
    assert imputer.transform(X).shape == (150, 3)
    assert list(imputer.get_feature_names_out()) == ["x0", "x1", "x3"]
    filled = VAEImputer(models=EXACT, keep_empty_features=True).fit_transform(X)
    assert (filled[:, 2] == 0).all()


def test_a_row_without_any_value_gets_the_means():
    X = IRIS.copy()
    X[0] = np.nan
    imputer = VAEImputer(models=("gaussian",), random_state=0).fit(X)
    np.testing.assert_allclose(imputer.transform(X)[0], IRIS[1:].mean(0), rtol=1e-3)
    drawn = np.stack(imputer.sample_imputations(X[:1], 4000, refit=False))[:, 0]
    rng, low = np.random.default_rng(1), IRIS[1:].min(0) / 2  # of the support, at which draws are folded back
    normal = rng.multivariate_normal(IRIS[1:].mean(0), np.cov(IRIS[1:].T), 100_000)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(np.maximum(normal, 2 * low - normal).T), atol=0.2)


def test_constant_columns_new_levels_and_many_levels():
    frame = table()
    frame["same"] = 3.5
    frame.loc[4, "same"] = np.nan
    frame["name"] = [f"name {i}" for i in range(len(frame))]
    imputer = VAEImputer(models=EXACT, random_state=0).set_output(transform="pandas").fit(frame)
    assert imputer.transform(frame)["same"].eq(3.5).all()
    assert imputer._code.width <= MAX_CATEGORIES + 12
    new = frame.head(3).assign(word="an unseen word", name=None)
    out = imputer.transform(new)
    assert (out["word"] == "an unseen word").all()
    assert set(out["name"]) <= set(frame["name"])


def test_wide_tables_are_filled_by_factors():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 3)) @ rng.normal(size=(3, 120)) + 0.3 * rng.normal(size=(100, 120))
    gaps = with_gaps(X, 0.2)
    filled = VAEImputer(models=EXACT, random_state=0).fit_transform(gaps)
    hidden = np.isnan(gaps)
    assert np.mean((filled - X)[hidden] ** 2) < 0.1 * X.var()


def test_wrong_input_is_an_error_that_says_so():
    with pytest.raises(ValueError, match=r"n_importance must be .*whole number ≥ 1"):
        VAEImputer(n_importance=0).fit(IRIS)
    with pytest.raises(ValueError, match=r"models must be a tuple of .*forest"):
        VAEImputer(models=("forest",)).fit(IRIS)
    with pytest.raises(TypeError, match="estimator must be one of lowerbound's"):
        VAEImputer(estimator=3).fit(IRIS)
    with pytest.raises(ValueError, match="infinity"):
        VAEImputer().fit(table().assign(length=np.inf))
    fitted = VAEImputer(models=EXACT).fit(IRIS)
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        fitted.impute_interval(IRIS, level=90)
    with pytest.raises(ValueError, match="m must be a whole number"):
        fitted.sample_imputations(IRIS, 0)


# how good it is


def test_on_gaussian_data_it_is_the_gaussian_and_elsewhere_far_better():
    rng = np.random.default_rng(0)
    straight = rng.multivariate_normal(np.zeros(4), 0.6 + 0.4 * np.eye(4), 400)
    for X, better in ((straight, 1.03), (rings(), 0.8)):
        gaps = with_gaps(X, 0.4)
        hidden = np.isnan(gaps)
        stack, gaussian = (
            np.mean((VAEImputer(models=models, random_state=0).fit_transform(gaps) - X)[hidden] ** 2)
            for models in (EXACT, ("gaussian",))
        )
        assert stack < better * gaussian


def test_intervals_cover_what_they_claim():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(800, 1))
    X = np.hstack([x, x**2 + 0.5 * rng.normal(size=(800, 1)), x + rng.normal(size=(800, 1))])
    gaps = with_gaps(X)
    hidden = np.isnan(gaps)
    imputer = VAEImputer(models=EXACT, random_state=0).fit(gaps)
    for level in (0.5, 0.9):
        low, high = imputer.impute_interval(gaps, level)
        assert ((low <= X) & (high >= X))[hidden].mean() == pytest.approx(level, abs=0.06)
        assert np.array_equal(low[~hidden], X[~hidden])


def test_draws_have_the_mean_that_transform_gives():
    gaps = with_gaps(IRIS)[:20]
    imputer = VAEImputer(models=EXACT, random_state=0).fit(with_gaps(IRIS))
    draws = np.stack(imputer.sample_imputations(gaps, 2000, refit=False))
    error = draws.std(0) / 2000**0.5
    near = np.abs(draws.mean(0) - imputer.transform(gaps)) <= 4.5 * error + 1e-12
    assert near[:, :3].all()  # draws of the last column are kept above 0, which makes their mean larger


def test_a_rare_level_is_drawn_as_often_as_it_occurs():
    rng, n = np.random.default_rng(5), 3000
    frame = pd.DataFrame({"x": rng.normal(size=n), "level": np.where(rng.random(n) < 0.05, "rare", "common")})
    share = (frame["level"][1000:] == "rare").mean()
    frame.loc[:999, "level"] = None
    imputer = VAEImputer(models=("gaussian",), random_state=0).fit(frame)
    drawn = np.mean([(t["level"][:1000] == "rare").mean() for t in imputer.sample_imputations(frame, 10)])
    assert abs(drawn - share) < 4 * np.sqrt(0.05 * 0.95 * (1 / 10_000 + 1 / 2000))


def test_the_report_says_what_earned_its_weight(capsys):
    gaps = with_gaps(rings())
    imputer = VAEImputer(models=EXACT, random_state=0, verbose=1).fit(gaps)
    names = [record["name"] for record in imputer.report_]
    assert names[0] == "gaussian"
    assert sum(record["weight"] for record in imputer.report_) == pytest.approx(1)
    assert imputer.report_[0]["weight"] < 0.3
    assert "blend: " in capsys.readouterr().err
    few = VAEImputer(random_state=0).fit(gaps[:30])
    assert [(r["name"], r["weight"]) for r in few.report_] == [("gaussian", 1)]


@pytest.mark.parametrize("estimator", [PPCA(2), Gaussian(), Mixture(3, random_state=0), Factorized()])
def test_fitted_estimators_fill_gaps_and_are_left_as_they_are(estimator):
    estimator.fit(IRIS)
    gaps = with_gaps(IRIS)
    imputer = VAEImputer(estimator=estimator, random_state=0).fit(gaps)
    before = estimator.score(IRIS)
    filled = imputer.transform(gaps)
    hidden = np.isnan(gaps)
    assert np.array_equal(filled[~hidden], IRIS[~hidden])
    error, plain = (
        np.mean(((F - IRIS) / IRIS.std(0))[hidden] ** 2) for F in (filled, IRIS.mean(0) * np.ones_like(IRIS))
    )
    assert error < plain * (1.001 if isinstance(estimator, Factorized) else 0.5)
    assert estimator.score(IRIS) == before
    assert np.stack(imputer.sample_imputations(gaps, 3)).shape == (3, 150, 4)


def test_the_exact_conditional_of_a_fitted_gaussian():
    estimator = Gaussian().fit(IRIS)
    gaps = IRIS[:5].copy()
    gaps[:, 2] = np.nan
    mean, cov, o = estimator.mean_, estimator.covariance_, [0, 1, 3]
    expected = mean[2] + (IRIS[:5, o] - mean[o]) @ np.linalg.solve(cov[np.ix_(o, o)], cov[o, 2])
    np.testing.assert_allclose(VAEImputer(estimator=estimator).fit(gaps).transform(gaps)[:, 2], expected, rtol=1e-9)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize(
    ("rows", "where"),
    [
        (np.array([[1, 2.5], [3, "much"]], dtype=object), r"'much' at row 1, column 1 \(counting from 0\)"),
        (pd.DataFrame({"a": [1.0, 2.0], "b": ["3", "much"]}), "'much' at row 1, column 'b'"),
    ],
)
def test_text_among_numbers_is_named_with_its_place(rows, where):
    fitted = VAEImputer(random_state=0).fit(pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 4.0]}))
    with pytest.raises(ValueError, match=f"text in a column of numbers: {where}"):
        fitted.transform(rows)
    with pytest.raises(ValueError, match=where):
        PPCA(1).fit(rows)


def test_text_in_a_column_that_had_numbers_is_named_with_its_place():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 4.0], "c": ["x", "y", "x"]})
    with pytest.raises(ValueError, match="'much' at row 1, column 'b'"):
        VAEImputer(random_state=0).fit(frame).transform(frame.assign(b=[1.0, "much", None]))


def test_columns_of_another_kind_than_in_fit():
    frame = table()
    imputer = VAEImputer(models=("gaussian",), random_state=0).set_output(transform="pandas").fit(frame)
    with pytest.raises(ValueError, match="column 'day' has numbers, but had dates in fit"):
        imputer.transform(frame.assign(day=3.0))
    with pytest.raises(ValueError, match="column 'length' has dates, but had numbers in fit"):
        imputer.transform(frame.assign(length=frame["day"]))
    alone = imputer.transform(frame[:9].assign(**{name: np.nan for name in frame if name != "length"}))  # type: ignore[arg-type]
    assert alone.notna().all(axis=None)
    assert set(alone["word"]) <= {"large", "small"}
    assert pd.api.types.is_datetime64_any_dtype(alone["day"])


def test_columns_of_one_value_make_no_noise():
    """Nobody who asks for an imputer can do anything about what its candidates think of them."""
    rng = np.random.default_rng(0)
    X = with_gaps(np.c_[np.full(220, 3.0), rng.normal(size=(220, 2))])
    imputer = VAEImputer(models=("gaussian", "network"), random_state=0)
    assert set(imputer.fit_transform(X)[:, 0]) == {3.0}  # warnings are errors
    assert [record["name"] for record in imputer.report_] == ["gaussian", "mean or mode", "network"]
    assert (VAEImputer(random_state=0).fit_transform(with_gaps(np.full((220, 3), 2.0))) == 2).all()


# its parts


def test_stacking_finds_the_weights_of_a_known_blend():
    rng = np.random.default_rng(0)
    predicted = rng.normal(size=(3, 5000))
    target = 0.7 * predicted[0] + 0.3 * predicted[2] + 0.1 * rng.normal(size=5000)
    np.testing.assert_allclose(stack(predicted, target, np.ones(5000)), [0.7, 0, 0.3], atol=0.02)
    importance = np.r_[np.ones(2500), np.full(2500, 1e-9)]  # where only the first half counts
    target[2500:] = predicted[1, 2500:]
    np.testing.assert_allclose(stack(predicted, target, importance), [0.7, 0, 0.3], atol=0.02)


def test_a_gain_that_may_be_chance_is_left_to_the_first():
    rng = np.random.default_rng(0)
    target, safe, w = rng.normal(size=400), np.array([1.0, 0.0]), np.array([0.0, 1.0])
    alike = np.stack([target + rng.normal(size=400), target + rng.normal(size=400)])
    better = np.stack([target + 2 * rng.normal(size=400), target + 0.1 * rng.normal(size=400)])
    assert cautious(w, safe, np.stack([better[1], better[0]]), target, np.ones(400), np.arange(400)).tolist() == [1, 0]
    assert cautious(w, safe, better, target, np.ones(400), np.arange(400))[1] > 0.9
    gains = (alike[0] - target) ** 2 - (alike[1] - target) ** 2
    back = (gains.std() / 20 / abs(gains.mean())) ** 2
    expected = min(1, back) if gains.mean() > 0 else 1
    assert cautious(w, safe, alike, target, np.ones(400), np.arange(400))[0] == pytest.approx(expected, abs=0.05)


def test_one_row_is_no_evidence():
    predicted, target = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.9]]), np.array([1.0, 0.0, 1.0])
    w, safe = np.array([0.0, 1.0]), np.array([1.0, 0.0])
    assert cautious(w, safe, predicted, target, np.ones(3), np.zeros(3, int)).tolist() == [1, 0]


def test_cells_that_go_together_are_one_observation():
    """The same rows count the same, however many cells stand for each of them."""
    rng = np.random.default_rng(0)
    w, safe, target = np.array([0.0, 1.0]), np.array([1.0, 0.0]), rng.normal(size=300)
    predicted = target + np.array([[1.15], [1.0]]) * rng.normal(size=(2, 300))
    once = cautious(w, safe, predicted, target, np.ones(300), np.arange(300))
    assert 0.1 < once[0] < 0.9  # else the test shows nothing
    for importance in ([0.2] * 5, [1.0] * 5, [0.1, 0.9]):
        k = len(importance)
        cells = predicted.repeat(k, 1), target.repeat(k), np.tile(importance, 300), np.arange(300).repeat(k)
        np.testing.assert_allclose(cautious(w, safe, *cells), once)


def test_the_standard_error_of_a_gain_is_what_it_differs_by_over_samples():
    """Rows with one to four hidden cells, whose gains have much in common."""
    rng = np.random.default_rng(0)
    n, w, safe = 60, np.array([0.0, 1.0]), np.array([1.0, 0.0])

    def sample() -> tuple[float, float]:
        row = np.arange(n).repeat(rng.integers(1, 5, n))
        common = rng.normal(size=n)[row]
        gains = 0.4 + common + 0.5 * rng.normal(size=len(row))  # squared errors of the safe ones less those of w
        predicted = np.stack([np.sqrt(np.maximum(gains, 0)), np.sqrt(np.maximum(-gains, 0))])
        back = cautious(w, safe, predicted, np.zeros(len(row)), np.ones(len(row)), row)[0]
        return gains.mean(), back**0.5 * gains.mean()  # the standard error that it was drawn back for

    gains, errors = np.array([sample() for _ in range(800)]).T
    errors = errors[errors > 0]  # without those where the gain is certain
    assert errors.mean() == pytest.approx(gains.std(), rel=0.1)  # its own standard error is 2.5 %


def test_a_column_has_weights_of_its_own_and_learns_from_those_of_its_kind():
    rng = np.random.default_rng(0)
    predicted, owner = rng.normal(size=(2, 6000)), np.repeat([0, 1, 2], 2000)
    target = np.where(owner == 1, predicted[1], predicted[0])
    kind, alone, row = np.array([True, True, False]), np.ones(6000), np.arange(6000)
    weights = column_weights(predicted, target, alone, row, owner, kind)
    np.testing.assert_allclose(weights.sum(0), 1)
    # the least of own squared errors and a tenth of those of the other number: (1 − w)² + OTHERS w², or the reverse
    own = 1 / (1 + OTHERS)
    np.testing.assert_allclose(weights[0, :2], [own, 1 - own], atol=0.02)
    assert weights[0, 2] == 1  # a level, which learns nothing from numbers
    nothing = column_weights(predicted[:, :4000], target[:4000], alone[:4000], row[:4000], owner[:4000], kind)
    assert 0.3 < nothing[0, 2] < 0.7  # no cell of its kind was hidden: all count


def test_numbers_of_few_values_are_levels_too():
    rng = np.random.default_rng(0)
    z = rng.integers(0, 4, 2000).astype(float)
    Z = np.c_[z, np.array([2.0, -1.0, 3.0, 0.0])[z.astype(int)], rng.normal(size=2000)]
    few = FewValues.of(Z, np.arange(3))
    assert few.places.tolist() == [0] * 4 + [1] * 4
    wide = few.widened(Z)
    np.testing.assert_allclose(wide[:, 3:].mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(wide[:, 3:].std(0), 1)
    gaps = with_gaps(Z, 0.2)
    filler = CategoryFiller(few, fit_gaussian(few.widened(gaps), 0))
    hidden = np.isnan(gaps[:, 1]) & ~np.isnan(gaps[:, 0])
    assert np.abs(filler.mean(gaps) - Z)[hidden, 1].max() < 0.1  # what no line can do:
    assert np.abs(fit_gaussian(gaps, 0).mean(gaps) - Z)[hidden, 1].max() > 1
    assert filler.draws(gaps, 2, 0).shape == (2, *Z.shape)


def test_a_trial_hides_a_tenth_of_what_is_observed_and_whole_cells():
    X = with_gaps(np.random.default_rng(0).normal(size=(500, 4)))
    X[:3, 3], X[3:, 3] = [1, 2, 3], np.nan
    words = pd.Series(np.where(np.isnan(X[:, 1]), None, np.where(X[:, 1] > 0.5, "a", np.where(X[:, 1] > 0, "b", "c"))))
    frame = pd.DataFrame({"x": X[:, 0], "word": words, "y": X[:, 2], "z": X[:, 3]})
    code = TableCode(frame)
    Z = code.encode(frame)
    trial = selection.Trial(Z, code, 0)
    assert not trial.hidden[np.isnan(Z)].any()
    assert (trial.hidden[:, 1:2] == trial.hidden[:, 2:4]).all()
    assert trial.hidden[:, :5].mean() == pytest.approx(0.07, abs=0.02)
    assert (~np.isnan(trial.rest)).sum(0).min() >= 2


def test_draws_of_a_blend_have_its_mean_and_the_spread_of_its_parts():
    Z = with_gaps((IRIS - IRIS.mean(0)) / IRIS.std(0))
    gaussian = fit_gaussian(Z, 0)
    mixture = fit_mixture(Z, gaussian, 3, 4.0, 0)
    weights = np.array([[0.25, 0.25, 0, 1], [0.75, 0.75, 1, 0]])
    stack = Stack([gaussian, mixture], weights, Raw(np.full(4, -1), np.zeros(4), np.ones(4)))
    np.testing.assert_allclose(stack.mean(Z), weights[0] * gaussian.mean(Z) + weights[1] * mixture.mean(Z))
    n = 3000
    draws, parts = stack.draws(Z, n, 0), [filler.draws(Z, n, 7) for filler in (gaussian, mixture)]
    assert (np.abs(draws.mean(0) - stack.mean(Z)) <= 4.7 * draws.std(0) / n**0.5 + 1e-12).all()
    expected = sum(w * part.var(0) for w, part in zip(weights, parts, strict=True))
    np.testing.assert_allclose(draws.var(0).sum(0), expected.sum(0), rtol=0.03)
    assert np.array_equal(draws[0][~np.isnan(Z)], Z[~np.isnan(Z)])


def test_draws_ask_every_filler_for_its_mean_once(monkeypatch):
    imputer = VAEImputer(models=("gaussian",), random_state=0).fit(IRIS)
    calls = []
    mean = ExactFiller.mean
    monkeypatch.setattr(ExactFiller, "mean", lambda self, Z: calls.append(1) or mean(self, Z))
    imputer.sample_imputations(with_gaps(IRIS), 2, refit=False)
    assert len(calls) == len(imputer._filler.fillers)


def test_draws_of_neighboring_seeds_have_no_noise_in_common():
    Z = with_gaps((IRIS - IRIS.mean(0)) / IRIS.std(0))
    gaussian = fit_gaussian(Z, 0)
    stack = Stack([gaussian] * 2, np.full((2, 4), 0.5), Raw(np.full(4, -1), np.zeros(4), np.ones(4)))
    one, two = ((stack.draws(Z, 50, seed) - stack.mean(Z))[:, np.isnan(Z)].ravel() for seed in (0, 1))
    assert abs(np.corrcoef(one, two)[0, 1]) < 4 / len(one) ** 0.5


def test_drawn_levels_have_the_probabilities_of_the_blend():
    rng = np.random.default_rng(0)
    x = np.r_[rng.normal(0, 0.3, 600), rng.normal(-2, 0.3, 200), rng.normal(2, 0.3, 200)]
    frame = pd.DataFrame({"x": x, "where": np.where(np.abs(x) < 1, "inside", "outside")})  # no line tells it
    imputer = VAEImputer(models=("gaussian",), random_state=0).fit(frame)
    Z, raw = imputer._code.encode(frame), imputer._code.raw
    gaussian = fit_gaussian(Z, 0)
    location = fit_location(Z, raw, gaussian, 4, 1.0, 0)
    n, column = 4000, imputer._code.columns[1]
    rows = pd.DataFrame({"x": np.zeros(n), "where": pd.Series([None] * n, dtype=object)})
    given = imputer._code.encode(rows)
    apart = [imputer._code.probabilities(f.mean(given[:1]), column)[0, 0] for f in (gaussian, location)]
    assert apart == pytest.approx([0.6, 1.0], abs=0.05)
    for weight in (0.0, 0.5, 1.0):
        weights = np.repeat([[weight], [1 - weight]], 3, 1)
        imputer._filler = Stack([gaussian, location], weights, raw)
        p = imputer._code.probabilities(imputer._filler.mean(given[:1]), column)[0, 0]
        share = (imputer.sample_imputations(rows, 1, refit=False)[0]["where"] == "inside").mean()
        assert abs(share - p) < 4 * (p * (1 - p) / n) ** 0.5 + 1 / n


def test_codes_of_tables_go_there_and_back():
    frame = table().dropna().reset_index(drop=True)
    code = TableCode(frame)
    Z = code.encode(frame)
    assert Z.shape == (len(frame), code.width)
    assert code.importance.shape == code.owner.shape == (code.width,)
    np.testing.assert_allclose(np.bincount(code.owner, code.importance), 1)
    for j, (name, column) in enumerate(zip(frame, code.columns, strict=True)):
        decoded = column.decode(code.values(frame)[:, column.places])
        if column.kind == "number":
            np.testing.assert_allclose(decoded, frame[name].astype(float), rtol=1e-6)
        else:
            assert (decoded == frame.iloc[:, j].to_numpy()).all()
    assert np.isnan(code.encode(frame.assign(word="strange"))[:, code.columns[3].places]).all()


def test_exact_fillers_give_the_model_s_conditional_mean():
    Z = with_gaps((IRIS - IRIS.mean(0)) / IRIS.std(0))
    filler = fit_gaussian(Z, 0)
    assert isinstance(filler, ExactFiller)
    o, m = [0, 1, 3], [2]
    covariance, mean = filler.model.covariances[0].numpy(), filler.model.means[0].numpy()  # type: ignore[union-attr]
    row = np.array([[0.3, -0.2, np.nan, 1.0]])
    expected = mean[m] + covariance[np.ix_(m, o)] @ np.linalg.solve(covariance[np.ix_(o, o)], row[0, o] - mean[o])
    np.testing.assert_allclose(filler.mean(row)[0, 2], expected[0], rtol=1e-9)
    assert torch.is_tensor(filler.model.log_weights)  # type: ignore[union-attr]


def test_images_are_filled_by_a_model_of_images():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(60, 3, 1, 1)) @ rng.normal(size=(1, 4)) + rng.normal(0, 0.1, (60, 3, 1, 4))
    images = images.reshape(60, 3, 4)
    model = PPCA(3, standardize=False, layout="image").fit(images)
    gaps = with_gaps(images)
    imputer = VAEImputer(estimator=model, random_state=0).fit(gaps)
    filled, (low, high) = imputer.transform(gaps), imputer.impute_interval(gaps)
    assert filled.shape == low.shape == high.shape == images.shape
    assert np.array_equal(filled[~np.isnan(gaps)], images[~np.isnan(gaps)])
    assert np.mean((filled - images)[np.isnan(gaps)] ** 2) < 0.2 * images.var()
    assert imputer.sample_imputations(gaps, 2)[0].shape == images.shape
    with pytest.raises(ValueError, match="rows have shape"):
        imputer.transform(images[:, :, :2])


def test_a_level_that_the_new_rows_type_lacks_can_be_filled():
    levels = pd.Series(["a", "b"] * 20, dtype="category")
    imputer = VAEImputer(models=("gaussian",), random_state=0).set_output(transform="pandas")
    imputer.fit(pd.DataFrame({"level": levels, "x": np.tile([0.0, 1.0], 20)}))
    rows = pd.DataFrame({"level": pd.Series(["c", None], dtype="category"), "x": [0.0, 1.0]})
    assert imputer.transform(rows)["level"].tolist() == ["c", "b"]


def skewed_table(n: int = 600) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A table with amounts that are mostly 0, a count, few values and a date; and the same with gaps."""
    rng = np.random.default_rng(3)
    z = rng.normal(size=n)
    table = pd.DataFrame(
        {
            "gain": np.where(z + rng.normal(size=n) < 0.5, 0.0, np.exp(1 + z + 0.5 * rng.normal(size=n))),
            "visits": rng.poisson(np.exp(1 + 0.5 * z)),
            "rooms": np.clip(np.rint(3 + z + 0.5 * rng.normal(size=n)), 1, 7).astype(int),
            "clicks": rng.poisson(300 * np.exp(0.1 * rng.normal(size=n))),
            "size": 10 * z + 3 * rng.normal(size=n),
            "word": np.where(z > 0, "high", "low"),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(np.rint(100 * (z + 4)).astype(int), "D"),
        }
    )
    hidden = rng.random(table.shape) < 0.2
    return table, table.astype(dict.fromkeys(["visits", "rooms", "clicks"], "Int64")).mask(hidden)


@pytest.mark.parametrize("estimator", [None, Factorized(random_state=0)])
def test_a_gap_is_filled_with_the_mean_the_median_the_mode_or_a_draw(estimator):
    table, gaps = skewed_table(300)
    numbers, holes = ["gain", "visits", "rooms", "clicks", "size"], gaps.isna()
    chosen = {"models": ("gaussian",)} if estimator is None else {"estimator": clone(estimator)}
    filled = {}
    for fill in ("mean", "median", "draw", "mode"):
        imputer = VAEImputer(**chosen, fill=fill, keep_empty_features=True, random_state=0)
        filled[fill] = imputer.set_output(transform="pandas").fit_transform(gaps)
        assert not filled[fill].isna().any().any()
        assert filled[fill].dtypes.equals(gaps.dtypes)
        assert (filled[fill][~holes] == gaps[~holes])[~holes].stack().all()
        assert imputer.transform(gaps).equals(filled[fill])
    assert (filled["mean"]["word"] == filled["median"]["word"]).all()
    if estimator is None:
        return
    draws = pd.concat(imputer.sample_imputations(gaps, 80, 1, refit=False))  # every row has the same law
    for name in numbers:
        law = draws[name][holes[name].to_numpy().tolist() * 80].astype(float)
        assert filled["median"][name][holes[name]].median() == pytest.approx(law.median(), abs=0.1 * law.std())
        spread = filled["draw"][name][holes[name]].astype(float)
        assert spread.std() == pytest.approx(law.std(), rel=0.35)
    assert (filled["mode"]["gain"][holes["gain"]] == 0).all()
    assert (filled["mode"]["rooms"][holes["rooms"]] == table["rooms"].mode()[0]).mean() > 0.8
    apart = (filled["median"]["since"] - filled["mean"]["since"])[holes["since"]].abs()
    assert apart.max() < pd.Timedelta(days=40)


@pytest.fixture(scope="module")
def of_skewed():
    """A table like that, with gaps, and imputers of it."""
    table, gaps = skewed_table(1500)
    marginal = VAEImputer(Factorized(), keep_empty_features=True, random_state=0).fit(gaps)
    return table, gaps, marginal, VAEImputer(models=("gaussian",), random_state=0).fit(gaps)


@pytest.mark.parametrize("level", [0.5, 0.8])
def test_intervals_of_counts_and_point_masses_cover_what_they_claim(of_skewed, monkeypatch, level):
    table, gaps, marginal, gaussian = of_skewed
    names = ["gain", "visits", "rooms", "clicks", "size"]
    numbers, hidden = table[names].to_numpy(float), gaps[names].isna().to_numpy()
    found, of_gaussian = marginal.intervals(gaps, level), gaussian.intervals(gaps, level)
    monkeypatch.setattr(marginal, "intervals", lambda *_: found)  # what impute_interval makes a table of
    monkeypatch.setattr(gaussian, "intervals", lambda *_: of_gaussian)
    low, high = (end[names].to_numpy(float) for end in marginal.impute_interval(gaps, level))
    assert np.array_equal(low[~hidden], numbers[~hidden])
    covered = found.covered(np.c_[numbers, np.full((len(numbers), 2), np.nan)])
    for j, name in enumerate(names):
        rows = hidden[:, j]
        assert covered[rows, j].mean() == pytest.approx(level, abs=3.5 * (level * (1 - level) / rows.sum()) ** 0.5)
        assert name in ("gain", "size") or (np.c_[low, high] == np.c_[low, high].round())[rows][:, [j, j + 5]].all()
    assert (high[hidden[:, 0], 0] == 0).all() == (level == 0.5)  # .64 of it is 0
    ends = np.concatenate(
        [end[names[:4]].to_numpy(float)[hidden[:, :4]] for end in gaussian.impute_interval(gaps, level)]
    )
    assert ends.min() == 0  # amounts and counts aren't below
    covered = of_gaussian.covered(np.c_[numbers, np.full((len(numbers), 2), np.nan)])
    for j in (1, 2, 3, 4):
        assert covered[hidden[:, j], j].mean() == pytest.approx(level, abs=0.08)


@pytest.mark.filterwarnings("ignore:the posterior has collapsed")
def test_complete_rows_say_nothing_of_the_effective_number_of_samples():
    vae = VAE(2, max_epochs=30, random_state=0).fit(IRIS)
    rows = IRIS.copy()
    rows[:40, 2:] = np.nan
    imputer = VAEImputer(vae, n_importance=50, random_state=0).fit(rows)
    imputer.transform(rows)
    among_others = imputer.ess_
    imputer.transform(rows[:40])
    assert among_others == pytest.approx(imputer.ess_, rel=1e-6)
