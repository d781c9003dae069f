"""Row groups of Parquet files, which can only be read from their start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lowerbound.data.checks import DataError
from lowerbound.data.readers.content import explained

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BUFFER = 2**16
ROWS_AT_ONCE = 2**12


def open_file(path: Path) -> pq.ParquetFile:
    """Open a file to be read piece by piece."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER)


class Cursor:
    """A place in a row group that is being read."""

    def __init__(self, path: Path, group: int, schema: pa.Schema, first: int, name: str) -> None:
        import pyarrow as pa

        self.name, self.position, self.schema = name, first, schema
        self.left: pa.RecordBatch | None = None
        with explained(name, pa.ArrowException):
            self.file = open_file(path)
            self.batches = self.file.iter_batches(ROWS_AT_ONCE, [group], schema.names, use_threads=False)

    def take(self, first: int, last: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows ``first`` to ``last`` − 1, skipping those before."""
        while self.position < last:
            left = self._next() if self.left is None else self.left
            start = min(len(left), max(0, first - self.position))
            stop = min(len(left), last - self.position)
            if start < stop:
                yield left.slice(start, stop - start)
            self.position += stop
            self.left = left.slice(stop) if stop < len(left) else None

    def _next(self) -> pa.RecordBatch:
        import pyarrow as pa

        with explained(self.name, pa.ArrowException):
            batch = next(self.batches, None)
        if batch is None:
            raise DataError(f"{self.name} is cut short: a row group ends before its rows do; copy it again.")
        return batch.select(self.schema.names).cast(self.schema)
