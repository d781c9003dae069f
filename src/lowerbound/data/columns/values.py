"""The values of a column as numbers, and numbers as values of its type.

A type is named by a word that JSON holds: what pandas calls it, or the class of the objects in it. Dates are numbers in
days since 1970 in universal time, durations and times of day in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lowerbound.data.integers import whole

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

OBJECTS = {  # classes of the values of a column of objects, by what pandas infers
    "date": "datetime.date", "datetime": "datetime.datetime", "timedelta": "datetime.timedelta",
    "time": "datetime.time", "decimal": "Decimal",
}  # fmt: skip
MEASURES = {  # how the words of types begin
    "duration": ("datetime.timedelta", "timedelta64", "duration["),
    "time": ("datetime.time", "time32", "time64"),
    "date": ("datetime.date", "datetime64", "timestamp[", "date32", "date64", "period["),
    "number": ("Decimal", "decimal"),
}
SECONDS_A_DAY = 86_400


def type_word(column: Any) -> str:
    """The word for the type of a series or an array."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        kind = column.dtype.categories.dtype
        plain = pd.api.types.is_string_dtype(kind) or pd.api.types.is_numeric_dtype(kind)
        return "category" if plain else f"category[{kind}]"
    if column.dtype != object:
        return str(column.dtype)
    return OBJECTS.get(pd.api.types.infer_dtype(column, skipna=True), "object")


@lru_cache(1024)
def measure_of(word: str) -> str:
    """The measure of a type: "number", "date", "duration", "time" (of day), or "category" for what has none."""
    import pandas as pd

    for measure, starts in MEASURES.items():
        if word.startswith(starts):
            return measure
    if word in ("object", "str") or word.startswith("category"):
        return "category"
    dtype = dtype_of(word)
    return "number" if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype) else "category"


@lru_cache(1024)
def dtype_of(word: str) -> Any:
    """The type of pandas that a word names; of objects for the classes of objects."""
    import pandas as pd

    if word in OBJECTS.values():
        return np.dtype(object)
    if word.endswith("[pyarrow]"):
        return pd.ArrowDtype(_arrow_type(word.removesuffix("[pyarrow]")))
    if found := re.fullmatch(r"Sparse\[(\w+), (.+)\]", word):
        return pd.SparseDtype(found[1], {"True": True, "False": False}.get(found[2]) or _number(found[2]))
    return pd.api.types.pandas_dtype(word)


def _number(text: str) -> float:
    return int(text) if text.lstrip("-").isdigit() else float(text)


def _arrow_type(word: str) -> pa.DataType:
    """The type of Arrow that ``str(type)`` names."""
    import pandas as pd
    import pyarrow as pa

    if found := re.fullmatch(r"dictionary<values=(.+), indices=(\w+), ordered=(\d)>", word):
        return pa.dictionary(_arrow_type(found[2]), _arrow_type(found[1]), found[3] == "1")
    if found := re.fullmatch(r"decimal(\d+)\((\d+), (-?\d+)\)", word):
        return getattr(pa, f"decimal{found[1]}")(int(found[2]), int(found[3]))
    if word == "string":  # pandas takes "string[pyarrow]" for a type of its own
        return pa.string()
    dtype: Any = pd.api.types.pandas_dtype(f"{word}[pyarrow]")
    return dtype.pyarrow_dtype


def missing(column: Any) -> np.ndarray:
    """True where a column has no value, shape (n,); also at NaN in types that have missing values besides."""
    import pandas as pd

    gaps = np.asarray(pd.isna(column))
    if pd.api.types.is_float_dtype(column.dtype) and not isinstance(column.dtype, np.dtype):
        gaps = gaps | np.isnan(column.to_numpy(np.float64, na_value=np.nan))
    return gaps


def as_numbers(column: Any, word: str) -> np.ndarray:
    """The values of a column as the numbers of a measured type, shape (n,); NaN where they are missing, or are none.

    Parameters
    ----------
    column : Series or ndarray
        May be of another type with the same measure, or text of such values.
    word : str
        The type.
    """
    import pandas as pd

    values: Any = column if isinstance(column, pd.Series) else pd.Series(column)
    if isinstance(values.dtype, pd.ArrowDtype) and not pd.api.types.is_numeric_dtype(values.dtype):
        values = values.astype(object)
    measure = measure_of(word)
    if measure == "date":
        return days(values.dt.to_timestamp() if isinstance(values.dtype, pd.PeriodDtype) else values)
    if measure == "duration":
        return _seconds(pd.to_timedelta(values))
    if measure == "time":
        return _seconds(pd.to_timedelta(values.astype(object).where(values.notna(), None).astype("str")))
    if not pd.api.types.is_numeric_dtype(values.dtype):
        values = pd.to_numeric(values.astype(object).where(values.notna(), np.nan), errors="coerce")
    return values.to_numpy(np.float64, na_value=np.nan)


def days(column: Any) -> np.ndarray:
    """Days since 1970, in universal time; NaN for NaT."""
    import pandas as pd

    stamps = pd.to_datetime(column, utc=True).dt.tz_localize(None).to_numpy()
    return _in_units(stamps, np.timedelta64(1, "D"))


