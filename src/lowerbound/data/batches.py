"""Batches of rows; those in memory are slices of one tensor, without work per row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lowerbound.core import Batch
from lowerbound.data.fingerprint import hashed
from lowerbound.data.gaps import nan_in_gaps
from lowerbound.distributions.noise import Noise
from lowerbound.parallel import ALONE, WHOLE, Processes, Share

Prepare = Callable[[Tensor, Noise | None], Tensor]


class Rows(ABC):
    """A data set, in memory or in files."""

    device: torch.device

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one row for the model."""

    @abstractmethod
    def batches(
        self,
        batch_size: int,
        noise: Noise | None = None,
        order: torch.Generator | None = None,
        start: int = 0,
        processes: Processes = ALONE,
    ) -> Iterator[Batch]:
        """Yield all rows once, ``batch_size`` at a time.

        Parameters
        ----------
        batch_size : int
        noise : Noise, optional
            For binarizations that are redrawn for every batch.
        order : torch.Generator, optional
            Shuffles the rows; None keeps their order. It is used only before the first batch of an epoch.
        start : int
            Batches to skip, to continue an epoch that was cut short.
        processes : Processes, optional
            This process gets its share of every batch.
        """

    @abstractmethod
    def parts(self, batch_size: int) -> Iterator[RowsInMemory]:
        """Yield the rows in order, as many whole batches at a time as fit in memory."""

    @abstractmethod
    def digest(self) -> str:
        """A hash of the rows, by which they are known again."""

    @abstractmethod
    def few(self, n: int, order: torch.Generator | None = None) -> RowsInMemory:
        """At most ``n`` of the rows, chosen at random if there is a generator."""

    @abstractmethod
    def split(self, fraction: float, order: torch.Generator) -> tuple[Rows, Rows | None]:
        """The training rows and the held-out rows, a fraction of all; None if either has fewer than two."""


@dataclass
class RowsInMemory(Rows):
    """A data set in memory.

    Parameters
    ----------
    raw : Tensor, shape (N, *event)
        The values in their stored type (8-bit images stay 8-bit).
    prepare : callable
        ``(raw rows, noise) → x`` in the model's units and type; redraws a binarization from the noise if asked to.
    mask : Tensor of bool, shape (*event)
        Entries counted in the density (constant features aren't).
    device : torch.device
    observed : Tensor of bool, shape (N, *event), optional
        False where there is a gap; None if there is none.
    context : Tensor, shape (N, C), optional
        What is known of the rows beforehand, as numbers in the model's type.
    """

    raw: Tensor
    prepare: Prepare
    mask: Tensor
    device: torch.device
    observed: Tensor | None = None
    context: Tensor | None = None

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one row for the model."""
        return tuple(self.raw.shape[1:])

    @property
    def resident(self) -> Tensor:
        """The raw rows, on the GPU if they take less than half of its free memory."""
        return self._on_gpu if self.device.type == "cuda" else self.raw

    @cached_property
    def _on_gpu(self) -> Tensor:
        free, _ = torch.cuda.mem_get_info(self.device)
        return self.raw.to(self.device) if self.raw.nbytes < free / 2 else self.raw

    @cached_property
    def complete(self) -> bool:
        """True if every entry counts; cached, because reading it waits for the device."""
        return bool(self.mask.all())

    def batches(
        self,
        batch_size: int,
        noise: Noise | None = None,
        order: torch.Generator | None = None,
        start: int = 0,
        processes: Processes = ALONE,
    ) -> Iterator[Batch]:
        """Yield slices of the tensor, or of one permutation of its rows."""
        n = len(self.raw)
        shuffled = None if order is None else torch.randperm(n, generator=order)
        places = None if shuffled is None else shuffled.to(self.resident.device)
        for first in range(start * batch_size, n, batch_size):
            share = processes.share(min(batch_size, n - first))
            last = min(first + batch_size, n) if share.stop is None else first + share.stop
            rows = slice(first + share.start, last)
            index = torch.arange(rows.start, rows.stop) if shuffled is None else shuffled[rows]
            yield self.batch(rows if places is None else places[rows], index, noise, share)

    def batch(self, chosen: Tensor | slice, index: Tensor, noise: Noise | None = None, share: Share = WHOLE) -> Batch:
        """A batch of the rows at the places ``chosen``, with the indices ``index``: this process's share."""
        if noise is not None:
            noise.restart(share)
        x = self.prepare(_at(chosen, self.resident).to(self.device), noise)
        context = None if self.context is None else _at(chosen, self.context).to(self.device)
        if self.observed is None:
            return Batch(x, self.mask.expand_as(x), index, share, self.complete, context=context)
        observed = _at(chosen, self.observed).to(self.device)
        return Batch(x, observed & self.mask, index, share, False, ~observed & self.mask, context)

    def parts(self, batch_size: int) -> Iterator[RowsInMemory]:
        """Yield all rows at once: they are in memory."""
        yield self

    def digest(self) -> str:
        """A hash of all values, of what was observed, and of the context."""
        tensors = (self.raw, self.mask, self.observed, self.context)
        return hashed([b"none" if t is None else t.cpu().numpy() for t in tensors])

    def few(self, n: int, order: torch.Generator | None = None) -> RowsInMemory:
        """Rows from all parts of the data."""
        return self.subset(scattered(len(self), n, order))

    def split(self, fraction: float, order: torch.Generator) -> tuple[Rows, Rows | None]:
        """Hold out single rows at random."""
        places = held_out(len(self), fraction, order)
        return (self, None) if places is None else (self.subset(places[0]), self.subset(places[1]))

    def subset(self, index: Tensor) -> RowsInMemory:
        """The rows with the given places, in that order."""
        observed = None if self.observed is None else self.observed[index]
        context = None if self.context is None else self.context[index]
        return RowsInMemory(self.raw[index], self.prepare, self.mask, self.device, observed, context)


