"""NumPy's files: `.npy`, mapped and not loaded, and `.npz`. Pickled objects are never read."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lowerbound.data.checks import DataError, check_finite, check_labels, check_name, check_shape, listed
from lowerbound.data.readers.content import NPY, check_promise, content, explained, fill, first_bytes, native, opened
from lowerbound.data.readers.sequences import unpacked, with_lengths
from lowerbound.data.sources import IN_MEMORY, ArrayFile, Dataset, MappedArray, is_streamed
from lowerbound.storage.opening import size_of

LENGTHS = "_len"  # after the name of an array of steps, that of the array with the lengths of the sequences
_HEADER_BYTES = 1 << 14
_NUMBERS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}
_NOT_NUMBERS = {
    "O": "Python objects (a pickle), which are never read because they can run code",
    "U": "text",
    "S": "text",
    "M": "dates",
    "m": "spans of time",
    "c": "complex numbers",
    "V": "records (a structured array)",
}
_DESCR = re.compile(r"""['"]descr['"]\s*:\s*(?:['"]([^'"]*)['"]|\[)""")
_ORDER = re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)""")
_SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(([\s\dL,]*)\)""", re.ASCII)


class Header(NamedTuple):
    """The header of an `.npy` file; `dtype` is None for types that are never read."""

    shape: tuple[int, ...]
    descr: str
    dtype: np.dtype | None
    order: str
    offset: int

    @property
    def kind(self) -> str:
        """The letter of the type: ``f`` for floats, ``O`` for objects."""
        return self.descr.lstrip("<>|=")[:1]

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * (self.dtype.itemsize if self.dtype else 0)

    def __str__(self) -> str:
        named = {"O": "objects", "V": "records"}.get(self.kind, self.descr[:20])
        return f"{self.shape} {self.dtype.name if self.dtype else named}"


def parse_header(head: bytes, name: str) -> Header:
    """Read the header of an `.npy` file from its first bytes.

    It is parsed with regular expressions, where NumPy evaluates a literal: no header can warn, recurse or allocate.

    Parameters
    ----------
    head : bytes
        The first bytes of the file.
    name : str
        The file's name in messages.

    Returns
    -------
    Header
        The shape, type and order of the array, and the offset of its values.
    """
    if content(head) != NPY or len(head) < 12:
        raise DataError(f"{name} does not start like a NumPy array; save it again with numpy.save.")
    start = 10 if head[6] == 1 else 12
    length = int.from_bytes(head[8:start], "little")
    text = head[start : start + length].decode("latin-1")
    descr, order, shape = _DESCR.search(text), _ORDER.search(text), _SHAPE.search(text)
    if not (descr and order and shape):
        raise DataError(f"{name} has a damaged header, which does not give the shape and type of the array.")
    sizes = tuple(int(size[:20]) for size in re.findall(r"\d+", shape[1], re.ASCII))
    kind = descr[1] if descr[1] is not None else "V"  # a list describes a structured array
    return Header(sizes, kind, _dtype(kind), "F" if order[1] == "True" else "C", start + length)


def _dtype(descr: str) -> np.dtype | None:
    """Return the type of numbers and of text of fixed width; None for others."""
    is_number = descr.lstrip("<>|=") in _NUMBERS and descr[:-2] in ("<", ">", "|", "=", "")
    is_text = re.fullmatch(r"[<>|=]?[US][1-9]\d{0,5}", descr, re.ASCII)
    return np.dtype(descr) if is_number or is_text else None


def _check_numbers(header: Header, name: str) -> np.dtype:
    """Refuse anything but numbers."""
    if header.kind in _NOT_NUMBERS:
        raise DataError(f"{name} holds {_NOT_NUMBERS[header.kind]}; save it again as an array of numbers.")
    return _check_readable(header, name)


