"""Opening files: their type by their first bytes, and errors in words.

Libraries raise some twenty kinds of exception at a damaged file. `explained` is the one place that turns them
into a `DataError`; it goes around the calls that open and parse files.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import GzipFile
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from lowerbound.data.checks import DataError
from lowerbound.storage.opening import size_of

NPY = "a NumPy array (.npy)"
ZIP = "a zip archive (as are .npz and .xlsx)"
PARQUET = "a Parquet file"
GZIP = "gzip-compressed data (.gz)"
IDX = "an IDX file"
PNG = "a PNG image"
JPEG = "a JPEG image"
TEXT = "text"

_MAGIC = {
    b"\x93NUMPY": NPY,
    b"PK\x03\x04": ZIP,
    b"PK\x05\x06": ZIP,
    b"PAR1\x15": PARQUET,  # with the byte that follows: PAR1 alone may be a column of a .csv
    b"\x1f\x8b": GZIP,
    b"\x89PNG\r\n\x1a\n": PNG,
    b"\xff\xd8\xff": JPEG,
    **{bytes((0, 0, code)): IDX for code in (0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E)},
    **{bytes((0x80, protocol)): "a Python pickle" for protocol in (2, 3, 4, 5)},
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"ARROW1\0\0": "an Arrow (Feather) file",
    b"MATLAB 5.0": "a MATLAB file",
    b"SQLite format 3\0": "an SQLite database",
    b"BZh": "bzip2-compressed data",
    b"\xfd7zXZ\0": "xz-compressed data",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"GIF8": "a GIF image",
    b"%PDF-": "a PDF document",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
}
_DAMAGE = (
    ArithmeticError,  # sizes that overflow
    EOFError,
    LookupError,
    OSError,
    RuntimeError,  # encrypted or unknown compression
    SyntaxError,  # Pillow's word for a broken image
    TypeError,  # odd metadata of images
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
_BLOCK = 1 << 24  # bytes read at once
_BEST_RATIO = 1032  # the highest compression ratio of deflate


@contextmanager
def explained(name: str, *others: type[Exception]) -> Iterator[None]:
    """Turn exceptions of libraries at a damaged file into a `DataError` that names the file.

    Parameters
    ----------
    name : str
        The file's name in the message.
    *others : type[Exception]
        Further exceptions of a library.
    """
    try:
        yield
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{name} does not fit in memory.") from error
    except PermissionError as error:
        raise DataError(f"{name} may not be read: permission denied.") from error
    except EOFError as error:
        raise DataError(f"{name} is cut short: it ends before its data do; copy it again.") from error
    except (*_DAMAGE, *others) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{name} cannot be read and is probably damaged ({reason}); save it again.") from error


@contextmanager
def opened(path: Path, name: str) -> Iterator[BinaryIO]:
    """Open a file, whose errors are those of ``explained``; a pipe or a device, without an end, is refused."""
    size_of(path, DataError, name)
    with explained(name), path.open("rb") as file:
        yield file


def first_bytes(path: Path, name: str, count: int = 64) -> bytes:
    """Read the first bytes of a file."""
    with opened(path, name) as file:
        return file.read(count)


def content(head: bytes) -> str | None:
    """Return the type of a file by its first bytes; None if they are unknown."""
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    return None


def check_content(path: Path, expected: str, name: str) -> None:
    """Refuse a file that is empty, or whose content doesn't match its name."""
    head = first_bytes(path, name)
    if not head:
        raise DataError(f"{name} is empty (0 bytes).")
    found = content(head)
    if found != (None if expected == TEXT else expected):
        holds = found or f"something else (it starts with {head[:12]!r})"
        raise DataError(f"{name} is named like {expected} but holds {holds}; rename it or save it again.")


def check_promise(promised: int, packed: int, name: str) -> None:
    """Refuse compressed data whose claimed size is impossible, before any memory is allocated."""
    if promised > _BEST_RATIO * (packed + 64):
        raise DataError(f"{name} claims {promised:,} bytes of data but is only {packed:,} bytes packed; it is damaged.")


def fill(stream: IO[bytes] | GzipFile, shape: tuple[int, ...], dtype: np.dtype, order: str, name: str) -> np.ndarray:
    """Read an array from a stream that holds the array and nothing more.

    Parameters
    ----------
    stream : IO[bytes]
        An open file, at the first value.
    shape, dtype, order : tuple[int, ...], np.dtype, str
        As in the header; ``order`` is ``C`` or ``F``.
    name : str
        The file's name in messages.

    Returns
    -------
    np.ndarray
        The array, in the machine's own byte order.
    """
    flat = np.empty(math.prod(shape), dtype)
    memory = flat.view(np.uint8).data
    filled = 0
    while filled < len(memory):
        count = stream.readinto(memory[filled : filled + _BLOCK])  # pyright: ignore[reportAttributeAccessIssue]
        if not count:
            raise DataError(f"{name} is cut short: {len(memory):,} bytes were promised, {filled:,} are there.")
        filled += count
    if stream.read(1):  # reading to the end also checks the checksum
        raise DataError(f"{name} is damaged: it goes on after the {len(memory):,} bytes its header promises.")
    return native(flat.reshape(shape, order=order))  # pyright: ignore[reportCallIssue, reportArgumentType]


def native(x: np.ndarray) -> np.ndarray:
    """Return an array in the machine's own byte order, copied only if it has another."""
    return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))
