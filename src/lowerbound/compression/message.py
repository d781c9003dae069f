"""A block of rows as one message: the order of its steps, and the words that they leave."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor

from lowerbound.compression.arrays import CodedBlock, EntriesCode
from lowerbound.compression.bits_back import LatentCode
from lowerbound.compression.coder import Stack
from lowerbound.compression.container import inflated
from lowerbound.compression.entries import Entries
from lowerbound.compression.growth import Push, Steps, grown
from lowerbound.compression.models import MOST_CELLS

SHARES = 2**16  # steps between the shares 0 and 1 of missing entries


@dataclass(frozen=True)
class Message:
    """Parts of a block: the steps, the range of the numbers, the gaps, the entries aside, the words."""

    steps: Steps
    low: np.ndarray
    high: np.ndarray
    gaps: np.ndarray | None
    apart: bytes
    words: np.ndarray

    def to_bytes(self) -> bytes:
        """The payload of a block."""
        gaps = None if self.gaps is None else [[int(i), int(self.gaps[i] * SHARES)] for i in np.flatnonzero(self.gaps)]
        ends = [end.tolist() for end in (self.low, self.high)]
        steps = self.steps
        parts = [steps.beginning, steps.slowness, *ends, gaps, *([steps.finer] if steps.finer else [])]
        plain = json.dumps(parts, separators=(",", ":")).encode()
        about = zlib.compress(plain + b"\0" + self.apart, 9)
        return len(about).to_bytes(4, "little") + about + self.words.astype("<u4").tobytes()

    @classmethod
    def from_bytes(cls, payload: bytes, most: int, n_entries: int) -> Message:
        """The inverse of ``to_bytes``."""
        n = 4 + int.from_bytes(payload[:4], "little")
        plain, _, apart = inflated(payload[4:n]).partition(b"\0")
        beginning, slowness, low, high, shares, *others = json.loads(plain)
        finer = tuple(others[0]) if others else ()
        if not all(type(row) is int and row > 0 for row in finer) or len(finer) > MOST_CELLS.bit_length():
            raise ValueError("rows at which the grid gets finer that no message has")
        gaps = None
        if shares is not None:
            gaps = np.zeros(n_entries)
            gaps[[i for i, _ in shares]] = [share / SHARES for _, share in shares]
        words = np.frombuffer(payload[n:], "<u4").astype(np.uint32)
        low, high = (np.array(end, np.int64) for end in (low, high))
        return cls(Steps(most, beginning, slowness, finer), low, high, gaps, apart, words)


@dataclass(frozen=True)
class BlockCode:
    """Blocks of rows as messages, and back.

    Attributes
    ----------
    latents : LatentCode
    rows : RowsCode
    most : int
        Rows of a step.
    """

    latents: LatentCode
    rows: EntriesCode
    most: int

    def write(self, block: CodedBlock, context: Tensor | None) -> Message:
        """Rows as a message.

        Parameters
        ----------
        block : CodedBlock
        context : Tensor, shape (n, C), or None
        """
        gaps = shares_of(block.observed)
        shape = self.rows.counted.shape
        ends = (block.low, block.high, self.rows.counted, None if gaps is None else gaps.reshape(shape))

        def push(stack: Stack, rows: slice, *, begins: bool = False, doublings: int = 0) -> None:
            given = None if context is None else context[rows]
            entries = Entries(block.numbers, block.k[rows], block.observed[rows], block.aside[rows], *ends, given)
            self.latents.coarser(doublings).encode(stack, entries.batch(), entries, begins=begins)
            entries.push_gaps(stack)

        def coarse(doublings: int) -> Push:
            return partial(push, doublings=doublings)

        steps, stack = grown(
            push, len(block), self.most, has_latents=self.latents.has_latents, begin=partial(push, begins=True),
            coarse=coarse, coarsest=self.latents.coarsest,
        )  # fmt: skip
        return Message(steps, block.low, block.high, gaps, block.apart, stack.words)

    def read(self, message: Message, n_rows: int, context: Tensor | None) -> CodedBlock:
        """The inverse of ``write``; k of entries aside is 0."""
        numbers, aside = self.rows.begin(n_rows, message.apart)
        shape = self.rows.counted.shape
        k, observed = np.zeros((n_rows, *shape), np.int64), np.ones((n_rows, *shape), bool)
        gaps = None if message.gaps is None else message.gaps.reshape(shape)
        stack = Stack(message.words)
        for first, last in reversed(message.steps.ranges(n_rows)):
            part = slice(first, last)
            given = None if context is None else context[part]
            ends = (message.low, message.high, self.rows.counted, gaps)
            entries = Entries(numbers, k[part], observed[part], aside[part], *ends, given)
            entries.pop_gaps(stack)
            begins, latents = first < message.steps.beginning, self.latents.coarser(message.steps.doublings(first))
            latents.decode(stack, last - first, given, entries, begins=begins)
        return CodedBlock(numbers, k, observed, aside, message.low, message.high, message.apart)


def shares_of(observed: np.ndarray) -> np.ndarray | None:
    """The share of rows that lack each entry, (F,), in ``SHARES`` steps; None if nothing is missing."""
    if observed.all():
        return None
    share = (~observed).reshape(len(observed), -1).mean(0)
    return np.where(share > 0, np.clip(np.round(share * SHARES), 1, SHARES - 1) / SHARES, 0.0)
