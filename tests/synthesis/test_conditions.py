"""Conditions: what is refused, what is computed, what is drawn again, what is numbered."""

import numpy as np
import pandas as pd
import pytest

from lowerbound.synthesis.conditions import ConditionError, Conditions

RNG = np.random.default_rng(0)
N = 60
TABLE = pd.DataFrame(
    {
        "id": [f"C{i:03d}" for i in range(N)],
        "start": RNG.normal(size=N).round(2),
        "n": RNG.integers(1, 9, N),
        "word": RNG.choice(["a", "b"], N),
        "two words": RNG.random(N),
    }
)
TABLE["end"] = (TABLE["start"] + 1).round(2)
TABLE["total"] = TABLE["n"] * 3


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("start <= nothing", "'nothing' is not defined"),
        ("start + end", "neither true nor false"),
        ("total == 2 * n", "total isn't 2 \\* n in 60 of 60 rows: in row 0"),
        ("start > end", "no row of the table meets"),
        ("1 < 2", "names no column"),
        ("start <", "can't be evaluated"),
        ("start == 1 and __import__('os').getcwd() == ''", "can't be evaluated"),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused(where, message):
    with pytest.raises(ConditionError, match=message):
        Conditions.of(TABLE, [where])


def test_an_unknown_unique_column_is_refused():
    with pytest.raises(ConditionError, match="no column 'nothing'"):
        Conditions.of(TABLE, unique=["nothing"])


def test_rows_that_break_a_condition_are_told_and_gaps_break_none():
    conditions = Conditions.of(TABLE, ["start <= end", "`two words` < 2"])
    rows = pd.DataFrame({"start": [0.0, 2.0, np.nan], "end": [1.0, 1.0, 1.0], "two words": [0.5, 0.5, 0.5]})
    assert conditions.met(rows).tolist() == [True, False, True]


def test_a_table_that_breaks_a_condition_itself_is_told_where():
    with pytest.warns(UserWarning, match="of 60 rows of the table don't meet 'n > 1', the first is row"):
        Conditions.of(TABLE, ["n > 1"])


def test_a_column_that_follows_is_computed_in_its_type():
    conditions = Conditions.of(TABLE, ["total == n * 3"])
    assert conditions.computed == ["total"]
    rows = conditions.completed(TABLE.drop(columns="total"), list(TABLE.columns))
    pd.testing.assert_frame_equal(rows, TABLE)


def test_a_condition_of_a_word_is_no_formula():
    with pytest.warns(UserWarning, match="don't meet"):
        conditions = Conditions.of(TABLE, ["word == 'a'"])
    assert conditions.computed == []
    assert conditions.met(TABLE).tolist() == (TABLE["word"] == "a").tolist()


def test_names_of_rows_go_on_and_other_unique_columns_are_not_repeated():
    conditions = Conditions.of(TABLE, unique=["id", "n"])
    assert conditions.numbered["id"].names(2) == ["C060", "C061"]
    assert conditions.unique == ["n"]
    assert conditions.first_of_each(TABLE)["n"].is_unique
    assert Conditions.of(TABLE.assign(id=range(5, N + 5)), unique=["id"]).numbered["id"].names(2) == [65, 66]


def test_numbers_go_on_in_the_type_of_the_table_if_they_fit():
    small = pd.DataFrame({"id": np.arange(100, dtype=np.int8)})
    numbering = Conditions.of(small, unique=["id"]).numbered["id"]
    assert numbering.column(28).dtype == np.int8
    assert numbering.column(29).tolist() == list(range(100, 129))


def test_dates_are_drawn_and_number_nothing():
    days = pd.DataFrame({"day": pd.date_range("2020-01-01", periods=N)})
    conditions = Conditions.of(days, unique=["day"])
    assert (conditions.unique, conditions.numbered) == (["day"], {})


@pytest.mark.parametrize("where", ["id < 'C9'", "total == n * 3 and id > 'C'"])
def test_a_condition_about_new_names_is_refused(where):
    with pytest.raises(ConditionError, match="is about id, whose values are new names"):
        Conditions.of(TABLE, [where], unique=["id"])


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "int64[pyarrow]"])
def test_conditions_of_nullable_types_are_read(dtype):
    frame = TABLE[["n", "total"]].astype(dtype)
    frame.loc[3, "n"] = pd.NA
    conditions = Conditions.of(frame, ["n <= total", "total == n * 3"])
    assert conditions.computed == ["total"]
    assert conditions.met(frame).all()
    assert not conditions.met(frame.assign(n=frame["total"] + 1))[4:].any()


def test_columns_that_follow_from_computed_ones_are_computed_after_them():
    conditions = Conditions.of(TABLE.assign(twice=TABLE["total"] * 2), ["twice == total * 2", "total == n * 3"])
    assert conditions.completed(TABLE[["n"]], ["n", "total", "twice"])["twice"].equals(TABLE["n"] * 6)
    with pytest.raises(ConditionError, match="n, total follow from each other"):
        Conditions.of(TABLE.assign(n=TABLE["n"].astype(float)), ["total == n * 3", "n == total / 3"])
