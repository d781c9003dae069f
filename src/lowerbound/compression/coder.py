"""A stack of bits, by asymmetric numeral systems (Duda, 2009, arXiv:0902.0271).

What was pushed last is popped first, and popping from bits that mean something else draws a symbol with its
probabilities, which pushing it takes back: so both directions of every method undo each other, on an empty stack too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

LEAST = 2.0**-22  # no decision is less probable: probabilities have 24 bits
SPLIT = 2.0**41 + 1
SHIFT, SMALL = 3 * 2.0**35, 2.0**-4

Below = Callable[[np.ndarray], np.ndarray]  # whole numbers k → P(symbol ≤ k), same shape


def constriction() -> Any:
    """The library of the coder; raises ``ImportError`` with the command that installs it."""
    try:
        import constriction
    except ImportError as error:
        raise ImportError("compression needs constriction: pip install 'lowerbound[compress]'") from error
    return constriction


def rounded(x: Tensor, *, positive: bool = False) -> Tensor:
    """Numbers to 12 binary digits: another order of the same sums gives the same ones.

    x c − (x c − x) with c = 2⁴¹ + 1 has 53 − 41 digits (Dekker, 1971); x + 3·2⁵¹⁻¹⁶ has none beyond 2⁻¹⁶, which numbers
    near 0 need, as sums that cancel are: but for scales, which are ``positive`` and mustn't become 0.

    Raises
    ------
    ValueError
        If one isn't finite.
    """
    x = x.double()
    if not x.sum().isfinite():
        raise ValueError("the model gives numbers for these rows that aren't finite, so it can't code them")
    scaled = x * SPLIT
    if positive:
        return scaled - (scaled - x)
    return torch.where(x.abs() < SMALL, (x + SHIFT) - SHIFT, scaled - (scaled - x))


class Stack:
    """The message so far.

    Parameters
    ----------
    words : ndarray of uint32, optional
        The words of another stack; none for an empty one.

    Attributes
    ----------
    least : float
        The fewest bits that there were after a pop, since it was last set.
    """

    def __init__(self, words: np.ndarray | None = None) -> None:
        stream: Any = constriction().stream
        self._models: Any = stream.model
        self._bernoulli: Any = stream.model.Bernoulli(perfect=False)
        self.least: float = math.inf
        new = stream.stack.AnsCoder
        self._coder: Any = new() if words is None or not len(words) else new(np.ascontiguousarray(words, np.uint32))

    @property
    def words(self) -> np.ndarray:
        """The words of 32 bits, shape (n,)."""
        return self._coder.get_compressed()

    @property
    def n_bits(self) -> int:
        """Bits of the message."""
        return self._coder.num_valid_bits()

    def push_bits(self, bits: np.ndarray, p: np.ndarray) -> None:
        """Bits that are 1 with probabilities p, same shape."""
        if bits.size:
            self._coder.encode_reverse(bits.ravel().astype(np.int32), self._bernoulli, _probabilities(p))

    def pop_bits(self, p: np.ndarray) -> np.ndarray:
        """The inverse of ``push_bits``."""
        if not p.size:
            return np.zeros(p.shape, np.int32)
        return self._popped(self._coder.decode(self._bernoulli, _probabilities(p))).reshape(p.shape)

    def push_normal(self, k: np.ndarray, mean: np.ndarray, scale: np.ndarray, reach: int) -> None:
        """Whole numbers from −reach to reach, with the masses of normal densities in the bins around them."""
        if k.size and reach:
            model = self._models.QuantizedGaussian(-reach, reach)
            self._coder.encode_reverse(k.ravel().astype(np.int32), model, *_flat(mean, scale))

    def pop_normal(self, mean: np.ndarray, scale: np.ndarray, reach: int) -> np.ndarray:
        """The inverse of ``push_normal``."""
        if not mean.size or not reach:
            return np.zeros(mean.shape, np.int32)
        model = self._models.QuantizedGaussian(-reach, reach)
        return self._popped(self._coder.decode(model, *_flat(mean, scale))).reshape(mean.shape)

    def _popped(self, symbols: np.ndarray) -> np.ndarray:
        self.least = min(self.least, self.n_bits)
        return symbols

    def push_numbers(self, k: np.ndarray, low: np.ndarray, high: np.ndarray, below: Below) -> None:
        """Whole numbers from ``low`` to ``high`` with a cumulative distribution, by halving the interval.

        Parameters
        ----------
        k, low, high : ndarray of int64, same shape
        below : callable
            Whole numbers → the probabilities of all numbers up to them.
        """
        for bits, p in reversed(decisions(k, low, high, below)):
            self.push_bits(bits, p)

    def pop_numbers(self, low: np.ndarray, high: np.ndarray, below: Below) -> np.ndarray:
        """The inverse of ``push_numbers``."""
        search = _Halving(low, high, below)
        while search.is_open:
            search.go(search.spread(self.pop_bits(search.p_upper()) == 1))
        return search.low


def decisions(k: np.ndarray, low: np.ndarray, high: np.ndarray, below: Below) -> list[tuple[np.ndarray, np.ndarray]]:
    """The bits that say numbers and their probabilities, the first one first; parameters as of ``push_numbers``."""
    found, search = [], _Halving(low, high, below)
    while search.is_open:
        upper = k > search.middle
        found.append((search.chosen(upper), search.p_upper()))
        search.go(upper)
    return found


class _Halving:
    """Intervals [low, high] of whole numbers, and the probabilities of their halves; the ends reach to infinity."""

    def __init__(self, low: np.ndarray, high: np.ndarray, below: Below) -> None:
        self.low, self.high, self.below = low, high, below
        self.under, self.up_to = np.zeros(low.shape), np.ones(low.shape)
        self._look()

    def _look(self) -> None:
        open = self.low < self.high
        self.is_open = bool(open.any())
        self.places: Any = slice(None) if open.all() else open
        if self.is_open:
            self.middle = (self.low + self.high) >> 1
            self.at_middle = self.below(self.middle)

    def chosen(self, values: np.ndarray) -> np.ndarray:
        """The values of the open intervals."""
        return values[self.places]

    def spread(self, upper: np.ndarray) -> np.ndarray:
        """The inverse of ``chosen``; False for the others."""
        if isinstance(self.places, slice):
            return upper
        everywhere = np.zeros(self.low.shape, bool)
        everywhere[self.places] = upper
        return everywhere

    def p_upper(self) -> np.ndarray:
        """P(symbol > middle) within the open intervals; ½ where none of an interval has a probability to speak of."""
        total, upper = (self.chosen(self.up_to - below) for below in (self.under, self.at_middle))
        return np.where(total > 0, upper / np.where(total > 0, total, 1.0), 0.5)

    def go(self, upper: np.ndarray) -> None:
        """Take the upper halves where ``upper``, elsewhere the lower ones."""
        above = np.where(self.low < self.high, self.middle + 1, self.low)
        self.low, self.high = np.where(upper, above, self.low), np.where(upper, self.high, self.middle)
        self.under = np.where(upper, self.at_middle, self.under)
        self.up_to = np.where(upper, self.up_to, self.at_middle)
        self._look()


def _probabilities(p: np.ndarray) -> np.ndarray:
    return np.clip(np.ascontiguousarray(p, np.float64).ravel(), LEAST, 1 - LEAST)


def _flat(*parts: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.ascontiguousarray(part, np.float64).ravel() for part in parts)
