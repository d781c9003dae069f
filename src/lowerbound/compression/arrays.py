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
from lowerbound.data.gaps import gaps_of
from lowerbound.data.schema import Schema

MOST_ASIDE = 0.05  # share of entries that may be kept aside


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

    def part(self, rows: slice) -> CodedBlock:
        """Some of the rows; what is apart stays that of all."""
        return replace(self, k=self.k[rows], observed=self.observed[rows], aside=self.aside[rows])


class RowsCode(ABC):
    """The way between the user's rows and blocks of whole numbers.

    Attributes
    ----------
    counted : ndarray of bool, shape (*event)
        Entries that the model describes.
    """

    counted: np.ndarray

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The record of JSON that ``of`` is called with."""

    @classmethod
    @abstractmethod
    def of(cls, schema: Schema, record: dict[str, Any]) -> RowsCode:
        """The inverse of ``describe``."""

    @abstractmethod
    def example(self, n_rows: int) -> CodedBlock:
        """Fixed rows, which depend on what was fitted alone."""

    @abstractmethod
    def of_user(self, X: Any, checked: Any) -> Any:
        """The rows as ``take`` wants them, of the user's and of what the model's check makes of them."""

    @abstractmethod
    def take(self, X: Any) -> CodedBlock:
        """Rows as whole numbers."""

    @abstractmethod
    def resolution(self, block: CodedBlock) -> float:
        """−log2 of the product of the steps of real values, in their own units: bits that the bound lacks."""

    @abstractmethod
    def begin(self, n_rows: int, apart: bytes) -> tuple[Numbers, np.ndarray]:
        """The numbers of a block that is to be read, and its ``aside``."""

    @abstractmethod
    def give(self, block: CodedBlock) -> Any:
        """The rows again."""

    @abstractmethod
    def join(self, blocks: Sequence[Any]) -> Any:
        """The rows of all blocks."""

    @abstractmethod
    def are_same(self, X: Any, again: Any) -> bool:
        """True if rows that were read are those that were written."""

    def digest(self, block: CodedBlock) -> int:
        """A checksum of the numbers on the stack, of what is missing and of what is aside."""
        coded = block.observed & self.counted & np.isnan(block.aside)
        checksum = zlib.crc32(block.k[coded].astype("<i8").tobytes(), zlib.crc32(block.apart))
        return zlib.crc32(np.packbits(block.observed).tobytes(), checksum)


def same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """True where two arrays have the same values, −0 and 0 being two."""
    equal = a == b
    return equal & (np.signbit(a) == np.signbit(b)) if a.dtype.kind == "f" else equal


def range_of(k: np.ndarray, coded: np.ndarray, *, by_entry: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest of the numbers on the stack: of all, or of every entry; 0 where there are none."""
    axis, most = (0 if by_entry else None), np.iinfo(np.int64).max
    low = np.where(coded, k, most).min(axis, initial=most)
    high = np.where(coded, k, -most).max(axis, initial=-most)
    return np.where(low > high, 0, low), np.where(low > high, 0, high)


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
class ArrayCode(RowsCode):
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
    """

    schema: Schema
    dtype: np.dtype
    decimals: int | None = None
    masked: bool = False

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

    def describe(self) -> dict[str, Any]:
        """Type and decimals."""
        return {"dtype": self.dtype.name, "decimals": self.decimals, "masked": self.masked}

    @classmethod
    def of(cls, schema: Schema, record: dict[str, Any]) -> ArrayCode:
        """The inverse of ``describe``."""
        return cls(schema, np.dtype(record["dtype"]), record["decimals"], record["masked"])

    def example(self, n_rows: int) -> CodedBlock:
        """Zeros and ones; of real values two steps at the mean."""
        shape = (n_rows, *self.schema.event_shape)
        k = (np.arange(math.prod(shape)).reshape(shape) * 7 // 3) % 2
        if self.numbers.scale is not None:
            k = k + np.rint(self.numbers.location * self.numbers.scale).astype(np.int64)
        aside, low, high = np.full(shape, np.nan), *range_of(k, np.ones(shape, bool), by_entry=True)
        return CodedBlock(self.numbers, k, np.ones(shape, bool), aside, low, high, b"")

    def of_user(self, X: Any, checked: np.ndarray) -> np.ndarray:
        """The array, masked where it has gaps."""
        return checked

    def resolution(self, block: CodedBlock) -> float:
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
        aside = np.where(apart, self.numbers.x(k), np.nan)
        places = np.flatnonzero(apart)
        packed = b"" if not len(places) else np.diff(places, prepend=0).astype("<i8").tobytes()
        packed += values.ravel()[places].astype(self.dtype.newbyteorder("<")).tobytes()
        return CodedBlock(self.numbers, k, observed, aside, low, high, packed)

    def _numbers_of(self, values: np.ndarray) -> np.ndarray:
        if self.numbers.scale is None:
            binarized = self.schema.binarize == "mean"
            return (values > self.schema.location if binarized else np.rint(values)).astype(np.int64)
        with np.errstate(over="ignore"):
            steps = values.astype(np.float64) * self.numbers.scale
        return np.rint(np.clip(steps, -(2.0**52), 2.0**52)).astype(np.int64)

    def _values_of(self, k: np.ndarray) -> np.ndarray:
        """The user's values, (n, *event); what is constant stays so."""
        if self.numbers.scale is None:
            return np.where(self.counted, k, 0).astype(self.dtype)
        constant = self.schema.mean * self.schema.unit + self.schema.location
        return np.where(self.counted, k / self.numbers.scale, constant).astype(self.dtype)

    def _check_apart(self, apart: np.ndarray, observed: np.ndarray) -> None:
        if self.schema.binarize and apart.any():
            raise NotCodableError(
                f"the model reads grey values as 0 or 1 (binarize={self.schema.binarize!r}), which loses them: "
                "compress the 0/1 data themselves"
            )
        share = (apart & self.counted).sum() / max(1, (observed & self.counted).sum())
        if share > MOST_ASIDE:
            raise NotCodableError(f"{share:.0%} of the values have more than {self.decimals} decimals: give more")

    def _unpacked(self, apart: bytes) -> tuple[np.ndarray, np.ndarray]:
        """Places and values of the entries that are kept aside."""
        n = len(apart) // (8 + self.dtype.itemsize)
        values = np.frombuffer(apart[8 * n :], self.dtype.newbyteorder("<")).astype(self.dtype)
        return np.cumsum(np.frombuffer(apart[: 8 * n], "<i8")), values

    def begin(self, n_rows: int, apart: bytes) -> tuple[Numbers, np.ndarray]:
        """The numbers, and x of the entries that are kept aside."""
        aside = np.full((n_rows, *self.schema.event_shape), np.nan)
        places, values = self._unpacked(apart)
        known = np.zeros(aside.shape, self.dtype)
        known.ravel()[places] = values
        aside.ravel()[places] = self.numbers.x(self._numbers_of(known)).ravel()[places]
        return self.numbers, aside

    def give(self, block: CodedBlock) -> np.ndarray:
        """The rows; NaN where nothing was observed, or a masked array."""
        values = self._values_of(block.k)
        places, kept = self._unpacked(block.apart)
        values.ravel()[places] = kept
        rows, gaps = self.schema.to_rows(values), ~self.schema.to_rows(block.observed)
        if not gaps.any():
            return rows
        if self.masked or self.dtype.kind != "f":
            return np.ma.masked_array(np.where(gaps, np.zeros((), self.dtype), rows), gaps)
        return np.where(gaps, np.array(np.nan, self.dtype), rows)

    def join(self, blocks: Sequence[Any]) -> np.ndarray:
        """One array."""
        masked = any(isinstance(block, np.ma.MaskedArray) for block in blocks)
        return np.ma.concatenate(blocks) if masked else np.concatenate(blocks)

    def are_same(self, X: np.ndarray, again: np.ndarray) -> bool:
        """The same values and gaps, bit by bit."""
        missing, missing_again = (_missing(each) for each in (X, again))
        values, values_again = (np.ma.getdata(each).astype(self.dtype) for each in (X, again))
        return bool((missing == missing_again).all() and (same(values, values_again) | missing).all())


def _missing(X: np.ndarray) -> np.ndarray:
    values = np.ma.getdata(X)
    return np.ma.getmaskarray(X) | (np.isnan(values) if values.dtype.kind == "f" else False)
