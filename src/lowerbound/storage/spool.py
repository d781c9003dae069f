"""Tables of any size on disk, read back a few rows at a time: a spool, and a ranking of rows by their score.

A ranking is an external merge sort that keeps only the scores in memory: ``RUN`` rows at a time are sorted and written
as a run, and the rows of the next ranks are the next rows of some runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from lowerbound.storage.atomic import errors_about

if TYPE_CHECKING:
    from typing import Self

    import pandas as pd
    import pyarrow as pa

RUN = 2**17  # rows
PIECE = 2**10  # rows of a run that are read at once


class Spool:
    """Tables in a temporary file, which is deleted when it is closed or its process ends.

    Parameters
    ----------
    folder : Path
        The folder of the file, which takes as much room as the tables.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with errors_about(folder):
            self.file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115, closed by ``__exit__``
        self.schema: pa.Schema | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # a full disk: unwritten rows are not needed any more
            self.file.close()

    def put(self, frame: pd.DataFrame, piece: int | None = None) -> np.ndarray:
        """Write a frame, ``piece`` rows at a time, and return the ends of the pieces in the file, (pieces + 1,).

        All frames have the columns of the first, and their types.
        """
        import pyarrow as pa

        if self.schema is None:
            self.schema = _with_room(pa.Schema.from_pandas(frame, preserve_index=False))
        table = pa.Table.from_pandas(frame, self.schema, preserve_index=False)
        with errors_about(self.folder):
            ends = [self.file.seek(0, 2)]
            for batch in table.combine_chunks().to_batches(piece):
                with pa.ipc.new_stream(self.file, self.schema) as stream:  # which holds its categories
                    stream.write_batch(batch)
                ends.append(self.file.tell())
        return np.array(ends)

    def get(self, ends: np.ndarray) -> pa.Table:
        """The rows of some neighboring pieces."""
        import pyarrow as pa

        tables = []
        for start, end in pairwise(ends.tolist()):
            self.file.seek(start)
            tables.append(pa.ipc.open_stream(pa.py_buffer(self.file.read(end - start))).read_all())
        return pa.concat_tables(tables)


def _with_room(schema: pa.Schema) -> pa.Schema:
    """The schema with 32-bit indices of categories, as later frames may have more of them."""
    import pyarrow as pa

    wider = {
        i: field.with_type(pa.dictionary(pa.int32(), field.type.value_type, field.type.ordered))
        for i, field in enumerate(schema)
        if pa.types.is_dictionary(field.type)
    }
    return pa.schema([wider.get(i, field) for i, field in enumerate(schema)], schema.metadata)


class Ranking(Spool):
    """Rows from the highest score to the lowest, equal scores in the order of the rows.

    Parameters
    ----------
    folder : Path
        The folder of a temporary file, which takes as much room as the rows.
    by : str
        The column with the score.
    """

    def __init__(self, folder: Path, by: str) -> None:
        super().__init__(folder)
        self.by = by
        self.parts: list[np.ndarray] = []
        self.waiting: list[pd.DataFrame] = []  # rows of the next run
        self.runs: list[np.ndarray] = []  # the ends of each run's pieces in the file

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def add(self, frame: pd.DataFrame) -> None:
        """Add rows."""
        import pandas as pd

        self.parts.append(frame[self.by].to_numpy(np.float64))
        self.waiting.append(frame)
        if sum(map(len, self.waiting)) >= RUN:
            held = pd.concat(self.waiting, ignore_index=True)
            whole = len(held) - len(held) % RUN
            for first in range(0, whole, RUN):
                self._write(held.iloc[first : first + RUN])
            self.waiting = [held.iloc[whole:]] if whole < len(held) else []

    @cached_property
    def scores(self) -> np.ndarray:
        """The scores of all rows, in the order in which they were added, shape (n,)."""
        return np.concatenate(self.parts)

    @cached_property
    def order(self) -> np.ndarray:
        """The places of the rows, by rank, shape (n,)."""
        return _ranked(self.scores)

    def blocks(self) -> Iterator[pd.DataFrame]:
        """Yield all rows by rank, a block at a time, once all have been added."""
        import pandas as pd
        import pyarrow as pa

        if self.waiting:
            self._write(pd.concat(self.waiting, ignore_index=True))
            self.waiting = []
        given = np.zeros(len(self.runs), np.int64)  # rows of each run
        for first in range(0, len(self), RUN):
            run = self.order[first : first + RUN] // RUN
            counts = np.bincount(run, minlength=len(self.runs))
            parts = [self._read(k, given[k], given[k] + counts[k]) for k in np.flatnonzero(counts).tolist()]
            given += counts
            place = np.argsort(np.argsort(run, kind="stable"))
            yield pa.concat_tables(parts).take(place).to_pandas()

    def _write(self, frame: pd.DataFrame) -> None:
        """Write a run."""
        self.runs.append(self.put(frame.iloc[_ranked(frame[self.by].to_numpy(np.float64))], PIECE))

    def _read(self, run: int, first: int, last: int) -> pa.Table:
        """The rows ``first`` to ``last`` − 1 of a run."""
        return self.get(self.runs[run][first // PIECE : -(-last // PIECE) + 1]).slice(first % PIECE, last - first)


def _ranked(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores, kind="stable")
