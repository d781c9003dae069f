"""The readers: every format there and back, and every sentence that a user may meet."""

import gzip
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from lowerbound.data.checks import DataError
from lowerbound.data.readers.read import read
from lowerbound.data.sources import Dataset

rng = np.random.default_rng(0)
GREY = rng.integers(0, 256, (6, 5, 4), np.uint8)
COLOR = rng.integers(0, 256, (6, 5, 4, 3), np.uint8)
FLOATS = rng.standard_normal((6, 3))
IDX_CODES = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


def says(*words: str):
    """Expect a `DataError` with these words in this order, in one line."""
    return pytest.raises(DataError, match=r"(?i)\A[^\n]*" + r"[^\n]*".join(map(_escape, words)) + r"[^\n]*\Z")


def _escape(word: str) -> str:
    return "".join(f"\\{letter}" if letter in r".^$*+?{}[]()|\\" else letter for letter in word)


def npy_bytes(array: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npy_claim(shape: str, descr: str = "'<f8'", data: bytes = b"") -> bytes:
    """An `.npy` file whose header claims what it likes."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def idx_bytes(array: np.ndarray, code: int) -> bytes:
    return bytes((0, 0, code, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def png_bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def put(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def put_image(path: Path, array: np.ndarray, mode: str | None = None, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


# --- there and back ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "i4", "u8", "f2", "f4", "f8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("is_mapped", [False, True])
def test_npy_is_read_as_it_was_saved(tmp_path, monkeypatch, dtype, order, is_mapped):
    """A large file is mapped, read-only, where it isn't streamed."""
    array = np.array(FLOATS * 10, dtype=dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    monkeypatch.setattr("lowerbound.data.readers.arrays.IN_MEMORY", 0 if is_mapped else 2**28)
    dataset = read(tmp_path / "a.npy", stream=False)
    assert isinstance(dataset, Dataset)
    assert isinstance(dataset.X, np.memmap) == is_mapped
    assert dataset.X.flags.writeable != is_mapped
    assert dataset.X.dtype == array.dtype
    np.testing.assert_array_equal(dataset.X, array)
    assert dataset.labels is None
    assert dataset.source == "a.npy"


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_of_every_version_of_the_format(tmp_path, version):
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, FLOATS, version)
    np.testing.assert_array_equal(read(tmp_path / "a.npy").X, FLOATS)


def test_npy_written_by_python_2_and_big_endian(tmp_path):
    header = npy_claim("(6L, 3L)", "'>f8'", FLOATS.astype(">f8").tobytes())
    x = read(put(tmp_path / "a.npy", header)).X
    assert x.dtype.isnative
    np.testing.assert_array_equal(x, FLOATS)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    path = tmp_path / "a.npz"
    save(
        path,
        x=GREY,
        y=np.arange(6),
        names=np.array(list("abcdef")),
        bytes=np.array([b"a"] * 6),
        f=np.asfortranarray(FLOATS),
    )
    dataset = read(path, key="x", label="y")
    np.testing.assert_array_equal(dataset.X, GREY)
    np.testing.assert_array_equal(dataset.labels, np.arange(6))
    assert dataset.source == "a.npz[x]"
    assert read(path, key="x", label="names").labels.tolist() == list("abcdef")
    assert read(path, key="x", label="bytes").labels.dtype.kind == "U"
    np.testing.assert_array_equal(read(path, key="f").X, FLOATS)


def test_npz_with_one_array_needs_no_key(tmp_path):
    np.savez(tmp_path / "one.npz", x=GREY)
    np.savez(tmp_path / "two.npz", x=GREY, y=np.arange(6))
    assert read(tmp_path / "one.npz").source == "one.npz[x]"
    assert read(tmp_path / "two.npz", label="y").source == "two.npz[x]"


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "A.CSV"])
def test_csv(tmp_path, name):
    frame = pd.DataFrame({"x": FLOATS[:, 0], "n": np.arange(6), "b": FLOATS[:, 1] > 0, "who": list("abcdef")})
    frame.to_csv(tmp_path / name, index=False, compression="gzip" if name.endswith("gz") else None)
    dataset = read(tmp_path / name, label="who")
    pd.testing.assert_frame_equal(dataset.X, frame[["x", "n", "b"]])
    assert dataset.labels.tolist() == list("abcdef")
    assert dataset.labels.dtype.kind == "U"
    assert dataset.source == name
    assert list(read(tmp_path / name, drop=["who", "n"], label="b").X) == ["x"]
    assert read(tmp_path / name, drop="who", label="n").labels.tolist() == list(range(6))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_csv_of_every_dialect(tmp_path, separator, newline, mark):
    lines = [separator.join(('"a"', "b b")), "", separator.join(("1", '"2.5"')), "  ", separator.join(("3", "4")), ""]
    x = read(put(tmp_path / "a.csv", mark + newline.join(lines))).X
    pd.testing.assert_frame_equal(x, pd.DataFrame({"a": [1, 3], "b b": [2.5, 4.0]}))


