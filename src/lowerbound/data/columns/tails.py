"""Probabilities of values that no row of the fit had, and the law of numbers among these."""

from __future__ import annotations

import math

import numpy as np

from lowerbound.data.columns.schema import ColumnSchema

FINEST = 6  # decimals of numbers that are told apart, where the column has more


def never_seen(n_once: int, n: int) -> float:
    """The probability of a value that wasn't seen: (n₁ + ½)/(n + 1), with n₁ of n values seen once.

    If a row is left out, a part n₁/n of them has a value that the others haven't (Good, 1953); ½ is Jeffreys' prior.
    """
    return (n_once + 0.5) / (n + 1)


def log_tail(v: np.ndarray, column: ColumnSchema) -> np.ndarray:
    """The logarithm of the part that numbers never seen have in the probability of all of these, shape (n,).

    Where the levels of a column are numbers, the others have a Cauchy law in the middle of them whose quartiles are
    their ends, in steps of their decimals. Beyond the end of a logarithm or of counts they have one half of it, with
    the end as its middle, and reach of the range as its upper quartile.
    """
    if column.are_numbers:
        levels = np.array(column.categories, np.float64)
        step = 10.0 ** -(FINEST if column.decimals is None else column.decimals)
        middle, reach = 0.5 * (levels.min() + levels.max()), max(0.5 * np.ptp(levels), step)
        others = 1 - np.exp(_log_cell((levels - middle) / reach, step / reach)).sum()
        return _log_cell((v - middle) / reach, step / reach) - math.log(max(others, 1e-12))
    ends = [0.0 if end is None else end for end in (column.low, column.high)]
    reach = max(0.5 * (ends[1] - ends[0]), 1.0 if column.kind == "count" else 1e-6 * max(1e-300, abs(ends[1])))
    below = np.maximum(-column.shift - v, 0) / reach
    if column.kind == "count":
        return math.log(2) + _log_cell(below + 0.5 / reach, 1 / reach)
    return math.log(2 / (math.pi * reach)) - np.log1p(below * below)


def _log_cell(x: np.ndarray, width: float) -> np.ndarray:
    """log of the mass that a standard Cauchy law has within ± width/2 of x: (arctan(x + w/2) − arctan(x − w/2))/π."""
    return np.log(np.arctan2(width, 1 + x * x - 0.25 * width * width) / math.pi)
