"""Rows in memory to batches: index slices of one tensor, no work per row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lowerbound.core import Batch
from lowerbound.distributions import Noise
from lowerbound.parallel import ALONE, Processes

Prepare = Callable[[Tensor, Noise | None], Tensor]


@dataclass
class Rows:
    """A data set in memory.

    Parameters
    ----------
    raw : Tensor, shape (N, *event)
        The values in the type they are kept in (8-bit images stay 8-bit).
    prepare : callable
        ``(raw rows, noise) → x`` in the units and the type that the model works in; draws a fresh binarization
        from the noise where that is asked for.
    mask : Tensor of bool, shape (*event)
        Entries counted in the density (constant features aren't).
    device : torch.device
    """

    raw: Tensor
    prepare: Prepare
    mask: Tensor
    device: torch.device

    def __len__(self) -> int:
        return len(self.raw)

    def batches(
        self,
        batch_size: int,
        noise: Noise | None = None,
        order: torch.Generator | None = None,
        start: int = 0,
        processes: Processes = ALONE,
    ) -> Iterator[Batch]:
        """All rows once, ``batch_size`` at a time.

        Parameters
        ----------
        batch_size : int
        noise : Noise, optional
            For what is drawn anew for every batch.
        order : torch.Generator, optional
            Shuffles the rows; None keeps their order.
        start : int
            Batches to skip, to continue an epoch that was cut short.
        processes : Processes, optional
            Of every batch this process gets its share of the rows, and touches no others.
        """
        n = len(self.raw)
        shuffled = None if order is None else torch.randperm(n, generator=order)
        for first in range(start * batch_size, n, batch_size):
            share = processes.share(min(batch_size, n - first))
            last = min(first + batch_size, n) if share.stop is None else first + share.stop
            rows = slice(first + share.start, last)
            index = torch.arange(rows.start, rows.stop) if shuffled is None else shuffled[rows]
            if noise is not None:
                noise.restart(share)
            raw = self.raw[rows] if shuffled is None else self.raw[index.to(self.raw.device)]
            x = self.prepare(raw.to(self.device), noise)
            yield Batch(x, self.mask.expand_as(x), index, share)

    def subset(self, index: Tensor) -> Rows:
        """The rows with the given places, in that order."""
        return Rows(self.raw[index], self.prepare, self.mask, self.device)
