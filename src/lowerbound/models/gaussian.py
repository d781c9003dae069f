"""Gaussians with full covariance that fit themselves by EM, and their conditionals, also where entries are missing.

Given the observed entries o of a row, the missing ones m are Gaussian again (Anderson, 2003, theorem 2.5.1):

    E[x_m|x_o] = μ_m + Σ_mo Σ_oo⁻¹ (x_o − μ_o),    Cov[x_m|x_o] = Σ_mm − Σ_mo Σ_oo⁻¹ Σ_om.

Both are written here with W, which is Σ_oo⁻¹ where both entries are observed and 0 elsewhere: then Σ_mo Σ_oo⁻¹ is a
part of ΣW, and one matrix is inverted for every distinct set of observed entries, all of them in one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lowerbound.core import Batch
from lowerbound.distributions import LOG_2PI, Noise
from lowerbound.models.adapters import SOLVE_ELEMENTS, MixtureOfGaussians


class Given(NamedTuple):
    """One Gaussian, given the observed entries of B rows that have P distinct sets of them.

    ``log_p`` log N(x_o; μ_o, Σ_oo) (B,), ``filled`` x with E[x_m|x_o] in the gaps (B, F), ``W`` (P, F, F) and ``which``
    (B,) the set that a row has.
    """

    log_p: Tensor
    filled: Tensor
    W: Tensor
    which: Tensor


class GaussianSums(NamedTuple):
    """Sums over rows that EM needs; r is p(k|x_o), d = x̂ − μ_k with x̂ the filled row.

    ``n_rows`` (), ``log_p`` (), ``weight`` Σ r (K,), ``first`` Σ r d (K, F), ``second`` Σ r (d dᵀ + Cov[x|x_o])
    (K, F, F).
    """

    n_rows: Tensor
    log_p: Tensor
    weight: Tensor
    first: Tensor
    second: Tensor


class Gaussians(MixtureOfGaussians):
    """p(x) = Σ_k π_k N(x; μ_k, Σ_k) by EM from rows with gaps; one component is the Gaussian.

    EM climbs the likelihood times an inverse Wishart prior, of α imaginary rows with covariance ``average``, for each
    component: Σ_k = (Σ r (x − μ_k)(x − μ_k)ᵀ + α average)/(Σ r + α), and one imaginary row in each π_k. The prior keeps
    Σ_k positive definite where there are fewer rows than features (Dempster, Laird & Rubin, 1977, section 4.1.3;
    Ghahramani & Jordan, 1994, for mixtures).

    Parameters
    ----------
    n_components : int
        K.
    event_shape : tuple of int
        F features in all.
    shrinkage : float
        α, at least 0.
    log_unit : Tensor, shape (*event), optional
        log of the user's units in one unit of x.
    """

    def __init__(
        self, n_components: int, event_shape: Sequence[int], shrinkage: float = 1.0, log_unit: Tensor | None = None
    ) -> None:
        super().__init__(n_components, event_shape, log_unit)
        self.shrinkage = shrinkage
        self.average: Tensor
        self.register_buffer("average", torch.eye(self.means.shape[1], dtype=torch.float64))

    @property
    def covariances(self) -> Tensor:
        """Σ, shape (K, F, F)."""
        return self.scale_trils @ self.scale_trils.mT

    def start(self, means: Tensor, covariance: Tensor, average: Tensor) -> None:
        """Means (K, F) of each component, one covariance (F, F) for all, and the one that they shrink towards."""
        self.means.copy_(means)
        self.scale_trils.copy_(torch.linalg.cholesky(covariance).expand_as(self.scale_trils))
        self.average.copy_(average)

    @torch.no_grad()
    def adopt(self, part: Gaussians, counted: Tensor) -> None:  # type: ignore[override]
        """Take over the parameters of the same mixture of the features where ``counted`` (F,) is True."""
        block = counted.unsqueeze(-1) & counted
        self.log_weights.copy_(part.log_weights)
        self.means[:, counted] = part.means
        self.scale_trils[:, block] = part.scale_trils.flatten(1)
        self.average[block] = part.average.flatten()

    # what the observed entries say

    def given(self, batch: Batch) -> list[Given]:
        """Each component, given the observed entries."""
        x, mask = batch.x.flatten(1).to(self.means.dtype), batch.mask.flatten(1)
        patterns, which = mask.unique(dim=0, return_inverse=True)
        return [
            _given(x, mask, patterns, which, mean, covariance)
            for mean, covariance in zip(self.means, self.covariances, strict=True)
        ]

    def log_prob_given(self, batch: Batch) -> Tensor:
        """log N(x_o; μ_k, Σ_k), shape (B, K)."""
        parts = [torch.stack([g.log_p for g in self.given(part)], 1) for part in _pieces(batch)]
        return torch.cat(parts)

    def conditional_mean(self, batch: Batch) -> Tensor:
        """x with E[x_m|x_o] = Σ_k p(k|x_o) E[x_m|x_o, k] in the gaps, shape (B, *event)."""
        return torch.cat([self._conditional_mean(part) for part in _pieces(batch)]).view_as(batch.x)

    def _conditional_mean(self, batch: Batch) -> Tensor:
        given = self.given(batch)
        r = self._responsibilities(given)
        filled = torch.einsum("bk,kbf->bf", r, torch.stack([g.filled for g in given]))
        return torch.where(batch.mask.flatten(1), batch.x.flatten(1), filled)

    def conditional_sample(self, batch: Batch, n: int, noise: Noise) -> Tensor:
        """x with draws from p(x_m|x_o) in the gaps, shape (n, B, *event).

        k ~ p(k|x_o); then y ~ N(μ_k, Σ_k), and y + ΣW(x − y) has the conditional distribution: it is x where that is
        observed, and elsewhere its mean and covariance are the conditional ones (Doucet, 2010).
        """
        parts = [self._conditional_sample(part, n, noise) for part in _pieces(batch)]
        return torch.cat(parts, 1).view(n, *batch.x.shape)

    def _conditional_sample(self, batch: Batch, n: int, noise: Noise) -> Tensor:
        given = self.given(batch)
        chosen = _draw_components(self._responsibilities(given), n, noise)
        mask = batch.mask.flatten(1)
        x = noise.normal((n, *mask.shape), self.means)
        for k, g in enumerate(given):
            y = x @ self.scale_trils[k].mT  # without μ: the filled row has it
            seen = torch.where(mask, y, 0.0)
            drawn = y - _times(g, seen) @ self.covariances[k]
            x = torch.where((chosen == k).unsqueeze(-1), g.filled + drawn, x)
        return torch.where(mask, batch.x.flatten(1).to(x.dtype), x)

    def conditional_covariance(self, batch: Batch) -> Tensor:
        """Cov[x|x_o], with zeros where an entry is observed, shape (B, F, F); a matrix for each row."""
        return torch.cat([self._conditional_covariance(part) for part in _pieces(batch)])

    def _conditional_covariance(self, batch: Batch) -> Tensor:
        """Σ_k r_k (Σ_k − Σ_k W_k Σ_k + d_k d_kᵀ) with d_k = E[x|x_o, k] − E[x|x_o]."""
        given, hidden = self.given(batch), ~batch.mask.flatten(1)
        mean, total = self._conditional_mean(batch), torch.zeros((), dtype=self.means.dtype)
        for g, r, covariance in zip(given, self._responsibilities(given).unbind(1), self.covariances, strict=True):
            within, d = (covariance - covariance @ g.W @ covariance)[g.which], g.filled - mean
            total = total + r.view(-1, 1, 1) * (within + d.unsqueeze(-1) * d.unsqueeze(-2))
        return torch.where(hidden.unsqueeze(-1) & hidden.unsqueeze(-2), total, 0.0)

    def _responsibilities(self, given: list[Given]) -> Tensor:
        return (self.log_weights + torch.stack([g.log_p for g in given], 1)).softmax(-1)

    # exact EM

    def expect(self, batch: Batch) -> GaussianSums:
        """The E-step: r = p(k|x_o), the filled rows and their conditional covariance, and the sums over them."""
        given = self.given(batch)
        log_joint = self.log_weights + torch.stack([g.log_p for g in given], 1)
        log_p = log_joint.logsumexp(-1)
        weights = (log_joint - log_p.unsqueeze(1)).exp().unbind(1)
        sums = [self._moments(*parts) for parts in zip(given, weights, self.means, self.covariances, strict=True)]
        first, second = (torch.stack(part) for part in zip(*sums, strict=True))
        n_rows = torch.tensor(len(log_p), device=log_p.device)
        return GaussianSums(n_rows, log_p.sum(), torch.stack([r.sum() for r in weights]), first, second)

    @staticmethod
    def _moments(given: Given, r: Tensor, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """Σ r d and Σ r (d dᵀ + Cov[x|x_o]), where Cov[x|x_o] = Σ − ΣWΣ, which is 0 for observed entries."""
        d = given.filled - mean
        weight = r.new_zeros(len(given.W)).index_add(0, given.which, r)  # of each distinct set
        uncertain = r.sum() * covariance - covariance @ torch.einsum("p,pij->ij", weight, given.W) @ covariance
        return r @ d, (d.mT * r) @ d + uncertain

    def maximize(self, sums: GaussianSums) -> None:
        """π_k = (Σ r + 1)/(n + K), μ_k = Σ r x̂/Σ r, and Σ_k the mean of what is around it, shrunk."""
        weight = sums.weight.clamp_min(torch.finfo(sums.weight.dtype).tiny).view(-1, 1)
        shift = sums.first / weight
        around = sums.second - weight.unsqueeze(-1) * shift.unsqueeze(-1) * shift.unsqueeze(-2)
        covariances = (around + self.shrinkage * self.average) / (weight.unsqueeze(-1) + self.shrinkage)
        self.means += shift
        self.scale_trils.copy_(torch.linalg.cholesky((covariances + covariances.mT) / 2))
        self.log_weights.copy_(((sums.weight + 1) / (sums.n_rows + self.n_components)).log())

    def log_prior(self) -> Tensor:
        """Σ_k −½ α [tr(average Σ_k⁻¹) + log |Σ_k|] + log π_k, up to a constant."""
        log_det = 2 * self.scale_trils.diagonal(dim1=-2, dim2=-1).log().sum()
        trace = (torch.cholesky_inverse(self.scale_trils) * self.average).sum()
        return self.log_weights.sum() - 0.5 * self.shrinkage * (trace + log_det)


def rows_at_once(n_features: int) -> int:
    """How many rows may have an F × F matrix of their own at the same time."""
    return max(1, SOLVE_ELEMENTS // n_features**2)


def _pieces(batch: Batch) -> list[Batch]:
    rows = rows_at_once(batch.x[0].numel())
    split = zip(batch.x.split(rows), batch.mask.split(rows), batch.index.split(rows), strict=True)
    return [Batch(*part) for part in split]


def _given(x: Tensor, mask: Tensor, patterns: Tensor, which: Tensor, mean: Tensor, covariance: Tensor) -> Given:
    both = patterns.unsqueeze(-1) & patterns.unsqueeze(-2)
    identity = torch.eye(len(mean), dtype=mean.dtype, device=mean.device)
    factor = torch.linalg.cholesky(
        torch.where(both, covariance, identity)
    )  # what isn't observed adds nothing to |Σ_oo|
    log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    given = Given(log_det, x, torch.cholesky_inverse(factor) * both, which)
    d = torch.where(mask, x - mean, 0.0)
    white = _times(given, d)
    log_p = -0.5 * ((d * white).sum(-1) + log_det[which] + LOG_2PI * mask.to(x.dtype).sum(-1))
    return given._replace(log_p=log_p, filled=torch.where(mask, x, mean + white @ covariance))


def _times(given: Given, d: Tensor) -> Tensor:
    """W d for every row, d of shape (*, B, F)."""
    if len(given.W) == 1:
        return d @ given.W[0]
    return torch.einsum("bij,...bj->...bi", given.W[given.which], d)


def _draw_components(r: Tensor, n: int, noise: Noise) -> Tensor:
    """k ~ r for each of the rows of r (B, K), n times, shape (n, B)."""
    cumulative = r.cumsum(-1)
    u = noise.uniform((n, len(r), 1), r) * cumulative[:, -1:]
    return (u > cumulative).sum(-1).clamp_max(r.shape[1] - 1)
