"""The classical autoencoder: the limit of q(z|x) without variance, a point, and no prior term.

It is plain, sparse (with a penalty on the code) or denoising (with a part of x hidden from the encoder).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lowerbound.core import Batch, Draw, Objective, ObjectiveState, Posterior
from lowerbound.distributions.noise import Noise
from lowerbound.parallel import WHOLE, Share

Penalty = Callable[[Tensor, Share], Tensor]  # z (S, B, D) → (B,)
Corruption = Callable[[Tensor, Noise], Tensor]  # x (B, *event) → the same shape


@dataclass
class PointMass:
    """A point mass at one z: the limit without variance, which has neither a density nor a KL."""

    mean: Tensor

    prior = None

    @property
    def scale(self) -> Tensor:
        """0, shape (B, D)."""
        return torch.zeros_like(self.mean)

    @property
    def scale_tril(self) -> Tensor:
        """0, shape (B, D, D)."""
        return torch.diag_embed(self.scale)

    def rsample(self, shape: Sequence[int], noise: Noise) -> Tensor:
        """The point itself, shape (*shape, B, D)."""
        return self.mean.expand(*shape, *self.mean.shape)

    def log_prob(self, z: Tensor) -> Tensor:
        """Raise ``TypeError``: a point has no density."""
        raise TypeError("a point posterior has no density, so there is no importance weight and no lower bound")

    def kl_to_standard_normal(self) -> Tensor:
        """NaN, shape (B, 1): the KL is infinite at σ = 0, so there is no bound."""
        return torch.full_like(self.mean[:, :1], torch.nan)

    def detach(self) -> PointMass:
        """The same point without gradient."""
        return PointMass(self.mean.detach())


class Point(Posterior):
    """The encoder's mean alone: the classical autoencoder.

    Parameters
    ----------
    encoder : Module
    corrupt : callable, optional
        ``(x, noise) → x``, the encoder's input in training, while the likelihood scores the whole x: the denoising
        autoencoder (Vincent et al., 2008).
    """

    def __init__(self, encoder: nn.Module, corrupt: Corruption | None = None) -> None:
        super().__init__()
        self.encoder: nn.Module
        self.corrupt: Corruption | None
        self.encoder, self.corrupt = encoder, corrupt

    def forward(self, batch: Batch, noise: Noise | None = None) -> PointMass:
        """The code of every row."""
        corrupted = self.training and self.corrupt is not None and noise is not None
        x = self.corrupt(batch.seen, noise) if corrupted else batch.seen  # type: ignore[misc, arg-type]
        return PointMass(self.encoder(x).mean)


def reconstruction(penalty: Penalty | None = None, weight: float = 0.0) -> Objective:
    """The loss −log p(x|z) at the code z, in nats a row, plus a weighted penalty on the code."""

    def loss(draw: Draw, state: ObjectiveState) -> Tensor:
        plain = -draw.log_px.mean(0)
        return plain if penalty is None else plain + weight * penalty(draw.z, draw.share)

    return Objective(loss)


def l1(z: Tensor, share: Share = WHOLE) -> Tensor:
    """Σ_j |z_j|, shape (B,)."""
    return z.abs().sum(-1).mean(0)


def sparsity(target: float) -> Penalty:
    """Σ_j KL(Bernoulli(ρ) ‖ Bernoulli(ρ̂_j)), ρ̂_j the mean of σ(z_j) over the batch (Ng, 2011), shape (B,)."""

    def penalty(z: Tensor, share: Share = WHOLE) -> Tensor:
        activity = share.mean(z.sigmoid().mean(0)).clamp(1e-6, 1 - 1e-6)
        on = target * torch.log(target / activity)
        off = (1 - target) * torch.log((1 - target) / (1 - activity))
        return (on + off).sum().expand(z.shape[1])

    return penalty


def hide(share: float) -> Callable[[Tensor, Noise], Tensor]:
    """Set a random share of the entries to zero (Vincent et al., 2008, section 2.3)."""
    return lambda x, noise: torch.where(noise.uniform((1, *x.shape), x)[0] < share, 0.0, x)


def jitter(scale: float) -> Callable[[Tensor, Noise], Tensor]:
    """Add normal noise of this standard deviation."""
    return lambda x, noise: x + scale * noise.normal((1, *x.shape), x)[0]
