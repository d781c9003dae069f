"""Distributions whose randomness is passed in, and the closed forms that the lower bound needs.

Two kinds. A distribution **over data** (``Normal``, ``Bernoulli``, ``Categorical``, ``DiscretizedLogistic``)
has parameters of shape ``(S, B, *event)`` and keeps that shape in ``log_prob`` until ``event_sum``. A
distribution **over latent variables** (``StandardNormal``, ``DiagonalGaussian``, ``FullGaussian``) is one
vector of ``D`` numbers a row: its ``log_prob`` is already summed, shape ``(S, B)``. All logarithms are natural.
"""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lowerbound.parallel import WHOLE, Share
from lowerbound.precision import in_full

LOG_2PI = math.log(2 * math.pi)
N_LEVELS = 256  # of an 8-bit image


def make_generator(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own for each purpose ("weights", "order", "noise", …), all from one seed."""
    state = np.random.SeedSequence([seed, zlib.crc32(purpose.encode())]).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0]) >> 1)


def continued(generator: torch.Generator, state: Tensor, seed: int, purpose: str) -> torch.Generator:
    """The generator at a saved state; with a warning a new one, if the state is of another kind of device.

    What CPUs and GPUs draw, and their states, have nothing in common.
    """
    if len(state) == len(generator.get_state()):
        generator.set_state(state)
        return generator
    warnings.warn("the checkpoint is of another kind of device: the noise from here on is another", stacklevel=2)
    return make_generator(seed, purpose, generator.device)


@dataclass
class Noise:
    """The one source of randomness: a generator, and how its draws are laid over rows.

    Parameters
    ----------
    generator : torch.Generator
        Where the numbers come from; the global generator is never touched.
    shared : bool
        Give every row the same numbers, so that what is computed for a row depends neither on its
        neighbors nor on their order.

    One of several processes draws the numbers of the whole batch and takes those of its own rows: a row's noise
    depends on its place in the batch alone, and the generators of all processes stay alike.
    """

    generator: torch.Generator
    shared: bool = False

    def __post_init__(self) -> None:
        self._start = self.generator.get_state() if self.shared else None
        self._share = WHOLE

    def restart(self, share: Share = WHOLE) -> None:
        """Go back to the first number when rows share them; called before every batch, of which this is our share."""
        self._share = share
        if self._start is not None:
            self.generator.set_state(self._start)

    def normal(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Standard normal numbers of shape ``(S, B, ...)``, with the dtype and device of ``like``."""
        return self.draw(torch.randn, shape, like)

    def uniform(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Uniform numbers in [0, 1) of shape ``(S, B, ...)``, with the dtype and device of ``like``."""
        return self.draw(torch.rand, shape, like)

    def draw(self, how: Callable[..., Tensor], shape: Sequence[int], like: Tensor) -> Tensor:
        """Numbers by ``torch.rand`` or ``torch.randn``."""
        share = self._share
        n_rows = 1 if self.shared else share.n_rows or shape[1]
        drawn = (shape[0], n_rows, *shape[2:])
        numbers = how(drawn, generator=self.generator, dtype=like.dtype, device=self.generator.device)
        if not self.shared:
            numbers = numbers[:, share.start : share.stop]
        return numbers.to(like.device).expand(tuple(shape))


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
    """Independent entries with levels 0, …, K − 1; ``logits`` carries the K levels in its **last** dimension."""

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """The most probable level: levels have no mean."""
        return self.logits.argmax(-1).to(self.logits.dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        """The logit of the level seen − log Σ exp(logits)."""
        level = x.long().expand(self.logits.shape[:-1]).unsqueeze(-1)
        return self.logits.gather(-1, level).squeeze(-1) - self.logits.logsumexp(-1)

    def sample(self, noise: Noise) -> Tensor:
        """argmax_k (logit_k + Gumbel noise) (Gumbel, 1954)."""
        u = noise.uniform(self.logits.shape, self.logits)
        u = u.clamp_min(torch.finfo(u.dtype).eps / 4)  # u = 0 would be infinite noise
        gumbel = -torch.log(-torch.log1p(-u))
        return (self.logits + gumbel).argmax(-1).to(self.logits.dtype)


@dataclass
class DiscretizedLogistic:
    """Independent entries with levels 0, …, 255: the mass that a logistic density puts on each level's bin.

    ``mean_parameter`` μ and ``scale`` s live on the scale where the 256 levels run from −1 to 1; the outermost
    bins are extended to infinity, so that the 256 probabilities sum to 1 (Kingma et al., 2016,
    arXiv:1606.04934, section 6.2; Salimans et al., 2017, arXiv:1701.05517, eq. 2).
    """

    mean_parameter: Tensor
    scale: Tensor

    BIN = 2 / (N_LEVELS - 1)

    @staticmethod
    def center(x: Tensor) -> Tensor:
        """Levels 0…255 to the interval [−1, 1]."""
        return x * DiscretizedLogistic.BIN - 1

    @property
    def mean(self) -> Tensor:
        """E[x|z] = Σ_{k=1}^{255} P(x ≥ k), in levels."""
        total = torch.zeros_like(self.mean_parameter)
        for k in range(1, N_LEVELS):
            total += torch.sigmoid((self.mean_parameter + 1 - (k - 0.5) * self.BIN) / self.scale)
        return total

    def log_prob(self, x: Tensor) -> Tensor:
        """log[σ(a) − σ(b)] = log σ(a) + log σ(−b) + log(1 − e^{b−a}), a and b the edges of the bin of x."""
        centered = (self.center(x) - self.mean_parameter) / self.scale
        half = 0.5 * self.BIN / self.scale
        lowest, highest = x <= 0, x >= N_LEVELS - 1
        below_upper_edge = torch.where(highest, 0.0, F.logsigmoid(centered + half))
        above_lower_edge = torch.where(lowest, 0.0, F.logsigmoid(half - centered))
        both = torch.where(lowest | highest, 0.0, torch.log(-torch.expm1(-2 * half)))
        return below_upper_edge + above_lower_edge + both

    def sample(self, noise: Noise) -> Tensor:
        """μ + s·logit(u), rounded to the nearest level."""
        u = noise.uniform(self.mean_parameter.shape, self.mean_parameter)
        value = self.mean_parameter + self.scale * torch.logit(u, eps=torch.finfo(u.dtype).tiny)
        return ((value + 1) / self.BIN).round().clamp(0, N_LEVELS - 1)


@dataclass
class DiscretizedLogisticMixture:
    """Independent entries with levels 0, …, 255: Σ_k π_k of discretized logistics (Salimans et al., 2017, eq. 2).

    ``components`` has parameters of shape ``(S, B, K, *event)``, and so has ``log_weight`` = log π.
    """

    components: DiscretizedLogistic
    log_weight: Tensor

    @property
    def mean(self) -> Tensor:
        """E[x|z] in levels."""
        return (self.log_weight.exp() * self.components.mean).sum(2)

    def log_prob(self, x: Tensor) -> Tensor:
        """log Σ_k π_k P_k(x); x is (B, *event)."""
        return (self.log_weight + self.components.log_prob(x.unsqueeze(1))).logsumexp(2)

    def sample(self, noise: Noise) -> Tensor:
        """A component for each entry (Gumbel, 1954), and a level of it."""
        u = noise.uniform(self.log_weight.shape, self.log_weight)
        gumbel = -torch.log(-torch.log1p(-u.clamp_min(torch.finfo(u.dtype).eps / 4)))
        chosen = (self.log_weight + gumbel).argmax(2, keepdim=True)
        return self.components.sample(noise).gather(2, chosen).squeeze(2)


@dataclass
class StandardNormal:
    """The prior p(z) = N(0, I) over ``latent_dim`` numbers; ``like`` gives dtype and device."""

    latent_dim: int
    like: Tensor

    def log_prob(self, z: Tensor) -> Tensor:
        """−½‖z‖² − (D/2) log 2π, shape (S, B)."""
        return -0.5 * z.square().sum(-1) - 0.5 * self.latent_dim * LOG_2PI

    def rsample(self, shape: Sequence[int], noise: Noise) -> Tensor:
        """Draws of shape ``(*shape, D)``."""
        return noise.normal((*shape, self.latent_dim), self.like)

    def kl_from(self, q: Any) -> Tensor | None:
        """KL(q ‖ N(0, I)) in q's groups, shape (B, G), if q knows it."""
        return q.kl_to_standard_normal()


@dataclass
class DiagonalGaussian:
    """q(z) = N(μ, diag σ²), one vector a row.

    ``mean`` has shape ``(B, D)``; ``log_scale`` the same, or ``(B, 1)`` when the covariance is isotropic.
    """

    mean: Tensor
    log_scale: Tensor

    @property
    def scale(self) -> Tensor:
        """σ, shape (B, D)."""
        return self.log_scale.exp().expand_as(self.mean)

    @property
    def scale_tril(self) -> Tensor:
        """The Cholesky factor diag σ of the covariance, shape (B, D, D)."""
        return torch.diag_embed(self.scale)

    def rsample(self, shape: Sequence[int], noise: Noise) -> Tensor:
        """z = μ + σε, shape ``(*shape, B, D)``."""
        return self.mean + self.log_scale.exp() * noise.normal((*shape, *self.mean.shape), self.mean)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density, shape (S, B)."""
        standardized = (z - self.mean) * torch.exp(-self.log_scale)
        log_det = self.log_scale.expand_as(self.mean).sum(-1)
        return -0.5 * standardized.square().sum(-1) - log_det - 0.5 * self.mean.shape[-1] * LOG_2PI

    def kl_to_standard_normal(self) -> Tensor:
        """KL(q ‖ N(0, I)) of each dimension, ½[σ² + μ² − 1 − log σ²], shape (B, D)."""
        return 0.5 * (torch.expm1(2 * self.log_scale) + self.mean.square()) - self.log_scale

    def kl_to_each(self, others: DiagonalGaussian) -> Tensor:
        """KL(q_b ‖ r_j) of each of these to each of J others, shape (B, J).

        Σ_d [log s_jd − log σ_bd + (σ_bd² + (μ_bd − m_jd)²)/(2 s_jd²) − ½], its squares multiplied out so that nothing
        of shape (B, J, D) is made; in float64, because far from 0 it is a small difference of large products.
        """
        mean, log_scale = self.mean.double(), self.log_scale.double().expand_as(self.mean)
        center, log_width = others.mean.double(), others.log_scale.double().expand_as(others.mean)
        precision = torch.exp(-2 * log_width)
        second = torch.exp(2 * log_scale) + mean.square()  # E_q z²
        ours = -(log_scale + 0.5).sum(-1, keepdim=True)
        theirs = (0.5 * center.square() * precision + log_width).sum(-1)
        return 0.5 * second @ precision.mT - mean @ (center * precision).mT + ours + theirs

    def detach(self) -> DiagonalGaussian:
        """The same distribution, through whose parameters no gradient flows."""
        return DiagonalGaussian(self.mean.detach(), self.log_scale.detach())


@dataclass
class FullGaussian:
    """q(z) = N(μ, LLᵀ) with L lower triangular and a positive diagonal: ``mean`` (B, D), ``scale_tril`` (B, D, D)."""

    mean: Tensor
    scale_tril: Tensor

    @property
    def scale(self) -> Tensor:
        """The marginal standard deviations √Σ_jj, shape (B, D)."""
        return self.scale_tril.square().sum(-1).sqrt()

    def rsample(self, shape: Sequence[int], noise: Noise) -> Tensor:
        """z = μ + Lε, shape ``(*shape, B, D)``."""
        return self.mean + self._spread(noise.normal((*shape, *self.mean.shape), self.mean))

    @in_full
    def _spread(self, epsilon: Tensor) -> Tensor:
        return (self.scale_tril @ epsilon.unsqueeze(-1)).squeeze(-1)

    @in_full
    def log_prob(self, z: Tensor) -> Tensor:
        """−½‖L⁻¹(z − μ)‖² − log det L − (D/2) log 2π, shape (S, B)."""
        deviation = torch.movedim(z - self.mean, 0, -1)  # (B, D, S): one triangular solve a row for all samples
        standardized = torch.linalg.solve_triangular(self.scale_tril, deviation, upper=False)
        squared = standardized.square().sum(-2).movedim(-1, 0)
        return self.log_peak() - 0.5 * squared

    def log_peak(self) -> Tensor:
        """log q at its mean, −log det L − (D/2) log 2π, shape (B,): no triangular solve is needed there."""
        return -self._log_det() - 0.5 * self.mean.shape[-1] * LOG_2PI

    def kl_to_standard_normal(self) -> Tensor:
        """KL(q ‖ N(0, I)) in D + 1 groups, shape (B, D + 1): the marginals' and, last, the total correlation.

        Their sum is ½[tr Σ + μᵀμ − D − log det Σ].
        """
        log_marginal = self.scale.log()
        marginal = 0.5 * (self.scale.square() + self.mean.square() - 1) - log_marginal
        total_correlation = log_marginal.sum(-1) - self._log_det()
        return torch.cat([marginal, total_correlation.unsqueeze(-1)], -1)

    def detach(self) -> FullGaussian:
        """The same distribution, through whose parameters no gradient flows."""
        return FullGaussian(self.mean.detach(), self.scale_tril.detach())

    def _log_det(self) -> Tensor:
        return self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
