"""Compressed files that earlier versions wrote, with other versions of libraries: they give the same rows, and are
written the same."""

from pathlib import Path

import numpy as np
from tests.compression.test_sequences import same
from tests.fixtures.make_compressed import TEXT

import lowerbound
from lowerbound import Sequences

FOLDER = Path(__file__).parents[1] / "fixtures" / "compressed-v1"


def test_rows(tmp_path):
    kept = lowerbound.load(FOLDER / "model")
    rows = np.load(FOLDER / "x.npy")
    for name in ("x.lb", "lent.lb"):  # of which the first begins with two means, the second with bits that were lent
        np.testing.assert_array_equal(lowerbound.decompress(FOLDER / name, kept), rows)
    lowerbound.compress(kept, rows, tmp_path / "x.lb")
    assert (tmp_path / "x.lb").read_bytes() == (FOLDER / "lent.lb").read_bytes()


def test_sequences(tmp_path):
    folder = FOLDER / "sequences"
    model, songs = lowerbound.load(folder / "model"), Sequences.load(folder / "x.npz", "x")
    same(list(lowerbound.decompress(folder / "x.lb", model)), list(songs))
    model.compress(songs, tmp_path / "x.lb")
    assert (tmp_path / "x.lb").read_bytes() == (folder / "x.lb").read_bytes()


def test_texts(tmp_path):
    folder = FOLDER / "texts"
    model = lowerbound.load(folder / "model")
    assert lowerbound.decompress(folder / "x.lb", model) == TEXT
    (tmp_path / "x.txt").write_bytes(TEXT)
    model.compress(tmp_path / "x.txt", tmp_path / "x.lb")
    assert (tmp_path / "x.lb").read_bytes() == (folder / "x.lb").read_bytes()
