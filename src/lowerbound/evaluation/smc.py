"""log p(x) of sequences whose latent variables are a chain, by sequential Monte Carlo (Doucet & Johansen, 2009).

K particles are moved by r(z_t|z_{t−1}), nine tenths of them by q(z_t|z_{t−1}, x) and the others by p(z_t|d_t, z_{t−1}),
and weighted by

    w_t = p(x_t|d_t, z_t) p(z_t|d_t, z_{t−1})/r(z_t|z_{t−1}).

Where the weights are those of fewer than K/2 particles, new ones are drawn by their weights. The product over steps of
the mean weights is an unbiased estimate of p(x), so that its logarithm is a lower bound of log p(x) in expectation. Its
error is the sum of those of the steps, where weights of whole sequences spread over ever more nats.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lowerbound.core import Batch, Infer
from lowerbound.distributions.gaussians import DiagonalGaussian, GaussianPrior
from lowerbound.distributions.noise import Noise
from lowerbound.evaluation.defensive import ONE_IN
from lowerbound.evaluation.evaluation import EVALUATION_BATCH, PASS_ELEMENTS, Evaluation
from lowerbound.models.sequence import Steps
from lowerbound.models.state_space import StateSpaceModel

RESAMPLE_BELOW = 0.5  # of K
LONGEST_WHOLE = 50  # steps of a sequence that may be weighted as a whole


@dataclass(frozen=True)
class Particles:
    """Weighted particles along B sequences.

    Attributes
    ----------
    log_p : Tensor of float64, shape (B, T)
        Estimates of log p(x_t|x_<t), which add up to that of log p(x); 0 behind the end.
    ess : Tensor of float64, shape (B, T)
        The effective number of the weights w_t of a step; K behind the end.
    z : Tensor, shape (K, B, D)
        z_T of each sequence.
    log_weights : Tensor of float64, shape (K, B)
        Of z, normalized.
    """

    log_p: Tensor
    ess: Tensor
    z: Tensor
    log_weights: Tensor


def particle_filter(
    model: StateSpaceModel, posterior: Infer, batch: Batch, noise: Noise, n_particles: int,
    resample_below: float = RESAMPLE_BELOW,
) -> tuple[Steps, Particles]:  # fmt: skip
    """Move and weight particles along some sequences.

    Parameters
    ----------
    model : StateSpaceModel
    posterior : Infer
        Proposes.
    batch : Batch
        B sequences.
    noise : Noise
    n_particles : int
        K.
    resample_below : float
        Particles are drawn anew where the effective number is below so many of K; 0: never.
    """
    K, B = n_particles, len(batch.x)
    steps = model.steps(batch)
    given, lengths = model.with_past(batch, steps), torch.bincount(steps.row, minlength=B)
    q, read, first = posterior(given), model.transition.read(given.context), lengths.cumsum(0) - lengths  # type: ignore[operator]
    z = read.new_zeros(K, B, model.step.latent_dim)
    log_W = torch.full((K, B), -math.log(K), dtype=torch.float64, device=z.device)
    found = []
    for time in range(batch.x.shape[1]):
        goes_on = time < lengths
        prior = model.prior_at(read[:, time], z)
        moved, log_r = _moved(prior, q.at(time, z, prior), noise)  # type: ignore[attr-defined]
        at = (first + time)[goes_on]
        log_w = torch.zeros_like(log_W)
        log_px = model.step.log_px(steps.batch.subset(at), moved[:, goes_on])
        log_w[:, goes_on] = (log_px + (prior.log_prob(moved) - log_r)[:, goes_on]).double()
        log_p = (log_W + log_w).logsumexp(0)
        ess = K * (2 * log_p - (log_W + 2 * log_w).logsumexp(0)).exp()
        found.append((log_p, ess))
        z, log_W = torch.where(goes_on[:, None], moved, z), log_W + log_w - log_p
        z, log_W = _resampled(z, log_W, noise, resample_below * K)
    log_p, ess = (torch.stack(each, 1) for each in zip(*found, strict=True))
    return steps, Particles(log_p, ess, z, log_W)


def _moved(prior: GaussianPrior, q: DiagonalGaussian, noise: Noise) -> tuple[Tensor, Tensor]:
    """Draws of r(z_t|z_{t−1}), (K, B, D), and their log r, (K, B)."""
    ratio = 1 / ONE_IN
    by_prior = noise.uniform(q.mean.shape[:2], q.mean) < ratio
    normal = noise.normal(q.mean.shape, q.mean)
    z = torch.where(by_prior[..., None], prior.mean + prior.scale * normal, q.mean + q.scale * normal)
    return z, torch.logaddexp(prior.log_prob(z) + math.log(ratio), q.log_prob(z) + math.log1p(-ratio))


def _resampled(z: Tensor, log_W: Tensor, noise: Noise, least: float) -> tuple[Tensor, Tensor]:
    """New particles in equal parts for the sequences whose effective number is below ``least``: systematic resampling.

    Particle k is the one at (u + k)/K of the cumulated weights, with one uniform u for each sequence.
    """
    K, uniform = len(z), noise.uniform((1, log_W.shape[1]), log_W)[0]  # drawn anyway, for the same noise
    few = -(2 * log_W).logsumexp(0) < math.log(least) if least else torch.zeros_like(uniform, dtype=torch.bool)
    if not few.any():
        return z, log_W
    cumulated = log_W.exp().mT.cumsum(1)
    place = (uniform[:, None] + torch.arange(K, device=z.device)) / K * cumulated[:, -1:]
    chosen = torch.searchsorted(cumulated, place).clamp_max(K - 1).mT
    z = torch.where(few[:, None], z.take_along_dim(chosen[..., None], 0), z)
    return z, torch.where(few, -math.log(K), log_W)


def particle_scores(
    on: Evaluation, n_particles: int, resample_below: float = RESAMPLE_BELOW
) -> Iterator[tuple[Steps, Tensor, Tensor]]:
    """Estimates of log p(x_t|x_<t), (N,), and their effective numbers of particles, of some sequences at a time.

    Parameters
    ----------
    on : Evaluation
        Of a ``StateSpaceModel``.
    n_particles : int
        K.
    resample_below : float
        As in ``particle_filter``; 0 gives importance weights of whole sequences.

    Raises
    ------
    ValueError
        If whole sequences of more than 50 steps were to be weighted.
    """
    longest = on.rows.event_shape[0]
    if not resample_below and longest > LONGEST_WHOLE:
        raise ValueError(
            f"importance weights of whole sequences spread over more nats with every step, and the longest sequence "
            f"has {longest} (at most {LONGEST_WHOLE}): let particles be drawn anew, resample_below=0.5"
        )
    assert isinstance(on.model, StateSpaceModel)
    width = n_particles * max(on.model.past.hidden_size, *on.rows.event_shape[1:])
    with on.evaluating():
        for batch in on.batches(max(1, min(EVALUATION_BATCH, PASS_ELEMENTS // width))):
            steps, found = particle_filter(on.model, on.posterior, batch, on.noise, n_particles, resample_below)
            yield steps, found.log_p[steps.row, steps.time], found.ess[steps.row, steps.time]


def states_by_particles(
    model: StateSpaceModel, posterior: Infer, batch: Batch, n: int, n_particles: int, noise: Noise
) -> Tensor:
    """``n`` states of a model after a sequence, z_T drawn from p(z_T|x) by particles; shape (n, H + D).

    Parameters
    ----------
    model : StateSpaceModel
    posterior : Infer
        Proposes.
    batch : Batch of one sequence
    n : int
    n_particles : int
        K.
    noise : Noise
    """
    found = particle_filter(model, posterior, batch, noise, n_particles)[1]
    cumulated = found.log_weights[:, 0].exp().cumsum(0)
    place = noise.uniform((n, 1), cumulated)[:, 0] * cumulated[-1]
    chosen = torch.searchsorted(cumulated, place).clamp_max(len(cumulated) - 1)
    return model.onward(model.past(batch)[:, -1].expand(n, -1), found.z[chosen, 0], noise)
