"""In what precision a training step multiplies: float32, tf32 or bfloat16.

The networks' products alone are rounded. Weights, their gradients and moments, likelihoods and the KL stay in float32,
and so does everything that is not training: validation and every score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any

import torch


def products_in(precision: str, device: torch.device) -> AbstractContextManager:
    """Where the forward pass of a network multiplies in bfloat16 (Micikevicius et al., 2018, arXiv:1710.03740)."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


@contextmanager
def tensor_cores(precision: str, device: torch.device) -> Iterator[None]:
    """Where a GPU may round the factors of float32 products to tf32; torch's own setting comes back afterwards."""
    if precision != "tf32":
        yield
        return
    if device.type != "cuda":
        raise ValueError(f"precision='tf32' is for GPUs, and this is {device}: use 'float32' or 'bfloat16'")
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def in_single(raw: torch.Tensor) -> torch.Tensor:
    """What a network gives, in float32 where it comes in bfloat16: from here on it is a parameter of a density."""
    return raw.float() if raw.dtype is torch.bfloat16 else raw


def in_full(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method that is given a tensor first multiply in that tensor's type wherever it is called."""

    @wraps(method)
    def exact(self, first: torch.Tensor, *rest: Any) -> Any:
        with torch.autocast(first.device.type, enabled=False):
            return method(self, first, *rest)

    return exact
