"""Sequences whose steps stay in files: those of a batch are read when it is their turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from lowerbound.core import Batch
from lowerbound.data.batches import scattered
from lowerbound.data.fingerprint import digest, hashed
from lowerbound.data.sequences import SequenceRows, Sequences
from lowerbound.data.stream import StreamedRows
from lowerbound.distributions.noise import Noise
from lowerbound.parallel import WHOLE, Share
from lowerbound.warning import warn

MOST_STEPS = 2**20  # that are in memory together


@dataclass
class StreamedSequenceRows(SequenceRows):
    """Sequences of a source of steps, of which each is a row; memory holds those of a batch.

    Parameters
    ----------
    steps : StreamedRows
        The steps of all sequences as rows of F values.
    starts, lengths : Tensor of int64, shape (n,)
        As in ``SequenceRows``.
    """

    steps: StreamedRows  # pyright: ignore[reportIncompatibleVariableOverride]

    @classmethod
    def of(cls, steps: StreamedRows, sequences: Sequences) -> Self:
        """The rows of sequences, given those of their steps."""
        if steps.source.runs is not None:
            warn(
                f"{steps.source.name} is compressed, and read from the beginning of its row groups for every batch of "
                f"sequences, which is slow: write its numbers to an .npy file"
            )
        return super().of(steps, sequences)

    def batch(self, index: Tensor, noise: Noise | None = None, share: Share = WHOLE) -> Batch:
        """The sequences with the given indices, read and padded to the longest of them."""
        return replace(self.subset(index).held().batch(torch.arange(len(index)), noise, share), index=index)

    def held(self) -> SequenceRows:
        """These sequences in memory."""
        order = self.starts.argsort()  # a file is read from its beginning to its end
        rows, lengths = self.steps.hold(self.steps.source.read(self.ranges[order.numpy()]).X), self.lengths[order]
        starts = torch.empty_like(lengths).index_put((order,), lengths.cumsum(0) - lengths)
        return SequenceRows(rows, starts, self.lengths)

    @property
    def ranges(self) -> np.ndarray:
        """The first step of each sequence in the source, and the one after its last, shape (n, 2)."""
        return torch.stack([self.starts, self.starts + self.lengths], 1).numpy()

    def flat(self) -> StreamedRows:  # pyright: ignore[reportIncompatibleMethodOverride]
        """All steps of these sequences as rows, one sequence after another."""
        return replace(self.steps, slices=self.ranges)

    def parts(self, batch_size: int) -> Iterator[SequenceRows]:
        """Yield the sequences in order, so many of them in memory at a time, or fewer where they are long."""
        for index in torch.arange(len(self)).split(self._most(batch_size)):
            yield self.subset(index).held()

    def few(self, n: int, order: torch.Generator | None = None) -> SequenceRows:
        """Sequences from all parts of the data, in memory; fewer where they are long."""
        return self.subset(scattered(len(self), self._most(n), order)).held()

    def _most(self, n: int) -> int:
        """At most ``n`` sequences, whose steps fit into memory."""
        return max(2, min(n, MOST_STEPS // int(self.lengths.max())))

    def digest(self) -> str:
        """A hash of steps from all over the source, and of the places and lengths of the sequences."""
        return hashed([digest(self.steps.source).encode(), self.starts.numpy(), self.lengths.numpy()])
