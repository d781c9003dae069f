"""Inputs of a network: x on a suitable scale, with zeros where nothing was observed."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FAR_OUT = 5.0  # standard deviations, beyond which only the order of magnitude of a number is of use


def drawn_in(x: Tensor) -> Tensor:
    """x up to ``FAR_OUT`` = c, beyond it sign(x) (c + log(1 + |x| − c)), for standardized numbers; same shape.

    A network does not extrapolate far beyond its training data: one extreme number would move the code so far that the
    rest of the row would seem extreme too. The density is still that of x.
    """
    inside = x.clamp(-FAR_OUT, FAR_OUT)
    outside = x - inside
    return inside + outside.sign() * outside.abs().log1p()


class Values(nn.Module):
    """Numbers, themselves or on the scale that their likelihood shows them on.

    Parameters
    ----------
    view : callable, optional
        x of any shape → what is seen of it, in the same shape.
    """

    def __init__(self, view: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.view = view

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Same shape."""
        seen = x if self.view is None else self.view(x)
        return seen if mask is None else torch.where(mask, seen, 0.0)


class Standardized(Values):
    """Standardized numbers after ``drawn_in``."""

    def __init__(self) -> None:
        super().__init__(drawn_in)


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
