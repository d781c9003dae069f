"""log p(x) of sequences, with the importance weights of each step.

log p(x) = Σ_t log p(x_t | d_t), and every term is an integral over its own z_t. So the steps are the rows of one
conditional model, and log p(x_t|d_t) is estimated as for any row: K weights for each step, where weights of whole
sequences would spread over as many nats as there are steps. A chain of z is left to particles. Of one z for a whole
sequence, the same K draws give log p(x_1, …, x_t) for every t, whose differences are the terms of the steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lowerbound.core import Batch, NoPosterior
from lowerbound.data.batches import RowsInMemory
from lowerbound.evaluation.annealing import TRUSTED_BIAS, UnreliableEstimateWarning, expected_bias
from lowerbound.evaluation.bound import ElboTerms, elbo_terms, importance_weighted
from lowerbound.evaluation.estimate import Estimate, mean_over_rows, plus_minus
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.evaluation.prefixes import prefix_scores
from lowerbound.evaluation.smc import particle_scores
from lowerbound.models.sequence import SequenceModel, Steps
from lowerbound.models.state_space import StateSpaceModel
from lowerbound.models.whole_sequence import WholeSequenceModel
from lowerbound.warning import warn


@dataclass(frozen=True)
class SequenceEstimate(Estimate):
    """A mean over sequences; beside it the mean over all their steps.

    Parameters
    ----------
    value : float
        The mean over sequences, in nats a sequence.
    standard_error : float
        In nats a sequence; NaN for a single one.
    kind, n_rows, n_importance, ess
        As in ``Estimate``; the effective sample size is that of a step, or of a sequence whose steps share a z.
    per_step : float
        Σ log p(x)/Σ T, in nats a step.
    per_step_error : float
        Its standard error over sequences, whose steps depend on each other.
    n_steps : int
        ΣT.
    length : {"given", "end"}
        log p(x | T), or log p(x) of the sequence and of where it ends.
    """

    ROW: ClassVar[str] = "sequence"

    per_step: float = math.nan
    per_step_error: float = math.nan
    n_steps: int = 0
    length: str = "given"

    def __str__(self) -> str:
        length = "lengths given" if self.length == "given" else "ends included"
        per_step = plus_minus(self.per_step, self.per_step_error)
        text = super().__str__().removesuffix(")")
        return f"{text}, {length}); {per_step} nats a step ({self.n_steps} steps)"


@dataclass(frozen=True)
class ParticleEstimate(SequenceEstimate):
    """A ``SequenceEstimate`` by sequential Monte Carlo, of a model whose latent variables are a chain.

    A lower bound in expectation; ``n_importance`` is the number of particles, and ``ess`` that of a step's weights.
    """

    def __str__(self) -> str:
        return f"{super().__str__()}; {self.n_importance} particles"


@dataclass(frozen=True)
class StepScores:
    """log p(x_t | x_<t) of every step of some sequences, one sequence after another.

    Attributes
    ----------
    log_p : Tensor of float64, shape (ΣT,)
        In nats; with the log p of going on after the step, or of ending there, if the model says where sequences end.
    log_length : Tensor of float64, shape (ΣT,)
        This part of it; 0 where lengths are given.
    ess : Tensor of float64, shape (ΣT,)
        The effective number of importance samples, of a step, or of all up to it where they share a z.
    lengths : Tensor of int64, shape (n,)
    kind : type
        Of their means.
    shares_z : bool
        One z is that of a whole sequence.
    """

    log_p: Tensor
    log_length: Tensor
    ess: Tensor
    lengths: Tensor
    kind: type[SequenceEstimate] = SequenceEstimate
    shares_z: bool = False

    @property
    def ess_of_each(self) -> Tensor:
        """The effective number of samples of each step, or of each sequence where its steps share a z."""
        return self.ess[self.lengths.cumsum(0) - 1] if self.shares_z else self.ess

    def of_values(self) -> Tensor:
        """log p of the values of every step, whether it is the last or not, shape (ΣT,)."""
        return self.log_p - self.log_length

    def of_sequences(self) -> Tensor:
        """log p(x), shape (n,)."""
        row = torch.repeat_interleave(torch.arange(len(self.lengths)), self.lengths)
        return self.log_p.new_zeros(len(self.lengths)).index_add(0, row, self.log_p)

    def estimate(self, n_importance: int | None, length: str) -> SequenceEstimate:
        """Means over sequences and over steps; ``n_importance`` is None where they are exact."""
        log_p, T, n = self.of_sequences(), self.lengths.double(), len(self.lengths)
        per_step = (log_p.sum() / T.sum()).item()
        spread = (log_p - per_step * T).square().sum() / (n - 1) * n if n > 1 else torch.tensor(math.nan)
        ess = None if n_importance is None else self.ess_of_each.mean().item()
        mean = mean_over_rows(log_p, "exact" if n_importance is None else "lower", n_importance, ess)
        error = (spread.sqrt() / T.sum()).item()
        return self.kind(**vars(mean), per_step=per_step, per_step_error=error, n_steps=int(T.sum()), length=length)


def step_scores(on: Evaluation, n_importance: int) -> StepScores:
    """log p(x_t | x_<t) of every step, by K importance samples each; exact without latent variables.

    Parameters
    ----------
    on : Evaluation
        Of a ``SequenceModel`` on sequences.
    n_importance : int
        K, nine tenths of them from q(z_t|d_t, x_t) and a tenth from p(z_t|d_t); with one z for a whole sequence as in
        ``PrefixProposal``; particles where z is a chain.
    """
    K = 1 if isinstance(on.posterior, NoPosterior) else n_importance
    is_chain = isinstance(on.model, StateSpaceModel)
    scores = (
        particle_scores if is_chain else prefix_scores if isinstance(on.model, WholeSequenceModel) else _independent
    )
    found = scores(on, K)
    log_p, log_length, ess, lengths = [], [], [], []
    for steps, each, effective in found:
        log_length.append(steps.log_length.to(each).cpu())
        log_p.append(each.cpu() + log_length[-1])
        ess.append(effective.cpu())
        lengths.append(torch.bincount(steps.row, minlength=steps.n_rows).cpu())
    kind, shares_z = ParticleEstimate if is_chain else SequenceEstimate, isinstance(on.model, WholeSequenceModel)
    return StepScores(torch.cat(log_p), torch.cat(log_length), torch.cat(ess), torch.cat(lengths), kind, shares_z)


def _independent(on: Evaluation, K: int) -> Iterator[tuple[Steps, Tensor, Tensor]]:
    """log p(x_t|d_t) and the effective number of samples of some sequences at a time, each step by its own weights."""
    for steps, of_steps in _in_steps(on):
        yield steps, *importance_weighted(of_steps, K)


def step_means(on: Evaluation) -> Tensor:
    """E[z_t] under q(z_t|d_t, x_t) of every step, shape (ΣT, D); of a chain the path of means.

    Of one z for a whole sequence its mean under q(z|x), the same at all steps.
    """
    if isinstance(on.model, WholeSequenceModel):
        with on.evaluating():
            return torch.cat([on.posterior(batch, on.noise).mean[on.model.steps(batch).row] for batch in on.batches()])
    if isinstance(on.model, StateSpaceModel):
        with on.evaluating():
            return torch.cat([_mean_path(on, on.model, batch) for batch in on.batches()])
    with on.evaluating():
        return torch.cat([on.posterior(steps.batch, on.noise).mean for steps, _ in _in_steps(on)])


def step_terms(on: Evaluation, n_samples: int = 1) -> ElboTerms:
    """The lower bound's parts for every step given those before it, (ΣT,); z must be no chain.

    Parameters
    ----------
    on : Evaluation
        Of a ``SequenceModel`` on sequences.
    n_samples : int
        Draws of z_t for each step.
    """
    each = [elbo_terms(of_steps, n_samples) for _, of_steps in _in_steps(on)]
    parts = (torch.cat([getattr(terms, name) for terms in each]) for name in ("reconstruction", "kl", "mean", "log_pz"))
    return ElboTerms(*parts, samples_kl=each[0].samples_kl)


def step_expectations(on: Evaluation) -> Tensor:
    """E[x_t|d_t, z_t] at the mean of q(z_t|d_t, x_t) of every step, in the model's units, (ΣT, F).

    Without latent variables E[x_t|d_t], what is expected of a step given those before it.
    """
    assert isinstance(on.model, SequenceModel)
    means, found, first = step_means(on), [], 0
    with on.evaluating():
        for steps, _ in _in_steps(on):
            z = means[first : first + len(steps.batch.x)].to(steps.batch.x)
            found.append(on.model.step.given(steps.batch.context).mean_x(z.unsqueeze(0))[0])
            first += len(z)
    return torch.cat(found)


def _mean_path(on: Evaluation, model: StateSpaceModel, batch: Batch) -> Tensor:
    """The means of q(z_t|z_{t−1}, x) with the means before them for z_{t−1}, (N, D)."""
    steps = model.steps(batch)
    given = model.with_past(batch, steps)
    z = model.path(given, on.posterior(given), None)[0]  # type: ignore[arg-type]
    return z[steps.time, 0, steps.row]


def _in_steps(on: Evaluation) -> Iterator[tuple[Steps, Evaluation]]:
    """The steps of a few sequences at a time, and the model of a step on them as rows."""
    assert isinstance(on.model, SequenceModel)
    for batch in on.batches():
        with on.evaluating():
            steps = on.model.steps(batch)
        rows = as_rows_of_steps(steps)
        yield steps, Evaluation(on.model.step, on.posterior, rows, on.noise)


def as_rows_of_steps(steps: Steps) -> RowsInMemory:
    """The steps as rows with their contexts."""
    batch = steps.batch
    entries = batch.mask if batch.missing is None else batch.mask | batch.missing
    observed = None if batch.missing is None else batch.mask
    return RowsInMemory(
        batch.x, lambda raw, noise: raw, entries[0], batch.x.device, observed, batch.context
    )  # fmt: skip


def sequence_estimate(on: Evaluation, n_importance: int) -> SequenceEstimate:
    """Means of log p(x) over sequences and over steps, with a warning where they rest on few weights."""
    assert isinstance(on.model, SequenceModel)
    scores = step_scores(on, n_importance)
    length = "given" if on.model.ends is None else "end"
    if isinstance(on.posterior, NoPosterior):
        return scores.estimate(None, length)
    if (bias := expected_bias(scores.ess_of_each, n_importance)) > TRUSTED_BIAS:
        what = "particles" if scores.kind is ParticleEstimate else "importance samples"
        unit = "sequence" if scores.shares_z else "step"
        warn(
            f"of {n_importance:,} {what} a {unit} only {scores.ess_of_each.mean():.1f} count (effective sample "
            f"size), so log p(x) is underestimated by {bias:.2g} nats a {unit} or more: take more, n_importance=…",
            UnreliableEstimateWarning,
        )
    return scores.estimate(n_importance, length)
