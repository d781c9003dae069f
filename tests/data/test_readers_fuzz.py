"""Broken files of every format end in a `Dataset` or a `DataError`: never in another exception, a warning or a hang.

2,000 files, the same each time; LOWERBOUND_FUZZ=20000 tries more.
"""

import gzip
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lowerbound.data.checks import DataError
from lowerbound.data.readers.read import read
from lowerbound.data.sources import Dataset

rng = np.random.default_rng(0)
IMAGE = rng.integers(0, 256, (6, 7, 3), np.uint8)
TABLE = pd.DataFrame(
    {"x": rng.standard_normal(5), "n": range(5), "b": [True, False] * 2 + [True], "who": list("abcde")}
)


def written(save: Callable, *args, **options) -> bytes:
    file = io.BytesIO()
    save(file, *args, **options)
    return file.getvalue()


def zipped(method: int) -> Callable[[bytes], bytes]:
    def pack(data: bytes) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            archive.writestr("x.npy", data)
        return file.getvalue()

    return pack


def with_checksums(png: bytes) -> bytes:
    """Make the checksums of a broken PNG image true, so that what is broken is read."""
    out, start = png[:8], 8
    while start + 8 <= len(png):
        (length,) = struct.unpack(">I", png[start : start + 4])
        chunk = png[start + 4 : start + 8 + length]
        out += png[start : start + 4] + chunk + struct.pack(">I", zlib.crc32(chunk))
        start += 12 + length
    return out


def photograph() -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    return written(Image.fromarray(IMAGE).save, "JPEG", exif=exif)


NPY = written(np.save, rng.standard_normal((5, 3)))
CSV = TABLE.to_csv(index=False).encode() + b'1e3,2,true,"a ""b"", c"\r\n'
IDX = bytes((0, 0, 0x0D, 3)) + struct.pack(">3I", 4, 3, 2) + rng.standard_normal(24).astype(">f4").tobytes()

# the name of the file: what is broken, and how the broken bytes are packed
FORMATS = {
    "a.npy": (NPY, bytes),
    "stored/a.npz": (NPY, zipped(zipfile.ZIP_STORED)),
    "packed/a.npz": (NPY, zipped(zipfile.ZIP_DEFLATED)),
    "a.csv": (CSV, bytes),
    "a.csv.gz": (CSV, gzip.compress),
    "a.parquet": (TABLE.to_parquet(compression=None, use_dictionary=False), bytes),
    "a-idx3-ubyte": (IDX, bytes),
    "a-idx3-ubyte.gz": (IDX, gzip.compress),
    "png/a.png": (written(Image.fromarray(IMAGE).quantize(16).save, "PNG"), with_checksums),
    "jpg/a.jpg": (photograph(), bytes),
}
SEEDS = [pack(data) for data, pack in FORMATS.values()]
N_EXAMPLES = int(os.environ.get("LOWERBOUND_FUZZ", "2000")) // len(FORMATS)

EXTREME_BYTES = [
    b"\xff" * 4,
    b"\x7f" + b"\xff" * 7,
    b"\xff" * 7 + b"\x7f",
    b"\0" * 4,
    b"\x80",
    b"(999999999999999, 3)",
    b"'|O'",
    b"'<U9'",
    b"nan",
    b"-inf",
    b"1e999",
    b"9" * 40,
    b'"',
    b",",
    b"\n",
    b"\r",
    b";",
    b"\xe9",
    "é😀".encode(),
]
places = st.integers(0, 80) | st.integers(-80, -1) | st.integers(0, 1 << 13)  # the beginning, the end, anywhere
edits = st.one_of(
    st.tuples(st.just("cut"), places, places),
    st.tuples(st.just("flip"), places, st.integers(0, 7)),
    st.tuples(st.just("write"), places, st.sampled_from(EXTREME_BYTES)),
    st.tuples(st.just("insert"), places, st.sampled_from(EXTREME_BYTES)),
    st.tuples(st.just("splice"), places, st.sampled_from(SEEDS)),
    st.tuples(st.just("end"), places, st.just(0)),
)


def edited(data: bytes, edit: tuple) -> bytes:
    """Break some bytes in one way."""
    kind, place, what = edit
    at = place % (len(data) + 1)
    match kind:
        case "cut":
            return data[:at] + data[at + abs(what) :]
        case "flip":
            return data[:at] + bytes(byte ^ 1 << what for byte in data[at : at + 1]) + data[at + 1 :]
        case "write":
            return data[:at] + what + data[at + len(what) :]
        case "insert":
            return data[:at] + what + data[at:]
        case "splice":
            return data[:at] + what[at:]
        case _:
            return data[:at]


@pytest.mark.parametrize("name", FORMATS)
def test_broken_files_end_in_a_sentence(tmp_path, name):
    data, pack = FORMATS[name]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    source = path
    if name.endswith(("png", "jpg")):
        source = path.parent
        (source / f"b{path.suffix}").write_bytes(pack(data))
    rows, messages = [], []

    @settings(
        max_examples=N_EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(edits, min_size=1, max_size=4), st.booleans(), st.sampled_from([None, "who"]))
    def broken(changes, inside, label):
        broken = data if inside else pack(data)
        for change in changes:
            broken = edited(broken, change)
        path.write_bytes(pack(broken) if inside else broken)
        options = {"label": label} if "csv" in name or "parquet" in name else {}
        try:
            dataset = read(source, **options)
        except DataError as error:
            messages.append(str(error))
        else:
            rows.append(len(dataset.X))
            check(dataset)

    broken()
    assert rows, "some files should be broken in ways that leave them readable"
    assert messages
    assert all(message.isprintable() for message in messages)


def check(dataset: Dataset) -> None:
    """What every reader promises."""
    assert len(dataset.X) >= 1
    arrays = (
        [dataset.X] if isinstance(dataset.X, np.ndarray) else [dataset.X[column].to_numpy() for column in dataset.X]
    )
    assert arrays
    for array in arrays:
        assert array.dtype.kind in "biuf"
        assert not np.isinf(array).any()
    if dataset.labels is not None:
        assert dataset.labels.shape == (len(dataset.X),)
        assert all(isinstance(label, str | float | int | bool) for label in dataset.labels.tolist())
