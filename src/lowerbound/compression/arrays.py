"""Arrays and images as whole numbers, and what a block needs besides."""

from __future__ import annotations

import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lowerbound.compression.bits_back import NotCodableError
from lowerbound.compression.entries import At, Numbers
from lowerbound.data.gaps import gaps_of, nan_in_gaps
from lowerbound.data.schema import Schema

MOST_ASIDE, FEW_ASIDE = 0.05, 3  # share of entries that may be kept aside, and the number that always may


@dataclass
class CodedBlock:
    """A block of rows as whole numbers; shapes as in ``Entries``.

    Attributes
    ----------
    numbers : Numbers
    k, observed, aside, low, high
        As in ``Entries``.
    apart : bytes
        The entries that are kept aside, and what ``numbers`` is made of.
    """

    numbers: Numbers
    k: np.ndarray
    observed: np.ndarray
    aside: np.ndarray
    low: np.ndarray
    high: np.ndarray
    apart: bytes

    def __len__(self) -> int:
        return len(self.k)

    def part(self, rows: slice) -> CodedBlock:
        """Some of the rows; what is apart stays that of all."""
        return replace(self, k=self.k[rows], observed=self.observed[rows], aside=self.aside[rows])


class RowsCode(ABC):
    """The way between the user's rows and blocks of whole numbers.

    Attributes
    ----------
    schema : Schema or TextSchema
    counted : ndarray of bool, shape (*event)
        Entries that the model describes.
    """

    schema: Any
    counted: np.ndarray

    @abstractmethod
    def describe(self) -> list[Any]:
        """The record of JSON that ``of`` is called with."""

    @classmethod
    @abstractmethod
    def of(cls, schema: Any, record: list[Any]) -> RowsCode:
        """The inverse of ``describe``."""

    @abstractmethod
    def example(self, n_rows: int) -> Any:
        """Fixed rows, which depend on what was fitted alone."""

    @abstractmethod
    def of_user(self, X: Any, checked: Any) -> Any:
        """The rows as ``take`` wants them, of the user's and of what the model's check makes of them."""

    @abstractmethod
    def take(self, X: Any) -> Any:
        """Rows as whole numbers."""

    @abstractmethod
    def n_numbers(self, block: Any) -> int:
        """Count the numbers that the rows have, of which bits a dimension are."""

    @abstractmethod
    def bits_besides(self, block: Any) -> float:
        """Bits that the model's −log2 p lacks."""

    @abstractmethod
    def give(self, block: Any) -> Any:
        """The rows again."""

    @abstractmethod
    def join(self, blocks: Sequence[Any]) -> Any:
        """The rows of all blocks."""

    @abstractmethod
    def are_same(self, X: Any, again: Any) -> bool:
        """True if rows that were read are those that were written."""

    @abstractmethod
    def digest(self, block: Any) -> int:
        """A checksum of all that is coded."""


class EntriesCode(RowsCode):
    """The code of rows that have the same entries each."""

    schema: Schema

    def n_numbers(self, block: CodedBlock) -> int:
        """The entries that count in the density."""
        return len(block) * self.schema.n_dimensions

    @abstractmethod
    def bits_of_steps(self, block: CodedBlock) -> float:
        """−log2 of the product of the steps of real values, in their own units: what densities lack."""

    def bits_besides(self, block: CodedBlock) -> float:
        """Bits that the model's −log2 p lacks: of the steps, of what is kept aside and of where entries are missing."""
        n, missing = len(block.k), (~block.observed).reshape(len(block.k), -1).sum(0)
        bits = [float((m * np.log2(np.maximum(m, 1) / n)).sum()) for m in (missing, n - missing)]
        kept = 0 if np.isnan(block.aside).all() else len(zlib.compress(block.apart, 9))
        return self.bits_of_steps(block) + 8 * kept - sum(bits)

    @abstractmethod
    def begin(self, n_rows: int, apart: bytes) -> tuple[Numbers, np.ndarray]:
        """The numbers of a block that is to be read, and its ``aside``."""

    def digest(self, block: CodedBlock) -> int:
        """A checksum of the numbers on the stack, of what is missing and of what is aside."""
        coded = block.observed & self.counted & np.isnan(block.aside)
        few = block.low.min() >= 0 and block.high.max() < 256
        k = np.where(coded, block.k, 0).astype(np.uint8 if few else "<i8")
        checksum = zlib.crc32(k.tobytes(), zlib.crc32(block.apart))
        return zlib.crc32(np.packbits(block.observed).tobytes(), checksum)


def same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """True where two arrays have the same values, −0 and 0 being two."""
    equal = a == b
    return equal & (np.signbit(a) == np.signbit(b)) if a.dtype.kind == "f" else equal


