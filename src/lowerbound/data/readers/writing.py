"""Numbers and dates as people write them: what is recognized, and how the same is written again.

A column is recognized only if every value of it fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lowerbound.data.checks import DataError

if TYPE_CHECKING:
    import pandas as pd

MISSING = (  # those of pandas but for "None", which may be a word
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "n/a", "nan", "null",
)  # fmt: skip
MARKERS = (  # of gaps in columns whose other values are numbers or dates
    "?", "-", "--", "---", "–", "—", ".", "..", "*", "None", "none", "n.a.", "N.A.", "na", "nil", "missing", "Missing",
    "unknown", "Unknown",
)  # fmt: skip
CURRENCIES = (
    "US$", "USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "SEK", "NOK", "DKK", "PLN", "kr", "zł", "$", "€", "£",
    "¥", "₹",
)  # fmt: skip
MARKS = tuple(
    (decimal, thousands) for thousands in ("", ",", ".", " ", "'") for decimal in ".," if decimal != thousands
)
_UNITS = "|".join(map(re.escape, CURRENCIES))
_PARTS = (
    rf"^(?P<sign>[-+](?![-+]))?(?P<prefix>(?:{_UNITS})? ?)"
    rf"(?P<number>(?(sign)|[-+]?)[0-9., ']*[0-9](?:[eE][-+]?[0-9]+)?)(?P<suffix> ?(?:%|{_UNITS})?)$"
)
BLANKS = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2009": " ", "’": "'", "−": "-"})
CLOCKS = ("", " %H:%M", " %H:%M:%S", "T%H:%M", "T%H:%M:%S")
DATES = tuple(
    day.replace("/", mark) + clock
    for day in ("%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d/%m/%y", "%m/%d/%y")
    for mark in "/.-" for clock in CLOCKS if (day[:2], mark) not in (("%m", "."), ("%Y", "-"))
)  # fmt: skip
ISO_DATES = tuple(f"%Y-%m-%d{clock}" for clock in CLOCKS)  # read anyway, but for columns with markers of gaps


@dataclass(frozen=True)
class Asked:
    """The user's word on the values of a file, None or empty where there is none.

    Attributes
    ----------
    decimal, thousands : str or None
        The marks in numbers.
    date_format : str or None
        As in ``strptime``.
    missing : tuple of str
        Values that stand for gaps, besides ``MISSING``.
    header : bool or None
        The first line names the columns.
    """

    decimal: str | None = None
    thousands: str | None = None
    date_format: str | None = None
    missing: tuple[str, ...] = ()
    header: bool | None = None


@dataclass(frozen=True)
class Writing:
    """Numbers or dates of a column as a file has them.

    Attributes
    ----------
    decimal, thousands : str
        The marks in numbers; there may be none of thousands.
    prefix, suffix : str
        What stands before and after each number, such as "$" and " %".
    date : str
        The format of dates, empty for numbers.
    markers : tuple of str
        Values that stand for gaps.
    """

    decimal: str = "."
    thousands: str = ""
    prefix: str = ""
    suffix: str = ""
    date: str = ""
    markers: tuple[str, ...] = ()

    def read(self, texts: pd.Series) -> pd.Series:
        """The values that texts stand for."""
        import pandas as pd

        texts = texts.where(~texts.isin(self.markers)).str.strip()
        if self.date:
            return pd.to_datetime(texts, format=self.date)
        numbers = texts.str.translate(BLANKS)
        for mark in filter(None, (self.prefix.strip(), self.suffix.strip(), self.thousands)):
            numbers = numbers.str.replace(mark, "", regex=False)
        return pd.Series(pd.to_numeric(numbers.str.replace(self.decimal, ".", regex=False).str.replace(" ", "")))

    def tells_decimal(self, texts: pd.Series) -> bool:
        """True if its values leave no doubt about the mark of decimals in the file."""
        shown = self.decimal == "," or self.thousands in (",", ".")
        return shown or (bool(self.thousands) and bool(texts.str.contains(self.decimal, regex=False).any()))

    def write(self, values: pd.Series) -> pd.Series:
        """The inverse of ``read``, NaN where a value is missing."""
        import pandas as pd

        if self.date:
            return values.dt.strftime(self.date)
        whole = pd.api.types.is_integer_dtype(values.dtype)
        written = [None if pd.isna(v) else self._number(v, whole=whole) for v in values]
        return pd.Series(written, index=values.index, dtype="str")

    def _number(self, v: Any, *, whole: bool) -> str:
        grouped = f"{int(v):,}" if whole else f"{v:,}"
        marks = str.maketrans({",": self.thousands, ".": self.decimal})
        sign, digits = ("-", grouped[1:]) if grouped[0] == "-" else ("", grouped)
        return f"{sign}{self.prefix}{digits.translate(marks)}{self.suffix}"

    def __str__(self) -> str:
        said = [f"dates written {self.date}"] if self.date else []
        said += ["decimal comma"] if self.decimal == "," else []
        said += [f"{self.thousands!r} between thousands"] if self.thousands else []
        said += [f"in {(self.prefix + self.suffix).strip()}"] if self.prefix or self.suffix else []
        said += [f"{', '.join(map(repr, self.markers))} for gaps"] if self.markers else []
        return ", ".join(said)


class Ambiguous(Exception):
    """Values that two writings fit, which give them other meanings."""

    def __init__(self, value: str, writings: Sequence[Writing]) -> None:
        self.value, self.writings = value, writings


def recognized(texts: pd.Series, asked: Asked, decimal: str | None, *, dates: bool) -> Writing | None:
    """The writing that every value of a column fits, None if it is text.

    Parameters
    ----------
    texts : Series of str
        The different values, without gaps.
    asked : Asked
    decimal : str or None
        The decimal mark of the file, where it is known.
    dates : bool
        The column may hold dates.

    Raises
    ------
    Ambiguous
        If the writing isn't clear.
    """
    found = _numbers(texts, asked, decimal) or (_dates(texts, asked) if dates else None)
    markers = tuple(sorted(text for text in texts if text.strip() in ("", *MARKERS)))
    rest = texts[~texts.isin(markers)]
    if found is not None or not markers or not len(rest):
        return found
    found = _numbers(rest, asked, decimal) or (_dates(rest, asked, (*ISO_DATES, *DATES)) if dates else None)
    return None if found is None else Writing(**{**vars(found), "markers": markers})


def _numbers(texts: Any, asked: Asked, decimal: str | None) -> Writing | None:
    texts = texts.str.strip().str.translate(BLANKS)
    parts = texts.str.extract(_PARTS)
    if parts["number"].isna().any() or len(parts[["prefix", "suffix"]].drop_duplicates()) > 1:
        return None
    numbers = parts["number"]
    fitting = [marks for marks in _marks(asked) if numbers.str.fullmatch(_pattern(*marks)).all()]
    if not fitting:
        return None
    prefix, suffix = parts.iloc[0][["prefix", "suffix"]]
    writings = [Writing(*marks, prefix=prefix, suffix=suffix) for marks in fitting]
    same_decimal = [writing for writing in writings if writing.decimal == decimal] or writings
    return _clear(texts, same_decimal)


def _marks(asked: Asked) -> Iterator[tuple[str, str]]:
    """The marks of decimals and of thousands that may be."""
    for decimal, thousands in MARKS:
        fits = asked.thousands is None or (thousands in ("", asked.thousands) and decimal != asked.thousands)
        if fits and asked.decimal in (None, decimal):
            yield decimal, thousands


def _pattern(decimal: str, thousands: str) -> str:
    """The numbers with these marks, which have some of thousands if there is such a mark."""
    digits = rf"(?:[1-9]\d{{0,2}}(?:{re.escape(thousands)}\d{{3}})+|\d{{1,3}})" if thousands else r"\d*"
    return rf"[-+]?(?=\d|{re.escape(decimal)}\d){digits}(?:{re.escape(decimal)}\d*)?(?:[eE][-+]?\d+)?"


def _dates(texts: Any, asked: Asked, forms: Sequence[str] = DATES) -> Writing | None:
    import pandas as pd

    first = str(texts.iloc[0]).strip()
    fitting = []
    for form in (asked.date_format,) if asked.date_format else forms:
        if asked.date_format or re.fullmatch(_date_pattern(form), first):
            parsed = pd.to_datetime(texts.str.strip(), format=form, errors="coerce")
            fitting += [Writing(date=form)] if parsed.notna().all() else []
    return _clear(texts, fitting) if fitting else None


def _date_pattern(form: str) -> str:
    digits = {"%Y": r"\d{4}", "%y": r"\d\d", **dict.fromkeys(("%d", "%m", "%H", "%M", "%S"), r"\d{1,2}")}
    return re.sub(r"%\w", lambda code: digits[code[0]], re.escape(form).replace(r"\%", "%"))


def _clear(texts: pd.Series, writings: Sequence[Writing]) -> Writing:
    """The first writing, if all of them mean the same."""
    meant = [writing.read(texts) for writing in writings]
    for one in meant[1:]:
        differ = np.flatnonzero((one != meant[0]).to_numpy())
        if len(differ):
            raise Ambiguous(texts.iloc[differ[0]], writings)
    return writings[0]


def question(name: str, column: str, ambiguous: Ambiguous) -> DataError:
    """The question that an ambiguous column asks."""
    kinds = [w.date for w in ambiguous.writings if w.date]
    if kinds:
        which = f"a date written {' or '.join(kinds)}: give date_format (--date-format)"
    else:
        which = "a number with a mark of decimals or of thousands: give decimal (--decimal) or thousands (--thousands)"
    return DataError(f"{name}, column '{column}': {ambiguous.value!r} may be {which}, or drop the column.")
