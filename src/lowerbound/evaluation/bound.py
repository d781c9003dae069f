"""Measures of a fitted model: the lower bound and its terms, and log p(x).

Everything is in nats a row; ``bits_per_dim`` is the one place that converts. Rows are the independent units: the
standard error of a mean over rows already holds the Monte-Carlo part when each row draws its own noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lowerbound.core import Batch, Draw, Objective, ObjectiveState
from lowerbound.data.statistics import Statistics
from lowerbound.evaluation.defensive import Defensive
from lowerbound.evaluation.estimate import Estimate, mean_over_rows, pooled
from lowerbound.evaluation.evaluation import Evaluation

ACTIVE_VARIANCE = 0.01  # a unit whose posterior mean varies by more is active (Burda et al., 2016)
CELL_BITS = 8  # of a latent variable's grid, with cells of 2⁻⁸

Progress = Callable[[float], object]  # called with the number of rows that were finished


def _no_loss(draw: Draw, state: ObjectiveState) -> Tensor:
    return -draw.log_px.mean(0)


@dataclass
class ElboTerms:
    """The lower bound's parts for every row, in nats."""

    reconstruction: Tensor  # (N,) E_q log p(x|z)
    kl: Tensor  # (N, G) KL in groups
    mean: Tensor  # (N, D) posterior means
    log_pz: Tensor  # (N,) E_q log p(z)
    samples_kl: bool = False  # the KL is estimated from the draws

    @property
    def elbo(self) -> Tensor:
        """E_q log p(x|z) − KL, shape (N,)."""
        return self.reconstruction - self.kl.sum(-1)

    @property
    def active_units(self) -> int:
        """Latent dimensions whose posterior mean varies over rows by more than 0.01 (variance)."""
        return int((self.mean.var(0) > ACTIVE_VARIANCE).sum()) if len(self.mean) > 1 else 0


@dataclass(frozen=True)
class Summary:
    """The lower bound's parts as means over rows, in nats.

    Attributes
    ----------
    elbo : Estimate
    reconstruction : float
    kl : Tensor, shape (G,)
    active_units : int
        Latent dimensions whose posterior mean varies over rows by more than 0.01 (variance).
    log_pz : float
        E_q log p(z).
    latent_dim : int
        D.
    total_kl : Estimate
        Σ_G of ``kl``; "exact" but for the rows, or an "estimate" from the draws, which may be negative.
    """

    elbo: Estimate
    reconstruction: float
    kl: Tensor
    active_units: int
    log_pz: float
    latent_dim: int
    total_kl: Estimate

    @property
    def bits(self) -> Bits:
        """The bound as a message."""
        z = -self.log_pz / math.log(2) + self.latent_dim * CELL_BITS
        x = -self.reconstruction / math.log(2)
        kl = self.kl.sum().item() / math.log(2)
        return Bits(z, x, z - kl, x + kl)


@dataclass(frozen=True)
class Bits:
    """The length of a row's message by bits-back coding, in bits (Hinton & van Camp, 1993; Frey & Hinton, 1997).

    Attributes
    ----------
    z : float
        To send z ~ q(z|x) by p(z), on a grid with cells of 1/256.
    x : float
        To send x by p(x|z).
    back : float
        Got back, because the choice of z carries bits of another message, by q(z|x) on the same grid.
    total : float
        z + x − back = −ELBO in bits, whatever the grid.
    """

    z: float
    x: float
    back: float
    total: float


def summarize(parts: Iterable[ElboTerms]) -> Summary:
    """Means over the rows of all parts, of which one is held at a time."""
    elbo, total_kl, n, reconstruction, log_pz, kl = [], [], 0, 0.0, 0.0, torch.zeros(())
    codes: Statistics | None = None
    for part in parts:
        weight = len(part.elbo) / (n + len(part.elbo))
        n += len(part.elbo)
        elbo.append(mean_over_rows(part.elbo, "lower"))
        total_kl.append(mean_over_rows(part.kl.sum(-1), "estimate" if part.samples_kl else "exact"))
        reconstruction += weight * (part.reconstruction.mean().item() - reconstruction)
        log_pz += weight * (part.log_pz.mean().item() - log_pz)
        kl = kl + weight * (part.kl.mean(0) - kl)
        seen = Statistics.of(part.mean.numpy())
        codes = seen if codes is None else codes + seen
    assert codes is not None
    varies = codes.m2 / max(1, n - 1) > ACTIVE_VARIANCE
    return Summary(pooled(elbo), reconstruction, kl, int(varies.sum()), log_pz, varies.size, pooled(total_kl))


