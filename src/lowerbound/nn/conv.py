"""Residual convolutional networks for images of any size.

The first layer of an encoder is a convolution of stride 2, and the last of a decoder a pixel shuffle, so that all other
layers work on grids of at most a quarter of the image's pixels. Odd sizes are rounded up in the encoder and cropped in
the decoder. Nothing is normalized over the batch: rows are independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from lowerbound.nn.initialization import branch, initialize_

CHANNELS = (32, 64)  # of the grids below the image's, downwards; the last one repeats
BLOCKS = 1  # residual blocks on every grid: more of them cost more time than they gain
SKIP_CHANNELS = 8  # channels of z on a grid of the decoder
SMALLEST_GRID = 64  # grids are halved until they have at most this many places


def grids(height: int, width: int, smallest: int = SMALLEST_GRID) -> list[tuple[int, int]]:
    """The image's size, and half of it again and again, until a grid has at most ``smallest`` places."""
    sizes = [(height, width)]
    while len(sizes) == 1 or math.prod(sizes[-1]) > smallest:
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes


def widths(channels: Sequence[int], n_grids: int) -> list[int]:
    """The number of channels on every grid below the image's."""
    return [channels[min(i, len(channels) - 1)] for i in range(n_grids)]


def convolution(n_in: int, n_out: int, kernel_size: int, stride: int = 1) -> nn.Module:
    """A convolution with undrawn weights that keeps the size, or divides it by ``stride``, rounding up."""
    return skip_init(nn.Conv2d, n_in, n_out, kernel_size, stride=stride, padding=kernel_size // 2)


class Residual(nn.Module):
    """x + f(x) (He et al., 2016, arXiv:1603.05027)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers: nn.Sequential = nn.Sequential(nn.SiLU(), convolution(channels, channels, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, h, w) → the same shape."""
        return x + self.layers(x)


class Doubling(nn.Module):
    """A convolution and a pixel shuffle (Shi et al., 2016, arXiv:1609.05158): twice the size, cropped to ``size``."""

    def __init__(self, n_in: int, n_out: int, kernel_size: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.layers: nn.Sequential
        self.layers = nn.Sequential(nn.SiLU(), convolution(n_in, 4 * n_out, kernel_size), nn.PixelShuffle(2))
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, h, w) → (N, n_out, *size)."""
        height, width = self.size
        return self.layers(x)[..., :height, :width]


class Skip(nn.Module):
    """A skip connection from z to a grid of the decoder (Dieng et al., 2019, arXiv:1807.04863)."""

    def __init__(self, latent_dim: int, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        few = SKIP_CHANNELS
        self.layers: nn.Sequential = nn.Sequential(
            skip_init(nn.Linear, latent_dim, few * math.prod(size)),
            nn.Unflatten(1, (few, *size)),
            convolution(few, channels, 1),
        )

    def forward(self, z: Tensor) -> Tensor:
        """(N, D) → (N, channels, *size)."""
        return self.layers(z)


class ConvEncoder(nn.Module):
    """A convolutional encoder, (B, C, H, W) → (B, n_features_out).

    Parameters
    ----------
    event_shape : tuple of int
        (C, H, W), of any size.
    n_features_out : int
    channels : sequence of int
        Channels on every grid, from half the image's size downwards; the last one repeats.
    generator : torch.Generator, optional
        Draws the weights; by default a new one with PyTorch's default seed.
    n_gaps : int
        Channels of the indicators of missing entries, which a convolution without bias adds to the first grid.
    """

    def __init__(
        self,
        event_shape: tuple[int, int, int],
        n_features_out: int,
        channels: Sequence[int] = CHANNELS,
        generator: torch.Generator | None = None,
        n_gaps: int = 0,
    ) -> None:
        super().__init__()
        n_channels, height, width = event_shape
        sizes = grids(height, width)
        n = widths(channels, len(sizes) - 1)
        layers: list[nn.Module] = [convolution(n_channels, n[0], 5, stride=2), *blocks(n[0])]
        for n_in, n_out in pairwise(n):
            layers += [nn.SiLU(), convolution(n_in, n_out, 3, stride=2), *blocks(n_out)]
        top = skip_init(nn.Linear, n[-1] * math.prod(sizes[-1]), n_features_out)
        self.layers: nn.Sequential = nn.Sequential(*layers, nn.SiLU(), nn.Flatten(), top)
        draw_(self.layers, generator)
        self.gaps: nn.Module | None = None
        if n_gaps:
            self.gaps = branch(skip_init(nn.Conv2d, n_gaps, n[0], 5, stride=2, padding=2, bias=False))

    def forward(self, x: Tensor, missing: Tensor | None = None) -> Tensor:
        """Reduce to the smallest grid, and map all of that to features."""
        x = x.contiguous(memory_format=torch.channels_last)
        if missing is None or self.gaps is None:
            return self.layers(x)
        return self.layers[1:](self.layers[0](x) + self.gaps(missing.to(x.dtype)))


class ConvDecoder(nn.Module):
    """A convolutional decoder, (N, D) → (N, P, C, H, W): P parameters for every entry.

    Parameters
    ----------
    latent_dim : int
        D.
    event_shape : tuple of int
        (C, H, W), of any size.
    n_parameters : int
        P.
    channels : sequence of int
        As in `ConvEncoder`, in reverse.
    generator : torch.Generator, optional
        Draws the weights; by default a new one with PyTorch's default seed.

    Attributes
    ----------
    bias : Parameter, shape (P, C, H, W)
        Added to the output; zero until it is set from the data.
    """

    def __init__(
        self,
        latent_dim: int,
        event_shape: tuple[int, int, int],
        n_parameters: int,
        channels: Sequence[int] = CHANNELS,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        n_channels, height, width = event_shape
        sizes = grids(height, width)[::-1]
        n = widths(channels, len(sizes) - 1)[::-1]
        self.top: nn.Sequential = nn.Sequential(
            skip_init(nn.Linear, latent_dim, n[0] * math.prod(sizes[0])),
            nn.Unflatten(1, (n[0], *sizes[0])),
            *blocks(n[0]),
        )
        steps = [(n_in, n_out, size) for (n_in, n_out), size in zip(pairwise(n), sizes[1:-1], strict=True)]
        self.up: nn.ModuleList = nn.ModuleList(Doubling(n_in, n_out, 1, size) for n_in, n_out, size in steps)
        self.skip: nn.ModuleList = nn.ModuleList(Skip(latent_dim, n_out, size) for _, n_out, size in steps)
        self.mix: nn.ModuleList = nn.ModuleList(nn.Sequential(*blocks(n_out)) for _, n_out, _ in steps)
        self.out: Doubling = Doubling(n[-1], n_parameters * n_channels, 3, sizes[-1])
        draw_(self, generator)
        self.bias: nn.Parameter = nn.Parameter(torch.zeros(n_parameters, *event_shape))

    def forward(self, z: Tensor) -> Tensor:
        """Expand from the smallest grid to the image."""
        h = self.top(z)
        for up, skip, mix in zip(self.up, self.skip, self.mix, strict=True):
            h = mix(up(h) + skip(z))
        return self.out(h).unflatten(1, self.bias.shape[:2]) + self.bias


def blocks(channels: int) -> list[nn.Module]:
    """The residual blocks of one grid."""
    return [Residual(channels) for _ in range(BLOCKS)]


def draw_(module: nn.Module, generator: torch.Generator | None) -> None:
    """Draw the weights of ``module``, and store them in the fast memory format."""
    initialize_(module, generator or torch.Generator())
    module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
