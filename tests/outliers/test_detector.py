"""The outlier detector: scikit-learn's conventions, PyOD's, calibration, reasons."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from tests.contract import checks

from lowerbound import (
    MLP,
    VAE,
    Adam,
    Amortized,
    ConstantFeatureWarning,
    Ladder,
    PyODDetector,
    VAEOutlierDetector,
)
from lowerbound.evaluation.bound import elbo_terms
from lowerbound.outliers.scoring import SMALLEST_SPREAD
from lowerbound.parameters.tables import SCORES
from lowerbound.tasks.outlier_scores import codes

rng = np.random.default_rng(0)
Z = rng.normal(size=(400, 2))
X = Z @ rng.normal(size=(2, 5)) * 2 + 0.5 * rng.normal(size=(400, 5))
PLANTED = np.arange(10)
X[PLANTED, PLANTED % 5] += np.where(PLANTED < 5, 9.0, -9.0)  # one value each that doesn't go with the rest


@pytest.fixture(scope="module")
def detector():
    return VAEOutlierDetector(n_steps=300, random_state=0).fit(X)


@pytest.fixture(scope="module")
def vae():
    return VAE(2, network=MLP((16,)), max_epochs=10, random_state=0).fit(X)


@pytest.mark.touches_global_random_state
@pytest.mark.parametrize(("estimator", "check"), checks(VAEOutlierDetector(n_estimators=1, n_steps=10, random_state=0)))
def test_conventions(estimator, check):
    check(estimator)


def test_planted_outliers_come_first(detector):
    assert len(set(detector.score_samples(X).argsort()[:10]) & set(PLANTED)) >= 9
    assert (detector.predict(X[PLANTED]) == -1).all()
    assert (detector.quantile(X[PLANTED]) >= 0.95).all()
    assert (detector.predict(X) == -1).mean() < 0.1


def test_scores_are_deterministic_and_of_the_row_alone(detector):
    np.testing.assert_array_equal(detector.score_samples(X), detector.score_samples(X))
    np.testing.assert_allclose(detector.score_samples(X[7:8]), detector.score_samples(X)[7:8], rtol=1e-9)
    first, again, other = (
        VAEOutlierDetector(n_steps=20, random_state=seed).fit(X).score_samples(X) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(again, first)
    assert not np.allclose(other, first)


def test_large_data_are_scored_in_parts(detector, monkeypatch):
    whole = detector.score_samples(X)
    monkeypatch.setattr("lowerbound.outliers.member.ROWS_AT_ONCE", 150)
    np.testing.assert_allclose(detector.score_samples(X), whole, rtol=1e-9)


@pytest.mark.parametrize("name", [name for name in SCORES if name not in ("level_ratio", "relative_regret")])
def test_every_score_can_be_chosen(name):
    chosen = VAEOutlierDetector(criterion=name, n_estimators=1, n_steps=50, random_state=0).fit(X[:60])
    scores = chosen.scores(X[:60], [name])[name]
    np.testing.assert_allclose(chosen.score_samples(X[:60]), -scores)
    assert chosen.training_scores_.shape == (60,)


def test_all_scores_at_once_add_up(detector):
    scores = detector.scores(X)
    assert list(scores) == [name for name in SCORES if name not in ("regret", "relative_regret", "level_ratio")]
    np.testing.assert_allclose(scores["elbo"], scores["kl"] + scores["reconstruction"])
    np.testing.assert_allclose(-scores["combined"], detector.score_samples(X))
    alone = [VAEOutlierDetector(vae).fit(X).scores(X) for vae in detector.estimators_]
    np.testing.assert_allclose(scores["combined"], np.mean([each["combined"] for each in alone], axis=0))
    for each in alone:
        parts = each[["aggregate_kl", "reconstruction", "surprise", "mixture"]]
        low, middle, high = parts.quantile([0.25, 0.5, 0.75]).to_numpy()
        units = (parts - middle) / np.maximum(high - low, SMALLEST_SPREAD)
        np.testing.assert_allclose(each["combined"], units.sum(axis=1) + units["mixture"])  # which counts twice
    assert (scores["log_p"] < scores["elbo"] + 1).mean() > 0.9  # a tighter bound of the same, from other draws


def test_scores_are_those_of_the_autoencoder_in_the_users_units(vae):
    scores = VAEOutlierDetector(vae, criterion="elbo").fit(X).scores(X, ["elbo", "log_p"])
    np.testing.assert_allclose(scores["log_p"], -vae.score_samples(X))
    np.testing.assert_allclose(scores["elbo"], -vae.elbo(X, n_samples=2))


@pytest.mark.parametrize("novelty", [False, True])
def test_the_aggregate_is_of_the_training_rows_but_for_a_rows_own_kind(vae, novelty):
    scores = VAEOutlierDetector(vae, criterion="aggregate_kl", novelty=novelty).fit(X[:50]).scores(X[40:60])
    q = codes(vae.fitted_.exactly().on(X[:60]))
    assert q is not None
    normal = [torch.distributions.Normal(m, s) for m, s in zip(q.mean, q.scale, strict=True)]
    for row in range(40, 60):
        kl = sorted(float(torch.distributions.kl_divergence(normal[row], r).sum()) for r in normal[:50])
        others = np.array(kl[1 if novelty else 2 :])  # 4 % of 50
        assert math.isclose(scores["aggregate_kl"][row - 40], -math.log(np.exp(-others).mean()), rel_tol=1e-6)


def test_without_a_diagonal_covariance_the_prior_takes_the_place_of_the_aggregate():
    vae = VAE(2, network=MLP((16,)), posterior=Amortized("full"), max_epochs=5, random_state=0).fit(X)
    scores = VAEOutlierDetector(vae).fit(X).scores(X[:9])
    np.testing.assert_array_equal(scores["aggregate_kl"], scores["kl"])
    assert np.isfinite(scores["combined"]).all()


def test_a_ladder_has_a_ratio_between_its_levels(detector):
    vae = VAE(Ladder(2, 2, width=16), max_epochs=30, early_stopping=False, random_state=0).fit(X)
    ladder = VAEOutlierDetector(vae, criterion="level_ratio").fit(X)
    np.testing.assert_allclose(ladder.score_samples(X), -ladder.scores(X, ["level_ratio"])["level_ratio"])
    assert len(set(ladder.score_samples(X).argsort()[:20]) & set(PLANTED)) >= 4  # by chance half of one
    with pytest.raises(ValueError, match="ladder"):
        detector.scores(X, ["level_ratio"])


def test_a_fitted_autoencoder_is_used_as_it_is(vae):
    before = vae.score_samples(X)
    detector = VAEOutlierDetector(vae).fit(X[:200])
    assert detector.estimators_ == [vae]
    np.testing.assert_array_equal(vae.score_samples(X), before)
    assert len(detector.training_scores_) == 200


def test_an_autoencoder_of_ones_own_is_fitted_several_times():
    template = VAE(1, network=MLP((8,)), optimizer=Adam(1e-2), early_stopping=False, max_epochs=30)
    detector = VAEOutlierDetector(template, n_estimators=2, random_state=0).fit(X)
    assert [member.latent_dim_ for member in detector.estimators_] == [1, 1]
    assert detector.estimators_[0].seed_ != detector.estimators_[1].seed_
    assert not hasattr(template, "model_")


@pytest.mark.parametrize("n_steps", [2, 3, 12])
def test_many_rows_take_no_more_steps(n_steps):
    detector = VAEOutlierDetector(n_steps=n_steps, n_estimators=1, random_state=0).fit(X)  # 400 rows, 100 at a time
    assert detector.estimators_[0].history_[-1]["step"] == n_steps
    assert len(detector.training_scores_) == len(X)


@pytest.mark.parametrize("part", [0.05, 0.2])
def test_contamination_is_the_part_of_the_training_rows_called_outliers(part):
    detector = VAEOutlierDetector(contamination=part, n_estimators=1, n_steps=20, random_state=0)
    assert (detector.fit_predict(X) == -1).sum() == part * len(X)


def test_without_novelty_contamination_is_not_learned():
    dirty = np.concatenate([X, np.full((30, 5), 25.0) + rng.normal(size=(30, 5))])
    settings = {"criterion": "reconstruction", "n_estimators": 1, "n_steps": 200, "random_state": 0}
    ranks = []
    for novelty in (False, True):
        scores = VAEOutlierDetector(novelty=novelty, **settings).fit(dirty).score_samples(dirty)
        ranks.append(scores.argsort().argsort()[-30:].mean())
    assert ranks[0] < 30 < ranks[1]


def test_p_values_are_uniform_among_normal_rows():
    rows = np.random.default_rng(5).normal(size=(6000, 3))
    detector = VAEOutlierDetector(n_estimators=1, n_steps=60, calibration_fraction=0.5, random_state=0).fit(rows[:4000])
    p = detector.p_values(rows[4000:])
    m = len(detector.calibration_scores_)
    assert m == 2000
    for alpha in (0.05, 0.5):
        error = math.sqrt(alpha * (1 - alpha) * (1 / len(p) + 1 / m))
        assert abs((p <= alpha).mean() - alpha) < 4 * error
    assert detector.p_values(np.full((1, 3), 9.0)) == 1 / (m + 1)


def test_p_values_are_ranks_among_the_calibration_rows(detector):
    calibrated = clone(detector).set_params(estimator=detector.estimators_[0], n_steps="auto").fit(X).calibrate(X[:99])
    np.testing.assert_allclose(np.sort(calibrated.p_values(X[:99])), np.arange(2, 101) / 100)


def test_p_values_need_rows_that_were_not_fitted(detector):
    with pytest.raises(ValueError, match="calibrate"):
        detector.p_values(X)


def test_reasons_are_in_the_users_units():
    frame = pd.DataFrame(X * 100 + 1000, columns=list("abcde"))
    detector = VAEOutlierDetector(n_estimators=2, n_steps=200, random_state=0).fit(frame)
    reasons = detector.explain(frame.iloc[:12], n_features=2)
    assert list(reasons) == ["row", "feature", "surprise", "value", "expected", "low", "high", "ess"]
    assert reasons["row"].tolist() == [row for row in range(12) for _ in range(2)]
    first = reasons.groupby("row").first()
    planted = first.loc[PLANTED]
    assert (planted["feature"] == ["abcde"[i % 5] for i in PLANTED]).mean() >= 0.9
    right = planted[planted["feature"] == ["abcde"[i % 5] for i in PLANTED]]
    assert (right["surprise"] > 3).all()
    assert ((right["value"] < right["low"]) | (right["value"] > right["high"])).all()
    assert ((first["low"] <= first["expected"]) & (first["expected"] <= first["high"])).all()
    where_it_was = frame.to_numpy()[right.index, right.index % 5] - np.where(right.index < 5, 900, -900)
    assert np.abs(right["expected"] - where_it_was).median() < 150  # of a standard deviation of about 250
    values = [frame.loc[row, feature] for row, feature in zip(reasons["row"], reasons["feature"], strict=True)]
    np.testing.assert_allclose(reasons["value"], values)


def test_what_is_expected_of_a_column_with_a_point_mass_lies_in_its_range():
    rng = np.random.default_rng(1)
    rain = np.where(rng.random(400) < 0.95, 0.0, rng.exponential(300, 400))  # whose mean is beyond 95 % of the days
    frame = pd.DataFrame({"rain": rain, "station": rng.choice(["a", "b"], 400), "wind": rng.normal(size=400)})
    reasons = VAEOutlierDetector(n_steps=60, random_state=0).fit(frame).explain(frame.iloc[:40], 3)
    numbers = reasons[reasons["feature"] != "station"]
    low, expected, high = (numbers[name].astype(float) for name in ("low", "expected", "high"))
    assert ((low <= expected) & (expected <= high)).all()
    assert (numbers.loc[numbers["feature"] == "rain", "expected"] == 0).mean() > 0.9


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_days_have_a_range_and_truth_values_have_none(zone):
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2020-01-01", tz=zone) + pd.to_timedelta(rng.integers(0, 300, 200), "D")
    frame = pd.DataFrame({"day": days, "flag": rng.random(200) < 0.9, "x": rng.normal(size=200)})
    reasons = VAEOutlierDetector(n_steps=60, random_state=0).fit(frame).explain(frame.iloc[:9], 3)
    day, flag = (reasons[reasons["feature"] == name] for name in ("day", "flag"))
    assert ((day["low"] < day["expected"]) & (day["expected"] < day["high"])).all()
    assert {time.tzinfo for time in [*day["value"], *day["low"], *day["expected"]]} == {frame["day"].dt.tz}
    assert flag["low"].isna().all()
    assert set(flag["expected"]) == {True}


def test_only_what_surprises_enough_is_named_and_gaps_come_last(detector):
    rows = X[:60].copy()
    rows[:, 0] = np.nan
    every = detector.explain(rows, n_features=5)
    assert (every.groupby("row")["feature"].last() == "x0").all()
    assert (every.loc[every["feature"] == "x0", "surprise"] == 0).all()
    named = detector.explain(rows, n_features=5, least=1.0)
    assert 0 < len(named) < 100
    pd.testing.assert_frame_equal(
        named[["row", "feature", "surprise"]],
        every.loc[every["surprise"] >= 1, ["row", "feature", "surprise"]].reset_index(drop=True),
    )
    assert detector.explain(rows, least=1e9).empty


@pytest.mark.parametrize("call", ["scores", "score_samples", "predict", "explain", "table", "quantile"])
@pytest.mark.parametrize("is_mixed", [False, True])
def test_no_rows_are_refused_in_a_sentence(call, is_mixed):
    frame = pd.DataFrame({"a": X[:60, 0], "b": np.where(X[:60, 1] > 0, "x", "y") if is_mixed else X[:60, 1]})
    detector = VAEOutlierDetector(n_steps=2, n_estimators=1, random_state=0).fit(frame)
    with pytest.raises(ValueError, match=r"0 sample.*minimum of 1"):
        getattr(detector, call)(frame.iloc[:0])
    assert len(detector.table(frame.iloc[:1])) == 1


def test_a_constant_column_is_warned_of_once():
    with pytest.warns(ConstantFeatureWarning) as warned:
        detector = VAEOutlierDetector(n_steps=2, random_state=0).fit(np.column_stack([X, np.ones(len(X))]))
    assert len(warned) == 1
    odd = np.column_stack([X[:3], [1.0, 2.0, 1e9]])  # it is out of the density, so nothing is odd about it
    usual = np.column_stack([X[:3], np.ones(3)])
    np.testing.assert_array_equal(detector.score_samples(odd), detector.score_samples(usual))


def test_gaps_and_columns_of_several_kinds():
    rng = np.random.default_rng(0)
    a, level = rng.normal(size=300), rng.choice(list("xyz"), 300)
    frame = pd.DataFrame({"a": a, "level": pd.Categorical(level), "b": 2 * a + 0.1 * rng.normal(size=300)})
    frame.loc[4, "b"] = -9 * np.sign(a[4])
    frame.loc[10:40, "a"] = np.nan
    detector = VAEOutlierDetector(n_estimators=2, n_steps=200, random_state=0).fit(frame)
    scores = detector.score_samples(frame)
    assert np.isfinite(scores).all()
    assert scores.argmin() == 4
    reasons = detector.explain(frame.iloc[[4, 20]])
    assert set(reasons.loc[reasons["row"] == 0, "feature"].iloc[:2]) == {"a", "b"}
    levels = reasons[reasons["feature"] == "level"]
    assert set(levels["expected"]) <= set("xyz")
    assert levels["low"].isna().all()


def test_images_get_a_map_and_are_scored_by_regret():
    digits = load_digits().images.astype(np.uint8)[:200]
    detector = VAEOutlierDetector(n_steps=100, random_state=0).fit(digits)
    assert detector.criterion_ == "relative_regret"
    odd = digits[:3].copy()
    odd[0, :4, :4] = 16
    heat = detector.explain(odd)
    assert heat.shape == (3, 8, 8)
    assert heat[0, :4, :4].sum() > 3 * abs(heat[1:, :4, :4].sum((1, 2))).max()
    scores = detector.scores(odd, ["regret", "relative_regret"])
    assert (scores["regret"] > 0).all()
    code_length = -elbo_terms(detector.estimators_[0].fitted_.exactly().on(odd), 4).elbo.numpy()
    np.testing.assert_allclose(scores["relative_regret"], scores["regret"] / code_length)
    assert list(detector.scores(odd)) == ["kl", "aggregate_kl", "reconstruction", "elbo", "relative_regret"]
    shares = []
    VAEOutlierDetector(detector.estimators_[0]).fit(digits, progress=shares.append)
    assert len(shares) > 10
    assert sum(shares) == pytest.approx(1)
    np.testing.assert_allclose(detector.score_samples(odd), -scores["relative_regret"])


def test_densities_have_no_codes_whose_length_could_be_divided_by():
    rows = np.random.default_rng(0).normal(size=(40, 4, 4))
    detector = VAEOutlierDetector(n_steps=5, layout="image", random_state=0).fit(rows)
    assert detector.criterion_ == "regret"
    with pytest.raises(ValueError, match="continuous data don't have: use regret"):
        detector.scores(rows, ["relative_regret"])


def test_pyods_conventions_are_the_opposite(detector):
    pyod = PyODDetector(VAEOutlierDetector(n_steps=100, random_state=0), contamination=0.025).fit(X)
    assert pyod.labels_.sum() == 10
    np.testing.assert_array_equal(pyod.labels_, pyod.predict(X))
    np.testing.assert_allclose(pyod.decision_scores_, -pyod.detector_.score_samples(X))
    assert ((pyod.decision_scores_ > pyod.threshold_) == (pyod.labels_ == 1)).all()
    proba = pyod.predict_proba(X)
    assert proba.shape == (400, 2)
    assert (proba[:, 1].min(), proba[:, 1].max()) == (0, 1)
    np.testing.assert_allclose(proba.sum(1), 1)
    assert clone(pyod).contamination == 0.025


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"criterion": "likelihood"}, "criterion must be"),
        ({"contamination": 0.7}, "contamination"),
        ({"trim_fraction": 1}, "trim_fraction"),
        ({"estimator": VAE(2), "n_steps": 5}, "n_steps=5 is for the default autoencoders"),
    ],
)
def test_wrong_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        VAEOutlierDetector(**parameters).fit(X)


def test_wrong_requests_are_refused(detector):
    with pytest.raises(ValueError, match="no score 'nll'"):
        detector.scores(X, ["nll"])
    elbo = VAEOutlierDetector(detector.estimators_[0], criterion="elbo").fit(X)
    with pytest.raises(ValueError, match="combined"):
        elbo.scores(X, ["combined"])


def test_progress_is_shown_if_asked_for(capsys):
    X = np.random.default_rng(0).normal(size=(80, 3))
    VAEOutlierDetector(n_steps=10, random_state=0).fit(X)
    assert capsys.readouterr().err == ""
    VAEOutlierDetector(n_steps=10, random_state=0, verbose=1).fit(X)
    said = capsys.readouterr().err
    assert "epoch  1/" in said or "epoch 1/" in said
    assert said.endswith("scoring 80 training rows: combined\n")
