"""The decimals that numbers are written with, and the grid that they lie on."""

from __future__ import annotations

import numpy as np

FINEST = 6  # decimals
ODD = 1e-3  # part of the numbers that may have more decimals than draws are given
MOST_CELLS = 2**53


def has_decimals(v: np.ndarray, d: int) -> bool:
    """True if all numbers can be written with so many decimals."""
    return bool(_are_written(v, d).all())


def _are_written(v: np.ndarray, d: int) -> np.ndarray:
    return np.abs(np.round(v, d) - v) <= 1e-12 * np.abs(v)


def written_with(v: np.ndarray) -> np.ndarray:
    """How many of the numbers 0, 1, …, 6 decimals are enough for; of numbers that are mostly finer none, shape (7,)."""
    n_written = np.zeros(FINEST + 1, np.int64)
    for d in (FINEST, *range(FINEST)):
        n_written[d] = np.count_nonzero(_are_written(v, d))
        if d == FINEST and n_written[d] < 0.5 * len(v):
            break
    return n_written


def fewest_decimals(n_written: np.ndarray, n: int) -> int | None:
    """The fewest that nearly all of ``n`` numbers can be written with, None if these are more than 6."""
    enough = np.flatnonzero(n_written >= (1 - ODD) * n)
    return int(enough[0]) if len(enough) else None


def grid(values: np.ndarray, decimals: int | None) -> float:
    """The width of the cells that numbers lie on: their last decimal, or several of it; 0 if there is none."""
    if decimals is None or not len(values):
        return 0.0
    last = 10.0**-decimals
    cells = np.rint((values - values.min()) / last)
    return last * max(1, int(np.gcd.reduce(cells[cells < MOST_CELLS].astype(np.int64))))