def test_csv_keeps_an_unnamed_column_under_the_name_pandas_gives_it(tmp_path):
    pd.DataFrame({"a": [5, 6]}).to_csv(tmp_path / "a.csv")
    assert list(read(tmp_path / "a.csv").X) == ["Unnamed: 0", "a"]
    assert list(read(tmp_path / "a.csv", drop=["Unnamed: 0"]).X) == ["a"]


def test_csv_columns_may_be_counted(tmp_path):
    pd.DataFrame(FLOATS).to_csv(tmp_path / "a.csv", index=False)
    np.testing.assert_array_equal(read(tmp_path / "a.csv").X.to_numpy(), FLOATS)


def test_csv_integers_too_large_for_64_bits_become_floats(tmp_path):
    assert read(put(tmp_path / "a.csv", "a\n99999999999999999999\n1\n")).X["a"].tolist() == [1e20, 1.0]


def test_parquet(tmp_path):
    frame = pd.DataFrame({"x": FLOATS[:, 0], "n": np.arange(6, dtype=np.int32), "b": FLOATS[:, 1] > 0})
    frame["who"] = pd.Categorical(list("aabbab"))
    frame["when"] = pd.date_range("2020", periods=6)
    frame.to_parquet(tmp_path / "a.parquet")
    dataset = read(tmp_path / "a.parquet", drop=["when"], label="who")
    pd.testing.assert_frame_equal(dataset.X, frame[["x", "n", "b"]])
    assert dataset.labels.tolist() == list("aabbab")
    assert read(tmp_path / "a.parquet", drop=["who"], label="when").labels[0].startswith("2020-01-01")


def test_parquet_leaves_out_the_stored_index(tmp_path):
    pd.DataFrame({"a": [1, 2, 3]}, index=[7, 8, 5]).to_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").X.to_dict() == {"a": {0: 1, 1: 2, 2: 3}}


@pytest.mark.parametrize("dtype", IDX_CODES)
@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte", "train.idx3-ubyte.gz"])
def test_idx(tmp_path, dtype, name):
    array = (GREY / 2).astype(dtype)
    data = idx_bytes(array, IDX_CODES[dtype])
    x = read(put(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data)).X
    assert x.dtype == array.dtype.newbyteorder("=")
    assert x.dtype.isnative
    np.testing.assert_array_equal(x, array)


def test_idx_of_one_dimension(tmp_path):
    data = idx_bytes(np.arange(6, dtype=np.uint8), 0x08)
    assert read(put(tmp_path / "labels-idx1-ubyte", data)).X.tolist() == list(range(6))


@pytest.mark.parametrize(
    ("images", "options"), [(GREY, {}), (COLOR, {}), (GREY, {"mode": "P"}), (GREY, {"mode": "LA"})]
)
def test_png_folder(tmp_path, images, options):
    for i in (3, 1, 0, 2, 5, 4):  # order comes from the names
        put_image(tmp_path / "faces" / f"{i}.png", images[i], **options)
    put(tmp_path / "faces" / "README.txt", "not an image")
    put(tmp_path / "faces" / "._0.png", "what macOS leaves behind")
    dataset = read(tmp_path / "faces")
    assert dataset.X.dtype == np.uint8
    np.testing.assert_array_equal(dataset.X, images)
    assert dataset.labels is None
    assert dataset.source == "faces"


def test_jpeg_folder_with_classes(tmp_path):
    for i, name in enumerate(("dog/b.jpg", "cat/z.JPEG", "dog/a.png")):
        put_image(tmp_path / "pets" / name, np.full((8, 8), 40 * i, np.uint8), format="PNG" if i == 2 else "JPEG")
    dataset = read(tmp_path / "pets")
    assert dataset.labels.tolist() == ["cat", "dog", "dog"]
    np.testing.assert_allclose(dataset.X[:, 0, 0], [40, 80, 0], atol=3)


