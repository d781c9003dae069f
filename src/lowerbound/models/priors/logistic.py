"""Independent logistic latent variables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lowerbound.core import LatentDistribution
from lowerbound.distributions.noise import Noise
from lowerbound.models.priors.prior import LearnedPrior, PriorRequest


@dataclass
class Logistic:
    """p(z) = Π_d σ(z_d/s_d) σ(−z_d/s_d)/s_d, with scales s of shape (D,)."""

    log_scale: Tensor

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density, shape (S, B)."""
        u = z * torch.exp(-self.log_scale)
        return (torch.nn.functional.logsigmoid(u) + torch.nn.functional.logsigmoid(-u) - self.log_scale).sum(-1)

    def rsample(self, shape: Sequence[int], noise: Noise) -> Tensor:
        """Draws of shape ``(*shape, D)``."""
        u = noise.uniform((*shape, len(self.log_scale)), self.log_scale)
        return self.log_scale.exp() * torch.logit(u, eps=1e-6)

    def kl_from(self, q: LatentDistribution) -> None:
        """None: there is no closed form."""
        return


class LogisticPrior(LearnedPrior):
    """Logistic latent variables with learned scales, of variance 1 at the start."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.log_scale = torch.nn.Parameter(torch.full((latent_dim,), math.log(math.sqrt(3) / math.pi)))

    @classmethod
    def make(cls, asked: PriorRequest) -> LogisticPrior:
        """One scale for each latent variable."""
        return cls(asked.latent_dim)

    def forward(self) -> Logistic:
        """p(z) at the present scales."""
        return Logistic(self.log_scale)


PRIOR = LogisticPrior
