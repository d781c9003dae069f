"""Real numbers in integer types, which have ends."""

from __future__ import annotations

from typing import Any

import numpy as np


def whole(values: np.ndarray, dtype: Any) -> np.ndarray:
    """The nearest whole numbers of an integer type; its ends for what lies beyond them.

    They are compared as integers: 2⁶³ − 1, the end of int64, is 2⁶³ as a float.

    Parameters
    ----------
    values : ndarray of float
    dtype : numpy or pandas dtype
        Pandas' nullable, sparse and Arrow types too.
    """
    import pandas as pd

    known: Any = pd.api.types.pandas_dtype(dtype)
    kind = np.dtype(next((getattr(known, name) for name in ("numpy_dtype", "subtype") if hasattr(known, name)), known))
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    rounded = np.rint(values)
    inside = (rounded > float(low)) & (rounded < float(high))
    ends = np.where(rounded > 0, np.array(high, kind), np.array(low, kind))
    return np.where(inside, np.where(inside, rounded, 0).astype(kind), ends)