def test_grey_and_color_together_become_color(tmp_path):
    put_image(tmp_path / "0.png", GREY[0])
    put_image(tmp_path / "1.png", COLOR[1])
    x = read(tmp_path).X
    assert x.shape == (2, 5, 4, 3)
    np.testing.assert_array_equal(x[0], np.repeat(GREY[0, :, :, None], 3, axis=2))
    np.testing.assert_array_equal(x[1], COLOR[1])


def test_black_and_white_and_palettes(tmp_path):
    put_image(tmp_path / "bits" / "0.png", GREY[0] > 127)
    put_image(tmp_path / "bits" / "1.png", GREY[1])
    np.testing.assert_array_equal(read(tmp_path / "bits").X[0], np.where(GREY[0] > 127, 255, 0))
    for i in range(2):
        Image.fromarray(COLOR[i]).quantize(256).save(tmp_path / f"{i}.png")
    np.testing.assert_array_equal(read(put(tmp_path / "bits.txt", "").parent / "bits").X[1], GREY[1])


def test_opaque_alpha_is_taken_off(tmp_path):
    for i in range(2):
        put_image(tmp_path / f"{i}.png", COLOR[i], "RGBA")
    np.testing.assert_array_equal(read(tmp_path).X, COLOR[:2])


@pytest.mark.parametrize("held", range(10))
def test_photographs_are_turned_upright(tmp_path, held):
    exif = Image.Exif()
    exif[0x0112] = held
    for name in "ab":
        put_image(tmp_path / f"{name}.jpg", np.kron(GREY[0], np.ones((8, 8), np.uint8)), exif=exif)
    with Image.open(tmp_path / "a.jpg") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(read(tmp_path).X, [expected, expected])


def test_digits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / ".lock").touch()  # as ``train digits -o digits`` makes it
    dataset = read("digits")
    assert dataset.X.shape == (1797, 8, 8)
    assert dataset.X.dtype == np.uint8
    assert sorted(set(dataset.X.ravel().tolist())) == [round(v * 255 / 16) for v in range(17)]
    assert dataset.labels.shape == (1797,)
    assert set(dataset.labels.tolist()) == set(range(10))
    for i in range(2):
        put_image(tmp_path / "digits" / f"{i}.png", GREY[i])
    assert read("digits").X.shape == (2, 5, 4)


