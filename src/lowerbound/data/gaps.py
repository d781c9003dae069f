"""What was not observed: NaN, None or NA in the user's data, a masked array inside.

An array without gaps stays the plain array that it is. With gaps it is a ``numpy.ma.MaskedArray`` with zeros beneath
the mask, so that the type of bytes and levels stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def without_na(X: Any) -> Any:
    """The user's array or frame with NaN in place of None and NA, where there are Python objects."""
    if hasattr(X, "dtypes") and hasattr(X, "columns"):
        objects = [column for column, dtype in X.dtypes.items() if dtype.kind == "O"]
        return X.assign(**{c: X[c].where(X[c].notna(), np.nan) for c in objects}) if objects else X
    if isinstance(X, np.ndarray) and X.dtype.kind == "O":
        import pandas as pd

        return np.where(pd.isna(X), np.nan, X)
    return X


def mask_gaps(X: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Mask what is NaN, and what the user's own mask (True where nothing was observed) says.

    Parameters
    ----------
    X : ndarray, shape (n, *row)
    mask : ndarray of bool, shape (n, *row), optional

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


def nan_in_gaps(X: np.ndarray) -> np.ndarray:
    """Real numbers with NaN where nothing was observed; an array without gaps itself."""
    if not isinstance(X, np.ma.MaskedArray):
        return X
    return np.ma.filled(X.astype(X.dtype if X.dtype.kind == "f" else np.float64), np.nan)
