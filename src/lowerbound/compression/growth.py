"""The number of rows that are coded together: one at first, then ever more, as the message has bits for.

z is popped from what was written before, and the first row finds nothing there. It takes the mean of q(z|x) in place of
a draw; or fixed words lend it the bits, as many as it needs, which whoever reads the message leaves. Where z has many
variables that is dear: then the grid of z is coarse at first, so that z takes few bits off or none, and gets finer as
soon as there are bits for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lowerbound.compression.coder import Stack

DRY = 32  # bits: a stack with fewer has been popped empty
SLOWEST = 2**12  # the slowest growth, for many latent variables
FEW = 3  # rows: those of the probe, which is in the files of earlier versions too
MOST_PRIMED = 2**18  # words that are lent
PRIMED = 64  # words that the first row is tried with

WORTH = 512  # bits that a coarse grid must save at the first row
MOST_SINGLE = 2**9  # rows until the grid is as fine as it gets
MARGINS = (256, 1024, 4096)  # bits that must be left where the grid gets finer, as later rows may take more

Push = Callable[[Stack, slice], None]


@dataclass(frozen=True)
class Steps:
    """The rows of every step: ``beginning`` single ones, then as many as 1/``slowness`` of those before.

    Attributes
    ----------
    most : int
        Rows of a step.
    beginning : int
        Rows that take the mean of q(z|x).
    slowness : int
        0 for steps that are all of ``most`` rows.
    finer : tuple of int
        The rows at which the steps of the grid of z are halved, a row for each time; the number of all rows for
        times that don't come. Up to the last of them rows are single.
    """

    most: int
    beginning: int = 1
    slowness: int = 2
    finer: tuple[int, ...] = ()

    def ranges(self, n_rows: int) -> list[tuple[int, int]]:
        """The first row of each step, and the row after its last."""
        ranges, first = [], 0
        while first < n_rows:
            size = max(1, first // self.slowness) if self.slowness else self.most
            size = 1 if first < max(self.beginning, self.ramp) else size
            ranges.append((first, min(first + min(size, self.most), n_rows)))
            first = ranges[-1][1]
        return ranges

    @property
    def ramp(self) -> int:
        """Rows that are single until the grid is as fine as it gets."""
        return self.finer[-1] + 1 if self.finer else 0

    def doublings(self, first: int) -> int:
        """Doublings of the steps of the grid for a row."""
        return sum(first < row for row in self.finer)


def grown(
    push: Push, n_rows: int, most: int, *, has_latents: bool, begin: Push | None = None,
    coarse: Callable[[int], Push] | None = None, coarsest: int = 0,
) -> tuple[Steps, Stack]:  # fmt: skip
    """The stack with all rows, some at a time.

    Parameters
    ----------
    push : callable
        Pushes some rows.
    n_rows : int
    most : int
        Rows that are coded together.
    has_latents : bool
        Bits are got back.
    begin : callable, optional
        Pushes a row with the mean of q(z|x). Without it, or where one such row leaves too few bits for the next, words
        lend them; ``FEW`` rows or fewer take as many means as they need.
    coarse : callable, optional
        A number of doublings of the grid's step → what pushes rows with this grid.
    coarsest : int
        Most doublings: with them the grid has a single cell.
    """
    if not has_latents:
        steps, stack = Steps(most, 0, 0), Stack()
        _pushed(push, stack, steps.ranges(n_rows), even_dry=True)
        return steps, stack
    found, n_words = None, 0
    if coarse is not None and coarsest and n_rows > FEW:
        found = _coarsely(push, n_rows, most, begin or push, coarse, coarsest)
    if found is None and begin is not None:
        found = _slowly(push, n_rows, Steps(most), begin=begin)
    if found is None:
        n_words, _ = _first_row(push)
    while found is None:  # a later row may take more off the stack than the first
        found = _slowly(push, n_rows, Steps(most, 0, 1), start=_fixed(n_words))
        n_words = max(1, 2 * n_words)
    return found


def _coarsely(
    push: Push, n_rows: int, most: int, begin: Push, coarse: Callable[[int], Push], coarsest: int
) -> tuple[Steps, Stack] | None:
    """The stack that begins with a coarse grid; None where that saves little, or where bits don't suffice."""
    n_words, _ = _first_row(push)
    if 32 * n_words < WORTH:
        return None
    first_rows = [_first_row(coarse(doublings)) for doublings in range(1, coarsest + 1)]
    best = int(np.argmin([n_bits for _, n_bits in first_rows]))
    stack = Stack()
    begin(stack, slice(0, 1))
    if first_rows[best][1] + WORTH > stack.n_bits:
        return None
    for margin in MARGINS:
        ramp = _ramp(coarse, n_rows, 1 + best, first_rows[best][0], margin)
        if ramp is None:
            continue
        finer, words = ramp
        if not finer or _bits_of_single_rows(push, min(n_rows, finer[-1] + 1), n_words) < 32 * len(words):
            return None
        found = _slowly(push, n_rows, Steps(most, 0, 1, finer), start=words)
        if found:
            return found
    return None