def test_a_reader_loads_only_what_it_needs(tmp_path):
    np.save(tmp_path / "a.npy", FLOATS)
    code = (
        "import sys; from lowerbound.data.readers.read import read; read(sys.argv[1]);"
        "print(*{'torch', 'pandas', 'pyarrow', 'PIL', 'sklearn'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "a.npy"], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_map_of_the_file_is_checked_in_constant_memory(tmp_path, monkeypatch, order):
    import tracemalloc

    monkeypatch.setattr("lowerbound.data.readers.arrays.IN_MEMORY", 2**26)
    np.save(tmp_path / "big.npy", np.zeros((4, 1 << 22), order=order))  # 128 MiB, in rows of 32 MiB
    tracemalloc.start()
    read(tmp_path / "big.npy")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


# --- finding the file -------------------------------------------------------------------------------------------


def test_a_missing_file_suggests_names_that_come_close(tmp_path):
    np.save(tmp_path / "faces.npy", FLOATS)
    with says("face.npy", "does not exist", "did you mean faces.npy"):
        read(tmp_path / "face.npy")
    with says("does not exist", "no folder", "nowhere"):
        read(tmp_path / "nowhere" / "faces.npy")
    with says("https://example.com/a.csv", "download"):
        read("https://example.com/a.csv")
    with says("empty"):
        read("")


def test_a_folder_named_like_a_file(tmp_path):
    (tmp_path / "faces.npy").mkdir()
    with says("faces.npy", "is a folder"):
        read(tmp_path / "faces.npy")


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    with says("a.csv", "neither a file nor a folder"):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize("name", ["a.doc", "a.pkl", "a"])
def test_a_name_that_says_nothing(tmp_path, name):
    with says(name, "not named like", ".npy", ".parquet", "folders", "a Python pickle"):
        read(put(tmp_path / name, pickle.dumps([1])))


def test_permission_denied(tmp_path, monkeypatch):
    path = put(tmp_path / "a.csv", "a\n1\n2\n")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with says("a.csv", "permission denied"):
        read(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["a.csv", "folder"])
def test_permission_denied_by_the_system(tmp_path, name):
    path = put(tmp_path / name / "0.png", b"").parent if name == "folder" else put(tmp_path / name, "a\n1\n")
    path.chmod(0)
    try:
        with says(name, "permission denied"):
            read(path)
    finally:
        path.chmod(0o700)


CONTENTS = {
    "a NumPy array": npy_bytes(FLOATS),
    "a zip archive": b"PK\x03\x04" + bytes(60),
    "a Parquet file": b"PAR1\x15" + bytes(60),
    "gzip": gzip.compress(b"a\n1\n"),
    "a PNG image": b"\x89PNG\r\n\x1a\n" + bytes(60),
    "a JPEG image": b"\xff\xd8\xff\xe0" + bytes(60),
    "a Python pickle": pickle.dumps([1, 2]),
    "an IDX file": idx_bytes(GREY, 0x08),
    "a web page": b"<!DOCTYPE html><html>",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\n",
    "UTF-16 text": "a\n1\n".encode("utf-16"),
}


PROMISES = {
    "a.npy": "a NumPy array",
    "a.npz": "a zip archive",
    "a.csv": "text",
    "a.csv.gz": "gzip",
    "a.parquet": "a Parquet file",
    "a-idx3-ubyte": "an IDX file",
    "a-idx3-ubyte.gz": "gzip",
}
SURPRISES = [(name, kind) for name, promise in PROMISES.items() for kind in CONTENTS if kind != promise]


@pytest.mark.parametrize(("name", "kind"), SURPRISES)
def test_a_file_that_is_not_what_its_name_says(tmp_path, name, kind):
    with says(name, "named like", "but holds", kind, "rename"):
        read(put(tmp_path / name, CONTENTS[kind]))


@pytest.mark.parametrize("name", PROMISES)
def test_an_empty_file(tmp_path, name):
    with says(name, "is empty"):
        read(put(tmp_path / name, b""))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("a.npy", {"key": "x"}, "key names an array of an .npz file"),
        ("a.npy", {"label": "x"}, "label names a column of a table or an array of an .npz"),
        ("a.npy", {"drop": ["x"]}, "drop names columns of a table"),
        ("a.csv", {"key": "x"}, "key names an array"),
        ("a.npz", {"drop": ["x"]}, "drop names columns"),
        ("digits", {"label": "x"}, "label names a column"),
    ],
)
def test_options_that_mean_nothing_here(tmp_path, monkeypatch, name, options, words):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", FLOATS)
    np.savez("a.npz", FLOATS)
    put(Path("a.csv"), "x\n1\n2\n")
    with says(name, words):
        read(name, **options)


# --- arrays -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([1, "a"], dtype=object), ["Python objects", "pickle"]),
        (np.array(["a", "b"]), ["text"]),
        (np.array([b"a", b"b"]), ["text"]),
        (np.array(["2020", "2021"], dtype="M8[s]"), ["dates"]),
        (np.array([1, 2], dtype="m8[s]"), ["spans of time"]),
        (np.array([1j, 2]), ["complex numbers"]),
        (np.zeros(2, dtype=[("a", "f4")]), ["records", "structured"]),
        (np.zeros(2, dtype="V3"), ["records"]),
        (np.float64(1), ["single number"]),
        (np.zeros((0, 3)), ["no rows", "at least one"]),
        (np.zeros((3, 0)), ["(3, 0)", "no values"]),
    ],
)
def test_arrays_that_are_not_rows_of_numbers(tmp_path, array, words):
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", x=array)
    with says("a.npy", *words):
        read(tmp_path / "a.npy")
    with says("a.npz[x]", *words):
        read(tmp_path / "a.npz")


@pytest.mark.skipif(np.dtype("g").itemsize == 8, reason="long double is double here")
def test_numbers_of_unusual_width(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3, "g"))
    with says("a.npy", "<f", "float64"):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_values(tmp_path, order, value):
    array = np.zeros((70, 40_000), np.float32, order=order)  # more than one chunk
    array[[3, 3, 69], [500, 7, 2]] = value
    np.save(tmp_path / "a.npy", array)
    with says("a.npy", "3 infinite values", "row 3, column 7 ", "drop"):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize("order", ["C", "F"])
