"""The way between a frame whose columns are of several kinds and the model's numbers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lowerbound.data.checks import DataError, listed
from lowerbound.data.columns.decimals import as_stored
from lowerbound.data.columns.schema import ColumnSchema, plain
from lowerbound.data.columns.tails import log_part
from lowerbound.data.columns.values import as_categories, as_numbers, as_values, dtype_of, measure_of, missing
from lowerbound.distributions import atoms, unseen
from lowerbound.warning import warn

if TYPE_CHECKING:
    import pandas as pd


class UnseenCategoryWarning(UserWarning):
    """New rows have values that the model has no place for: they have the probability of a value never seen."""


@contextmanager
def warned_once() -> Iterator[None]:
    """Give each warning once, where several models warn of the same rows."""
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            yield
    finally:
        for warning in {str(w.message): w for w in caught}.values():
            warn(warning.message, warning.category)


def encode(frame: pd.DataFrame, columns: Sequence[ColumnSchema]) -> np.ndarray:
    """A frame as the model's numbers, shape (n, F), NaN where nothing was observed.

    A value that no row of the fit had, and that the column has no other place for, is coded as never seen
    (``distributions.unseen``); a warning names its column.
    """
    coded, unseen = encode_quietly(frame, columns)
    warn_of_unseen(unseen)
    return coded


def encode_quietly(frame: pd.DataFrame, columns: Sequence[ColumnSchema]) -> tuple[np.ndarray, list[str]]:
    """``encode`` without a warning; also returns the columns with values that were not seen in the fit."""
    coded, new = np.full((len(frame), len(columns)), np.nan), []
    for j, column in enumerate(columns):
        values = frame.iloc[:, j]
        coded[:, j] = _encode(values, column)
        never = np.isnan(coded[:, j]) & ~missing(values)
        if never.any():
            new.append(column.name)
            if column.unseen:
                coded[never, j] = _as_unseen(values[never], column)
    return coded, new


def _as_unseen(values: Any, column: ColumnSchema) -> np.ndarray:
    """Entries of x for values never seen."""
    are_numbers = not column.has_categories or (column.are_numbers and _are_measured(column))
    v = _numbers(values, column) if are_numbers else np.full(len(values), np.nan)
    return unseen.coded(log_part(v, column))


def warn_of_unseen(names: Sequence[str]) -> None:
    """Warn of the columns with values that were not seen in the fit."""
    if names:
        message = f"values that were not seen in fit have the probability of a value never seen, in {listed(names)}"
        warn(UnseenCategoryWarning(message))


def _encode(values: Any, column: ColumnSchema) -> np.ndarray:
    """A column as the model's numbers, NaN where nothing was observed."""
    if column.has_categories:
        return _category_places(values, column)
    v = _numbers(values, column)
    if column.kind == "count":
        _check_whole(v, column)
    return in_units(v, column)


def _category_places(values: Any, column: ColumnSchema) -> np.ndarray:
    """The indices of the values among the column's categories, NaN for values that aren't one of them."""
    import pandas as pd

    place = _places(column.categories)
    if _are_measured(column):
        values = pd.Series(_numbers(values, column))
    which, distinct = pd.factorize(values)  # −1 where a value is missing
    return np.array([*(place.get(plain(category), np.nan) for category in distinct), np.nan])[which]


def _are_measured(column: ColumnSchema) -> bool:
    """True if categories are numbers, and the user's values are compared with them as numbers."""
    is_measured = column.kind == "ordinal" or measure_of(column.dtype) != "category"
    return is_measured and all(isinstance(category, int | float) for category in column.categories)


def _numbers(values: Any, column: ColumnSchema) -> np.ndarray:
    """The column's values as numbers, NaN where they are missing; text and infinite values are refused."""
    numbers = as_numbers(values, column.dtype if measure_of(column.dtype) != "category" else "float64")
    wrong = ~np.isfinite(numbers) & ~missing(values)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        what = "infinite" if np.isinf(numbers[row]) else "no number, and the model was fitted to numbers"
        raise DataError(
            f"column {column.name!r}, row {row}: {str(values.iloc[row])[:40]!r} is {what}; "
            f"replace it, or leave it empty."
        )
    return numbers


def _check_whole(v: np.ndarray, column: ColumnSchema) -> None:
    """Refuse fractions, which have probability 0 among counts."""
    wrong = ~np.isnan(v) & (v != np.round(v))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"column {column.name!r}, row {row}: {v[row]:.15g} is no whole number, and the model was fitted to counts; "
            f"round it, or fit with columns={{{column.name!r}: 'continuous'}}."
        )


