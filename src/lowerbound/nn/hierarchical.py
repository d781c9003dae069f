"""The networks of a ladder: bottom-up features of x, and levels that share one top-down path.

The features are grids of an image or plain vectors; a ``FeatureShape`` makes the layers for either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from lowerbound.nn.conv import Doubling, Residual, convolution, grids
from lowerbound.nn.initialization import initialize_
from lowerbound.precision import in_single

SMALLEST_GRID = 16  # a ladder's grids are halved until they have at most this many places
CHANNELS = (16, 64)  # channels of the largest grid below the image's, doubled on every smaller one, and their maximum


def affine(n_in: int, n_out: int) -> nn.Module:
    """A linear layer with undrawn weights."""
    return skip_init(nn.Linear, n_in, n_out)


class ResidualRow(nn.Module):
    """x + f(x) for vectors."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers: nn.Sequential = nn.Sequential(nn.SiLU(), affine(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width) → the same shape."""
        return x + self.layers(x)


@dataclass(frozen=True)
class FeatureShape:
    """The form of a level's features: a grid (height, width) of an image, or () for plain vectors."""

    grid: tuple[int, ...]
    width: int

    def layer(self, n_in: int, n_out: int) -> nn.Module:
        """A linear layer, the same at every place of the grid."""
        return convolution(n_in, n_out, 1) if self.grid else affine(n_in, n_out)

    def residual(self) -> nn.Module:
        """A residual block."""
        return Residual(self.width) if self.grid else ResidualRow(self.width)

    def upsample_from(self, above: FeatureShape) -> nn.Module:
        """The layers from the features of the level above to this grid (top-down)."""
        if self.grid == above.grid:
            return self.residual()
        height, width = self.grid
        return nn.Sequential(Doubling(above.width, self.width, 1, (height, width)), self.residual())

    def downsample_to(self, below: FeatureShape) -> nn.Module:
        """The layers from this grid to the next smaller one (bottom-up)."""
        if self.grid == below.grid:
            return below.residual()
        return nn.Sequential(nn.SiLU(), convolution(self.width, below.width, 3, stride=2), below.residual())


