"""Conditions that drawn rows have to meet: those that break one are drawn again, columns that follow are computed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lowerbound.data.checks import listed
from lowerbound.data.columns.decimals import has_decimals
from lowerbound.data.columns.values import as_values, measure_of, type_word
from lowerbound.data.table_code import column_numbers
from lowerbound.warning import warn

NAMES = re.compile(r"`([^`]+)`|([^\W\d]\w*)")
FORMULA = re.compile(r"\s*(?:`([^`]+)`|([^\W\d]\w*))\s*==(?!=)\s*(.+)")
RESOLUTION = 1e-9  # of numbers that are said to be equal, beside the size of the greater one


class ConditionError(ValueError):
    """A condition that can't be understood, or that rows can't meet."""


@dataclass(frozen=True)
class Condition:
    """A statement about the columns of a row, such as ``start <= end``.

    Attributes
    ----------
    text : str
    names : list of str
        The columns that it is about.
    """

    text: str
    names: list[str]

    def broken(self, rows: Any) -> np.ndarray:
        """True for rows that don't meet it, (n,); rows with a gap in its columns do."""
        met = evaluated(self.text, rows)
        if met.dtype != bool:
            raise ConditionError(f"the condition {self.text!r} is neither true nor false: write one such as 'a <= b'")
        return ~met & rows[self.names].notna().all(axis=1).to_numpy()


@dataclass(frozen=True)
class Formula:
    """A column that follows from others, such as ``total == price * n``: it is computed, not drawn.

    Attributes
    ----------
    name : str
    text : str
        The expression.
    word : str
        The column's type.
    decimals : int or None
    """

    name: str
    text: str
    word: str
    decimals: int | None

    def values(self, rows: Any) -> Any:
        """The column of these rows."""
        v = evaluated(self.text, rows).astype(float)
        return as_values(v if self.decimals is None else v.round(self.decimals), self.word, self.decimals)


@dataclass(frozen=True)
class Conditions:
    """The conditions of the rows of a table.

    Attributes
    ----------
    checked : list of Condition
    formulas : list of Formula
    unique : list of str
        Columns of which no row may repeat another's values.
    numbered : dict
        Columns that number the rows, with the pattern of their values.
    """

    checked: list[Condition]
    formulas: list[Formula]
    unique: list[str]
    numbered: dict[str, Numbering]

    @classmethod
    def of(cls, table: Any, where: Sequence[str] = (), unique: Sequence[str] = ()) -> Conditions:
        """Read conditions, and compare them with the rows of the table.

        Raises
        ------
        ConditionError
            If one names an unknown column, isn't true or false, is about a column that numbers the rows, or says that a
            column follows from others from which it doesn't follow.
        """
        _check_names(unique, table)
        numbered = {name: Numbering.of(table[name]) for name in unique if _numbers_rows(table[name])}
        checked, formulas = [], []
        for text in where:
            _check_drawn(text, table, numbered)
            formula = _formula(text, table)
            if formula is None:
                checked.append(_condition(text, table))
            else:
                formulas.append(formula)
        others = [name for name in unique if name not in numbered]
        return cls(checked, _in_order(formulas, table), others, numbered)

    @property
    def computed(self) -> list[str]:
        """Columns that aren't drawn."""
        return [*(each.name for each in self.formulas), *self.numbered]

    def completed(self, rows: Any, like: Sequence[str]) -> Any:
        """Drawn rows with the columns that follow from the others, in the order of ``like``."""
        for each in self.formulas:
            rows = rows.assign(**{each.name: each.values(rows).to_numpy()})
        return rows[[name for name in like if name in rows]]

    def met(self, rows: Any) -> np.ndarray:
        """True for rows that meet every condition, (n,)."""
        broken = np.zeros(len(rows), bool)
        for each in self.checked:
            broken |= each.broken(rows)
        return ~broken

    def first_of_each(self, rows: Any) -> Any:
        """Rows without those that repeat an earlier one's values in the unique columns."""
        return rows.drop_duplicates(self.unique) if self.unique else rows


@dataclass(frozen=True)
class Numbering:
    """Names of rows: whole numbers, or numbers between a prefix and nothing.

    Attributes
    ----------
    prefix : str or None
        None for numbers.
    first : int
        The first number that the table doesn't have.
    width : int
        Digits at least.
    dtype : dtype or None
        Of a column of numbers.
    """

    prefix: str | None
    first: int
    width: int = 0
    dtype: Any = None

    @classmethod
    def of(cls, column: Any) -> Numbering:
        """The numbering that goes on after a column's."""
        if pd.api.types.is_integer_dtype(column):
            return cls(None, int(column.max()) + 1, dtype=column.dtype)
        parts = column.astype(str).str.extract(r"^(.*?)(\d{1,18})$")
        if parts.notna().all(axis=None) and parts[0].nunique() == 1:
            return cls(str(parts[0].iloc[0]), int(parts[1].astype(int).max()) + 1, int(parts[1].str.len().min()))
        return cls("row ", len(column))

    def names(self, n: int) -> list[int] | list[str]:
        """The next n."""
        numbers = range(self.first, self.first + n)
        return list(numbers) if self.prefix is None else [f"{self.prefix}{i:0{self.width}d}" for i in numbers]

    def column(self, n: int) -> Any:
        """The next n in the type of the table's column, or in a wider one where they don't fit."""
        names = pd.Series(self.names(n))
        try:
            found = names if self.dtype is None else names.astype(self.dtype)
        except (OverflowError, TypeError, ValueError):
            return names
        return found if (found == names).all() else names


