"""Tables in long format as sequences: order, repeated times, grids."""

import numpy as np
import pandas as pd
import pytest

from lowerbound import DataError, Sequences

TIMES = pd.to_datetime(["2024-01-01 02:00", "2024-01-01 00:00", "2024-01-01 00:00", "2024-01-01 01:00"])
TABLE = pd.DataFrame({"who": ["b", "b", "a", "b"], "time": TIMES, "x": [3.0, 1.0, 9.0, 2.0], "kind": list("uvwu")})


def test_rows_are_sorted_by_sequence_and_time():
    made = Sequences.from_frame(TABLE, id="who", time="time")
    assert made.ids.tolist() == ["b", "a"]  # in the order in which they appear
    assert made.lengths.tolist() == [3, 1]
    first, second = made
    assert first["x"].tolist() == [1.0, 2.0, 3.0]
    assert list(first.columns) == ["x", "kind"]
    assert first.index.equals(pd.DatetimeIndex(TIMES[[1, 3, 0]], name="time"))
    assert second["kind"].tolist() == ["w"]


def test_without_time_the_order_is_kept_and_without_id_there_is_one_sequence():
    assert [x["x"].tolist() for x in Sequences.from_frame(TABLE, id="who")] == [[3.0, 1.0, 2.0], [9.0]]
    assert Sequences.from_frame(TABLE[["x"]]).lengths.tolist() == [4]


@pytest.mark.parametrize("text", [False, True])
def test_a_grid_has_gaps_where_there_is_no_row(text):
    times = pd.to_datetime(["2024-01-01 00:00:03", "2024-01-01 00:14:58", "2024-01-01 00:05:00"])
    table = pd.DataFrame({"time": times.astype(str) if text else times, "x": [1, 4, 2], "kind": list("uvu")})
    (only,) = Sequences.from_frame(table, time="time", every="5min")
    np.testing.assert_array_equal(only["x"], [1, 2, np.nan, 4])
    assert only["kind"].isna().tolist() == [False, False, True, False]
    assert only.index.equals(pd.date_range("2024-01-01", periods=4, freq="5min", name="time"))


def test_a_grid_of_numbers_and_zones():
    table = pd.DataFrame({"who": [1, 1, 0], "t": [0.5, 2.0, 7.0], "x": [1.0, 2.0, 3.0]})
    made = Sequences.from_frame(table, id="who", time="t", every=0.5)
    assert made.lengths.tolist() == [4, 1]
    np.testing.assert_array_equal(made.steps["x"], [1, np.nan, np.nan, 2, 3])
    np.testing.assert_allclose(made.steps.index, [0.5, 1, 1.5, 2, 7])
    zoned = TABLE.assign(time=TIMES.tz_localize("Europe/Paris"))
    assert Sequences.from_frame(zoned, id="who", time="time", every="1h").lengths.tolist() == [3, 1]


def test_a_grid_is_the_sorted_table_where_no_row_is_missing():
    plain, grid = (Sequences.from_frame(TABLE, "who", "time", every) for every in (None, "1h"))
    pd.testing.assert_frame_equal(plain.steps, grid.steps)
    assert plain.digest() == grid.digest()


def test_other_libraries():
    polars = pytest.importorskip("polars")
    made = Sequences.from_frame(polars.from_pandas(TABLE), id="who", time="time")
    assert made.container == "polars"
    assert made.steps["x"].tolist() == [1, 2, 3, 9]


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Sequences.from_frame(TABLE, id="name"), "no column 'name'"),
        (lambda: Sequences.from_frame(TABLE, every="1h"), "say which column holds them, time="),
        (lambda: Sequences.from_frame(TABLE[["who", "time"]], "who", "time"), "no values"),
        (
            lambda: Sequences.from_frame(pd.concat([TABLE, TABLE[1:2]], ignore_index=True), "who", "time"),
            "rows 1 and 4 of 'b' have the same time, 2024-01-01 00:00:00: keep one of them",
        ),
        (
            lambda: Sequences.from_frame(TABLE, "who", "time", "3h"),
            "rows 1 and 3 of 'b' fall on one step of every=",
        ),
        (lambda: Sequences.from_frame(TABLE, "who", "time", "1s"), "makes 7,202 steps of 4 rows"),
        (lambda: Sequences.from_frame(TABLE, "who", "time", "hourly"), "no distance of two times"),
        (lambda: Sequences.from_frame(TABLE, "who", "x", -1), "no distance of two times"),
        (lambda: Sequences.from_frame(TABLE, "who", "kind"), "column 'kind' holds 'u', and not all of it are times"),
        (lambda: Sequences.from_frame(TABLE.assign(time=TABLE.time.where(TABLE.x != 9)), "who", "time"), "in row 2"),
        (lambda: Sequences.of(TABLE), "Sequences.from_frame"),
        (lambda: Sequences.of([TABLE, TABLE[["x"]]]), "sequence 1 has the columns x and 4 steps"),
        (lambda: Sequences.of([TABLE, TABLE[:0]]), "and 0 steps"),
        (lambda: Sequences.of([TABLE, TABLE.assign(x=np.inf)]), "in sequence 1, step 0, column 'x'"),
        (lambda: Sequences(TABLE, [4], ids=["a", "b"]), "1 sequences, and ids have shape"),
    ],
)
def test_other_tables_are_refused(make, named):
    with pytest.raises(DataError, match=named):
        make()
