"""A posterior relative to its prior: a network says how far q(z|x) is from p(z)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lowerbound.core import Batch, Posterior
from lowerbound.distributions.gaussians import DiagonalGaussian, GaussianPrior
from lowerbound.distributions.noise import Noise
from lowerbound.inference.posteriors import PriorFrom


@dataclass
class ResidualGaussian(DiagonalGaussian):
    """q(z|x) = N(μ, diag σ²), with the p(z) that it was made relative to."""

    prior: GaussianPrior  # pyright: ignore[reportIncompatibleVariableOverride]


class ResidualPosterior(Posterior):
    """q(z|x, c) with μ_q = μ_p + σ_p Δ and σ_q = σ_p ρ, where p(z|c) = N(μ_p, diag σ_p²).

    Δ and log ρ are an encoder's; where nothing is observed they are 0, and q is the prior (Vahdat & Kautz, 2020,
    arXiv:2007.03898, section 3.2).

    Parameters
    ----------
    encoder : Module
        (x, mask, missing, context) → Δ and log ρ, the mean and log-scale of a Gaussian.
    prior : callable
        ``model.prior_of``, which gives a ``GaussianPrior``.
    """

    def __init__(self, encoder: nn.Module, prior: PriorFrom) -> None:
        super().__init__()
        self.encoder: nn.Module
        self.prior: PriorFrom
        self.encoder, self.prior = encoder, prior

    def forward(self, batch: Batch, noise: Noise | None = None) -> ResidualGaussian:
        """q(z|x, c) for the rows of a batch, each with its context."""
        p: Any = self.prior(batch)
        residual = self.encoder(batch.x, None if batch.complete else batch.mask, batch.missing, batch.context)
        delta, log_ratio = residual.mean, residual.log_scale
        if batch.missing is not None:
            seen = batch.mask.flatten(1).any(1, keepdim=True)
            delta, log_ratio = (_where(seen, each) for each in (delta, log_ratio))
        return relative(p, delta, log_ratio)


def relative(p: GaussianPrior, delta: Tensor, log_ratio: Tensor) -> ResidualGaussian:
    """N(μ_p + σ_p Δ, diag (σ_p ρ)²)."""
    return ResidualGaussian(p.mean + p.log_scale.exp() * delta, p.log_scale + log_ratio, p)


def _where(seen: Tensor, each: Tensor) -> Tensor:
    return torch.where(seen, each, 0.0)
