"""Models that know log p(x) as a message: nothing is popped, but for the component of a mixture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lowerbound.compression.bits_back import LatentCode, pop_categories, push_categories
from lowerbound.compression.coder import Stack, rounded
from lowerbound.compression.entries import Entries
from lowerbound.core import Batch
from lowerbound.distributions.likelihoods.bernoulli import Bernoulli
from lowerbound.models.autoregressive import Autoregressive
from lowerbound.models.bernoulli_mixture import MixtureOfBernoullis
from lowerbound.models.factorized import Independent

LEAST = -100.0  # logarithm of a probability


@dataclass
class IndependentEntries(LatentCode):
    """Entries that are independent of each other."""

    has_latents = False
    model: Independent

    def encode(self, stack: Stack, batch: Batch, x: Entries, *, begins: bool) -> None:
        """Push x."""
        x.push(stack, self.model.likelihood(len(x.k)))

    def decode(self, stack: Stack, n_rows: int, context: Tensor | None, x: Entries, *, begins: bool) -> Batch:
        """Pop x."""
        x.pop(stack, self.model.likelihood(n_rows))
        return x.batch()


@dataclass
class EntryByEntry(LatentCode):
    """Entries given those before them, in raster order."""

    has_latents = False
    model: Autoregressive

    def encode(self, stack: Stack, batch: Batch, x: Entries, *, begins: bool) -> None:
        """Push the entries, the last one first."""
        for r, l, p in reversed(list(self.model.unroll(self.model.grid(batch.seen)))):
            x.push(stack, p, self.model.place(r, l))

    def decode(self, stack: Stack, n_rows: int, context: Tensor | None, x: Entries, *, begins: bool) -> Batch:
        """Pop the entries, the first one first."""
        grid = torch.zeros_like(self.model.grid(torch.zeros(x.k.shape, dtype=torch.float64)))
        for r, l, p in self.model.unroll(grid):
            at = self.model.place(r, l)
            x.pop(stack, p, at)
            grid[:, r, l] = torch.from_numpy(x.seen(at))
        return x.batch()


@dataclass
class Components(LatentCode):
    """A mixture, whose component is popped with p(k|x) and pushed with π."""

    model: MixtureOfBernoullis

    def encode(self, stack: Stack, batch: Batch, x: Entries, *, begins: bool) -> None:
        """Pop k, push x, push k."""
        r = self._responsibilities(batch)
        k = r.argmax(-1).numpy() if begins else pop_categories(stack, r)
        x.push(stack, self._given(k))
        push_categories(stack, k, self._weights(len(k)))

    def decode(self, stack: Stack, n_rows: int, context: Tensor | None, x: Entries, *, begins: bool) -> Batch:
        """Pop k, pop x, push k."""
        k = pop_categories(stack, self._weights(n_rows))
        x.pop(stack, self._given(k))
        batch = x.batch()
        if not begins:
            push_categories(stack, k, self._responsibilities(batch))
        return batch

    def _weights(self, n: int) -> Tensor:
        return self.model.log_weights.softmax(-1).expand(n, -1)

    def _responsibilities(self, batch: Batch) -> Tensor:
        return rounded(self.model.log_joint_given(batch).log_softmax(-1).clamp_min(LEAST)).softmax(-1)

    def _given(self, k: np.ndarray) -> Bernoulli:
        return self.model.likelihood_given(torch.from_numpy(k))
