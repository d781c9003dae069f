"""Data that stay in files and are read a few rows at a time, whatever the size of the whole.

A `Source` is a shape and a method to read ranges of rows. Everything that can be computed row by row, or in one pass,
is computed for a source in memory that doesn't grow with its rows.
"""

from __future__ import annotations

import math
import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lowerbound.data.checks import DataError, check_finite, in_array
from lowerbound.data.readers.content import explained, native
from lowerbound.storage.opening import size_of

if TYPE_CHECKING:
    import pandas as pd

    from lowerbound.data.sources import Source

IN_MEMORY = 2**28  # bytes: data that take more as an array are streamed unless told otherwise, on every machine alike
BLOCK_BYTES = 2**26  # of data that are in memory at once
BLOCK_ROWS = 2**15  # processed at once: results of a row may take more memory than the row


class Source(ABC):
    """Rows in files.

    Iterating gives all rows as arrays (or frames), a block at a time.

    Attributes
    ----------
    name : str
        The data's name in messages.
    shape : tuple of int
        ``(n, *row)``.
    dtype : np.dtype
        The type of the arrays of ``as_array``.
    files : sequence of Path
        The files that hold the rows, where they are known.
    columns : list of str or None
        The columns of a table.
    is_mixed : bool
        Some columns are text, categories or dates; rows are frames, whatever ``dtype`` says.
    runs : ndarray of int64 or None
        First rows of runs that have to be read from their start (row groups), and the end of the last; None if any
        row can be read directly.
    runs_at_once : int
        The number of runs that can be read side by side in little memory.
    """

    files: Sequence[Path] = ()
    columns: list[str] | None = None
    is_mixed: bool = False
    runs: np.ndarray | None = None
    runs_at_once: int = 1

    def __init__(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.name: str
        self.shape: tuple[int, ...]
        self.name, self.shape = name, tuple(shape)
        self.dtype: np.dtype[Any] = np.dtype(np.float32) if dtype == np.float16 else np.dtype(dtype).newbyteorder("=")

    @abstractmethod
    def read(self, ranges: np.ndarray) -> Dataset:
        """The rows of some ranges, one after another, checked.

        Parameters
        ----------
        ranges : ndarray of int64, shape (k, 2)
            The first row of each range, and the row after its last.

        Raises
        ------
        DataError
            If the files can't be read, or hold invalid values; the message says where.
        """

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """The number of dimensions, rows included."""
        return len(self.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in memory."""
        return self.dtype.itemsize * math.prod(self.shape[1:])

    @property
    def nbytes(self) -> int:
        """Bytes of all rows in memory."""
        return len(self) * self.row_bytes

    @property
    def rows_in_a_block(self) -> int:
        """The number of rows that are read at once."""
        return max(1, BLOCK_BYTES // max(1, self.row_bytes))

    def blocks(self, n_rows: int | None = None) -> Iterator[Dataset]:
        """Yield all rows in order, with their labels, ``n_rows`` at a time."""
        step = n_rows or min(self.rows_in_a_block, BLOCK_ROWS)
        for first in range(0, len(self), step):
            yield self.read(np.array([[first, min(first + step, len(self))]]))

    def __iter__(self) -> Iterator[Any]:
        return (block.X for block in self.blocks())

    def take(self, places: Sequence[int] | np.ndarray) -> Dataset:
        """Read single rows, in the order of ``places``."""
        places = np.asarray(places, np.int64)
        return self.read(np.stack([places, places + 1], 1))

    def spread(self, n_rows: int) -> Dataset:
        """Read rows at equal distances, so that data sorted by class give rows of all classes."""
        return self.take(np.linspace(0, len(self) - 1, min(len(self), n_rows)).round().astype(np.int64))

    def select(self, columns: Sequence[str]) -> Source:
        """The same rows, with their columns in another order."""
        raise TypeError(f"{self.name} has no columns that could be named")

    def as_array(self, rows: Any) -> np.ndarray:
        """Rows that were read as an array of type ``dtype``."""
        is_frame = self.dtype.kind == "f" and hasattr(rows, "to_numpy")
        return rows.to_numpy(self.dtype, na_value=np.nan) if is_frame else np.asarray(rows, self.dtype)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {len(self):,} rows of shape {self.shape[1:]}, {self.dtype.name}>"


class ArrayFile(Source):
    """The rows of a file that has only these after its header: an ``.npy`` file in C order.

    The file is read and not mapped, so that rows are in memory only while they are used.
    """

    def __init__(self, path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype, offset: int) -> None:
        super().__init__(name, shape, dtype)
        self.path: Path
        self.stored: np.dtype[Any]
        self.offset: int
        self.path, self.stored, self.offset = Path(path), dtype, offset
        self.files: Sequence[Path] = (self.path,)
        self.size: int = size_of(self.path, DataError, name)
        self.stride: int = dtype.itemsize * math.prod(shape[1:])

    def read(self, ranges: np.ndarray) -> Dataset:
        """Read each range in one call."""
        X = np.empty((int((ranges[:, 1] - ranges[:, 0]).sum()), *self.shape[1:]), self.stored)
        memory, filled = X.view(np.uint8).reshape(-1).data if X.size else memoryview(b""), 0
        if size_of(self.path, DataError, self.name) > self.size:
            raise DataError(f"{self.name} has changed while it was read: read it again.")
        with explained(self.name), self.path.open("rb", buffering=0) as file:
            for first, last in ranges.tolist():
                file.seek(self.offset + first * self.stride)
                end = filled + (last - first) * self.stride
                while filled < end:
                    count = file.readinto(memory[filled:end])
                    if not count:
                        raise EOFError
                    filled += count
        X = native(X)
        check_finite(X, self.name, place_in(ranges))
        return Dataset(X, None, self.name)


class MappedArray(Source):
    """The rows of a memory map that a user made, or of an ``.npy`` file in Fortran order.

    ``path`` is the file, which ends the process if it is cut while it is read: its size is looked at before.
    """

    def __init__(self, X: np.ndarray, name: str, path: Path | None = None) -> None:
        super().__init__(name, X.shape, X.dtype)
        self.X = X
        self.path: Path | None = path
        self.size: int | None = None if path is None else size_of(path, DataError, name)
        filename = getattr(X, "filename", None)
        self.files: Sequence[Path] = () if filename is None else (Path(filename),)

    def read(self, ranges: np.ndarray) -> Dataset:
        """Copy every range out of the map."""
        if self.path is not None and size_of(self.path, DataError, self.name) != self.size:
            raise DataError(f"{self.name} has changed while it was read: read it again.")
        X = native(np.concatenate([self.X[first:last] for first, last in ranges.tolist()]))
        check_finite(X, self.name, place_in(ranges))
        return Dataset(X, None, self.name)


def as_source(X: Any) -> Any:
    """A large memory map as a source; anything else unchanged."""
    if not isinstance(X, np.memmap) or X.nbytes <= IN_MEMORY or not X.ndim:
        return X
    whole = isinstance(X.base, mmap.mmap) and X.flags.c_contiguous and X.filename is not None
    if whole:
        return ArrayFile(Path(X.filename), "X", X.shape, X.dtype, X.offset)  # pyright: ignore[reportArgumentType]
    return MappedArray(X, "X")


def is_streamed(source: Source, asked: bool | None) -> bool:
    """True if rows are read when they are used: as asked, else if they take more than ``IN_MEMORY``."""
    return source.nbytes > IN_MEMORY if asked is None else asked


def rows_in(ranges: np.ndarray, row: int) -> int:
    """The source's number of the row at place ``row`` among the rows of some ranges."""
    lengths = ranges[:, 1] - ranges[:, 0]
    starts = np.cumsum(lengths) - lengths
    which = np.searchsorted(starts, row, "right") - 1
    return int(ranges[which, 0] + row - starts[which])


def place_in(ranges: np.ndarray) -> Callable[..., str]:
    """Words for the place of a value among the rows of some ranges."""
    return lambda row, *event: in_array(rows_in(ranges, row), *event)


class RowIds(Protocol):
    """The names of rows: a column of a table, or the files of images."""

    @property
    def name(self) -> str:
        """The name of a column that holds them."""
        ...

    def read(self, first: int, last: int) -> Any:
        """The names of the rows ``first`` to ``last`` − 1."""
        ...


@dataclass(frozen=True, eq=False)
class IdsInMemory:
    """Names of rows, shape (n,)."""

    name: str
    values: np.ndarray

    def read(self, first: int, last: int) -> np.ndarray:
        """The names of the rows ``first`` to ``last`` − 1."""
        return self.values[first:last]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Data as read, before any scaling.

    Parameters
    ----------
    X : np.ndarray | pd.DataFrame | Source
        The data, shape ``(n, *event)``: an array for arrays and images, a frame of numeric and boolean
        columns for tables; or sequences, or texts. At least one row; NaN where a value is missing; no infinite values.
    labels : np.ndarray | None
        One label for each row, shape ``(n,)``: a column, an array or the subfolders; never part of ``X``.
    source : str
        The data's name in messages, such as ``faces.npz[x_train]``.
    notes : tuple of str
        What was recognized in the values of a file.
    ids : RowIds | None
        The column that names the rows; never part of ``X``.
    context : list of str | None
        What is known before each text: what was said in a dialogue before a response.
    """

    X: np.ndarray | pd.DataFrame | Source
    labels: np.ndarray | None
    source: str
    notes: tuple[str, ...] = ()
    ids: RowIds | None = None
    context: list[str] | None = None