def in_units(v: np.ndarray, column: ColumnSchema) -> np.ndarray:
    """(g(v) − location)/unit, NaN where g is not defined; atoms by their places."""
    known, x = np.array(column.atoms), _standardized(v, column)
    x = np.where(atoms.is_atom(x.astype(np.float32)), x.round() + 0.25, x)  # a number that only looks like one
    if not len(known):
        return x
    v = as_stored(v, column.dtype)
    k = np.minimum(np.searchsorted(known, v), len(known) - 1)
    return np.where(known[k] == v, atoms.FIRST - k, x)


def _standardized(v: np.ndarray, column: ColumnSchema) -> np.ndarray:
    if column.quantiles:
        return (np.interp(v, column.quantiles, column.scores) - column.location) / column.unit
    with np.errstate(divide="ignore", invalid="ignore"):
        g = np.where(v + column.shift > 0, np.log(v + column.shift), np.nan) if column.log else v
    return (g - column.location) / column.unit


def standardized_atoms(column: ColumnSchema) -> np.ndarray:
    """The atoms on the scale of the other numbers, 0 where that has no place for one, shape (M,)."""
    return np.nan_to_num(_standardized(np.array(column.atoms), column))


def numbers_of_atoms(columns: Sequence[ColumnSchema], places: Sequence[int]) -> np.ndarray:
    """Standardized values of the atoms of the columns at ``places`` that have several, NaN for others, (k, M)."""
    several = [standardized_atoms(columns[j]) if columns and len(columns[j].atoms) > 1 else [] for j in places]
    numbers = np.full((len(several), max([1, *map(len, several)])), np.nan)
    for row, each in zip(numbers, several, strict=True):
        row[: len(each)] = each
    return numbers


@lru_cache(256)
def _places(categories: tuple[Any, ...]) -> dict[str, Any]:
    return {category: i for i, category in enumerate(categories)}


def decode(x: np.ndarray, columns: Sequence[ColumnSchema], *, expected: bool) -> pd.DataFrame:
    """The model's numbers (n, F) as a frame with the user's columns, types and categories.

    Values never seen, which x doesn't hold, come back as one that was.

    Parameters
    ----------
    x : ndarray, shape (n, F)
    columns : sequence of ColumnSchema
    expected : bool
        x holds means: numbers are not rounded, and categories that are numbers may lie between two.
    """
    import pandas as pd

    x = np.where(unseen.is_unseen(x), 0.0, x)
    series = {column.name: _decode(x[:, j], column, expected) for j, column in enumerate(columns)}
    return pd.DataFrame(series)


def _decode(x: np.ndarray, column: ColumnSchema, expected: bool) -> Any:
    import pandas as pd

    if column.has_categories:
        if column.are_numbers and expected:
            v = np.interp(x, np.arange(len(column.categories)), np.array(column.categories, np.float64))
            return _expected(v, column)
        categories = np.array([*column.categories, None], dtype=object)[:-1]
        chosen = pd.Series(categories[x.round().astype(np.int64)], dtype=object)
        return as_user(chosen, column)
    is_atom = atoms.is_atom(x)
    g = np.where(is_atom, 0.0, x) * column.unit + column.location
    v = np.clip(_from_scale(g, column), column.low, column.high)
    if not column.atoms:
        return _expected(v, column) if expected else as_values(v, column.dtype, column.decimals)
    if not expected and column.decimals is not None:
        v = np.round(v, column.decimals)
    known = np.array(column.atoms)
    v = np.where(is_atom, known[atoms.place_of(x).astype(np.int64)], v)
    are_written_alike = column.decimals is not None and np.array_equal(known, np.round(known, column.decimals))
    decimals = column.decimals if are_written_alike else None
    return _expected(v, column) if expected else as_values(v, column.dtype, decimals)


def _from_scale(g: np.ndarray, column: ColumnSchema) -> np.ndarray:
    """The numbers v of g(v)."""
    if column.quantiles:
        return np.interp(g, column.scores, column.quantiles)
    return np.exp(np.minimum(g, 700)) - column.shift if column.log else g


def _expected(v: np.ndarray, column: ColumnSchema) -> pd.Series:
    """Expectations: of numbers they are not rounded."""
    import pandas as pd

    is_number = measure_of(column.dtype) in ("number", "category")
    return pd.Series(v) if is_number else as_values(v, column.dtype, column.decimals if column.kind == "date" else None)


def as_user(values: pd.Series, column: ColumnSchema) -> Any:
    """Categories in the user's type; unchanged if that type can't hold missing values."""
    import pandas as pd

    if column.categories == (None,):
        return pd.Series(np.full(len(values), np.nan))
    if column.dtype.startswith("category"):
        places = pd.Index(column.categories).get_indexer(values)
        categories = as_categories(column.categories, column.dtype)
        return pd.Series(pd.Categorical.from_codes(places, categories, ordered=column.kind == "ordinal"))
    if measure_of(column.dtype) != "category":
        return as_values(as_numbers(values, column.dtype), column.dtype, column.decimals)
    return values.astype(dtype_of(column.dtype))
