"""Independent features in the words of a model's own likelihood: what a model of dependence has to beat."""

from __future__ import annotations

import torch
from torch import Tensor

from lowerbound.assembly.vae import choose_likelihood_head, log_unit_of, output_bias
from lowerbound.data.batches import Rows
from lowerbound.data.schema import Schema
from lowerbound.distributions.likelihoods.likelihood import event_sum
from lowerbound.distributions.noise import Noise
from lowerbound.parameters.likelihoods import GaussianLikelihood, Likelihood


@torch.no_grad()
def independent_log_prob(
    schema: Schema, likelihood: Likelihood | str, rows: Rows, noise: Noise, batch_size: int
) -> Tensor:
    """log p(x) of every row under Π_j p(x_j; θ_j), in nats and the user's units, float64, shape (N,).

    θ is where a decoder starts: each feature's own distribution among the rows that were fitted.

    Parameters
    ----------
    schema : Schema
        Of the rows that were fitted.
    likelihood : Likelihood or str
        A part, or "auto".
    rows : Rows
    noise : Noise
        For binarizations.
    batch_size : int
        Rows at a time.
    """
    head = choose_likelihood_head(schema, likelihood).to(rows.device)
    raw = output_bias(schema, head)[None, None].to(rows.device)
    unit = log_unit_of(schema)
    masks = isinstance(likelihood, GaussianLikelihood) and likelihood.missingness is not None
    parts = []
    for batch in rows.batches(batch_size, noise):
        p = head(raw.expand(1, len(batch.x), *raw.shape[2:]))
        log_p = event_sum(p.log_prob(batch.x), batch.mask)[0]
        if unit is not None:
            log_p = log_p - event_sum(unit.to(rows.device), batch.mask)
        if masks and batch.missing is not None:
            rate = batch.missing.float().mean(0).clamp(1e-3, 1 - 1e-3)
            log_ps = torch.where(batch.missing, rate.log(), torch.log1p(-rate))
            log_p = log_p + event_sum(log_ps, batch.mask | batch.missing)
        parts.append(log_p.double().cpu())
    return torch.cat(parts)
