"""A Gaussian prior that depends on the context."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lowerbound.distributions.gaussians import GaussianPrior
from lowerbound.models.priors.prior import LearnedPrior, PriorRequest
from lowerbound.nn.heads import LOG_SCALE_LIMIT
from lowerbound.nn.mlp import mlp
from lowerbound.precision import in_single


class ContextPrior(LearnedPrior):
    """p(z|c) = N(m(c), diag s(c)²), with m and log s a network of the context; it starts as N(0, I).

    Sohn, Lee & Yan, 2015, "Learning structured output representation using deep conditional generative models".

    Parameters
    ----------
    n_context, latent_dim : int
        C and D. Of a longer context the first C numbers are read.
    hidden_sizes : tuple of int
        () makes m and log s linear: one Gaussian for each class.
    generator : torch.Generator
        Draws the initial weights.
    """

    reads_context = True

    def __init__(
        self, n_context: int, latent_dim: int, hidden_sizes: tuple[int, ...], generator: torch.Generator
    ) -> None:
        super().__init__()
        self.n_context: int = n_context
        self.layers: nn.Sequential = mlp([n_context, *hidden_sizes, 2 * latent_dim], "relu", generator)
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)

    @classmethod
    def make(cls, asked: PriorRequest) -> ContextPrior:
        """A Gaussian over D latent variables for every context of C numbers."""
        return cls(asked.n_context, asked.latent_dim, asked.part.hidden_sizes, asked.generator)

    def forward(self, context: Tensor) -> GaussianPrior:  # pyright: ignore[reportIncompatibleMethodOverride]
        """p(z|c) of the contexts (B, C)."""
        mean, log_scale = in_single(self.layers(context[..., : self.n_context].to(next(self.parameters())))).chunk(
            2, -1
        )
        return GaussianPrior(mean, log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT))


PRIOR = ContextPrior
