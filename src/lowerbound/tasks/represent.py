"""Data in few numbers: q(z|x) for every row."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lowerbound.data.batches import Rows
from lowerbound.distributions.noise import Noise
from lowerbound.evaluation.bound import EVALUATION_BATCH, evaluating


def encode(posterior: nn.Module, data: Rows, noise: Noise, *, full: bool) -> tuple[Tensor, Tensor]:
    """Posterior means (N, D), and standard deviations (N, D) or Cholesky factors (N, D, D) if ``full``."""
    means, scales = [], []
    with evaluating(posterior):
        for batch in data.batches(EVALUATION_BATCH, noise):
            q = posterior(batch)
            means.append(q.mean.detach())
            scales.append(q.scale_tril if full else q.scale)
    return torch.cat(means), torch.cat(scales)


def draw_codes(posterior: nn.Module, data: Rows, noise: Noise, n_draws: int = 1) -> Tensor:
    """Draws of z ~ q(z|x), shape (N, n_draws, D)."""
    with evaluating(posterior):
        parts = [
            posterior(batch).rsample((n_draws,), noise).movedim(0, 1) for batch in data.batches(EVALUATION_BATCH, noise)
        ]
    return torch.cat(parts)