def range_of(k: np.ndarray, coded: np.ndarray, *, by_entry: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest of the numbers on the stack: of all, or of every entry; 0 where there are none."""
    axis, most = (0 if by_entry else None), np.iinfo(np.int64).max
    if coded.all():
        return k.min(axis), k.max(axis)
    low = np.where(coded, k, most).min(axis, initial=most)
    high = np.where(coded, k, -most).max(axis, initial=-most)
    return np.where(low > high, 0, low), np.where(low > high, 0, high)


def pattern(shape: tuple[int, ...], n: int | np.ndarray) -> np.ndarray:
    """Fixed numbers from 0 to n − 1."""
    return ((np.arange(math.prod(shape)).reshape(shape) * 2654435761) >> 16) % n


@dataclass
class ArrayNumbers(Numbers):
    """k is the value itself, or so many steps of a real one: x = (k/scale − location)/unit.

    Attributes
    ----------
    scale : float or None
        Steps in one of the user's units; None for discrete values.
    location, unit : ndarray, shape (*event)
    """

    scale: float | None
    location: np.ndarray
    unit: np.ndarray

    def edges(self, k: np.ndarray, at: At | None = None) -> np.ndarray:
        """The value, or the upper edge of the step around it."""
        return k.astype(np.float64) if self.scale is None else self._standardized((k + 0.5) / self.scale, at)

    def x(self, k: np.ndarray, at: At | None = None) -> np.ndarray:
        """The value."""
        return k.astype(np.float64) if self.scale is None else self._standardized(k / self.scale, at)

    def _standardized(self, v: np.ndarray, at: At | None) -> np.ndarray:
        place = () if at is None else at
        return (v - self.location[place]) / self.unit[place]


@dataclass
class ArrayCode(EntriesCode):
    """Arrays of numbers.

    Parameters
    ----------
    schema : Schema
    dtype : dtype
        Of the user's array.
    decimals : int or None
        Of real values.
    masked : bool
        Rows come back as a masked array where some entries are missing.
    columns : list of (str or int, str), optional
        Names and types of the columns of a frame.
    """

    schema: Schema
    dtype: np.dtype
    decimals: int | None = None
    masked: bool = False
    columns: list[list[Any]] | None = None

    def __post_init__(self) -> None:
        self.counted: np.ndarray = self.schema.counted
        if self.dtype.kind in "iub" and self.decimals is None:
            self.decimals = 0
        if not self.schema.is_discrete and self.decimals is None:
            raise NotCodableError(
                "real numbers have infinitely many digits: say to how many decimals they were measured, with "
                "decimals=… (--decimals), for example decimals=2"
            )
        scale = None if self.schema.is_discrete else 10.0 ** (self.decimals or 0)
        self.numbers: ArrayNumbers = ArrayNumbers(scale, self.schema.location, self.schema.unit)

    def describe(self) -> list[Any]:
        """Type, decimals and container."""
        return [self.dtype.name, self.decimals, self.masked, self.columns]

    @classmethod
    def of(cls, schema: Schema, record: list[Any]) -> ArrayCode:
        """The inverse of ``describe``."""
        dtype, *others = record
        return cls(schema, np.dtype(dtype), *others)

    def example(self, n_rows: int) -> CodedBlock:
        """Zeros and ones; of real values two steps at the mean."""
        shape = (n_rows, *self.schema.event_shape)
        low = np.zeros(shape[1:], np.int64)
        if self.numbers.scale is not None:
            low = np.rint(self.numbers.location * self.numbers.scale).astype(np.int64)
        everything = np.ones(shape, bool)
        return CodedBlock(
            self.numbers, low + pattern(shape, 2), everything, np.full(shape, np.nan), low, low + 1, b""
        )  # fmt: skip

    def of_user(self, X: Any, checked: np.ndarray) -> np.ndarray:
        """The array, masked where it has gaps."""
        return checked

    def bits_of_steps(self, block: CodedBlock) -> float:
        """The decimals of all values."""
        scale = self.numbers.scale or 1.0
        return math.log2(scale) * int((block.observed & self.counted).sum())

    def take(self, X: np.ndarray) -> CodedBlock:
        """Rows as whole numbers; entries that these don't give back are kept aside."""
        gaps = gaps_of(X)
        shape = (len(X), *self.schema.event_shape)
        observed = np.ones(shape, bool) if gaps is None else np.ascontiguousarray(self.schema.to_event(~gaps))
        values = np.ascontiguousarray(self.schema.to_event(np.ma.getdata(X))).astype(self.dtype, copy=False)
        k = np.where(observed, self._numbers_of(values), 0)
        apart = observed & ~same(self._values_of(k), values)
        self._check_apart(apart, observed)
        low, high = range_of(k, observed & self.counted & ~apart)
        aside = np.where(apart, self.numbers.x(k), np.nan) if apart.any() else np.broadcast_to(np.nan, shape)
        places = np.flatnonzero(apart)
        packed = b"" if not len(places) else np.diff(places, prepend=0).astype("<i8").tobytes()
        packed += values.ravel()[places].astype(self.dtype.newbyteorder("<")).tobytes()
        return CodedBlock(self.numbers, k, observed, aside, low, high, packed)

    def _numbers_of(self, values: np.ndarray) -> np.ndarray:
        if self.numbers.scale is None:
            if self.schema.binarize:
                return (values != 0).astype(np.int64)
            return (np.rint(values) if values.dtype.kind == "f" else values).astype(np.int64)
        with np.errstate(over="ignore"):
            steps = values.astype(np.float64) * self.numbers.scale
        return np.rint(np.clip(steps, -(2.0**52), 2.0**52)).astype(np.int64)

    def _values_of(self, k: np.ndarray) -> np.ndarray:
        """The user's values, (n, *event); what is constant stays so."""
        if self.numbers.scale is None:
            return np.where(self.counted, k, 0).astype(self.dtype)
        constant = self.schema.mean * self.schema.unit + self.schema.location
        values = np.where(self.counted, k / self.numbers.scale, constant).astype(self.dtype)
        for j, (_, dtype) in enumerate(self.columns or []):
            if dtype == "float32":
                values[..., j] = values[..., j].astype(np.float32)
        return values

    def _check_apart(self, apart: np.ndarray, observed: np.ndarray) -> None:
        if self.schema.binarize and apart.any():
            raise NotCodableError(
                f"the model reads grey values as 0 or 1 (binarize={self.schema.binarize!r}), which loses them: "
                "compress the 0/1 data themselves"
            )
        n_apart = (apart & self.counted).sum()
        share = n_apart / max(1, (observed & self.counted).sum())
        if share > MOST_ASIDE and n_apart > FEW_ASIDE:
            raise NotCodableError(f"{share:.0%} of the values have more than {self.decimals} decimals: give more")

    def _unpacked(self, apart: bytes) -> tuple[np.ndarray, np.ndarray]:
        """Places and values of the entries that are kept aside."""
        n = len(apart) // (8 + self.dtype.itemsize)
        values = np.frombuffer(apart[8 * n :], self.dtype.newbyteorder("<")).astype(self.dtype)
        return np.cumsum(np.frombuffer(apart[: 8 * n], "<i8")), values

    def begin(self, n_rows: int, apart: bytes) -> tuple[Numbers, np.ndarray]:
        """The numbers, and x of the entries that are kept aside."""
        places, values = self._unpacked(apart)
        shape = (n_rows, *self.schema.event_shape)
        if not len(places):
            return self.numbers, np.broadcast_to(np.nan, shape)
        aside = np.full(shape, np.nan)
        known = np.zeros(aside.shape, self.dtype)
        known.ravel()[places] = values
        aside.ravel()[places] = self.numbers.x(self._numbers_of(known)).ravel()[places]
        return self.numbers, aside

    def give(self, block: CodedBlock) -> Any:
        """The rows; NaN where nothing was observed, or a masked array."""
        rows = self._array(block)
        if self.columns is None:
            return rows
        import pandas as pd

        frame = pd.DataFrame(nan_in_gaps(rows))
        for j, (_, dtype) in enumerate(self.columns):
            frame[j] = frame[j].astype(dtype)  # type: ignore[call-overload]
        return frame.set_axis([name for name, _ in self.columns], axis=1)

    def _array(self, block: CodedBlock) -> np.ndarray:
        values = self._values_of(block.k)
        places, kept = self._unpacked(block.apart)
        values.ravel()[places] = kept
        rows, gaps = self.schema.to_rows(values), ~self.schema.to_rows(block.observed)
        if not gaps.any():
            return rows
        if self.masked or self.dtype.kind != "f":
            return np.ma.masked_array(np.where(gaps, np.zeros((), self.dtype), rows), gaps)
        return np.where(gaps, np.array(np.nan, self.dtype), rows)

    def join(self, blocks: Sequence[Any]) -> Any:
        """One array, or frame."""
        if self.columns is not None:
            import pandas as pd

            return pd.concat(blocks, ignore_index=True)
        masked = any(isinstance(block, np.ma.MaskedArray) for block in blocks)
        return np.ma.concatenate(blocks) if masked else np.concatenate(blocks)

    def are_same(self, X: np.ndarray, again: np.ndarray) -> bool:
        """The same values and gaps, bit by bit."""
        again = np.asarray(again, self.dtype) if self.columns is not None else again
        missing, missing_again = (_missing(each) for each in (X, again))
        values, values_again = (np.ma.getdata(each).astype(self.dtype) for each in (X, again))
        return bool((missing == missing_again).all() and (same(values, values_again) | missing).all())


def _missing(X: np.ndarray) -> np.ndarray:
    values = np.ma.getdata(X)
    return np.ma.getmaskarray(X) | (np.isnan(values) if values.dtype.kind == "f" else False)
