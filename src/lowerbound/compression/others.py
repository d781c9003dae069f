"""The same rows by compressors that know nothing of them: zstd, xz, bzip2, PNG, WebP, Parquet."""

from __future__ import annotations

import bz2
import io
import lzma
import math
from typing import Any

import numpy as np

MOST_PIXELS = 16383  # on a side of a picture in WebP
CHANNELS = {1: "L", 3: "RGB"}


def sizes(X: Any, event_shape: tuple[int, ...]) -> dict[str, int]:
    """Bytes that others take for the same rows, by their names.

    Arrays of zeros and ones are packed to bits where that is smaller. All images of an array are tiles of a few large
    pictures. Tables are a CSV and a Parquet file.

    Parameters
    ----------
    X : ndarray, shape (n, *row), frame, or bytes
    event_shape : tuple of int
        (C, H, W) of images, with the rows' values in this order.
    """
    if isinstance(X, bytes):
        return _of_bytes(X)
    if hasattr(X, "columns"):
        text = X.to_csv(index=False).encode()
        return {**_of_bytes(text), "Parquet + zstd": _parquet(X)}
    X = np.ma.filled(X, 0) if isinstance(X, np.ma.MaskedArray) else np.asarray(X)
    found = _of_bytes(np.ascontiguousarray(X).tobytes())
    is_binary = X.dtype.kind in "iub" and bool(((X == 0) | (X == 1)).all())
    if is_binary:
        packed = _of_bytes(np.packbits(X.reshape(len(X), -1).astype(bool), axis=1).tobytes())
        found = {name: min(n, packed[name]) for name, n in found.items()}
    if len(event_shape) == 3 and event_shape[0] in CHANNELS and X.dtype == np.uint8:
        found |= _of_pictures(X.reshape(len(X), *event_shape), is_binary=is_binary)
    return found


def _of_bytes(content: bytes) -> dict[str, int]:
    import pyarrow as pa

    return {
        "zstd −19": len(pa.Codec("zstd", 19).compress(content)),
        "xz −9e": len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)),
        "bzip2 −9": len(bz2.compress(content, 9)),
    }


def _parquet(X: Any) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(X, preserve_index=False), file, compression="zstd", compression_level=19)
    return file.tell()


def _of_pictures(x: np.ndarray, *, is_binary: bool) -> dict[str, int]:
    """PNG and WebP of the images (n, C, H, W), in pictures of as many as fit."""
    from PIL import Image

    n, channels, height, width = x.shape
    across = max(1, min(MOST_PIXELS // width, math.isqrt(n)))
    down = max(1, min(MOST_PIXELS // height, math.ceil(n / across)))
    total = {"PNG": 0, "WebP": 0}
    for first in range(0, n, across * down):
        some = x[first : first + across * down]
        rows = math.ceil(len(some) / across)
        tiles = np.zeros((rows * across, channels, height, width), np.uint8)
        tiles[: len(some)] = some * 255 if is_binary else some
        sheet = tiles.reshape(rows, across, channels, height, width).transpose(0, 3, 1, 4, 2)
        sheet = sheet.reshape(rows * height, across * width, channels)
        picture = Image.fromarray(sheet if channels > 1 else sheet[..., 0], CHANNELS[channels])
        for name, how in (("PNG", {"optimize": True}), ("WebP", {"lossless": True, "quality": 100, "method": 6})):
            file = io.BytesIO()
            (picture.convert("1") if is_binary and name == "PNG" else picture).save(file, name, **how)
            total[name] += file.tell()
    return total
