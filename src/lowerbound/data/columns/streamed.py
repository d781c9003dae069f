"""Tables of several kinds that are read while they are used, as the model's numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lowerbound.data.columns.coding import encode_quietly, warn_of_unseen
from lowerbound.data.columns.inference import framed
from lowerbound.data.columns.schema import ColumnSchema
from lowerbound.data.sources import Dataset, Source


class EncodedRows(Source):
    """What ``coding.encode`` makes of the rows of a source, when they are read.

    Parameters
    ----------
    source : Source
    schemas : sequence of ColumnSchema
    """

    def __init__(self, source: Source, schemas: Sequence[ColumnSchema]) -> None:
        super().__init__(source.name, source.shape, np.dtype(np.float64))
        self.source, self.schemas = source, schemas
        self.runs, self.runs_at_once = source.runs, source.runs_at_once
        self.warned: set[str] = set()  # of columns with values that were not seen in the fit

    def read(self, ranges: np.ndarray) -> Dataset:
        """What the model doesn't know is warned of where it is met first."""
        rows = self.source.read(ranges)
        x, unseen = encode_quietly(framed(rows.X), self.schemas)
        warn_of_unseen([name for name in unseen if name not in self.warned])
        self.warned |= set(unseen)
        return Dataset(x, rows.labels, rows.source)
