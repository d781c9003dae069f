"""VampPrior: the mixture of the encoder's posteriors at learned pseudo-inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lowerbound.core import LatentDistribution
from lowerbound.models.priors.mixture import GaussianMixture
from lowerbound.models.priors.prior import LearnedPrior, PriorRequest

EDGE = 0.02  # least distance of initial pseudo-inputs from the ends of their range, as a part of it


class VampPrior(LearnedPrior):
    """p(z) = (1/K) Σ_k q(z|u_k): the mixture of the posteriors of K learned pseudo-inputs.

    Tomczak & Welling, 2018, arXiv:1705.07120, eq. 9. Pseudo-inputs of bounded data stay within their range.

    Parameters
    ----------
    encode : callable
        x (K, *event) → q(z|x), a diagonal Gaussian: the posterior's own encoder, whose weights aren't stored twice.
    shape : tuple of int
        (K, *event), the shape of the pseudo-inputs.
    generator : torch.Generator
        Draws the pseudo-inputs, which ``start_from`` replaces by rows of data.
    highest : float, optional
        The upper bound of values, whose lower bound is 0; by default values are not bounded.
    """

    needs_encoder = True

    def __init__(
        self, encode: Callable[[Tensor], LatentDistribution], shape: Sequence[int], generator: torch.Generator,
        highest: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.encode: Callable[[Tensor], LatentDistribution]
        self.highest: float | None
        self.encode, self.highest = encode, highest
        self.raw: nn.Parameter = nn.Parameter(torch.randn(tuple(shape), generator=generator))
        self.n_starting_rows: int = shape[0]

    @classmethod
    def make(cls, asked: PriorRequest) -> VampPrior:
        """K pseudo-inputs for the model's own encoder, which has to give diagonal Gaussians."""
        if asked.is_nominal:
            raise ValueError("prior='vamp' can't be used with categories: use prior='mixture'")
        return cls(asked.encode, (asked.part.n_components, *asked.event_shape), asked.generator, asked.highest)

    @torch.no_grad()
    def start_from(self, x: Tensor) -> None:
        """Start the first pseudo-inputs from rows of data, shape (K or fewer, *event)."""
        self.raw[: len(x)] = x if self.highest is None else (x / self.highest).clamp(EDGE, 1 - EDGE).logit()

    def inputs(self) -> Tensor:
        """The pseudo-inputs u, shape (K, *event)."""
        return self.raw if self.highest is None else self.highest * self.raw.sigmoid()

    def forward(self) -> GaussianMixture:
        """The mixture of the pseudo-inputs' posteriors, with equal weights."""
        q = self.encode(self.inputs())
        log_weight = q.mean.new_full((len(q.mean),), -math.log(len(q.mean)))
        return GaussianMixture(q.mean, q.scale.log(), log_weight)


PRIOR = VampPrior
