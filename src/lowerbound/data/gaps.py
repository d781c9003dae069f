"""Missing entries: NaN, None or NA in the user's data, a masked array inside.

An array without gaps stays a plain array. An array with gaps is a ``numpy.ma.MaskedArray`` with zeros beneath the mask,
so that bytes and categories keep their type.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from lowerbound.data.checks import in_array

if TYPE_CHECKING:
    import pandas as pd


def without_na(X: Any) -> Any:
    """The user's array or frame with NaN in place of None and NA in object arrays and columns."""
    if hasattr(X, "dtypes") and hasattr(X, "columns"):
        objects = [column for column, dtype in X.dtypes.items() if dtype.kind == "O"]
        if objects:
            X = X.copy(deep=False)  # names of columns need not be words
            X[objects] = X[objects].where(X[objects].notna(), np.nan)
        return X
    if isinstance(X, np.ndarray) and X.dtype.kind == "O":
        import pandas as pd

        return np.where(pd.isna(X), np.nan, X)
    return X


@contextmanager
def naming_words(X: Any) -> Iterator[None]:
    """Name the entry of X (n, columns) that is text, in errors of its conversion to numbers.

    Raises
    ------
    ValueError
        The original error, or one that names the entry.
    """
    try:
        yield
    except ValueError:
        import pandas as pd

        is_frame = isinstance(X, pd.DataFrame)
        table: Any = X if is_frame else np.asarray(X, object)
        for j in range(table.shape[1] if table.ndim == 2 else 0):
            values = table.iloc[:, j] if is_frame else pd.Series(table[:, j])
            if len(rows := _words(values)):
                where = f"row {rows[0]}, column {str(X.columns[j])!r}" if is_frame else in_array(rows[0], j)
                what = f"{values.iloc[rows[0]]!r} at {where}"
                raise ValueError(f"X has text in a column of numbers: {what}; give a number, or NaN") from None
        raise


def _words(values: pd.Series) -> np.ndarray:
    """The rows whose values can't be read as numbers."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values.dtype):
        return np.zeros(0, int)
    numbers: Any = pd.to_numeric(values, errors="coerce")
    return np.flatnonzero(numbers.isna() & values.notna())


def mask_gaps(X: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Mask the entries that are NaN or masked by the user.

    Parameters
    ----------
    X : ndarray, shape (n, *row)
    mask : ndarray of bool, shape (n, *row), optional
        True where nothing was observed.

    Returns
    -------
    ndarray
        ``X`` itself where there are no gaps.
    """
    gaps = np.isnan(X) if X.dtype.kind == "f" else np.zeros((), bool)
    gaps = gaps if mask is None else gaps | mask
    return np.ma.masked_array(np.where(gaps, np.zeros((), X.dtype), X), gaps) if gaps.any() else X


def gaps_of(X: np.ndarray) -> np.ndarray | None:
    """True where nothing was observed, shape (n, *row); None where there are no gaps."""
    return np.ma.getmaskarray(X) if isinstance(X, np.ma.MaskedArray) else None


def nan_in_gaps(X: Any) -> Any:
    """A masked array as a plain one with NaN where nothing was observed, for which numbers become floats.

    Whatever else, and the values of a masked array without gaps, are returned as they are.
    """
    if not isinstance(X, np.ma.MaskedArray):
        return X
    if not np.ma.getmaskarray(X).any():
        return X.data
    dtype = {"f": X.dtype, "O": X.dtype, "U": object, "S": object}.get(X.dtype.kind, np.float64)
    return np.ma.filled(X.astype(dtype), np.nan)
