"""The index of the steps of sequences and the names of these, as bytes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from lowerbound.compression import columns
from lowerbound.data.sequences import Sequences

COLUMN = "values"


def index_of(sequences: Sequences) -> Any:
    """The index of the steps of frames, None if it is 0, 1, … in each sequence."""
    if not hasattr(sequences.steps, "index"):
        return None
    index, lengths = sequences.steps.index, sequences.lengths
    if index.name is None and index.dtype == np.int64:
        counted = np.arange(len(index)) - np.repeat(sequences.starts, lengths)
        return None if (index.to_numpy() == counted).all() else index
    return index


def to_bytes(index: Any, ids: np.ndarray | None) -> bytes:
    """The index of the steps, None for 0, 1, … in each sequence, and the names; empty if there are neither."""
    if index is None and ids is None:
        return b""
    parts = [b"" if index is None else _of_index(index), b"" if ids is None else _of_names(ids)]
    return len(parts[0]).to_bytes(8, "little") + b"".join(parts)


def from_bytes(content: bytes) -> tuple[Any, np.ndarray | None]:
    """The inverse of ``to_bytes``."""
    if not content:
        return None, None
    n = 8 + int.from_bytes(content[:8], "little")
    index, ids = content[8:n], content[n:]
    return _to_index(index) if index else None, _to_names(ids) if ids else None


def _of_index(index: Any) -> bytes:
    """Name and type, and of times and whole numbers the second differences, which are mostly 0."""
    import pandas as pd

    numbers = _numbers_of(index)
    values = columns.to_bytes(pd.DataFrame({COLUMN: index if numbers is None else index[:0]}))
    steps = b"" if numbers is None else np.diff(np.diff(numbers, prepend=0), prepend=0).astype("<i8").tobytes()
    return json.dumps([index.name, len(values)]).encode() + b"\n" + values + steps


def _to_index(content: bytes) -> Any:
    import pandas as pd

    about, _, content = content.partition(b"\n")
    name, n = json.loads(about)
    values, steps = columns.from_bytes(content[:n])[COLUMN], np.frombuffer(content[n:], "<i8").astype(np.int64)
    return pd.Index(_like(steps.cumsum().cumsum(), values.dtype) if len(steps) else values.array, name=name)


def _numbers_of(index: Any) -> np.ndarray | None:
    """Times and 64-bit whole numbers as whole numbers; None for others."""
    import pandas as pd

    if isinstance(index, pd.DatetimeIndex):
        return index.asi8
    return index.to_numpy() if index.dtype == np.int64 else None


def _like(numbers: np.ndarray, dtype: Any) -> Any:
    import pandas as pd

    if dtype == np.int64:
        return numbers
    if isinstance(dtype, pd.DatetimeTZDtype):
        stamps = pd.DatetimeIndex(numbers.view(f"datetime64[{dtype.unit}]"))
        return stamps.tz_localize("UTC").tz_convert(dtype.tz)
    return numbers.view(dtype)


def _of_names(ids: np.ndarray) -> bytes:
    import pandas as pd

    return ids.dtype.str.encode() + b"\n" + columns.to_bytes(pd.DataFrame({COLUMN: ids}))


def _to_names(content: bytes) -> np.ndarray:
    dtype, _, names = content.partition(b"\n")
    return columns.from_bytes(names)[COLUMN].to_numpy().astype(np.dtype(dtype.decode()))


def are_same(a: Any, b: Any) -> bool:
    """The same values, of the same type and name, or neither."""
    if a is None or b is None:
        return a is b
    return a.dtype == b.dtype and a.name == b.name and a.equals(b)
