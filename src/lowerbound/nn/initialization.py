"""Layers whose weights are drawn from a generator that is passed in."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.utils import skip_init


def initialize_(module: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights of linear and convolutional layers from U(±1/√fan_in) and set their biases to zero.

    The bound is PyTorch's own (He et al., 2015, arXiv:1502.01852, with a = √5).
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd)):
            bound = 1 / math.sqrt(nn.init._calculate_correct_fan(layer.weight, "fan_in"))
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def branch(layer: nn.Module) -> nn.Module:
    """Set the weights of a linear or convolutional layer without bias to zero, so that it adds nothing at first."""
    nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
    return layer


def linear(n_in: int, n_out: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with weights drawn from ``generator``."""
    layer = skip_init(nn.Linear, n_in, n_out)
    assert isinstance(layer, nn.Linear)
    initialize_(layer, generator)
    return layer
