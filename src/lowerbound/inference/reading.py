"""A posterior whose context is read by a network of the model."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from lowerbound.core import Batch, LatentDistribution, Posterior
from lowerbound.distributions.noise import Noise


class ReadingContext(Posterior):
    """q(z|x, c) by a posterior that takes the features of c.

    Parameters
    ----------
    posterior : Posterior
    read : callable
        ``model.read``: the features of a context; what is read already comes back as it is.
    """

    def __init__(self, posterior: Posterior, read: Callable[[Tensor | None], Tensor | None]) -> None:
        super().__init__()
        self.posterior: Posterior
        self.posterior, self.read = posterior, read

    def forward(self, batch: Batch, noise: Noise | None = None) -> LatentDistribution:
        """q(z|x, c) for the rows of a batch."""
        return self.posterior(batch.with_context(self.read(batch.context)), noise)
