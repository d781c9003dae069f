"""Sequences and text in files: what is read, and the sentence for what can't be."""

import json
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lowerbound import DataError, read

RNG = np.random.default_rng(0)
LENGTHS = np.array([3, 1, 4])
ROLL = RNG.integers(2, size=(8, 11)).astype(np.uint8)


def put(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def says(*words):
    return pytest.raises(DataError, match=".*".join(map(re.escape, words)))


def test_lines_are_texts_whatever_system_wrote_them(tmp_path):
    found = read(put(tmp_path / "a.txt", "\ufeffanna\r\n\r\nbo \n  \nÄnne\r\n"))
    assert found.X == ["anna", "bo ", "Änne"]
    assert found.notes == ("2 blank lines left out",)
    assert read(put(tmp_path / "b.txt", "a\x0bb\nc")).X == ["a\x0bb", "c"]  # no end of a line but those of systems


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"anna\nb\xe4rbel\n", ["a.txt, line 2", "byte 0xe4, number 6 of the file", "UTF-8"]),
        (b"anna\nb\0\n", ["a.txt, line 2", "zero byte"]),
        (b"\n \n", ["a.txt has no rows"]),
        (b"", ["a.txt is empty"]),
    ],
)
def test_what_is_no_text(tmp_path, content, words):
    with says(*words):
        read(put(tmp_path / "a.txt", content))


def test_records_of_text_and_of_dialogues(tmp_path):
    def written(*records):
        return read(put(tmp_path / "a.jsonl", "\n".join(json.dumps(each) for each in records) + "\n"))

    assert written({"text": "a"}, {"text": "b\nc", "id": 3}).X == ["a", "b\nc"]
    pair = written({"context": "", "response": "Hi"})
    assert (pair.X, pair.context) == (["Hi"], [""])
    turns = [["U", "Hello"], ["S", "What for?"], ["U", "A table"]]
    found = written({"turns": turns})
    assert (found.X, found.context) == (["What for?", "A table"], ["Hello", "Hello\nWhat for?"])
    found = read(tmp_path / "a.jsonl", turns=1, speaker="U")
    assert (found.X, found.context) == (["A table"], ["What for?"])
    assert written({"turns": ["a", "b"]}, {"turns": ["c"]}).X == ["b"]
    assert read(put(tmp_path / "a.jsonl", '{"said": "x"}'), key="said").X == ["x"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"text": "a"}\n\n{"text": "b"', ["line 3 is not JSON", "character"]),
        ('{"text": "a"}\n[1]', ["line 2 is not a JSON object"]),
        ('{"text": "a"}\n{"txt": "a"}', ["line 2 has no field 'text'", "did you mean 'txt'"]),
        ('{"text": "a"}\n{"text": 3}', ["line 2: 'text' is int, not text"]),
        ('{"said": "a"}', ["line 1 has neither 'text'", "but said", "--key"]),
        ('{"context": "a", "response": null}', ["line 1: 'response' is NoneType"]),
        ('{"turns": ["a", "b"]}\n{"turns": ["a", ["U", 3]]}', ["line 2: turn 1 is int"]),
        ('{"turns": "a"}', ["line 1: the turns are str, not a list"]),
        ("[" * 100_000, ["line 1 is not JSON", "nested"]),
        ('{"turns": ["a"]}', ["a.jsonl has no rows"]),
    ],
)
def test_what_is_no_record(tmp_path, content, words):
    with says(*words):
        read(put(tmp_path / "a.jsonl", content))


def arrays(path, **others):
    np.savez(path, **({"train": ROLL, "train_len": LENGTHS} | others))
    return path


def test_flat_and_padded_arrays_with_lengths(tmp_path):
    path = arrays(tmp_path / "a.npz")
    found = read(path)  # train_len is the companion of train, so there is no choice
    np.testing.assert_array_equal(found.X.steps, ROLL)
    np.testing.assert_array_equal(found.X.lengths, LENGTHS)
    assert read(path, key="train", lengths="none").X.shape == ROLL.shape
    padded = np.arange(24.0).reshape(3, 4, 2)
    several = arrays(tmp_path / "b.npz", x=padded, x_len=LENGTHS, y=np.array(["a", "b", "a"]), other=LENGTHS[::-1])
    found = read(several, key="x", label="y")
    assert [len(each) for each in found.X] == [3, 1, 4]
    np.testing.assert_array_equal(found.X.steps[3], padded[1, 0])
    assert found.labels.tolist() == ["a", "b", "a"]
    np.testing.assert_array_equal(read(several, key="train", lengths="other").X.lengths, LENGTHS[::-1])


def test_packed_bits(tmp_path):
    path = arrays(tmp_path / "a.npz", train=np.packbits(ROLL, axis=1))
    np.testing.assert_array_equal(read(path, bits=11).X.steps, ROLL)
    with says("a.npz[train] holds uint8 of shape (8, 2); 17 bits", "uint8 of shape (steps, 3)"):
        read(path, bits=17)
    with says("a.npz[train], row", "has a 1 behind its first 9 bits"):
        read(path, bits=9)


