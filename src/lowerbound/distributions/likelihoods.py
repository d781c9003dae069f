"""Distributions whose randomness is passed in, and the closed forms that the lower bound needs.

Two kinds. A distribution **over data** (``Normal``, ``Bernoulli``, ``Categorical``, ``DiscretizedLogistic``)
has parameters of shape ``(S, B, *event)`` and keeps that shape in ``log_prob`` until ``event_sum``. A
distribution **over latent variables** (``StandardNormal``, ``DiagonalGaussian``, ``FullGaussian``) is one
vector of ``D`` numbers a row: its ``log_prob`` is already summed, shape ``(S, B)``. All logarithms are natural.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from lowerbound.distributions.gaussians import LOG_2PI
from lowerbound.distributions.noise import Noise

N_GREY_LEVELS = 256  # of an 8-bit image


def event_sum(log_prob: Tensor, mask: Tensor, complete: bool = False) -> Tensor:
    """Sum a log-density over the observed entries of each event.

    Parameters
    ----------
    log_prob : Tensor, shape (*, B, *event)
        Log-density of every entry, in nats.
    mask : Tensor of bool, shape (B, *event)
        True where an entry is observed.
    complete : bool
        The mask is known to be True everywhere: a pass over all entries, and its gradient, are saved.

    Returns
    -------
    Tensor, shape (*, B); (*) where ``log_prob`` is the same for all rows and the mask complete
    """
    event_dims = tuple(range(1 - mask.ndim, 0))
    return (log_prob if complete else torch.where(mask, log_prob, 0.0)).sum(event_dims)


class Likelihood(Protocol):
    """What the decoder returns: p(x|z) for every entry of x."""

    @property
    def mean(self) -> Tensor:
        """E[x|z], shape (S, B, *event)."""
        ...

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of each entry, in nats, shape (S, B, *event)."""
        ...

    def sample(self, noise: Noise) -> Tensor:
        """One draw of x for every z, shape (S, B, *event)."""
        ...


@dataclass
class Normal:
    """Independent normal entries: N(x; μ, σ²)."""

    mean: Tensor
    scale: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        """−½((x − μ)/σ)² − log σ − ½ log 2π."""
        return -0.5 * ((x - self.mean) / self.scale).square() - self.scale.log() - 0.5 * LOG_2PI

    def sample(self, noise: Noise) -> Tensor:
        """μ + σε."""
        return self.mean + self.scale * noise.normal(self.mean.shape, self.mean)


@dataclass
class Bernoulli:
    """Independent binary entries: P(x = 1) = σ(logits)."""

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """P(x = 1)."""
        return self.logits.sigmoid()

    def log_prob(self, x: Tensor) -> Tensor:
        """x·logits − log(1 + exp(logits))."""
        return x * self.logits - F.softplus(self.logits)

    def sample(self, noise: Noise) -> Tensor:
        """1[u < σ(logits)]."""
        return (noise.uniform(self.logits.shape, self.logits) < self.mean).to(self.logits.dtype)


@dataclass
class Categorical:
    """Independent entries with categories 0, …, K − 1; ``logits`` carries the K of them in its **last** dimension."""

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """The most probable category: categories have no mean."""
        return self.logits.argmax(-1).to(self.logits.dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        """The logit of the observed category − log Σ exp(logits)."""
        category = x.long().expand(self.logits.shape[:-1]).unsqueeze(-1)
        return self.logits.gather(-1, category).squeeze(-1) - self.logits.logsumexp(-1)

    def sample(self, noise: Noise) -> Tensor:
        """argmax_k (logit_k + Gumbel noise) (Gumbel, 1954)."""
        u = noise.uniform(self.logits.shape, self.logits)
        u = u.clamp_min(torch.finfo(u.dtype).eps / 4)  # u = 0 would be infinite noise
        gumbel = -torch.log(-torch.log1p(-u))
        return (self.logits + gumbel).argmax(-1).to(self.logits.dtype)


@dataclass
class DiscretizedLogistic:
    """Independent entries with grey levels 0, …, 255: the mass that a logistic density puts on each grey level's bin.

    ``mean_parameter`` μ and ``scale`` s live on the scale where the 256 grey levels run from −1 to 1; the outermost
    bins are extended to infinity, so that the 256 probabilities sum to 1 (Kingma et al., 2016,
    arXiv:1606.04934, section 6.2; Salimans et al., 2017, arXiv:1701.05517, eq. 2).
    """

    mean_parameter: Tensor
    scale: Tensor

    BIN = 2 / (N_GREY_LEVELS - 1)

    @staticmethod
    def center(x: Tensor) -> Tensor:
        """Levels 0…255 to the interval [−1, 1]."""
        return x * DiscretizedLogistic.BIN - 1

    @property
    def mean(self) -> Tensor:
        """E[x|z] = Σ_{k=1}^{255} P(x ≥ k), in grey levels."""
        total = torch.zeros_like(self.mean_parameter)
        for k in range(1, N_GREY_LEVELS):
            total += torch.sigmoid((self.mean_parameter + 1 - (k - 0.5) * self.BIN) / self.scale)
        return total

    def log_prob(self, x: Tensor) -> Tensor:
        """log[σ(a) − σ(b)] = log σ(a) + log σ(−b) + log(1 − e^{b−a}), a and b the edges of the bin of x."""
        centered = (self.center(x) - self.mean_parameter) / self.scale
        half = 0.5 * self.BIN / self.scale
        lowest, highest = x <= 0, x >= N_GREY_LEVELS - 1
        below_upper_edge = torch.where(highest, 0.0, F.logsigmoid(centered + half))
        above_lower_edge = torch.where(lowest, 0.0, F.logsigmoid(half - centered))
        both = torch.where(lowest | highest, 0.0, torch.log(-torch.expm1(-2 * half)))
        return below_upper_edge + above_lower_edge + both

    def sample(self, noise: Noise) -> Tensor:
        """μ + s·logit(u), rounded to the nearest grey level."""
        u = noise.uniform(self.mean_parameter.shape, self.mean_parameter)
        value = self.mean_parameter + self.scale * torch.logit(u, eps=torch.finfo(u.dtype).tiny)
        return ((value + 1) / self.BIN).round().clamp(0, N_GREY_LEVELS - 1)


@dataclass
class DiscretizedLogisticMixture:
    """Independent entries with grey levels 0, …, 255: Σ_k π_k of discretized logistics (Salimans et al., 2017, eq. 2).

    ``components`` has parameters of shape ``(S, B, K, *event)``, and so has ``log_weight`` = log π.
    """

    components: DiscretizedLogistic
    log_weight: Tensor

    @property
    def mean(self) -> Tensor:
        """E[x|z] in grey levels."""
        return (self.log_weight.exp() * self.components.mean).sum(2)

    def log_prob(self, x: Tensor) -> Tensor:
        """log Σ_k π_k P_k(x); x is (B, *event)."""
        return (self.log_weight + self.components.log_prob(x.unsqueeze(1))).logsumexp(2)

    def sample(self, noise: Noise) -> Tensor:
        """A component for each entry (Gumbel, 1954), and a grey level of it."""
        u = noise.uniform(self.log_weight.shape, self.log_weight)
        gumbel = -torch.log(-torch.log1p(-u.clamp_min(torch.finfo(u.dtype).eps / 4)))
        chosen = (self.log_weight + gumbel).argmax(2, keepdim=True)
        return self.components.sample(noise).gather(2, chosen).squeeze(2)
