"""Results that are written while they are computed, to a file that is never half-written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowerbound.storage.atomic import write_atomically

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Part = tuple[np.ndarray, dict[str, Any]]  # rows (n, *row), and columns before theirs by name (n,)

ENDINGS = (".npy", ".csv", ".parquet")


def write_parts(path: Path, parts: Iterable[Part], names: list[str], n_rows: int) -> tuple[int, ...]:
    """Write the parts of a table or of an array one after another.

    Parameters
    ----------
    path : Path
        Ends in ``.npy``, which takes rows of any shape and no other columns, ``.csv`` or ``.parquet``.
    parts : iterable
        Rows (n, *row) of each part, and columns that come before theirs, by name.
    names : list of str
        Names of the columns of a table.
    n_rows : int
        The rows of all parts together.

    Returns
    -------
    tuple of int
        The shape of the rows written, without other columns.
    """
    incoming = iter(parts)
    first = next(incoming)
    if path.suffix.lower() == ".npy" and hasattr(first[0], "columns"):
        raise ValueError(f"{path}: columns of several kinds make no array: give a name that ends in .csv or .parquet")
    shape = (n_rows, *first[0].shape[1:])
    parts = chain([first], incoming)
    ending = path.suffix.lower()
    if ending == ".npy":
        write_atomically(path, lambda temporary: _write_npy(temporary, (rows for rows, _ in parts), shape))
    elif ending == ".csv":
        write_atomically(path, lambda temporary: write_csv(temporary, _frames(parts, names)))
    else:
        write_atomically(path, lambda temporary: _write_parquet(temporary, _frames(parts, names)))
    return shape


def _frames(parts: Iterable[Part], names: list[str]) -> Iterator[pd.DataFrame]:
    import pandas as pd

    for rows, more in parts:
        frame = pd.DataFrame(rows, columns=names)
        for place, (name, values) in enumerate(more.items()):
            frame.insert(place, name, values)
        yield frame


def _write_npy(path: Path, parts: Iterator[np.ndarray], shape: tuple[int, ...]) -> None:
    first = next(parts)
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(first.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for rows in chain([first], parts):
            file.write(np.ascontiguousarray(rows, first.dtype).data)


def write_csv(
    path: Path, frames: Iterable[pd.DataFrame], float_format: str | None = "%.9g", *, names: bool = True, **how: Any
) -> None:
    """Write frames one below the other to a ``.csv`` file.

    Parameters
    ----------
    path : Path
    frames : iterable of DataFrame
    float_format : str, optional
    names : bool
        The first line has the names of the columns.
    **how
        ``sep`` and ``decimal``, as in pandas.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        for i, frame in enumerate(frames):
            frame.to_csv(file, index=False, header=names and i == 0, float_format=float_format, **how)


def write_frames(
    path: Path, frames: Iterable[pd.DataFrame], schema: pa.Schema | None = None, **how: Any
) -> None:  # fmt: skip
    """Write frames one below the other to a ``.csv`` or ``.parquet`` file.

    Parameters
    ----------
    path : Path
    frames : iterable of DataFrame
    schema : Schema, optional
        Gives types of some columns of a ``.parquet`` file.
    **how
        As in ``write_csv``.
    """
    if path.suffix.lower() == ".csv":
        write_atomically(path, lambda temporary: write_csv(temporary, frames, None, **how))
    else:
        write_atomically(path, lambda temporary: _write_parquet(temporary, iter(frames), schema))


def _write_parquet(path: Path, frames: Iterator[pd.DataFrame], known: pa.Schema | None = None) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = next(frames)
    schema = pa.Schema.from_pandas(first, preserve_index=False)
    for i, field in enumerate(schema):
        told = known.field(field.name) if known is not None and field.name in known.names else None
        if told is not None and not (pa.types.is_temporal(field.type) and not pa.types.is_temporal(told.type)):
            schema = schema.set(i, told.remove_metadata())
    with pq.ParquetWriter(path, schema) as writer:
        for frame in chain([first], frames):
            writer.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False))
