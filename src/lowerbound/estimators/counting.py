"""How many numbers a model has that were fitted to data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import nn


def count_parameters(model: Any) -> int:
    """Numbers that were fitted: weights, and what closed forms and EM keep in their place."""
    modules: list[nn.Module] = [model.model_, *([model.posterior_] if hasattr(model, "posterior_") else [])]
    weights = sum(weight.numel() for module in modules for weight in module.parameters())
    return weights + sum(_free(name, buffer.shape) for name, buffer in modules[0].named_buffers())


def _free(name: str, shape: Sequence[int]) -> int:
    """How many numbers of a buffer are free: probabilities sum to 1, and a triangle is half a square."""
    if name == "log_weights":
        return shape[0] - 1
    if name == "log_probability":
        return (shape[0] - 1) * math.prod(shape[1:])
    if name == "scale_trils":
        return shape[0] * shape[1] * (shape[1] + 1) // 2
    return math.prod(shape) if name in ("logits", "mean", "scale", "means", "scales") else 0
