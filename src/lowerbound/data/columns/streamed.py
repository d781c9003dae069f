"""Streamed tables with columns of several kinds, as the model's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lowerbound.data.columns.coding import encode_quietly, warn_of_unseen
from lowerbound.data.columns.inference import framed
from lowerbound.data.columns.schema import ColumnSchema
from lowerbound.data.sources import Dataset, Source


class EncodedRows(Source):
    """The rows of a source, encoded with ``coding.encode`` when they are read.

    Parameters
    ----------
    source : Source
    schemas : sequence of ColumnSchema
    """

    def __init__(self, source: Source, schemas: Sequence[ColumnSchema]) -> None:
        super().__init__(source.name, source.shape, np.dtype(np.float64))
        self.source: Source
        self.schemas: Sequence[ColumnSchema]
        self.source, self.schemas = source, schemas
        self.files: Sequence[Path] = source.files
        self.runs: np.ndarray | None
        self.runs_at_once: int
        self.runs, self.runs_at_once = source.runs, source.runs_at_once
        self.warned: set[str] = set()  # columns whose unseen values were warned of

    def read(self, ranges: np.ndarray) -> Dataset:
        """Read and encode rows; a column's first unseen value gives a warning."""
        rows = self.source.read(ranges)
        x, unseen = encode_quietly(framed(rows.X), self.schemas)
        warn_of_unseen([name for name in unseen if name not in self.warned])
        self.warned |= set(unseen)
        return Dataset(x, rows.labels, rows.source)
