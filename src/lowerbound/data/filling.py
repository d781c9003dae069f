"""Tables whose gaps are filled: observed values are unchanged, and columns keep their types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lowerbound.data.columns.values import as_numbers, as_values, measure_of, type_word
from lowerbound.data.table_code import column_numbers, columns_of, missing


def gaps_as_nan(gaps: np.ndarray) -> np.ndarray:
    """The input of ``MissingIndicator``: NaN where there is a gap, else 0."""
    return np.where(gaps, np.nan, 0.0)


def table_numbers(rows: Any, n: int) -> np.ndarray:
    """Rows of any shape as a matrix of numbers (n, columns), dates as days, NaN in columns of categories."""
    if isinstance(rows, np.ndarray) and rows.dtype.kind in "fiub":
        return rows.reshape(n, -1).astype(np.float64)
    return np.stack([column_numbers(values) for values in columns_of(rows)], 1)


def with_gaps_from(table: Any, filled: Any) -> Any:
    """A copy of ``table`` whose gaps hold the values of ``filled``, a table of the same shape."""
    gaps, out = missing(table), table.copy()
    if not isinstance(table, pd.DataFrame):
        out[gaps] = np.asarray(filled).reshape(table.shape)[gaps]
        return out
    for j, values in enumerate(columns_of(filled)):
        rows = np.flatnonzero(gaps[:, j])
        if len(rows):
            out.isetitem(j, with_values(out.iloc[:, j], rows, pd.Series(values).iloc[rows]))
    return out


def like_table(table: pd.DataFrame, numbers: np.ndarray) -> pd.DataFrame:
    """Numbers (n, columns) as a frame with the table's index; dates and durations in columns of these."""
    filled = pd.DataFrame(numbers, index=table.index, columns=table.columns)
    for j, values in enumerate(columns_of(table)):
        word = type_word(values)
        if measure_of(word) not in ("number", "category"):
            gaps = np.flatnonzero(values.isna())
            filled.isetitem(j, with_values(values, gaps, as_values(numbers[gaps, j], word)))
    return filled


def some_columns(X: Any, places: np.ndarray) -> Any:
    """The columns at some places; X itself if these are all."""
    if len(places) == X.shape[1]:
        return X
    return X.iloc[:, places] if isinstance(X, pd.DataFrame) else X[:, places]


def some_rows(X: Any, first: int, last: int) -> Any:
    """The rows ``first`` to ``last`` − 1."""
    return X.iloc[first:last] if isinstance(X, pd.DataFrame) else X[first:last]


def with_values(column: pd.Series, rows: np.ndarray, values: Any) -> pd.Series:
    """A copy of the column with new values in some rows, of the same type: whole numbers, truth values and dates too.

    Categories that the column's type lacks are added to it.

    Parameters
    ----------
    column : Series, shape (n,)
    rows : ndarray of int, shape (k,)
    values : Series or ndarray, shape (k,)
        Of any type that measures the same.
    """
    values = values if isinstance(values, pd.Series) else pd.Series(np.asarray(values))
    if not column.notna().any() and column.dtype in (object, float) and measure_of(type_word(values)) != "number":
        column = pd.Series(index=column.index, dtype=values.dtype, name=column.name)  # a gap has no type
    if isinstance(column.dtype, pd.CategoricalDtype):
        values, column = _as_categories(values, column)
    else:
        values = _as_type(values, column)
    places = np.arange(len(column))
    places[rows] = len(column) + np.arange(len(rows))
    both = pd.concat([column, values], ignore_index=True)
    return both.take(places).set_axis(column.index).rename(column.name)


def _as_type(values: pd.Series, column: pd.Series) -> pd.Series:
    """Values in the type of a column."""
    word, dtype = type_word(column), column.dtype
    if measure_of(word) != "category":
        return as_values(as_numbers(values, word), word, _decimals(column, word))
    if dtype.kind == "O" and isinstance(dtype, np.dtype):
        return values.astype(object)
    if pd.api.types.is_bool_dtype(dtype):
        return pd.Series(values.to_numpy(np.float64) >= 0.5).astype(dtype)
    return pd.Series([str(value) for value in values], dtype=dtype)


def _decimals(column: pd.Series, word: str) -> int | None:
    """The decimals of observed values: 0 for whole days and whole seconds, those of ``Decimal``; else not limited."""
    seen = column.dropna()
    if measure_of(word) in ("date", "duration", "time"):
        v = as_numbers(seen, word)
        return 0 if len(v) and (v == np.rint(v)).all() else None
    return max((-value.as_tuple().exponent for value in seen), default=0) if word == "Decimal" else None


def _as_categories(values: pd.Series, column: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Values in the categories of a column, which the column gets where it lacks them."""
    named = {str(category): category for category in column.cat.categories}
    values = values.astype(object).map(lambda value: named.get(str(value), value))
    strange = pd.Index(values.dropna().unique()).difference(column.cat.categories, sort=False)
    column = column.cat.add_categories(strange)
    return values.astype(column.dtype), column