def evaluated(text: str, rows: Any) -> np.ndarray:
    """An expression of columns for all rows, as ``DataFrame.eval`` reads it; raises ``ConditionError``."""
    try:
        found = rows.eval(text, engine="python", local_dict={}, global_dict={})
    except Exception as error:  # whatever an expression can raise
        raise ConditionError(f"the condition {text!r} can't be evaluated: {' '.join(str(error).split())}") from error
    return np.broadcast_to(_plain(found), len(rows))


def _plain(found: Any) -> np.ndarray:
    """The values of an expression in an array of NumPy's types; a gap is NaN, or true."""
    values = getattr(found, "array", None)
    if values is not None and pd.api.types.is_bool_dtype(values.dtype):
        return values.to_numpy(bool, na_value=True)
    if values is not None and pd.api.types.is_numeric_dtype(values.dtype):
        return values.to_numpy(float, na_value=np.nan)
    return np.asarray(found)


def _condition(text: str, table: Any) -> Condition:
    condition = Condition(text, _columns_in(text, table))
    broken = condition.broken(table)
    if broken.all():
        raise ConditionError(f"no row of the table meets {text!r}: it can't be learned from it")
    if broken.any():
        first = int(np.flatnonzero(broken)[0])
        warn(
            f"{broken.sum():,} of {len(table):,} rows of the table don't meet {text!r}, the first is row {first}; "
            "all drawn rows will"
        )
    return condition


def _columns_in(text: str, table: Any) -> list[str]:
    """The columns that an expression is about."""
    words = {quoted or word for quoted, word in NAMES.findall(re.sub(r"'[^']*'|\"[^\"]*\"", "", text))}
    found = [name for name in table.columns if name in words]
    if not found:
        raise ConditionError(f"the condition {text!r} names no column: these are {listed(list(table.columns))}")
    return found


def _formula(text: str, table: Any) -> Formula | None:
    """The formula of a column of numbers that a condition ``column == expression of others`` gives, if it is one."""
    match = FORMULA.fullmatch(text)
    if match is None:
        return None
    name, expression = match[1] or match[2], match[3]
    if name not in table or not pd.api.types.is_numeric_dtype(table[name]) or re.search(r"[=<>&|]|\band\b", expression):
        return None
    words = _columns_in(text, table)
    if len(words) < 2 or name in _columns_in(expression, table):
        return None
    v = column_numbers(table[name])
    known = ~np.isnan(v)
    decimals = next((d for d in range(13) if has_decimals(v[known], d)), None)
    formula = Formula(name, expression, type_word(table[name]), decimals)
    computed = evaluated(expression, table).astype(float)
    off = np.abs(computed - v) > RESOLUTION * np.maximum(1, np.abs(v)) + (
        0 if decimals is None else 0.5 * 10.0**-decimals
    )
    if off.any():
        row = int(np.flatnonzero(off)[0])
        raise ConditionError(
            f"{name} isn't {expression} in {off.sum():,} of {len(table):,} rows: in row {row} it is {v[row]:g}, and "
            f"{expression} is {computed[row]:g}; a column can be computed if it follows in all rows"
        )
    return formula


def _in_order(formulas: list[Formula], table: Any) -> list[Formula]:
    """The formulas, each behind those of the columns that it reads."""
    found: list[Formula] = []
    while len(found) < len(formulas):
        rest = [each for each in formulas if each not in found]
        unknown = {each.name for each in rest}
        ready = [each for each in rest if unknown.isdisjoint(_columns_in(each.text, table))]
        if not ready:
            raise ConditionError(f"{listed(sorted(unknown))} follow from each other: leave one of their conditions out")
        found += ready
    return found


def _numbers_rows(column: Any) -> bool:
    """True for a column of words or whole numbers with another value in every row."""
    can = pd.api.types.is_integer_dtype(column) or measure_of(type_word(column)) == "category"
    return can and column.is_unique and column.notna().all()


def _check_drawn(text: str, table: Any, numbered: dict[str, Numbering]) -> None:
    for name in _columns_in(text, table):
        if name in numbered:
            raise ConditionError(
                f"the condition {text!r} is about {name}, whose values are new names of the rows and aren't drawn: "
                "leave it out, or don't ask for it to be unique"
            )


def _check_names(names: Sequence[str], table: Any) -> None:
    for name in names:
        if name not in table:
            raise ConditionError(f"the table has no column {name!r}: its columns are {listed(list(table.columns))}")
