"""The surprise of the columns of a step, given the steps before it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lowerbound.core import Batch, NoPosterior
from lowerbound.data.sequences import SequenceRows
from lowerbound.distributions.noise import Noise
from lowerbound.evaluation.defensive import Defensive
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.models.sequence import SequenceModel

N_DRAWS = 200


class Surprises(NamedTuple):
    """The surprise of N steps.

    ``nats`` (N, F) are above what is to be expected of each column, NaN where it is missing; ``x`` (S, N, F) are draws
    of the steps given what was before them, in the model's units.
    """

    nats: Tensor
    x: Tensor


def surprises(on: Evaluation, places: Tensor) -> Surprises:
    """The surprise of some steps.

    It is −log p(x_tj|x_<t) − E[−log p(x_tj|x_<t)], with p(x_tj|x_<t) = ∫ p(z|d_t) p(x_tj|d_t, z) dz. Of the values that
    were seen it is estimated by draws of p(z|d_t) and of q(z|d_t, x_t), as those of p seldom come near a value that
    surprises; of those that are expected, which are drawn, by draws of p.

    Parameters
    ----------
    on : Evaluation
        Of a ``SequenceModel`` on sequences.
    places : Tensor of int64, shape (N,)
        Of the steps among all steps of the sequences.
    """
    model, noise = on.model, on.noise.own()
    assert isinstance(model, SequenceModel)
    with on.evaluating():
        step = _steps_at(on, places)
        given = model.step.given(step.context)
        z = given.prior().rsample((N_DRAWS, len(step.x)), noise)
        p = given.likelihood(z)
        x = p.sample(noise).to(step.x.dtype)
        found = _log_p(on, step, noise)
        expected = torch.stack([_log_mean(p.log_prob(each)) for each in x]).mean(0)
    return Surprises(torch.where(step.mask, expected - found, math.nan), x)


def _log_p(on: Evaluation, step: Batch, noise: Noise) -> Tensor:
    """log p(x_tj|x_<t) of each column, (N, F), with z ~ r = ½ q(z|d_t, x_t) + ½ p(z|d_t)."""
    assert isinstance(on.model, SequenceModel)
    given, prior = on.model.step.given(step.context), on.model.step.prior_of(step)
    if isinstance(on.posterior, NoPosterior):
        return given.likelihood(given.prior().rsample((1, len(step.x)), noise)).log_prob(step.x)[0]
    r = Defensive(on.posterior(step, noise), prior, N_DRAWS // 2, N_DRAWS // 2)
    z = torch.cat(list(r.draws(N_DRAWS, noise)))
    log_p = prior.log_prob(z)
    log_w = log_p - r.log_prob(r.q.log_prob(z), log_p)
    return _log_mean(given.likelihood(z).log_prob(step.x) + log_w[..., None])


def _log_mean(log_p: Tensor) -> Tensor:
    return log_p.logsumexp(0) - math.log(len(log_p))


def _steps_at(on: Evaluation, places: Tensor) -> Batch:
    """The steps at some places, each with its context."""
    assert isinstance(on.rows, SequenceRows)
    assert isinstance(on.model, SequenceModel)
    found, first, order = [], 0, places.argsort()
    for batch in on.batches():
        steps = on.model.steps(batch).batch
        inside = places[order] - first
        inside = inside[(inside >= 0) & (inside < len(steps.x))]
        if len(inside):
            found.append(steps.subset(inside))
        first += len(steps.x)
    parts = ((b.x, b.mask, torch.zeros_like(b.mask) if b.missing is None else b.missing, b.context) for b in found)
    back = order.argsort()
    joined = (torch.cat(each) for each in zip(*parts, strict=True))
    x, mask, missing, context = (each[back.to(each.device)] for each in joined)
    return Batch(x, mask, places, complete=False, missing=missing if missing.any() else None, context=context)
