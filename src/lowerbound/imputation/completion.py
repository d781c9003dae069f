"""Completed tables: entries of the matrix, summaries of draws and ends of intervals in the gaps of the user's table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple
from typing import Any

import numpy as np
import pandas as pd

from lowerbound.data.filling import some_rows, table_numbers, with_values
from lowerbound.data.table_code import TableCode, column_numbers, columns_of, missing
from lowerbound.imputation.gaussians import stream
from lowerbound.imputation.summaries import Intervals, intervals, median, mode

DRAWS = 400  # for a summary
DRAWN_ENTRIES = 2**24  # in memory at a time


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
            values = code.draw_categories(Z[rows], expected[rows], column, stream(seed, f"levels {j}"))
        else:
            values = column.decode(Z[rows, column.places])
        _put(filled, j, rows, values)
    return filled


def with_summaries(imputer: Any, table: Any, filled: Any) -> Any:
    """The filled table with medians or modes of numbers and dates, as the imputer's ``fill`` says.

    Parameters
    ----------
    imputer : VAEImputer
    table : ndarray or DataFrame, shape (n, columns)
        With its gaps.
    filled : ndarray or DataFrame, shape (n, columns)
    """
    summary = {"median": median, "mode": mode}[imputer.fill]
    v = np.concatenate([summary(drawn) for drawn in _drawn_numbers(imputer, table, imputer.seed_)])
    gaps, filled = missing(table), filled.copy()
    for j, column in enumerate(imputer._code.columns):
        rows = np.flatnonzero(gaps[:, j])
        if len(rows) and column.kind != "category":
            _put(filled, j, rows, column.of_numbers(v[rows, j]))
    return filled


def gap_intervals(imputer: Any, table: Any, level: float, seed: int) -> Intervals:
    """Intervals of the gaps' numbers, days and seconds; observed ones are their own, and categories have none.

    Parameters
    ----------
    imputer : VAEImputer
    table : ndarray or DataFrame, shape (n, columns)
    level : float
        The probability of the intervals.
    seed : int
        Of the draws.
    """
    parts = [intervals(drawn, level) for drawn in _drawn_numbers(imputer, table, seed)]
    low, high, at_ends = (np.concatenate(part) for part in zip(*map(astuple, parts), strict=True))
    gaps, measured = missing(table), [column.kind != "category" for column in imputer._code.columns]
    known = np.where(measured, np.stack([column_numbers(values) for values in columns_of(table)], 1), np.nan)
    low, high = (np.where(gaps & measured, end, known) for end in (low, high))
    return Intervals(low, high, at_ends)


def _drawn_numbers(imputer: Any, table: Any, seed: int) -> Iterator[np.ndarray]:
    """Draws for the gaps as numbers, a part (DRAWS, n, columns) of the rows at a time; NaN for categories."""
    size = max(1, DRAWN_ENTRIES // (DRAWS * max(1, imputer._code.width)))
    for first in range(0, len(table), size):
        part = some_rows(table, first, first + size)
        given = imputer._given(part)
        if imputer.estimator is not None:
            rows = imputer._filler.drawn_rows(given, DRAWS, seed)
            yield table_numbers(rows, DRAWS * len(part)).reshape(DRAWS, len(part), -1)
        else:
            draws = imputer._filler.draws(given, DRAWS, seed)
            yield np.stack([column.numbers(draws[..., column.places]) for column in imputer._code.columns], -1)


def _put(table: Any, j: int, rows: np.ndarray, values: Any) -> None:
    """Write values into some rows of a column."""
    if isinstance(table, pd.DataFrame):
        table.isetitem(j, with_values(table.iloc[:, j], rows, values))
    else:
        table[rows, j] = values
