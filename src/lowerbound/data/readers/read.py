"""Reading users' files: one function, and the table of formats behind it.

    dataset = read("faces.npz", key="x_train", label="y_train")
    dataset = read("patients.csv", drop=["id"], label="diagnosis")

The reader is chosen by how the name ends and checked against what the file holds. Whatever is wrong with a
file ends in a `DataError`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lowerbound.data.checks import DataError
from lowerbound.data.readers import csv, parquet
from lowerbound.data.readers.arrays import read_npy, read_npz
from lowerbound.data.readers.content import (
    GZIP,
    IDX,
    NPY,
    PARQUET,
    TEXT,
    ZIP,
    check_content,
    content,
    explained,
    first_bytes,
)
from lowerbound.data.readers.csv import read_csv
from lowerbound.data.readers.idx import read_idx
from lowerbound.data.readers.images import read_images
from lowerbound.data.readers.parquet import parquet_files, read_parquet
from lowerbound.data.readers.sequences import list_columns, read_lists, read_long
from lowerbound.data.readers.text import read_jsonl, read_txt
from lowerbound.data.sources import Dataset, Source

__all__ = ["DataError", "Dataset", "read"]


class _Format(NamedTuple):
    reader: Callable[..., Dataset]
    content: str  # the type that the first bytes must show
    options: tuple[str, ...] = ()  # options of `read` that the reader takes


_OF_TEXT = ("decimal", "thousands", "date_format", "missing", "header")
_OF_ARRAYS = ("lengths", "bits")
_IN_TIME = ("time", "every")
_FORMATS = {
    ".npy": _Format(read_npy, NPY, ("stream",)),
    ".npz": _Format(read_npz, ZIP, ("key", "label", *_OF_ARRAYS)),
    ".csv": _Format(read_csv, TEXT, ("drop", "label", "id", *_IN_TIME, *_OF_TEXT)),
    ".csv.gz": _Format(read_csv, GZIP, ("drop", "label", "id", *_IN_TIME, *_OF_TEXT)),
    ".parquet": _Format(read_parquet, PARQUET, ("drop", "label", "id", *_IN_TIME, "stream")),
    ".txt": _Format(read_txt, TEXT),
    ".jsonl": _Format(read_jsonl, TEXT, ("key", "turns", "speaker")),
    "-ubyte": _Format(read_idx, IDX),
    "-ubyte.gz": _Format(read_idx, GZIP),
}
_TABLES = _Format(read_parquet, "", ("drop", "label", "id", "stream"))
_OF_IMAGES = ("resize", "crop", "mode")
_IMAGES = _Format(read_images, "", ("stream", *_OF_IMAGES))
_READABLE = ", ".join(_FORMATS) + " and folders of .parquet files, or of images"
_HDF5 = " In Python: import h5py, numpy; numpy.save('{stem}.npy', h5py.File('{name}')['NAME'][:])."
_CONVERTED = {
    ".mat": " In Python: import scipy.io, numpy; numpy.save('{stem}.npy', scipy.io.loadmat('{name}')['NAME']). Files "
    "of MATLAB 7.3 are HDF5 inside, which h5py reads.",
    ".h5": _HDF5,
    ".hdf5": _HDF5,
}  # of files by their ending, how to make one that can be read
_MOST_NAMES = 10_000  # of a folder, searched for a similar one
_MISUSED = {
    "key": "key names an array of an .npz file, or the field with the text in a .jsonl file",
    "drop": "drop names columns of a table",
    "label": "label names a column of a table or an array of an .npz file",
    "id": "id names a column of a table",
    "stream": "rows can be streamed from .npy and .parquet files and from folders",
    "lengths": "it names an array of an .npz file with the lengths of sequences",
    "bits": "it says how many bits each row of an .npz file holds packed",
    **dict.fromkeys(_IN_TIME, "it is for tables whose rows are steps of sequences"),
    **dict.fromkeys(("turns", "speaker"), "it is for .jsonl files with turns of dialogues"),
    **dict.fromkeys(_OF_TEXT, "it says how values are written in a .csv file"),
    **dict.fromkeys(_OF_IMAGES, "it says how a folder of images is read"),
}


def read(
    source: str | os.PathLike[str],
    *,
    key: str | None = None,
    drop: Sequence[str] = (),
    label: str | None = None,
    id: str | None = None,
    stream: bool | None = None,
    mixed: bool = False,
    decimal: str | None = None,
    thousands: str | None = None,
    date_format: str | None = None,
    missing: Sequence[str] = (),
    header: bool | None = None,
    resize: int | str | None = None,
    crop: str | None = None,
    mode: str | None = None,
    time: str | Sequence[str] | None = None,
    every: str | float | None = None,
    lengths: str | None = None,
    bits: int | None = None,
    turns: int | None = None,
    speaker: str | None = None,
) -> Dataset:
    """Read a data file, a folder of images or of Parquet files, or the built-in ``digits``.

    Parameters
    ----------
    source : str | os.PathLike[str]
        A file ending in ``.npy``, ``.npz``, ``.csv``, ``.csv.gz``, ``.parquet``, ``.txt``, ``.jsonl``, ``-ubyte`` or
        ``-ubyte.gz`` (IDX); a folder of images or of ``.parquet`` files; or ``digits``, scikit-learn's 1,797 images of
        8 × 8 pixels, if no file has that name.
    key : str | None
        The array of an `.npz` file, or the field with the text of a `.jsonl` file.
    drop : Sequence[str]
        Columns of a table to leave out.
    label : str | None
        The column of a table, or the array of an `.npz` file, that holds a label for each row.
    id : str | None
        The column of a table that names the rows; it is left out of them, and may repeat.
    stream : bool | None
        Read rows when they are used, so that memory doesn't grow with the data: `.npy`, `.parquet` and folders. None
        does so where an array of the data would take more than 256 MiB (``sources.IN_MEMORY``).
    mixed : bool
        Columns of a table may be text, categories and dates.
    decimal, thousands : {".", ",", " ", "'"} or None
        The marks in numbers of a `.csv` file; None recognizes them where every value of a column fits.
    date_format : str | None
        The format of dates in a `.csv` file, as in ``strptime``: ``%d/%m/%Y``.
    missing : Sequence[str]
        Values of a `.csv` file that stand for gaps, besides empty ones and ``writing.MISSING``.
    header : bool | None
        The first line of a `.csv` file names the columns; None asks where it may be a row.
    resize : int, str or None
        The size of the images of a folder in pixels: the side of a square, or ``"64x48"``, width and height. None if
        all have one size.
    crop : {None, "center", "none"}
        Cut images to that shape around their center before they are resized (the default), or stretch them.
    mode : {None, "gray", "rgb"}
        Read the images of a folder in gray, or in color; None is color if any has color.
    time : str or sequence of str, optional
        The column of a table that says when: its rows are then steps of sequences, of which ``id`` tells to which they
        belong. Several columns are the parts of a date: ``year``, ``month``, ``day``, ``hour``, ``minute``, ``second``.
    every : str or float, optional
        The distance of the steps of a grid, such as ``"5min"``, onto which rows are put; steps without a row are gaps.
    lengths : str | None
        The array of an `.npz` file with the lengths of sequences whose steps the array ``key`` holds one after another
        (ΣT, F), or padded (n, T, F). None takes ``KEY_len`` if it is there; "none" reads single rows.
    bits : int | None
        The rows of an `.npz` file are that many bits, packed by ``numpy.packbits(…, axis=1)``.
    turns : int | None
        The number of turns that are the context of a response in a `.jsonl` file of dialogues, at most; None: all.
    speaker : str | None
        Responses of that speaker alone.

    Returns
    -------
    Dataset
        The data, their labels and their names. Data that are streamed are a ``Source``, whose blocks have the labels;
        larger arrays of `.npy` files that aren't are read-only memory maps. Sequences are ``Sequences``; text is a list
        of str, of dialogues that of the responses, and ``context`` has what was said before each.

    Raises
    ------
    DataError
        If the data cannot be read, or are not numbers, or some are infinite, or there are fewer than two rows; the
        message says what is wrong, where, and what to do.
    """
    path = Path(source)
    name = path.name or str(path)
    chosen = _choose(path, name, str(source))
    columns = (drop,) if isinstance(drop, str) else tuple(drop)
    marked = (missing,) if isinstance(missing, str) else tuple(missing)
    given = {
        "key": key, "drop": columns or None, "label": label, "id": id, "decimal": decimal, "thousands": thousands,
        "date_format": date_format, "missing": marked or None, "header": header,
        "resize": resize, "crop": crop, "mode": mode, "lengths": lengths, "bits": bits, "time": time, "every": every,
        "turns": turns, "speaker": speaker,
    }  # fmt: skip
    options = {option: value for option, value in given.items() if value is not None}
    if stream or (stream is not None and "stream" in chosen.options):
        options["stream"] = stream
    for option in options:
        if option not in chosen.options:
            raise DataError(f"{name} cannot be read with {option}: {_MISUSED[option]}; leave it out.")
    if chosen.reader is read_parquet and list_columns(path, name, [*columns, *([label] if label else [])]):
        return read_lists(path, name, **{o: value for o, value in options.items() if o != "stream"})
    if time is not None or every is not None:
        return read_long(chosen.reader, path, name, **options)
    if mixed and chosen.reader in (read_csv, read_parquet):
        options["mixed"] = True
    return chosen.reader(path, name, **options)


def has_column(source: str | os.PathLike[str], column: str, *, header: bool | None = None) -> bool:
    """True for a table that has a column of that name, of which the first lines alone are read."""
    path = Path(source)
    chosen = _choose(path, path.name, str(source))
    if chosen.reader is read_csv:
        return column in csv.names_in(path, path.name, header=header)
    return chosen.reader is read_parquet and column in parquet.names_in(path, path.name)


def holds_images(source: str | os.PathLike[str]) -> bool:
    """True for a folder that is read as one of images."""
    return Path(source).is_dir() and _choose(Path(source), Path(source).name, str(source)) is _IMAGES


def options_of(source: str | os.PathLike[str]) -> tuple[str, ...]:
    """The options of ``read`` that data of such a name take."""
    name = Path(source).name.lower()
    return next((chosen.options for ending, chosen in _FORMATS.items() if name.endswith(ending)), ())


def stream(
    source: str | os.PathLike[str], *, drop: Sequence[str] = (), label: str | None = None,
    resize: int | str | None = None, crop: str | None = None, mode: str | None = None,
) -> Source:  # fmt: skip
    """Open a file or a folder whose rows are read when they are used: ``VAE().fit(stream("rows.npy"))``.

    Iterating gives all rows in order, a block at a time.

    Parameters
    ----------
    source : str | os.PathLike[str]
        An ``.npy`` or ``.parquet`` file, or a folder of ``.parquet`` files or of images.
    drop, label : Sequence[str], str | None
        Columns of a table that are not features; the ``blocks`` of the source carry the label.
    resize, crop, mode : int or str, str, str, optional
        As in ``read``, for a folder of images.

    Raises
    ------
    DataError
        If the file can't be read in parts, or its content doesn't match its name. Values are checked when they are
        read.
    """
    X = read(source, drop=drop, label=label, stream=True, mixed=True, resize=resize, crop=crop, mode=mode).X
    assert isinstance(X, Source)
    return X


def _choose(path: Path, name: str, source: str) -> _Format:
    """Choose the reader, after checking that the file exists and its content matches its name."""
    if not source:
        raise DataError("The name of the data is empty; give a file or a folder.")
    with explained(name):
        exists, is_folder, is_file = path.exists(), path.is_dir(), path.is_file()
    if is_digits(source):
        return _Format(_read_digits, "")
    if not exists:
        raise DataError(_missing(path, source))
    chosen = next((_FORMATS[ending] for ending in _FORMATS if name.lower().endswith(ending)), None)
    if is_folder:
        if chosen:
            raise DataError(f"{name} is a folder, though it is named like {chosen.content}; give a file in it.")
        with explained(name):
            return _TABLES if parquet_files(path) else _IMAGES
    if not is_file:
        raise DataError(f"{name} is neither a file nor a folder; copy its data to a file first.")
    if not chosen:
        holds = content(first_bytes(path, name))
        hint = f" This one holds {holds}." if holds else ""
        hint += _CONVERTED.get(path.suffix.lower(), "").format(name=name, stem=path.stem)
        raise DataError(f"{name} is not named like data that can be read: {_READABLE}.{hint}")
    check_content(path, chosen.content, name)
    return chosen


def is_digits(source: str) -> bool:
    """True if the word stands for scikit-learn's images: no file has that name, or a run, which may be empty yet."""
    path = Path(source)
    with explained(source):
        if source != "digits" or not path.is_dir():
            return source == "digits" and not path.exists()
        seen = [entry.name for entry in path.iterdir() if not entry.name.startswith(".")]
    return "config.toml" in seen or not seen


def _missing(path: Path, source: str) -> str:
    """The message that a file does not exist, with similar names."""
    if "://" in source:
        return f"{source} is an address, not a file; download it first."
    if not path.parent.is_dir():
        return f"{path} does not exist: there is no folder {path.parent}."
    with explained(str(path.parent)), os.scandir(path.parent) as entries:
        names = [entry.name for entry in islice(entries, _MOST_NAMES)]
    close = get_close_matches(path.name, names)
    return f"{path} does not exist" + (f"; did you mean {' or '.join(close)}?" if close else ".")


def _read_digits(path: Path, name: str) -> Dataset:
    """Read scikit-learn's digits: 1,797 images of 8 × 8 pixels, 0 to 16 there and 0 to 255 here."""
    from sklearn.datasets import load_digits

    x, labels = load_digits(return_X_y=True)
    images = np.rint(np.asarray(x) * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    return Dataset(images, np.asarray(labels), name)
