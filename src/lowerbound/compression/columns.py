"""The values of one column as numbers in steps, and back in the user's type."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from lowerbound.compression.arrays import same
from lowerbound.compression.bits_back import NotCodableError
from lowerbound.data.columns.coding import as_user
from lowerbound.data.columns.schema import ColumnSchema
from lowerbound.data.columns.values import as_numbers, as_values, measure_of

if TYPE_CHECKING:
    import pandas as pd

MOST_DECIMALS = 12
ODD = 0.01  # share of values with more decimals than the column is said to have
PLAIN = ("int64", "float64", "str")  # types of columns
STEPS_A_DAY = (1, 24, 1440, 86_400, 86_400_000, 86_400_000_000)
MICROSECONDS_A_DAY = 86_400_000_000


def name_of(name: Any) -> int | str:
    """The name of a column as it comes back: a whole number, or else text."""
    return int(name) if isinstance(name, int | np.integer) else str(name)


def numbers_of(values: Any, column: ColumnSchema) -> np.ndarray:
    """The values as numbers, NaN where they are missing."""
    return as_numbers(values, column.dtype if measure_of(column.dtype) != "category" else "float64")


def resolution_of(v: np.ndarray, values: pd.Series, column: ColumnSchema, decimals: int | None) -> float:
    """Steps in one of the column's units: 1 for counts, those of a day for dates, 10ᵈ for d decimals.

    Raises
    ------
    NotCodableError
        If numbers have more decimals than can be told, and ``decimals`` isn't given.
    """
    if column.kind == "count":
        return 1.0
    known = v[np.isfinite(v)]
    if measure_of(column.dtype) == "date":
        return float(next((n for n in STEPS_A_DAY if _fit(known, n)), STEPS_A_DAY[-1]))
    single = str(values.dtype) == "float32"
    for d in range(MOST_DECIMALS + 1):
        if _fit(known, 10.0**d, single=single):
            return 10.0**d
    if decimals is not None:
        return 10.0**decimals
    raise NotCodableError(
        f"column {column.name!r} has real numbers of more than {MOST_DECIMALS} decimals: say to how many they were "
        "measured, with decimals=… (--decimals), or round them first"
    )


def _fit(v: np.ndarray, scale: float, *, single: bool = False) -> bool:
    """True if nearly all numbers are whole in these steps."""
    again = np.rint(v * scale) / scale
    equal = again.astype(np.float32) == v.astype(np.float32) if single else again == v
    return bool((~equal).sum() <= ODD * len(v))


def values_of(k: np.ndarray, column: ColumnSchema, scale: float, like: pd.Series) -> pd.Series:
    """Numbers in steps, or places of categories, in the type of ``like``."""
    import pandas as pd

    from lowerbound.data.columns.values import type_word

    if column.has_categories:
        categories = np.array([*column.categories, None], dtype=object)[:-1]
        found = as_user(pd.Series(categories[np.clip(k, 0, len(categories) - 1)], dtype=object), column)
    elif measure_of(column.dtype) == "date" and like.dtype != object and hasattr(like, "dt") and not _is_period(like):
        stamps = pd.Series((k * (MICROSECONDS_A_DAY // int(scale))).astype("datetime64[us]"))
        found = stamps.dt.tz_localize("UTC") if getattr(like.dtype, "tz", None) else stamps
    else:
        decimals = 0 if scale == 1 else round(np.log10(scale))
        word = column.dtype if like.dtype == object else type_word(like)
        found = as_values(k / scale, word, decimals)
    if isinstance(like.dtype, pd.CategoricalDtype):
        return pd.Series(pd.Categorical(pd.Series(found).astype(like.dtype.categories.dtype), dtype=like.dtype))
    try:
        return pd.Series(found).astype(like.dtype)
    except (TypeError, ValueError, OverflowError):
        return pd.Series(found)


def _is_period(values: pd.Series) -> bool:
    return str(values.dtype).startswith("period[")


def equal(a: pd.Series, b: pd.Series) -> np.ndarray:
    """True where two series have the same value, of the same type."""
    import pandas as pd

    if a.dtype != b.dtype:
        return np.zeros(len(a), bool)
    if isinstance(a.dtype, pd.CategoricalDtype):
        return a.cat.codes.to_numpy() == b.cat.codes.to_numpy()
    if a.dtype == object:
        return np.array([type(x) is type(y) and x == y for x, y in zip(a, b, strict=True)], bool)
    if isinstance(a.dtype, np.dtype):
        return same(a.to_numpy(), b.to_numpy())
    return (a.reset_index(drop=True) == b.reset_index(drop=True)).fillna(False).to_numpy(bool)


def to_bytes(frame: pd.DataFrame) -> bytes:
    """A frame: JSON, if it is one column of plain numbers or words, else Arrow's format."""
    import pyarrow as pa

    plain = _as_json(frame) if frame.shape[1] == 1 else None
    if plain is not None:
        return plain
    table, sink = pa.Table.from_pandas(frame, preserve_index=False), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def from_bytes(content: bytes) -> pd.DataFrame:
    """The inverse of ``to_bytes``."""
    import pandas as pd
    import pyarrow as pa

    if content[:1] == b"[":
        name, dtype, values = json.loads(content)
        return pd.DataFrame({name: pd.Series(values, dtype=dtype)})
    return pa.ipc.open_stream(content).read_all().to_pandas()


def _as_json(frame: pd.DataFrame) -> bytes | None:
    """The name, the type and the values of a column; None if they would come back otherwise."""
    name, column = frame.columns[0], frame.iloc[:, 0].reset_index(drop=True)
    if type(name) is not str or str(column.dtype) not in PLAIN:
        return None
    content = json.dumps([name, str(column.dtype), column.tolist()], separators=(",", ":"))
    return content.encode() if equal(from_bytes(content.encode()).iloc[:, 0], column).all() else None
