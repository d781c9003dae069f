"""Self-masking: a model of the mask of missing entries, together with a model of the entries.

If p(missing) depends on the missing value itself, the observed entries alone are biased (incomes that are withheld
because they are high). not-MIWAE (Ipsen, Mattei & Frellsen, 2021, arXiv:2006.12871) therefore scores the
mask s too: log p(x_o, s) = log ∫∫ p(x_o, x_m|z) p(s|x_o, x_m) p(z) dx_m dz.

Here the probability that an entry is missing depends on its own value, by a probit where the paper has a logit. Given
z, entries are normal, so that the integral over x_m has a closed form and no x_m has to be drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lowerbound.core import Batch
from lowerbound.distributions.gaussians import LOG_2PI
from lowerbound.distributions.likelihoods.likelihood import AveragedByMean, event_sum
from lowerbound.distributions.likelihoods.normal import Normal
from lowerbound.distributions.noise import Noise


@dataclass
class SelectedNormal(AveragedByMean):
    """p(x|missing) ∝ N(x; μ, σ²) Φ(ax + b): normal entries, given that they are missing.

    With η ~ N(0, 1) an entry is missing if ax + b + η > 0. Density, mean and draws are functions of
    t = (aμ + b)/c with c² = 1 + a²σ² (extended skew-normal: Azzalini, 1985).

    Attributes
    ----------
    normal : Normal
        N(μ, σ²) of every entry, (S, B, *event).
    slope, offset : Tensor, shape (*event)
        a and b.
    """

    normal: Normal
    slope: Tensor
    offset: Tensor

    @property
    def width(self) -> Tensor:
        """c, the standard deviation of ax + η."""
        return (1 + (self.slope * self.normal.scale).square()).sqrt()

    @property
    def t(self) -> Tensor:
        """t, with p(missing) = Φ(t)."""
        return (self.slope * self.normal.mean + self.offset) / self.width

    @property
    def log_p_missing(self) -> Tensor:
        """log ∫ N(x; μ, σ²) Φ(ax + b) dx = log Φ(t), (S, B, *event)."""
        return torch.special.log_ndtr(self.t)

    def log_prob(self, x: Tensor) -> Tensor:
        """log N(x; μ, σ²) + log Φ(ax + b) − log Φ(t), (S, B, *event)."""
        return self.normal.log_prob(x) + torch.special.log_ndtr(self.slope * x + self.offset) - self.log_p_missing

    @property
    def mean(self) -> Tensor:
        """μ + (aσ²/c) φ(t)/Φ(t)."""
        ratio = torch.exp(-0.5 * self.t.square() - 0.5 * LOG_2PI - self.log_p_missing)
        return self.normal.mean + self.slope * self.normal.scale.square() / self.width * ratio

    def sample(self, noise: Noise) -> Tensor:
        """x = μ + σ(ρw + √(1 − ρ²)ξ) with ρ = aσ/c, w ~ N(0, 1) above −t, and ξ ~ N(0, 1)."""
        t, shape = self.t.double(), self.t.shape
        u = noise.uniform(shape, self.t).double().clamp_min(torch.finfo(torch.float32).tiny)
        w = -torch.special.ndtri((u * torch.special.ndtr(t)).clamp_min(1e-300)).to(self.t.dtype)
        rho = self.slope * self.normal.scale / self.width
        free = noise.normal(shape, self.t)
        return self.normal.mean + self.normal.scale * (rho * w + (1 - rho.square()).clamp_min(0).sqrt() * free)


class SelfMasking(nn.Module):
    """p(x_j missing | x) = Φ(a_j x_j + b_j), for entries that are normal given z.

    Parameters
    ----------
    event_shape : sequence of int
    """

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__()
        self.slope: nn.Parameter = nn.Parameter(torch.zeros(tuple(event_shape)))
        self.offset: nn.Parameter = nn.Parameter(torch.zeros(tuple(event_shape)))

    def start(self, rate: Tensor) -> None:
        """Start from a = 0, and b from the rates of missing entries, shape (*event)."""
        with torch.no_grad():
            self.offset.copy_(torch.special.ndtri(rate.clamp(1e-3, 1 - 1e-3)))

    def among_missing(self, p: Normal) -> SelectedNormal:
        """p(x_m|z, missing)."""
        return SelectedNormal(p, self.slope, self.offset)

    def log_prob(self, batch: Batch, p: Normal) -> Tensor:
        """log p(s|x_o, z) with the missing entries integrated out, in nats, shape (S, B)."""
        shown = torch.special.log_ndtr(-(self.slope * batch.seen + self.offset)).expand_as(p.mean)
        log_p = event_sum(shown, batch.mask, batch.complete)
        if batch.missing is None:
            return log_p
        return log_p + event_sum(self.among_missing(p).log_p_missing, batch.missing)
