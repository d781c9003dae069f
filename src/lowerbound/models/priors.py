"""Priors p(z) that are learned: mixtures of Gaussians, whose components are free or come from the encoder; flows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lowerbound.core import LatentDistribution
from lowerbound.distributions.gaussians import LOG_2PI, StandardNormal
from lowerbound.distributions.noise import Noise
from lowerbound.nn.flows import CouplingFlow, Pushforward

EDGE = 0.02  # pseudo-inputs start at least this part of their range away from its ends


@dataclass
class GaussianMixture:
    """p(z) = Σ_k π_k N(z; m_k, diag s_k²), one vector of D numbers a row.

    ``mean`` and ``log_scale`` have shape (K, D), ``log_weight`` = log π has shape (K,).
    """

    mean: Tensor
    log_scale: Tensor
    log_weight: Tensor

    def log_prob(self, z: Tensor) -> Tensor:
        """log Σ_k exp[log π_k − ½‖(z − m_k)/s_k‖² − Σ log s_k − (D/2) log 2π], shape (S, B).

        The squares are multiplied out, so that nothing of shape (S, B, K, D) is ever made; in float64, because far from
        0 narrow components are a small difference of large products.
        """
        wide, mean, log_scale = z.double(), self.mean.double(), self.log_scale.double()
        precision = torch.exp(-2 * log_scale)
        constant = self.log_weight - (0.5 * mean.square() * precision + log_scale).sum(-1)
        products = wide @ (mean * precision).mT - 0.5 * wide.square() @ precision.mT
        return ((products + constant).logsumexp(-1) - 0.5 * z.shape[-1] * LOG_2PI).to(z.dtype)

    def rsample(self, shape: Sequence[int], noise: Noise) -> Tensor:
        """Draws of shape ``(*shape, D)``; no gradient reaches the choice of the component."""
        u = noise.uniform((*shape, len(self.log_weight)), self.log_weight)
        gumbel = -torch.log(-torch.log(u.clamp(torch.finfo(u.dtype).tiny, 1 - torch.finfo(u.dtype).eps)))
        component = (self.log_weight + gumbel).argmax(-1)  # Gumbel, 1954
        epsilon = noise.normal((*shape, self.mean.shape[-1]), self.mean)
        return self.mean[component] + self.log_scale[component].exp() * epsilon

    def kl_from(self, q: LatentDistribution) -> None:
        """There is no closed form."""
        return


class MixturePrior(nn.Module):
    """K Gaussians whose means, scales and weights are parameters; together they start close to N(0, I).

    Parameters
    ----------
    n_components, latent_dim : int
        K and D.
    generator : torch.Generator
        The means are drawn from it.
    """

    START = 0.5  # part of the variance that lies between the components at first

    def __init__(self, n_components: int, latent_dim: int, generator: torch.Generator) -> None:
        super().__init__()
        shape = (n_components, latent_dim)
        self.mean = nn.Parameter(math.sqrt(self.START) * torch.randn(shape, generator=generator))
        self.log_scale = nn.Parameter(torch.full(shape, 0.5 * math.log(1 - self.START)))
        self.logits = nn.Parameter(torch.zeros(n_components))

    def forward(self) -> GaussianMixture:
        """p(z) with the parameters as they are."""
        return GaussianMixture(self.mean, self.log_scale, self.logits.log_softmax(0))


class VampPrior(nn.Module):
    """p(z) = (1/K) Σ_k q(z|u_k): the posterior of K pseudo-inputs that are learned.

    Tomczak & Welling, 2018, arXiv:1705.07120, eq. 9. Pseudo-inputs of bounded data stay within their range.

    Parameters
    ----------
    encode : callable
        x (K, *event) → q(z|x), a diagonal Gaussian: the posterior's own encoder, whose weights aren't kept twice.
    shape : tuple of int
        (K, *event), of the pseudo-inputs.
    generator : torch.Generator
        They are drawn from it, until ``start_from`` puts rows of data in their place.
    highest : float, optional
        Values lie between 0 and this; without it, anywhere.
    """

    def __init__(
        self, encode: Callable[[Tensor], LatentDistribution], shape: Sequence[int], generator: torch.Generator,
        highest: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.encode, self.highest = encode, highest
        self.raw = nn.Parameter(torch.randn(tuple(shape), generator=generator))

    @torch.no_grad()
    def start_from(self, x: Tensor) -> None:
        """Take rows of data, shape (K or fewer, *event), as the first pseudo-inputs."""
        self.raw[: len(x)] = x if self.highest is None else (x / self.highest).clamp(EDGE, 1 - EDGE).logit()

    def inputs(self) -> Tensor:
        """The pseudo-inputs u, shape (K, *event)."""
        return self.raw if self.highest is None else self.highest * self.raw.sigmoid()

    def forward(self) -> GaussianMixture:
        """The mixture of the pseudo-inputs' posteriors, with equal weights."""
        q = self.encode(self.inputs())
        log_weight = q.mean.new_full((len(q.mean),), -math.log(len(q.mean)))
        return GaussianMixture(q.mean, q.scale.log(), log_weight)


class FlowPrior(nn.Module):
    """p(z), the law of f⁻¹(ε) with ε ~ N(0, I) and f a coupling flow; it starts as N(0, I).

    Parameters
    ----------
    latent_dim : int
        D.
    generator : torch.Generator
        The weights come from it.
    """

    def __init__(self, latent_dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.latent_dim, self.flow = latent_dim, CouplingFlow(latent_dim, 0, generator)

    def forward(self) -> Pushforward:
        """p(z) with the parameters as they are."""
        return Pushforward(StandardNormal(self.latent_dim, next(self.flow.parameters())), self.flow())
