"""What is drawn for a grey value depends on its place alone, and has its probability."""

import numpy as np
import pytest

from lowerbound.data import binarized
from lowerbound.data.binarized import BinarizedRows, binarize
from lowerbound.data.sources import MappedArray

X = np.tile(np.array([0, 64, 128, 255], np.uint8), (1000, 2))


@pytest.mark.parametrize("places", [[0, 1], [255, 256, 257], [3, 700]])
def test_parts_are_those_of_the_whole(places):
    whole = binarize(X, 255, "uint8", 0)
    parts = np.split(X, places)
    drawn = [binarize(part, 255, "uint8", 0, first) for part, first in zip(parts, [0, *places], strict=True)]
    assert np.array_equal(np.concatenate(drawn), whole)
    source = BinarizedRows(MappedArray(X, "X"), 255, "uint8", 0)
    assert np.array_equal(
        source.read(np.array([[600, 900], [3, 4], [0, 256]])).X, whole[[*range(600, 900), 3, *range(256)]]
    )
    assert np.array_equal(np.concatenate(list(source)), whole)


def test_ones_have_their_probability():
    drawn = binarize(X, 255, "uint8", 0) / 255
    p = X[0] / 255
    assert np.all(np.abs(drawn.mean(0) - p) <= 4 * np.sqrt(p * (1 - p) / len(X)))
    assert abs(np.corrcoef(drawn[:, 1], drawn[:, 5])[0, 1]) < 4 / np.sqrt(len(X))
    first, second = drawn[: binarized.BLOCK, 1], drawn[binarized.BLOCK : 2 * binarized.BLOCK, 1]
    assert (first != second).any()
    assert (binarize(X, 255, "uint8", 1) / 255 != drawn).any()


def test_gaps_stay():
    grey = np.where(X == 64, np.nan, X / 255)
    drawn = binarize(grey, 1, "float64", 0)
    assert np.array_equal(np.isnan(drawn), np.isnan(grey))
    assert set(drawn[~np.isnan(drawn)]) == {0.0, 1.0}
