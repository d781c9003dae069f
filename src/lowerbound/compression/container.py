"""The file of compressed rows: a header, blocks that don't depend on each other, and an index of them.

    MAGIC  version u16  n u32  header (n bytes)  crc32 u32           the header: SHA-256 of the model, probe, JSON
    "BLCK" rows u32  n u32  crc32 of n bytes  crc32 of the rows  crc32 of these five
    n bytes …                                                        for each block
    "ENDS" (place u64, rows u32) …  blocks u32  crc32 u32  MAGIC      the index

All numbers are little-endian.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lowerbound.storage.opening import MOST_JSON, size_of

MAGIC = b"\x89LBZ\r\n\x1a\n"  # bytes that a transfer as text would change
VERSION = 2  # of version 1 the grid of z has one step in a file
BLOCK, END = b"BLCK", b"ENDS"
START, HEAD, TAIL = struct.Struct("<8sHI"), struct.Struct("<4sIIIII"), struct.Struct("<II8s")
PLACE = struct.Struct("<QI")


class CompressedFileError(ValueError):
    """A file of compressed rows can't be read."""


class NotCompressedError(CompressedFileError):
    """The file was not written by ``compress``."""


class NewerFormatError(CompressedFileError):
    """The file has a format that is newer than this library."""


class WrongModelError(CompressedFileError):
    """The rows were compressed with another model."""


class OtherArithmeticError(CompressedFileError):
    """This machine, or this version of torch, computes other numbers than those that the file was written with."""


class DamagedError(CompressedFileError):
    """Bytes of the file have changed, or are missing.

    Attributes
    ----------
    block : int or None
        The block, counted from 0; None if it is the header or the index.
    """

    def __init__(self, message: str, block: int | None = None) -> None:
        super().__init__(message)
        self.block: int | None = block


@dataclass(frozen=True)
class Block:
    """Some rows.

    Attributes
    ----------
    n_rows : int
    payload : bytes
    digest : int
        CRC-32 of the rows themselves.
    """

    n_rows: int
    payload: bytes
    digest: int


@dataclass
class Writer:
    """Writes a file; ``finish`` ends it."""

    file: BinaryIO
    header: bytes
    index: bytes = END
    n_blocks: int = 0

    def __post_init__(self) -> None:
        if len(self.header) > MOST_JSON:
            raise CompressedFileError(f"the model is too large for the file ({len(self.header):,} bytes): leave it out")
        start = START.pack(MAGIC, VERSION, len(self.header)) + self.header
        self.file.write(start + _crc(start))

    def write(self, block: Block) -> None:
        """Append a block."""
        self.index += PLACE.pack(self.file.tell(), block.n_rows)
        self.n_blocks += 1
        head = HEAD.pack(BLOCK, block.n_rows, len(block.payload), zlib.crc32(block.payload), block.digest, 0)[:-4]
        self.file.write(head + _crc(head) + block.payload)

    def finish(self) -> None:
        """Write the index."""
        tail = self.index + struct.pack("<I", self.n_blocks)
        self.file.write(tail + _crc(tail) + MAGIC)


class Reader:
    """Reads a file that ``Writer`` wrote; a damaged block leaves the others readable.

    Attributes
    ----------
    header : bytes
    places : list of (int, int)
        Where each block begins, and its rows.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.file, self.name = file, name
        self.size: int = file.seek(0, 2)
        self.header: bytes = self._read_header()
        self.places: list[tuple[int, int]] = self._read_index()

    def _at(self, place: int, n: int) -> bytes:
        self.file.seek(place)
        return self.file.read(n)

    def _read_header(self) -> bytes:
        start = self._at(0, START.size)
        if start[: len(MAGIC)] != MAGIC[: len(start)] or not start:
            raise NotCompressedError(f"{self.name} is no file of compressed rows: lowerbound compress writes them")
        if len(start) < START.size:
            raise DamagedError(f"{self.name} ends within its header: copy the whole file")
        _, version, n = START.unpack(start)
        if version > VERSION:
            raise NewerFormatError(
                f"{self.name} has format version {version}, this lowerbound reads up to {VERSION}: update it"
            )
        header = self._at(START.size, n) if n <= MOST_JSON else b""
        if len(header) < n or self.file.read(4) != _crc(start + header):
            raise DamagedError(f"the header of {self.name} is damaged, without which no row can be read: copy it again")
        self.first = START.size + n + 4
        return header

    def _read_index(self) -> list[tuple[int, int]]:
        n, crc, magic = TAIL.unpack(self._at(max(0, self.size - TAIL.size), TAIL.size).rjust(TAIL.size, b"\0"))
        length = len(END) + PLACE.size * n
        if magic == MAGIC and length <= self.size:
            index = self._at(self.size - TAIL.size - length, length + 4)
            if zlib.crc32(index) == crc and index[: len(END)] == END:
                return list(PLACE.iter_unpack(index[len(END) : -4]))
        raise DamagedError(f"the end of {self.name} is missing or damaged, where its blocks are listed: copy it again")

    def __len__(self) -> int:
        return len(self.places)

    def block(self, i: int) -> Block:
        """Block ``i``, checked."""
        damaged = DamagedError(f"block {i} of {self.name} is damaged: its checksum isn't that of its bytes", i)
        place = self.places[i][0]
        head = self._at(place, HEAD.size) if place < self.size else b""
        if len(head) < HEAD.size or head[-4:] != _crc(head[:-4]) or head[:4] != BLOCK:
            raise damaged
        _, n_rows, n, crc, digest, _ = HEAD.unpack(head)
        if n_rows != self.places[i][1]:
            raise damaged
        payload = self.file.read(n) if n <= self.size else b""
        if len(payload) < n or zlib.crc32(payload) != crc:
            raise damaged
        return Block(n_rows, payload, digest)


@contextmanager
def opened(path: str | Path) -> Iterator[Reader]:
    """The reader of a file."""
    size_of(Path(path), CompressedFileError)
    with Path(path).open("rb") as file:
        yield Reader(file, str(path))


def inflated(content: bytes) -> bytes:
    """Content that zlib compressed, up to a limit; raises ``zlib.error``."""
    inflate = zlib.decompressobj()
    found = inflate.decompress(content, MOST_JSON)
    if not inflate.eof:
        raise zlib.error("it is cut, or longer than anything that was written")
    return found


def _crc(content: bytes) -> bytes:
    return struct.pack("<I", zlib.crc32(content))
