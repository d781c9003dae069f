"""The way between numbers in the user's units and a model's entries."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

LARGEST_EXPONENT = 80.0  # exp stays finite in float32


@dataclass
class Scaling:
    """The way from numbers v to entries x = (g(v) − location)/unit, for n columns.

    g is the identity, or log(v + shift), or linear between pairs of a quantile and its normal score, and beyond.

    Attributes
    ----------
    location, unit : Tensor, shape (n,)
    log : Tensor of bool, shape (n,)
        Columns whose g is log(v + shift).
    shift : Tensor, shape (n,)
    low, high : Tensor, shape (n,)
        The range of the numbers seen, to which draws are confined.
    quantiles, scores : Tensor, shape (n, K), or None
        Rising; equal to each other where g is one of the others. None if it is everywhere.
    """

    location: Tensor
    unit: Tensor
    log: Tensor
    shift: Tensor
    low: Tensor = field(default_factory=lambda: torch.tensor(-math.inf))
    high: Tensor = field(default_factory=lambda: torch.tensor(math.inf))
    quantiles: Tensor | None = None
    scores: Tensor | None = None

    def standardize(self, v: Tensor) -> Tensor:
        """x of v."""
        g = torch.where(self.log, torch.log((v + self.shift).clamp_min(1e-30)), v)
        if self.quantiles is not None and self.scores is not None:
            g = torch.where(self.log, g, interpolated(v, self.quantiles, self.scores))
        return (g - self.location) / self.unit

    def restore(self, x: Tensor) -> Tensor:
        """v of x."""
        g = x * self.unit + self.location
        v = g if self.quantiles is None or self.scores is None else interpolated(g, self.scores, self.quantiles)
        return torch.where(self.log, g.clamp_max(LARGEST_EXPONENT).exp() - self.shift, v)

    def confined(self, v: Tensor) -> Tensor:
        """The nearest number in the range."""
        return torch.maximum(torch.minimum(v, self.high), self.low)

    def bin_width(self, v: Tensor) -> Tensor:
        """x of v + ½ less x of v − ½, without the difference of two close numbers."""
        of_log = torch.log1p(1 / (v + self.shift - 0.5).clamp_min(1e-30))
        return torch.where(self.log, of_log, 1.0) / self.unit

    def log_jacobian(self, x: Tensor) -> Tensor:
        """log dx/dv = log g'(v) − log unit."""
        g = x * self.unit + self.location
        straight = torch.zeros((), dtype=g.dtype, device=g.device)
        if self.quantiles is not None and self.scores is not None:
            straight = _slope(_segment(g, self.scores), self.quantiles, self.scores).log()
        return torch.where(self.log, -g, straight) - self.unit.log()


def interpolated(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """The line through (knots, values), (n, K) each, at x (…, n); the first and the last piece go on."""
    k = _segment(x, knots)
    at, value = (_of_segment(numbers, k) for numbers in (knots, values))
    return value + (x - at) * _slope(k, knots, values)


def _segment(x: Tensor, knots: Tensor) -> Tensor:
    """The place of the knot at which the piece begins that x is in, (…, n)."""
    flat = x.movedim(-1, 0).flatten(1).to(knots.dtype).contiguous()
    k = torch.searchsorted(knots, flat, right=True).clamp(1, knots.shape[1] - 1) - 1
    return k.unflatten(1, x.shape[:-1]).movedim(0, -1) if x.ndim > 1 else k[:, 0]


def _of_segment(numbers: Tensor, k: Tensor) -> Tensor:
    """Numbers (n, K) at places k (…, n)."""
    return numbers[torch.arange(len(numbers), device=k.device), k]


def _slope(k: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """The slopes of the pieces that begin at places k."""
    return _of_segment(values.diff() / knots.diff(), k)
