"""Gradient estimators of E_q[f] and log E_q[w].

Every function returns the same estimate, so that losses can be compared; they differ in its gradient by autograd.
The encoder's gradient comes in three ways (``Objective.gradient``):

    pathwise        z = g(φ, ε), everything differentiated
    score           z held fixed: ∇_φ E_q[f] = E_q[f ∇_φ log q(z|x)]
    fixed_density   z = g(φ, ε), the parameters of log q(z|x) held fixed

The decoder's gradient is always that of log p(x, z) with z held fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lowerbound.core import Draw, ObjectiveState
from lowerbound.parallel import WHOLE, Share

DECAY = 0.99  # of the running baseline

Baseline = Callable[[Tensor, ObjectiveState, Share], "Tensor | float"]
"""(S, B) signals → the number to subtract from each, which must not depend on that signal's own z."""


def only_gradient(y: Tensor) -> Tensor:
    """Zero, with the gradient of ``y``."""
    return y - y.detach()


def log_mean_exp(log_w: Tensor) -> Tensor:
    """log (1/K) Σ_k w_k, shape (B,) (Burda et al., 2016, arXiv:1509.00519, eq. 8)."""
    return log_w.logsumexp(0) - math.log(len(log_w))


# E_q[f]


def mean(f: Tensor, draw: Draw, state: ObjectiveState) -> Tensor:
    """(1/S) Σ_s f_s with its plain gradient (Kingma & Welling, 2014, arXiv:1312.6114, eq. 6 and 7)."""
    return f.mean(0)


def score_mean(baseline: Baseline) -> Callable[[Tensor, Draw, ObjectiveState], Tensor]:
    """(1/S) Σ_s f_s with gradient (1/S) Σ_s [∇f_s + (f_s − b_s) ∇ log q(z_s|x)].

    The score function or log-derivative estimator (Williams, 1992, REINFORCE; Ranganath et al., 2014,
    arXiv:1401.0118, eq. 2), for f at a z that is held fixed.
    """

    def estimate(f: Tensor, draw: Draw, state: ObjectiveState) -> Tensor:
        signal = f.detach()
        return (f + only_gradient((signal - baseline(signal, state, draw.share)) * draw.log_qz)).mean(0)

    return estimate


# log E_q[w], estimated by the importance-weighted bound


def importance_weighted(draw: Draw, state: ObjectiveState) -> Tensor:
    """L = log (1/K) Σ_k w_k with gradient Σ_k w̃_k ∇ log w_k, w̃_k = w_k/Σw (Burda et al., 2016, eq. 13)."""
    return log_mean_exp(draw.log_w)


def doubly_reparameterized(draw: Draw, state: ObjectiveState) -> Tensor:
    """L with gradients Σ_k w̃_k ∇_θ log p(x, z_k) and Σ_k w̃_k² (∂ log w_k/∂z_k) ∇_φ z_k.

    Tucker et al., 2018, arXiv:1810.04152, eq. 8, for draws whose log q is held fixed. Autograd's gradient of z_k has
    one factor w̃_k, and a hook on z multiplies by the second; the gradient of θ, which doesn't pass through z, has one.
    """
    weights = draw.log_w.detach().softmax(0).unsqueeze(-1)
    if draw.z.requires_grad:
        draw.z.register_hook(lambda gradient: weights * gradient)
    return log_mean_exp(draw.log_w)


def score_importance_weighted(baseline: Baseline) -> Callable[[Draw, ObjectiveState], Tensor]:
    """L with gradient Σ_k [(L − b_k) ∇ log q(z_k|x) + w̃_k ∇ log w_k], z held fixed.

    Mnih & Rezende, 2016, arXiv:1602.06725, eq. 5; with ``geometric_mean_of_others`` as baseline it is VIMCO.
    """

    def estimate(draw: Draw, state: ObjectiveState) -> Tensor:
        log_w = draw.log_w
        signal = log_mean_exp(log_w.detach()) - baseline(log_w.detach(), state, draw.share)
        return log_mean_exp(log_w) + only_gradient((signal * draw.log_qz).sum(0))

    return estimate


# baselines


def no_baseline(signal: Tensor, state: ObjectiveState, share: Share = WHOLE) -> float:
    """The baseline 0."""
    return 0.0


def running_mean(of: Callable[[Tensor], Tensor]) -> Baseline:
    """b ← .99 b + .01·(this batch's mean of ``of(signal)``); the value before this batch is subtracted.

    b is a Python number, for checkpoints, so on a GPU this estimator waits for the device at every step.
    """

    def baseline(signal: Tensor, state: ObjectiveState, share: Share = WHOLE) -> float:
        before, now = state.baseline, share.mean(of(signal)).item()
        if math.isfinite(now):  # else the step is skipped
            state.baseline = now if before is None else DECAY * before + (1 - DECAY) * now
        return 0.0 if before is None else before

    return baseline


def mean_of_others(f: Tensor, state: ObjectiveState, share: Share = WHOLE) -> Tensor:
    """b_s = (1/(S − 1)) Σ_{t≠s} f_t."""
    return (f.sum(0) - f) / (len(f) - 1)


def log_mean_exp_of_others(log_w: Tensor, state: ObjectiveState, share: Share = WHOLE) -> Tensor:
    """b_k = log (1/(K − 1)) Σ_{l≠k} w_l."""
    return _log_sum_of_others(log_w) - math.log(len(log_w) - 1)


def geometric_mean_of_others(log_w: Tensor, state: ObjectiveState, share: Share = WHOLE) -> Tensor:
    """b_k = log (1/K) [Σ_{l≠k} w_l + ŵ_k], ŵ_k the geometric mean of the others (Mnih & Rezende, 2016, eq. 7–10)."""
    log_w_hat = mean_of_others(log_w, state)
    return torch.logaddexp(_log_sum_of_others(log_w), log_w_hat) - math.log(len(log_w))


def _log_sum_of_others(log_w: Tensor) -> Tensor:
    """log Σ_{l≠k} w_l, shape (K, B), summed from both ends: the difference Σ_l w_l − w_k would lose digits."""
    nothing = torch.full_like(log_w[:1], -math.inf)
    before = torch.cat([nothing, log_w[:-1].logcumsumexp(0)])
    after = torch.cat([log_w[1:].flip(0).logcumsumexp(0).flip(0), nothing])
    return torch.logaddexp(before, after)
