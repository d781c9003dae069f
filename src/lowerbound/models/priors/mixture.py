"""A mixture of Gaussians with free components."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lowerbound.core import LatentDistribution
from lowerbound.distributions.gaussians import LOG_2PI
from lowerbound.distributions.noise import Noise
from lowerbound.models.priors.prior import LearnedPrior, PriorRequest


@dataclass
class GaussianMixture:
    """p(z) = Σ_k π_k N(z; m_k, diag s_k²).

    ``mean`` and ``log_scale`` have shape (K, D), ``log_weight`` = log π has shape (K,).
    """

    mean: Tensor
    log_scale: Tensor
    log_weight: Tensor

    def log_prob(self, z: Tensor) -> Tensor:
        """log Σ_k exp[log π_k − ½‖(z − m_k)/s_k‖² − Σ log s_k − (D/2) log 2π], shape (S, B).

        The squares are multiplied out, so that no tensor has the shape (S, B, K, D); in float64, as narrow components
        far from 0 are small differences of large products.
        """
        wide, mean, log_scale = z.double(), self.mean.double(), self.log_scale.double()
        precision = torch.exp(-2 * log_scale)
        constant = self.log_weight - (0.5 * mean.square() * precision + log_scale).sum(-1)
        products = wide @ (mean * precision).mT - 0.5 * wide.square() @ precision.mT
        return ((products + constant).logsumexp(-1) - 0.5 * z.shape[-1] * LOG_2PI).to(z.dtype)

    def rsample(self, shape: Sequence[int], noise: Noise) -> Tensor:
        """Draws of shape ``(*shape, D)``; the choice of the component has no gradient."""
        u = noise.uniform((*shape, len(self.log_weight)), self.log_weight)
        gumbel = -torch.log(-torch.log(u.clamp(torch.finfo(u.dtype).tiny, 1 - torch.finfo(u.dtype).eps)))
        component = (self.log_weight + gumbel).argmax(-1)  # Gumbel, 1954
        epsilon = noise.normal((*shape, self.mean.shape[-1]), self.mean)
        return self.mean[component] + self.log_scale[component].exp() * epsilon

    def kl_from(self, q: LatentDistribution) -> None:
        """None: there is no closed form."""
        return


class MixturePrior(LearnedPrior):
    """A mixture of K Gaussians whose means, scales and weights are parameters; it starts close to N(0, I).

    Parameters
    ----------
    n_components, latent_dim : int
        K and D.
    generator : torch.Generator
        Draws the initial means.
    """

    START = 0.5  # part of the initial variance between the components

    def __init__(self, n_components: int, latent_dim: int, generator: torch.Generator) -> None:
        super().__init__()
        shape = (n_components, latent_dim)
        self.mean: nn.Parameter = nn.Parameter(math.sqrt(self.START) * torch.randn(shape, generator=generator))
        self.log_scale: nn.Parameter = nn.Parameter(torch.full(shape, 0.5 * math.log(1 - self.START)))
        self.logits: nn.Parameter = nn.Parameter(torch.zeros(n_components))

    @classmethod
    def make(cls, asked: PriorRequest) -> MixturePrior:
        """K components over D latent variables."""
        return cls(asked.part.n_components, asked.latent_dim, asked.generator)

    def forward(self) -> GaussianMixture:
        """p(z) at the present parameters."""
        return GaussianMixture(self.mean, self.log_scale, self.logits.log_softmax(0))


PRIOR = MixturePrior
