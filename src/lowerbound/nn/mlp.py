"""Multilayer perceptrons for rows of any shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from lowerbound.nn.initialization import branch, linear

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
}


def mlp(sizes: Sequence[int], activation: str, generator: torch.Generator) -> nn.Sequential:
    """Linear layers of the given sizes with an activation between them; the last layer has none."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [linear(n_in, n_out, generator), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


class MLPEncoder(nn.Module):
    """An MLP encoder, (B, *event) → (B, n_features_out).

    With ``n_gaps``, indicators of missing entries (B, n_gaps) are added to the first layer by a linear layer without
    bias.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        n_features_out: int,
        hidden_layer_sizes: Sequence[int],
        activation: str,
        generator: torch.Generator,
        n_gaps: int = 0,
    ) -> None:
        super().__init__()
        sizes = [math.prod(event_shape), *hidden_layer_sizes, n_features_out]
        self.gaps: nn.Module | None = branch(skip_init(nn.Linear, n_gaps, sizes[1], bias=False)) if n_gaps else None
        self.layers: nn.Sequential = mlp(sizes, activation, generator)

    def forward(self, x: Tensor, missing: Tensor | None = None) -> Tensor:
        """Pass the flattened ``x`` through the layers."""
        if missing is None or self.gaps is None:
            return self.layers(x.flatten(1))
        first = self.layers[0](x.flatten(1)) + self.gaps(missing.flatten(1).to(x.dtype))
        return self.layers[1:](first)


class MLPDecoder(nn.Module):
    """An MLP decoder, (N, D) → (N, P, *event): P parameters for every entry."""

    def __init__(
        self,
        latent_dim: int,
        event_shape: Sequence[int],
        n_parameters: int,
        hidden_layer_sizes: Sequence[int],
        activation: str,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.output_shape: tuple[int, ...] = (n_parameters, *event_shape)
        self.layers: nn.Sequential
        self.layers = mlp([latent_dim, *hidden_layer_sizes, math.prod(self.output_shape)], activation, generator)

    @property
    def bias(self) -> Tensor:
        """The output's bias, shape (P, *event), to be set from the data."""
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        return last.bias.view(self.output_shape)

    def forward(self, z: Tensor) -> Tensor:
        """(N, D) → (N, P, *event)."""
        return self.layers(z).view(-1, *self.output_shape)
