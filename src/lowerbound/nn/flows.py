"""Coupling flows: invertible networks that map one distribution over latent variables to another.

The transformations come from zuko (``pip install 'lowerbound[flows]'``); weights and noise are drawn here, because
zuko draws its own from the global generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lowerbound.distributions.gaussians import DiagonalGaussian, StandardNormal
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.nn.heads import GaussianHead
from lowerbound.nn.mlp import mlp
from lowerbound.precision import in_full, in_single

if TYPE_CHECKING:
    from torch.distributions import Transform

N_COUPLINGS = 4  # each leaves every other latent variable unchanged
HIDDEN = (64, 64)  # hidden units of the network of a coupling
N_BINS = 8  # bins of the splines
BOUND = 6.0  # splines are the identity outside of ±BOUND
N_CONTEXT = 32  # features of x that the flow of a posterior reads
N_MOMENTS = 64  # draws for a mean and a scale


def zuko() -> ModuleType:
    """Import zuko, or raise an error that says how to install it."""
    try:
        import zuko.transforms
    except ImportError as error:
        raise ImportError("flows need the package zuko: pip install 'lowerbound[flows]'") from error
    return zuko


class Coupling(nn.Module):
    """A coupling layer: z_a is unchanged, and z_b → t + s · spline(z_b), elementwise.

    Splines, s and t come from a network of z_a and the context (Dinh et al., 2017, arXiv:1605.08803, eq. 7; Durkan et
    al., 2019, arXiv:1906.04032, section 3). It starts as the identity.

    Parameters
    ----------
    stays : Tensor of bool, shape (D,)
        True for the coordinates a.
    n_context : int
        Size of the context; 0 for none.
    generator : torch.Generator
        Draws the weights.
    """

    SIZES = (N_BINS, N_BINS, N_BINS - 1, 1, 1)  # widths, heights and slopes of a spline; t and log s

    def __init__(self, stays: Tensor, n_context: int, generator: torch.Generator) -> None:
        super().__init__()
        self.stays: Tensor
        self.register_buffer("stays", stays, persistent=False)
        n_stay, n_move = int(stays.sum()), int((~stays).sum())
        self.network: nn.Sequential = mlp([n_stay + n_context, *HIDDEN, n_move * sum(self.SIZES)], "silu", generator)
        for parameter in self.network[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, context: Tensor | None) -> Transform:
        """The transformation of (*, B, D), for a context (B, n_context)."""
        transforms = zuko().transforms

        def of_others(stay: Tensor) -> Transform:
            seen = stay if context is None else torch.cat([stay, context.expand(*stay.shape[:-1], -1)], -1)
            raw = self.network(seen).unflatten(-1, (-1, sum(self.SIZES))).split(self.SIZES, -1)
            widths, heights, slopes, shift, log_scale = raw
            spline = transforms.MonotonicRQSTransform(widths, heights, slopes, bound=BOUND)
            affine = transforms.MonotonicAffineTransform(shift[..., 0], log_scale[..., 0])
            return transforms.DependentTransform(transforms.ComposedTransform(spline, affine), 1)

        return transforms.CouplingTransform(of_others, self.stays)


class CouplingFlow(nn.Module):
    """A sequence of couplings, z → ε, which leave even and odd coordinates unchanged in turn.

    Parameters
    ----------
    latent_dim : int
        D, 2 or more.
    n_context : int
    generator : torch.Generator
    """

    def __init__(self, latent_dim: int, n_context: int, generator: torch.Generator) -> None:
        super().__init__()
        zuko()
        if latent_dim < 2:
            raise ValueError("a flow transforms some latent variables given others: it needs latent_dim=2 or more")
        odd = torch.arange(latent_dim) % 2 == 1
        turns = [odd if i % 2 else ~odd for i in range(N_COUPLINGS)]
        self.couplings: nn.ModuleList = nn.ModuleList(Coupling(stays, n_context, generator) for stays in turns)

    def forward(self, context: Tensor | None = None) -> Transform:
        """z → ε, for a context (B, n_context)."""
        return zuko().transforms.ComposedTransform(*(coupling(context) for coupling in self.couplings))


@dataclass
class Pushforward:
    """The distribution of z = f⁻¹(ε): log p(z) = log p(ε) + log |det ∂f/∂z| with ε = f(z) from a simple ``base``.

    It is a prior, or a posterior whose ``base`` is a distribution for each of B rows.
    """

    base: StandardNormal | DiagonalGaussian
    to_base: Transform

    prior = None

    @in_full
    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density, shape (S, B)."""
        epsilon, log_det = self.to_base.call_and_ladj(z)  # pyright: ignore[reportAttributeAccessIssue]
        return self.base.log_prob(epsilon) + log_det

    def rsample(self, shape: Sequence[int], noise: Noise) -> Tensor:
        """Draws of shape ``(*shape, D)``, or ``(*shape, B, D)`` of a posterior."""
        return self._from_base(self.base.rsample(shape, noise))

    def kl_from(self, q: Any) -> None:
        """None: there is no closed form."""
        return

    def kl_to_standard_normal(self) -> None:
        """None: there is no closed form."""
        return

    @in_full
    def _from_base(self, epsilon: Tensor) -> Tensor:
        inverse: Any = self.to_base.inv
        return inverse(epsilon)

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        """Mean and scale over fixed draws ±ε with variance 1: exact if f is affine."""
        assert isinstance(self.base, DiagonalGaussian)
        mean, scale = self.base.mean, self.base.scale
        half = torch.randn((N_MOMENTS // 2, 1, mean.shape[-1]), generator=make_generator(0, "moments"))
        half = (half / half.square().mean(0).sqrt()).to(mean)
        z = self._from_base(mean + scale * torch.cat([half, -half]))
        return z.mean(0), z.std(0, correction=0)

    @property
    def mean(self) -> Tensor:
        """E[z], by 64 draws, shape (B, D)."""
        return self._moments[0]

    @property
    def scale(self) -> Tensor:
        """Standard deviations, by 64 draws, shape (B, D)."""
        return self._moments[1]

    @property
    def scale_tril(self) -> Tensor:
        """diag σ, shape (B, D, D)."""
        return torch.diag_embed(self.scale)

    def detach(self) -> Pushforward:
        """Raise ``ValueError``: the density's parameters depend on z."""
        raise ValueError("posterior='flow' is fitted by gradient='pathwise', 'score' or 'vimco'")


class FlowHead(nn.Module):
    """The head from features of x to q(z|x), a flow from a Gaussian, conditioned on features of x.

    Rezende & Mohamed, 2015, arXiv:1505.05770. It starts as the Gaussian.

    Parameters
    ----------
    latent_dim : int
        D.
    generator : torch.Generator
        Draws the weights.
    """

    def __init__(self, latent_dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.latent_dim: int
        self.gaussian: GaussianHead
        self.latent_dim, self.gaussian = latent_dim, GaussianHead(latent_dim, "diagonal")
        self.flow: CouplingFlow = CouplingFlow(latent_dim, N_CONTEXT, generator)
        self.n_features: int = self.gaussian.n_features + N_CONTEXT

    def forward(self, features: Tensor) -> Pushforward:
        """(B, n_features) → q(z|x)."""
        own, context = in_single(features).tensor_split([self.gaussian.n_features], -1)
        base = self.gaussian(own)
        assert isinstance(base, DiagonalGaussian)
        return Pushforward(base, self.flow(context))
