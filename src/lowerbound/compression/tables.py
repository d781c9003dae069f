"""Tables with columns of several kinds as whole numbers: places of categories, counts, dates and decimals."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lowerbound.compression.arrays import FEW_ASIDE, MOST_ASIDE, CodedBlock, EntriesCode, pattern, range_of
from lowerbound.compression.bits_back import NotCodableError
from lowerbound.compression.columns import equal, from_bytes, name_of, numbers_of, resolution_of, to_bytes, values_of
from lowerbound.compression.entries import At, Numbers
from lowerbound.data.columns.coding import encode_quietly, in_units
from lowerbound.data.columns.inference import framed
from lowerbound.data.columns.schema import ColumnSchema
from lowerbound.data.columns.values import dtype_of, measure_of, missing
from lowerbound.data.frames import as_pandas, container_of, in_container
from lowerbound.data.schema import Schema
from lowerbound.distributions.atoms import is_atom
from lowerbound.distributions.unseen import is_unseen

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class TableNumbers(Numbers):
    """k is the place of a category, a count, or so many steps of a real number or date.

    Attributes
    ----------
    columns : sequence of ColumnSchema
    scales : ndarray, shape (F,)
        Steps in one of the column's units; 1 for categories and counts.
    """

    columns: Sequence[ColumnSchema]
    scales: np.ndarray

    def __post_init__(self) -> None:
        self.reals: np.ndarray = np.array([c.kind != "count" and not c.has_categories for c in self.columns])

    def edges(self, k: np.ndarray, at: At | None = None) -> np.ndarray:
        """The place, the count, or the upper edge of the step."""
        reals, scales = (values if at is None else values[at] for values in (self.reals, self.scales))
        return np.where(reals, (k + 0.5) / scales, k)

    def x(self, k: np.ndarray, at: At | None = None) -> np.ndarray:
        """The place, or the scaled number."""
        columns = zip(self.columns, (k / self.scales).T, strict=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.stack([v if column.has_categories else in_units(v, column) for column, v in columns], 1)


@dataclass
class TableCode(EntriesCode):
    """Frames with columns of several kinds.

    Parameters
    ----------
    schema : Schema
    empty : DataFrame
        No rows, with the names and types of the user's columns.
    decimals : int or None
        Of columns of real numbers that have no decimals of their own.
    container : str
        The library of the user's frame.
    """

    schema: Schema
    empty: pd.DataFrame
    decimals: int | None = None
    container: str = "pandas"

    def __post_init__(self) -> None:
        self.counted: np.ndarray = self.schema.counted
        assert self.schema.columns is not None
        self.columns: tuple[ColumnSchema, ...] = self.schema.columns

    def describe(self) -> list[Any]:
        """Names and types of the columns, if they aren't those that the model was fitted to; decimals and container."""
        usual = _as_fitted(self.columns)
        is_usual = self.empty.columns.equals(usual.columns) and self.empty.dtypes.equals(usual.dtypes)
        types = [{}, ""] if is_usual else [_levels_of(self.empty), _text(self.empty)]
        return [*types, self.decimals, self.container, *_whole_numbers(self.empty.columns)]

    @classmethod
    def of(cls, schema: Schema, record: list[Any]) -> TableCode:
        """The inverse of ``describe``."""
        levels, empty, decimals, container, *names = record
        assert schema.columns is not None
        frame = _with_levels(_frame(empty), levels) if empty else _as_fitted(schema.columns)
        return cls(schema, frame.set_axis(names[0], axis=1) if names else frame, decimals, container)

    @classmethod
    def like(cls, schema: Schema, X: Any, decimals: int | None) -> TableCode:
        """The code of frames such as ``X``."""
        return cls(schema, framed(as_pandas(X)).iloc[:0], decimals, container_of(X))

    def example(self, n_rows: int) -> CodedBlock:
        """Fixed categories; numbers at the columns' centers."""
        scales = np.array(
            [1.0 if c.has_categories or c.kind == "count" else 10.0 ** (c.decimals or 0) for c in self.columns]
        )
        centers = [c.center for c in self.columns]
        low = np.where([c.has_categories for c in self.columns], 0, np.rint(centers * scales)).astype(np.int64)
        n = np.array([len(c.categories) if c.has_categories else 2 for c in self.columns])
        shape = (n_rows, len(self.columns))
        numbers, everything = TableNumbers(self.columns, scales), np.ones(shape, bool)
        return CodedBlock(numbers, low + pattern(shape, n), everything, np.full(shape, np.nan), low, low + n - 1, b"")

    def of_user(self, X: Any, checked: Any) -> pd.DataFrame:
        """A frame of pandas, without its index."""
        return framed(as_pandas(X)).reset_index(drop=True)

    def take(self, X: pd.DataFrame) -> CodedBlock:
        """Rows as whole numbers; values that these don't give back are kept aside."""
        x, _ = encode_quietly(X, self.columns)
        shape = x.shape
        k, observed, apart, scales = (
            np.zeros(shape, np.int64),
            np.ones(shape, bool),
            np.zeros(shape, bool),
            np.ones(shape[1]),
        )
        for j, column in enumerate(self.columns):
            values = X.iloc[:, j]
            observed[:, j] = ~missing(values)
            if not column.has_categories:
                v = numbers_of(values, column)
                scales[j] = resolution_of(v, values, column, self.decimals)
                k[:, j] = np.rint(np.clip(np.nan_to_num(v) * scales[j], -(2.0**53), 2.0**53))
            else:
                k[:, j] = np.where(np.isnan(x[:, j]) | is_unseen(x[:, j]), 0, x[:, j])
            again = values_of(k[:, j], column, scales[j], self.empty.iloc[:, j])
            known = ~np.isnan(x[:, j]) & ~is_unseen(x[:, j])
            apart[:, j] = observed[:, j] & ~(known & equal(again, values))
            self._check_apart(apart[:, j], known, column)
        aside = np.where(apart, np.where(np.isnan(x), np.inf, x), np.nan)
        low, high = range_of(k, observed & self.counted & ~apart, by_entry=True)
        kept = [(int(j), np.flatnonzero(apart[:, j]), X.iloc[:, [j]]) for j in np.flatnonzero(apart.any(0))]
        nones = [int(j) for j in np.flatnonzero(~observed.all(0)) if _are_none(X.iloc[:, j][~observed[:, j]])]
        apart_bytes = _pack(scales, kept, nones)
        return CodedBlock(TableNumbers(self.columns, scales), k, observed, aside, low, high, apart_bytes)

    def _check_apart(self, apart: np.ndarray, known: np.ndarray, column: ColumnSchema) -> None:
        n_apart = (apart & known).sum()
        share = n_apart / max(1, known.sum())
        if share <= MOST_ASIDE or n_apart <= FEW_ASIDE or column.has_categories:
            return
        if self.decimals is None or measure_of(column.dtype) != "number":
            raise NotCodableError(
                f"column {column.name!r}: {share:.0%} of its values are too large or too fine to be coded as numbers "
                "(2⁵³ steps, microseconds): round them, or make them text before the fit"
            )
        raise NotCodableError(
            f"column {column.name!r}: {share:.0%} of its values have more decimals than {self.decimals}: give more"
        )

    def begin(self, n_rows: int, apart: bytes) -> tuple[Numbers, np.ndarray]:
        """The numbers, and x of the values that are kept aside."""
        scales, kept, _ = _unpack(apart)
        aside = np.full((n_rows, len(self.columns)), np.nan)
        for j, places, values in kept:
            x, _ = encode_quietly(values, self.columns[j : j + 1])
            aside[places, j] = np.where(np.isnan(x[:, 0]), np.inf, x[:, 0])
        return TableNumbers(self.columns, scales), aside

    def give(self, block: CodedBlock) -> Any:
        """The frame."""
        import pandas as pd

        scales, kept, nones = _unpack(block.apart)
        series = {}
        for j, column in enumerate(self.columns):
            like = self.empty.iloc[:, j]
            values = values_of(block.k[:, j], column, scales[j], like)
            for _, places, held in (each for each in kept if each[0] == j):
                values = _with(values, places, held.iloc[:, 0])
            gaps = ~block.observed[:, j]
            values = (values.mask(gaps) if gaps.any() else values).astype(like.dtype)
            if j in nones:
                values[gaps] = None
            series[self.empty.columns[j]] = values
        return in_container(pd.DataFrame(series), self.container)

    def join(self, blocks: Sequence[Any]) -> Any:
        """One frame."""
        import pandas as pd

        return in_container(pd.concat([as_pandas(block) for block in blocks], ignore_index=True), self.container)

    def are_same(self, X: Any, again: Any) -> bool:
        """The same values, types and gaps, column by column."""
        again = as_pandas(again)
        for j in range(X.shape[1]):
            a, b = X.iloc[:, j], again.iloc[:, j]
            gaps = missing(a)
            if not ((gaps == missing(b)).all() and (equal(b, a) | gaps).all()):
                return False
        return True

    def bits_of_steps(self, block: CodedBlock) -> float:
        """The resolutions of all real numbers on the stack."""
        assert isinstance(block.numbers, TableNumbers)
        coded = block.observed & self.counted & np.isnan(block.aside) & block.numbers.reals
        coded &= ~is_atom(block.numbers.x(block.k))  # which have probabilities
        return float((coded * np.log2(block.numbers.scales)).sum())


