"""The rows that are compressed as the code takes them, and a block of them at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lowerbound.compression import sequences, texts
from lowerbound.compression.arrays import ArrayCode, EntriesCode, RowsCode
from lowerbound.compression.columns import name_of
from lowerbound.compression.sequences import SequencesCode
from lowerbound.compression.tables import TableCode
from lowerbound.compression.text_files import TextFile
from lowerbound.compression.texts import TextsCode
from lowerbound.data.schema import Schema
from lowerbound.data.sequences import Sequences
from lowerbound.data.sources import Source, as_source
from lowerbound.data.texts import Texts, TextSchema
from lowerbound.estimators.fitted import Fitted
from lowerbound.models.sequence import SequenceModel

BLOCK_ENTRIES = 2**23  # of the rows of a block


def as_rows(fitted: Fitted, X: Any) -> Any:
    """Texts, a text file or rows, as the functions below take them."""
    if isinstance(fitted.schema, TextSchema):
        return TextFile.read(X) if isinstance(X, Path) else Texts.of(X)
    return X


@dataclass(frozen=True)
class Part:
    """Some rows: as the user gives them, as the model's check returns them, and their context."""

    X: Any
    checked: Any
    context: Tensor | None


def parts_of(fitted: Fitted, X: Any, rows: RowsCode) -> Iterator[Part]:
    """The rows, a block at a time."""
    if isinstance(rows, TextsCode):
        yield from _texts(fitted, X)
        return
    if isinstance(rows, SequencesCode):
        yield from _sequences(fitted, Sequences.of(X), rows)
        return
    source, n = as_source(X), max(1, BLOCK_ENTRIES // max(1, rows.counted.size))
    if isinstance(source, Source):
        for block in source.blocks(n):
            some = block.X if source.is_mixed else source.as_array(block.X)
            checked = fitted.check(some)
            yield Part(rows.of_user(some, checked), checked, fitted.coded_context(len(checked)))
        return
    checked = fitted.check(X)
    context = fitted.coded_context(len(checked))
    for first in range(0, len(checked), n):
        part = slice(first, first + n)
        yield Part(rows.of_user(X, checked)[part], checked[part], None if context is None else context[part])


def _texts(fitted: Fitted, X: Texts | TextFile) -> Iterator[Part]:
    context, first = fitted.coded_context(len(X)), 0
    for part, checked in texts.blocks_of(X, BLOCK_ENTRIES):
        last = first + len(checked)
        yield Part(part, checked, None if context is None else context[first:last])
        first = last


def _sequences(fitted: Fitted, X: Sequences, rows: SequencesCode) -> Iterator[Part]:
    assert isinstance(fitted.model, SequenceModel)
    n = max(1, BLOCK_ENTRIES // max(rows.counted.size, fitted.model.past.hidden_size))
    for part in sequences.blocks_of(X, n):
        checked = fitted.check(part)
        yield Part(rows.of_user(part, checked), checked, None)


def rows_code(fitted: Fitted, X: Any, decimals: int | None) -> RowsCode:
    """The code of the rows of ``X``, by what they are."""
    if isinstance(fitted.schema, TextSchema):
        return TextsCode(fitted.schema, "file" if isinstance(X, TextFile) else "list")
    if not isinstance(fitted.model, SequenceModel):
        if fitted.schema.columns is not None:
            source = as_source(X)
            return TableCode.like(fitted.schema, source.spread(2).X if isinstance(source, Source) else X, decimals)
        return _array_code(fitted.schema, X, fitted.check(X), decimals, masked=isinstance(X, np.ma.MaskedArray))
    found = Sequences.of(X)
    found = found.subset(np.arange(min(2, len(found)))) if found.is_streamed else found
    form = "Sequences" if isinstance(X, Sequences) else "list" if isinstance(X, (list, tuple)) else "array"
    given = [found.steps] if form == "Sequences" else X
    masked = any(isinstance(x, np.ma.MaskedArray) for x in (given if form != "array" else [X]))
    if fitted.schema.columns is not None:
        steps: EntriesCode = TableCode.like(fitted.schema, found.steps, decimals)
    else:
        steps = _array_code(fitted.schema, found.steps, fitted.check(found).steps, decimals, masked=masked)
    return SequencesCode(fitted.schema, steps, fitted.model.ends is not None, form, found.container)


def _array_code(schema: Schema, X: Any, checked: Any, decimals: int | None, *, masked: bool) -> ArrayCode:
    """The code of arrays of numbers, or frames of them."""
    columns = None
    if getattr(X, "columns", None) is not None:
        types = getattr(X, "dtypes", [checked.dtype] * len(X.columns))
        columns = [[name_of(name), str(dtype)] for name, dtype in zip(X.columns, types, strict=True)]
    return ArrayCode(schema, checked.dtype, decimals, masked, columns)
