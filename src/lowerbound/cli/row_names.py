"""Columns that tell the rows of a result apart: their places in the data, and their names."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lowerbound.cli.options import DataOptions
from lowerbound.cli.output import Failure

if TYPE_CHECKING:
    from lowerbound.data.sources import Dataset, RowIds

ROW, FILE = "row", "file"


@dataclass(frozen=True)
class RowNames:
    """The column ``row``, and the one of ``--id``, or ``file`` for a folder of images.

    Attributes
    ----------
    ids : RowIds or None
        The names, if the rows have any.
    """

    ids: RowIds | None

    @classmethod
    def of(cls, options: DataOptions, dataset: Dataset, others: Collection[str]) -> RowNames:
        """The names of the rows of a dataset, beside ``others``, the result's columns.

        Raises
        ------
        Failure
            If the column of ``--id`` has the name of one of these.
        """
        import numpy as np

        from lowerbound.data.sources import IdsInMemory

        images = options.images()
        ids = dataset.ids if images is None else IdsInMemory(FILE, np.array(images.names, object))
        if ids is not None and ids.name in others:
            raise Failure(f"--id {ids.name}: the result has a column of that name too, so rename yours")
        return cls(ids)

    def columns(self, first: int, last: int) -> dict[str, Any]:
        """The columns of the rows ``first`` to ``last`` − 1."""
        import numpy as np

        places = {ROW: np.arange(first, last)}
        return places if self.ids is None else places | {self.ids.name: self.ids.read(first, last)}
