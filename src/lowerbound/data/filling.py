"""Tables whose gaps are filled: observed values are unchanged, and columns keep their types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lowerbound.data.integers import whole
from lowerbound.data.table_code import column_numbers, columns_of, dates, missing


def gaps_as_nan(gaps: np.ndarray) -> np.ndarray:
    """The input of ``MissingIndicator``: NaN where there is a gap, else 0."""
    return np.where(gaps, np.nan, 0.0)


def as_numbers(rows: Any, n: int) -> np.ndarray:
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
            out.isetitem(j, with_values(out.iloc[:, j], rows, np.asarray(values)[rows]))
    return out


def like_table(table: pd.DataFrame, numbers: np.ndarray) -> pd.DataFrame:
    """Numbers (n, columns) as a frame with the table's index, and dates in place of the days of its dates."""
    filled = pd.DataFrame(numbers, index=table.index, columns=table.columns)
    for j, values in enumerate(columns_of(table)):
        if pd.api.types.is_datetime64_any_dtype(values.dtype):
            gaps = np.flatnonzero(values.isna())
            filled.isetitem(j, with_values(values, gaps, dates(numbers[gaps, j])))
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
    """
    filled, dtype, values = column.copy(), column.dtype, np.asarray(values)
    if isinstance(dtype, pd.CategoricalDtype):
        strange = pd.Index(pd.unique(values[~pd.isna(values)])).difference(dtype.categories, sort=False)
        filled = filled.cat.add_categories(strange)
    elif pd.api.types.is_integer_dtype(dtype):
        values = pd.array(whole(values.astype(float), dtype), dtype=dtype)
    elif pd.api.types.is_bool_dtype(dtype):
        values = pd.array(values.astype(float) >= 0.5, dtype=dtype)
    elif pd.api.types.is_datetime64_any_dtype(dtype):
        values = pd.Series(pd.to_datetime(values)).astype(dtype)
        whole_days = (column.dropna().dt.normalize() == column.dropna()).all()
        values = (values.dt.round("D") if whole_days else values).to_numpy()
    elif isinstance(dtype, pd.StringDtype):
        values = pd.array([str(value) for value in values], dtype=dtype)
    elif dtype.kind == "f" and values.dtype.kind in "OM":  # a column of NaN alone that held words or dates in fit
        filled = filled.astype(values.dtype)
    elif dtype.kind != "O":
        values = pd.array(values.astype(float), dtype=dtype)
    filled.iloc[rows] = values
    return filled
