"""Statistics of the features of a data set, found in one pass over blocks of rows and merged.

Missing values (NaN) are left out. Whatever the number of rows, memory holds one block and a few numbers a feature.
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

BLOCK_VALUES = 2**22  # processed together


@dataclass(frozen=True)
class Extent:
    """The range of the features of some rows; every array has the shape of a row.

    Attributes
    ----------
    low, high : ndarray
        The lowest and the highest value, in the type of the data; NaN where none is observed.
    binary, whole : ndarray of bool
        Every value is 0 or 1; every value is a whole number.
    """

    low: np.ndarray
    high: np.ndarray
    binary: np.ndarray
    whole: np.ndarray

    @classmethod
    def of(cls, block: np.ndarray) -> Extent:
        """The extent of one block, shape (n, *row)."""
        binary = (block == 0) | (block == 1)
        if block.dtype.kind != "f":
            return cls(block.min(0), block.max(0), binary.all(0), np.ones(block.shape[1:], bool))
        missing = np.isnan(block)
        whole = ((block == np.floor(block)) | missing).all(0)
        return cls(np.fmin.reduce(block), np.fmax.reduce(block), (binary | missing).all(0), whole)

    def __add__(self, other: Extent) -> Extent:
        """The extent of both blocks."""
        low, high = np.fmin(self.low, other.low), np.fmax(self.high, other.high)
        return Extent(low, high, self.binary & other.binary, self.whole & other.whole)

    @property
    def lowest(self) -> Any:
        """The lowest value of all features."""
        return np.fmin.reduce(self.low, axis=None)

    @property
    def highest(self) -> Any:
        """The highest value of all features."""
        return np.fmax.reduce(self.high, axis=None)


@dataclass(frozen=True)
class Statistics:
    """Counts and moments of the features of some rows; every array has the shape of a row.

    Attributes
    ----------
    n_rows : int
    extent : Extent
    count : ndarray of int64
        The number of observed values.
    total, m2 : ndarray of float64
        Σ x and Σ (x − mean)² over the observed values.
    """

    n_rows: int
    extent: Extent
    count: np.ndarray
    total: np.ndarray
    m2: np.ndarray

    @classmethod
    def of(cls, block: np.ndarray) -> Statistics:
        """The statistics of one block, shape (n, *row)."""
        missing = np.isnan(block) if block.dtype.kind == "f" else np.zeros((), bool)
        observed: Any = ~missing if missing.any() else True  # True takes the plain sums
        count = np.full(block.shape[1:], len(block)) if observed is True else observed.sum(0)
        total = block.sum(0, dtype=np.float64, where=observed)
        m2 = np.square(block - total / np.maximum(count, 1)).sum(0, where=observed)
        return cls(len(block), Extent.of(block), count, total, m2)

    def __add__(self, other: Statistics) -> Statistics:
        """The statistics of both blocks (Chan, Golub & LeVeque, 1979, eq. 2.1)."""
        count = self.count + other.count
        shift = np.where((self.count > 0) & (other.count > 0), other.mean - self.mean, 0.0)
        # Σ(x − m)² = Σ_a(x − m_a)² + Σ_b(x − m_b)² + (m_b − m_a)² n_a n_b / n
        m2 = self.m2 + other.m2 + shift**2 * self.count * (other.count / np.maximum(count, 1))
        return Statistics(
            self.n_rows + other.n_rows, self.extent + other.extent, count, self.total + other.total, m2
        )  # fmt: skip

    @property
    def mean(self) -> np.ndarray:
        """Mean of the observed values; 0 where there is none."""
        return self.total / np.maximum(self.count, 1)

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation (divisor n) of the observed values; 0 where there is none."""
        return np.sqrt(self.m2 / np.maximum(self.count, 1))


Seen = TypeVar("Seen", Extent, Statistics)


def measure(of: Callable[[np.ndarray], Seen], blocks: Iterable[np.ndarray]) -> Seen:
    """``Extent.of`` or ``Statistics.of`` all blocks together, in one pass; each block has at least one row."""
    return reduce(lambda seen, more: seen + more, map(of, blocks))


def row_blocks(X: np.ndarray | Source) -> Iterator[np.ndarray]:
    """Yield blocks of the rows of an array, as views, or of a source.

    Blocks with gaps are copies with NaN there.
    """
    if isinstance(X, Source):
        for rows in X:
            yield from row_blocks(X.as_array(rows))
        return
    step = max(1, BLOCK_VALUES // max(1, math.prod(X.shape[1:])))
    yield from (nan_in_gaps(X[i : i + step]) for i in range(0, len(X), step))
