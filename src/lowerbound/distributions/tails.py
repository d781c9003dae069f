"""Means and probabilities of the log-normal and of Student's distribution."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from scipy.special import stdtr
from torch import Tensor

NORMAL_STEPS = tuple(k / 8 for k in range(-48, 49))
STUDENT_STEPS = tuple(math.sinh(k / 8) for k in range(-64, 65))  # beyond, 10⁻⁶ if ν = 2


def lognormal_mean(m: Tensor, s: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """E[y] for log y ~ N(m, s²) and y confined to the range [low, high]: exp(m + s²/2) between 0 and ∞.

    low Φ(a) + e^{m + s²/2} [Φ(b − s) − Φ(a − s)] + high Φ(−b), a and b the ends of the range in standard deviations.
    """
    a, b = ((end.clamp_min(0).log() - m) / s for end in (low, high))
    up_to_a, up_to_b = ((m + 0.5 * s * s + torch.special.log_ndtr(end - s)).exp() for end in (a, b))
    ends = [torch.where(end.isfinite(), end * torch.special.ndtr(z), 0.0) for end, z in ((low, a), (high, -b))]
    return up_to_b - up_to_a + ends[0] + ends[1]


def normal_mean(f: Callable[[float], Tensor]) -> Tensor:
    """E[f(t)] for t ~ N(0, 1), by the trapezoidal rule."""
    weights = [math.exp(-0.5 * t * t) for t in NORMAL_STEPS]
    return sum(
        (w * f(t) for w, t in zip(weights[1:], NORMAL_STEPS[1:], strict=True)), weights[0] * f(NORMAL_STEPS[0])
    ) / sum(weights)


def student_mean(f: Callable[[float], Tensor], df: Tensor) -> Tensor:
    """E[f(t)] for Student's t with ν degrees of freedom, by the trapezoidal rule over arsinh t."""
    log_densities = [math.log1p(t * t) / 2 - 0.5 * (df + 1) * torch.log1p(t * t / df) for t in STUDENT_STEPS]
    weights = torch.stack(log_densities).softmax(0)
    total = weights[0] * f(STUDENT_STEPS[0])
    for w, t in zip(weights[1:], STUDENT_STEPS[1:], strict=True):
        total = total + w * f(t)
    return total


def student_below(df: Tensor, t: Tensor) -> Tensor:
    """P(T ≤ t) for Student's t."""
    return torch.from_numpy(stdtr(df.double().cpu().numpy(), t.double().cpu().numpy())).to(t)
