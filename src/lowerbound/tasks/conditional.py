"""Filling gaps: the missing entries of a row given the observed ones, x_m ~ p(x_m|x_o).

Models that know this distribution say it themselves (``conditional_mean``, ``conditional_sample``); for others it is

    p(x_m|x_o) = ∫ p(x_m|z) p(z|x_o) dz ≈ Σ_k w_k p(x_m|z_k),   z_k ~ r(z),   w_k ∝ p(x_o|z_k) p(z_k)/r(z_k),

with r(z) = .9 q(z|x_o) + .1 p(z) (``Defensive``): self-normalized importance sampling (Rubin, 1987; Mattei &
Frellsen, 2019, arXiv:1812.02633, eqs. 10–12), the weighted mean of E[x|z_k], or draws of x from p(x|z_k) with z_k drawn
by weight. With a model of what hides, p(x_o|z) and p(x_m|z) are those given which entries are missing. Samples are
streamed, so that memory doesn't grow with their number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from lowerbound.core import Batch, NoPosterior
from lowerbound.distributions.likelihoods.likelihood import Likelihood
from lowerbound.distributions.noise import Noise
from lowerbound.evaluation.bound import RunningLogMeanExp
from lowerbound.evaluation.defensive import Defensive
from lowerbound.evaluation.evaluation import EVALUATION_BATCH, PASS_ELEMENTS, Evaluation


@runtime_checkable
class Completable(Protocol):
    """A model that knows p(x_m|x_o)."""

    def conditional_mean(self, batch: Batch) -> Tensor: ...  # noqa: D102
    def conditional_sample(self, batch: Batch, n: int, noise: Noise) -> Tensor: ...  # noqa: D102


class Filled(NamedTuple):
    """Rows without gaps, and how sure their weights are.

    ``x`` (N, *event), or (m, N, *event) for m draws; ``ess`` (N,) effective number of importance samples,
    (Σ w)²/Σ w², or None where nothing was sampled.
    """

    x: Tensor
    ess: Tensor | None


def expected(on: Evaluation, n_importance: int = 1000) -> Filled:
    """E[x_m|x_o] in the gaps; for categories the most probable one.

    Parameters
    ----------
    on : Evaluation
        Its q(z|x_o) makes the proposal, which models that are ``Completable`` don't need; with noise that all rows
        share, a row's result doesn't depend on the others.
    n_importance : int
        K.
    """
    with on.evaluating():
        if isinstance(on.model, Completable):
            return Filled(torch.cat([on.model.conditional_mean(batch) for batch in _batches(on)]), None)
        parts = [_expected(on, batch, n_importance) for batch in _batches(on)]
    x, ess = (torch.cat(part) for part in zip(*parts, strict=True))
    return Filled(x, ess)


def drawn(on: Evaluation, n_draws: int, n_importance: int = 1000) -> Filled:
    """``n_draws`` draws from p(x_m|x_o) in the gaps of every row, independent given the weights.

    Sampling-importance-resampling (Rubin, 1987): z_k by weight, then x from p(x|z_k). The ``n_draws`` latent vectors
    are kept in a reservoir while samples stream by, so that each ends as z_k with probability w_k/Σ w.
    """
    with on.evaluating():
        if isinstance(on.model, Completable):
            noise = on.noise.own()
            draws = [on.model.conditional_sample(batch, n_draws, noise) for batch in _batches(on, n_draws)]
            return Filled(torch.cat(draws, 1), None)
        parts = [_drawn(on, batch, n_draws, n_importance) for batch in _batches(on, n_draws)]
    x, ess = zip(*parts, strict=True)
    return Filled(torch.cat(x, 1), torch.cat(ess))


class _Pass(NamedTuple):
    """Some of the samples: z (S, B, D), p(x_m|x_o, z), and log w (S, B) up to a constant for each row."""

    z: Tensor
    p: Likelihood
    log_w: Tensor


def _passes(on: Evaluation, proposal: Defensive, batch: Batch, n_draws: int = 1) -> Iterator[_Pass]:
    """The samples of z in parts, whose size depends on a full batch alone.

    So a row gets its noise in the same pieces, however few other rows there are.
    """
    entries = max(1, batch.x[0].numel())
    size = max(1, PASS_ELEMENTS // (_rows_at_once(entries, n_draws) * entries))
    for z in proposal.draws(size, on.noise):
        log_px, p = on.model.log_px_and_missing(batch, z)
        log_p = on.model.prior_of(batch).log_prob(z)
        yield _Pass(z, p, (log_px + log_p - proposal.log_prob(proposal.q.log_prob(z), log_p)).double())


def _expected(on: Evaluation, batch: Batch, n_importance: int) -> tuple[Tensor, Tensor]:
    weights, p = RunningLogMeanExp(len(batch.x), batch.x.device), None
    means: list[Tensor] = []
    for _, p, log_w in _passes(on, _proposal(on, batch, n_importance), batch):
        share, w = weights.add(log_w), log_w.softmax(0)
        new = [(_over_event(w, v.ndim).to(v.dtype) * v).sum(0) for v in p.averages()]
        olds = means or [torch.zeros_like(m) for m in new]
        means = [o + _over_event(share, m.ndim).to(m.dtype) * (m - o) for o, m in zip(olds, new, strict=True)]
    assert p is not None
    return torch.where(batch.mask, batch.x, p.from_averages(means).to(batch.x.dtype)), weights.ess


def _drawn(on: Evaluation, batch: Batch, n_draws: int, n_importance: int) -> tuple[Tensor, Tensor]:
    proposal = _proposal(on, batch, n_importance)
    mean = proposal.q.mean
    weights, kept = RunningLogMeanExp(len(batch.x), batch.x.device), mean.expand(n_draws, *mean.shape)
    for z, _, log_w in _passes(on, proposal, batch, n_draws):
        part = weights.add(log_w)
        candidates = z.gather(0, _by_weight(log_w, n_draws, on.noise).unsqueeze(-1).expand(-1, -1, z.shape[-1]))
        taken = on.noise.uniform((n_draws, len(part)), part) < part
        kept = torch.where(taken.unsqueeze(-1), candidates, kept)
    x = on.model.draw_missing(batch, kept, on.noise)
    return torch.where(batch.mask, batch.x, x.to(batch.x.dtype)), weights.ess


def _by_weight(log_w: Tensor, n: int, noise: Noise) -> Tensor:
    """k with probability w_k/Σ w, ``n`` times for every row, shape (n, B)."""
    cumulative = log_w.softmax(0).cumsum(0).T.contiguous()  # (B, S)
    u = noise.uniform((n, len(cumulative)), cumulative) * cumulative[:, -1]
    return torch.searchsorted(cumulative, u.T.contiguous(), right=True).clamp_max(len(log_w) - 1).T


def _over_event(weight: Tensor, ndim: int) -> Tensor:
    """(*, B) with dimensions for the event, to stand beside a tensor of ``ndim``."""
    return weight.view(*weight.shape, *[1] * (ndim - weight.ndim))


def _batches(on: Evaluation, n_draws: int = 1) -> Iterator[Batch]:
    return on.batches(_rows_at_once(max(1, math.prod(on.rows.event_shape)), n_draws))


def _rows_at_once(entries: int, n_draws: int) -> int:
    return max(1, min(EVALUATION_BATCH, PASS_ELEMENTS // (entries * n_draws)))


def _proposal(on: Evaluation, batch: Batch, n_importance: int) -> Defensive:
    if isinstance(on.posterior, NoPosterior):
        kind = type(on.model).__name__
        raise TypeError(f"{kind} neither knows p(x_m|x_o) nor has a posterior q(z|x) to sample from")
    return Defensive.around(on.posterior(batch, on.noise), on, batch, n_importance)
