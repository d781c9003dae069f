"""Filling the gaps of sequences, given what was observed before and after: draws of x_m ~ p(x_m|x_o).

The recurrence reads what was filled in, so that a value depends on all others, and what follows a gap says which
fillings were likely. Particles are filled step by step: with z ~ r(z), r = .9 q(z|d_t, x_o) + .1 p(z|d_t), and
x_m ~ p(x_m|d_t, z), a particle has the weight p(x_o|d_t, z) p(z|d_t)/r(z). Once fewer than half of the particles count,
they are drawn again by the weights (sequential Monte Carlo: Gordon et al., 1993; Doucet & Johansen, 2009).

In a gap the weights also have a factor that says how near a particle is to the next value observed (``LookAhead``), so
that those are drawn again that head for it. It is taken out again where the gap ends: the draws are of the same
distribution, with fewer particles (twisted particle filters: Guarniero et al., 2017, arXiv:1511.06286).

Of one z for a whole sequence the particles begin with z ~ r(z), r = .9 q(z|x_o) + .1 p(z). Their weight p(z)/r(z) is
taken in by and by, with the share of the observed values that were read: all at once it would throw particles away that
what is still to come asks for.

Each of the n draws has particles of its own, of which one path is taken at the end. Of one cloud of particles for all
draws, the paths would share their beginning, and the draws be one and the same there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lowerbound.core import Batch, LatentDistribution, NoPosterior, Prior
from lowerbound.data.sequences import SequenceRows
from lowerbound.distributions.noise import Noise
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.models.sequence import SequenceModel, WithLatentState
from lowerbound.models.whole_sequence import WholeSequenceModel
from lowerbound.tasks.looking_ahead import LookAhead

MOST_PARTICLES = 2**14  # that take a step together, of all draws of all sequences: bounds memory
SHARE_OF_PRIOR = 0.1
LEAST = -1e30  # log w of a particle that can't be: where none can, all are alike
LEAST_ESS = 0.5  # of the particles, below which they are drawn again


class FilledSteps(NamedTuple):
    """Draws of the steps that have gaps, n for each, in the model's units.

    ``x`` (n, G, F) are the G steps with the gaps filled, ``steps`` (G,) their places among all steps of the sequences,
    ``gaps`` (G, F) is True where a value was filled in, and ``ess`` (N,) is the least effective number of particles at
    any step of a sequence, a mean over the draws; NaN for sequences without gaps.
    """

    x: Tensor
    steps: Tensor
    gaps: Tensor
    ess: Tensor


def filled(on: Evaluation, n_draws: int, n_particles: int) -> FilledSteps:
    """Draw the gaps of sequences.

    Parameters
    ----------
    on : Evaluation
        Of a ``SequenceModel`` on sequences.
    n_draws : int
        n.
    n_particles : int
        Particles of each draw. One is a draw given the past and the step alone.
    """
    rows, model = on.rows, on.model
    assert isinstance(rows, SequenceRows)
    assert isinstance(model, SequenceModel)
    ess = torch.full((len(rows),), math.nan, dtype=torch.float64)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    with on.evaluating():
        for index in _together(rows, n_draws * n_particles):
            batch = rows.batch(index)
            assert batch.missing is not None
            cloud = _Particles(model, on, batch, n_draws, n_particles)
            x, places = cloud.run()  # places: (G, 2) of time and row of the batch
            time, row = places.T.cpu()
            parts.append((x, rows.starts[index[row]] + time, batch.missing[row, time]))
            ess[index] = cloud.least_ess.double().cpu()
    if not parts:
        n_columns = rows.event_shape[-1]
        return FilledSteps(
            torch.zeros(n_draws, 0, n_columns), torch.zeros(0).long(), torch.zeros(0, n_columns).bool(), ess
        )
    order = torch.cat([places for _, places, _ in parts]).argsort()
    x, places, gaps = (torch.cat(part, dim) for part, dim in zip(zip(*parts, strict=True), (1, 0, 0), strict=True))
    return FilledSteps(x[:, order.to(x.device)], places[order], gaps[order.to(gaps.device)], ess)


def _together(rows: SequenceRows, n: int) -> list[Tensor]:
    """Sequences with gaps, of like lengths, whose particles, ``n`` for each, are moved together."""
    flat = rows.flat()
    if flat.observed is None:
        return []
    has_gap = (~flat.observed & flat.mask.cpu()).any(-1)
    row = torch.repeat_interleave(torch.arange(len(rows)), rows.lengths)
    (places,) = torch.bincount(row[has_gap], minlength=len(rows)).nonzero(as_tuple=True)
    order = places[rows.lengths[places].argsort(stable=True)]
    return list(order.split(max(1, MOST_PARTICLES // n))) if len(order) else []


@dataclass
class _Kept:
    """The particles at a step with gaps, and which of them each later particle came from.

    ``row`` (G,) are the sequences with gaps there, ``x`` (G, n, P, ·) the columns with gaps. ``ancestor`` (B, n, P)
    says which particle of this step a particle of the next one that is kept, or of the end, came from.
    """

    row: Tensor
    x: Tensor
    ancestor: Tensor | None = None


class _Particles:
    """n draws of B sequences, with P particles for each.

    Parameters
    ----------
    model : SequenceModel
    on : Evaluation
        Its posterior proposes, its noise is used.
    batch : Batch
        B sequences.
    n_draws, n_particles : int
        n and P.
    """

    def __init__(self, model: SequenceModel, on: Evaluation, batch: Batch, n_draws: int, n_particles: int) -> None:
        assert batch.missing is not None
        self.model, self.posterior, self.noise = model, on.posterior, on.noise.own()
        self.batch, self.missing = batch, batch.missing
        self.shape = (len(batch.x), n_draws, n_particles)
        self.columns = batch.missing.any(0).any(0)
        self.within = (batch.mask | batch.missing).any(-1)
        self.ahead, self.looks = batch.x.new_zeros(self.shape), LookAhead.of(batch, model.past.last.numbers)
        self.log_w = batch.x.new_full(self.shape, -math.log(n_particles))
        self.log_w_of_z = torch.zeros_like(self.log_w)  # log p(z) − log r(z) of a z of whole sequences
        observed = batch.mask.sum(-1)
        self.read_of_observed = observed / observed.sum(1, keepdim=True).clamp_min(1)  # the share of each step
        self.since = self._identity()
        self.kept: list[_Kept] = []
        self.least_ess = batch.x.new_full(self.shape[:1], float(n_particles))

    def run(self) -> tuple[Tensor, Tensor]:
        """Draws (n, G, F) of the steps with gaps, and their times and rows, (G, 2)."""
        begun = torch.full_like(self.within[:, 0], isinstance(self.model, WithLatentState))
        d = self._begin()
        for time in range(self.batch.x.shape[1]):
            has_gap = self.missing[:, time].any(-1)
            begun = begun | has_gap
            x = self._each(self.batch.x[:, time])
            counts = (begun & self.within[:, time])[:, None, None]
            if begun.any():  # before, particles are alike, unless the state has a z
                x, log_w = self._step(time, d, x)
                ahead = self.looks.at(time, x.view(*self.shape, -1))
                of_z = self.read_of_observed[:, time, None, None] * self.log_w_of_z
                self._weigh(torch.where(counts, log_w.view(self.shape), 0.0) + of_z + ahead - self.ahead)
                self.ahead = ahead
                if has_gap.any():
                    self._keep(has_gap, x)
            d = self._read(time, d, x)
            if self.model.ends is not None and begun.any():
                self._weigh(torch.where(counts, self._log_length(time, d), 0.0))
            d = self._resampled(d)
        self._close()
        return self._paths()

    def _begin(self) -> Tensor:
        """The states before the first step; a z of whole sequences is of r(z), and log p(z) − log r(z) is kept."""
        if not isinstance(self.model, WholeSequenceModel):
            return self.model.begin(math.prod(self.shape), self.noise)
        n = self.shape[1] * self.shape[2]
        z, log_w = _proposed(self.posterior(self.batch, self.noise), self.model.prior(), (n, self.shape[0]), self.noise)
        self.log_w_of_z = log_w.mT.reshape(self.shape)
        return self.model.begin_with(z.transpose(0, 1).flatten(0, 1), self.noise)

    def _weigh(self, log_w: Tensor) -> None:
        self.log_w = (self.log_w + log_w).clamp_min(LEAST).log_softmax(-1)

    def _log_length(self, time: int, d: Tensor) -> Tensor:
        """log p of going on after a step, or of ending there, (B, n, P)."""
        assert self.model.ends is not None
        goes_on = F.pad(self.within, (0, 1))[:, time + 1, None, None]
        logit = self.model.ends(d[:, : self.model.step.n_context]).view(self.shape)
        return F.logsigmoid(torch.where(goes_on, logit, -logit))

    def _each(self, of_rows: Tensor) -> Tensor:
        """(B, ·) for every particle, (BnP, ·)."""
        return of_rows.repeat_interleave(self.shape[1] * self.shape[2], 0)

    def _step(self, time: int, d: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The step with its gaps filled (BnP, F), and log w (BnP,)."""
        mask, missing = (self._each(each[:, time]) for each in (self.batch.mask, self.missing))
        context, drawn_before = d.tensor_split([self.model.step.n_context], -1)
        step = Batch(x, mask, torch.arange(len(x)), missing=missing, context=context)
        has_z = drawn_before.shape[1] > 0  # in the state: of p(z_t|d_t, z_{t−1}), or that of the whole sequence
        z, log_w = (drawn_before[None], x.new_zeros(len(x))) if has_z else self._proposed(step)
        log_w = log_w + self.model.step.log_px(step, z)[0]
        (rows,) = missing.any(-1).nonzero(as_tuple=True)
        if len(rows):
            drawn = self.model.step.draw_missing(step.subset(rows), z[:, rows], self.noise)[0].to(x.dtype)
            x = x.index_copy(0, rows, torch.where(missing[rows], drawn, x[rows]))
        return x, log_w

    def _proposed(self, step: Batch) -> tuple[Tensor, Tensor]:
        """z ~ r(z), (1, BnP, D), and log p(z|d) − log r(z)."""
        n = len(step.x)
        if isinstance(self.posterior, NoPosterior):
            return step.x.new_zeros(1, n, 0), step.x.new_zeros(n)
        z, log_w = _proposed(self.posterior(step, self.noise), self.model.step.prior_of(step), (1, n), self.noise)
        return z, log_w[0]

    def _read(self, time: int, d: Tensor, x: Tensor) -> Tensor:
        """d after the step, all of whose values are there."""
        entries = self._each((self.batch.mask | self.missing)[:, time])
        return self.model.read(Batch(x[:, None], entries[:, None], torch.arange(len(x))), d, self.noise)

    def _resampled(self, d: Tensor) -> Tensor:
        """Draw particles by their weights where few of them count."""
        w = self.log_w.exp()
        ess = 1 / w.square().sum(-1)  # (B, n)
        self.least_ess = torch.minimum(self.least_ess, ess.mean(-1))
        few = ess < LEAST_ESS * self.shape[-1]
        if not few.any():
            return d
        index = torch.where(few[..., None], _systematic(w, self.noise), self._identity())
        self.log_w = torch.where(few[..., None], -math.log(self.shape[-1]), self.log_w)
        self.since, self.ahead = self.since.gather(-1, index), self.ahead.gather(-1, index)
        self.log_w_of_z = self.log_w_of_z.gather(-1, index)
        place = index + torch.arange(index[..., 0].numel(), device=index.device).view(*few.shape, 1) * self.shape[-1]
        return d[place.flatten()]

    def _identity(self) -> Tensor:
        return torch.arange(self.shape[-1], device=self.batch.x.device).expand(self.shape)

    def _keep(self, has_gap: Tensor, x: Tensor) -> None:
        self._close()
        (row,) = has_gap.nonzero(as_tuple=True)
        self.kept.append(_Kept(row, x.view(*self.shape, -1)[row][..., self.columns]))

    def _close(self) -> None:
        """Say which particles of the last step that was kept those of now came from."""
        if self.kept:
            self.kept[-1] = replace(self.kept[-1], ancestor=self.since.to(torch.int32))
        self.since = self._identity()

    def _paths(self) -> tuple[Tensor, Tensor]:
        """One path of each draw, drawn by the weights and followed back."""
        w = self.log_w.exp()
        u = self.noise.uniform((*self.shape[:2], 1), w)
        chosen = (w.cumsum(-1) < u).sum(-1, keepdim=True).clamp_max(self.shape[-1] - 1)  # (B, n, 1)
        times = self.missing.any(-1).any(0).nonzero(as_tuple=True)[0].tolist()
        paths, places = [], []
        for time, kept in zip(reversed(times), reversed(self.kept), strict=True):
            assert kept.ancestor is not None
            chosen = kept.ancestor.long().gather(-1, chosen)
            x = kept.x.gather(2, chosen[kept.row][..., None].expand(-1, -1, -1, kept.x.shape[-1]))
            step = self.batch.x[kept.row, time].repeat(self.shape[1], 1, 1)
            step[..., self.columns] = x.squeeze(2).transpose(0, 1)
            paths.append(torch.where(self.missing[kept.row, time], step, self.batch.x[kept.row, time]))
            places.append(torch.stack([torch.full_like(kept.row, time), kept.row], -1))
        return torch.cat(paths, 1), torch.cat(places)


def _proposed(q: LatentDistribution, p: Prior, shape: tuple[int, int], noise: Noise) -> tuple[Tensor, Tensor]:
    """z ~ r(z) for ``shape`` (S, B), (S, B, D), and log p(z) − log r(z), (S, B)."""
    of_prior = noise.uniform(shape, q.mean) < SHARE_OF_PRIOR
    z = torch.where(of_prior[..., None], p.rsample(shape, noise), q.rsample(shape[:1], noise))
    log_p, log_q = p.log_prob(z), q.log_prob(z)
    log_r = torch.logaddexp(log_q + math.log1p(-SHARE_OF_PRIOR), log_p + math.log(SHARE_OF_PRIOR))
    return z, log_p - log_r


def _systematic(w: Tensor, noise: Noise) -> Tensor:
    """Systematic draws of particles by weights (B, n, P): one number for all of them (Carpenter et al., 1999)."""
    P = w.shape[-1]
    u = (torch.arange(P, device=w.device) + noise.uniform((*w.shape[:2], 1), w)) / P
    return torch.searchsorted(w.cumsum(-1), u.contiguous()).clamp_max(P - 1)
