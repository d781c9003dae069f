"""Atoms: values of a column of real numbers that have probabilities of their own, beside the density of all others.

The entry of x for the k-th atom of a column is ``FIRST`` − k, a number that no standardized value has.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

FIRST = -1000.0
MOST = 1024  # atoms of a column

Array = TypeVar("Array", np.ndarray, Tensor)


def is_atom(x: Array) -> Array:
    """True for entries of x that stand for atoms, same shape."""
    return (x <= FIRST) & (x > FIRST - MOST) & (x == x.round())  # pyright: ignore[reportReturnType]


def place_of(x: Array) -> Array:
    """k of the entries that are atoms, 0 of all others, same shape."""
    where = torch.where if isinstance(x, Tensor) else np.where
    return where(is_atom(x), FIRST - x, 0.0)  # type: ignore[call-overload,return-value]


def value_of(x: Tensor, atoms: Tensor) -> Tensor:
    """The atoms that entries stand for, of those of each column (n, M); any where an entry is none, shape of ``x``."""
    k = place_of(x).long().clamp_max(atoms.shape[-1] - 1).unsqueeze(-1)
    return atoms.expand(*x.shape, -1).gather(-1, k).squeeze(-1)
