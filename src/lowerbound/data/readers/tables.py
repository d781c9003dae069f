"""Checks and conversions shared by the readers of tables with named columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from lowerbound.data.checks import DataError, check_finite, check_labels, check_name, counted, listed
from lowerbound.data.sources import Dataset

if TYPE_CHECKING:
    from typing import Self

    import pandas as pd
    import pyarrow as pa

STRAY = 0.9  # part of a column's values that are numbers, above which text among them is a mistake

Place = Callable[[int], str]  # turns the number of a row into words


def select(columns: Sequence[str], drop: Sequence[str], label: str | None, name: str) -> list[str]:
    """Return the names of the columns that are data: neither dropped nor the label.

    Parameters
    ----------
    columns : Sequence[str]
        All columns.
    drop, label : Sequence[str], str | None
        The columns to leave out.
    name : str
        The table's name in messages.

    Returns
    -------
    list[str]
        At least one name, in the order of the table.
    """
    repeated = [column for column, count in Counter(columns).items() if count > 1]
    if repeated:
        raise DataError(f"{name} has more than one column named '{repeated[0]}'; give each column its own name.")
    left_out = [drop] if isinstance(drop, str) else list(drop)
    left_out += [] if label is None else [label]
    for column in left_out:
        check_name(column, columns, "column", name)
    features = [column for column in columns if column not in left_out]
    if not features:
        raise DataError(f"{name} has no columns left once {listed(left_out) or 'none'} are taken out; keep one.")
    return features


def to_dataset(
    frame: pd.DataFrame, name: str, features: list[str], label: str | None, place: Place,
    wordings: Mapping[str, Wording] = MappingProxyType({}),
) -> Dataset:  # fmt: skip
    """Turn a table into numbers and labels, refusing text and infinite values.

    Parameters
    ----------
    frame : pd.DataFrame
        The table as it was parsed.
    name : str
        The table's name in messages.
    features, label : list[str], str | None
        The columns that are data, and the column that is the label.
    place : Callable[[int], str]
        Turns the number of a row into words, such as ``line 7``.
    wordings : mapping of str to Wording, optional
        The types of columns of text, categories and dates; other columns have to be numbers.

    Returns
    -------
    Dataset
        A frame of numeric and boolean columns.
    """
    import pandas as pd

    wordings = {c: wordings[c] for c in features if c in wordings}
    x = pd.DataFrame({c: wordings[c].read(frame[c]) if c in wordings else _numbers(frame[c]) for c in features})
    _check_text(frame, x.drop(columns=[c for c in wordings if not wordings[c].are_numbers]), name, place)
    _check_finite(x, name, place)
    return Dataset(x, None if label is None else _labels(frame.pop(label), name, place), name)


def _numbers(column: Any) -> pd.Series:
    """Return the numbers of a column, with NaN in place of text."""
    import pandas as pd

    is_number = column.dtype.kind in "biuf"
    return column if is_number else pd.Series(pd.to_numeric(column.astype(object), errors="coerce"))


class Wording:
    """The type of a column that isn't stored as numbers, found from its values, a block of rows at a time."""

    def __init__(self) -> None:
        self.n: int
        self.n_numbers: int
        self.n = self.n_numbers = 0
        self.are_booleans = True  # all values so far
        self.are_dates: bool | None = None  # not known before the first value
        self.number_dtypes: set[np.dtype] = set()
        self.zones: set[Any] = set()  # of dates; None where they name none
        self.units: set[str] = set()

    @property
    def are_numbers(self) -> bool:
        """True if nearly all values are numbers, so that text among them is a mistake, or there is no value."""
        return self.n_numbers > STRAY * self.n or not self.n

    def add(self, column: Any) -> Self:
        """Add the values of more rows."""
        import pandas as pd

        if isinstance(column.dtype, (pd.CategoricalDtype, pd.DatetimeTZDtype)) or column.dtype.kind in "Mm":
            self.n += int(column.notna().sum())
            self.are_dates = self.are_booleans = False  # as it is
            return self
        numbers: Any = _numbers(column)
        self.number_dtypes.add(numbers.dtype)
        seen = column.dropna()
        self.are_booleans &= not len(seen) or pd.api.types.infer_dtype(seen) == "boolean"
        self.n, self.n_numbers = self.n + len(seen), self.n_numbers + int(numbers.notna().sum())
        if self.are_dates is None and len(seen):
            self.are_dates = bool(re.match(r"\d{4}-\d\d-\d\d", str(seen.iloc[0])))
        if self.are_dates and len(seen):
            dates = _dates(seen)
            self.are_dates = not dates.isna().any()
            self.zones.add(dates.dt.tz)
            self.units.add(dates.dt.unit)
        return self

    def read(self, column: Any) -> Any:
        """Convert a column to the type that fits all its rows."""
        if self.are_booleans and self.n:
            return column.astype("boolean")
        if self.are_numbers:
            return _numbers(column).astype(np.result_type(*(self.number_dtypes or {np.float64})))
        if not self.are_dates:
            return column
        dates = _dates(column, utc=self.zones != {None})
        if self.zones != {None}:
            dates = dates.dt.tz_convert(next(iter(self.zones)) if len(self.zones) == 1 else "UTC")
        return dates.dt.as_unit(max(self.units, key=("s", "ms", "us", "ns").index))


