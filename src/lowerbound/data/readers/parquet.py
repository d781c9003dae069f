"""Parquet: one file or a folder of them, in memory or row group by row group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowerbound.data.checks import DataError, check_rows
from lowerbound.data.readers.content import PARQUET, check_content, explained
from lowerbound.data.readers.row_groups import BUFFER, ROWS_AT_ONCE, Cursor, open_file
from lowerbound.data.readers.tables import Wording, check_type, select, to_dataset, wordings_of
from lowerbound.data.sources import BLOCK_ROWS, Dataset, Source, is_streamed, rows_in

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

_AT_ONCE = 16  # row groups that are read side by side, if there is memory for so many
_MEMORY = 2**29  # bytes for reading them
_COLUMN_MEMORY = 9 * 2**18  # bytes that reading a column of a row group takes at most: its pages of 1 MiB, and buffers
_WHOLE = [f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)]


def read_parquet(
    path: Path, name: str, *, drop: Sequence[str] = (), label: str | None = None, id: str | None = None,
    stream: bool | None = None, mixed: bool = False,
) -> Dataset:  # fmt: skip
    """Read a `.parquet` file, or a folder of them in the order of their names; only columns that are used are loaded.

    Parameters
    ----------
    path : Path
        The file or the folder.
    name : str
        The file's or folder's name in messages.
    drop : Sequence[str]
        Columns to leave out.
    label : str | None
        The column that is the label.
    id : str | None
        The column that names the rows.
    stream : bool | None
        Read rows when they are used; None does so if they take much memory.
    mixed : bool
        Columns may be text, categories and dates.

    Returns
    -------
    Dataset
        A frame of numeric and boolean columns, or a source of such frames.
    """
    table = ParquetTable(path, name, drop if id is None else [*drop, id], label, mixed=mixed)
    dataset = Dataset(table, None, name) if is_streamed(table, stream) else table.read_all()
    return dataset if id is None else replace(dataset, ids=ParquetIds(table, id))


def names_in(path: Path, name: str) -> list[str]:
    """The names of the columns of a file, or of the first file of a folder."""
    import pyarrow as pa

    first = path if path.is_file() else parquet_files(path)[0]
    with explained(name, pa.ArrowException), open_file(first) as opened:
        return [column for column in opened.schema_arrow.names if not _is_index(column)]


def parquet_files(folder: Path) -> list[Path]:
    """The `.parquet` files of a folder, by name, without those hidden by a dot or an underscore."""
    return sorted(path for path in folder.iterdir() if _is_parquet(path))


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet" and path.name[0] not in "._" and not path.is_dir()


class ParquetTable(Source):
    """The rows of Parquet files, whose row groups can only be read from their start."""

    def __init__(
        self, path: Path, name: str, drop: Sequence[str] = (), label: str | None = None, *, mixed: bool = False
    ) -> None:
        self.path: Path
        self.label: str | None
        self.mixed: bool
        self.path, self.label, self.mixed = path, label, mixed
        self.files: Sequence[Path] = [path] if path.is_file() else parquet_files(path)
        self.groups: list[tuple[int, int]] = []  # the file of each run, and the row group in it
        self.dtypes: dict[str, np.dtype] = {}  # of the columns that are data, in all rows
        sizes, memory = [], 1
        for *group, n_rows, needed in self._row_groups(name, drop):
            self.groups.append((group[0], group[1]))
            sizes.append(n_rows)
            memory = max(memory, needed)
        check_rows(sum(sizes), name)
        super().__init__(name, (sum(sizes), len(self.columns or ())), np.result_type(*self.dtypes.values()))
        self.runs: np.ndarray | None = np.append(0, np.cumsum(sizes))
        self.runs_at_once: int = max(1, min(_AT_ONCE, _MEMORY // memory))
        self.cursors: dict[int, Cursor] = {}

    def _row_groups(self, name: str, drop: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
        """The row groups of all files: file, number, rows, and bytes to read it; the first file gives the columns."""
        import pyarrow as pa

        self.columns: list[str] | None
        self.arrow_schema: Any
        for i, file in enumerate(self.files):
            called = self._called(i, name)
            check_content(file, PARQUET, called)
            with explained(called, pa.ArrowException), open_file(file) as opened:
                if i == 0:
                    self.columns, self.arrow_schema = self._choose(opened.schema_arrow, name, drop)
                self._check_same(opened.schema_arrow, called)
                for group in range(opened.num_row_groups):
                    self._add_dtypes(opened, group)
                    about = opened.metadata.row_group(group)
                    yield i, group, about.num_rows, self._memory(about)

    def _choose(self, schema: pa.Schema, name: str, drop: Sequence[str]) -> tuple[list[str], pa.Schema]:
        """The columns that are data, and the types of those that are read."""
        import pyarrow as pa

        present = [column for column in schema.names if not _is_index(column)]
        features = select(present, drop, self.label, name)
        wanted = features if self.label is None else [*features, self.label]
        for column in wanted:
            check_type(schema.field(column).type, column, column == self.label or self.mixed, name)
        return features, pa.schema([_widened(schema.field(column)) for column in wanted])

    @cached_property
    def wordings(self) -> dict[str, Wording]:
        """The types of the columns of text, categories and dates, for which all their rows are read once."""
        import pyarrow as pa
        from pyarrow import types

        plain = (types.is_boolean, types.is_integer, types.is_floating, types.is_decimal, types.is_null)
        kinds = {c: self.arrow_schema.field(c).type for c in self.columns or ()}
        others = [c for c, kind in kinds.items() if not any(test(kind) for test in plain)]
        others += [c for c, kind in kinds.items() if types.is_boolean(kind) and self.dtypes[c].kind == "f"]  # with gaps
        if not self.mixed or not others:
            return {}
        part, found = self._only(others), {c: Wording() for c in others}
        for first in range(0, len(self), BLOCK_ROWS):
            batches = list(part._batches(first, min(first + BLOCK_ROWS, len(self))))
            frame = part._frame(pa.Table.from_batches(batches, part.arrow_schema))
            found = wordings_of(frame, others, found)
        return found

    @cached_property
    def is_mixed(self) -> bool:  # type: ignore[override]
        """True if some columns are text, categories or dates."""
        return not all(wording.are_numbers for wording in self.wordings.values())

    def _check_same(self, schema: pa.Schema, called: str) -> None:
        """Refuse a file whose columns differ from those of the first."""
        for field in self.arrow_schema:
            there = _widened(schema.field(field.name)).type if field.name in schema.names else None
            if there != field.type:
                found = "has no such column" if there is None else f"has {there}"
                raise DataError(
                    f"{called}: column '{field.name}' is {field.type} in {self.files[0].name}, but this file {found}; "
                    "give all files the same columns."
                )

    def _add_dtypes(self, opened: pq.ParquetFile, group: int) -> None:
        """Add the types of a row group's columns in pandas: whole numbers with gaps become float64."""
        features = {field.name: field.type for field in self.arrow_schema if field.name != self.label}
        rows = opened.metadata.row_group(group)
        for column in map(rows.column, range(rows.num_columns)):
            if (kind := features.get(name := column.path_in_schema)) is not None:
                dtype = _numpy_type(kind)
                known = self.dtypes.get(name, dtype)
                if dtype.kind in "biu" and known.kind != "f" and _has_nulls(opened, group, column):
                    dtype = np.dtype(np.float64)
                self.dtypes[name] = np.result_type(known, dtype)

    def _memory(self, rows: Any) -> int:
        """Bytes that reading a row group takes, a part of its rows at a time."""
        wanted = set(self.arrow_schema.names)
        columns = [rows.column(i) for i in range(rows.num_columns)]
        sizes = [column.total_uncompressed_size for column in columns if column.path_in_schema in wanted]
        return sum(min(_COLUMN_MEMORY, 2 * size + BUFFER) for size in sizes)

    def _called(self, file: int, name: str) -> str:
        return name if self.path.is_file() else f"{name}/{self.files[file].name}"

    def read(self, ranges: np.ndarray) -> Dataset:
        """Read rows, continuing in the row groups that are open where possible."""
        import pyarrow as pa

        batches = [batch for first, last in ranges.tolist() for batch in self._batches(first, last)]
        frame = self._frame(pa.Table.from_batches(batches, self.arrow_schema))
        whole = [c for c in self.columns or () if frame[c].dtype.kind in "biu" and self.dtypes[c].kind == "f"]
        frame = frame.astype(dict.fromkeys(whole, np.float64))  # there are gaps in other rows
        return self._dataset(frame, ranges, self.wordings)

    def read_all(self) -> Dataset:
        """Read all rows at once."""
        import pyarrow as pa

        tables = []
        for i, file in enumerate(self.files):
            with explained(self._called(i, self.name), pa.ArrowException), open_file(file) as opened:
                table = opened.read(columns=self.arrow_schema.names)
                tables.append(table.select(self.arrow_schema.names).cast(self.arrow_schema))
        frame = self._frame(pa.concat_tables(tables))
        wordings = wordings_of(frame, self.columns or ()) if self.mixed else {}
        return self._dataset(frame, np.array([[0, len(self)]]), wordings)

    @cached_property
    def file_schema(self) -> pa.Schema:
        """All columns of the files, with their types."""
        import pyarrow as pa

        with explained(self.name, pa.ArrowException), open_file(self.files[0]) as opened:
            return pa.schema([_widened(field) for field in opened.schema_arrow if not _is_index(field.name)])

    def frames(self, n_rows: int) -> Iterator[pd.DataFrame]:
        """Yield all columns, also those that are not data, ``n_rows`` rows at a time; types don't depend on gaps."""
        whole = self.with_schema(self.file_schema)
        for first in range(0, len(self), n_rows):
            yield whole.stored(first, min(first + n_rows, len(self)))

    def with_schema(self, schema: pa.Schema) -> ParquetTable:
        """The same rows with other columns of the files, for ``stored``; fails if a file hasn't got them."""
        import copy

        import pyarrow as pa

        other = copy.copy(self)
        other.arrow_schema, other.cursors = schema, {}
        for i, file in enumerate(self.files[1:], 1):
            with explained(self._called(i, self.name), pa.ArrowException), open_file(file) as opened:
                other._check_same(opened.schema_arrow, self._called(i, self.name))
        return other

    def stored(self, first: int, last: int) -> pd.DataFrame:
        """The rows ``first`` to ``last`` − 1 as they are stored."""
        import pyarrow as pa

        batches = list(self._batches(first, last))
        with explained(self.name, pa.ArrowException):
            return as_frame(pa.Table.from_batches(batches, self.arrow_schema))

    def select(self, columns: Sequence[str]) -> ParquetTable:
        """The same rows, with some of their columns."""
        _ = self.wordings  # found once, and shared by the copy
        return self._only(columns if self.label is None else [*columns, self.label])

    def _only(self, columns: Sequence[str]) -> ParquetTable:
        """The same rows with some columns, which may include the label."""
        import copy

        import pyarrow as pa

        other = copy.copy(self)
        other.columns, other.cursors = [column for column in columns if column != self.label], {}
        other.arrow_schema = pa.schema([self.arrow_schema.field(column) for column in columns])
        other.shape = (len(self), len(other.columns))
        return other

    def _dataset(self, frame: pd.DataFrame, ranges: np.ndarray, wordings: dict[str, Wording]) -> Dataset:
        features = list(self.columns or ())
        return to_dataset(frame, self.name, features, self.label, lambda row: self._place(ranges, row), wordings)

    def _frame(self, table: pa.Table) -> pd.DataFrame:
        """The table as a frame."""
        import pyarrow as pa

        with explained(self.name, pa.ArrowException):
            table.validate(full=True)  # text that is not UTF-8 would fail later, when it is used
            return table.to_pandas(ignore_metadata=True, date_as_object=False)

    def _place(self, ranges: np.ndarray, row: int) -> str:
        """Words for the place of a row among those of some ranges."""
        assert self.runs is not None
        row = rows_in(ranges, row)
        file = self.groups[int(np.searchsorted(self.runs, row, "right")) - 1][0]
        first = min(start for start, (i, _) in zip(self.runs.tolist(), self.groups, strict=False) if i == file)
        where = "" if self.path.is_file() else f"{self.files[file].name}, "
        return f"{where}row {row - first} (counting from 0)"

    def _batches(self, first: int, last: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows ``first`` to ``last`` − 1 from all row groups that hold them."""
        assert self.runs is not None
        touched = np.searchsorted(self.runs, [first, last - 1], "right") - 1
        bounds = [first, *self.runs[touched[0] + 1 : touched[1] + 1].tolist(), last]
        for run, (start, stop) in enumerate(pairwise(bounds), int(touched[0])):
            yield from self._cursor(run, start).take(start, stop)
            if stop == self.runs[run + 1]:
                self.cursors.pop(run)

    def _cursor(self, run: int, first: int) -> Cursor:
        """A cursor at or before ``first``; it replaces the least recently used one."""
        assert self.runs is not None
        cursor = self.cursors.pop(run, None)
        if cursor is None or cursor.position > first:
            file, group = self.groups[run]
            called, start = self._called(file, self.name), int(self.runs[run])
            cursor = Cursor(self.files[file], group, self.arrow_schema, start, called)
        while len(self.cursors) >= self.runs_at_once:
            self.cursors.pop(next(iter(self.cursors)))
        self.cursors[run] = cursor
        return cursor


class ParquetIds:
    """A column that names the rows, read with them."""

    def __init__(self, table: ParquetTable, name: str) -> None:
        import pyarrow as pa

        self.name: str
        self.table: ParquetTable
        self.name, self.table = name, table.with_schema(pa.schema([table.file_schema.field(name)]))

    def read(self, first: int, last: int) -> Any:
        """The names of the rows ``first`` to ``last`` − 1, in the type of the file."""
        return self.table.stored(first, last)[self.name].array


def as_frame(table: pa.Table) -> pd.DataFrame:
    """A table as a frame, with whole numbers, decimals and truth values in types that can have gaps."""
    import pandas as pd
    import pyarrow as pa

    whole = {getattr(pa, name.lower())(): getattr(pd, f"{name}Dtype")() for name in _WHOLE}
    nullable = {pa.bool_(): pd.BooleanDtype(), **whole}
    nullable |= {kind: pd.ArrowDtype(kind) for kind in table.schema.types if pa.types.is_decimal(kind)}
    return table.to_pandas(ignore_metadata=True, date_as_object=False, types_mapper=nullable.get)


def _is_index(column: str) -> bool:
    """True for a column of row numbers that pandas wrote."""
    return column.startswith("__index_level_")


def _widened(field: pa.Field) -> pa.Field:
    """The field in the type that all files share: it may be null, and indices of categories have 32 bits."""
    import pyarrow as pa

    kind = field.type
    if pa.types.is_dictionary(kind):
        kind = pa.dictionary(pa.int32(), kind.value_type, kind.ordered)
    return pa.field(field.name, kind)


def _has_nulls(opened: pq.ParquetFile, group: int, column: Any) -> bool:
    """True if a row group's column has missing values, by its statistics or, without these, by its values."""
    counted = column.statistics
    if counted is not None and counted.has_null_count:
        return counted.null_count > 0
    batches = opened.iter_batches(ROWS_AT_ONCE, [group], [column.path_in_schema], use_threads=False)
    return any(batch.column(0).null_count for batch in batches)


def _numpy_type(kind: pa.DataType) -> np.dtype:
    """The type of a column without gaps in pandas; numbers as text or decimals become float64."""
    from pyarrow import types

    plain = types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind)
    return np.dtype(kind.to_pandas_dtype()) if plain else np.dtype(np.float64)
