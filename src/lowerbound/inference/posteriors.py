"""Ways to get q(z|x) for the rows of a batch."""

from __future__ import annotations

from torch import nn

from lowerbound.core import Batch, LatentDistribution


class Amortized(nn.Module):
    """q(z|x) from an encoder that all rows share (Kingma & Welling, 2014, section 2.1)."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, batch: Batch) -> LatentDistribution:
        """The encoder reads ``batch.x``."""
        return self.encoder(batch.x)
