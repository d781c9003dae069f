"""Statistics of blocks, merged, are those of the whole."""

import numpy as np
import pytest

from lowerbound.data import statistics
from lowerbound.data.schema import infer_schema
from lowerbound.data.statistics import Extent, Statistics, measure, row_blocks

rng = np.random.default_rng(0)
CASES = {
    "real": 1e3 + rng.standard_normal((1000, 3)),
    "single": (7 + rng.standard_normal((1000, 2, 3))).astype(np.float32),
    "bytes": rng.integers(0, 256, (1000, 4, 3), np.uint8),
    "binary": rng.integers(0, 2, (1000, 5)).astype(bool),
    "whole": rng.integers(-9, 9, (1000, 2)),
}


def cut(X, *places):
    return np.split(X, places)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("places", [(), (500,), (1, 2, 3), (100, 101, 700, 999)])
def test_merged_blocks_are_the_whole(name, places):
    X = CASES[name]
    seen = measure(Statistics.of, cut(X, *places))
    assert seen.n_rows == 1000
    assert np.array_equal(seen.count, np.full(X.shape[1:], 1000))
    np.testing.assert_allclose(seen.mean, X.mean(0, dtype=np.float64), rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(seen.spread, X.std(0, dtype=np.float64), rtol=1e-12)
    assert np.array_equal(seen.extent.low, X.min(0))
    assert seen.extent.highest == X.max()
    assert seen.extent.low.dtype == X.dtype
    assert seen.extent.binary.all() == (name == "binary")
    assert seen.extent.whole.all() == (name not in ("real", "single"))


def test_one_block_gives_the_plain_formulas_to_the_last_bit():
    X = CASES["real"]
    seen = Statistics.of(X)
    mean = X.sum(0) / len(X)
    assert np.array_equal(seen.mean, mean)
    assert np.array_equal(seen.spread, np.sqrt(np.square(X - mean).sum(0) / len(X)))


@pytest.mark.parametrize("places", [(), (1,), (10, 20), (300, 600)])
def test_missing_values_count_nowhere(places):
    X = CASES["real"].copy()
    X[rng.random(X.shape) < 0.3] = np.nan
    X[:10, 0] = np.nan  # the first blocks see none of this feature
    X[:, 2] = np.nan
    with np.errstate(all="raise"):
        seen = measure(Statistics.of, cut(X, *places))
    assert np.array_equal(seen.count, (~np.isnan(X)).sum(0))
    np.testing.assert_allclose(seen.mean[:2], np.nanmean(X[:, :2], 0), rtol=1e-14)
    np.testing.assert_allclose(seen.spread[:2], np.nanstd(X[:, :2], 0), rtol=1e-12)
    np.testing.assert_array_equal(seen.extent.low[:2], np.nanmin(X[:, :2], 0))
    assert seen.count[2] == seen.mean[2] == seen.spread[2] == 0
    assert np.isnan(seen.extent.low[2])
    assert np.isnan(seen.extent.high[2])


def test_missing_values_leave_zeros_and_ones_what_they_are():
    X = np.array([[0, 2, 0.5], [np.nan, np.nan, 1], [1, 3, 1]])
    extent = measure(Extent.of, cut(X, 1, 2))
    assert extent.binary.tolist() == [True, False, False]
    assert extent.whole.tolist() == [True, True, False]
    assert (extent.lowest, extent.highest) == (0, 3)


def test_a_small_spread_beside_a_large_mean_survives_merging():
    X = 1e8 + rng.standard_normal((40_000, 1))
    seen = measure(Statistics.of, np.split(X, 400))
    np.testing.assert_allclose(seen.spread, X.std(0), rtol=1e-8)  # Σx² − (Σx)²/n would lose every digit


def test_blocks_cover_an_array_once(monkeypatch):
    monkeypatch.setattr(statistics, "BLOCK_VALUES", 100)
    X = CASES["real"]
    blocks = list(row_blocks(X))
    assert len(blocks) == 31  # of 33 rows
    assert np.array_equal(np.concatenate(blocks), X)
    assert all(np.shares_memory(block, X) for block in blocks)


@pytest.mark.parametrize(
    ("X", "asked"),
    [
        (CASES["real"], {}),
        (CASES["bytes"], {}),
        (CASES["bytes"], {"binarize": "sample"}),
        (CASES["bytes"][..., 0], {"binarize": "mean"}),
        (CASES["bytes"] % 5, {"likelihood": "categorical"}),
    ],
)
def test_the_schema_does_not_depend_on_the_blocks(X, asked, monkeypatch):
    whole = infer_schema(X, **asked)
    monkeypatch.setattr(statistics, "BLOCK_VALUES", 100)
    cut = infer_schema(X, **asked)
    assert cut.metadata() == whole.metadata()
    for name in whole.ARRAYS:
        np.testing.assert_allclose(getattr(cut, name), getattr(whole, name), rtol=1e-12)
