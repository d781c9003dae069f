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
SIGNIFICANT, SMALLEST = 12, 20  # binary digits of numbers that come from a network, and the place of the last one

Below = Callable[[np.ndarray], np.ndarray]  # whole numbers k → P(symbol ≤ k), same shape


def constriction() -> Any:
    """The library of the coder; raises ``ImportError`` with the command that installs it."""
    try:
        import constriction
    except ImportError as error:
        raise ImportError("compression needs constriction: pip install 'lowerbound[compress]'") from error
    return constriction


def rounded(x: Tensor) -> Tensor:
    """Numbers to 12 binary digits: another order of the same sums gives the same ones.

    Raises
    ------
    ValueError
        If one isn't finite.
    """
    if not x.isfinite().all():
        raise ValueError("the model gives numbers for these rows that aren't finite, so it can't code them")
    x = x.double()
    exponent = torch.frexp(x).exponent.clamp_min(SIGNIFICANT - SMALLEST)
    return torch.ldexp(torch.ldexp(x, SIGNIFICANT - exponent).round(), exponent - SIGNIFICANT)


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
        if k.size:
            model = self._models.QuantizedGaussian(-reach, reach)
            self._coder.encode_reverse(k.ravel().astype(np.int32), model, *_flat(mean, scale))

    def pop_normal(self, mean: np.ndarray, scale: np.ndarray, reach: int) -> np.ndarray:
        """The inverse of ``push_normal``."""
        if not mean.size:
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
        decisions = []
        search = _Halving(low, high, below)
        while search.is_open:
            upper = k > search.middle
            decisions.append((upper[search.open], search.p_upper()))
            search.go(upper)
        for bits, p in reversed(decisions):
            self.push_bits(bits, p)

    def pop_numbers(self, low: np.ndarray, high: np.ndarray, below: Below) -> np.ndarray:
        """The inverse of ``push_numbers``."""
        search = _Halving(low, high, below)
        while search.is_open:
            upper = np.zeros(search.middle.shape, bool)
            upper[search.open] = self.pop_bits(search.p_upper()) == 1
            search.go(upper)
        return search.low


class _Halving:
    """Intervals [low, high] of whole numbers and the probabilities of their halves."""

    def __init__(self, low: np.ndarray, high: np.ndarray, below: Below) -> None:
        self.low, self.high, self.below = low.copy(), high.copy(), below
        self._look()
        if self.is_open:
            self.under, self.up_to = below(low - 1), below(high)
            self.at_middle = below(self.middle)

    def _look(self) -> None:
        self.middle = self.low + (self.high - self.low) // 2
        self.open = self.low < self.high
        self.is_open = bool(self.open.any())

    def p_upper(self) -> np.ndarray:
        """P(symbol > middle) within the open intervals; ½ where none of an interval has a probability to speak of."""
        total = (self.up_to - self.under)[self.open]
        upper = (self.up_to - self.at_middle)[self.open]
        return np.clip(np.where(total > 0, upper / np.where(total > 0, total, 1.0), 0.5), 0, 1)

    def go(self, upper: np.ndarray) -> None:
        """Take the upper halves where ``upper``, elsewhere the lower ones."""
        upper = upper & self.open
        lower = ~upper & self.open
        self.low, self.high = np.where(upper, self.middle + 1, self.low), np.where(lower, self.middle, self.high)
        self.under = np.where(upper, self.at_middle, self.under)
        self.up_to = np.where(lower, self.at_middle, self.up_to)
        self._look()
        if self.is_open:
            self.at_middle = self.below(self.middle)


def _probabilities(p: np.ndarray) -> np.ndarray:
    return np.clip(np.ascontiguousarray(p, np.float64).ravel(), LEAST, 1 - LEAST)


def _flat(*parts: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.ascontiguousarray(part, np.float64).ravel() for part in parts)
