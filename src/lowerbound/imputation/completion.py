"""Completed tables: entries of the matrix in the gaps of the user's table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lowerbound.data.filling import with_values
from lowerbound.data.table_code import Column, TableCode, missing
from lowerbound.imputation.gaussians import stream


def completed(code: TableCode, table: Any, Z: np.ndarray, expected: np.ndarray | None = None, seed: int = 0) -> Any:
    """A copy of the table with its gaps filled from a matrix of expectations, or of draws.

    Parameters
    ----------
    code : TableCode
    table : ndarray or DataFrame, shape (n, columns)
    Z : ndarray, shape (n, width)
        Without gaps.
    expected : ndarray, shape (n, width), optional
        The mean of Z, if Z is drawn.
    seed : int
        For rare categories, which have no name: a draw from the named ones.
    """
    gaps, filled = missing(table), table.copy()
    for j, column in enumerate(code.columns):
        rows = np.flatnonzero(gaps[:, j])
        if not len(rows) or (column.kind == "category" and not column.categories):
            continue  # no gap, or a column without any value in fit
        if column.kind == "category" and expected is not None:
            values = _drawn_categories(code, Z[rows], expected[rows], column, stream(seed, f"levels {j}"))
        else:
            values = column.decode(Z[rows, column.places])
        _put(filled, j, rows, values)
    return filled


def with_numbers(code: TableCode, table: Any, filled: Any, v: np.ndarray) -> Any:
    """The filled table with other numbers, or days since 1970, in the gaps of its columns of numbers and dates.

    Parameters
    ----------
    code : TableCode
    table : ndarray or DataFrame, shape (n, columns)
        With its gaps.
    filled : ndarray or DataFrame, shape (n, columns)
    v : ndarray, shape (n, columns)
    """
    gaps, filled = missing(table), filled.copy()
    for j, column in enumerate(code.columns):
        rows = np.flatnonzero(gaps[:, j])
        if len(rows) and column.kind != "category":
            _put(filled, j, rows, column.of_numbers(v[rows, j]))
    return filled


def _put(table: Any, j: int, rows: np.ndarray, values: np.ndarray) -> None:
    """Write values into some rows of a column."""
    if isinstance(table, pd.DataFrame):
        table.isetitem(j, with_values(table.iloc[:, j], rows, values))
    else:
        table[rows, j] = values


def _drawn_categories(
    code: TableCode, Z: np.ndarray, expected: np.ndarray, column: Column, rng: np.random.Generator
) -> np.ndarray:
    """The drawn categories; a rare one is replaced by a draw from the named ones."""
    indicators = Z[:, column.places] * column.spread + column.mean
    is_named = (indicators[:, : len(column.categories)] > 0.5).any(1, keepdims=True)
    p = np.where(is_named, code.probabilities(Z, column), code.probabilities(expected, column))
    place = (rng.random((len(Z), 1)) > p.cumsum(1)).sum(1).clip(max=len(column.categories) - 1)
    return np.asarray(column.categories, object)[place]