def _check_readable(header: Header, name: str) -> np.dtype:
    """Refuse types that have no plain values."""
    if header.dtype is None:
        what = _NOT_NUMBERS.get(header.kind, f"values of type '{header.descr[:20]}', which cannot be read")
        raise DataError(f"{name} holds {what}; save it again as float64 or text.")
    return header.dtype


def read_npy(path: Path, name: str, *, stream: bool | None = None) -> Dataset:
    """Read an `.npy` file; one that takes much memory is mapped, and its rows are loaded when they are used.

    A file that is cut while it is mapped ends the process, so that smaller ones are not.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        The file's name in messages.
    stream : bool | None
        Check rows only when they are used; None does so for data that take much memory.

    Returns
    -------
    Dataset
        The array, shape ``(n, *event)``, or a source of its rows.
    """
    header = parse_header(first_bytes(path, name, _HEADER_BYTES), name)
    dtype = _check_numbers(header, name)
    check_shape(header.shape, name)
    promised, size = header.offset + header.size, size_of(path, DataError, name)
    if promised != size:
        wrong = "is cut short" if promised > size else "is damaged"
        raise DataError(f"{name} {wrong}: its header promises {promised:,} bytes and it has {size:,}.")
    if header.order == "C" and is_streamed(source := ArrayFile(path, name, header.shape, dtype, header.offset), stream):
        return Dataset(source, None, name)
    if not stream and header.size <= IN_MEMORY:
        with opened(path, name) as file:
            file.seek(header.offset)
            x = fill(file, header.shape, dtype, header.order, name)
    else:
        with explained(name):
            mapped = np.memmap(path, dtype, "r", header.offset, header.shape, header.order)  # pyright: ignore
        if is_streamed(source := MappedArray(mapped, name, path), stream):
            return Dataset(source, None, name)
        x = native(mapped)
    check_finite(x, name)
    return Dataset(x, None, name)


def read_npz(
    path: Path, name: str, *, key: str | None = None, label: str | None = None, lengths: str | None = None,
    bits: int | None = None,
) -> Dataset:  # fmt: skip
    """Read one array of an `.npz` archive, and others as its labels and as the lengths of sequences.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        The file's name in messages.
    key : str | None
        The array to read; may be left out where there is only one besides the labels.
    label : str | None
        The array with a label for each row, or sequence.
    lengths : str | None
        The array with the number of steps of each sequence; None takes ``KEY_len`` if it is there, "none" rows alone.
    bits : int | None
        Rows are that many bits, packed by ``numpy.packbits(…, axis=1)``.

    Returns
    -------
    Dataset
        The array, shape ``(n, *event)``; with lengths, ``Sequences``.
    """
    with explained(name):
        archive = zipfile.ZipFile(path)
    with archive:
        members = _Members(archive, name, path.stat().st_size)
        key = members.choose(key, label)
        lengths = members.lengths_of(key, lengths)
        in_steps = lengths is not None and bits is None
        x: Any = members.read_steps(key, path) if in_steps else members.read(key, numbers=True)
        of_each = None if lengths is None else members.read(lengths, numbers=True)
        labels = None if label is None else members.read(label)
    called = f"{name}[{key}]"
    if isinstance(x, np.ndarray):
        check_finite(x, called)
    if bits is not None:
        x = unpacked(x, bits, called)
    if of_each is not None:
        x = with_lengths(x, of_each, called, f"{name}[{lengths}]")
    if labels is not None:
        labels = check_labels(labels, len(x), f"{name}[{label}]")
    return Dataset(x, labels, called)


def read_members(path: Path, name: str, keys: Sequence[str]) -> list[np.ndarray]:
    """Read some arrays of numbers of an `.npz` archive; raises ``DataError``."""
    with opened(path, name) as file, zipfile.ZipFile(file) as archive:
        members = _Members(archive, name, size_of(path, DataError, name))
        for key in keys:
            check_name(key, list(members.infos), "array", name)
        return [members.read(key, numbers=True) for key in keys]


