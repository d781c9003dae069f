"""The entries of rows as whole numbers on a stack: which are there, and their values given p(x|z)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lowerbound.compression.coder import Stack, rounded
from lowerbound.core import Batch
from lowerbound.distributions.columns import Columns, Scaling

At = tuple[int, ...] | tuple[np.ndarray]  # the place of one entry in the event, or those of several columns


class Numbers(ABC):
    """The way between the entries of a block of rows and whole numbers k."""

    @abstractmethod
    def edges(self, k: np.ndarray, at: At | None = None) -> np.ndarray:
        """The values up to which k goes, as a likelihood's ``cumulative`` takes them, same shape.

        Parameters
        ----------
        k : ndarray of int64, shape (B, *event), (B, 1, …) for one entry, or (B, n) for n columns
        at : tuple of int, or of one ndarray of int, optional
            The place of this entry, or of these columns.
        """

    @abstractmethod
    def x(self, k: np.ndarray, at: At | None = None) -> np.ndarray:
        """x as the model reads it, parameters as of ``edges``."""


@dataclass
class Entries:
    """Some rows of a block; when they are read, ``k`` and ``observed`` are filled.

    Attributes
    ----------
    numbers : Numbers
    k : ndarray of int64, shape (B, *event)
    observed : ndarray of bool, shape (B, *event)
    aside : ndarray of float64, shape (B, *event)
        x of the entries that are not on the stack, NaN elsewhere; these are known to the reader beforehand. ∞ stands
        for a value that the model has no place for.
    low, high : ndarray of int64, broadcastable to the event
        The range of k in the block.
    counted : ndarray of bool, shape (*event)
        Entries that the model describes.
    gaps : ndarray of float64, shape (*event), or None
        The share of rows that lack each entry; None where the block has no gaps.
    context : Tensor or None
    """

    numbers: Numbers
    k: np.ndarray
    observed: np.ndarray
    aside: np.ndarray
    low: np.ndarray
    high: np.ndarray
    counted: np.ndarray
    gaps: np.ndarray | None
    context: Tensor | None = None

    def batch(self) -> Batch:
        """The rows as the model reads them."""
        x = torch.from_numpy(self._seen(self.numbers.x(self.k), ()))
        counted, index = torch.from_numpy(self.counted), torch.arange(len(x))
        readable = self.observed & ~np.isposinf(self.aside)
        if self.gaps is None and readable.all():
            complete = bool(self.counted.all())
            return Batch(x, counted.expand_as(x), index, complete=complete, context=self.context)
        observed = torch.from_numpy(readable)
        return Batch(x, observed & counted, index, missing=~observed & counted, context=self.context)

    def seen(self, at: tuple[int, ...]) -> np.ndarray:
        """x of one entry, 0 where it is missing, (B,)."""
        place = (slice(None), *(slice(i, i + 1) for i in at))
        return self._seen(self.numbers.x(self.k[place], at), place).reshape(-1)

    def _seen(self, x: np.ndarray, place: Any) -> np.ndarray:
        aside, observed = self.aside[place], self.observed[place]
        return np.where(observed & ~np.isposinf(aside), np.where(np.isnan(aside), x, aside), 0.0)

    def push_gaps(self, stack: Stack) -> None:
        """Push where nothing was observed."""
        if self.gaps is not None:
            some = self.gaps > 0
            missing = ~self.observed[:, some]
            stack.push_bits(missing, np.broadcast_to(self.gaps[some], missing.shape))

    def pop_gaps(self, stack: Stack) -> None:
        """The inverse of ``push_gaps``."""
        self.observed[:] = True
        if self.gaps is not None:
            some = self.gaps > 0
            missing = stack.pop_bits(np.broadcast_to(self.gaps[some], (len(self.k), int(some.sum()))))
            self.observed[:, some] = missing == 0

    def push(self, stack: Stack, p: Any, at: tuple[int, ...] | None = None) -> None:
        """The values of all entries, or of one at the place ``at``, given their distribution."""
        for some in self._of_one_kind(p, at):
            stack.push_numbers(some.k, *some.range, some.below)

    def pop(self, stack: Stack, p: Any, at: tuple[int, ...] | None = None) -> None:
        """The inverse of ``push``: sets the values."""
        for some in reversed(self._of_one_kind(p, at)):
            some.put(stack.pop_numbers(*some.range, some.below))

    def _of_one_kind(self, p: Any, at: tuple[int, ...] | None) -> list[_OnStack]:
        """The entries, or one of them, with their distribution; those of a table by the kinds of its columns."""
        p = rounded_parameters(p)
        if isinstance(p, Columns):
            return [_OnStack(self, part, (columns.numpy(),)) for columns, part in p.parts]
        return [_OnStack(self, p, at)]


class _OnStack:
    """The values of some entries that are on the stack, (m,), and their cumulative distribution."""

    def __init__(self, entries: Entries, p: Any, at: At | None) -> None:
        self.entries, self.p, self.at = entries, p, at
        self.chosen: Any = (slice(None), *([] if at is None else map(_kept, at)))
        counted = entries.counted[self.chosen[1:]]
        self.coded = entries.observed[self.chosen] & counted & np.isnan(entries.aside[self.chosen])
        self.all = bool(self.coded.all())
        self.full = np.zeros(self.coded.shape, np.int64)
        self.k = self._flat(entries.k[self.chosen])
        shape = entries.k.shape
        low, high = (np.broadcast_to(end, shape[1:])[self.chosen[1:]] for end in (entries.low, entries.high))
        low, high = (self._flat(np.broadcast_to(end, self.coded.shape)) for end in (low, high))
        self.range: tuple[np.ndarray, np.ndarray] = (low, high)

    def _flat(self, values: np.ndarray) -> np.ndarray:
        return values.ravel() if self.all else values[self.coded]

    def below(self, k: np.ndarray) -> np.ndarray:
        """P(symbol ≤ k)."""
        full = k.reshape(self.full.shape) if self.all else self._filled(k)
        edges = torch.from_numpy(self.entries.numbers.edges(full, self.at))
        edges = edges if self.at is None else edges.reshape(len(full), -1)
        return self._flat(self.p.cumulative(edges)[0].reshape(full.shape).numpy())

    def _filled(self, k: np.ndarray) -> np.ndarray:
        self.full[self.coded] = k
        return self.full

    def put(self, k: np.ndarray) -> None:
        """Set the values."""
        values = self.entries.k[self.chosen]
        values[self.coded] = k
        self.entries.k[self.chosen] = values


def _kept(place: int | np.ndarray) -> Any:
    """An index that keeps the axis."""
    return place if isinstance(place, np.ndarray) else slice(place, place + 1)


def rounded_parameters(p: Any) -> Any:
    """A distribution whose parameters, (S, B, …) each, are rounded."""
    if isinstance(p, Columns):
        return replace(p, parts=[(place, rounded_parameters(part)) for place, part in p.parts])
    changed = {}
    for name, value in _parts(p):
        if is_dataclass(value) and not isinstance(value, Scaling):
            changed[name] = rounded_parameters(value)
        elif isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 2:
            never = value == -torch.inf  # the logarithm of a probability of 0
            numbers = rounded(torch.where(never, 0.0, value), positive=name == "scale")
            changed[name] = torch.where(never, value.double(), numbers)
    return replace(p, **changed)


def widest(p: Any) -> int:
    """The numbers of the largest parameter of a distribution of one row."""
    if isinstance(p, Columns):
        return max(widest(part) for _, part in p.parts)
    sizes = [widest(value) if is_dataclass(value) else value.numel() for _, value in _parts(p) if value is not None]
    return max(sizes)


def _parts(p: Any) -> Iterator[tuple[str, Any]]:
    return ((each.name, getattr(p, each.name)) for each in fields(p))
