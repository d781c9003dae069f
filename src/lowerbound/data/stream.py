"""Batches of the rows of a source, in memory that doesn't grow with the source.

The rows are cut into slices of neighbors. An epoch visits the slices in random order and reads a window of some hundred
of them at a time; every batch takes one row from each of B equal parts of the window. So data sorted by class are
mixed, an epoch can be continued anywhere without reading earlier rows, and each of several processes reads only its
own rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lowerbound.core import Batch
from lowerbound.data.batches import Rows, RowsInMemory, scattered
from lowerbound.data.fingerprint import digest, hashed
from lowerbound.data.sources import Source
from lowerbound.distributions.noise import Noise
from lowerbound.parallel import ALONE, Processes, Share

SLICES = 256  # of a window, and the least number in the data
LOOKED_AT = 64  # places from which ``few`` takes rows

Hold = Callable[[Any], RowsInMemory]


@dataclass
class StreamedRows(Rows):
    """A data set that is read from its source while it is used.

    Parameters
    ----------
    source : Source
    hold : callable
        Rows as read → rows in memory in the model's form.
    shape : tuple of int
        The shape of one row for the model.
    device : torch.device
    slices : ndarray of int64, shape (k, 2)
        The ranges of the source's rows, in order: the first row of each, and the row after its last.
    """

    source: Source
    hold: Hold
    shape: tuple[int, ...]
    device: torch.device
    slices: np.ndarray

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one row for the model."""
        return self.shape

    def __len__(self) -> int:
        return int((self.slices[:, 1] - self.slices[:, 0]).sum())

    def batches(
        self,
        batch_size: int,
        noise: Noise | None = None,
        order: torch.Generator | None = None,
        start: int = 0,
        processes: Processes = ALONE,
    ) -> Iterator[Batch]:
        """Yield batches, reading a window at a time; the index of a row is its place among all of ``slices``."""
        n, sequence = len(self), _Sequence(self.slices, None if order is None else self._shuffled(order))
        window_size = self._batches_in_a_window(batch_size) * batch_size
        firsts = range(0, n, window_size)
        seeds = None if order is None else torch.randint(2**63 - 1, (len(firsts),), generator=order).tolist()
        for i in range(start * batch_size // window_size, len(firsts)):
            first, size = firsts[i], min(window_size, n - firsts[i])
            deal = torch.arange(size) if seeds is None else _deal(size, batch_size, seeds[i])
            skipped = max(0, start * batch_size - first)
            hands = list(_hands(deal, batch_size, skipped, processes))
            if not hands:  # the epoch was cut short after its last batch
                return
            wanted = np.unique(torch.cat([places for _, places in hands]).numpy())
            ranges, index = sequence.find(first + wanted)
            rows = self.hold(self.source.read(ranges).X)
            for share, places in hands:
                chosen = torch.from_numpy(np.searchsorted(wanted, places.numpy()))
                yield rows.batch(chosen, index[chosen], noise, share)

    def parts(self, batch_size: int) -> Iterator[RowsInMemory]:
        """Yield the rows in order, a window at a time."""
        sequence, step = _Sequence(self.slices), self._batches_in_a_window(batch_size) * batch_size
        for first in range(0, len(self), step):
            ranges, _ = sequence.find(np.arange(first, min(first + step, len(self))))
            yield self.hold(self.source.read(ranges).X)

    def digest(self) -> str:
        """A hash of rows from all over the source, and of which of its rows these are."""
        return hashed([digest(self.source).encode(), self.slices])

    def few(self, n: int, order: torch.Generator | None = None) -> RowsInMemory:
        """Rows from all parts of the data, so that data sorted by class give rows of all classes."""
        if order is None:
            n = min(n, len(self))
            length = -(-n // LOOKED_AT)
            firsts = np.linspace(0, len(self) - length, -(-n // length)).astype(np.int64)
            places = np.unique(firsts[:, None] + np.arange(length))
        else:
            places = scattered(len(self), n, order).numpy()
        return self.hold(self.source.read(_Sequence(self.slices).find(places)[0]).X)

    def split(self, fraction: float, order: torch.Generator) -> tuple[StreamedRows, StreamedRows | None]:
        """Hold out whole slices at random."""
        places = torch.randperm(len(self.slices), generator=order).numpy()
        n_held_out = round(fraction * len(places))
        held_out, training = (self._only(np.sort(part)) for part in np.split(places, [n_held_out]))
        return (self, None) if len(held_out) < 2 or len(training) < 2 else (training, held_out)

    def _only(self, places: np.ndarray) -> StreamedRows:
        return StreamedRows(self.source, self.hold, self.shape, self.device, self.slices[places])

    def _batches_in_a_window(self, batch_size: int) -> int:
        return max(1, self.source.rows_in_a_block // batch_size)

    def _shuffled(self, order: torch.Generator) -> np.ndarray:
        """The places of the slices in random order.

        Runs that have to be read from their start are read a few at a time, side by side: the run of the next slice is
        random, and the slices of a run come in order.
        """
        if self.source.runs is None:
            return torch.randperm(len(self.slices), generator=order).numpy()
        run = np.searchsorted(self.source.runs, self.slices[:, 0], "right")
        present = np.unique(run)
        runs = present[torch.randperm(len(present), generator=order).numpy()]
        sequence = []
        for together in np.split(runs, range(self.source.runs_at_once, len(runs), self.source.runs_at_once)):
            members = np.flatnonzero(np.isin(run, together))
            turns = run[members][torch.randperm(len(members), generator=order).numpy()]
            slots = np.empty_like(members)
            slots[np.argsort(turns, kind="stable")] = members
            sequence.append(slots)
        return np.concatenate(sequence)


def streamed(source: Source, hold: Hold, event_shape: tuple[int, ...], device: torch.device) -> StreamedRows:
    """All rows of a source, as a data set that is read while it is used."""
    length = max(1, min(source.rows_in_a_block // SLICES, len(source) // SLICES))
    runs = [0, len(source)] if source.runs is None else source.runs.tolist()
    starts = np.concatenate([np.arange(a, b, length) for a, b in pairwise(runs)])
    return StreamedRows(source, hold, event_shape, device, np.stack([starts, np.append(starts[1:], len(source))], 1))


class _Sequence:
    """Slices one after another, in a given order."""

    def __init__(self, slices: np.ndarray, order: np.ndarray | None = None) -> None:
        lengths = slices[:, 1] - slices[:, 0]
        places = np.cumsum(lengths) - lengths
        self.slices, self.places = (slices, places) if order is None else (slices[order], places[order])
        self.starts = np.append(0, np.cumsum(self.slices[:, 1] - self.slices[:, 0]))

    def find(self, positions: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """The rows at ascending positions of the sequence: their ranges in the source, and places in all slices."""
        which = np.searchsorted(self.starts, positions, "right") - 1
        within = positions - self.starts[which]
        rows = self.slices[which, 0] + within
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        first, last = np.append(0, breaks), np.append(breaks, len(rows)) - 1
        return np.stack([rows[first], rows[last] + 1], 1), torch.from_numpy(self.places[which] + within)


def _deal(size: int, batch_size: int, seed: int) -> Tensor:
    """An order of the rows of a window: each batch gets one row from each of ``batch_size`` equal parts."""
    generator = torch.Generator().manual_seed(seed)
    n_batches = size // batch_size
    whole = torch.arange(n_batches * batch_size).reshape(batch_size, n_batches)
    dealt = whole.gather(1, torch.rand(whole.shape, generator=generator).argsort(1))
    return torch.cat([dealt.T.flatten(), torch.arange(whole.numel(), size)])


def _hands(deal: Tensor, batch_size: int, skipped: int, processes: Processes) -> Iterator[tuple[Share, Tensor]]:
    """Yield this process's share of every batch."""
    for first in range(skipped, len(deal), batch_size):
        batch = deal[first : first + batch_size]
        share = processes.share(len(batch))
        yield share, batch[share.start : share.stop]
