"""Grey values binarized once, with noise for each row: the same in memory and from files, in any parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lowerbound.data.sources import Dataset, Source

BLOCK = 256  # rows that share a generator


def binarize(X: np.ndarray, grey_levels: int, dtype: str, seed: int, first_row: int = 0) -> np.ndarray:
    """Replace every grey value x by ``grey_levels``, with probability x/grey_levels, or by 0.

    Parameters
    ----------
    X : ndarray, shape (n, *row)
        NaN where a value is missing, which stays.
    grey_levels : int
        The grey value that stands for 1.
    dtype : str
        Type of the result, if no value is missing.
    seed : int
    first_row : int
        The place of the first row in all of the data, if X is a part of them.
    """
    one = np.empty(X.shape, bool)
    stop = first_row + len(X)
    for block in range(first_row // BLOCK, -(-stop // BLOCK)):
        first, last = max(first_row, block * BLOCK), min(stop, (block + 1) * BLOCK)
        noise = np.random.default_rng([seed, block]).random((BLOCK, *X.shape[1:]), np.float32)
        rows = slice(first - first_row, last - first_row)
        one[rows] = noise[first - block * BLOCK : last - block * BLOCK] * grey_levels < X[rows]
    drawn = (one * grey_levels).astype(dtype)
    gaps = np.isnan(X) if X.dtype.kind == "f" else np.zeros((), bool)
    return np.where(gaps, np.nan, drawn) if gaps.any() else drawn


class BinarizedRows(Source):
    """The rows of a source after ``binarize``.

    Parameters
    ----------
    source : Source
    grey_levels, dtype, seed
        As for ``binarize``.
    """

    def __init__(self, source: Source, grey_levels: int, dtype: str, seed: int) -> None:
        super().__init__(source.name, source.shape, np.result_type(source.dtype, dtype))
        self.source: Source
        self.how: tuple[int, str, int]
        self.source, self.how = source, (grey_levels, dtype, seed)
        self.files: Sequence[Path] = source.files
        self.runs: np.ndarray | None
        self.runs_at_once: int
        self.runs, self.runs_at_once = source.runs, source.runs_at_once

    def read(self, ranges: np.ndarray) -> Dataset:
        """Read and binarize rows; the draws for a row depend on its place alone."""
        rows = self.source.read(ranges)
        X, lengths = self.source.as_array(rows.X), np.diff(ranges)[:, 0]
        parts = np.split(X, np.cumsum(lengths)[:-1])
        drawn = [binarize(part, *self.how, first) for part, first in zip(parts, ranges[:, 0].tolist(), strict=True)]
        return Dataset(np.concatenate(drawn), rows.labels, rows.source)


def binarized(X: Any, grey_levels: int, dtype: str, seed: int) -> Any:
    """An array, a frame or a source after ``binarize``."""
    if isinstance(X, Source):
        return BinarizedRows(X, grey_levels, dtype, seed)
    drawn = binarize(np.asarray(X), grey_levels, dtype, seed)
    return type(X)(drawn, columns=X.columns, index=X.index) if hasattr(X, "columns") else drawn
