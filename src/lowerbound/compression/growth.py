"""The number of rows that are coded together: one at first, then ever more, as the message has bits for.

z is popped from what was written before, and the first row finds nothing there. It takes the mean of q(z|x) in place of
a draw; or fixed words lend it the bits, as many as it needs, which whoever reads the message leaves.
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
    """

    most: int
    beginning: int = 1
    slowness: int = 2

    def ranges(self, n_rows: int) -> list[tuple[int, int]]:
        """The first row of each step, and the row after its last."""
        ranges, first = [], 0
        while first < n_rows:
            size = 1 if first < self.beginning else max(1, first // self.slowness) if self.slowness else self.most
            ranges.append((first, min(first + min(size, self.most), n_rows)))
            first = ranges[-1][1]
        return ranges


def grown(push: Push, n_rows: int, most: int, *, has_latents: bool, begin: Push | None = None) -> tuple[Steps, Stack]:
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
    """
    if not has_latents:
        steps, stack = Steps(most, 0, 0), Stack()
        _pushed(push, stack, steps.ranges(n_rows), even_dry=True)
        return steps, stack
    found = None if begin is None else _slowly(push, n_rows, Steps(most), begin=begin)
    n_words = 0 if found else _words_of_first(push)
    while found is None:  # a later row may take more off the stack than the first
        found = _slowly(push, n_rows, Steps(most, 0, 1), n_words=n_words)
        n_words = max(1, 2 * n_words)
    return found


def _slowly(
    push: Push, n_rows: int, steps: Steps, *, begin: Push | None = None, n_words: int = 0
) -> tuple[Steps, Stack] | None:
    """The stack, with the quickest growth that it has bits for; None if there are too few for a single row."""
    while True:
        stack, ranges = Stack(_fixed(n_words)), steps.ranges(n_rows)
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


def _words_of_first(push: Push) -> int:
    """The number of words that the first row takes off the stack."""
    n = PRIMED
    while True:
        stack = Stack(_fixed(n))
        push(stack, slice(0, 1))
        if stack.least >= DRY:
            return max(0, math.ceil((32 * n + DRY - min(stack.least, 32 * n + DRY)) / 32))
        n *= 4


def _fixed(n: int) -> np.ndarray:
    """Fixed words, of which the last ones, which are popped first, don't depend on n."""
    return ((np.arange(n, 0, -1, dtype=np.uint64) * 2654435761) & 0xFFFFFFFF | 1).astype(np.uint32)
