"""The network of a chain of latent variables: what a step takes from its context and from z of the step before."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lowerbound.nn.heads import LOG_SCALE_LIMIT
from lowerbound.nn.initialization import branch, linear
from lowerbound.precision import in_single


class Transition(nn.Module):
    """(c_t, z_{t−1}) → m and log s, D numbers each, zeros at first.

    The part of c_t in the first layer is computed for all steps at once; then the steps follow one another.

    Parameters
    ----------
    n_context, latent_dim, hidden_size : int
        The numbers that are read of c_t, the first ones; D; and the hidden units.
    generator : torch.Generator
        Draws the weights.
    """

    def __init__(self, n_context: int, latent_dim: int, hidden_size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.of_context: nn.Linear = linear(n_context, hidden_size, generator)
        self.of_before: nn.Linear = linear(latent_dim, hidden_size, generator)
        self.output: nn.Module = branch(linear(hidden_size, 2 * latent_dim, generator))

    def read(self, context: Tensor) -> Tensor:
        """The first layer's part of contexts (…, C), to be given to ``forward``."""
        return self.of_context(context[..., : self.of_context.in_features])

    def forward(self, read: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """The m and log s (S, B, D) from what was read (B, ·) and z_{t−1} (S, B, D)."""
        hidden = nn.functional.silu(read + self.of_before(before))
        mean, log_scale = in_single(self.output(hidden)).chunk(2, -1)
        return mean, log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT)
