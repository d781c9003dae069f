"""A proposal for importance sampling that misses nothing: most draws from q(z|x), a tenth from p(z)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lowerbound.core import Batch, LatentDistribution, NoPosterior, Prior
from lowerbound.distributions.noise import Noise
from lowerbound.evaluation.evaluation import Evaluation

ONE_IN = 10  # draws of a row is from p(z)


@dataclass(frozen=True)
class Defensive:
    """r(z) = (1 − α) q(z|x) + α p(z), of whose K draws αK are from p(z) and the others from q(z|x).

    A defensive mixture (Hesterberg, 1995) with its draws in strata (Owen & Zhou, 2000): the mean of p(x, z)/r(z) is
    p(x), as it is for draws from q, but no weight exceeds p(x|z)/α. Where q has missed a mode of p(z|x), a few draws
    of p(z) that find it have large weights, and the effective number of samples says so. Where q is good, this costs
    a tenth of the draws. α is a tenth, rounded down to whole draws: fewer than ten are all from q.

    Attributes
    ----------
    q : LatentDistribution
    prior : Prior
        p(z).
    n_of_q, n_of_prior : int
        Draws of each.
    """

    q: LatentDistribution
    prior: Prior | None
    n_of_q: int
    n_of_prior: int

    @classmethod
    def around(cls, q: LatentDistribution, on: Evaluation, batch: Batch, n: int) -> Defensive:
        """The proposal for ``n`` draws a row; a model without latent variables has nothing to miss."""
        if isinstance(on.posterior, NoPosterior) or n < ONE_IN:
            return cls(q, None, n, 0)
        return cls(q, q.prior or on.model.prior_of(batch), n - n // ONE_IN, n // ONE_IN)

    def draws(self, size: int, noise: Noise) -> Iterator[Tensor]:
        """All draws, those of q first, at most ``size`` at a time, (S, B, D)."""
        for n in _pieces(self.n_of_q, size):
            yield self.q.rsample((n,), noise)
        for n in _pieces(self.n_of_prior, size):
            assert self.prior is not None
            yield self.prior.rsample((n, len(self.q.mean)), noise)

    def log_prob(self, log_q: Tensor, log_p: Tensor) -> Tensor:
        """log r(z), from log q(z|x) and log p(z), shape (S, B) each."""
        if self.n_of_prior == 0:
            return log_q
        n = self.n_of_q + self.n_of_prior
        return torch.logaddexp(log_q + math.log(self.n_of_q / n), log_p + math.log(self.n_of_prior / n))


def _pieces(n: int, size: int) -> Iterator[int]:
    """Sizes of the parts of n, all but the last ``size``."""
    return (min(size, n - first) for first in range(0, n, size))
