"""Inputs of a network: x on a suitable scale, with zeros where nothing was observed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowerbound.distributions.likelihoods import DiscretizedLogistic

FAR_OUT = 5.0  # standard deviations, beyond which inputs grow as a logarithm


def drawn_in(x: Tensor) -> Tensor:
    """x up to ``FAR_OUT`` = c, beyond it sign(x) (c + log(1 + |x| − c)), for standardized numbers; same shape.

    A network does not extrapolate far beyond its training data: one extreme number would move the code so far that the
    rest of the row would seem extreme too. The density is still that of x.
    """
    inside = x.clamp(-FAR_OUT, FAR_OUT)
    outside = x - inside
    return inside + outside.sign() * outside.abs().log1p()


class Values(nn.Module):
    """Numbers, unchanged."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, *event) → the same shape."""
        return x if mask is None else torch.where(mask, x, 0.0)


class Standardized(Values):
    """Standardized numbers after ``drawn_in``."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, *event) → the same shape."""
        return drawn_in(super().forward(x, mask))


class Center(nn.Module):
    """Grey levels 0…255 mapped to [−1, 1]."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, *event) → the same shape."""
        centered = DiscretizedLogistic.center(x)
        return centered if mask is None else torch.where(mask, centered, 0.0)


class OneHot(nn.Module):
    """Categories 0…K−1 as indicators: (B, F, ...) → (B, K·F, ...)."""

    def __init__(self, n_categories: int) -> None:
        super().__init__()
        self.n_categories = n_categories

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Put the K indicators of an entry along the first dimension of the event."""
        indicators = F.one_hot(x.long(), self.n_categories).to(x.dtype).movedim(-1, 1)
        seen = indicators if mask is None else torch.where(mask.unsqueeze(1), indicators, 0.0)
        return seen.flatten(1, 2)
