"""Learned priors p(z): mixtures of Gaussians, with free components or from the encoder (VampPrior), and flows."""

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

EDGE = 0.02  # least distance of initial pseudo-inputs from the ends of their range, as a part of it


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


class MixturePrior(nn.Module):
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
        self.mean = nn.Parameter(math.sqrt(self.START) * torch.randn(shape, generator=generator))
        self.log_scale = nn.Parameter(torch.full(shape, 0.5 * math.log(1 - self.START)))
        self.logits = nn.Parameter(torch.zeros(n_components))

    def forward(self) -> GaussianMixture:
        """p(z) at the present parameters."""
        return GaussianMixture(self.mean, self.log_scale, self.logits.log_softmax(0))


class VampPrior(nn.Module):
    """p(z) = (1/K) Σ_k q(z|u_k): the mixture of the posteriors of K learned pseudo-inputs.

    Tomczak & Welling, 2018, arXiv:1705.07120, eq. 9. Pseudo-inputs of bounded data stay within their range.

    Parameters
    ----------
    encode : callable
        x (K, *event) → q(z|x), a diagonal Gaussian: the posterior's own encoder, whose weights aren't stored twice.
    shape : tuple of int
        (K, *event), the shape of the pseudo-inputs.
    generator : torch.Generator
        Draws the pseudo-inputs, which ``start_from`` replaces by rows of data.
    highest : float, optional
        The upper bound of values, whose lower bound is 0; by default values are not bounded.
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
        """Start the first pseudo-inputs from rows of data, shape (K or fewer, *event)."""
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
    """p(z), the distribution of f⁻¹(ε) with ε ~ N(0, I) and f a coupling flow; it starts as N(0, I).

    Parameters
    ----------
    latent_dim : int
        D.
    generator : torch.Generator
        Draws the initial weights.
    """

    def __init__(self, latent_dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.latent_dim, self.flow = latent_dim, CouplingFlow(latent_dim, 0, generator)

    def forward(self) -> Pushforward:
        """p(z) at the present parameters."""
        return Pushforward(StandardNormal(self.latent_dim, next(self.flow.parameters())), self.flow())
