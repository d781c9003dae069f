"""CSV as people have it: marks, units, dates, gaps, headers and separators are recognized, said, and overruled."""

import numpy as np
import pandas as pd
import pytest

from lowerbound.data.checks import DataError
from lowerbound.data.readers.csv import DataWarning
from lowerbound.data.readers.read import read
from lowerbound.data.readers.writing import MISSING, Asked, Writing, recognized


def put(tmp_path, text: str):
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    return path


def column(tmp_path, values: list[str], separator: str = ";", **asked):
    """The last column of a table with these values in it, and the notes of what was recognized."""
    lines = [f"i{separator}v", *(f"{i}{separator}{value}" for i, value in enumerate(values))]
    dataset = read(put(tmp_path, "\n".join(lines) + "\n"), mixed=True, **asked)
    return dataset.X["v"], dataset.notes


NUMBERS = {
    "decimal comma": (["1,5", "-2,25", "3"], [1.5, -2.25, 3]),
    "comma and points": (["1.234,5", "12,25", "-1.234.567"], [1234.5, 12.25, -1234567]),
    "points alone": (["1.234.567", "1.234", "12"], [1234567, 1234, 12]),
    "commas between thousands": (["1,234.5", "12", "1,234,567"], [1234.5, 12, 1234567]),
    "blanks between thousands": (["1 234,5", "12", "1\u00a0234\u202f567"], [1234.5, 12, 1234567]),
    "apostrophes": (["1'234.5", "12.0", "1’234’567"], [1234.5, 12, 1234567]),
    "dollars": (["$1,234.50", "-$12.00", "$0.99"], [1234.5, -12, 0.99]),
    "euros": (["1.234,50 €", "-12,00 €", "0,99 €"], [1234.5, -12, 0.99]),
    "percent": (["12.5%", "3%", "-0.5%"], [12.5, 3, -0.5]),
    "percent after a blank": (["12,5 %", "3 %", "0,1 %"], [12.5, 3, 0.1]),
    "powers of ten": (["1,5e3", "2,0E-1", "3"], [1500, 0.2, 3]),
    "gaps": (["?", "1.5", "2"], [np.nan, 1.5, 2]),
    "gaps in commas": (["-", "1,5", "n.a."], [np.nan, 1.5, np.nan]),
    "the word None": (["None", "1.5", "2"], [np.nan, 1.5, 2]),
    "blanks": (["  ", "1.5", "2"], [np.nan, 1.5, 2]),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_recognized_and_said(tmp_path, name):
    texts, numbers = NUMBERS[name]
    values, notes = column(tmp_path, texts)
    np.testing.assert_array_equal(values, numbers)
    assert [note.startswith("column 'v': ") for note in notes] == [True]


TEXT = {
    "one value doesn't fit": ["1,5", "2,5", "3.5x"],
    "two units": ["$1", "€2", "$3"],
    "groups of two": ["1,23,456", "1,234", "12"],
    "a number that begins with 0": ["1.234", "0.123.456", "12"],
    "words": ["a", "b,c", "d"],
    "gaps alone": ["?", "?", "-"],
    "day 32": ["32/01/2020", "01/02/2020", "03/04/2020"],
}


@pytest.mark.parametrize("name", TEXT)
def test_one_value_that_does_not_fit_leaves_text(tmp_path, name):
    values, notes = column(tmp_path, TEXT[name])
    assert values.tolist() == TEXT[name]
    assert notes == ()


def test_a_mistake_among_numbers_is_named(tmp_path):
    with pytest.raises(DataError, match="line 5, column 'v': 'x' is text"):
        column(tmp_path, [*("123" * 10), "x"][-11:][7:] * 1 + ["1"] * 40)


DATES = {
    "%d/%m/%Y": ["31/01/2020", "1/2/2020"],
    "%m/%d/%Y": ["01/31/2020", "02/01/2020"],
    "%d.%m.%Y": ["01.02.2020", "03.04.2020"],
    "%d-%m-%Y": ["31-01-2020", "01-02-2020"],
    "%Y/%m/%d": ["2020/01/31", "2020/02/01"],
    "%d/%m/%Y %H:%M": ["31/01/2020 10:30", "01/02/2020 23:59"],
    "%d/%m/%y": ["31/01/20", "01/02/20"],
}


@pytest.mark.parametrize("form", DATES)
def test_dates_are_recognized_and_said(tmp_path, form):
    values, notes = column(tmp_path, DATES[form], separator=",")
    assert values.tolist() == [pd.to_datetime(text, format=form) for text in DATES[form]]
    assert notes == (f"column 'v': dates written {form}",)


def test_dates_of_which_nothing_tells_the_month_are_asked_about(tmp_path):
    texts = ["01/02/2020", "03/04/2020"]
    with pytest.raises(DataError, match=r"'01/02/2020' may be a date written %d/%m/%Y or %m/%d/%Y: .*--date-format"):
        column(tmp_path, texts)
    for form in ("%d/%m/%Y", "%m/%d/%Y"):
        values, _ = column(tmp_path, texts, date_format=form)
        assert values.tolist() == [pd.to_datetime(text, format=form) for text in texts]
    with pytest.raises(DataError, match="no column whose dates are all written %Y"):
        column(tmp_path, texts, date_format="%Y")
    same, _ = column(tmp_path, ["01/01/2020", "02/02/2020"])
    assert same.tolist() == [pd.Timestamp("2020-01-01"), pd.Timestamp("2020-02-02")]


def test_marks_that_could_be_both_are_asked_about_unless_the_file_tells(tmp_path):
    with pytest.raises(DataError, match=r"'1,234' may be a number with .*--decimal"):
        column(tmp_path, ["1,234", "5,678"])
    assert column(tmp_path, ["1,234", "5,678"], decimal=",")[0].tolist() == [1.234, 5.678]
    assert column(tmp_path, ["1,234", "5,678"], decimal=".")[0].tolist() == [1234, 5678]
    assert column(tmp_path, ["1,234", "5,678"], thousands=",")[0].tolist() == [1234, 5678]
    quoted = read(put(tmp_path, 'a,b\n1,"1,234"\n2,"5,678"\n')).X
    assert quoted["b"].tolist() == [1234, 5678]  # decimals in a file of commas would be quoted throughout
    told = read(put(tmp_path, "a;b;c\n1,5;1,234;1.234\n2,5;5,678;5.678\n"))
    assert told.X.to_numpy().tolist() == [[1.5, 1.234, 1234], [2.5, 5.678, 5678]]
    assert len(told.notes) == 3


def test_what_is_missing_can_be_said(tmp_path):
    assert column(tmp_path, ["None", "None", "a"])[0].tolist() == ["None", "None", "a"]
    assert column(tmp_path, ["None", "b", "a"], missing=("None",))[0].isna().tolist() == [True, False, False]
    assert column(tmp_path, ["-9", "1", "2"], missing=("-9", "x"))[0].isna().tolist() == [True, False, False]
    for marker in MISSING:
        assert column(tmp_path, [marker, "a", "b"])[0].isna().tolist() == [True, False, False]


ROWS = {
    "numbers and words": "39,State-gov,77516\n50,Private,83311\n38,State-gov,215646\n",
    "dates": "2020-01-01,a\n2020-01-02,a\n2020-01-03,b\n",
    "commas": "1,5;a\n2,5;a\n3,5;a\n",
    "words": "p,x\ne,x\np,y\n",
    "numbers": "5.1,3.5\n4.9,3\n4.7,3.2\n",
}


@pytest.mark.parametrize("name", ROWS)
def test_a_first_line_that_is_a_row_is_asked_about(tmp_path, name):
    path = put(tmp_path, ROWS[name])
    with pytest.raises(DataError, match=r"line 1: .*--no-header"):
        read(path, mixed=True)
    dataset = read(path, mixed=True, header=False)
    assert len(dataset.X) == 3
    assert list(dataset.X)[:2] == ["x0", "x1"]
    assert len(read(path, mixed=True, header=True).X) == 2


@pytest.mark.parametrize("text", ["country,1990,1991\nIT,1,2\nNO,3,4\n", "a,b\n1,x\n2,y\n", "0,1\n5,6\n7,8\n"])
def test_lines_of_names_are_not_asked_about(tmp_path, text):
    assert len(read(put(tmp_path, text), mixed=True).X) == 2


@pytest.mark.parametrize("separator", [",", ";", "|", "\t"])
def test_separators_also_in_quotes(tmp_path, separator):
    others = '"a,b;c|d\te"'
    x = read(put(tmp_path, f"name{separator}n\n{others}{separator}1\n{others}{separator}2\n"), mixed=True).X
    assert x["name"].tolist() == ["a,b;c|d\te"] * 2
    assert x["n"].tolist() == [1, 2]


def test_levels_that_differ_by_blanks_or_case_are_warned_of(tmp_path):
    with pytest.warns(DataWarning, match=r"column 'v': 'Rome', 'rome ' differ by blanks or case alone"):
        column(tmp_path, ["Rome", "rome ", "Oslo"])


def test_a_file_of_one_column_keeps_its_empty_rows(tmp_path):
    path = put(tmp_path, "\nv\n1\n\n3\n")
    np.testing.assert_array_equal(read(path).X["v"], [1, np.nan, 3])
    assert len(read(put(tmp_path, "v,w\n1,2\n\n3,4\n")).X) == 2
    with pytest.raises(DataError, match="line 5, column 'v'"):
        read(put(tmp_path, "\nv\n1\n\nx\n"))


@pytest.mark.parametrize("name", [name for name in NUMBERS if name != "powers of ten"])
def test_what_was_read_is_written_the_same_way(name):
    texts, _ = NUMBERS[name]
    writing = recognized(pd.Series(texts), Asked(), None, dates=False) or Writing()
    values = writing.read(pd.Series(texts))
    np.testing.assert_array_equal(writing.read(writing.write(values)), values)


def test_numbers_and_dates_as_text():
    assert Writing(",", ".", suffix=" €").write(pd.Series([1234.5, -0.25])).tolist() == ["1.234,5 €", "-0,25 €"]
    assert Writing(".", ",", prefix="$").write(pd.Series([-1234, 5])).tolist() == ["-$1,234", "$5"]
    assert Writing(",").write(pd.Series([1234.5, None])).tolist()[0] == "1234,5"
    assert Writing(date="%d/%m/%Y").write(pd.to_datetime(pd.Series(["2020-01-31"]))).tolist() == ["31/01/2020"]


def test_options_of_text_are_for_text(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    for option in ({"decimal": ","}, {"missing": ("?",)}, {"header": False}):
        with pytest.raises(DataError, match=r"how values are written in a \.csv"):
            read(tmp_path / "a.npy", **option)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('id,choices,w\n1,"1,2",1.234\n2,"2,3",5.678\n3,"3,1",2.125\n', {"w": [1.234, 5.678, 2.125]}),
        ("a;b\n1.500;3,2\n2.250;4,1\n", {"a": [1500, 2250], "b": [3.2, 4.1]}),
        ("a;b\n1 500,5;3,2\n2 250,25;4,1\n", {"a": [1500.5, 2250.25], "b": [3.2, 4.1]}),
        ("a,b\n--5,1\n6,2\n", {"a": ["--5", "6"]}),
        ("a,b\n-+5,1\n6,2\n", {"a": ["-+5", "6"]}),
        ("a,b\n٥,1\n٦,2\n", {"a": ["٥", "٦"]}),
    ],
)
def test_marks_of_one_column_change_others_only_where_they_tell(tmp_path, text, expected):
    frame = read(put(tmp_path, text), mixed=True).X
    assert {name: list(frame[name]) for name in expected} == expected


