"""Types of arguments that several estimators take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from lowerbound.data.columns.schema import ColumnSchema
from lowerbound.data.sources import Source

# rows of data, shape (n, *row): arrays, lists, frames, or what reads rows from files
Data = ArrayLike | Source

# how a table is described: "auto" or the name of a JSON file, kinds or fields by name, or the schemas of its columns
Columns = str | Mapping[str, str | Mapping[str, Any] | ColumnSchema] | Sequence[ColumnSchema | Mapping[str, Any]] | None
