"""Sequences in files: flat arrays with lengths, tables whose rows are steps, and lists in the cells of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowerbound.data.checks import DataError, check_labels, check_name, counted, listed
from lowerbound.data.readers.content import PARQUET, check_content, explained
from lowerbound.data.readers.csv import CsvTable
from lowerbound.data.readers.parquet import parquet_files, read_parquet
from lowerbound.data.readers.tables import select
from lowerbound.data.readers.writing import Asked
from lowerbound.data.sources import Dataset, IdsInMemory

if TYPE_CHECKING:
    import pyarrow as pa

    from lowerbound.data.sequences import Sequences


def unpacked(x: np.ndarray, bits: int, name: str) -> np.ndarray:
    """Rows of bytes as rows of ``bits`` zeros and ones: the inverse of ``numpy.packbits(…, axis=1)``."""
    wanted = -(-bits // 8)
    if x.dtype != np.uint8 or x.ndim != 2 or x.shape[1] != wanted:
        raise DataError(
            f"{name} holds {x.dtype.name} of shape {x.shape}; {counted(bits, 'bit')} packed by numpy.packbits(…, "
            f"axis=1) are uint8 of shape (steps, {wanted})."
        )
    found = np.unpackbits(x, axis=1)
    if found[:, bits:].any():
        row = int(found[:, bits:].any(1).argmax())
        raise DataError(f"{name}, row {row} (counting from 0) has a 1 behind its first {bits} bits; say more bits.")
    return found[:, :bits]


def with_lengths(x: Any, lengths: np.ndarray, name: str, called: str) -> Sequences:
    """The sequences of a flat array (ΣT, F), or of a padded one (n, T, F).

    Parameters
    ----------
    x : ndarray or Source
    lengths : ndarray
    name, called : str
        The names of both in messages.
    """
    from lowerbound.data.sequences import Sequences

    try:
        return Sequences.padded(x, lengths) if x.ndim == 3 else Sequences(x, lengths)
    except DataError as error:
        raise DataError(f"{name}, with the lengths of {called}: {error}.") from error


def read_long(
    read: Callable[..., Dataset], path: Path, name: str, *, time: str | Sequence[str] | None = None,
    id: str | None = None, every: Any = None, label: str | None = None, stream: bool | None = None, **options: Any,
) -> Dataset:  # fmt: skip
    """Read a table in long format, whose rows are steps of sequences.

    Parameters
    ----------
    read : callable
        The reader of tables.
    path, name : Path, str
    time : str or sequence of str
        The column that says when, or the parts of a date.
    id : str, optional
        The column that says of which sequence a row is; None if there is one.
    every : str or number, optional
        The distance of steps.
    **options
        Of ``read``.

    Returns
    -------
    Dataset
        ``Sequences``.
    """
    from lowerbound.data.long_format import RowsError
    from lowerbound.data.sequences import Sequences

    if time is None:
        raise DataError(f"{name}: every is the distance of two times; say which column holds them by time (--time).")
    if stream or label is not None:
        raise DataError(f"{name}: steps of sequences are read at once and have no label; leave stream and label out.")
    streams = {"stream": False} if read is read_parquet else {}
    found = read(path, name, mixed=True, **streams, **options)
    frame, time = _dated(found.X, time, name)
    try:
        sequences: Any = Sequences.from_frame(frame, id, time, every)
        names = None if id is None else IdsInMemory(id, np.asarray(sequences.ids))
        if id is None:  # there is one, without a name
            sequences.ids = None
        return replace(found, X=sequences, ids=names)
    except RowsError as error:
        lines = _lines_of(read, path, name, error.rows, options)
        raise DataError(f"{name}, {lines}: {error}.") from error
    except DataError as error:
        raise DataError(f"{name}: {error}.") from error


def _dated(frame: Any, time: str | Sequence[str], name: str) -> tuple[Any, str]:
    """The frame with one column that says when, and its name."""
    import pandas as pd

    parts = time.split(",") if isinstance(time, str) and time not in frame.columns else time
    if isinstance(parts, str) or len(parts) == 1:
        return frame, parts if isinstance(parts, str) else parts[0]
    for part in parts:
        check_name(part, list(map(str, frame.columns)), "column", name)
    try:
        stamps = pd.to_datetime(frame[list(parts)])
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{name}: the columns {listed(list(parts))} are no parts of dates ({error}); they must be called year, "
            f"month and day, and hour, minute and second if there are any."
        ) from error
    return frame.drop(columns=list(parts)).assign(time=stamps), "time"


def _lines_of(read: Any, path: Path, name: str, rows: tuple[int, ...], options: dict[str, Any]) -> str:
    """Words for the places of two rows in a file."""
    if read is read_parquet:
        return f"rows {rows[0]} and {rows[1]} (counting from 0)"
    asked = {key: value for key, value in options.items() if key != "drop"}
    table = CsvTable(path, name, Asked(**asked))
    first, second = (table.line_of(row) for row in rows)
    return f"lines {first} and {second}"


def list_columns(path: Path, name: str, left_out: Sequence[str]) -> list[str]:
    """The columns of a Parquet file, or of the first in a folder, whose cells are lists."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = path if path.is_file() else parquet_files(path)[0]
    check_content(first, PARQUET, name)
    with explained(name, pa.ArrowException):
        return [field.name for field in pq.read_schema(first) if is_list(field.type) and field.name not in left_out]