@pytest.mark.parametrize("mark", [" ", "'"])
def test_blanks_between_thousands_say_nothing_of_decimals(tmp_path, mark):
    text = "a;b\n10 000;1,234\n20 500;5,678\n30 000;2,500\n".replace(" ", mark)
    with pytest.raises(DataError, match="column 'b': '1,234' may be"):
        read(put(tmp_path, text), mixed=True)


@pytest.mark.parametrize(("clock", "seconds"), [("", 0), (" 10:00", 36_000), ("T10:00:30", 36_030)])
def test_iso_dates_with_gaps_are_dates(tmp_path, clock, seconds):
    values, notes = column(tmp_path, [f"2020-01-05{clock}", "-", f"2020-02-05{clock}"])
    expected = pd.to_datetime(["2020-01-05", None, "2020-02-05"]) + pd.Timedelta(seconds=seconds)
    assert values.isna().tolist() == [False, True, False]
    assert (values.dropna().to_numpy() == expected.dropna().to_numpy()).all()
    assert "'-' for gaps" in notes[0]


def test_true_and_false_with_gaps_stay_true_and_false(tmp_path):
    values = read(put(tmp_path, "a,b,n\nTrue,x,1\n,y,True\nFalse,x,2\n"), mixed=True).X
    assert values.dtypes.astype(str).tolist()[0] == "boolean"
    assert values["a"].tolist() == [True, pd.NA, False]
