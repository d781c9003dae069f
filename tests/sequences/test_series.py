"""Filling gaps of series, forecasts, and outliers among sequences and steps."""

import numpy as np
import pandas as pd
import pytest

from lowerbound import Adam, RecurrentVAE, load

pytestmark = pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")  # of brief fits

RNG = np.random.default_rng(0)
SETTINGS = {"hidden_size": 12, "optimizer": Adam(0.03), "max_epochs": 30, "random_state": 0}


def walk(length):
    """An autoregression, a category that says its sign, and a constant."""
    x = RNG.normal(size=length)
    for t in range(1, length):
        x[t] = 0.95 * x[t - 1] + RNG.normal()
    index = pd.date_range("2024-03-01", periods=length, freq="h", name="time")
    return pd.DataFrame({"x": 10 + x, "sign": np.where(x > 0, "up", "down"), "site": "a"}, index=index)


WALKS = [walk(length) for length in RNG.integers(20, 40, 60)]


def with_gap(frame, first, end):
    frame = frame.copy()
    frame.iloc[first:end, :2] = np.nan
    return frame


@pytest.fixture(scope="module")
def fitted():
    return RecurrentVAE(0, **SETTINGS).fit(WALKS)


# gaps


def test_gaps_are_filled_by_what_is_on_both_sides(fitted):
    before, after = WALKS[0].copy(), WALKS[0].copy()
    before["x"], after["x"] = 10.0, np.r_[np.full(10, 10.0), np.full(len(after) - 10, 16.0)]
    for frame in (before, after):
        frame["sign"] = np.where(frame["x"] > 10, "up", "down")
    filled = fitted.impute([with_gap(frame, 8, 12) for frame in (before, after)], 60)
    level, rising = (x["x"].iloc[8:12].to_numpy() for x in filled.mean())
    assert abs(level - 10).max() < 1.5
    assert rising[-1] > rising[0] + 1  # what follows the gap is in it
    assert rising[-1] > level[-1] + 2
    assert filled.ess.shape == (2,)


def test_filled_frames_are_like_those_that_were_given(fitted):
    given = [with_gap(WALKS[0], 3, 6), WALKS[1]]
    filled = fitted.impute(given, 9, n_particles=4)
    low, high = filled.interval(0.8)
    draws = filled.draws()
    assert len(draws) == 9
    for each in (filled.mean(), filled.median(), low, high, *draws):
        for frame, before in zip(each, given, strict=True):
            pd.testing.assert_frame_equal(frame.where(before.notna()), before, check_freq=False)
            pd.testing.assert_series_equal(frame.dtypes, WALKS[0].dtypes)
            assert frame.notna().to_numpy().all()
    gap = slice(3, 6)
    assert (low[0]["x"].iloc[gap] < high[0]["x"].iloc[gap]).all()
    stacked = np.stack([one[0]["x"].iloc[gap] for one in draws])
    np.testing.assert_allclose(filled.median()[0]["x"].iloc[gap], np.median(stacked, 0))
    np.testing.assert_allclose(filled.mean()[0]["x"].iloc[gap], stacked.mean(0))
    np.testing.assert_allclose(high[0]["x"].iloc[gap], np.sort(stacked, 0)[-1])  # 9/(9 + 1)
    most = [pd.Series([one[0]["sign"].iloc[t] for one in draws]).mode()[0] for t in range(3, 6)]
    assert filled.mean()[0]["sign"].iloc[gap].tolist() == most
    assert np.isfinite(filled.ess).tolist() == [True, False]


def test_sequences_without_gaps_come_back_as_they_are(fitted):
    filled = fitted.impute(WALKS[:2], 4)
    for each in (filled.mean(), filled.median(), *filled.interval(0.5), *filled.draws()):
        for one, before in zip(each, WALKS[:2], strict=True):
            pd.testing.assert_frame_equal(one, before, check_freq=False)


def test_arrays_whose_columns_are_described_are_filled():
    x = [w[["x"]].to_numpy() for w in WALKS]
    model = RecurrentVAE(0, columns="auto", **{**SETTINGS, "max_epochs": 2}).fit(x)
    gappy = [x[0].copy()]
    gappy[0][3:5] = np.nan
    filled = model.impute(gappy, 4)
    for each in (filled.median(), *filled.draws()):
        assert np.isfinite(each[0]).all()
        np.testing.assert_array_equal(each[0][5:], x[0][5:])


def test_arrays_are_filled_and_constants_too():
    x = [np.c_[w["x"], np.full(len(w), 7.0)] for w in WALKS]
    with pytest.warns(UserWarning, match="constant"):
        model = RecurrentVAE(0, **{**SETTINGS, "max_epochs": 3}).fit(x)
    gappy = [np.ma.masked_array(x[0], False), x[1]]
    gappy[0][2:4, 0], gappy[0][3:5, 1] = np.ma.masked, np.ma.masked
    filled = model.impute(gappy, 5)
    for each in (filled.mean(), *filled.draws()):
        assert np.isfinite(each[0]).all()
        assert (each[0][:, 1] == 7).all()
        np.testing.assert_array_equal(each[1], x[1])
        np.testing.assert_array_equal(each[0][5:], x[0][5:])
    np.testing.assert_array_equal(model.impute(x[:1], 3).mean()[0], x[0])  # without gaps


