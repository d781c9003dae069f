"""Diagnostics of sampled gradients: their mean, variance and signal-to-noise ratio."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor, nn

from lowerbound.core import Objective, ObjectiveState
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.estimators.vae import VAE
from lowerbound.evaluation.estimate import plus_minus
from lowerbound.inference.objectives import make_objective
from lowerbound.parameters.seed import seed_from
from lowerbound.precision import undisturbed_by_contexts

N_GROUPS = 20  # groups of draws for the jackknife

ESTIMATORS: dict[str, dict[str, Any]] = {
    "pathwise": {},
    "pathwise, KL sampled": {"objective": "elbo_sampled"},
    "stl": {"objective": "elbo_sampled", "gradient": "stl"},
    "score, running": {"gradient": "score", "baseline": "running"},
    "score, none": {"gradient": "score", "baseline": "none"},
}


@dataclass(frozen=True)
class Measured:
    """A mean over coordinates, its standard error, and, if asked for, the array over coordinates."""

    value: float
    standard_error: float
    array: np.ndarray | None = None

    def __str__(self) -> str:
        return plus_minus(self.value, self.standard_error)


@dataclass(frozen=True)
class GradientMoments:
    """Moments of one estimator's gradient in one group of parameters, averaged over coordinates.

    Attributes
    ----------
    mean : Measured
        Mean of the gradient.
    variance : Measured
    snr : Measured
        |mean| / standard deviation, over coordinates that vary. For a gradient of mean 0 it is √(2/(πn)) in n draws.
    n_coordinates : int
    """

    mean: Measured
    variance: Measured
    snr: Measured
    n_coordinates: int


@undisturbed_by_contexts
def gradient_variance(
    model: VAE, X: Any, estimators: Mapping[str, Mapping[str, Any] | Objective] | None = None, n: int = 200, *,
    batch_size: int | None = None, random_state: int | None = None, arrays: bool = False,
) -> dict[str, dict[str, GradientMoments]]:  # fmt: skip
    """Measure the mean, variance and signal-to-noise ratio of gradient estimators.

    The gradient is that of the loss in nats a row, −(1/M) Σ of the bound over the M rows of a minibatch: its mean is
    the gradient of the loss over all N rows, divided by N. For the gradient of the sum over the data multiply means
    by N and variances by N²; the signal-to-noise ratio is the same.

    Parameters
    ----------
    model : VAE
        A fitted model, measured at its weights, or an unfitted one, measured at the initial weights of training. It is
        not changed, and neither is any global random state.
    X : array-like, shape (N, *row)
    estimators : mapping of str to (mapping or Objective), optional
        Arguments of ``make_objective`` by any name (``{"objective": "iwae", "gradient": "dreg", "n_samples": 8}``).
        By default the estimators of the lower bound with the model's ``n_samples``.
    n : int
        Draws of the gradient, at least 40, each with its own minibatch and noise, the same for all estimators.
    batch_size : int, optional
        M, rows drawn without replacement; all N if None, so that only z is random.
    random_state : int, optional
        The model's if None.
    arrays : bool
        Keep the arrays over coordinates, in the order of ``parameters()``, as ``array`` of each ``Measured``.

    Returns
    -------
    dict
        ``result[estimator]["decoder" or "encoder"]`` is a ``GradientMoments``; the decoder's parameters are θ, the
        posterior's φ. Standard errors are jackknifed over 20 groups of draws.

    References
    ----------
    Rainforth et al., 2018, arXiv:1802.04537, section 3 (signal-to-noise ratio). Efron & Stein, 1981 (jackknife).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from lowerbound import VAE, diagnostics
    >>> found = diagnostics.gradient_variance(VAE(2, random_state=0), load_iris().data, n=40)
    >>> found["score, none"]["encoder"].variance.value > found["pathwise"]["encoder"].variance.value
    True
    """
    if n < 2 * N_GROUPS:
        raise ValueError(f"n must be at least {2 * N_GROUPS} draws, for {N_GROUPS} groups of them, got {n}")
    started = _started(model, X)
    seed = started.seed_ if random_state is None else seed_from(random_state)
    chosen = {name: {"n_samples": model.asked().objective.n_samples, **options} for name, options in ESTIMATORS.items()}
    result = {}
    for name, options in (chosen if estimators is None else estimators).items():
        objective = options if isinstance(options, Objective) else make_objective(**options)
        drawn = _drawn(started, X, objective, n, batch_size, seed)
        result[name] = {group: _summary(sums, arrays) for group, sums in drawn.items()}
    return result


def _started(model: VAE, X: Any) -> VAE:
    """A copy of the model, with the initial weights of training if it isn't fitted."""
    if hasattr(model, "model_"):
        return copy.deepcopy(model)
    fresh: VAE = clone(model)  # type: ignore[assignment]
    fresh.begin_fit(X)
    return fresh