def test_no_value_falls_between_two_chunks(tmp_path, monkeypatch, order):
    monkeypatch.setattr("lowerbound.data.checks._CHUNK", 4)
    for row, column in np.ndindex(5, 3):
        array = np.zeros((5, 3), order=order)
        array[row, column] = np.inf
        np.save(tmp_path / "a.npy", array)
        with says("1 infinite value", f"row {row}, column {column} "):
            read(tmp_path / "a.npy")


def test_missing_values_are_kept_and_infinite_ones_refused(tmp_path):
    images = np.zeros((2, 5, 4))
    images[1, 2, 3] = np.nan
    np.savez(tmp_path / "a.npz", x=images)
    np.testing.assert_array_equal(read(tmp_path / "a.npz").X, images)
    images[0, 0, 0] = np.inf
    np.savez(tmp_path / "a.npz", x=images)
    with says("a.npz[x]", "1 infinite value", "row 0, column (0, 0)", "drop"):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize("shape", ["(1000000000000000, 3)", f"({'9' * 400}, 3)", f"({2**62}, {2**62}, 4)"])
def test_an_npy_header_that_claims_too_much(tmp_path, shape):
    with says("a.npy", "cut short", "promises", "bytes"):
        read(put(tmp_path / "a.npy", npy_claim(shape, data=bytes(48))))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (npy_bytes(FLOATS)[:-8], ["cut short", "272", "264"]),
        (npy_bytes(FLOATS) + b"more", ["damaged", "272", "276"]),
        (npy_bytes(FLOATS)[:30], ["damaged header"]),
        (npy_bytes(FLOATS)[:7], ["does not start like a NumPy array"]),
        (npy_claim("(2, -3)", data=bytes(48)), ["damaged header"]),
        (npy_claim(f"({'1, ' * 200})", data=bytes(8)), ["200 dimensions"]),
        (npy_claim("(2,)", "'<q9'", bytes(16)), ["<q9"]),
        (npy_claim("(2,)", "'" + "<" * 5000 + "'", bytes(16)), ["cannot be read"]),
    ],
)
def test_a_damaged_npy(tmp_path, data, words):
    with says("a.npy", *words):
        read(put(tmp_path / "a.npy", data))


def test_npz_with_several_arrays_asks_for_a_key(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=GREY, y_train=np.arange(6), names=np.array([None]))
    with says("a.npz holds 3 arrays", "by key", "x_train (6, 5, 4) uint8", "y_train (6,) int64", "names (1,) objects"):
        read(tmp_path / "a.npz")
    with says("no array 'xtrain'", "did you mean 'x_train'", "y_train"):
        read(tmp_path / "a.npz", key="xtrain")
    with says("no array 'y'"):
        read(tmp_path / "a.npz", key="x_train", label="y")
    with says("a.npz[x_train]", "both"):
        read(tmp_path / "a.npz", key="x_train", label="x_train")
    np.savez(tmp_path / "many.npz", **{f"x{i}": GREY for i in range(30)})
    with says("30 arrays", "x19", "and 10 more"):
        read(tmp_path / "many.npz")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.arange(5), ["shape (5,)", "each of the 6 rows"]),
        (np.zeros((6, 2)), ["shape (6, 2)"]),
        (np.array([1, 2, 3, 4, 5, np.nan]), ["missing value", "row 5"]),
        (np.array([None] * 6), ["Python objects"]),
        (np.array([b"\xff"] * 6), ["cannot be decoded"]),
    ],
)
def test_npz_labels_that_do_not_fit(tmp_path, labels, words):
    np.savez(tmp_path / "a.npz", x=GREY, y=labels)
    with says("a.npz[y]", *words):
        read(tmp_path / "a.npz", label="y")


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_npz_without_arrays(tmp_path):
    with says("a.npz", "no arrays"):
        read(write_zip(tmp_path / "a.npz", {"xl/workbook.xml": b"<xml/>"}))
    np.savez(tmp_path / "a.npz", y=GREY)
    with says("a.npz", "no arrays"):
        read(tmp_path / "a.npz", label="y")