def _as_fitted(columns: Sequence[ColumnSchema]) -> pd.DataFrame:
    """No rows, with the names and types of the table that the model was fitted to, as far as its schema knows them."""
    import pandas as pd

    return pd.DataFrame({column.name: pd.Series(dtype=dtype_of(column.dtype)) for column in columns})


def _text(frame: pd.DataFrame) -> str:
    return base64.b85encode(to_bytes(frame)).decode()


def _frame(text: str) -> pd.DataFrame:
    return from_bytes(base64.b85decode(text))


def _levels_of(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """The categories of the columns that are categorical, which Arrow forgets without rows, and if they are ordered."""
    import pandas as pd

    types = {str(j): frame.dtypes.iloc[j] for j in range(frame.shape[1])}
    return {
        j: [_text(pd.DataFrame({"level": dtype.categories})), bool(dtype.ordered)]
        for j, dtype in types.items()
        if isinstance(dtype, pd.CategoricalDtype)
    }


def _with_levels(frame: pd.DataFrame, levels: dict[str, list[Any]]) -> pd.DataFrame:
    """The inverse of ``_levels_of``."""
    import pandas as pd

    types = {
        frame.columns[int(j)]: pd.CategoricalDtype(pd.Index(_frame(text)["level"]).rename(None), ordered)
        for j, (text, ordered) in levels.items()
    }
    return frame.astype(types)


def _whole_numbers(names: pd.Index) -> list[list[int | str]]:
    """The names of columns, alone in a list, if some are whole numbers, which Arrow makes text; else an empty list."""
    found = [name_of(name) for name in names]
    return [found] if any(isinstance(name, int) for name in found) else []


Kept = tuple[int, np.ndarray, Any]  # the column, the rows, a frame with the values


def _pack(scales: np.ndarray, kept: Sequence[Kept], nones: Sequence[int]) -> bytes:
    """The scales, the values that are kept aside, and the columns whose gaps are None."""
    parts, heads = [], []
    for j, places, column in kept:
        content = to_bytes(column.iloc[places])
        heads.append([int(j), len(places), len(content)])
        parts.append(np.diff(places, prepend=0).astype("<i8").tobytes() + content)
    head = [scales.tolist(), heads, *([nones] if nones else [])]
    return json.dumps(head, separators=(",", ":")).encode() + b"\n" + b"".join(parts)


def _unpack(apart: bytes) -> tuple[np.ndarray, list[Kept], list[int]]:
    """The inverse of ``_pack``."""
    head, _, rest = apart.partition(b"\n")
    scales, heads, *others = json.loads(head)
    kept = []
    for j, n, length in heads:
        places, content, rest = rest[: 8 * n], rest[8 * n : 8 * n + length], rest[8 * n + length :]
        kept.append((j, np.cumsum(np.frombuffer(places, "<i8")), from_bytes(content)))
    return np.array(scales), kept, others[0] if others else []


def _are_none(gaps: pd.Series) -> bool:
    """The missing values of a column of objects are None, not NaN."""
    return gaps.dtype == object and all(value is None for value in gaps)


def _with(values: pd.Series, places: np.ndarray, held: pd.Series) -> pd.Series:
    """The series with other values at some places."""
    import pandas as pd

    if isinstance(values.dtype, pd.CategoricalDtype):
        codes = values.cat.codes.to_numpy().copy()
        codes[places] = pd.Categorical(held, dtype=values.dtype).codes
        return pd.Series(pd.Categorical.from_codes(codes, dtype=values.dtype))
    values = values.copy()
    values.iloc[places] = held.to_numpy() if values.dtype == object else held.array
    return values
