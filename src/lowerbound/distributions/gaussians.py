"""Gaussian distributions of latent variables: the prior N(0, I), and posteriors with diagonal and full covariances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lowerbound.distributions.noise import Noise
from lowerbound.precision import in_full

LOG_2PI = math.log(2 * math.pi)


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

    prior = None

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

    def relative_to(self, p: DiagonalGaussian) -> DiagonalGaussian:
        """The distribution of (z − m)/s, for another one N(m, diag s²)."""
        mean = (self.mean - p.mean) * torch.exp(-p.log_scale)
        return DiagonalGaussian(mean, self.log_scale - p.log_scale)

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

    prior = None

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

    def relative_to(self, p: DiagonalGaussian) -> FullGaussian:
        """The distribution of (z − m)/s, for another one N(m, diag s²)."""
        inverse = torch.exp(-p.log_scale)
        return FullGaussian((self.mean - p.mean) * inverse, self.scale_tril * inverse.unsqueeze(-1))

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


class GaussianPrior(DiagonalGaussian):
    """The prior p(z|c) = N(m, diag s²) of B rows, of which each has its own m and s, (B, D)."""

    def rsample(self, shape: Sequence[int], noise: Noise) -> Tensor:
        """Draws of shape ``(*shape, D)``, the last number of ``shape`` being B."""
        return self.mean + self.log_scale.exp() * noise.normal((*shape, self.mean.shape[-1]), self.mean)

    def kl_from(self, q: Any) -> Tensor | None:
        """KL(q ‖ p) in q's groups, shape (B, G): that of (z − m)/s to N(0, I)."""
        return q.relative_to(self).kl_to_standard_normal()
