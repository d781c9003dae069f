"""What a network sees of x: values on a scale that suits it, zeros where nothing was observed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowerbound.distributions import DiscretizedLogistic


class Values(nn.Module):
    """The numbers themselves."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Same shape."""
        return x if mask is None else torch.where(mask, x, 0.0)


class Center(nn.Module):
    """Levels 0…255 to [−1, 1]."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Same shape."""
        centered = DiscretizedLogistic.center(x)
        return centered if mask is None else torch.where(mask, centered, 0.0)


class OneHot(nn.Module):
    """Levels 0…K−1 to indicators: (B, F, ...) → (B, K·F, ...)."""

    def __init__(self, n_levels: int) -> None:
        super().__init__()
        self.n_levels = n_levels

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The K indicators of an entry are laid along the first dimension of the event."""
        indicators = F.one_hot(x.long(), self.n_levels).to(x.dtype).movedim(-1, 1)
        seen = indicators if mask is None else torch.where(mask.unsqueeze(1), indicators, 0.0)
        return seen.flatten(1, 2)
