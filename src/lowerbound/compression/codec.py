"""A fitted model as the code of blocks of rows, and the header that says how to make it again."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lowerbound.compression.arrays import ArrayCode, RowsCode
from lowerbound.compression.bits_back import Grid
from lowerbound.compression.blocks import Blocks, blocks_for, example_context, suited
from lowerbound.compression.container import Block, CompressedFileError, inflated
from lowerbound.compression.message import Message
from lowerbound.compression.models import MOST_CELLS, MOST_ROWS
from lowerbound.compression.sequences import SequencesCode
from lowerbound.compression.tables import TableCode
from lowerbound.compression.texts import TextsCode
from lowerbound.estimators.fitted import Fitted
from lowerbound.storage.opening import parse_json

PROBED = 3  # rows of the probe
FRONT = struct.Struct("<32sII")  # SHA-256 of the model, probe, bytes of the record
KINDS: dict[str, type[RowsCode]] = {
    "array": ArrayCode,
    "table": TableCode,
    "sequences": SequencesCode,
    "texts": TextsCode,
}

UNREADABLE = (  # what the reading of a block raises whose content is not what was written
    ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class Codec:
    """A fitted model that codes rows of one kind.

    Attributes
    ----------
    fitted : Fitted
        In float64, on the CPU.
    rows : RowsCode
    grid : Grid
    most : int
        Rows of a step.
    blocks : Blocks
    """

    fitted: Fitted
    rows: RowsCode
    grid: Grid
    most: int
    blocks: Blocks

    @classmethod
    @torch.no_grad()
    def make(cls, fitted: Fitted, rows: RowsCode, grid: Grid, most: int) -> Codec:
        """The codec with this grid and so many rows to a step."""
        return cls(fitted, rows, grid, most, blocks_for(fitted, rows, grid, most))

    @classmethod
    @torch.no_grad()
    def suited(cls, fitted: Fitted, rows: RowsCode, first: Any, context: Tensor | None) -> Codec:
        """The codec with the grid and the steps that suit some rows."""
        return cls.make(fitted, rows, *suited(fitted, rows, first, context))

    def record(self) -> list[Any]:
        """The record of JSON that ``of`` is called with."""
        kind = next(name for name, kind in KINDS.items() if type(self.rows) is kind)
        return [kind, self.rows.describe(), self.grid.step, self.grid.reach, self.most]

    @classmethod
    def of(cls, fitted: Fitted, record: list[Any]) -> Codec:
        """The inverse of ``record``."""
        try:
            kind, rows, step, reach, most = record
            if not (type(most) is int and 1 <= most <= MOST_ROWS and 0 < step <= 1 and 0 < reach <= MOST_CELLS):
                raise ValueError("a grid or a number of rows that no file has")
            return cls.make(fitted, KINDS[kind].of(fitted.schema, rows), Grid(step, reach), most)
        except (KeyError, TypeError, ValueError) as error:
            raise CompressedFileError(f"the header says nothing that makes a code ({error!r})") from error

    @torch.no_grad()
    def write(self, coded: Any, context: Tensor | None) -> Block:
        """A block of the file."""
        payload = self.blocks.write(coded, context).to_bytes()
        return Block(len(coded), payload, self.rows.digest(coded))

    @torch.no_grad()
    def read(self, block: Block, context: Tensor | None) -> Any:
        """The inverse of ``write``; None if what was read isn't what was written."""
        try:
            message = Message.from_bytes(block.payload, self.most, self.rows.counted.size)
            coded = self.blocks.read(message, block.n_rows, context)
        except UNREADABLE:
            return None
        return coded if self.rows.digest(coded) == block.digest else None

    @torch.no_grad()
    def probe(self) -> int:
        """A checksum of the words that some fixed rows become."""
        message = self.blocks.write(self.rows.example(PROBED), example_context(self.fitted, PROBED))
        return zlib.crc32(message.words.astype("<u4").tobytes())


@dataclass(frozen=True)
class Header:
    """The header of a file.

    Attributes
    ----------
    sha256 : bytes
        Of the model.
    probe : int
    record : list
        Of the codec.
    model : bytes
        The model itself; empty where it isn't in the file.
    """

    sha256: bytes
    probe: int
    record: list[Any]
    model: bytes = b""

    def to_bytes(self) -> bytes:
        """The bytes of the file's header."""
        record = zlib.compress(json.dumps(self.record, separators=(",", ":")).encode(), 9)
        return FRONT.pack(self.sha256, self.probe, len(record)) + record + self.model

    @classmethod
    def from_bytes(cls, content: bytes) -> Header:
        """The inverse of ``to_bytes``; raises ``CompressedFileError``."""
        try:
            sha256, probe, n = FRONT.unpack(content[: FRONT.size])
            end = FRONT.size + n
            record = parse_json(inflated(content[FRONT.size : end]), CompressedFileError, "the header")
        except (struct.error, zlib.error) as error:
            raise CompressedFileError(f"the header can't be read ({error})") from error
        return cls(sha256, probe, record, content[end:])
