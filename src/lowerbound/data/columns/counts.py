"""Counts of a column's values and moments of its numbers, block by block in memory that doesn't grow with the rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

NEAREST = 32  # values on either side of one that tell how often it is met by chance
ROUNDS = 5


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

    def first_stands_out(self, least: float, times: float) -> bool:
        """True if the most frequent value is met at least so often, and so many times as often as any other."""
        *_, second, first = [0, 0, *np.sort(self.counts)[-2:].tolist()]
        return first >= max(least, times * second, 1)

    def standing_out(self, n: int, step: float) -> np.ndarray:
        """True for values that are met far more often than those around them explain, shape (k,).

        With λ numbers in a cell by what is around it, a value stands out if it is met more than 3λ + 5√λ + 4 times.
        Values that stand out are taken out, and what is left is looked at again, as they would hide each other.

        Parameters
        ----------
        n : int
            All numbers, of which some may not be counted.
        step : float
            The width of a cell, such as 0.01 for numbers with two decimals; 0 for numbers that are as fine as can be.
        """
        stand = np.zeros(len(self.values), bool)
        error = 0 if self.is_complete else n / self.most
        for _ in range(ROUNDS):
            rest = np.where(stand, 0, self.counts)
            above = _in_cells_after(self.values, rest, step)
            below = _in_cells_after(-self.values[::-1], rest[::-1], step)[::-1]
            around = np.maximum(above, below) + error
            more = self.counts > 3 * around + 5 * np.sqrt(around) + 4
            if (more <= stand).all():
                break
            stand |= more
        return stand


def _in_cells_after(values: np.ndarray, counts: np.ndarray, step: float) -> np.ndarray:
    """Numbers in a cell after each value, shape (k,): by the mean up to the 32nd next value, and nearby by medians.

    The highest of the mean and of the (lower) medians over the next 2, 4, 8 and 16 cells, most of which may be empty: a
    mean tells of cells that are rarely filled, a median nearby of steep slopes, and neither much of a single full cell.
    """
    most = np.zeros(len(values))
    if not step or len(values) < 2:
        return most
    after = np.arange(len(values))[:, None] + np.arange(1, NEAREST + 1)
    is_there = after < len(values)
    after = np.minimum(after, len(values) - 1)
    cells, numbers = np.rint((values[after] - values[:, None]) / step), np.where(is_there, counts[after], 0)
    most = numbers.sum(1) / np.maximum(cells[:, -1], 1)
    for width in (2, 4, 8, 16):
        within = np.where(cells[:, :width] <= width, numbers[:, :width], 0)
        most = np.maximum(most, np.sort(within, 1)[:, (width - 1) // 2])
    return most


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