def _seconds(column: Any) -> np.ndarray:
    return _in_units(column.to_numpy(), np.timedelta64(1, "s"))


def _in_units(values: np.ndarray, unit: np.timedelta64) -> np.ndarray:
    """Dates or durations of any resolution in a unit, without the range that nanoseconds have."""
    resolution = np.timedelta64(1, np.datetime_data(values.dtype)[0])
    return np.where(np.isnat(values), np.nan, values.astype(np.int64) / (unit / resolution))


def as_values(v: np.ndarray, word: str, decimals: int | None = None) -> pd.Series:
    """Numbers as values of a measured type, rounded to what it can hold; the inverse of ``as_numbers``.

    Parameters
    ----------
    v : ndarray of float64, shape (n,)
    word : str
        The type.
    decimals : int, optional
        To which numbers are rounded; dates are whole days if 0, else whole seconds.
    """
    import pandas as pd

    measure = measure_of(word)
    if measure == "date":
        return _dates(v, word, whole=decimals == 0)
    v = v if decimals is None else np.round(v, decimals)
    if measure in ("duration", "time"):
        return _durations(v, word)
    dtype = dtype_of(word)
    if word == "Decimal" or word.startswith("decimal"):
        places = dtype.pyarrow_dtype.scale if word != "Decimal" else 6 if decimals is None else decimals
        return pd.Series([None if np.isnan(x) else Decimal(f"{x:.{places}f}") for x in v.tolist()], dtype=dtype)
    if pd.api.types.is_integer_dtype(dtype):
        known = pd.Series(whole(v, dtype)).astype(dtype)
        return known.mask(np.isnan(v)) if np.isnan(v).any() else known
    return pd.Series(_nulls(v) if isinstance(dtype, pd.ArrowDtype) else v).astype(dtype)


def as_categories(texts: Sequence[Any], word: str) -> Any:
    """Categories as JSON holds them in the type ``category[…]`` of a word; unchanged for "category"."""
    import pandas as pd

    word = word.removeprefix("category").strip("[]") if word.startswith("category[") else "object"
    word = word + "]" if word.count("[") > word.count("]") else word
    if measure_of(word) != "category":
        return pd.Index(as_values(as_numbers(pd.Series(texts), word), word))
    if not word.startswith("interval["):
        return pd.Index(texts)
    kind = dtype_of(word)
    ends = [re.fullmatch(r"[\[(](.+), (.+)[\])]", text) for text in texts]
    left, right = (
        as_values(as_numbers([end[k] for end in ends if end], str(kind.subtype)), str(kind.subtype)) for k in (1, 2)
    )
    return pd.IntervalIndex.from_arrays(left, right, closed=kind.closed)


def _dates(v: np.ndarray, word: str, *, whole: bool) -> pd.Series:
    import pandas as pd

    unit = "D" if whole else "s"
    stamps = _units(v if whole else v * SECONDS_A_DAY).astype(f"datetime64[{unit}]")
    if word in ("datetime.date", "datetime.datetime"):
        return _objects(stamps.astype("datetime64[D]" if word == "datetime.date" else "datetime64[us]"))
    dates = pd.Series(stamps)
    if word.startswith("period["):
        return dates.dt.to_period(dtype_of(word).freq)
    if not word.endswith("[pyarrow]"):
        return dates.dt.tz_localize("UTC").astype(word) if "," in word else dates.astype(word)
    return _of_arrow(stamps.astype("datetime64[s]"), word)


def _durations(v: np.ndarray, word: str) -> pd.Series:
    import pandas as pd

    if measure_of(word) == "time":
        v = np.clip(v, 0, SECONDS_A_DAY - 1e-6)
    steps = _units(v * 1e6).astype("timedelta64[us]")
    if word in ("datetime.timedelta", "datetime.time"):
        return _objects(steps if word == "datetime.timedelta" else steps.astype("datetime64[us]"), word)
    return _of_arrow(steps, word) if word.endswith("[pyarrow]") else pd.Series(steps).astype(word)


def _units(v: np.ndarray) -> np.ndarray:
    """The nearest whole numbers, with the number that stands for NaT where there is none."""
    return np.where(np.isnan(v), np.iinfo(np.int64).min, np.rint(np.nan_to_num(v))).astype(np.int64)


def _objects(values: np.ndarray, word: str = "") -> pd.Series:
    """Dates and durations as objects of Python, None where they are missing."""
    import pandas as pd

    objects = values.astype(object)
    if word == "datetime.time":
        objects = np.array([None if stamp is None else stamp.time() for stamp in objects], object)
    return pd.Series(objects, dtype=object)


def _of_arrow(values: np.ndarray, word: str) -> pd.Series:
    """Dates and durations of numpy in a type of Arrow."""
    import pandas as pd
    import pyarrow as pa

    kind = dtype_of(word).pyarrow_dtype
    array = pa.array(values)
    if pa.types.is_time(kind):
        array = array.cast(pa.int64()).cast(pa.time64("us"))
    return pd.Series(pd.array(array.cast(kind, safe=False), dtype=pd.ArrowDtype(kind)))


def _nulls(v: np.ndarray) -> Any:
    """NaN as missing values of Arrow."""
    import pandas as pd

    return pd.array(v, dtype="Float64")
