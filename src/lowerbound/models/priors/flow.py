"""A prior by a coupling flow."""

from __future__ import annotations

import torch

from lowerbound.distributions.gaussians import StandardNormal
from lowerbound.models.priors.prior import LearnedPrior, PriorRequest
from lowerbound.nn.flows import CouplingFlow, Pushforward


class FlowPrior(LearnedPrior):
    """p(z), the distribution of f⁻¹(ε) with ε ~ N(0, I) and f a coupling flow; it starts as N(0, I).

    Parameters
    ----------
    latent_dim : int
        D.
    generator : torch.Generator
        Draws the initial weights.
    """

    def __init__(self, latent_dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.latent_dim: int
        self.flow: CouplingFlow
        self.latent_dim, self.flow = latent_dim, CouplingFlow(latent_dim, 0, generator)

    @classmethod
    def make(cls, asked: PriorRequest) -> FlowPrior:
        """A flow over D latent variables."""
        return cls(asked.latent_dim, asked.generator)

    def forward(self) -> Pushforward:
        """p(z) at the present parameters."""
        return Pushforward(StandardNormal(self.latent_dim, next(self.flow.parameters())), self.flow())


PRIOR = FlowPrior
