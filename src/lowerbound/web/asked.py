"""The fields of a request, checked: what isn't what it should be is refused with a sentence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lowerbound.web.refusals import Unanswerable

MOST_ROWS_ASKED = 100_000  # of a selection
FARTHEST_CODE = 1e4


def codes(body: dict[str, Any], latent_dim: int, most: int = 64) -> np.ndarray:
    """``z``, codes of shape (n, D)."""
    value = body.get("z")
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        raise Unanswerable(f"z must be a list of 1 to {most} codes")
    for code in value:
        if not isinstance(code, list) or len(code) != latent_dim or not all(map(_is_finite, code)):
            raise Unanswerable(f"a code is a list of {latent_dim} numbers")
    return np.clip(np.array(value, np.float64), -FARTHEST_CODE, FARTHEST_CODE)


def row_numbers(body: dict[str, Any], n_rows: int, most: int = 2000) -> np.ndarray:
    """``rows``, the numbers of some rows."""
    value = body.get("rows")
    if not isinstance(value, list) or len(value) > most:
        raise Unanswerable(f"rows must be a list of at most {most} row numbers")
    if not all(type(row) is int and 0 <= row < n_rows for row in value):
        raise Unanswerable(f"rows are counted from 0 to {n_rows - 1}")
    return np.array(value, np.int64)


def whole(body: dict[str, Any], name: str, low: int, high: int, default: int) -> int:
    """A whole number."""
    value = body.get(name, default)
    if type(value) is not int or not low <= value <= high:
        raise Unanswerable(f"{name} must be a whole number from {low} to {high}")
    return value


def flag(body: dict[str, Any], name: str) -> bool:
    """True or false."""
    value = body.get(name, False)
    if type(value) is not bool:
        raise Unanswerable(f"{name} must be true or false")
    return value


def dimensions(body: dict[str, Any], latent_dim: int) -> list[int] | str:
    """``dimensions``, one or two latent variables, or "pca"."""
    value = body.get("dimensions")
    if value == "pca" and latent_dim > 1:
        return "pca"
    if not isinstance(value, list) or len(value) != min(2, latent_dim):
        raise Unanswerable("dimensions must be two latent variables, or pca")
    if not all(type(each) is int and 0 <= each < latent_dim for each in value):
        raise Unanswerable(f"latent variables are counted from 0 to {latent_dim - 1}")
    return value


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
