"""Independent columns of several kinds, each against its own maximum likelihood by scipy or by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lowerbound import Factorized, VAEImputer, load

N = 400
rng = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "text": rng.choice(["a", "b", "c"], N, p=[0.5, 0.3, 0.2]),
        "normal": rng.normal(3, 2, N),
        "heavy": 5 + 10 * rng.standard_t(4, N),
        "whole": rng.poisson(30, N) * 7,
        "mass": np.where(rng.random(N) < 0.4, 0, rng.normal(5, 1, N)),
        "positive": rng.lognormal(2, 1, N),
        "date": pd.date_range("2020", periods=N),
    }
)
FRAME.loc[::5, ["normal", "text"]] = None


@pytest.fixture(scope="module")
def model() -> Factorized:
    one = {"n_components": 1}
    return Factorized(columns={"date": one, "heavy": one}, random_state=0).fit(FRAME)


def column(model: Factorized, name: str) -> np.ndarray:
    """Scores of its observed entries alone."""
    alone = FRAME.copy()
    for other in FRAME.columns.drop(name):
        alone[other] = alone[other].where(pd.Series(False, index=alone.index))
    return model.score_samples(alone)[FRAME[name].notna()]


def test_every_column_has_its_own_maximum_of_the_likelihood(model):
    normal, positive = FRAME.normal.dropna(), FRAME.positive
    np.testing.assert_allclose(column(model, "normal"), stats.norm(*stats.norm.fit(normal)).logpdf(normal), atol=1e-4)
    logs = np.log(positive)
    below = model.columns_[list(FRAME).index("positive")].unseen  # where there is no logarithm
    expected = stats.norm(*stats.norm.fit(logs)).logpdf(logs) - logs + np.log1p(-below)
    np.testing.assert_allclose(column(model, "positive"), expected, atol=1e-4)
    days = np.arange(N)
    np.testing.assert_allclose(column(model, "date"), stats.norm(*stats.norm.fit(days)).logpdf(days), atol=1e-4)
    share, rest = (FRAME["mass"] == 0).mean(), FRAME["mass"][FRAME["mass"] != 0]
    expected = np.where(
        FRAME["mass"] == 0, np.log(share), np.log1p(-share) + stats.norm(*stats.norm.fit(rest)).logpdf(FRAME["mass"])
    )
    np.testing.assert_allclose(column(model, "mass"), expected, atol=1e-4)
    best = stats.t.logpdf(FRAME.heavy, *stats.t.fit(FRAME.heavy)).mean()
    assert column(model, "heavy").mean() == pytest.approx(best, abs=1e-4)
    frequency = (FRAME.text.value_counts() + 0.5) / (FRAME.text.notna().sum() + 1.5)
    seen = np.log1p(-model.columns_[list(FRAME).index("text")].unseen)
    np.testing.assert_allclose(column(model, "text"), np.log(frequency[FRAME.text.dropna()]) + seen, atol=1e-5)


def test_whole_numbers_have_the_best_logistic_bins(model):
    def bins(location: float, scale: float) -> float:
        p = stats.logistic(location, scale)
        return np.log(p.cdf(FRAME.whole + 0.5) - p.cdf(FRAME.whole - 0.5)).mean()

    best = max(bins(m, s) for m in np.linspace(200, 220, 41) for s in np.linspace(15, 30, 61))
    assert best - 1e-4 < column(model, "whole").mean() < best + 1e-3  # the grid is that coarse


def test_log_p_is_the_sum_of_the_columns_and_is_kept(model, tmp_path):
    total = sum(column(model, name).sum() for name in FRAME)
    assert model.score_samples(FRAME).sum() == pytest.approx(total, rel=1e-9)
    drawn = model.sample(5)
    assert list(drawn.columns) == list(FRAME.columns)
    assert set(drawn.text) <= {"a", "b", "c"}
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").score_samples(FRAME), model.score_samples(FRAME))


def test_a_column_with_two_hills_has_them():
    draw, n = np.random.default_rng(2), 2000
    v = np.where(draw.random(n) < 0.3, draw.normal(-4, 0.5, n), draw.normal(3, 1.0, n))
    truth = np.log(0.3 * stats.norm(-4, 0.5).pdf(v) + 0.7 * stats.norm(3, 1.0).pdf(v))
    scores = Factorized(columns="auto").fit(pd.DataFrame({"v": v})).score_samples(pd.DataFrame({"v": v}))
    assert truth.mean() - 0.005 < scores.mean() < truth.mean() + 0.01  # 14 numbers are fitted: ~7/2000 nats above it
    one = Factorized(columns={"v": {"n_components": 1}}).fit(pd.DataFrame({"v": v}))
    assert one.score_samples(pd.DataFrame({"v": v})).mean() < truth.mean() - 0.5


def test_means_under_a_logarithm_are_those_of_the_draws():
    z, noise = rng.normal(size=1500), rng.normal(size=1500)
    amount = np.exp(1 + 0.8 * z + 0.6 * noise)
    table = pd.DataFrame(
        {
            "amount": amount,
            "count": np.rint(5 * amount).astype(int),
            "heavy": np.exp(0.5 * rng.standard_t(3, 1500)),
            "zeros": np.where(rng.random(1500) < 0.3, 0.0, amount),
            "word": rng.choice(["a", "b", "c"], 1500),
        }
    )
    model = Factorized(random_state=0).fit(table)
    assert [c.log for c in model.columns_] == [True, True, True, True, False]
    assert model.columns_[2].heavy_tails
    numbers = list(table)[:4]
    drawn, mean = model.sample(40_000)[numbers], model.sample(1, mean=True)[numbers].iloc[0]
    assert ((drawn.mean() - mean).abs() < 4 * drawn.std() / 200 + 0.003 * mean).all()
    imputer = VAEImputer(model, keep_empty_features=True).set_output(transform="pandas").fit(table)
    gaps = table.head(2).assign(amount=np.nan, zeros=np.nan)
    assert np.allclose(imputer.transform(gaps)[["amount", "zeros"]], mean[["amount", "zeros"]])
    assert mean["amount"] == pytest.approx(amount.mean(), rel=0.1)  # its median is .6 of it
