"""log p(x) by draws of the prior and by annealed importance sampling, and bounds from both sides.

Importance sampling from q is in ``bound``. All are lower bounds in expectation; bidirectional Monte Carlo has an upper
bound too, on data drawn from the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lowerbound.core import Batch, Infer, LatentDistribution, Model
from lowerbound.data.batches import RowsInMemory
from lowerbound.distributions.noise import Noise
from lowerbound.evaluation.bound import Progress, RunningLogMeanExp, importance_weighted
from lowerbound.evaluation.estimate import Estimate, mean_over_rows
from lowerbound.evaluation.evaluation import PASS_ELEMENTS, Evaluation, evaluating
from lowerbound.inference.mcmc import hmc

TARGET_ACCEPTANCE = 0.65  # of the Markov chains (Wu et al., 2017)
PILOT_RATE = 0.2  # how fast the pilot's step sizes follow its acceptance
STEEPNESS = 4.0  # of the sigmoid that spaces the temperatures
WIDEST, NARROWEST = 2.0, 1e-3  # step sizes, in standard deviations of q
TRUSTED_BIAS = 0.05  # nats a row
METHODS = ("importance", "naive", "ais")


class UnreliableEstimateWarning(UserWarning):
    """A few weights make up the whole estimate of log p(x)."""


def expected_bias(ess: Tensor, n_samples: int) -> float:
    """The bias log E[w] − E[log (1/K) Σ w], in nats: Var(w̄)/2 to second order, with Var(w̄) = 1/ESS − 1/K."""
    return (0.5 * (1 / ess - 1 / n_samples)).mean().item()


def log_likelihood_rows(
    on: Evaluation, method: str, n_importance: int, how: Annealing, progress: Progress = lambda n: None
) -> tuple[Tensor, Tensor]:
    """log p(x) of every row by ``method``, and the effective number of its samples or chains, shape (N,) each.

    Parameters
    ----------
    method : {"importance", "naive", "ais"}
        K samples of q, K samples of the prior, or annealing from q.
    n_importance : int
        K.
    how : Annealing
        For "ais".
    progress : callable
        Told how many rows more are done.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    for name, number in (("n_importance", n_importance), *vars(how).items()):
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    if method == "naive":
        return naive(on, n_importance, progress)
    return annealed(on, how, progress) if method == "ais" else importance_weighted(on, n_importance, progress)


def warning_about(found: Estimate, bias: float, method: str) -> str | None:
    """The warning for an estimate that rests on few weights; None for one that can be trusted."""
    if not bias > TRUSTED_BIAS or found.ess is None:
        return None
    what = {"importance": "importance samples", "naive": "draws of the prior", "ais": "chains"}[method]
    more = {"importance": "take more, or method='ais'", "naive": "use method='importance'", "ais": "take more"}[method]
    return (
        f"of {found.n_importance:,} {what} a row only {found.ess:.1f} count (effective sample size), so log p(x) is "
        f"underestimated by {bias:.2g} nats or more: {more}"
    )


