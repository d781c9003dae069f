"""The number of sequences that are coded together: one at first, to which fixed words lend bits, then ever more."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lowerbound.compression.coder import Stack
from lowerbound.compression.message import DRY, SLOWEST, Steps

PRIMED = 64  # words that the first sequence is tried with

Push = Callable[[Stack, slice], None]


def grown(push: Push, n_rows: int, most: int, *, has_latents: bool) -> tuple[Steps, Stack]:
    """The stack with all rows, some at a time, as many as it has bits for.

    The first bits are those of fixed words, as many as the first row takes; whoever reads the message leaves them.

    Parameters
    ----------
    push : callable
        Pushes some rows.
    n_rows : int
    most : int
        Rows that are coded together.
    has_latents : bool
        Bits are got back.
    """
    if not has_latents:
        steps, stack = Steps(most, 0, 0), Stack()
        _pushed(push, stack, steps.ranges(n_rows), even_dry=True)
        return steps, stack
    n_words, slowness = _words_of_first(push), 1
    while True:
        steps, stack = Steps(most, 0, slowness), Stack(_fixed(n_words))
        if _pushed(push, stack, steps.ranges(n_rows), even_dry=slowness >= SLOWEST):
            return steps, stack
        slowness *= 2


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


def _pushed(push: Push, stack: Stack, ranges: list[tuple[int, int]], *, even_dry: bool) -> bool:
    """Push all rows; False if some found the stack empty, behind which nothing is pushed."""
    for first, last in ranges:
        stack.least = math.inf
        push(stack, slice(first, last))
        if stack.least < DRY and last - first > 1 and not even_dry:
            return False
    return True
