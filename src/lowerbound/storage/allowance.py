"""Modules that are built to be filled with saved tensors, and take no more memory and time than these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

SIZED = {
    torch.arange,
    torch.empty,
    torch.empty_strided,
    torch.eye,
    torch.full,
    torch.linspace,
    torch.logspace,
    torch.ones,
    torch.rand,
    torch.randint,
    torch.randn,
    torch.randperm,
    torch.tril_indices,
    torch.triu_indices,
    torch.zeros,
    Tensor.expand,
    Tensor.new_empty,
    Tensor.new_full,
    Tensor.new_ones,
    Tensor.new_zeros,
    Tensor.repeat,
    torch.tile,
}  # functions of torch whose result is as large as numbers say
DRAWN = {Tensor.uniform_, Tensor.normal_, nn.init.kaiming_uniform_}  # weights, which are about to be overwritten
LARGEST, ALL = 2**20, 2**24  # elements of one tensor, and of all, that any module may have while it is built
MANY, FEW = 16, 256  # tensors that are made for each one that is saved, and besides


class TooLarge(ValueError):
    """The module that is built is larger than the tensors that are to fill it."""


class Allowance(TorchFunctionMode):
    """Refuses, before memory is taken, to make tensors that are larger or more than saved ones warrant.

    The size of each is found on the meta device, which holds no values. A module that is to be filled with these
    tensors needs none that is larger, and a few for each: temporary ones, and those that are computed and not saved.
    Its first weights aren't drawn.

    Parameters
    ----------
    tensors : mapping of Tensor
        The saved ones.

    Raises
    ------
    TooLarge
        In the ``with`` block.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        n_elements = elements(tensors)
        self.largest: int = n_elements + LARGEST
        self.left: int = MANY * n_elements + ALL
        self.n_left: int = MANY * len(tensors) + FEW

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, if the tensor that it makes is allowed."""
        kwargs = kwargs or {}
        if func in DRAWN:
            return args[0] if args else kwargs["tensor"]
        if func in SIZED:
            self._take(_on_meta(func, args, kwargs).numel())
        return func(*args, **kwargs)

    def _take(self, size: int) -> None:
        self.left -= size
        self.n_left -= 1
        if size > self.largest or self.left < 0 or self.n_left < 0:
            raise TooLarge("a model of this size has larger weights, or more of them")


def _on_meta(func: Callable, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The tensor that a function makes, without its values."""
    if args and isinstance(args[0], Tensor):
        return func(args[0].to("meta"), *args[1:], **kwargs)
    return func(*args, **{name: value for name, value in kwargs.items() if name != "generator"} | {"device": "meta"})


def elements(tensors: Mapping[str, Tensor]) -> int:
    """The elements of all tensors together."""
    return sum(tensor.numel() for tensor in tensors.values())
