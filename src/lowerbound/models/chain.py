"""A Markov chain of Gaussians over levels of latent variables z = (z_1, …, z_L).

p(z) = p(z_L) Π p(z_l|z_{l+1}), and q goes from the bottom up: q(z_1|x) q(z_2|z_1) … (Burda et al., 2016,
arXiv:1509.00519, section 4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor, nn

from lowerbound.distributions.gaussians import DiagonalGaussian, StandardNormal
from lowerbound.distributions.noise import Noise

Link = Callable[[Tensor], DiagonalGaussian]  # (S, B, D_l) → a Gaussian over the next level, (S, B, D_{l±1})


class Chain:
    """A Markov chain of Gaussians over the levels; z holds the levels from z_1 up.

    Parameters
    ----------
    first : StandardNormal or DiagonalGaussian
        p(z_L), or q(z_1|x).
    links : sequence of callable
        The conditional of each level, given the one before.
    places : sequence of slice
        The slices of z of the levels, in the order of the chain.
    """

    prior = None

    def __init__(
        self, first: StandardNormal | DiagonalGaussian, links: Sequence[Link], places: Sequence[slice]
    ) -> None:
        self.first: StandardNormal | DiagonalGaussian
        self.links: Sequence[Link]
        self.places: Sequence[slice]
        self.first, self.links, self.places = first, links, places

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z_L) + Σ log p(z_l|z_{l+1}), or log q(z_1|x) + Σ log q(z_{l+1}|z_l), shape (S, B)."""
        parts = [z[..., place] for place in self.places]
        following = zip(self.links, pairwise(parts), strict=True)
        return self.first.log_prob(parts[0]) + sum(link(a).log_prob(b) for link, (a, b) in following)

    def rsample(self, shape: Sequence[int], noise: Noise) -> Tensor:
        """Draws of shape ``(*shape, D)``, or ``(*shape, B, D)``."""
        parts = [self.first.rsample(shape, noise)]
        for link in self.links:
            parts.append(link(parts[-1]).rsample((), noise))
        return self._in_place(parts)

    def kl_from(self, q: Chain) -> None:
        """None: there is no closed form."""
        return

    def kl_to_standard_normal(self) -> Tensor:
        """Raise ``TypeError``: there is no closed form."""
        raise TypeError("the KL of a chain of levels has no closed form")

    @cached_property
    def _at_mean(self) -> list[DiagonalGaussian]:
        assert isinstance(self.first, DiagonalGaussian)
        levels = [self.first]
        for link in self.links:
            levels.append(link(levels[-1].mean))
        return levels

    @property
    def mean(self) -> Tensor:
        """Every level's mean, given the means below, shape (B, D)."""
        return self._in_place([level.mean for level in self._at_mean])

    @property
    def scale(self) -> Tensor:
        """Every level's σ, given the means below, shape (B, D)."""
        return self._in_place([level.scale for level in self._at_mean])

    @property
    def scale_tril(self) -> Tensor:
        """diag σ, shape (B, D, D)."""
        return torch.diag_embed(self.scale)

    def detach(self) -> Chain:
        """Raise ``ValueError``: a level's parameters depend on the z below."""
        raise ValueError("a chain of levels is fitted by gradient='pathwise' or by score-function gradients")

    def _in_place(self, parts: Sequence[Tensor]) -> Tensor:
        order = sorted(range(len(parts)), key=lambda i: self.places[i].start)
        return torch.cat([parts[i] for i in order], -1)


def places(sizes: Sequence[int]) -> list[slice]:
    """The slices of z of levels of these sizes, from z_1 up."""
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


class ChainPrior(nn.Module):
    """p(z) = N(z_L; 0, I) Π p(z_l|z_{l+1}), with a network for every step down.

    Parameters
    ----------
    links : sequence of Module
        The networks from z_L to z_{L−1}, …, from z_2 to z_1.
    sizes : sequence of int
        D_1, …, D_L.
    """

    def __init__(self, links: Sequence[nn.Module], sizes: Sequence[int]) -> None:
        super().__init__()
        self.links: nn.ModuleList
        self.sizes: tuple[int, ...]
        self.links, self.sizes = nn.ModuleList(links), tuple(sizes)
        self._like: Tensor
        self.register_buffer("_like", torch.empty(0), persistent=False)

    def forward(self) -> Chain:
        """p(z)."""
        top = StandardNormal(self.sizes[-1], self._like)
        return Chain(top, list(self.links), places(self.sizes)[::-1])


class ChainHead(nn.Module):
    """The head from features of x to q(z|x) = q(z_1|x) Π q(z_{l+1}|z_l)."""

    def __init__(self, head: nn.Module, links: Sequence[nn.Module], sizes: Sequence[int]) -> None:
        super().__init__()
        self.head: nn.Module
        self.links: nn.ModuleList
        self.sizes: tuple[int, ...]
        self.head, self.links, self.sizes = head, nn.ModuleList(links), tuple(sizes)

    def forward(self, features: Tensor) -> Chain:
        """(B, n) → q(z|x)."""
        return Chain(self.head(features), list(self.links), places(self.sizes))


class Lowest(nn.Module):
    """A decoder's network that reads z_1, and a context where z is followed by one.

    Parameters
    ----------
    network : Module
        (N, D_1 + C) → (N, P, *event).
    sizes : sequence of int
        D_1, …, D_L.
    """

    def __init__(self, network: nn.Module, sizes: Sequence[int]) -> None:
        super().__init__()
        self.network: nn.Module
        self.sizes: tuple[int, ...]
        self.network, self.sizes = network, tuple(sizes)

    def forward(self, z: Tensor) -> Tensor:
        """(N, D + C) → (N, P, *event)."""
        lowest, _, context = z.tensor_split([self.sizes[0], sum(self.sizes)], 1)
        return self.network(torch.cat([lowest, context], 1))