def wordings_of(
    frame: pd.DataFrame, columns: Sequence[str], wordings: dict[str, Wording] | None = None
) -> dict[str, Wording]:
    """The types of the columns that aren't stored as numbers, from these rows and those in ``wordings``."""
    wordings = wordings or {name: Wording() for name in columns if frame[name].dtype.kind not in "biuf"}
    return {name: wording.add(frame[name]) for name, wording in wordings.items()}


def _dates(column: Any, *, utc: bool = False) -> pd.Series:
    """Parse ISO 8601 text as dates, with NaT in place of other text, and in UTC if there are several time zones."""
    import pandas as pd

    try:
        return pd.to_datetime(column, errors="coerce", format="ISO8601", utc=utc)
    except ValueError:  # more than one time zone
        return _dates(column, utc=True)


def _check_text(frame: pd.DataFrame, numbers: pd.DataFrame, name: str, place: Place) -> None:
    """Refuse text, naming the first value and every column that has some."""
    suspects = [column for column in numbers if frame[column].dtype.kind not in "biuf"]
    text = {column: np.flatnonzero(numbers[column].isna() & frame[column].notna()) for column in suspects}
    text = {column: rows[0] for column, rows in text.items() if rows.size}
    if text:
        (column, row), *others = text.items()
        value = repr(str(frame[column].iloc[row])[:40])
        also = f" There is text in {counted(len(others), 'other column')}: {listed([c for c, _ in others])}."
        raise DataError(
            f"{name}, {place(int(row))}, column '{column}': {value} is text, not a number; drop the column, "
            f"make it the label or turn it into numbers.{also if others else ''}"
        )


def _check_finite(x: pd.DataFrame, name: str, place: Place) -> None:
    """Refuse infinite values, naming every column that has some."""
    bad = [c for c in x if x[c].dtype.kind == "f" and np.isinf(x[c].to_numpy()).any()]
    if bad:
        where = f" (columns with such values: {listed(bad)})" if len(bad) > 1 else ""
        check_finite(x[bad].to_numpy(), name, lambda row, i: f"{place(row)}, column '{bad[i]}'{where}")


def _labels(column: pd.Series, name: str, place: Place) -> np.ndarray:
    """Return a column as labels: numbers as they are, anything else as text."""
    missing = np.flatnonzero(column.isna())
    if missing.size:
        raise DataError(
            f"{name}, column '{column.name}': {counted(missing.size, 'missing label')}, the first at "
            f"{place(int(missing[0]))}; fill them or drop those rows."
        )
    labels = column.to_numpy() if column.dtype.kind in "biuf" else column.astype(str).to_numpy(dtype=str)
    return check_labels(labels, len(column), f"{name}, column '{column.name}',")


def check_type(kind: pa.DataType, column: str, may_be_date: bool, name: str) -> None:
    """Refuse columns of a `.parquet` file that are neither numbers nor text nor, if allowed, dates."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    plain = (types.is_boolean, types.is_integer, types.is_floating, types.is_decimal, types.is_null)
    text = (types.is_string, types.is_large_string, types.is_string_view)
    if any(test(kind) for test in (*plain, *text)) or (may_be_date and types.is_temporal(kind)):
        return
    what = "dates or times" if types.is_temporal(kind) else "values"
    raise DataError(f"{name}, column '{column}' holds {what} of type {kind}; drop it or turn it into numbers.")
