"""Data in few numbers: q(z|x) for every row."""

from __future__ import annotations

import torch
from torch import Tensor

from lowerbound.evaluation.evaluation import Evaluation


def encode(on: Evaluation, *, full: bool) -> tuple[Tensor, Tensor]:
    """Posterior means (N, D), and standard deviations (N, D) or Cholesky factors (N, D, D) if ``full``."""
    means, scales = [], []
    with on.evaluating():
        for batch in on.batches():
            q = on.posterior(batch)
            means.append(q.mean.detach())
            scales.append(q.scale_tril if full else q.scale)
    return torch.cat(means), torch.cat(scales)


def draw_codes(on: Evaluation, n_draws: int = 1) -> Tensor:
    """Draws of z ~ q(z|x), shape (N, n_draws, D)."""
    with on.evaluating():
        parts = [on.posterior(batch).rsample((n_draws,), on.noise).movedim(0, 1) for batch in on.batches()]
    return torch.cat(parts)