_ZIP_HEADER = 30  # bytes before the name of a member of an archive; the last four are the lengths of what follows


class _Members:
    """The arrays of an open `.npz` archive, by name."""

    def __init__(self, archive: zipfile.ZipFile, name: str, packed: int):
        self.archive, self.name, self.packed = archive, name, packed
        arrays = (info for info in archive.infolist() if info.filename.endswith(".npy"))
        self.infos = {info.filename.removesuffix(".npy"): info for info in arrays}

    def choose(self, key: str | None, label: str | None) -> str:
        """Return the key of the array to read: the one given, or the only one."""
        names = list(self.infos)
        for wanted in (key, label):
            if wanted is not None:
                check_name(wanted, names, "array", self.name)
        if key is not None and key == label:
            raise DataError(f"{self.name}[{key}] cannot be both the data and the labels; choose another key or label.")
        if key is not None:
            return key
        others = [each for each in names if each != label and each.removesuffix(LENGTHS) not in {*names} - {each}]
        if not others:
            raise DataError(f"{self.name} holds no arrays to read; save it again with numpy.savez.")
        if len(others) > 1:
            arrays = listed(others, lambda each: f"{each} {self.header(each)}")
            raise DataError(
                f"{self.name} holds {len(others)} arrays; choose one by key, such as {others[0]}: {arrays}."
            )
        return others[0]

    def lengths_of(self, key: str, lengths: str | None) -> str | None:
        """The array with the lengths of sequences: the one asked for, or that of this name; None if there is none."""
        if lengths is not None and lengths != "none":
            check_name(lengths, list(self.infos), "array", self.name)
            return lengths
        own = f"{key}{LENGTHS}"
        is_there = lengths is None and own in self.infos and len(self.header(own).shape) == 1
        return own if is_there and self.header(own).kind in ("i", "u") else None

    def header(self, key: str) -> Header:
        """Read the header of one array."""
        name = f"{self.name}[{key}]"
        with explained(name), self.archive.open(self.infos[key]) as stream:
            return parse_header(stream.read(_HEADER_BYTES), name)

    def _checked(self, key: str, *, numbers: bool) -> tuple[str, np.dtype]:
        """The name of an array in messages, and its type, after checking that its header is true."""
        name, info, header = f"{self.name}[{key}]", self.infos[key], self.header(key)
        dtype = (_check_numbers if numbers else _check_readable)(header, name)
        check_shape(header.shape, name)
        promised = header.offset + header.size
        if promised != info.file_size:
            raise DataError(f"{name} is damaged: {promised:,} bytes were promised, {info.file_size:,} are there.")
        return name, dtype

    def read_steps(self, key: str, path: Path) -> np.ndarray | ArrayFile:
        """Read the steps of sequences; if they take much memory and are not compressed, as a source of its rows."""
        info, header = self.infos[key], self.header(key)
        is_plain = info.compress_type == zipfile.ZIP_STORED and header.order == "C" and len(header.shape) == 2
        if not is_plain or header.size <= IN_MEMORY:
            return self.read(key, numbers=True)
        name, dtype = self._checked(key, numbers=True)
        with explained(name), path.open("rb") as file:
            file.seek(info.header_offset + _ZIP_HEADER - 4)
            first = info.header_offset + _ZIP_HEADER + sum(np.frombuffer(file.read(4), "<u2").tolist())
        return ArrayFile(path, name, header.shape, dtype, first + header.offset)

    def read(self, key: str, *, numbers: bool = False) -> np.ndarray:
        """Read one array, after checking that the archive is large enough to hold it."""
        name, dtype = self._checked(key, numbers=numbers)
        info, header = self.infos[key], self.header(key)
        promised = header.offset + header.size
        check_promise(promised, min(info.compress_size, self.packed), name)
        with explained(name), self.archive.open(info) as stream:
            stream.read(header.offset)
            return fill(stream, header.shape, dtype, header.order, name)