def naive(on: Evaluation, n_samples: int, progress: Progress = lambda n: None) -> tuple[Tensor, Tensor]:
    """log (1/K) Σ_k p(x|z_k) with z_k ~ p(z): it needs no q, but far too many samples where z has many dimensions.

    Returns
    -------
    log_p, ess : Tensor of float64, shape (N,)
        In nats; the effective number of samples.
    """
    n_rows = on.rows_in_a_pass()
    chunk = max(1, min(n_samples, PASS_ELEMENTS // (max(1, math.prod(on.rows.event_shape)) * n_rows)))
    parts = []
    with on.evaluating():
        for batch in on.batches(n_rows):
            total = RunningLogMeanExp(len(batch.x), batch.x.device)
            for first in range(0, n_samples, chunk):
                S = min(chunk, n_samples - first)
                total.add(on.model.log_px(batch, _of_the_prior(on, S, batch)))
                progress(len(batch.x) * S / n_samples)
            parts.append(total.result())
    log_p, ess = zip(*parts, strict=True)
    return torch.cat(log_p), torch.cat(ess)


def _of_the_prior(on: Evaluation, n_samples: int, batch: Batch) -> Tensor:
    """Draws of z, the same for all rows where they share their noise, shape (S, B, D)."""
    return on.model.prior_of(batch).rsample((n_samples, len(batch.x)), on.noise)


@dataclass(frozen=True)
class Annealing:
    """The schedule of annealing from q(z|x) to p(z|x).

    Attributes
    ----------
    n_temperatures : int
        T, steps on the way.
    n_chains : int
        Chains for each row.
    n_leapfrog : int
        Leapfrog steps of a transition.
    """

    n_temperatures: int = 500
    n_chains: int = 8
    n_leapfrog: int = 5

    def temperatures(self) -> list[float]:
        """β_0 = 0 < … < β_T = 1, close together at both ends: σ(δ(2t/T − 1)), rescaled (Wu et al., 2017, section 3)."""
        raw = torch.sigmoid(STEEPNESS * torch.linspace(-1, 1, self.n_temperatures + 1, dtype=torch.float64))
        return ((raw - raw[0]) / (raw[-1] - raw[0])).tolist()


@dataclass
class Bridge:
    """f_β(z) = q(z|x)^(1−β) p(x, z)^β for some rows, C chains each."""

    model: Model
    batch: Batch
    q: LatentDistribution
    n_chains: int
    scale: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.scale = self.q.scale.detach().repeat(self.n_chains, 1)  # the unit of a step, (C·B, D)

    def ends(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """log q(z|x) and log p(x, z) for z of shape (C·B, D), shape (C·B,) each."""
        z = z.unflatten(0, (-1, len(self.batch.x)))
        return self.q.log_prob(z).flatten(), self.model.log_joint(self.batch, z).flatten()

    def log_ratio(self, z: Tensor) -> Tensor:
        """log p(x, z) − log q(z|x), shape (C, B)."""
        log_q, log_joint = self.ends(z)
        return (log_joint.double() - log_q.double()).unflatten(0, (-1, len(self.batch.x)))

    def move(self, z: Tensor, beta: float, step: Tensor, n_leapfrog: int, noise: Noise) -> tuple[Tensor, Tensor]:
        """One transition that leaves f_β invariant; ``step`` is (B,), in standard deviations of q."""

        def log_density(z: Tensor) -> Tensor:
            log_q, log_joint = self.ends(z)
            return (1 - beta) * log_q + beta * log_joint

        sizes = step.repeat(len(z) // len(step))[:, None] * self.scale[: len(z)]
        return hmc(log_density, z, sizes.to(z.dtype), n_leapfrog, noise)


def annealed(on: Evaluation, how: Annealing, progress: Progress = lambda n: None) -> tuple[Tensor, Tensor]:
    """log p(x) by annealed importance sampling from q(z|x), with Hamiltonian transitions.

    Neal, 2001, arXiv:physics/9803008; Wu et al., 2017, arXiv:1611.04273. A lower bound in expectation. A pilot chain
    of each row finds the step sizes, which are then held fixed: adapted on the way, they would bias the weights.

    Returns
    -------
    log_p, ess : Tensor of float64, shape (N,)
        log of the mean weight over the chains, in nats; the effective number of chains.
    """
    parts = []
    with on.evaluating():
        for batch in on.batches(on.rows_in_a_pass(how.n_chains)):
            bridge = Bridge(on.model, batch, on.posterior(batch, on.noise), how.n_chains)
            steps = _pilot(bridge, how, on.noise, progress)
            total = RunningLogMeanExp(len(batch.x), batch.x.device)
            total.add(_forward(bridge, how, steps, on.noise, progress))
            parts.append(total.result())
    log_p, ess = zip(*parts, strict=True)
    return torch.cat(log_p), torch.cat(ess)


def _pilot(bridge: Bridge, how: Annealing, noise: Noise, progress: Progress) -> list[Tensor]:
    """The step size of every row at every temperature, (B,) each, from one chain that adapts it as it goes."""
    n_rows = len(bridge.batch.x)
    z = bridge.q.rsample((1,), noise)[0]
    log_step = torch.full((n_rows,), math.log(0.2), dtype=torch.float64, device=z.device)
    steps = []
    for beta in how.temperatures()[1:]:
        steps.append(log_step.exp())
        z, acceptance = bridge.move(z, beta, steps[-1], how.n_leapfrog, noise)
        log_step = log_step + PILOT_RATE * (acceptance.double() - TARGET_ACCEPTANCE)
        log_step = log_step.clamp(math.log(NARROWEST), math.log(WIDEST))
        progress(n_rows / (how.n_temperatures * (1 + how.n_chains)))
    return steps


def _forward(bridge: Bridge, how: Annealing, steps: list[Tensor], noise: Noise, progress: Progress) -> Tensor:
    """log w = Σ_t (β_t − β_{t−1}) [log p(x, z_{t−1}) − log q(z_{t−1}|x)], shape (C, B)."""
    betas = how.temperatures()
    z = bridge.q.rsample((how.n_chains,), noise).flatten(0, 1)
    log_w = torch.zeros((), dtype=torch.float64, device=z.device)
    for before, beta, step in zip(betas, betas[1:], steps, strict=False):
        log_w = log_w + (beta - before) * bridge.log_ratio(z)
        z, _ = bridge.move(z, beta, step, how.n_leapfrog, noise)
        progress(len(step) * how.n_chains / (how.n_temperatures * (1 + how.n_chains)))
    return log_w


def _backward(bridge: Bridge, how: Annealing, steps: list[Tensor], z: Tensor, noise: Noise) -> Tensor:
    """The same sum along chains that go from z ~ p(z|x) back to q, shape (C, B)."""
    betas = how.temperatures()
    z = z.repeat(how.n_chains, 1)
    log_w = torch.zeros((), dtype=torch.float64, device=z.device)
    for t in range(how.n_temperatures, 0, -1):
        z, _ = bridge.move(z, betas[t], steps[t - 1], how.n_leapfrog, noise)
        log_w = log_w + (betas[t] - betas[t - 1]) * bridge.log_ratio(z)
    return log_w


@dataclass(frozen=True)
class BidirectionalBounds:
    """The mean log p(x) of data drawn from the model, from below and from above, in nats a row.

    Attributes
    ----------
    lower, upper : Estimate
    gap : Estimate
        Mean of upper − lower over rows: no estimate of log p(x) by as much annealing is further off, in expectation.
    """

    lower: Estimate
    upper: Estimate
    gap: Estimate


def bidirectional_bounds(
    model: Model, posterior: Infer, n_rows: int, mask: Tensor, noise: Noise, how: Annealing,
    progress: Progress = lambda n: None, context: Tensor | None = None,
) -> BidirectionalBounds:  # fmt: skip
    """Bidirectional Monte Carlo: both bounds of log p(x), for data that the model draws, so that their z are known.

    Grosse et al., 2015, arXiv:1511.02543. Chains that start from the z that made x start from p(z|x) exactly, so that
    the mean of 1/w along them estimates 1/p(x) without bias, and −log of it is an upper bound in expectation.

    Parameters
    ----------
    n_rows : int
        Rows to be drawn.
    mask : Tensor of bool, shape (*event)
        Entries that are counted in the density.
    context : Tensor, shape (n_rows, C), optional
        What the model is given.
    """
    given = model.given(context)
    with evaluating(model):
        z = given.prior().rsample((1, n_rows), noise.own())
        x = given.draw_x(z, noise.own())[0]
    rows = RowsInMemory(x, lambda raw, noise: raw, mask, x.device, context=context)
    on = Evaluation(model, posterior, rows, noise)
    lower, upper, esses = [], [], []
    with on.evaluating():
        for batch in on.batches(on.rows_in_a_pass(how.n_chains)):
            bridge = Bridge(model, batch, posterior(batch, noise), how.n_chains)
            steps = _pilot(bridge, how, noise, progress)
            below, above = RunningLogMeanExp(len(batch.x), x.device), RunningLogMeanExp(len(batch.x), x.device)
            below.add(_forward(bridge, how, steps, noise, progress))
            above.add(-_backward(bridge, how, steps, z[0, batch.index], noise))
            (low, ess), (minus_high, _) = below.result(), above.result()
            lower.append(low)
            upper.append(-minus_high)
            esses.append(ess)
    low, high, ess = torch.cat(lower), torch.cat(upper), torch.cat(esses).mean().item()
    return BidirectionalBounds(
        mean_over_rows(low, "lower", how.n_chains, ess),
        mean_over_rows(high, "upper", how.n_chains),
        mean_over_rows(high - low, "upper", how.n_chains),
    )