def test_the_same_seed_fills_alike_and_so_does_a_saved_model(fitted, tmp_path):
    given = [with_gap(WALKS[0], 3, 6)]
    fitted.save(tmp_path / "model")
    first, second, other, saved = (
        model.impute(given, 3, n_particles=4, random_state=seed).mean()[0]
        for model, seed in ((fitted, 1), (fitted, 1), (fitted, 2), (load(tmp_path / "model"), 1))
    )
    pd.testing.assert_frame_equal(first, second)
    pd.testing.assert_frame_equal(first, saved)
    assert not first.equals(other)


def test_models_of_other_steps():
    """A chain of z fills gaps too; columns that depend on each other don't."""
    bits = [RNG.integers(2, size=(6, 2)) for _ in range(20)]
    gappy = np.ma.masked_array(bits[0], np.arange(12).reshape(6, 2) == 5)
    settings = {"hidden_size": 4, "max_epochs": 1, "random_state": 0}
    chain = RecurrentVAE(2, chain=True, **settings).fit(bits)
    assert set(np.unique(chain.impute([gappy], 3).draws())) <= {0, 1}
    with pytest.raises(ValueError, match="no chain"):
        chain.explain(bits)
    masked = RecurrentVAE(0, head="masked", **settings).fit(bits)
    for use in (masked.impute, masked.explain):
        with pytest.raises(ValueError, match="fit with head='independent'"):
            use(bits)


# forecasts


def test_a_forecast_goes_on_from_the_past(fitted):
    high, low = WALKS[0].iloc[:20].copy(), WALKS[0].iloc[:15].copy()
    high["x"], high["sign"], low["x"], low["sign"] = 14.0, "up", 6.0, "down"
    down, median, up = fitted.forecast([high, low], 12)
    assert [x.shape for x in median] == [(12, 3)] * 2
    assert median[0]["x"].iloc[0] > 12.5
    assert median[1]["x"].iloc[0] < 7.5
    spread = (up[0]["x"] - down[0]["x"]).to_numpy()
    assert spread[0] == pytest.approx(2 * 1.28, rel=0.35)
    assert spread[-1] > 1.5 * spread[0]
    assert median[0].index.equals(pd.date_range(high.index[-1], periods=13, freq="h", name="time")[1:])
    assert median[0]["sign"].iloc[0] == "up"
    assert (median[0]["site"] == "a").all()


def test_a_forecast_of_arrays():
    x = [w[["x"]].to_numpy() for w in WALKS]
    model = RecurrentVAE(0, **{**SETTINGS, "max_epochs": 3}).fit(x)
    (median,) = model.forecast(x[:3], 4, [0.5], n_draws=20)
    assert [each.shape for each in median] == [(4, 1)] * 3
    np.testing.assert_array_equal(median[1], model.forecast(x[:3], 4, [0.5], n_draws=20)[0][1])
    with pytest.raises(ValueError, match="lie between 0 and 1"):
        model.forecast(x, 4, [50])
    with pytest.raises(ValueError, match="horizon"):
        model.forecast(x, 0)
    with pytest.raises(ValueError, match="use sample"):
        RecurrentVAE(0, length="end", hidden_size=4, max_epochs=1).fit(x).forecast(x, 3)


# outliers


def test_p_values_are_uniform_at_every_length_and_small_of_outliers(fitted):
    reference, others = [walk(30) for _ in range(80)], [walk(length) for length in [6] * 40 + [30] * 40 + [45] * 20]
    p = fitted.p_values(others, reference)
    for part in (p[:40], p[40:80], p[80:]):
        assert abs(part.mean() - 0.5) < 4 * np.sqrt(1 / 12 / len(part) + 1 / 12 / 80)
    jumping = [each.assign(x=10 + 4 * RNG.normal(size=len(each))) for each in others]
    assert np.median(fitted.p_values(jumping, reference)) < 0.05
    assert p.min() >= 1 / 81


def test_p_values_compare_the_first_steps_of_longer_sequences(fitted):
    """Of sequences that are equal for 8 steps, no one is more probable there."""
    reference = [pd.concat([WALKS[0].iloc[:8], WALKS[i].iloc[8:]]) for i in range(1, 5)]
    np.testing.assert_allclose(fitted.p_values([WALKS[0].iloc[:8]], reference), [1.0])
    short = [WALKS[0].iloc[:4]]
    assert fitted.p_values(short, [WALKS[0].iloc[:8]]).tolist() == [1.0]


def test_the_column_that_surprises_is_named(fitted):
    strange = WALKS[2].copy()
    strange.iloc[7, 0] += 15
    found = fitted.explain([WALKS[1], strange], n_steps=2, n_columns=2)
    assert set(found["step"]) == {7, 8}  # there, and back
    first = found[found["step"] == 7].iloc[0]
    assert (first["sequence"], first["column"]) == (1, "x")
    assert first["value"] == strange.iloc[7, 0]
    assert not first["low"] <= first["value"] <= first["high"]
    assert first["low"] < first["expected"] < first["high"]
    assert first["surprise"] > 10
    assert len(found) == 4