def _ramp(
    coarse: Callable[[int], Push], n_rows: int, doublings: int, n_words: int, margin: int
) -> tuple[tuple[int, ...], np.ndarray] | None:
    """The rows at which the grid gets finer, and the words of these rows; None if the bits don't suffice.

    No rows, if it takes too many until the grid is fine.
    """
    words, finer, row = _fixed(n_words), [], 0

    def pushed(doublings: int, left: int) -> np.ndarray | None:
        """The words after the row; None where it leaves fewer bits."""
        stack = Stack(words)
        coarse(doublings)(stack, slice(row, row + 1))
        return stack.words if stack.least >= left else None

    while doublings and row < n_rows:
        after = pushed(doublings, DRY)
        if after is None:
            return None
        if row == MOST_SINGLE:
            return (), words
        while row and doublings:
            finer_after = pushed(doublings - 1, DRY + margin)
            if finer_after is None:
                break
            after, doublings = finer_after, doublings - 1
            finer.append(row)
        words, row = after, row + 1
    return (*finer, *[n_rows] * doublings), words


def _slowly(
    push: Push, n_rows: int, steps: Steps, *, begin: Push | None = None, start: np.ndarray | None = None
) -> tuple[Steps, Stack] | None:
    """The stack, with the quickest growth that it has bits for; None if there are too few for a single row.

    ``start`` are the words to begin with, which hold the rows of the ramp.
    """
    n_words = 0 if start is None else len(start)
    while True:
        stack, ranges = Stack(start), steps.ranges(n_rows)[steps.ramp :]
        for first, last in ranges[: steps.beginning]:
            assert begin is not None
            begin(stack, slice(first, last))
        is_last_try = steps.slowness >= SLOWEST or n_words > MOST_PRIMED or (begin is None and n_rows <= FEW)
        dry = _pushed(push, stack, ranges[steps.beginning :], even_dry=is_last_try)
        if dry is None:
            return steps, stack
        if dry == 1 and (n_rows > FEW or begin is None):
            return None
        more = {"beginning": steps.beginning + 1} if dry == 1 else {"slowness": 2 * steps.slowness}
        steps = replace(steps, **more)


def _pushed(push: Push, stack: Stack, ranges: list[tuple[int, int]], *, even_dry: bool) -> int | None:
    """Push all rows; or the number of those that found the stack empty, behind which nothing is pushed."""
    for first, last in ranges:
        stack.least = math.inf
        push(stack, slice(first, last))
        if stack.least < DRY and not even_dry:
            return last - first
    return None


def _first_row(push: Push) -> tuple[int, int]:
    """The number of words that the first row takes off the stack, and the bits of the message if they are lent."""
    n = PRIMED
    while True:
        stack = Stack(_fixed(n))
        push(stack, slice(0, 1))
        if stack.least >= DRY:
            n_words = max(0, math.ceil((32 * n + DRY - min(stack.least, 32 * n + DRY)) / 32))
            return n_words, stack.n_bits - 32 * (n - n_words)
        n *= 4


def _bits_of_single_rows(push: Push, n_rows: int, n_words: int) -> int:
    """The bits of the message after some rows, to which so many words were lent."""
    stack = Stack(_fixed(n_words))
    for row in range(n_rows):
        push(stack, slice(row, row + 1))
    return stack.n_bits


def _fixed(n: int) -> np.ndarray:
    """Fixed words, of which the last ones, which are popped first, don't depend on n."""
    return ((np.arange(n, 0, -1, dtype=np.uint64) * 2654435761) & 0xFFFFFFFF | 1).astype(np.uint32)