@pytest.mark.parametrize(
    ("others", "asked", "words"),
    [
        ({"train_len": [3, 1]}, {}, ["a.npz[train], with the lengths of a.npz[train_len]", "add up to 4 steps"]),
        ({"train_len": [8, 0]}, {}, ["at least 1"]),
        ({"train": np.zeros((3, 2, 1))}, {}, ["at most 2"]),
        ({}, {"key": "train", "lengths": "train_leng"}, ["no array 'train_leng'; did you mean 'train_len'"]),
    ],
)
def test_lengths_that_do_not_fit(tmp_path, others, asked, words):
    with says(*words):
        read(arrays(tmp_path / "a.npz", **others), **asked)


def lists(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def test_lists_in_the_cells_of_a_table(tmp_path):
    columns = {"a": [[1, 2], [3]], "b": [[0.5, None], [1.5]], "who": ["x", "y"]}
    found = read(lists(tmp_path / "a.parquet", **columns), label="who")
    np.testing.assert_array_equal(np.ma.filled(found.X.steps, np.nan), [[1, 0.5], [2, np.nan], [3, 1.5]])
    assert (found.X.lengths.tolist(), found.labels.tolist()) == ([2, 1], ["x", "y"])
    table = read(tmp_path / "a.parquet", drop=["a", "b"], mixed=True).X  # without the lists it is one as before
    pd.testing.assert_frame_equal(table, pd.DataFrame({"who": ["x", "y"]}), check_dtype=False)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"a": [[1], [2, 3]], "b": [[1], [2]]}, ["row 1", "'a' has 2 steps and that of 'b' 1"]),
        ({"a": [[1], []]}, ["row 1", "column 'a' is empty"]),
        ({"a": [[1], None]}, ["row 1", "column 'a' is empty"]),
        ({"a": [[1], [2]], "n": [3, 4]}, ["column 'n' holds values of type int64 beside columns of lists"]),
        ({"a": [["x"], ["y"]]}, ["the lists of column 'a' hold values of type string"]),
    ],
)
def test_lists_that_are_no_sequences(tmp_path, columns, words):
    with says(*words):
        read(lists(tmp_path / "a.parquet", **columns))


def test_options_of_other_files_are_refused(tmp_path):
    with says("a.txt cannot be read with bits"):
        read(put(tmp_path / "a.txt", "a"), bits=3)
    with says("a.jsonl has no turns of dialogues but text"):
        read(put(tmp_path / "a.jsonl", '{"text": "a"}'), turns=3)


LONG = "who,when,x,kind\na,2024-01-01 00:10,2,u\nb,2024-01-01,5,v\na,2024-01-01 00:00,1,u\na,2024-01-01 00:20,3,v\n"


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_whose_rows_are_steps(tmp_path, ending):
    path = put(tmp_path / "a.csv", LONG)
    if ending == "parquet":
        pd.read_csv(path).to_parquet(path := tmp_path / "a.parquet")
    found = read(path, id="who", time="when")
    assert (found.X.lengths.tolist(), found.X.ids.tolist()) == ([3, 1], ["a", "b"])
    assert found.X.steps["x"].tolist() == [1, 2, 3, 5]
    grid = read(path, id="who", time="when", every="5min", drop=["kind"]).X
    assert grid.lengths.tolist() == [5, 1]
    assert grid.steps["x"].isna().tolist() == [False, True, False, True, False, False]


def test_parts_of_a_date(tmp_path):
    rows = "".join(f"2024,2,{day},{hour},{day * 24 + hour}\n" for day in (29, 28) for hour in (1, 0))
    found = read(put(tmp_path / "a.csv", f"year,month,day,hour,x\n{rows}"), time="year,month,day,hour").X
    assert found.steps["x"].tolist() == [672, 673, 696, 697]
    assert str(found.steps.index[-1]) == "2024-02-29 01:00:00"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"id": "who", "time": "when"}, ["a.csv, lines 4 and 7", "of 'a' have the same time, 2024-01-01 00:00:00"]),
        ({"id": "who", "time": "whn"}, ["no column 'whn'; did you mean 'when'"]),
        ({"id": "who", "time": "kind"}, ["a.csv: column 'kind' holds 'u'"]),
        ({"id": "who", "every": "5min"}, ["a.csv: every is the distance of two times"]),
        ({"id": "who", "time": "when", "label": "kind"}, ["a.csv: steps of sequences", "leave stream and label out"]),
        ({"time": "x,kind"}, ["a.csv: the columns x, kind are no parts of dates"]),
    ],
)
def test_tables_whose_rows_are_no_steps(tmp_path, how, words):
    with says(*words):
        read(put(tmp_path / "a.csv", LONG + "\na,2024-01-01 00:00,7,u\n"), **how)