def as_rows(X: Any, device: torch.device, dtype: torch.dtype = torch.float32) -> Rows:
    """An array as the rows of a model that takes it as it is, in ``dtype``; NaN and masked entries are missing."""
    if isinstance(X, Rows):
        return X
    x = torch.as_tensor(np.asarray(nan_in_gaps(X)), dtype=dtype)
    if x.ndim < 2 or not len(x):
        raise ValueError(f"data must have shape (n, *event) with at least one row, got {tuple(x.shape)}")
    if x.isinf().any():
        raise ValueError("data have infinite values: replace them or drop the rows")
    missing = x.isnan()
    everything = torch.ones(x.shape[1:], dtype=torch.bool, device=device)
    return RowsInMemory(x, lambda raw, noise: raw, everything, device, ~missing if missing.any() else None)


def scattered(n_rows: int, n: int, order: torch.Generator | None = None) -> Tensor:
    """The places of ``n`` of ``n_rows`` rows, one from each of ``n`` equal parts: at random, or its middle row.

    So data sorted by class give rows of all classes."""
    n = min(n, n_rows)
    within = 0.5 if order is None else torch.rand(n, generator=order, dtype=torch.float64)
    return ((torch.arange(n, dtype=torch.float64) + within) * (n_rows / n)).long()


def _at(chosen: Tensor | slice, rows: Tensor) -> Tensor:
    return rows.index_select(0, chosen.to(rows.device)) if isinstance(chosen, Tensor) else rows[chosen]


def held_out(n: int, fraction: float, order: torch.Generator) -> tuple[Tensor, Tensor] | None:
    """Places of ``n`` rows to train on and of those held out at random; None if either were fewer than two."""
    n_held_out = round(fraction * n)
    if n_held_out < 2 or n - n_held_out < 2:
        return None
    places = torch.randperm(n, generator=order)
    return places[n_held_out:], places[:n_held_out]
