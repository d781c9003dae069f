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

    Attributes
    ----------
    location, unit : Tensor, shape (n,)
    log : Tensor of bool, shape (n,)
        g is log(v + shift), else the identity.
    shift : Tensor, shape (n,)
    low, high : Tensor, shape (n,)
        The range of the numbers seen, to which draws are confined.
    """

    location: Tensor
    unit: Tensor
    log: Tensor
    shift: Tensor
    low: Tensor = field(default_factory=lambda: torch.tensor(-math.inf))
    high: Tensor = field(default_factory=lambda: torch.tensor(math.inf))

    def standardize(self, v: Tensor) -> Tensor:
        """x of v."""
        g = torch.where(self.log, torch.log((v + self.shift).clamp_min(1e-30)), v)
        return (g - self.location) / self.unit

    def restore(self, x: Tensor) -> Tensor:
        """v of x."""
        g = x * self.unit + self.location
        return torch.where(self.log, g.clamp_max(LARGEST_EXPONENT).exp() - self.shift, g)

    def confined(self, v: Tensor) -> Tensor:
        """The nearest number in the range."""
        return torch.maximum(torch.minimum(v, self.high), self.low)

    def bin_width(self, v: Tensor) -> Tensor:
        """x of v + ½ less x of v − ½, without the difference of two close numbers."""
        of_log = torch.log1p(1 / (v + self.shift - 0.5).clamp_min(1e-30))
        return torch.where(self.log, of_log, 1.0) / self.unit

    def log_jacobian(self, x: Tensor) -> Tensor:
        """log dx/dv = log g'(v) − log unit."""
        return torch.where(self.log, -(x * self.unit + self.location), 0.0) - self.unit.log()
