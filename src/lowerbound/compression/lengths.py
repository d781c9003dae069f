"""The lengths of sequences, where the model doesn't say where these end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lowerbound.compression.bits_back import pop_categories, push_categories
from lowerbound.compression.coder import Stack


@dataclass(frozen=True)
class Lengths:
    """Lengths by their number of binary digits, with its frequencies, and the same probability for all of a number.

    Attributes
    ----------
    counts : list of int
        How many lengths have 1, 2, … digits.
    least, most : int
        The ends of all lengths.
    """

    counts: list[int]
    least: int
    most: int

    @classmethod
    def of(cls, lengths: np.ndarray) -> Lengths:
        """The frequencies of some lengths."""
        return cls(np.bincount(_digits(lengths))[1:].tolist(), int(lengths.min()), int(lengths.max()))

    @property
    def bits(self) -> float:
        """Bits of all lengths."""
        n, low, high = np.array(self.counts, float), *self._ends(np.arange(1, len(self.counts) + 1))
        some = n > 0
        return float((n[some] * (np.log2(n.sum() / n[some]) + np.log2((high - low + 1)[some]))).sum())

    def push(self, stack: Stack, lengths: np.ndarray) -> None:
        """The lengths (n,)."""
        digits = _digits(lengths)
        low, high = self._ends(digits)
        stack.push_numbers(lengths, low, high, lambda k: (k - low + 1) / (high - low + 1))
        push_categories(stack, digits - 1, self._shares(len(lengths)))

    def pop(self, stack: Stack, n: int) -> np.ndarray:
        """The inverse of ``push``."""
        low, high = self._ends(pop_categories(stack, self._shares(n)) + 1)
        return stack.pop_numbers(low, high, lambda k: (k - low + 1) / (high - low + 1))

    def _shares(self, n: int) -> torch.Tensor:
        counts = torch.tensor(self.counts, dtype=torch.float64)
        return (counts / counts.sum()).expand(n, -1)

    def _ends(self, digits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The least and the greatest length with so many digits."""
        return np.maximum(self.least, 1 << (digits - 1)), np.minimum(self.most, (1 << digits) - 1)


def _digits(lengths: np.ndarray) -> np.ndarray:
    return np.frexp(lengths.astype(np.float64))[1].astype(np.int64)
