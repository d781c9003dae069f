"""Objectives: how a draw becomes a loss."""

from __future__ import annotations

import torch
from torch import Tensor

from lowerbound.core import Draw, Objective, ObjectiveState


def elbo(n_samples: int = 1, kl_weight: float = 1.0, kl_warmup_steps: int = 0, free_bits: float = 0.0) -> Objective:
    """The negative evidence lower bound with the KL in closed form.

    loss = −(1/S) Σ_s log p(x|z_s) + β_t Σ_g max(λ, KL_g), in nats a row.

    Parameters
    ----------
    n_samples : int
        S, latent vectors drawn for each row.
    kl_weight : float
        β (Higgins et al., 2017); 1 is the lower bound.
    kl_warmup_steps : int
        β_t rises linearly from 0 to β over this many steps (Bowman et al., 2016, arXiv:1511.06349).
    free_bits : float
        λ, nats for each latent dimension below which its KL, averaged over the batch, is not pressed further
        (Kingma et al., 2016, arXiv:1606.04934, section 6.1).
    """

    def loss(draw: Draw, state: ObjectiveState) -> Tensor:
        warmup = min(1.0, state.step / kl_warmup_steps) if kl_warmup_steps else 1.0
        return kl_weight * warmup * _at_least(draw.kl, free_bits) - draw.log_px.mean(0)

    return Objective(loss, n_samples, warmup_steps=kl_warmup_steps)


def _at_least(kl: Tensor, free_bits: float) -> Tensor:
    """Σ_g of the KL of each group, with groups whose mean over the batch is below ``free_bits`` held there."""
    if free_bits == 0:
        return kl.sum(-1)
    return torch.where(kl.mean(0) > free_bits, kl, free_bits).sum(-1)
