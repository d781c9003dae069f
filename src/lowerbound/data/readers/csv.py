"""`.csv` and `.csv.gz` files.

Their structure is checked before their numbers are parsed: pandas fills short rows, renames columns of the
same name and takes a longer first row for an index, all without a warning.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TextIO

from lowerbound.data.checks import DataError, check_rows, counted
from lowerbound.data.readers.content import explained
from lowerbound.data.readers.tables import select, to_dataset, wordings_of
from lowerbound.data.sources import Dataset

_LONGEST_LINE = 1 << 26


def read_csv(
    path: Path, name: str, *, drop: Sequence[str] = (), label: str | None = None, mixed: bool = False
) -> Dataset:
    """Read a `.csv` file, plain or compressed with gzip, whose first line names the columns.

    Values are separated by commas, semicolons or tabs, whichever the first line has most of. A column without
    a name, such as an index that pandas wrote, is called ``Unnamed: 0`` after its position, and may be dropped.

    Parameters
    ----------
    path : Path
        The file, in UTF-8.
    name : str
        The file's name in messages.
    drop : Sequence[str]
        Columns to leave out.
    label : str | None
        The column that is the label.
    mixed : bool
        Columns may be text and dates.

    Returns
    -------
    Dataset
        A frame of numeric and boolean columns.
    """
    import pandas as pd

    columns, rows = _check_structure(path, name)
    features = select(columns, drop, label, name)
    check_rows(rows, name)
    separator = _separator(path, name)
    with explained(name), _open_text(path) as file:
        frame = pd.read_csv(file, sep=separator, names=columns, header=0, index_col=False, low_memory=False)
    if len(frame) != rows:
        raise DataError(f"{name} has quotes that can be read in two ways; save it again without them.")
    wordings = wordings_of(frame, features) if mixed else {}
    return to_dataset(frame, name, features, label, lambda row: f"line {_line_of(path, name, row)}", wordings)


def _check_structure(path: Path, name: str) -> tuple[list[str], int]:
    """Check all lines of a `.csv` file; return its columns and the number of its rows."""
    records = _records(path, name)
    _, header = next(records, (1, []))
    if not header:
        raise DataError(f"{name} holds no lines of text; its first line must name the columns.")
    columns = [column or f"Unnamed: {i}" for i, column in enumerate(header)]
    _check_header(columns, name)
    rows = 0
    for line, record in records:
        rows += 1
        if len(record) != len(columns):
            raise DataError(
                f"{name}, line {line}: {counted(len(record), 'value')} where the first line names "
                f"{counted(len(columns), 'column')}; give every line the same number of values."
            )
    return columns, rows


def _check_header(columns: list[str], name: str) -> None:
    """Refuse a first line of numbers, which are data and no names, unless they number the columns."""
    try:
        numbers = [float(column) for column in columns]
    except ValueError:
        return
    if all(numbers[i] - numbers[0] == i for i in range(len(numbers))) and numbers[0] in (0, 1):
        return
    raise DataError(
        f"{name}, line 1: '{columns[0]}' and the rest are numbers, but the first line must name the columns; "
        "add a line of names above it."
    )


def _records(path: Path, name: str) -> Iterator[tuple[int, list[str]]]:
    """Read the values of each line that is not blank, with the number of the line."""
    separator = _separator(path, name)
    with explained(name), _open_text(path) as file:
        reader = csv.reader(_lines(file, name), delimiter=separator, strict=True)
        line = 1
        try:
            for record in reader:
                if len(record) > 1 or (record and not record[0].isspace()):
                    yield line, record
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{name}, line {line}: {error}; check the quotes there.") from error


def _separator(path: Path, name: str) -> str:
    """Find the separator of the values, from the first line that is not blank."""
    with explained(name), _open_text(path) as file:
        first = next(filter(str.strip, _lines(file, name)), "")
    return max(",;\t", key=first.count)


def _lines(file: TextIO, name: str) -> Iterator[str]:
    """Read the lines one by one in bounded memory, refusing anything but text."""
    number = 0
    try:
        while line := file.readline(_LONGEST_LINE):
            number += 1
            if "\0" in line:
                raise DataError(
                    f"{name}, line {number} holds a zero byte, so this is not a text file; export it again."
                )
            if len(line) == _LONGEST_LINE:
                raise DataError(f"{name}, line {number} is longer than {_LONGEST_LINE:,} characters.")
            yield line
    except UnicodeDecodeError as error:
        number += 1 + error.object[: error.start].count(b"\n")
        byte = error.object[error.start]
        raise DataError(
            f"{name}, line {number}: byte 0x{byte:02x} is not UTF-8 text; save the file as UTF-8."
        ) from error


def _line_of(path: Path, name: str, row: int) -> int:
    """Find the line of a file that holds a row."""
    return next(line for line, _ in islice(_records(path, name), row + 1, None))


def _open_text(path: Path) -> TextIO:
    """Open a text file, compressed or not, with or without a byte order mark."""
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    return opened(path, "rt", encoding="utf-8-sig", newline="")  # pyright: ignore[reportReturnType]
