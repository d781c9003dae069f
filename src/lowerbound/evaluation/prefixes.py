"""log p(x_1, …, x_t) of every t for sequences with one z each, by the same draws of z.

Draws from q(z|x) serve the whole sequence, and are too narrow for p(z | x_1, …, x_t): so some are from q of the first
half, the first quarter and so on of each sequence, and a tenth from p(z). All of them together are draws from a
mixture r(z), in strata (Owen & Zhou, 2000), and the mean of p(z)/r(z) Π_{s≤t} p(x_s|d_s, z) is p(x_1, …, x_t).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lowerbound.core import Batch, LatentDistribution, Prior
from lowerbound.distributions.noise import Noise
from lowerbound.evaluation.bound import RunningLogMeanExp
from lowerbound.evaluation.defensive import ONE_IN
from lowerbound.evaluation.evaluation import EVALUATION_BATCH, PASS_ELEMENTS, Evaluation
from lowerbound.models.sequence import Steps
from lowerbound.models.whole_sequence import WholeSequenceModel

N_PREFIXES = 8  # as many for every sequence, so that its draws depend on it alone
SHARE = 0.4  # of the draws, for all of them together


@dataclass(frozen=True)
class PrefixProposal:
    """r(z), the mixture of q(z|x), p(z) and q of the beginnings of x.

    Attributes
    ----------
    q : LatentDistribution
    prior : Prior
    beginnings : list of LatentDistribution
    n_of_q, n_of_prior, n_of_each : int
        Draws of each.
    """

    q: LatentDistribution
    prior: Prior
    beginnings: list[LatentDistribution]
    n_of_q: int
    n_of_prior: int
    n_of_each: int

    @classmethod
    def around(cls, on: Evaluation, batch: Batch, n: int) -> PrefixProposal:
        """The proposal for ``n`` draws for each sequence of a batch; few are all from q."""
        posterior: Any = on.posterior
        n_of_each, n_of_prior = int(SHARE * n) // N_PREFIXES, n // ONE_IN
        beginnings = posterior.of_prefixes(batch, N_PREFIXES) if n_of_each else []
        n_of_q = n - n_of_prior - n_of_each * len(beginnings)
        return cls(posterior(batch, on.noise), on.model.prior(), beginnings, n_of_q, n_of_prior, n_of_each)

    def draws(self, noise: Noise) -> Tensor:
        """All draws, (K, B, D)."""
        of_prior = self.prior.rsample((self.n_of_prior, len(self.q.mean)), noise)
        of_beginnings = (q.rsample((self.n_of_each,), noise) for q in self.beginnings)
        return torch.cat([self.q.rsample((self.n_of_q,), noise), of_prior, *of_beginnings])

    def log_prob(self, z: Tensor) -> Tensor:
        """log r(z), (K, B)."""
        parts = [(self.q, self.n_of_q), (self.prior, self.n_of_prior), *((q, self.n_of_each) for q in self.beginnings)]
        return torch.stack([p.log_prob(z) + math.log(n / len(z)) for p, n in parts if n]).logsumexp(0)


def prefix_scores(on: Evaluation, n_importance: int) -> Iterator[tuple[Steps, Tensor, Tensor]]:
    """log p(x_t|x_<t) and the effective number of samples of x_1, …, x_t, (N,) each, of some sequences at a time.

    Parameters
    ----------
    on : Evaluation
        Of a ``WholeSequenceModel`` on sequences.
    n_importance : int
        K.
    """
    if n_importance < 1:
        raise ValueError(f"n_importance must be at least 1, got {n_importance}")
    model = on.model
    assert isinstance(model, WholeSequenceModel)
    width = max(model.past.hidden_size, math.prod(on.rows.event_shape[1:]))
    n_rows = max(1, min(EVALUATION_BATCH, PASS_ELEMENTS // (width * on.rows.event_shape[0])))
    for batch in on.batches(n_rows):
        with on.evaluating():
            yield _of_batch(on, model, batch, n_importance, width)


def _of_batch(
    on: Evaluation, model: WholeSequenceModel, batch: Batch, K: int, width: int
) -> tuple[Steps, Tensor, Tensor]:
    steps, proposal = model.steps(batch), PrefixProposal.around(on, batch, K)
    z = proposal.draws(on.noise)  # at once: how they are decoded in parts doesn't matter
    log_w = (model.prior().log_prob(z) - proposal.log_prob(z)).double()
    at, total = (steps.row, steps.time), RunningLogMeanExp(len(steps.row), batch.x.device)
    size = max(1, PASS_ELEMENTS // (width * len(steps.row)))
    for some, log_w_of_some in zip(z.split(size), log_w.split(size), strict=True):
        of_steps = model.log_p_of_steps(steps, some).double()
        total.add(steps.padded(of_steps.mT).cumsum(1)[at].mT + log_w_of_some[:, steps.row])
    up_to, ess = (each.to(batch.x.device) for each in total.result())
    before = F.pad(steps.padded(up_to[:, None]), (0, 0, 1, 0))[at].squeeze(-1)
    return steps, up_to - before, ess
