"""`.csv` and `.csv.gz` files.

Their structure is checked before their numbers are parsed: pandas fills short rows, renames columns of the
same name and takes a longer first row for an index, all without a warning.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from lowerbound.data.checks import DataError, check_rows, counted, listed
from lowerbound.data.readers.content import explained
from lowerbound.data.readers.tables import select, to_dataset, wordings_of
from lowerbound.data.readers.writing import MISSING, Ambiguous, Asked, Writing, question, recognized
from lowerbound.data.sources import Dataset, IdsInMemory
from lowerbound.warning import warn

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SEPARATORS = "\t|;,"  # a comma may be the mark of decimals
_LONGEST_LINE = 1 << 26
_FIRST_LINES = 50  # that tell the separator


class DataWarning(UserWarning):
    """Data that may not be what they seem."""


def read_csv(
    path: Path, name: str, *, drop: Sequence[str] = (), label: str | None = None, id: str | None = None,
    mixed: bool = False, **asked: Any,
) -> Dataset:  # fmt: skip
    """Read a `.csv` file, plain or compressed with gzip, whose first line names the columns.

    Values are separated by commas, semicolons, tabs or bars. Numbers with other marks, units and dates are recognized
    where every value of a column fits; ``notes`` of the dataset say so. A column without a name, such as an index that
    pandas wrote, is called ``Unnamed: 0`` after its position, and may be dropped.

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
    id : str | None
        The column that names the rows.
    mixed : bool
        Columns may be text and dates.
    **asked
        Fields of ``Asked``.

    Returns
    -------
    Dataset
        A frame of numeric and boolean columns.
    """
    table = CsvTable(path, name, Asked(**asked))
    features = select(table.columns, drop if id is None else [*drop, id], label, name)
    check_rows(table.n_rows, name)
    frame = table.frame(features, mixed=mixed)
    table.check_header(frame)
    wordings = {}
    if mixed:
        table.warn_of_levels(frame, features)
        wordings = wordings_of(frame, features)
    place = lambda row: f"line {table.line_of(row)}"  # noqa: E731
    dataset = to_dataset(frame, name, features, label, place, wordings)
    return replace(dataset, notes=table.notes, ids=None if id is None else IdsInMemory(id, table.texts(id)))


def names_in(path: Path, name: str, *, header: bool | None = None) -> list[str]:
    """The names of the columns of a `.csv` file, from its first line."""
    separator = separator_of(path, name)
    first = next((record for _, record in _records_of(path, name, separator) if not _is_blank(record)), [])
    return _named(first, header=header)


class CsvTable:
    """A file whose lines were checked.

    Parameters
    ----------
    path : Path
    name : str
        The file's name in messages.
    asked : Asked

    Attributes
    ----------
    columns : list of str
    n_rows : int
    writings : dict of Writing
        By column, where values are not written as numbers are in Python; ``frame`` finds them.
    """

    def __init__(self, path: Path, name: str, asked: Asked) -> None:
        self.path, self.name, self.asked = path, name, asked
        self.columns: list[str]
        self.n_rows: int
        self.writings: dict[str, Writing] = {}
        self.columns, self.n_rows = self._check_structure()

    @property
    def notes(self) -> tuple[str, ...]:
        """The recognized columns, in words."""
        return tuple(f"column '{column}': {writing}" for column, writing in self.writings.items())

    @property
    def has_header(self) -> bool:
        """True if the first line names the columns."""
        return self.asked.header is not False

    @property
    def gaps(self) -> list[str]:
        """The words that stand for gaps."""
        return [*MISSING, *self.asked.missing]

    @property
    def decimal(self) -> str:
        """The mark of decimals in the file."""
        is_comma = self.separator != "," and any(writing.decimal == "," for writing in self.writings.values())
        return "," if is_comma else "."

    def parsed(self, **how: Any) -> pd.DataFrame:
        """All cells, as pandas parses them."""
        import pandas as pd

        skipped = self._first_line - 1 + self.has_header
        options: dict[str, Any] = {"na_values": self.gaps, **how}
        with explained(self.name), _open_text(self.path) as file:
            frame = pd.read_csv(
                file, sep=self.separator, names=self.columns, header=None, skiprows=skipped, index_col=False,
                keep_default_na=False, low_memory=False, skip_blank_lines=len(self.columns) > 1,
                **options,
            )  # fmt: skip
        if len(frame) != self.n_rows:
            raise DataError(f"{self.name} has quotes that can be read in two ways; save it again without them.")
        return frame

    def texts(self, column: str) -> np.ndarray:
        """The cells of a column as they are written."""
        return self.parsed(usecols=[column], dtype="str", na_values=[])[column].fillna("").to_numpy(object)

    def frame(self, features: Sequence[str], *, mixed: bool, **how: Any) -> pd.DataFrame:
        """The table, with numbers and dates of the features in place of their text."""
        import pandas as pd

        frame = self.parsed(**how)
        self.writings = self._recognize({c: _texts(frame[c]) for c in features if _is_text(frame[c])}, mixed=mixed)
        if self.decimal == "," or self.asked.decimal == "," or self.asked.thousands == ".":
            frame = self._with_commas(frame, [c for c in features if frame[c].dtype.kind == "f"])
        read = {c: w.read(pd.Series(frame[c].astype("str"))) for c, w in self.writings.items()}
        if "dtype_backend" in how:
            read = {c: values.convert_dtypes(dtype_backend=how["dtype_backend"]) for c, values in read.items()}
        if self.asked.date_format and not any(w.date for w in self.writings.values()):
            raise DataError(f"{self.name} has no column whose dates are all written {self.asked.date_format}.")
        return frame.assign(**read)

    def _with_commas(self, frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
        """The frame with text in place of what pandas took for decimals, where a point stands between thousands."""
        texts: Any = self.parsed(dtype="str")[columns]
        asked = replace(self.asked, decimal=",")
        found = {c: recognized(_texts(texts[c]), asked, ",", dates=False) for c in columns if texts[c].notna().any()}
        grouped = {c: writing for c, writing in found.items() if writing is not None and writing.thousands == "."}
        self.writings |= grouped
        return frame.assign(**{c: texts[c] for c in grouped})

    def _recognize(self, texts: dict[str, pd.Series], *, mixed: bool) -> dict[str, Writing]:
        """The writings of columns; those that are clear tell the mark of decimals in others."""
        found, unclear = {}, {}
        decimal = "." if self.separator == "," else self.asked.decimal
        for column, values in texts.items():
            try:
                found[column] = recognized(values, self.asked, decimal, dates=mixed)
            except Ambiguous:
                unclear[column] = values
        marks = {w.decimal for c, w in found.items() if w is not None and not w.date and w.tells_decimal(texts[c])}
        decimal = marks.pop() if len(marks) == 1 else decimal
        for column, values in unclear.items():
            try:
                found[column] = recognized(values, self.asked, decimal, dates=mixed)
            except Ambiguous as ambiguous:
                raise question(self.name, column, ambiguous) from ambiguous
        return {column: writing for column, writing in found.items() if writing is not None and writing != Writing()}

    def check_header(self, frame: pd.DataFrame) -> None:
        """Ask about a first line all of whose names would be values of their columns, unless they number them."""
        if self.asked.header is not None or _are_numbered(self.columns):
            return
        if all(self._is_value(column, frame[column]) for column in self.columns):
            raise DataError(
                f"{self.name}, line 1: {listed(self.columns[:4], repr)} would be values of the columns as well as "
                f"names; say header=False (--no-header) if the line is a row, header=True (--header) if it has names."
            )

    def _is_value(self, text: str, column: Any) -> bool:
        """True if a name looks like the values of its column."""
        import pandas as pd

        values = pd.Series([text], dtype="str")
        if text in self.writings:
            try:
                return bool(self.writings[text].read(values).notna().all())
            except ValueError:
                return False
        if text.startswith("Unnamed: "):
            return True
        if _is_text(column):
            return text in set(column.dropna()) or (_is_iso(text) and _is_iso(column.dropna().iloc[0]))
        numbers: Any = pd.to_numeric(values, errors="coerce")
        return bool(column.notna().any() and numbers.notna().all())

    def warn_of_levels(self, frame: pd.DataFrame, features: Sequence[str]) -> None:
        """Warn of words that differ by blanks or case alone."""
        for column in features:
            if not _is_text(frame[column]):
                continue
            levels = _texts(frame[column])
            folded = levels.str.split().str.join(" ").str.casefold()
            if folded.duplicated().any():
                twins = levels[folded == folded[folded.duplicated()].iloc[0]].tolist()
                warn(
                    f"{self.name}, column '{column}': {listed(twins, repr)} differ by blanks or case alone, and are "
                    f"different categories",
                    DataWarning,
                )

    def _check_structure(self) -> tuple[list[str], int]:
        """Check all lines; return the columns and the number of rows."""
        records = self._records()
        self._first_line: int
        self._first_line, header = next(((line, record) for line, record in records if not _is_blank(record)), (1, []))
        if not header:
            raise DataError(f"{self.name} holds no lines of text; its first line must name the columns.")
        columns = _named(header, header=self.asked.header)
        if self.asked.header is None:
            _check_header(columns, self.name)
        rows = int(not self.has_header)
        for line, record in records:
            if _is_blank(record) and len(columns) > 1:
                continue
            rows += 1
            if max(1, len(record)) != len(columns):
                raise DataError(
                    f"{self.name}, line {line}: {counted(len(record), 'value')} where the first line names "
                    f"{counted(len(columns), 'column')}; give every line the same number of values."
                )
        return columns, rows

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        return _records_of(self.path, self.name, self.separator)

    @cached_property
    def separator(self) -> str:
        """The mark between values."""
        return separator_of(self.path, self.name)

    def line_of(self, row: int) -> int:
        """Find the line of a file that holds a row."""
        lines = (line for line, record in self._records() if len(self.columns) == 1 or not _is_blank(record))
        if len(self.columns) == 1:
            lines = (line for line in lines if line >= self._first_line)
        return next(islice(lines, row + self.has_header, None))


def separator_of(path: Path, name: str) -> str:
    """The separator that gives all of the first lines the same number of values, else most to the first line."""
    with explained(name), _open_text(path) as file:
        lines = list(islice(filter(str.strip, _lines(file, name)), _FIRST_LINES))
    tables = {mark: _split(lines, mark) for mark in SEPARATORS}
    even = [mark for mark, rows in tables.items() if len(set(map(len, rows))) == 1 and len(rows[0]) > 1]
    return even[0] if even else max(SEPARATORS[::-1], key=lambda mark: len(tables[mark][0]) if lines else 0)


def _named(first: list[str], *, header: bool | None) -> list[str]:
    """The names of the columns, by the first line that isn't blank."""
    if header is False:
        return [f"x{i}" for i in range(len(first))]
    return [column or f"Unnamed: {i}" for i, column in enumerate(first)]


