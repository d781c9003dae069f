"""The parts of the lower bound: the information that z has of x, and the gap between the bound and log p(x)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lowerbound.core import Batch, LatentDistribution
from lowerbound.distributions.noise import Noise
from lowerbound.evaluation.bound import elbo_terms, importance_weighted
from lowerbound.evaluation.estimate import Estimate, mean_over_rows
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.inference.posteriors import Amortized, Refined

AT_ONCE = 100  # rows whose q score so many z in one pass
CONTRASTS = 500  # draws of z that the one of a row is told from
NEAR_CEILING = 0.5  # nats below the most that an estimate can be

DrawRows = Callable[[Batch, Tensor, Noise], Batch]  # rows with a context c, z (1, B, D) → rows of x ~ p(x|z, c)


def mutual_information(on: Evaluation) -> Estimate:
    """I(x; z) = E[log q(z|x) − log q(z)] under q, with q(z) = (1/N) Σ_n q(z|x_n) over the rows given.

    Hoffman & Johnson, 2016, "ELBO surgery". It can't exceed log N, and lies below the information about new rows: a
    lower bound, in nats. Every z is scored under the q of every row, which takes N² evaluations of log q.
    """
    with on.evaluating():
        qs = [on.posterior(batch, on.noise) for batch in on.batches(AT_ONCE)]
        draws = [q.rsample((1,), on.noise) for q in qs]
        own = torch.cat([q.log_prob(z)[0] for q, z in zip(qs, draws, strict=True)]).double()
        z = torch.cat(draws, 1)[0]
        aggregate = torch.cat([_log_aggregate(qs, few) for few in z.split(AT_ONCE)])
    return mean_over_rows(own - aggregate, "lower")


def _log_aggregate(qs: Sequence[LatentDistribution], z: Tensor) -> Tensor:
    """log (1/N) Σ_n q(z|x_n), for z (n, D), shape (n,)."""
    each = [q.log_prob(z.unsqueeze(1).expand(-1, len(q.mean), -1)) for q in qs]
    log_q = torch.cat(each, 1).double()
    return log_q.logsumexp(1) - math.log(log_q.shape[1])


def information_given_context(on: Evaluation, drawn: DrawRows) -> Estimate:
    """I(x; z|c) of the model, E[log p(x|z, c) − log (1/K) Σ_k p(x|z_k, c)], with x ~ p(x|z, c) and z, z_k ~ p(z|c).

    The information about z in what the model draws given the context of a row; z is one of the K. It can't exceed
    log K: a lower bound, in nats (InfoNCE with the best critic: Poole et al., 2019, arXiv:1905.06922).
    """
    n_rows, found = on.rows_in_a_pass(CONTRASTS), []
    with on.evaluating():
        for batch in on.batches(n_rows):
            z = on.model.prior_of(batch).rsample((CONTRASTS, len(batch.x)), on.noise)
            own, passes = drawn(batch, z[:1], on.noise), z.split(on.rows_in_a_pass(n_rows))
            log_p = torch.cat([on.model.log_px(own, few) for few in passes]).double()
            found.append(log_p[0] - log_p.logsumexp(0) + math.log(CONTRASTS))
    return mean_over_rows(torch.cat(found), "lower", CONTRASTS)


def at_its_ceiling(value: float, n_rows: int, n_contrasts: int | None = None) -> str:
    """A sentence on an estimate of a mutual information that is near the most it can be; "" where it isn't.

    Parameters
    ----------
    value : float
        In nats.
    n_rows : int
        Rows that z was told from.
    n_contrasts : int, optional
        Draws of z that each was told from, given a context.
    """
    ceiling, told_from = math.log(n_contrasts or n_rows), f"{n_rows:,} rows"
    if n_contrasts:
        told_from = f"{n_contrasts:,} draws of z"
    return f"{told_from} can't show more than {ceiling:.2f}" if value > ceiling - NEAR_CEILING else ""


@dataclass(frozen=True)
class InferenceGap:
    """log p(x) − ELBO and its two parts, means over rows in nats.

    Attributes
    ----------
    total : Estimate
        log p(x), by importance sampling from the refined q, less the ELBO of the encoder's q.
    approximation : Estimate
        log p(x) less the ELBO of the best q of its family for each row: what the family can't express.
    amortization : Estimate
        The ELBO of that q less the encoder's: the error of the encoder.
    log_likelihood : Estimate
    """

    total: Estimate
    approximation: Estimate
    amortization: Estimate
    log_likelihood: Estimate


def inference_gap(on: Evaluation, n_steps: int, n_samples: int, n_importance: int) -> InferenceGap:
    """Refine q for each row, and see how much of the gap closes (Cremer, Li & Duvenaud, 2018, arXiv:1801.03558).

    A family is what q can be for any features of a row. Those of a Gaussian are its parameters; of several levels and
    of a flow they are the inputs of its networks, so there the networks' limits count as approximation.

    Parameters
    ----------
    n_steps : int
        Of the climb of each row's bound.
    n_samples : int
        For each ELBO.
    n_importance : int
        For log p(x).

    Raises
    ------
    ValueError
        If q doesn't come from an encoder.
    """
    if not isinstance(on.posterior, Amortized):
        raise ValueError("the gap is split for a q that comes from an encoder: inference='amortized'")
    refined = on.under(Refined(on.posterior, on.model.draw, n_steps))
    amortized, best = (elbo_terms(each, n_samples).elbo for each in (on, refined))
    log_p, ess = importance_weighted(refined, n_importance)
    return InferenceGap(
        total=mean_over_rows(log_p - amortized, "lower"),
        approximation=mean_over_rows(log_p - best, "estimate"),
        amortization=mean_over_rows(best - amortized, "lower"),
        log_likelihood=mean_over_rows(log_p, "lower", n_importance, ess.mean().item()),
    )
