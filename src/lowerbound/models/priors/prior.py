"""The interface of a learned prior, and the request that it is made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lowerbound.core import LatentDistribution, Prior


@dataclass(frozen=True)
class PriorRequest:
    """A model that asks for a prior.

    Attributes
    ----------
    latent_dim : int
        D.
    part : Prior
        The part that was asked for.
    generator : torch.Generator
        Draws the initial weights.
    encode : callable
        x (B, *event) → q(z|x), the posterior's own encoder.
    event_shape : tuple of int
    is_nominal : bool
        Some entries of x are categories.
    n_context : int
        C, numbers of the context that the model is given.
    highest : float or None
        The upper bound of values whose lower bound is 0; None for unbounded ones.
    """

    latent_dim: int
    part: Any
    generator: torch.Generator
    encode: Callable[[Tensor], LatentDistribution]
    event_shape: tuple[int, ...]
    is_nominal: bool
    n_context: int
    highest: float | None


class LearnedPrior(nn.Module):
    """p(z) with parameters: ``forward()`` gives the distribution; a file of this folder has one, named ``PRIOR``.

    Attributes
    ----------
    reads_context : bool
        It is p(z|c): ``forward`` takes the context.
    needs_encoder : bool
        It is made of the encoder, so q(z|x) must come from one.
    n_starting_rows : int
        Rows of data that ``start_from`` asks for, 0 for none.
    """

    reads_context = False
    needs_encoder = False
    n_starting_rows = 0

    @classmethod
    def make(cls, asked: PriorRequest) -> LearnedPrior:
        """The prior of a model; raises ``ValueError`` where the model can't have it."""
        raise NotImplementedError(f"{cls.__name__} does not say how it is made")

    def forward(self) -> Prior:
        """p(z) at the present parameters."""
        raise NotImplementedError(f"{type(self).__name__} does not define p(z)")

    def start_from(self, x: Tensor) -> None:
        """Start from rows of data, shape (``n_starting_rows`` or fewer, *event)."""
        raise NotImplementedError(f"{type(self).__name__} does not start from data")