def _records_of(path: Path, name: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Read the values of each line, with the number of the line."""
    with explained(name), _open_text(path) as file:
        reader = csv.reader(_lines(file, name), delimiter=separator, strict=True)
        line = 1
        try:
            for record in reader:
                yield line, record
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{name}, line {line}: {error}; check the quotes there.") from error


def _split(lines: list[str], mark: str) -> list[list[str]]:
    """The values of the first lines; the last may be a part of a record."""
    try:
        rows = [row for row in csv.reader(lines, delimiter=mark) if not _is_blank(row)]
    except csv.Error:
        return [[]]
    return rows[:-1] if len(lines) == _FIRST_LINES and len(rows) > 1 else rows


def _is_blank(record: list[str]) -> bool:
    return not record or (len(record) == 1 and record[0].isspace())


def _is_text(column: Any) -> bool:
    return column.dtype.kind not in "biufM" and column.notna().any()


def _is_iso(text: Any) -> bool:
    return isinstance(text, str) and len(text) >= 10 and text[:4].isdigit() and text[4] == text[7] == "-"


def _texts(column: Any) -> pd.Series:
    """The different values of a column, as text."""
    import pandas as pd

    return pd.Series(column.dropna().unique()).astype("str")


def _are_numbered(columns: list[str]) -> bool:
    """True for names that count the columns, from 0 or 1 on."""
    try:
        numbers = [float(column) for column in columns]
    except ValueError:
        return False
    return numbers[0] in (0, 1) and all(number == numbers[0] + i for i, number in enumerate(numbers))


def _check_header(columns: list[str], name: str) -> None:
    """Refuse a first line of numbers, which are data and no names, unless they number the columns."""
    try:
        _ = [float(column) for column in columns]
    except ValueError:
        return
    if not _are_numbered(columns):
        raise DataError(
            f"{name}, line 1: '{columns[0]}' and the rest are numbers, but the first line must name the columns; "
            "say header=False (--no-header) if it is a row, header=True (--header) if these are names."
        )


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


def _open_text(path: Path) -> TextIO:
    """Open a text file, compressed or not, with or without a byte order mark."""
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    return opened(path, "rt", encoding="utf-8-sig", newline="")  # pyright: ignore[reportReturnType]
