"""What a network sees of x: values on a scale that suits it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lowerbound.distributions import DiscretizedLogistic


class Center(nn.Module):
    """Levels 0…255 to [−1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return DiscretizedLogistic.center(x)


class OneHot(nn.Module):
    """Levels 0…K−1 to indicators: (B, F, ...) → (B, K·F, ...)."""

    def __init__(self, n_levels: int) -> None:
        super().__init__()
        self.n_levels = n_levels

    def forward(self, x: Tensor) -> Tensor:
        """The K indicators of an entry are laid along the first dimension of the event."""
        return F.one_hot(x.long(), self.n_levels).to(x.dtype).movedim(-1, 1).flatten(1, 2)
