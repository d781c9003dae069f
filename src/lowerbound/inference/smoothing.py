"""A posterior of chains of latent variables, which reads a sequence from its end (Fraccaro et al., 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lowerbound.core import Batch, Posterior
from lowerbound.distributions.gaussians import GaussianPrior
from lowerbound.distributions.noise import Noise
from lowerbound.inference.residual import ResidualGaussian, relative
from lowerbound.nn.sequence import BackwardGRU, numbers_of, within
from lowerbound.nn.transition import Transition


@dataclass
class ResidualSmoother:
    """q(z_t|z_{t−1}, a_t) with μ_q = μ_p + σ_p Δ and σ_q = σ_p ρ, of B sequences.

    Attributes
    ----------
    network : Transition
        (a_t, z_{t−1}) → Δ and log ρ.
    read : Tensor, shape (B, T, ·)
        What it makes of a_t.
    """

    network: Transition
    read: Tensor

    def at(self, time: int, before: Tensor, prior: GaussianPrior) -> ResidualGaussian:
        """The Gaussian of step ``time``, given z_{t−1} (S, B, D) and p(z_t|d_t, z_{t−1})."""
        return relative(prior, *self.network(self.read[:, time], before))


class SmoothingPosterior(Posterior):
    """q(z|x) = Π_t q(z_t|z_{t−1}, a_t), a_t = GRU(a_{t+1}, [d_t, x_t]): what z_t is, told by its future too.

    Given z_{t−1}, the exact posterior of z_t depends on x_t, …, x_T and d (arXiv:1605.07571, section 3.2).

    Parameters
    ----------
    inputs : Module
        ``(x, mask)`` of steps (N, F) → the numbers that are read of each.
    backward : BackwardGRU
        It may read fewer numbers than d_t has: the first ones.
    network : Transition
    n_gaps : int
        Indicators of missing entries that are read beside them; 0 for data without gaps.
    """

    def __init__(self, inputs: nn.Module, backward: BackwardGRU, network: Transition, n_gaps: int = 0) -> None:
        super().__init__()
        self.inputs: nn.Module
        self.backward: BackwardGRU
        self.network: Transition
        self.inputs, self.backward, self.network = inputs, backward, network
        self.n_gaps: int = n_gaps

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, batch: Batch, noise: Noise | None = None
    ) -> ResidualSmoother:
        """q(z_t|z_{t−1}, x) for sequences whose context is d (B, T, H)."""
        d: Any = batch.context
        x = numbers_of(self.inputs, batch, self.n_gaps)
        seen = torch.cat([d[..., : self.backward.n_inputs - x.shape[-1]], x], -1)
        return ResidualSmoother(self.network, self.network.read(self.backward(seen, within(batch).sum(1))))