class Level(nn.Module):
    """One level: p(z|above) and q(z|above, x) from the shared features h, and z back into h.

    The posterior is parametrized relative to the prior, μ_q = μ_p + σ_p Δμ and σ_q = σ_p e^Δ (Vahdat & Kautz, 2020,
    arXiv:2007.03898, section 3.2), and both start as N(0, I).

    Parameters
    ----------
    features, above : FeatureShape
        The form of its features, and of those of the level above (its own, for the top).
    n_latent : int
        Latent variables at each place.
    """

    LIMIT = 5.0  # upper bound of |log σ|

    def __init__(self, features: FeatureShape, above: FeatureShape, n_latent: int) -> None:
        super().__init__()
        width = features.width
        self.shape: tuple[int, ...]
        self.features_shape: tuple[int, ...]
        self.shape, self.features_shape = (n_latent, *features.grid), (width, *features.grid)
        self.arrive: nn.Module = features.upsample_from(above)
        self.prior: nn.Sequential = nn.Sequential(nn.SiLU(), features.layer(width, 2 * n_latent))
        self.known: nn.Module
        self.seen: nn.Module
        self.known, self.seen = features.layer(width, width), features.layer(width, width)
        self.posterior: nn.Sequential
        self.posterior = nn.Sequential(nn.SiLU(), features.residual(), nn.SiLU(), features.layer(width, 2 * n_latent))
        self.taken: nn.Module = features.layer(n_latent, width)
        self.leave: nn.Module = features.residual()

    def start(self) -> None:
        """Start p and q as N(0, I)."""
        for last in (self.prior[-1], self.posterior[-1]):
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def prior_of(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log σ of p(z|above), (N, n_latent, *grid) each."""
        mean, raw = in_single(self.prior(h)).chunk(2, 1)
        return mean, self.LIMIT * torch.tanh(raw / self.LIMIT)

    def step_to_posterior(self, h: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Δμ and Δ, from ``h`` (S·B, width, *grid) and the bottom-up features ``seen`` (B, width, *grid)."""
        both = self.known(h).unflatten(0, (-1, len(seen))) + self.seen(seen)
        shift, raw = in_single(self.posterior(both.flatten(0, 1))).chunk(2, 1)
        return shift, self.LIMIT * torch.tanh(raw / self.LIMIT)

    def take(self, h: Tensor, z: Tensor) -> Tensor:
        """The features for the level below, from ``h`` and z (N, n_latent, *grid)."""
        return self.leave(h + self.taken(z))


class BottomUp(nn.Module):
    """The bottom-up network, x → features for every level, the top one first."""

    def __init__(self, stem: nn.Module, steps: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stem: nn.Module
        self.steps: nn.ModuleList
        self.stem, self.steps = stem, nn.ModuleList(steps)

    def forward(self, x: Tensor, missing: Tensor | None = None) -> list[Tensor]:
        """(B, *event) → (B, width, *grid) for every level; it isn't told which entries are missing."""
        features = [self.stem(x)]
        for step in self.steps:
            features.append(step(features[-1]))
        return features[::-1]


class Output(nn.Module):
    """The lowest features → P parameters for every entry, with a bias that is set from the data."""

    def __init__(self, layers: nn.Module, n_parameters: int, event_shape: Sequence[int]) -> None:
        super().__init__()
        self.layers = layers
        self.bias: nn.Parameter = nn.Parameter(torch.zeros(n_parameters, *event_shape))

    def forward(self, h: Tensor) -> Tensor:
        """(N, width, *grid) → (N, P, *event)."""
        return self.layers(h).reshape(-1, *self.bias.shape) + self.bias


def feature_shapes(event_shape: Sequence[int], n_levels: int, width: int, *, is_image: bool) -> list[FeatureShape]:
    """The form of every level's features, the lowest first; an image's grids have equally many levels, small ones
    one more if needed."""
    if not is_image:
        return [FeatureShape((), width)] * n_levels
    sizes = grids(*event_shape[1:], smallest=SMALLEST_GRID)[1:]
    each = [FeatureShape(size, min(width * 2**i, CHANNELS[1])) for i, size in enumerate(sizes)]
    last = min(len(each), n_levels)
    return [each[-1 - (n_levels - 1 - i) * last // n_levels] for i in range(n_levels)]


def ladder(
    seen_shape: Sequence[int], event_shape: Sequence[int], n_parameters: int, n_levels: int, n_latent: int, width: int,
    generator: torch.Generator, *, is_image: bool,
) -> tuple[BottomUp, list[Level], Output]:  # fmt: skip
    """The bottom-up network, the levels (the top one first), and the output.

    Parameters
    ----------
    seen_shape, event_shape : tuple of int
        The shapes of the bottom-up network's input and of x: (C, H, W) for images.
    n_parameters : int
        P, the parameters of an entry's likelihood.
    n_levels, n_latent, width : int
        Levels, latent variables at each place of a level, channels of the largest grid (or hidden units).
    generator : torch.Generator
        Draws the weights.
    """
    below = feature_shapes(event_shape, n_levels, width, is_image=is_image)
    stem, layers = _ends(seen_shape, event_shape, n_parameters, below[0], is_image)
    up = BottomUp(stem, [a.downsample_to(b) for a, b in pairwise(below)])
    out = Output(layers, n_parameters, event_shape)
    down = below[::-1]
    levels = [Level(g, above, n_latent) for g, above in zip(down, [down[0], *down], strict=False)]
    for module in (up, *levels, out):
        initialize_(module, generator)
        module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    for level in levels:
        level.start()
    return up, levels, out


def _ends(
    seen_shape: Sequence[int], event_shape: Sequence[int], n_parameters: int, lowest: FeatureShape, is_image: bool
) -> tuple[nn.Module, nn.Module]:
    """The layers from x to the lowest level's features, and from these to the output."""
    width = lowest.width
    if not is_image:
        n_out = n_parameters * math.prod(event_shape)
        stem = nn.Sequential(nn.Flatten(), affine(math.prod(seen_shape), width), lowest.residual())
        return stem, nn.Sequential(nn.SiLU(), affine(width, n_out))
    sizes = grids(*event_shape[1:], smallest=SMALLEST_GRID)
    sizes = [size for size in sizes if math.prod(size) >= math.prod(lowest.grid)]
    halving = [convolution(seen_shape[0], width, 5, stride=2)]
    for _ in sizes[2:]:
        halving += [nn.SiLU(), convolution(width, width, 3, stride=2)]
    n_out = n_parameters * event_shape[0]
    doubling = [Doubling(width, width, 3, size) for size in sizes[-2:0:-1]]
    return nn.Sequential(*halving, lowest.residual()), nn.Sequential(*doubling, Doubling(width, n_out, 3, sizes[0]))
