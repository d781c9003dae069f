"""Files and folders that are read in parts give what they give as a whole."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lowerbound import DataError, read, stream
from lowerbound.data import sources
from lowerbound.data.columns.inference import infer_columns
from lowerbound.data.readers import parquet
from lowerbound.data.sources import ArrayFile, MappedArray, Source

rng = np.random.default_rng(0)
N = 500
FRAME = pd.DataFrame(
    {
        "a": rng.standard_normal(N),
        "b": rng.integers(0, 9, N),
        "kind": rng.choice(["x", "y"], N),
        "c": rng.random(N) < 0.5,
        "d": rng.standard_normal(N).astype(np.float32),
    }
)
RANGES = np.array([[450, 500], [0, 3], [120, 333]])


def rows(X, ranges=RANGES):
    places = np.concatenate([np.arange(first, last) for first, last in ranges])
    return X.iloc[places].reset_index(drop=True) if isinstance(X, pd.DataFrame) else X[places]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.parquet"
    FRAME.to_parquet(path, row_group_size=110)
    return path


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    for i, first in enumerate(range(0, N, 200)):
        FRAME[first : first + 200].to_parquet(folder / f"part-{i}.parquet", row_group_size=64)
    (folder / "_SUCCESS").write_text("")
    (folder / ".part-0.parquet.crc").write_text("")
    return folder


@pytest.fixture
def images(tmp_path):
    for i in range(30):
        path = tmp_path / "images" / "ab"[i % 2] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 5), i, np.uint8)).save(path)
    return tmp_path / "images"


@pytest.mark.parametrize("source", ["table", "folder"])
@pytest.mark.parametrize("ranges", [RANGES, np.array([[0, N]]), np.array([[i, i + 1] for i in range(0, N, 7)])])
def test_a_table_in_parts(source, ranges, request):
    X = stream(request.getfixturevalue(source), label="kind")
    assert X.shape == (N, 4)
    assert X.columns == ["a", "b", "c", "d"]
    block = X.read(ranges)
    pd.testing.assert_frame_equal(block.X, rows(FRAME.drop(columns="kind"), ranges))
    assert block.labels.tolist() == rows(FRAME, ranges)["kind"].tolist()


def test_a_folder_of_parquet_is_one_table(folder):
    dataset = read(folder, label="kind")
    pd.testing.assert_frame_equal(dataset.X, FRAME.drop(columns="kind"))
    assert dataset.labels.tolist() == FRAME["kind"].tolist()


def test_the_row_groups_are_the_runs(folder):
    X = stream(folder, drop=["kind"])
    assert X.runs.tolist() == [0, 64, 128, 192, 200, 264, 328, 392, 400, 464, 500]


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_row_groups_are_read_side_by_side(table, at_once, monkeypatch):
    monkeypatch.setattr(parquet, "_AT_ONCE", at_once)
    opened = []
    plain = parquet.Cursor
    monkeypatch.setattr(parquet, "Cursor", lambda *args: opened.append(args[1]) or plain(*args))
    X = stream(table, drop=["kind"])
    for first in range(0, 110, 10):
        ranges = np.array([[first + 110 * group, first + 110 * group + 10] for group in range(min(at_once, 4))])
        pd.testing.assert_frame_equal(X.read(ranges).X, rows(FRAME.drop(columns="kind"), ranges))
        assert len(X.cursors) <= at_once
    assert sorted(opened) == list(range(min(at_once, 4)))  # each is opened once
    assert not X.cursors  # and let go at its end


def test_columns_in_another_order(table):
    X = stream(table, drop=["kind"]).select(["d", "c", "b", "a"])
    pd.testing.assert_frame_equal(X.read(RANGES).X, rows(FRAME[["d", "c", "b", "a"]]))


def test_whole_numbers_with_gaps_are_real(tmp_path):
    pq.write_table(pa.table({"a": [1, None, 3], "b": [1, 2, 3]}), tmp_path / "gaps.parquet")
    pq.write_table(pa.table({"a": [1, 2, 3], "b": [1, 2, 3]}), tmp_path / "whole.parquet")
    assert stream(tmp_path / "gaps.parquet").dtype == np.float64
    assert stream(tmp_path / "whole.parquet").dtype == np.int64


def test_whole_numbers_stay_whole_where_nobody_counted_what_is_missing(tmp_path):
    """Without statistics the column itself says whether something is."""
    for name, late in (("whole", 7), ("gaps", None)):
        table = pa.table({"n": pa.array([*range(400), late], pa.int16()), "flag": [True, False, True, *[False] * 398]})
        pq.write_table(table, tmp_path / f"{name}.parquet", write_statistics=False, row_group_size=150)
        source, whole = stream(tmp_path / f"{name}.parquet"), read(tmp_path / f"{name}.parquet").X
        blocks = [block.X for block in source.blocks(90)]
        pd.testing.assert_frame_equal(pd.concat(blocks, ignore_index=True), whole)
        assert source.dtype == whole["n"].dtype == (np.float64 if late is None else np.int16)


def test_categories_that_files_number_differently_are_the_same(tmp_path):
    """Their places take 8 bits in one file and 16 in the other; which level has which place differs, too."""
    parts = [(pa.int8(), ["a", "b"], False), (pa.int16(), ["c", "b"], True)]
    for i, (width, levels, nullable) in enumerate(parts):
        column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 1, None if nullable else 0] * 10, width), levels)
        schema = pa.schema([pa.field("c", column.type, nullable), pa.field("x", pa.float64(), nullable)])
        pq.write_table(pa.table([column, np.arange(40.0)], schema=schema), tmp_path / f"{i}.parquet")
    source, whole = stream(tmp_path), read(tmp_path, mixed=True, stream=False).X
    expected = [level for levels in (list("abba"), ["c", "b", "b", None]) for level in levels * 10]
    for rows in (pd.concat([block.X.astype(object) for block in source.blocks(30)], ignore_index=True), whole):
        assert rows["c"].astype(object).where(rows["c"].notna(), None).tolist() == expected
    assert infer_columns(source) == infer_columns(whole)


def test_an_infinite_value_is_named_with_its_file(folder):
    frame = FRAME[200:400].copy()
    frame.iloc[17, 0] = np.inf
    frame.to_parquet(folder / "part-1.parquet", row_group_size=64)
    X = stream(folder, drop=["kind"])
    with pytest.raises(DataError, match=r"part-1\.parquet, row 17 \(counting from 0\), column 'a'"):
        list(X)


def test_files_of_a_folder_need_the_same_columns(folder):
    FRAME.drop(columns="d").to_parquet(folder / "part-2.parquet")
    with pytest.raises(DataError, match=r"parts/part-2\.parquet: column 'd' is float in part-0"):
        stream(folder, drop=["kind"])
    FRAME.assign(d=1).to_parquet(folder / "part-2.parquet")
    with pytest.raises(DataError, match=r"but this file has int64"):
        read(folder, drop=["kind"])


def test_images_are_decoded_when_they_are_used(images):
    X = stream(images)
    assert (X.shape, X.dtype) == ((30, 4, 5), np.uint8)
    whole = read(images)
    block = X.read(np.array([[20, 30], [3, 4]]))
    assert np.array_equal(block.X, whole.X[[*range(20, 30), 3]])
    assert block.labels.tolist() == whole.labels[[*range(20, 30), 3]].tolist()


def test_a_damaged_image_is_named(images):
    path = images / "b" / "07.png"
    path.write_bytes(path.read_bytes()[:45])
    with pytest.raises(DataError, match=r"images/b/07\.png"):
        list(stream(images))


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_file_is_not_loaded(tmp_path, order):
    X = np.asarray(rng.standard_normal((N, 3)), order=order)
    np.save(tmp_path / "x.npy", X)
    source = stream(tmp_path / "x.npy")
    assert isinstance(source, ArrayFile if order == "C" else MappedArray)
    assert np.array_equal(source.read(RANGES).X, rows(X))


def test_what_takes_much_memory_is_streamed_unless_told_otherwise(tmp_path, table, images, monkeypatch):
    np.save(tmp_path / "x.npy", np.ones((N, 3)))
    monkeypatch.setattr(sources, "IN_MEMORY", 500)
    for path in (tmp_path / "x.npy", table, images):
        drop = {"drop": ["kind"]} if path == table else {}
        assert isinstance(read(path, **drop).X, Source)
        assert not isinstance(read(path, **drop, stream=False).X, Source)
        monkeypatch.setattr(sources, "IN_MEMORY", 10**6)
        assert not isinstance(read(path, **drop).X, Source)
        monkeypatch.setattr(sources, "IN_MEMORY", 500)


def test_other_files_are_not_streamed(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.ones((N, 3)))
    with pytest.raises(DataError, match=r"x\.npz cannot be read with stream: rows can be streamed from"):
        stream(tmp_path / "x.npz")
    assert read(tmp_path / "x.npz", stream=False).X.shape == (N, 3)
