"""The precision of matrix products in training: float32, tf32 or bfloat16.

Only the networks' products are rounded. Weights, their gradients and moments, likelihoods and the KL stay in float32,
and so do validation and all scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any

import torch


def products_in(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """A context with matrix products in bfloat16, if asked for (Micikevicius et al., 2018, arXiv:1710.03740)."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


@contextmanager
def tensor_cores(precision: str, device: torch.device) -> Iterator[None]:
    """A context in which a GPU rounds factors of float32 products to tf32, if asked for; then torch's setting again."""
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
    """The output of a network, converted from bfloat16 to float32 for a density."""
    return raw.float() if raw.dtype is torch.bfloat16 else raw


def in_full(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a method so that it multiplies in the type of its first tensor, without autocast."""

    @wraps(method)
    def exact(self, first: torch.Tensor, *rest: Any) -> Any:
        with torch.autocast(first.device.type, enabled=False):
            return method(self, first, *rest)

    return exact
