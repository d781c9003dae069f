"""Tables with named columns: what they share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lowerbound.data.dataset import (
    DataError,
    Dataset,
    check_finite,
    check_labels,
    check_name,
    counted,
    listed,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

STRAY = 0.9  # part of a column's values that are numbers, above which text among them is a mistake

Place = Callable[[int], str]  # turns the number of a row into words


def select(columns: Sequence[str], drop: Sequence[str], label: str | None, name: str) -> list[str]:
    """Name the columns that are data: neither dropped nor the label.

    Parameters
    ----------
    columns : Sequence[str]
        What there is.
    drop, label : Sequence[str], str | None
        What to leave out.
    name : str
        What to call the table in messages.

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
    frame: pd.DataFrame, name: str, features: list[str], label: str | None, place: Place, mixed: bool = False
) -> Dataset:
    """Turn a table into numbers and labels, refusing text and infinite values.

    Parameters
    ----------
    frame : pd.DataFrame
        The table as it was parsed.
    name : str
        What to call it in messages.
    features, label : list[str], str | None
        The columns that are data, and the column that is the label.
    place : Callable[[int], str]
        Turns the number of a row into words, such as ``line 7``.
    mixed : bool
        Text and dates stay, unless a column has few among numbers.

    Returns
    -------
    Dataset
        A frame of numeric and boolean columns.
    """
    import pandas as pd

    others = {c: other for c in features if mixed and (other := _text_or_dates(frame[c])) is not None}
    x = pd.DataFrame({c: others[c] if c in others else _numbers(frame[c]) for c in features})
    _check_text(frame, x.drop(columns=list(others)), name, place)
    _check_finite(x, name, place)
    return Dataset(x, None if label is None else _labels(frame.pop(label), name, place), name)


def _numbers(column: Any) -> pd.Series:
    """Give the numbers of a column, with NaN in the place of text."""
    import pandas as pd

    is_number = column.dtype.kind in "biuf"
    return column if is_number else pd.Series(pd.to_numeric(column.astype(object), errors="coerce"))


def _text_or_dates(column: Any) -> Any:
    """The column, if it is text, categories or dates: hardly any of its values are numbers."""
    import pandas as pd

    if column.dtype.kind in "biuf" or not column.notna().any():
        return None
    if column.dtype.kind == "M" or isinstance(column.dtype, (pd.CategoricalDtype, pd.DatetimeTZDtype)):
        return column
    share = _numbers(column).notna().sum() / column.notna().sum()
    if share > STRAY:
        return None
    first = str(column.dropna().iloc[0])
    if re.match(r"\d{4}-\d\d-\d\d", first):
        dates = pd.to_datetime(column, errors="coerce", format="ISO8601")
        return column if (dates.isna() & column.notna()).any() else dates
    return column


def _check_text(frame: pd.DataFrame, numbers: pd.DataFrame, name: str, place: Place) -> None:
    """Refuse text, telling the first value and every column that has some."""
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
    """Refuse infinite values, telling every column that has some."""
    bad = [c for c in x if x[c].dtype.kind == "f" and np.isinf(x[c].to_numpy()).any()]
    if bad:
        where = f" (columns with such values: {listed(bad)})" if len(bad) > 1 else ""
        check_finite(x[bad].to_numpy(), name, lambda row, i: f"{place(row)}, column '{bad[i]}'{where}")


def _labels(column: pd.Series, name: str, place: Place) -> np.ndarray:
    """Give a column as labels: numbers as they are, anything else as text."""
    missing = np.flatnonzero(column.isna())
    if missing.size:
        raise DataError(
            f"{name}, column '{column.name}': {counted(missing.size, 'missing label')}, the first at "
            f"{place(int(missing[0]))}; fill them or drop those rows."
        )
    labels = column.to_numpy() if column.dtype.kind in "biuf" else column.astype(str).to_numpy(dtype=str)
    return check_labels(labels, len(column), f"{name}, column '{column.name}',")


def check_type(kind: pa.DataType, column: str, may_be_date: bool, name: str) -> None:
    """Refuse the columns of a `.parquet` file that are neither numbers nor text, nor dates where these may be."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    plain = (types.is_boolean, types.is_integer, types.is_floating, types.is_decimal, types.is_null)
    text = (types.is_string, types.is_large_string, types.is_string_view)
    if any(test(kind) for test in (*plain, *text)) or (may_be_date and types.is_temporal(kind)):
        return
    what = "dates or times" if types.is_temporal(kind) else "values"
    raise DataError(f"{name}, column '{column}' holds {what} of type {kind}; drop it or turn it into numbers.")