def test_npz_whose_directory_claims_100_terabytes(tmp_path):
    """The header and the directory agree on a size that the packed bytes cannot hold."""
    size = 100 * 10**12
    claim = npy_claim(f"({size // 80}, 10)", data=bytes(1000))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", claim)
        archive.getinfo("x.npy").file_size = size + len(claim) - 1000  # written to the directory
    with says("a.npz[x]", "claims 100,000,000,0", "packed"):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (npy_claim("(1000000000000000, 3)"), ["damaged", "bytes were promised"]),
        (npy_bytes(FLOATS)[:-8], ["damaged", "promised"]),
        (b"not an array", ["does not start like a NumPy array"]),
        (b"\x80\x04K\x01.", ["does not start like a NumPy array"]),
    ],
)
def test_npz_with_a_damaged_array(tmp_path, data, words):
    with says("a.npz[x]", *words):
        read(write_zip(tmp_path / "a.npz", {"x.npy": data}))


def test_a_damaged_zip(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=GREY)
    data = (tmp_path / "a.npz").read_bytes()
    with says("a.npz", "damaged"):
        read(put(tmp_path / "a.npz", data[:-30]))
    with says("a.npz", "damaged"):
        read(put(tmp_path / "a.npz", data[:100] + b"\0\0\0\0" + data[104:]))
    with says("a.npz", "damaged", "password"):
        encrypted = data.replace(b"PK\x03\x04\x2d\x00\x00", b"PK\x03\x04\x2d\x00\x01").replace(
            b"\x2d\x00\x00\x00\x08\x00", b"\x2d\x00\x01\x00\x08\x00"
        )
        read(put(tmp_path / "a.npz", encrypted))


def test_a_single_row_can_be_read(tmp_path):
    row = pd.DataFrame({"a": [1.5], "b": [2.0]})
    row.to_parquet(tmp_path / "a.parquet")
    row.to_csv(tmp_path / "a.csv", index=False)
    np.save(tmp_path / "a.npy", row.to_numpy())
    np.savez(tmp_path / "a.npz", x=row.to_numpy())
    put(tmp_path / "a-idx3-ubyte", idx_bytes(GREY[:1], 8))
    for name in ("a.parquet", "a.csv", "a.npy", "a.npz"):
        assert np.asarray(read(tmp_path / name).X).tolist() == [[1.5, 2.0]]
    np.testing.assert_array_equal(read(tmp_path / "a-idx3-ubyte").X, GREY[:1])


@pytest.mark.parametrize("name", ["a-idx3-ubyte", "a-idx3-ubyte.gz"])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bytes((0, 0, 8, 255)) + b"\xff" * 1020, ["255 dimensions"]),
        (bytes((0, 0, 8, 3)) + b"\xff" * 12, ["bytes"]),
        (bytes((0, 0, 8, 3)) + b"\xff" * 5, ["cut short", "3 dimensions"]),
        (idx_bytes(GREY, 8)[:-1], ["cut short", "promise"]),
        (idx_bytes(GREY, 8) + b"1", ["goes on after", "120 bytes"]),
        (idx_bytes(GREY[:0], 8), ["no rows"]),
        (idx_bytes(np.array([0, np.inf], ">f4"), 0x0D), ["1 infinite value", "row 1"]),
        (bytes((0, 0, 8)), ["does not start like an IDX file"]),
    ],
)
def test_a_damaged_idx(tmp_path, name, data, words):
    with says(name, *words):
        read(put(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data))


def test_gzip_that_holds_something_else(tmp_path):
    with says("does not start like an IDX file"):
        read(put(tmp_path / "a-idx3-ubyte.gz", gzip.compress(b"a,b\n1,2\n")))
    with says("a.csv.gz", "line 1", "zero byte"):
        read(put(tmp_path / "a.csv.gz", gzip.compress(b"PK\x03\x04\x00\x00")))


@pytest.mark.parametrize("name", ["a.csv.gz", "a-idx3-ubyte.gz"])
def test_truncated_gzip(tmp_path, name):
    text = "a\n" + "".join(f"{v!r}\n" for v in rng.random(1000).tolist())
    data = gzip.compress(text.encode() if "csv" in name else idx_bytes(GREY, 8))
    with says(name, "cut short"):
        read(put(tmp_path / name, data[:-9]))
    with says(name, "damaged", "CRC"):
        read(put(tmp_path / name, data[:-8] + b"abcd" + data[-4:]))


# --- tables -----------------------------------------------------------------------------------------------------

