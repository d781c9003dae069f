"""Sequences as whole numbers: their steps as rows, their lengths, and what a container holds besides."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowerbound.compression import index
from lowerbound.compression.arrays import ArrayCode, CodedBlock, EntriesCode, RowsCode
from lowerbound.compression.lengths import Lengths
from lowerbound.compression.tables import TableCode
from lowerbound.data.frames import CONTAINERS, in_container, is_frame
from lowerbound.data.schema import Schema
from lowerbound.data.sequences import Sequences, cut

STEPS: dict[str, type[EntriesCode]] = {"array": ArrayCode, "table": TableCode}
FORMS = ("list", "array", "Sequences")
EXAMPLE = (3, 1, 2)  # steps of the sequences of an example


@dataclass
class Parts:
    """Sequences in parts.

    Attributes
    ----------
    steps : array or frame, shape (ΣT, F)
    lengths : ndarray of int64, shape (n,)
    times : Index or None
        Of the steps; None if they are counted from 0.
    ids : ndarray or None
        The names of the sequences.
    """

    steps: Any
    lengths: np.ndarray
    times: Any
    ids: np.ndarray | None


class Ragged:
    """Rows of unequal lengths, one after another."""

    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def starts(self) -> np.ndarray:
        """The place of the first step of each, shape (n,)."""
        return np.cumsum(self.lengths) - self.lengths


@dataclass
class CodedSequences(Ragged):
    """Sequences as whole numbers.

    Attributes
    ----------
    steps : CodedBlock
        The steps of all as rows, one sequence after another.
    lengths : ndarray of int64, shape (n,)
    apart : bytes
        Times and names.
    """

    steps: CodedBlock
    lengths: np.ndarray
    apart: bytes = b""


@dataclass
class SequencesCode(RowsCode):
    """Sequences of arrays or frames.

    Parameters
    ----------
    schema : Schema
        Of the steps.
    steps : ArrayCode or TableCode
    has_ends : bool
        The model says where sequences end.
    form : {"list", "array", "Sequences"}
        What the user's sequences are.
    library : str
        Of the user's frames.
    """

    schema: Schema
    steps: EntriesCode
    has_ends: bool = False
    form: str = "list"
    library: str = "pandas"

    def __post_init__(self) -> None:
        self.counted: np.ndarray = self.schema.counted

    def describe(self) -> list[Any]:
        """The form and the library, and what the code of the steps says."""
        kind = next(name for name, kind in STEPS.items() if type(self.steps) is kind)
        return [self.has_ends, self.form, self.library, kind, self.steps.describe()]

    @classmethod
    def of(cls, schema: Schema, record: list[Any]) -> SequencesCode:
        """The inverse of ``describe``."""
        has_ends, form, library, kind, steps = record
        if form not in FORMS or library not in CONTAINERS:
            raise ValueError(f"there is no {form!r} of {library!r}")
        code = STEPS[kind].of(schema, steps)
        assert isinstance(code, EntriesCode)
        return cls(schema, code, has_ends, form, library)

    def example(self, n_rows: int) -> CodedSequences:
        """Fixed steps of sequences of a few steps each."""
        lengths = np.resize(EXAMPLE, n_rows).astype(np.int64)
        return CodedSequences(self.steps.example(int(lengths.sum())), lengths)

    def of_user(self, X: Sequences, checked: Sequences) -> Parts:
        """The sequences in parts."""
        return Parts(self.steps.of_user(X.steps, checked.steps), X.lengths, index.index_of(X), X.ids)

    def take(self, X: Parts) -> CodedSequences:
        """Sequences as whole numbers."""
        return CodedSequences(self.steps.take(X.steps), X.lengths, index.to_bytes(X.times, X.ids))

    def n_numbers(self, block: CodedSequences) -> int:
        """The entries of all steps that count in the density."""
        return self.steps.n_numbers(block.steps)

    def bits_besides(self, block: CodedSequences) -> float:
        """Bits that the steps lack, of lengths that are given, of times and of names."""
        lengths = 0.0 if self.has_ends else Lengths.of(block.lengths).bits
        apart = 8 * len(zlib.compress(block.apart, 9)) if block.apart else 0
        return self.steps.bits_besides(block.steps) + lengths + apart

    def give(self, block: CodedSequences) -> Parts:
        """The sequences in parts."""
        return Parts(self.steps.give(block.steps), block.lengths, *index.from_bytes(block.apart))

    def join(self, blocks: Sequence[Parts]) -> Any:
        """The sequences of all blocks, as they were given."""
        steps = self.steps.join([block.steps for block in blocks])
        lengths = np.concatenate([block.lengths for block in blocks])
        steps = steps.set_axis(_times(blocks), axis=0) if is_frame(steps) else steps
        if self.form == "Sequences":
            ids = None if blocks[0].ids is None else np.concatenate([block.ids for block in blocks])  # type: ignore[misc]
            found = Sequences(steps, lengths, ids)
            found.container = self.library
            return found
        each = cut(steps, lengths)
        if self.form == "array":
            return (np.ma.stack if isinstance(steps, np.ma.MaskedArray) else np.stack)(each)
        return [in_container(x, self.library) if is_frame(x) else x for x in each]

    def are_same(self, X: Parts, again: Parts) -> bool:
        """The same steps, lengths, times and names."""
        same = np.array_equal(X.lengths, again.lengths) and self.steps.are_same(X.steps, again.steps)
        same = same and index.are_same(X.times, again.times)
        return bool(same and (X.ids is again.ids or np.array_equal(X.ids, again.ids)))  # type: ignore[arg-type]

    def digest(self, block: CodedSequences) -> int:
        """A checksum of the steps, of the lengths and of what is apart."""
        lengths = zlib.crc32(block.lengths.astype("<i8").tobytes(), zlib.crc32(block.apart))
        return zlib.crc32(self.steps.digest(block.steps).to_bytes(4, "little"), lengths)


def blocks_of(X: Sequences, n_steps: int) -> Iterator[Sequences]:
    """The sequences in blocks of so many steps, or of one sequence that is longer."""
    for rows in rows_of_blocks(X.lengths, n_steps):
        if X.is_streamed:
            yield X.subset(np.arange(rows.start, rows.stop))
            continue
        start, end = X.starts[rows.start], X.starts[rows.stop - 1] + X.lengths[rows.stop - 1]
        part = X.with_steps(X.steps.iloc[start:end] if is_frame(X.steps) else X.steps[start:end])
        part.lengths, part.ids = X.lengths[rows], None if X.ids is None else X.ids[rows]
        yield part


def rows_of_blocks(lengths: np.ndarray, n_steps: int) -> Iterator[slice]:
    """Ranges of rows that have so many steps together at most, or one row that is longer."""
    ends, first = np.cumsum(lengths), 0
    while first < len(lengths):
        before = ends[first] - lengths[first]
        last = max(first + 1, int(np.searchsorted(ends, before + n_steps, "right")))
        yield slice(first, last)
        first = last


def _times(blocks: Sequence[Parts]) -> Any:
    """The index of all steps."""
    import pandas as pd

    each = [pd.Index(counted(block.lengths)) if block.times is None else block.times for block in blocks]
    return each[0].append(each[1:])


def counted(lengths: np.ndarray) -> np.ndarray:
    """0, 1, … in each sequence."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