def elbo_terms(on: Evaluation, n_samples: int = 1) -> ElboTerms:
    """The ELBO of every row and its parts, with the KL in closed form where there is one."""
    objective = Objective(_no_loss, n_samples)
    parts: list[tuple[Tensor, ...]] = []
    samples_kl = False
    with on.evaluating():
        for batch in on.batches(on.rows_in_a_pass(n_samples)):
            draw = on.model.draw(batch, on.posterior, objective, on.noise)
            log_px, log_pz = (log_p.double().mean(0) for log_p in (draw.log_px, draw.log_pz))
            parts.append((log_px, draw.kl.double(), draw.posterior.mean, log_pz))
            samples_kl = draw.samples_kl
    reconstruction, kl, mean, log_pz = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    return ElboTerms(reconstruction, kl, mean, log_pz, samples_kl)


class RunningLogMeanExp:
    """log (1/K) Σ_k w_k of every row, added up a few samples at a time, in float64."""

    def __init__(self, n_rows: int, device: torch.device) -> None:
        self.n: int = 0
        self.log_sum: Tensor = torch.full((n_rows,), -math.inf, dtype=torch.float64, device=device)
        self.log_sum_of_squares: Tensor = self.log_sum.clone()

    def add(self, log_w: Tensor) -> Tensor:
        """Count more log weights (S, B) in; their part of the sum of all up to now, (B,)."""
        log_w = log_w.double()
        self.n += len(log_w)
        new = log_w.logsumexp(0)
        self.log_sum = torch.logaddexp(self.log_sum, new)
        self.log_sum_of_squares = torch.logaddexp(self.log_sum_of_squares, (2 * log_w).logsumexp(0))
        return (new - self.log_sum).exp()

    @property
    def ess(self) -> Tensor:
        """(Σ w)²/Σ w², (B,)."""
        return (2 * self.log_sum - self.log_sum_of_squares).exp()

    def result(self) -> tuple[Tensor, Tensor]:
        """log (1/K) Σ w and (Σ w)²/Σ w², shape (B,) each."""
        return (self.log_sum - math.log(self.n)).cpu(), self.ess.cpu()


def importance_weighted(
    on: Evaluation, n_importance: int, progress: Progress = lambda n: None
) -> tuple[Tensor, Tensor]:
    """log (1/K) Σ_k w_k for every row, a lower bound of log p(x) in expectation that rises with K.

    Burda et al., 2016, arXiv:1509.00519, eq. 8, with a tenth of the draws from p(z) (``Defensive``), so that the
    effective number of samples tells of a mode that q misses. The logarithm of the sum is streamed in float64, a few
    samples at a time, so that memory doesn't grow with K.

    Parameters
    ----------
    n_importance : int
        K.
    progress : callable
        Told how many rows more are done; parts of them, where a batch takes long.

    Returns
    -------
    log_p : Tensor of float64, shape (N,)
        In nats.
    ess : Tensor of float64, shape (N,)
        (Σ w)²/Σ w², the effective number of samples.
    """
    if n_importance < 1:
        raise ValueError(f"n_importance must be at least 1, got {n_importance}")
    n_rows = on.rows_in_a_pass()
    chunk = min(n_importance, on.rows_in_a_pass(n_rows))
    parts = []
    with on.evaluating():
        for batch in on.batches(n_rows):
            total = RunningLogMeanExp(len(batch.x), batch.x.device)
            for log_w in _log_weights(on, batch, n_importance, chunk):
                total.add(log_w)
                progress(len(batch.x) * len(log_w) / n_importance)
            parts.append(total.result())
    log_p, ess = zip(*parts, strict=True)
    return torch.cat(log_p), torch.cat(ess)


def _log_weights(on: Evaluation, batch: Batch, n: int, chunk: int) -> Iterator[Tensor]:
    """log p(x, z) − log r(z) of ``n`` draws from the proposal r, (S, B), at most ``chunk`` at a time."""
    proposal = Defensive.around(on.posterior(batch, on.noise), on, batch, n)
    q, prior = proposal.q, proposal.prior
    for first in range(0, proposal.n_of_q, chunk):
        objective = Objective(_no_loss, min(chunk, proposal.n_of_q - first))
        draw = on.model.draw(batch, lambda *_: q, objective, on.noise)
        yield draw.log_px + draw.log_pz - proposal.log_prob(draw.log_qz, draw.log_pz)
    for first in range(0, proposal.n_of_prior, chunk):
        assert prior is not None
        z = prior.rsample((min(chunk, proposal.n_of_prior - first), len(batch.x)), on.noise)
        log_p = prior.log_prob(z)
        yield on.model.log_px(batch, z) + log_p - proposal.log_prob(q.log_prob(z), log_p)


def exact_log_prob(on: Evaluation) -> Tensor:
    """log p(x) of every row of a model that knows it, in nats, float64, shape (N,)."""
    with on.evaluating():
        parts = [on.model.log_prob(batch).double() for batch in on.batches(on.rows_in_a_pass())]
    return torch.cat(parts).cpu()
