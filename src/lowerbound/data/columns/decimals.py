"""The decimals that numbers are written with, and the grid that they lie on."""

from __future__ import annotations

import numpy as np

FINEST = 6  # decimals
ODD = 1e-3  # part of the numbers that may have more decimals than draws are given
MOST_CELLS = 2**53
NARROW = {  # types of numbers with fewer digits than float64
    "float32": np.float32, "float[pyarrow]": np.float32, "float16": np.float16, "halffloat[pyarrow]": np.float16,
}  # fmt: skip


def as_stored(v: np.ndarray, word: str) -> np.ndarray:
    """The numbers in float64 that a column of a type holds, which rounds those of other types."""
    narrow = NARROW.get(word.lower())
    return v if narrow is None else v.astype(narrow).astype(np.float64)


def has_decimals(v: np.ndarray, d: int, word: str = "float64") -> bool:
    """True if all numbers can be written with so many decimals."""
    return bool(_are_written(v, d, word).all())


def _are_written(v: np.ndarray, d: int, word: str) -> np.ndarray:
    return np.abs(as_stored(np.round(v, d), word) - v) <= 1e-12 * np.abs(v)


def written_with(v: np.ndarray, word: str = "float64") -> np.ndarray:
    """Count the numbers that 0, 1, … decimals are enough for; of numbers that are mostly finer none, shape (7,)."""
    n_written = np.zeros(FINEST + 1, np.int64)
    for d in (FINEST, *range(FINEST)):
        n_written[d] = np.count_nonzero(_are_written(v, d, word))
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