def read_lists(path: Path, name: str, *, drop: Sequence[str] = (), label: str | None = None) -> Dataset:
    """Read Parquet whose cells are lists: a row is a sequence, and a column has a value for each of its steps.

    Parameters
    ----------
    path : Path
        The file or the folder.
    name : str
        The file's or folder's name in messages.
    drop : Sequence[str]
        Columns to leave out.
    label : str | None
        The column with a label for each sequence.

    Returns
    -------
    Dataset
        ``Sequences``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    steps, lengths, labels = [], [], []
    for file in [path] if path.is_file() else parquet_files(path):
        called = name if file == path else f"{name}, {file.name}"
        check_content(file, PARQUET, called)
        with explained(called, pa.ArrowException):
            opened = pq.ParquetFile(file)
            features = select(opened.schema_arrow.names, drop, label, called)
            table = opened.read([*features, *([label] if label else [])])
            of_columns = [_lengths(table[column], column, called) for column in features]
            _check_alike(of_columns, features, called)
            steps.append(np.stack([_values(table[column], column, called) for column in features], 1))
            lengths.append(of_columns[0])
            labels += table[label].to_pylist() if label else []
    sequences: Any = with_lengths(np.concatenate(steps), np.concatenate(lengths), name, "the lists")
    named = check_labels(np.asarray(labels), len(sequences), f"{name}, column '{label}',") if label else None
    return Dataset(sequences, named, name)


def is_list(kind: pa.DataType) -> bool:
    """True for the type of columns whose cells are lists."""
    from pyarrow import types

    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _lengths(column: pa.ChunkedArray, name: str, called: str) -> np.ndarray:
    """The lengths of the lists of a column."""
    import pyarrow.compute as pc

    if not is_list(column.type):
        raise DataError(
            f"{called}: column '{name}' holds values of type {column.type} beside columns of lists; leave it out by "
            f"drop, or make it the label."
        )
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)  # pyright: ignore
    if not lengths.all():
        row = int((lengths == 0).argmax())
        raise DataError(f"{called}, row {row} (counting from 0): the list of column '{name}' is empty; drop the row.")
    return lengths


def _check_alike(lengths: list[np.ndarray], names: list[str], called: str) -> None:
    """Refuse a row whose lists are of different lengths."""
    for other, name in zip(lengths, names, strict=True):
        if (other != lengths[0]).any():
            row = int((other != lengths[0]).argmax())
            raise DataError(
                f"{called}, row {row} (counting from 0): the list of column '{names[0]}' has {lengths[0][row]:,} steps "
                f"and that of '{name}' {other[row]:,}; the columns of a sequence have one value for each step."
            )


def _values(column: pa.ChunkedArray, name: str, called: str) -> np.ndarray:
    """The values of all lists of a column, one after another; NaN where one is null."""
    import pyarrow.compute as pc
    from pyarrow import types

    flat: Any = pc.list_flatten(column)  # pyright: ignore[reportAttributeAccessIssue]
    kind = flat.type
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        raise DataError(f"{called}: the lists of column '{name}' hold values of type {kind}, not numbers; drop it.")
    return flat.to_numpy()
