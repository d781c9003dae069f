"""What the features of a data set are in numbers, found in one pass over blocks of rows and merged.

A missing value (NaN) counts nowhere. Whatever the number of rows, memory holds one block and a few numbers a feature.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeVar

import numpy as np

from lowerbound.data.gaps import nan_in_gaps
from lowerbound.data.sources import Source

BLOCK_VALUES = 2**22  # looked at together: a comparison of an array in memory needs little more


@dataclass(frozen=True)
class Extent:
    """Which values the features of some rows take; every array has the shape of a row.

    Attributes
    ----------
    low, high : ndarray
        The lowest and the highest, in the type of the data; NaN where none is observed.
    binary, whole : ndarray of bool
        Every value is 0 or 1; every value is a whole number.
    """

    low: np.ndarray
    high: np.ndarray
    binary: np.ndarray
    whole: np.ndarray

    @classmethod
    def of(cls, block: np.ndarray) -> Extent:
        """That of one block, shape (n, *row)."""
        binary = (block == 0) | (block == 1)
        if block.dtype.kind != "f":
            return cls(block.min(0), block.max(0), binary.all(0), np.ones(block.shape[1:], bool))
        missing = np.isnan(block)
        whole = ((block == np.floor(block)) | missing).all(0)
        return cls(np.fmin.reduce(block), np.fmax.reduce(block), (binary | missing).all(0), whole)

    def __add__(self, other: Extent) -> Extent:
        """That of both."""
        low, high = np.fmin(self.low, other.low), np.fmax(self.high, other.high)
        return Extent(low, high, self.binary & other.binary, self.whole & other.whole)

    @property
    def lowest(self) -> Any:
        """Of all features."""
        return np.fmin.reduce(self.low, axis=None)

    @property
    def highest(self) -> Any:
        """Of all features."""
        return np.fmax.reduce(self.high, axis=None)


@dataclass(frozen=True)
class Statistics:
    """The features of some rows; every array has the shape of a row.

    Attributes
    ----------
    n_rows : int
    extent : Extent
    count : ndarray of int64
        Observed values.
    total, m2 : ndarray of float64
        Σ x and Σ (x − mean)² over them.
    """

    n_rows: int
    extent: Extent
    count: np.ndarray
    total: np.ndarray
    m2: np.ndarray

    @classmethod
    def of(cls, block: np.ndarray) -> Statistics:
        """Those of one block, shape (n, *row)."""
        missing = np.isnan(block) if block.dtype.kind == "f" else np.zeros((), bool)
        observed: Any = ~missing if missing.any() else True  # True takes the plain sums
        count = np.full(block.shape[1:], len(block)) if observed is True else observed.sum(0)
        total = block.sum(0, dtype=np.float64, where=observed)
        m2 = np.square(block - total / np.maximum(count, 1)).sum(0, where=observed)
        return cls(len(block), Extent.of(block), count, total, m2)

    def __add__(self, other: Statistics) -> Statistics:
        """Those of both (Chan, Golub & LeVeque, 1979, eq. 2.1)."""
        count = self.count + other.count
        shift = np.where((self.count > 0) & (other.count > 0), other.mean - self.mean, 0.0)
        # Σ(x − m)² = Σ_a(x − m_a)² + Σ_b(x − m_b)² + (m_b − m_a)² n_a n_b / n
        m2 = self.m2 + other.m2 + shift**2 * self.count * (other.count / np.maximum(count, 1))
        return Statistics(
            self.n_rows + other.n_rows, self.extent + other.extent, count, self.total + other.total, m2
        )  # fmt: skip

    @property
    def mean(self) -> np.ndarray:
        """Of the observed values; 0 where there is none."""
        return self.total / np.maximum(self.count, 1)

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation (divisor n) of the observed values; 0 where there is none."""
        return np.sqrt(self.m2 / np.maximum(self.count, 1))


Seen = TypeVar("Seen", Extent, Statistics)


def measure(of: Callable[[np.ndarray], Seen], blocks: Iterable[np.ndarray]) -> Seen:
    """``Extent.of`` or ``Statistics.of`` all blocks together; each has at least one row and is looked at once."""
    return reduce(lambda seen, more: seen + more, map(of, blocks))


def row_blocks(X: np.ndarray | Source) -> Iterator[np.ndarray]:
    """An array cut along its rows, as views; a source as it is read.

    Where there are gaps, blocks are copies that have NaN there.
    """
    if isinstance(X, Source):
        for rows in X:
            yield from row_blocks(X.as_array(rows))
        return
    step = max(1, BLOCK_VALUES // max(1, math.prod(X.shape[1:])))
    yield from (nan_in_gaps(X[i : i + step]) for i in range(0, len(X), step))