@dataclass
class Sums:
    """Sums of 1 (G,), of g and of g² (G, P) over the draws of each of G groups, in float64."""

    ones: Tensor
    first: Tensor
    second: Tensor

    def add(self, group: int, gradient: Tensor) -> None:
        """Add a draw."""
        self.ones[group] += 1
        self.first[group] += gradient
        self.second[group] += gradient.square()

    def without(self, group: int) -> tuple[Tensor, Tensor, Tensor]:
        """The moments of the draws of all other groups."""
        return _moments(*(t.sum(0) - t[group] for t in (self.ones, self.first, self.second)))

    def all(self) -> tuple[Tensor, Tensor, Tensor]:
        """The moments of all draws."""
        return _moments(*(t.sum(0) for t in (self.ones, self.first, self.second)))


def _moments(n: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and |mean|/σ of every coordinate, the last NaN where σ = 0; shape (P,) each."""
    mean = first / n
    variance = ((second - n * mean.square()) / (n - 1)).clamp_min(0)
    return mean, variance, torch.where(variance > 0, mean.abs() / variance.sqrt(), math.nan)


def _drawn(vae: VAE, X: Any, objective: Objective, n: int, batch_size: int | None, seed: int) -> dict[str, Sums]:
    """n draws of the gradient by group of parameters."""
    fitted, state = vae.fitted_, ObjectiveState(step=objective.warmup_steps)
    rows, device = fitted.rows(X), fitted.device
    order, noise = make_generator(seed, "gradient rows"), Noise(make_generator(seed, "gradient noise", device))
    modules = {"decoder": vae.model_.to(device).train(), "encoder": vae.posterior_.to(device).train()}
    weights = {name: parameters for name, m in modules.items() if (parameters := list(m.parameters()))}
    sums = {name: _no_draws(parameters) for name, parameters in weights.items()}
    for i in range(-1, n):  # the first draw is not counted: it initializes a running baseline
        index = torch.randperm(len(rows), generator=order)[:batch_size]
        batch = next(rows.subset(index).batches(len(index), noise))
        draw = vae.model_.draw(replace(batch, index=index), vae.posterior_, objective, noise)
        loss = objective.loss(draw, state).mean()
        everything = torch.autograd.grad(
            loss, [w for group in weights.values() for w in group], allow_unused=True, materialize_grads=True
        )
        remaining = iter(everything)
        for name, parameters in weights.items():
            gradient = torch.cat([next(remaining).flatten() for _ in parameters]).double()
            if i >= 0:
                sums[name].add(i % N_GROUPS, gradient)
    return sums


def _no_draws(parameters: list[nn.Parameter]) -> Sums:
    like = parameters[0]
    size = sum(w.numel() for w in parameters)
    ones, first, second = (like.new_zeros(N_GROUPS, *shape, dtype=torch.float64) for shape in ((), (size,), (size,)))
    return Sums(ones, first, second)


def _summary(sums: Sums, arrays: bool) -> GradientMoments:
    """Averages over coordinates; se² = (G − 1)/G Σ_g (t_(g) − t̄)², t_(g) without the group g."""
    whole = sums.all()
    leaving_out = torch.stack([_averages(sums.without(g)) for g in range(N_GROUPS)])
    errors = math.sqrt(N_GROUPS - 1) * leaving_out.std(0, correction=0)
    numbers = zip(_averages(whole).tolist(), errors.tolist(), whole, strict=True)
    measured = [Measured(value, error, t.cpu().numpy() if arrays else None) for value, error, t in numbers]
    return GradientMoments(*measured, n_coordinates=sums.first.shape[1])


def _averages(moments: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return torch.stack([moment.nanmean() for moment in moments])
