"""Counts of a column's values and moments of its numbers, block by block in memory that doesn't grow with the rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass
class Tally:
    """Counts of the ``most`` most frequent numbers (Misra & Gries, 1982).

    They are exact if there are at most ``most`` distinct numbers, else at most ``n/most`` too low.

    Attributes
    ----------
    values, counts : ndarray, shape (k,)
        Ascending values, and their counts.
    is_complete : bool
        All values are still counted.
    """

    most: int
    values: np.ndarray
    counts: np.ndarray
    is_complete: bool = True

    @classmethod
    def empty(cls, most: int) -> Tally:
        """The tally of no values."""
        return cls(most, np.zeros(0), np.zeros(0, np.int64))

    def add(self, v: np.ndarray) -> None:
        """Count more numbers, shape (n,)."""
        values, counts = np.unique(v, return_counts=True)
        if len(self.values):
            both, place = np.unique(np.concatenate([self.values, values]), return_inverse=True)
            # sums of whole numbers below 2⁵³ are exact in float64
            counts = np.bincount(place, np.concatenate([self.counts, counts])).astype(np.int64)
            values = both
        if len(values) > self.most:  # merged summaries keep the bound (Agarwal et al., 2012, theorem 2)
            counts = counts - np.partition(counts, -self.most - 1)[-self.most - 1]
            values, counts = values[counts > 0], counts[counts > 0]
            self.is_complete = False
        self.values, self.counts = values, counts

    def standing_out(self, n: int, share: float, fewest: int, times: float) -> float | None:
        """The value that makes up at least a share of all ``n`` and is ``times`` as frequent as any other, or None.

        It occurs at least ``fewest`` times.
        """
        if not len(self.counts):
            return None
        most = int(self.counts.argmax())
        others = np.delete(self.counts, most)
        least = max(share * n, fewest, times * others.max() if len(others) else 0)
        return float(self.values[most]) if self.counts[most] >= least else None


@dataclass(frozen=True)
class Moments:
    """Moments of some numbers: their count, minimum, mean, and Σ (v − mean)^p for p = 2, 3, 4."""

    n: int = 0
    low: float = math.inf
    mean: float = 0.0
    m2: float = 0.0
    m3: float = 0.0
    m4: float = 0.0

    @classmethod
    def of(cls, v: np.ndarray) -> Moments:
        """The moments of one block, shape (n,)."""
        if not len(v):
            return cls()
        mean = float(v.mean())
        d = v - mean
        d2 = d * d
        return cls(len(v), float(v.min()), mean, float(d2.sum()), float((d2 * d).sum()), float((d2 * d2).sum()))

    def __add__(self, other: Moments) -> Moments:
        """The moments of both sets of numbers (Pébay, 2008, SAND2008-6212)."""
        if not self.n or not other.n:
            return self if self.n else other
        a, b, n = self.n, other.n, self.n + other.n
        d = other.mean - self.mean
        m2 = self.m2 + other.m2 + d**2 * a * b / n
        m3 = self.m3 + other.m3 + d**3 * a * b * (a - b) / n**2 + 3 * d * (a * other.m2 - b * self.m2) / n
        m4 = (
            self.m4 + other.m4 + d**4 * a * b * (a * a - a * b + b * b) / n**3
            + 6 * d**2 * (a * a * other.m2 + b * b * self.m2) / n**2 + 4 * d * (a * other.m3 - b * self.m3) / n
        )  # fmt: skip
        return Moments(n, min(self.low, other.low), self.mean + d * b / n, m2, m3, m4)

    @cached_property
    def spread(self) -> float:
        """Standard deviation (divisor n)."""
        return math.sqrt(self.m2 / self.n) if self.n else 0.0

    @property
    def skewness(self) -> float:
        """Skewness; 0 for a constant."""
        return self.m3 / self.n / (self.spread or 1.0) ** 3

    @property
    def kurtosis(self) -> float:
        """Excess kurtosis."""
        return self.m4 / self.n / (self.spread or 1.0) ** 4 - 3