ADULT = 'age,who,hours,"job, now"\n\n25,Ann,40,"clerk\nat sea"\n38,Bob,50,cook\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ADULT, ["line 3, column 'who'", "'Ann' is text", "drop", "1 other column: job, now"]),
        ("a,b\n1,2\n1,x\n", ["line 3, column 'b'", "'x' is text"]),
        ('a,"b\nc"\n1,"\n2"\n1,x\n', ["line 5, column"]),
        ("a,b\n1,2020-01-01\n2,2020-01-02\n", ["line 2, column 'b'", "'2020-01-01' is text"]),
        ("a,b\n1,1+2j\n2,3\n", ["line 2, column 'b'", "'1+2j' is text"]),
        ("a,b\n1,2\n3,-inf\n", ["1 infinite value", "line 3, column 'b'"]),
        ("a,b\n1,2\n3,1e999\n", ["1 infinite value", "line 3, column 'b'"]),
        ("a,b\n1,2\n3\n4,5\n", ["line 3: 1 value ", "2 columns"]),
        ("a,b\n1,2,3\n4,5,6\n", ["line 2: 3 values ", "2 columns"]),
        ("a,b\n1,2\n4,5\n6,7,8\n", ["line 4: 3 values ", "2 columns"]),
        ("a,b,a\n1,2,3\n4,5,6\n", ["more than one column named 'a'"]),
        ("a,b\n", ["no rows", "at least one"]),
        ("\n \n", ["no lines of text", "name the columns"]),
        ("6,148,0.5\n1,85,0.3\n8,18,0.6\n", ["line 1", "'6'", "names"]),
        ('a,b\n1,"2\n3,4\n', ["line 2", "quote"]),
        ('a,b\n1,2\n1,"2"2\n3,4\n', ["line 3", "quote"]),
        ("a,b\n1,2\n3,\0\n", ["line 3", "zero byte"]),
        ("a\n1\n" + "9" * 200_000 + "\n", ["line 3", "limit"]),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_csv_that_is_not_a_table_of_numbers(tmp_path, name, text, words):
    with says(name, *words):
        read(put(tmp_path / name, gzip.compress(text.encode()) if name.endswith("gz") else text))


@pytest.mark.parametrize("lines", [1, 20_000])
def test_csv_in_another_encoding(tmp_path, lines):
    data = "\n".join(["name", *["1"] * lines, "café", *["2"] * lines]).encode("latin-1")
    with says("a.csv", f"line {lines + 2}", "0xe9", "UTF-8"):
        read(put(tmp_path / "a.csv", data))


def test_a_line_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("lowerbound.data.readers.csv._LONGEST_LINE", 1000)
    with says("a.csv", "line 2", "longer than 1,000"):
        read(put(tmp_path / "a.csv", "a\n" + "1" * 2000))


def test_empty_cells_and_nulls_are_missing_values(tmp_path):
    put(tmp_path / "a.csv", b"a,b,c\n1,2,True\n\n3,,\n,NA,False\n")
    read(tmp_path / "a.csv").X.to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        x = read(tmp_path / name).X
        np.testing.assert_array_equal(x, [[1, 2, 1], [3, np.nan, np.nan], [np.nan, np.nan, 0]])
    pd.DataFrame({"a": [1.0, None], "b": [True, None], "c": [None, None]}).to_parquet(tmp_path / "a.parquet")
    np.testing.assert_array_equal(read(tmp_path / "a.parquet").X, [[1, 1, np.nan], [np.nan, np.nan, np.nan]])


def test_names_of_columns(tmp_path):
    pd.DataFrame({"age": [1, 2], "hours": [3, 4], "who": ["a", None]}).to_csv(tmp_path / "a.csv", index=False)
    pd.read_csv(tmp_path / "a.csv").to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        with says(name, "no column 'hour'", "did you mean 'hours'", "age, hours, who"):
            read(tmp_path / name, drop=["hour"])
        with says(name, "no column 'x'", "age, hours, who"):
            read(tmp_path / name, label="x")
        with says(name, "no columns left"):
            read(tmp_path / name, drop=["age", "hours"], label="who")
        with says(name, "column 'who'", "1 missing label", "1" if name == "a.parquet" else "line 3", "fill"):
            read(tmp_path / name, label="who")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["x", "y"], ["row 0 ", "column 'c'", "'x' is text"]),
        (pd.Categorical(["x", "y"]), ["row 0 ", "column 'c'", "'x' is text"]),
        ([b"x", b"y"], ["column 'c'", "binary"]),
        (pd.date_range("2020", periods=2), ["column 'c'", "dates or times", "timestamp"]),
        ([[1], [2]], ["column 'a'", "beside columns of lists"]),
        ([{"a": 1}, {"a": 2}], ["column 'c'", "struct"]),
        ([1.0, np.inf], ["1 infinite value", "row 1 ", "column 'c'"]),
    ],
)
def test_parquet_that_is_not_a_table_of_numbers(tmp_path, values, words):
    pd.DataFrame({"a": [1, 2], "c": values}).to_parquet(tmp_path / "a.parquet")
    with says("a.parquet", *words):
        read(tmp_path / "a.parquet")
    assert list(read(tmp_path / "a.parquet", drop=["c"]).X) == ["a"]


