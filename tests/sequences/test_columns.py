"""Sequences whose steps have columns of several kinds, and sequences that are trained on in windows."""

import numpy as np
import pandas as pd
import pytest

from lowerbound import Adam, RecurrentVAE, Sequences, load

RNG = np.random.default_rng(0)


def series(length):
    """A state that lasts, and columns of several kinds that depend on it."""
    state = np.cumsum(RNG.random(length) < 0.2) % 2
    wind = np.where(RNG.random(length) < 0.9, np.where(state, "NW", "SE"), "calm").astype(object)
    size = np.exp(RNG.normal(size=length) + 2 * state)
    gaps = RNG.random((2, length)) < 0.1
    columns = {"size": np.where(gaps[0], np.nan, size), "wind": np.where(gaps[1], None, wind), "on": state == 1}
    return pd.DataFrame({**columns, "n": RNG.poisson(300 + 200 * state)})


SERIES = [series(length) for length in RNG.integers(3, 20, 60)]
SETTINGS = {"hidden_size": 12, "optimizer": Adam(0.01), "max_epochs": 12, "random_state": 0}


@pytest.fixture(scope="module")
def fitted():
    return RecurrentVAE(2, **SETTINGS).fit(SERIES)


def test_each_column_has_a_density_of_its_own(fitted):
    kinds = {column.name: column.kind for column in fitted.columns_}
    assert kinds == {"size": "positive", "wind": "categorical", "on": "binary", "n": "count"}
    assert -fitted.log_likelihood(SERIES).per_step < 10.2  # of independent columns 10.9


def test_draws_are_frames_of_the_same_types(fitted):
    for drawn in (*fitted.sample(2, lengths=[3, 5]), *fitted.sample(2, lengths=4, prompt=SERIES[0])):
        pd.testing.assert_series_equal(drawn.dtypes, SERIES[0].dtypes)
        assert set(drawn["wind"]) <= {"NW", "SE", "calm"}
        assert (drawn["size"] > 0).all()
    assert [len(x) for x in fitted.sample(2, lengths=[3, 5])] == [3, 5]


def test_scores_are_in_the_users_units(fitted):
    """log p(x) falls by log 1000 for each value measured in thousandths."""
    other = [x.assign(size=1000 * x["size"]) for x in SERIES]
    again = RecurrentVAE(2, **SETTINGS).fit(other)
    n_values = np.array([x["size"].notna().sum() for x in SERIES])
    expected = fitted.score_samples(SERIES) - n_values * np.log(1000)
    np.testing.assert_allclose(again.score_samples(other), expected, atol=1e-3)


def test_frames_in_one_table_and_what_is_saved(fitted, tmp_path):
    flat = pd.concat([x.assign(who=i, t=np.arange(len(x))) for i, x in enumerate(SERIES)])
    scores = fitted.score_samples(SERIES)
    shuffled = flat.sample(frac=1, random_state=0)
    made = Sequences.from_frame(shuffled, id="who", time="t")
    np.testing.assert_array_equal(fitted.score_samples(made), scores[made.ids])
    fitted.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").score_samples(SERIES), scores)


def test_values_never_seen_are_scored(fitted):
    with pytest.warns(UserWarning, match="not seen in fit .* in wind"):
        (scores,) = fitted.score_steps([SERIES[0].assign(wind="S")])
    assert np.isfinite(scores).all()


def test_frames_of_numbers_and_other_libraries():
    numbers = [x[["size", "n"]] for x in SERIES]
    drawn = RecurrentVAE(0, hidden_size=4, max_epochs=1, random_state=0).fit(numbers).sample(1, lengths=3)[0]
    assert list(drawn.columns) == ["size", "n"]
    polars = pytest.importorskip("polars")
    frames = [polars.from_pandas(x) for x in SERIES]
    found = RecurrentVAE(0, hidden_size=4, max_epochs=1, random_state=0).fit(frames).sample(1, lengths=3)[0]
    assert isinstance(found, polars.DataFrame)
    assert found.columns == list(SERIES[0].columns)


# windows


def test_one_long_series_is_learned_in_windows():
    """x_t = .9 x_{t−1} + ε: −log p is that of ε, but for the start."""
    x = np.zeros((1500, 1))
    for t in range(1, len(x)):
        x[t] = 0.9 * x[t - 1] + RNG.normal()
    settings = {
        "hidden_size": 12,
        "optimizer": Adam(0.02),
        "max_epochs": 40,
        "random_state": 0,
        "window": 30,
        "batch_size": 8,
    }
    fitted = RecurrentVAE(0, **settings).fit([x[:1000]])
    (scores,) = fitted.score_steps([x[1000:]])
    entropy = 0.5 * np.log(2 * np.pi * np.e)
    assert len(scores) == 500
    assert -scores[1:].mean() == pytest.approx(entropy, abs=0.15)  # without a past 2.25
    assert -scores[250:].mean() == pytest.approx(entropy, abs=0.2)  # the state is carried on


def test_windows_hold_each_step_once():
    fitted = RecurrentVAE(0, window=4, early_stopping=False, max_epochs=1, hidden_size=4, random_state=0)
    x = [np.arange(length, dtype=float)[:, None] for length in (9, 4, 1, 13)]
    fitted.fit(x)
    rows = fitted._rows_to_fit(fitted._validate(x))
    assert sorted(rows.lengths.tolist()) == [1, 3, 3, 3, 3, 3, 3, 4, 4]
    places = [p for s, n in zip(rows.starts, rows.lengths, strict=True) for p in range(s, s + n)]
    assert sorted(places) == list(range(27))
    assert fitted.history_[0]["step"] == 1


def test_windows_that_can_not_be_are_refused():
    with pytest.raises(ValueError, match="one sequence of 7 steps, and a density needs at least 2: window="):
        RecurrentVAE(0).fit([np.zeros((7, 1))])
    with pytest.raises(ValueError, match="with length='end' leave window=None"):
        RecurrentVAE(0, window=5, length="end").fit([np.zeros((7, 1))])
