"""Scores of unusual rows and entries: a few lines over prior, p(x|z) and posterior.

Everything is in nats, higher is more unusual; where rows share their noise, a row's numbers depend on that row alone.
What each score is blind to:

- KL(q(z|x) ‖ p(z)): rows off the manifold, whose codes are ordinary;
- −E_q log p(x|z): rows that are coded far from the prior and rebuilt well;
- their sum −ELBO, and −log p(x): the same, where the entries are so many that they drown the few codes;
- KL(q(z|x) ‖ q̂(z)), q̂ the mean of other rows' q(z|x): rows off the manifold whose codes are those of others, too;
- the surprise −log p(x_j | x_-j) of each entry given the others: rows that are far out in all entries alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from lowerbound.core import Batch, Draw, Infer, LatentDistribution, Model, Posterior
from lowerbound.data.batches import RowsInMemory
from lowerbound.distributions.atoms import is_atom
from lowerbound.distributions.gaussians import DiagonalGaussian
from lowerbound.distributions.likelihoods.likelihood import event_sum
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.bound import elbo_terms
from lowerbound.evaluation.evaluation import EVALUATION_BATCH, PASS_ELEMENTS, Evaluation
from lowerbound.inference.posteriors import DrawFrom, FeaturePosterior, PriorWhereUnobserved, Refined
from lowerbound.models.ladder import Levels
from lowerbound.tasks import conditional

ENOUGH = 0.5  # effective importance samples for each draw of an entry
PATCH = 4  # pixels on a side that are hidden together: one alone is given away by its neighbors


def parts_of(event_shape: tuple[int, ...], n_parts: int, *, is_image: bool) -> Tensor:
    """A partition of a row's entries, drawn once and for all; shape (P, *event) of bool with P ≤ ``n_parts``.

    Images (C, H, W) are cut in patches of 4 × 4 pixels with all their channels.
    """
    shape = tuple(math.ceil(side / PATCH) for side in event_shape[1:]) if is_image else event_shape
    n = math.prod(shape)
    part = (torch.randperm(n, generator=make_generator(0, "parts")) % min(n, n_parts)).reshape(shape)
    if is_image:
        part = part.repeat_interleave(PATCH, 0).repeat_interleave(PATCH, 1)
        part = part[: event_shape[1], : event_shape[2]].expand(event_shape)
    return torch.stack([part == i for i in range(min(n, n_parts))])


def nats_of_entries(log_p: Tensor, batch: Batch, model: Model) -> Tensor:
    """−log p of every entry in the user's units, NaN where it is missing or doesn't count, (B, *event)."""
    nats = -log_p if model.log_unit is None else model.log_unit - log_p
    return torch.where(batch.mask, nats, torch.nan)


def bound(on: Evaluation, n_samples: int = 4) -> tuple[Tensor, Tensor]:
    """The parts of −ELBO: KL(q(z|x) ‖ p(z)) of every row, (N,), and −E_q log p(x_j|z) of its entries, (N, *event)."""
    kl, rebuilt = [], []
    with on.evaluating():
        for batch in on.batches(on.rows_in_a_pass(n_samples)):
            q = on.posterior(batch, on.noise)
            z = q.rsample((n_samples,), on.noise)
            log_p = on.model.log_px_by_entry(batch, z)
            kl.append(Draw(z, event_sum(log_p, batch.mask), on.model.prior_of(batch), q, q).kl.sum(-1))
            rebuilt.append(nats_of_entries(log_p.mean(0), batch, on.model))
    return torch.cat(kl).cpu(), torch.cat(rebuilt).cpu()


def codes(on: Evaluation) -> DiagonalGaussian | None:
    """q(z|x) of all rows, (N, D) in float64; None where it is no Gaussian with a diagonal covariance."""
    means, log_scales = [], []
    with on.evaluating():
        for batch in on.batches():
            q = on.posterior(batch, on.noise)
            if isinstance(q, PriorWhereUnobserved) and isinstance(q.q, DiagonalGaussian):  # with the prior's moments
                q = DiagonalGaussian(q.mean, q.scale.log())
            if not isinstance(q, DiagonalGaussian):
                return None
            means.append(q.mean.double())
            log_scales.append(q.log_scale.double().expand_as(q.mean))
    return DiagonalGaussian(torch.cat(means).cpu(), torch.cat(log_scales).cpu())


def aggregate_kl(q: DiagonalGaussian, others: DiagonalGaussian, n_left_out: int = 0) -> Tensor:
    """An upper bound on KL(q(z|x) ‖ q̂(z)) of every row, in nats, (N,), with q̂(z) = (1/J) Σ_j q(z|x_j) over J others.

    −log (1/J) Σ_j exp[−KL(q(z|x) ‖ q(z|x_j))], by Jensen's inequality (Hershey & Olsen, 2007, eq. 20, of one
    component), equal to it for J = 1. The aggregate posterior q̂ is where rows are coded, which the prior needn't be
    (Hoffman & Johnson, 2016, "ELBO surgery").

    Parameters
    ----------
    n_left_out : int
        For each row the number of nearest components of q̂ that are left out: 1 removes the row's own component, if it
        is among the others; more keep small groups of similar outliers from looking normal because of each other.
    """
    n_others = len(others.mean)
    n_left_out = min(n_left_out, n_others - 1)
    nats = []
    for part in zip(q.mean.split(EVALUATION_BATCH), q.log_scale.split(EVALUATION_BATCH), strict=True):
        kl = DiagonalGaussian(*part).kl_to_each(others)
        if n_left_out:
            kl = torch.from_numpy(np.partition(kl.numpy(), n_left_out - 1, axis=1)[:, n_left_out:])
        nats.append(math.log(n_others - n_left_out) - (-kl).logsumexp(1))
    return torch.cat(nats)


def surprise(
    on: Evaluation, n_parts: int = 4, n_samples: int = 4, limit: Tensor | None = None, *, is_image: bool = False
) -> Tensor:
    """−log p(x_j | x_-P) of every entry j, where P is the part of the row that j is hidden with; (N, *event).

    p(x_j | x_-P) = ∫ p(x_j|z) p(z|x_-P) dz by self-normalized importance sampling from q(z|x_-P) (Mattei & Frellsen,
    2019, arXiv:1812.02633, eq. 12). What is hidden from the encoder can't be coded away.

    Parameters
    ----------
    n_parts : int
        Parts that the entries fall into, a pass each; as many as there are entries gives −log p(x_j | x_-j).
    n_samples : int
        Draws of z.
    limit : Tensor, shape (*event), optional
        An entry beyond ±limit is hidden from all others: so far out the model knows nothing of how entries go
        together, and others would be found absurd in its place.
    is_image : bool
        Events are images (C, H, W), hidden in patches.
    """
    parts = parts_of(on.rows.event_shape, n_parts, is_image=is_image).to(on.rows.device)
    rows = []
    with on.evaluating():
        for batch in on.batches(on.rows_in_a_pass(n_samples)):
            log_p = torch.zeros_like(batch.x)
            absurd = torch.zeros_like(parts[0]) if limit is None else beyond(batch.x, limit)
            for part in parts:
                on.noise.restart()
                rest = batch.with_hidden(part | absurd)
                log_p = torch.where(part, _log_p_given(rest, on, n_samples), log_p)
            rows.append(nats_of_entries(log_p, batch, on.model))
    return torch.cat(rows).cpu()


def beyond(x: Tensor, limit: Tensor) -> Tensor:
    """True for numbers in x greater than ``limit`` or less than −limit, shape (B, *event); never for an atom."""
    return (x.abs() > limit.to(x)) & ~is_atom(x)


def _log_p_given(rest: Batch, on: Evaluation, n_samples: int) -> Tensor:
    """log Σ_s w_s p(x_j|z_s) of every entry, with w_s ∝ p(rest, z_s)/q(z_s|rest), (B, *event)."""
    q = on.posterior(rest, on.noise)
    z = q.rsample((n_samples,), on.noise)
    log_p = on.model.log_px_by_entry(rest, z)
    log_w = event_sum(log_p, rest.mask) + on.model.prior_of(rest).log_prob(z) - q.log_prob(z)
    log_w = torch.log_softmax(log_w, 0)
    return (log_w.reshape(*log_w.shape, *(1,) * (rest.x.ndim - 1)) + log_p).logsumexp(0)


def draws_of_entry(on: Evaluation, rows: np.ndarray, entry: int, n_draws: int, limit: Tensor) -> tuple[Tensor, Tensor]:
    """Draws of x_j given the rest of its row, for some rows of a table; (n_draws · n, F), where column j holds them.

    The rest is what is within ±limit, (F,), as in ``surprise``. Rows of which few importance samples count get four
    times as many, up to three times. The second tensor is the effective number of those of each row, (n,).
    """
    assert isinstance(on.rows, RowsInMemory)
    some = on.rows.subset(torch.from_numpy(rows))
    hidden = beyond(some.raw, limit)
    hidden[:, entry] = True
    observed = ~hidden if some.observed is None else some.observed & ~hidden  # the encoder is told
    without = replace(some, observed=observed)
    x, ess = _drawn(replace(on, rows=without), n_draws, n_draws)
    for n_importance in (4 * n_draws, 16 * n_draws, 64 * n_draws):
        few = torch.nonzero(ess < ENOUGH * n_draws).flatten()
        if len(few) == 0:
            break
        x[:, few], ess[few] = _drawn(replace(on, rows=without.subset(few)), n_draws, n_importance)
    return x.flatten(0, 1), ess


def _drawn(on: Evaluation, n_draws: int, n_importance: int) -> tuple[Tensor, Tensor]:
    """Draws of the rows (n_draws, n, F), and the effective number of their importance samples, (n,)."""
    x, ess = conditional.drawn(on, n_draws, n_importance)
    return x.cpu(), torch.full((x.shape[1],), float(n_draws)) if ess is None else ess.cpu()


class ClimbedInSingle(FeaturePosterior):
    """A q(z) of each row's own that climbs from the encoder's in float32, as many rows at a time whatever the rows.

    Steps in float64 would take several times as long for nothing: where a bound is highest, it hardly changes with q.
    Batches of one shape are rounded alike, so that a row's q depends on that row alone.

    Parameters
    ----------
    start : FeaturePosterior
        That of the encoder, in float64.
    single : Posterior
        The same in float32.
    draw : callable
        ``model.draw`` of the model in float32.
    n_steps : int
    """

    N_ROWS = 32

    def __init__(self, start: FeaturePosterior, single: FeaturePosterior, draw: DrawFrom, n_steps: int) -> None:
        super().__init__()
        self.start: FeaturePosterior = start
        self.climbed: Refined = Refined(single, draw, n_steps, lr=0.15, n_samples=1, betas=(0.8, 0.95))

    def features(self, batch: Batch) -> Sequence[Tensor]:
        """The features after the ascent; those of the start for a row whose values float32 doesn't hold."""
        before, n_rows = self.start.features(batch), len(batch.x)
        at_once = self.at_once(batch.x.shape[1:])
        parts = []
        for rows in torch.arange(n_rows, device=batch.x.device).split(at_once):
            padded = torch.cat([rows, rows[-1:].expand(at_once - len(rows))])
            parts.append([t[: len(rows)].double() for t in self.climbed.features(in_single(batch.subset(padded)))])
        after = [torch.cat(each) for each in zip(*parts, strict=True)]
        known = torch.stack([t.flatten(1).isfinite().all(1) for t in after]).all(0)
        return [torch.where(known.view(-1, *[1] * (t.ndim - 1)), t, u) for t, u in zip(after, before, strict=True)]

    @classmethod
    def at_once(cls, event_shape: Sequence[int]) -> int:
        """The rows that climb together, always as many: others are put beside fewer."""
        return max(1, min(cls.N_ROWS, PASS_ELEMENTS // max(1, math.prod(event_shape))))

    def given(self, features: Sequence[Tensor], batch: Batch) -> LatentDistribution:
        """q(z|x) by the second step of the start."""
        return self.start.given(features, batch)


def in_single(batch: Batch) -> Batch:
    """The batch in float32."""
    return replace(batch, x=batch.x.float(), context=None if batch.context is None else batch.context.float())


def refined(on: Evaluation, single: Evaluation, n_steps: int = 30, n_samples: int = 4) -> tuple[Tensor, Tensor]:
    """ELBO(q(z|x)) and ELBO(q*), q* a q(z) of the row's own that starts from the encoder's and climbs; (N,) each.

    ``single`` has the model and posterior in float32; both bounds are in float64, on the same draws. Where q* has
    the lower estimate, the one that it starts from is taken, so that the difference is never below 0.

    Their difference is the likelihood regret (Xiao et al., 2020, arXiv:2003.02977, eq. 5): the encoder knows what it
    was trained on. It grows with how much there is to see in a row, of which −ELBO(q(z|x)) is the measure: where x is
    discrete, it is the length of a code for x, and the regret divided by it the part of that length which a code of
    the row's own would save.
    """
    start, faster = cast(tuple[FeaturePosterior, FeaturePosterior], (on.posterior, single.posterior))
    shape = on.rows.event_shape
    on = replace(on, pass_elements=n_samples * ClimbedInSingle.at_once(shape) * max(1, math.prod(shape)))
    with single.evaluating():
        own = on.under(ClimbedInSingle(start, faster, single.model.draw, n_steps))
        before, after = (elbo_terms(each, n_samples).elbo for each in (on, own))
    return before, torch.maximum(before, after)


class Upper(Posterior):
    """The posterior of the levels at the top of a ladder alone; those below come from p(z_l | levels above)."""

    def __init__(self, posterior: Infer, n_levels: int) -> None:
        super().__init__()
        self.posterior: Infer = posterior
        self.n_levels: int = n_levels

    def forward(self, batch: Batch, noise: Noise | None = None) -> Levels:
        """q(z_L, …|x) Π p(z_l | above) for the rows of a batch."""
        q = self.posterior(batch, noise)
        if not isinstance(q, Levels):
            raise ValueError("the ratio between levels needs a ladder of them: VAE(Ladder(2)) or more")
        return q.upper(self.n_levels)


def level_ratio(on: Evaluation, n_samples: int = 8, n_levels: int = 1) -> Tensor:
    """The part of a row's bound that the levels at the bottom of a ladder add: ELBO − ELBO^{>k}, in nats, (N,).

    The log-likelihood ratio of Havtorn et al. (2021, arXiv:2102.08248, eq. 8): where z of the lower levels is drawn
    from p, given the ``n_levels`` at the top, and not from q, x is scored by the information of the top levels alone.
    Low levels describe texture, which a strange row has too, so its bound may be high; then the ratio is.
    """
    upper = on.under(Upper(on.posterior, n_levels))
    return elbo_terms(on, n_samples).elbo - elbo_terms(upper, n_samples).elbo