def test_parquet_of_another_shape(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pd.DataFrame({"a": np.zeros(0)}).to_parquet(tmp_path / "a.parquet")
    with says("a.parquet", "no rows"):
        read(tmp_path / "a.parquet")
    pq.write_table(pa.table([[1, 2], [3, 4]], names=["a", "a"]), tmp_path / "a.parquet")
    with says("more than one column named 'a'"):
        read(tmp_path / "a.parquet")
    text = pa.array([b"x", b"\xff"]).view(pa.string())
    pq.write_table(pa.table({"a": [1, 2], "c": text}), tmp_path / "c.parquet")
    for options in ({}, {"label": "c"}):
        with says("c.parquet", "damaged", "UTF8"):
            read(tmp_path / "c.parquet", **options)
    data = put(tmp_path / "b.parquet", (tmp_path / "a.parquet").read_bytes()[:-20])
    with says("b.parquet", "damaged"):
        read(data)


# --- images -----------------------------------------------------------------------------------------------------


def test_folders_without_images(tmp_path):
    (tmp_path / "none").mkdir()
    with says("none", "without images", "nothing"):
        read(tmp_path / "none")
    put(tmp_path / "tables" / "a.csv", "")
    put(tmp_path / "tables" / "b.csv", "")
    with says("tables", "without images", "2 .csv"):
        read(tmp_path / "tables")


def test_one_image(tmp_path):
    put_image(tmp_path / "faces" / "0.png", GREY[0])
    assert read(tmp_path / "faces").X.shape == (1, *GREY[0].shape)
    with says("0.png", "not named like", "folders", "a PNG image"):
        read(tmp_path / "faces" / "0.png")


def png_claim(width: int, height: int, kind: int = 0) -> bytes:
    """A small PNG image whose header claims what it likes."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("size", [(20_000, 20_000), (10_000, 9_000), (2**31 - 1, 2**31 - 1)])
def test_images_that_claim_too_much(tmp_path, size):
    for name in "ab":
        put(tmp_path / f"{name}.png", png_claim(*size))
    with says("a.png", f"claims {size[0]} × {size[1]} pixels"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ["is empty"]),
        (b"hello", ["named like an image"]),
        (npy_bytes(FLOATS), ["named like an image", "a NumPy array"]),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), ["damaged"]),
        (png_claim(4, 5, kind=3), ["damaged", "palette"]),
        (png_bytes(GREY[0])[:33] + png_bytes(GREY[0])[-12:], ["damaged"]),  # no pixels
        (png_bytes(GREY[0])[:-20], ["damaged"]),
        (png_bytes(GREY[0])[:-20] + b"!" + png_bytes(GREY[0])[-19:], ["damaged"]),
        (b"\xff\xd8\xff\xe0" + bytes(100), ["damaged"]),
    ],
)
def test_damaged_images(tmp_path, data, words):
    for name in "ab":
        put(tmp_path / "faces" / f"{name}.png", data)
    with says("faces/a.png", *words):
        read(tmp_path / "faces")


def test_pillow_is_left_as_it_was(tmp_path):
    from PIL import ImageFile

    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    for name in "ab":
        put_image(tmp_path / f"{name}.png", GREY[0])
    read(tmp_path)
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


@pytest.mark.parametrize(("name", "word"), [("x.mat", "scipy.io.loadmat('x.mat')"), ("x.h5", "h5py.File('x.h5')")])
def test_files_of_others_are_told_how_to_become_arrays(tmp_path, name, word):
    with says(name, "numpy.save('x.npy', ", word):
        read(put(tmp_path / name, b"MATLAB 5.0"))
