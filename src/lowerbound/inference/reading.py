"""Posteriors of what a recurrent network has read: a context, or a whole sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lowerbound.core import Batch, LatentDistribution, Posterior
from lowerbound.distributions.noise import Noise
from lowerbound.inference.posteriors import FeaturePosterior
from lowerbound.nn.heads import GaussianHead
from lowerbound.nn.recurrent import largest_and_last
from lowerbound.nn.sequence import SequenceReader, within


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


class ReadingSequence(FeaturePosterior):
    """q(z|x) = N(μ, diag σ²) of whole sequences, with μ and log σ a linear function of what a network has read of x.

    Parameters
    ----------
    reader : SequenceReader
        A batch of B sequences → features (B, V).
    layer : Linear
        V → 2D.
    head : GaussianHead
    """

    def __init__(self, reader: SequenceReader, layer: nn.Linear, head: GaussianHead) -> None:
        super().__init__()
        self.reader: SequenceReader
        self.layer: nn.Linear
        self.reader, self.layer, self.head = reader, layer, head

    def features(self, batch: Batch) -> Sequence[Tensor]:
        """μ and log σ, (B, 2D)."""
        return [self.layer(self.reader(batch))]

    def given(self, features: Sequence[Tensor], batch: Batch) -> LatentDistribution:
        """q(z|x); p(z) for sequences of which nothing was observed."""
        return self.prior_where_unobserved(self.head(*features), batch)

    def of_prefixes(self, batch: Batch, n: int) -> list[LatentDistribution]:
        """q(z | x_1, …, x_t) for t = ⌈T/2⌉, ⌈T/4⌉, …, ⌈T/2ⁿ⌉, T being the length of each sequence."""
        states, inside = self.reader.states(batch), within(batch)
        time, T = torch.arange(inside.shape[1], device=inside.device), inside.sum(1, keepdim=True)
        first = [time < (T / 2**j).ceil() for j in range(1, n + 1)]
        return [self.head(self.layer(largest_and_last(states, each))) for each in first]
