"""Probabilities of values that no row of the fit had, and the law of numbers among these."""

from __future__ import annotations

import math

import numpy as np

from lowerbound.data.columns.schema import ColumnSchema
from lowerbound.distributions.unseen import LARGEST as LARGEST_LOGARITHM

FINEST = 6  # decimals of numbers that are told apart, where the column has more
LARGEST = 1e150  # beyond, squares overflow


def never_seen(n_once: int, n: int) -> float:
    """The probability of a value that wasn't seen: (n₁ + ½)/(n + 1), with n₁ of n values seen once.

    If a row is left out, a part n₁/n of them has a value that the others haven't (Good, 1953); ½ is Jeffreys' prior.
    """
    return (n_once + 0.5) / (n + 1)


def log_part(v: np.ndarray, column: ColumnSchema) -> np.ndarray:
    """The logarithm of the part that values never seen have in the probability of all of these, shape (n,).

    None is more probable than the rarest category. Where the levels of a column are numbers, the others have a Cauchy
    law in the middle of them whose quartiles are their ends, in steps of their decimals. Beyond the end of a logarithm
    they have one half of such a law, with the end as its middle and half the range as its upper quartile.

    Parameters
    ----------
    v : ndarray, shape (n,)
        The values, if they are numbers; NaN if not.
    column : ColumnSchema
    """
    v = np.clip(v, -LARGEST, LARGEST)
    if not column.has_categories:
        return np.minimum(_beyond_the_end(v, column), LARGEST_LOGARITHM - 2)
    log_law = np.where(np.isnan(v), 0.0, _between_levels(v, column) if column.are_numbers else 0.0)
    return np.minimum(log_law, _log_rarest(column) - math.log(column.unseen))


def _log_rarest(column: ColumnSchema) -> float:
    """The logarithm of the probability of the rarest category, of all rows."""
    each = list(column.frequencies)
    if column.n_rare:
        each[-1] /= column.n_rare
    return math.log(min(each)) + math.log1p(-column.unseen)


def _between_levels(v: np.ndarray, column: ColumnSchema) -> np.ndarray:
    levels = np.clip(np.array(column.categories, np.float64), -LARGEST, LARGEST)
    step = 10.0 ** -next((d for d in range(FINEST) if np.allclose(np.round(levels, d), levels, 1e-6, 0)), FINEST)
    middle, reach = 0.5 * (levels.min() + levels.max()), max(0.5 * np.ptp(levels), step)
    others = 1 - np.exp(_log_cell((levels - middle) / reach, step / reach)).sum()
    return _log_cell((v - middle) / reach, step / reach) - math.log(max(others, 1e-12))


def _beyond_the_end(v: np.ndarray, column: ColumnSchema) -> np.ndarray:
    low, high = (0.0 if end is None else end for end in (column.low, column.high))
    reach = max(0.5 * (high - low), 1.0 if column.kind == "count" else 1e-6 * max(1e-300, abs(high)))
    below = np.maximum(-column.shift - v, 0) / reach
    if column.kind == "count":
        return math.log(2) + _log_cell(below + 0.5 / reach, 1 / reach)
    return math.log(2 / (math.pi * reach)) - np.log1p(below * below)


def _log_cell(x: np.ndarray, width: float) -> np.ndarray:
    """log of the mass that a standard Cauchy law has within ± width/2 of x: (arctan(x + w/2) − arctan(x − w/2))/π."""
    return np.log(np.arctan2(width, 1 + x * x - 0.25 * width * width) / math.pi)
