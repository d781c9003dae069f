"""Tables that are drawn: types, conditions, gaps, values that are given."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest

import lowerbound
from lowerbound import MLP, VAE, ConditionError
from lowerbound.synthesis.synthesize import recommended

pytestmark = pytest.mark.filterwarnings("ignore")  # of collapsed posteriors
N = 300


def table(seed=0, n=N):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "id": [f"C{i:04d}" for i in range(n)],
            "start": rng.normal(size=n).round(2),
            "word": pd.Series(rng.choice(["a", "b", "c"], n)),
            "n": rng.integers(0, 50, n),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 90, n), unit="D"),
        }
    )
    frame["end"] = (frame["start"] + rng.exponential(1, n)).round(2)
    frame["total"] = (2 * frame["n"] + frame["start"]).round(2)
    frame.loc[rng.random(n) < 0.3, "word"] = None
    return frame


TABLE = table()


def model():
    return VAE(2, columns="auto", network=MLP((16,)), max_epochs=4, early_stopping=False, random_state=0)


@pytest.fixture(scope="module")
def made():
    where = ["start <= end", "total == 2 * n + start"]
    return lowerbound.synthesize(
        TABLE, 200, model=model(), where=where, unique=["id"], keep_gaps=True, target="word", random_state=3
    )


def test_the_rows_have_the_table_s_columns_and_types(made):
    assert len(made.rows) == 200
    assert list(made.rows) == list(TABLE)
    assert made.rows.dtypes.astype(str).to_dict() == TABLE.dtypes.astype(str).to_dict()


def test_every_row_meets_the_conditions(made):
    rows = made.rows
    assert (rows["start"] <= rows["end"]).all()
    np.testing.assert_allclose(rows["total"], 2 * rows["n"] + rows["start"], atol=1e-9)
    assert rows["id"].tolist() == [f"C{i:04d}" for i in range(N, N + 200)]
    assert 0 < made.met < 1


def test_gaps_are_as_frequent_as_the_table_s(made):
    share = TABLE["word"].isna().mean()
    error = np.sqrt(share * (1 - share) * (1 / 200 + 1 / N))
    assert abs(made.rows["word"].isna().mean() - share) < 4 * error


def test_the_report_is_plain(made):
    record = json.loads(json.dumps(made.quality.to_dict()))
    assert record["n_held_out"] == 30
    assert set(record["shapes"]) == set(TABLE) - {"id"}
    assert 0 <= record["detection"] <= 1
    assert record["learning"]["target"] == "word"


def test_without_gaps_rows_are_complete_and_the_same_seed_gives_the_same_rows():
    rows = [lowerbound.synthesize(TABLE, 40, model=model(), check=False).rows for _ in range(2)]
    assert rows[0].notna().all(axis=None)
    pd.testing.assert_frame_equal(*rows)


def test_values_that_are_given_stay():
    drawn = lowerbound.synthesize(TABLE, 30, model=model(), given={"word": "b", "n": 7}, check=False)
    assert set(drawn.rows["word"]) == {"b"}
    assert set(drawn.rows["n"]) == {7}
    assert drawn.quality is None


def test_frames_of_polars_come_back_as_such():
    polars = pytest.importorskip("polars")
    drawn = lowerbound.synthesize(polars.from_pandas(TABLE[["start", "n"]]), 20, model=model(), check=False)
    assert isinstance(drawn.rows, polars.DataFrame)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "nothing"}, "no column 'nothing'"),
        ({"given": {"nothing": 1}}, "no column 'nothing'"),
        ({"where": ["start + 10 < n * 0"]}, "no row of the table meets"),
        ({"unique": ["word"]}, "unique word"),
        ({"given": {"word": "d"}}, "no row of the table has word = 'd'"),
        ({"given": {"n": np.nan}}, "the value of n that is given is missing"),
        ({"unique": ["id"], "given": {"id": "C0001"}}, "id can't be given: it has new names"),
        ({"unique": ["id"], "target": "id"}, "id can't be the target: it has new names"),
        ({"where": "total == 2 * n + start", "given": {"total": 3}}, "total can't be given: it is computed"),
        ({"n_rows": 0}, "n_rows is a whole number of 1 or more, got 0"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        lowerbound.synthesize(TABLE, **{"n_rows": 2000, "model": model(), "check": False} | options)


def test_few_rows_and_arrays_are_refused():
    for wrong in (TABLE[:10], TABLE["n"].to_numpy()):
        with pytest.raises(ValueError, match="DataFrame of 20 rows or more"):
            lowerbound.synthesize(wrong)
    assert issubclass(ConditionError, ValueError)


def test_the_fit_has_about_as_many_steps_whatever_the_size():
    small, large = (recommended(pd.DataFrame({"x": np.zeros(n)}), 0) for n in (1000, 100_000))
    assert (small.max_epochs, large.max_epochs) == (300, 17)
    assert small.early_stopping
    assert not large.early_stopping


def test_a_given_value_is_not_drawn_as_a_gap_and_computed_columns_have_theirs():
    frame = TABLE[["word", "n"]].assign(m=TABLE["n"] + 1.0)
    frame.loc[::4, "m"] = np.nan
    drawn = lowerbound.synthesize(
        frame, 400, model=model(), given={"word": "b"}, where=["m == n + 1"], keep_gaps=True, check=False
    ).rows
    assert set(drawn["word"]) == {"b"}
    assert 0.1 < drawn["m"].isna().mean() < 0.4
    known = drawn.dropna()
    assert (known["m"] == known["n"] + 1).all()


def test_few_rows_are_drawn_from_few_and_the_report_looks_at_more():
    small = TABLE[["start", "n", "word"]][:20]
    drawn = lowerbound.synthesize(small, 1, model=model(), unique="n", given={"word": "b"}, target="n")
    assert len(drawn.rows) == 1
    assert drawn.quality.n_held_out == 5


def test_membership_does_not_depend_on_the_order_of_the_rows():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=2500), 40 * rng.normal(size=2500)])  # whose log p differ
    found = lowerbound.synthesize(pd.DataFrame({"x": x}), 10, model=model()).quality.copies.membership
    assert abs(found.value - 0.5) < 4 * found.standard_error


def test_names_of_columns_may_be_numbers_but_not_twice_the_same():
    numbered = TABLE[["start", "n"]].set_axis([0, 1], axis=1)
    drawn = lowerbound.synthesize(numbered, 30, model=model(), given={1: 7})
    assert list(drawn.rows) == [0, 1]
    assert set(drawn.rows[1]) == {7}
    with pytest.raises(ValueError, match="'0' is the name of several columns"):
        lowerbound.synthesize(numbered.set_axis([0, "0"], axis=1))


def test_gaps_that_are_not_drawn_are_said_to_tell_rows_apart():
    gappy = TABLE[["word", "n"]].iloc[:60].copy()
    gappy.loc[3, "n"] = np.nan
    with pytest.warns(UserWarning, match="missing in 2 columns and the drawn rows are complete"):
        lowerbound.synthesize(gappy, 60, model=model())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "values are missing")
        lowerbound.synthesize(gappy, 60, model=model(), keep_gaps=True)
        lowerbound.synthesize(gappy, 60, model=model(), check=False)
