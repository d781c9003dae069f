"""Compressed files that earlier versions wrote, with other versions of libraries: they give the same rows, and are
written the same but for the version."""

from pathlib import Path

import numpy as np
from tests.compression.test_sequences import same

import lowerbound
from lowerbound import Sequences

FOLDER = Path(__file__).parents[1] / "fixtures" / "compressed-v1"
TEXT = "anna\r\notto\r\n\r\nännette".encode()


def but_for_the_version(path: Path) -> bytes:
    """The bytes of a file without the version, and without the checksum of the header, which counts it in."""
    content = path.read_bytes()
    end = 14 + int.from_bytes(content[10:14], "little")
    return content[10:end] + content[end + 4 :]


def test_rows(tmp_path):
    kept = lowerbound.load(FOLDER / "model")
    rows = np.load(FOLDER / "x.npy")
    for name in ("x.lb", "lent.lb"):  # of which the first begins with two means, the second with bits that were lent
        np.testing.assert_array_equal(lowerbound.decompress(FOLDER / name, kept), rows)
    lowerbound.compress(kept, rows, tmp_path / "x.lb")
    assert but_for_the_version(tmp_path / "x.lb") == but_for_the_version(FOLDER / "lent.lb")


def test_sequences(tmp_path):
    folder = FOLDER / "sequences"
    model, songs = lowerbound.load(folder / "model"), Sequences.load(folder / "x.npz", "x")
    same(list(lowerbound.decompress(folder / "x.lb", model)), list(songs))
    model.compress(songs, tmp_path / "x.lb")
    assert but_for_the_version(tmp_path / "x.lb") == but_for_the_version(folder / "x.lb")


def test_texts(tmp_path):
    folder = FOLDER / "texts"
    model = lowerbound.load(folder / "model")
    assert lowerbound.decompress(folder / "x.lb", model) == TEXT
    (tmp_path / "x.txt").write_bytes(TEXT)
    model.compress(tmp_path / "x.txt", tmp_path / "x.lb")
    assert but_for_the_version(tmp_path / "x.lb") == but_for_the_version(folder / "x.lb")


def test_rows_that_begin_with_a_coarse_grid(tmp_path):
    folder = FOLDER.with_name("compressed-v2")
    model, rows = lowerbound.load(folder / "model"), np.load(folder / "x.npy")
    np.testing.assert_array_equal(lowerbound.decompress(folder / "x.lb", model), rows)
    model.compress(rows, tmp_path / "x.lb")
    assert (tmp_path / "x.lb").read_bytes() == (folder / "x.lb").read_bytes()
