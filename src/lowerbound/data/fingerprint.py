"""Hashes by which data are known again: all values of those in memory, and of files their sizes and times."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from lowerbound.data.frames import as_pandas
from lowerbound.data.sources import Source

ROWS = 4096  # of streamed data that are hashed,
PLACES = 64  # from so many places


def digest(X: Any) -> str:
    """A hash of rows: of all their values, or of a source its fingerprint without name and times.

    Parameters
    ----------
    X : array, DataFrame, Series or Source
    """
    if isinstance(X, Source):
        known = fingerprint_of_source(X)
        return hashed([str(known[name]).encode() for name in ("shape", "dtype", "sha256", "files")])
    X = as_pandas(X)
    mask = [np.ma.getmaskarray(X)] if isinstance(X, np.ma.MaskedArray) else []
    rows = np.asarray(np.ma.filled(X, 0) if mask else X)
    if rows.dtype.kind in "biufMm":
        return hashed([f"{rows.shape} {rows.dtype.str}".encode(), rows, *mask])
    import pandas as pd
    from pandas.util import hash_pandas_object

    frame = pd.DataFrame(X if hasattr(X, "iloc") else rows)
    head = f"{frame.shape} {list(map(str, frame.columns))} {list(map(str, frame.dtypes))}".encode()
    columns = [frame.iloc[:, j] for j in range(frame.shape[1])]
    values = [hash_pandas_object(c, index=False).to_numpy() for c in columns]  # pyright: ignore[reportCallIssue]
    return hashed([head, *values, *mask])


def hashed(parts: Iterable[bytes | np.ndarray]) -> str:
    """SHA-256 of bytes and of the values of arrays, one after another."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def as_bytes(rows: np.ndarray) -> bytes:
    """The bytes of the values; for Python objects, whose bytes are addresses, those of their text."""
    if rows.dtype.kind != "O":
        return rows.tobytes()
    return b"".join("\0".join(np.ravel(row)).encode() for row in rows.astype(str))


def fingerprint_of_source(source: Source) -> dict[str, Any]:
    """The fingerprint of streamed data, by a few thousand rows from all over, and the sizes and times of the files."""
    length = -(-min(len(source), ROWS) // PLACES)
    firsts = np.linspace(0, len(source) - length, PLACES).astype(np.int64)
    found = source.read(np.stack([firsts, firsts + length], 1)).X
    rows = np.asarray(found, object) if source.is_mixed else source.as_array(found)
    record = {"name": source.name, "shape": list(source.shape), "dtype": source.dtype.name}
    record |= {"sha256": hashed([as_bytes(rows)]), "hashed_rows": len(rows), **fingerprint_of_files(source)}
    return record if source.columns is None else {**record, "columns": source.columns}


def changed(source: Source) -> str:
    """A hash of the times when the files of a source were changed."""
    return fingerprint_of_files(source)["changed"]


def fingerprint_of_files(source: Source) -> dict[str, str]:
    """A hash of the sizes of the files, and one of the times when they were changed."""
    states = [path.stat() for path in source.files]
    sizes, times = ([each.st_size for each in states], [each.st_mtime_ns for each in states])
    return {"files": hashed([str(sizes).encode()]), "changed": hashed([str(times).encode()])}
