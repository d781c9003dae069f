"""IDX files, the format of MNIST: two zeros, the type, the number of dimensions, the sizes, the values.

Everything is big-endian. LeCun, Cortes & Burges, "The MNIST database of handwritten digits", 1998.
"""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import IO

import numpy as np

from lowerbound.data.checks import DataError, check_finite, check_shape
from lowerbound.data.readers.content import check_promise, explained, fill
from lowerbound.data.sources import Dataset

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path, name: str) -> Dataset:
    """Read an IDX file, plain or compressed with gzip.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        The file's name in messages.

    Returns
    -------
    Dataset
        The array, shape ``(n, *event)``, in the machine's own byte order.
    """
    packed = path.stat().st_size
    is_gzip = path.name.lower().endswith(".gz")
    with explained(name), gzip.open(path) if is_gzip else path.open("rb") as file:
        shape, dtype = _read_header(file, name)
        check_shape(shape, name)
        promised = math.prod(shape) * dtype.itemsize
        if not is_gzip and promised > packed:
            raise DataError(f"{name} is cut short: its header promises {promised:,} bytes and it has {packed:,}.")
        check_promise(promised, packed, name)
        x = fill(file, shape, dtype, "C", name)
    check_finite(x, name)
    return Dataset(x, None, name)


def _read_header(file: IO[bytes] | gzip.GzipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Read the shape and the type of the values that follow."""
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES:
        raise DataError(f"{name} does not start like an IDX file (with two zeros and the code of a type).")
    sizes = file.read(4 * head[3])
    if len(sizes) < 4 * head[3]:
        raise DataError(f"{name} is cut short: it claims {head[3]} dimensions and ends before their sizes.")
    return tuple(int(size) for size in np.frombuffer(sizes, ">u4")), np.dtype(_TYPES[head[2]])
