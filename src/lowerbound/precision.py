"""The precision of matrix products in training: float32, tf32 or bfloat16; and torch as it is when it starts.

Only the networks' products are rounded. Weights, their gradients and moments, likelihoods and the KL stay in float32,
and so do validation and all scores. What a program has set for its own computations (the default type and device,
``no_grad``, ``inference_mode``, ``autocast``) changes nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import wraps
from inspect import isgeneratorfunction
from types import FunctionType
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


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """A context with another default type, which is torch's for all threads; then the one before."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def undisturbed(dtype: torch.dtype = torch.float32) -> ExitStack:
    """A context with torch as it is when it starts, whatever contexts it is within.

    Parameters
    ----------
    dtype : dtype
        The default type of tensors.
    """
    stack = ExitStack()
    if torch.is_inference_mode_enabled():
        stack.enter_context(torch.inference_mode(False))
    if not torch.is_grad_enabled():
        stack.enter_context(torch.enable_grad())
    for device in ("cpu", "cuda"):
        if torch.is_autocast_enabled(device):
            stack.enter_context(torch.autocast(device, enabled=False))
    if torch.get_default_dtype() != dtype:
        stack.enter_context(default_dtype(dtype))
    if torch.get_default_device().type != "cpu":
        stack.enter_context(torch.device("cpu"))
    return stack


def undisturbed_by_contexts(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function so that it computes in ``undisturbed``."""
    context = undisturbed

    def called(*args: Any, **options: Any) -> Any:
        with context():
            return method(*args, **options)

    # with the globals of the method's own module, where doctest looks for it
    return wraps(method)(FunctionType(called.__code__, method.__globals__, closure=called.__closure__))


class Undisturbed:
    """A base of classes whose public methods compute in ``undisturbed``."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, method in list(vars(cls).items()):
            if isinstance(method, FunctionType) and not name.startswith("_") and not isgeneratorfunction(method):
                setattr(cls, name, undisturbed_by_contexts(method))
