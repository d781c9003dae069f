"""Where the lower bound's nats go: what z says of x, and what stands between the bound and log p(x)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lowerbound.core import Model
from lowerbound.data.batches import Rows
from lowerbound.distributions import DiagonalGaussian, Noise
from lowerbound.evaluate import EVALUATION_BATCH, Estimate, accounts, evaluating, importance_weighted, mean_over_rows
from lowerbound.inference.posteriors import Amortized, Refined
from lowerbound.models.priors import GaussianMixture


def mutual_information(posterior: nn.Module, data: Rows, noise: Noise) -> Estimate | None:
    """I(x; z) = E[log q(z|x) − log q(z)] under q, with q(z) = (1/N) Σ_n q(z|x_n) over the rows given.

    Hoffman & Johnson, 2016, "ELBO surgery". It can't exceed log N, and lies below the information about new rows: a
    lower bound, in nats. None where q(z|x) is no Gaussian with a diagonal covariance.
    """
    means, log_scales, draws, log_q = [], [], [], []
    with evaluating(posterior):
        for batch in data.batches(EVALUATION_BATCH, noise):
            q = posterior(batch, noise)
            if not isinstance(q, DiagonalGaussian):
                return None
            z = q.rsample((1,), noise)
            means.append(q.mean.double())
            log_scales.append(q.log_scale.expand_as(q.mean).double())
            draws.append(z.double())
            log_q.append(q.log_prob(z)[0].double())
        mean = torch.cat(means)
        weight = mean.new_full((len(mean),), -math.log(len(mean)))
        aggregate = GaussianMixture(mean, torch.cat(log_scales), weight)
        log_aggregate = torch.cat([aggregate.log_prob(z)[0] for z in draws])
    return mean_over_rows(torch.cat(log_q) - log_aggregate, "lower")


@dataclass(frozen=True)
class Gap:
    """log p(x) − ELBO and its two parts, means over rows in nats.

    Attributes
    ----------
    total : Estimate
        log p(x), by importance sampling from the refined q, less the ELBO of the encoder's q.
    approximation : Estimate
        log p(x) less the ELBO of the best Gaussian for each row: what the family of q can't express.
    amortization : Estimate
        The ELBO of that Gaussian less the encoder's: what the encoder misses.
    log_likelihood : Estimate
    """

    total: Estimate
    approximation: Estimate
    amortization: Estimate
    log_likelihood: Estimate


def split_gap(
    model: Model, posterior: nn.Module, data: Rows, noise: Noise, n_steps: int, n_samples: int, n_importance: int
) -> Gap:
    """Refine q for each row, and see how much of the gap closes (Cremer, Li & Duvenaud, 2018, arXiv:1801.03558).

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
        If q doesn't come from an encoder, or is no Gaussian with a diagonal covariance.
    """
    first = next(data.batches(1, noise))
    if not isinstance(posterior, Amortized) or not isinstance(posterior(first, noise), DiagonalGaussian):
        raise ValueError("the gap is split for an encoder's q with a diagonal covariance, on one level")
    refined = Refined(posterior, model.draw, n_steps)
    amortized, best = (_elbo(model, q, data, noise, n_samples) for q in (posterior, refined))
    log_p, ess = importance_weighted(model, refined, data, noise, n_importance)
    return Gap(
        total=mean_over_rows(log_p - amortized, "lower"),
        approximation=mean_over_rows(log_p - best, "estimate"),
        amortization=mean_over_rows(best - amortized, "lower"),
        log_likelihood=mean_over_rows(log_p, "lower", n_importance, ess.mean().item()),
    )


def _elbo(model: Model, posterior: nn.Module, data: Rows, noise: Noise, n_samples: int) -> Tensor:
    return accounts(model, posterior, data, noise, n_samples).elbo
