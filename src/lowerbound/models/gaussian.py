"""Mixtures of Gaussians with full covariance by exact EM, and their conditionals, for rows with missing entries.

Given the observed entries o of a row, the missing ones m are Gaussian again (Anderson, 2003, theorem 2.5.1):

    E[x_m|x_o] = μ_m + Σ_mo Σ_oo⁻¹ (x_o − μ_o),    Cov[x_m|x_o] = Σ_mm − Σ_mo Σ_oo⁻¹ Σ_om.

Both are computed from W, which is Σ_oo⁻¹ where both entries are observed and 0 elsewhere: Σ_mo Σ_oo⁻¹ is a part of
ΣW, and one matrix is inverted for every distinct set of observed entries, all of them in one call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lowerbound.core import Batch
from lowerbound.distributions.gaussians import LOG_2PI
from lowerbound.distributions.noise import Noise
from lowerbound.models.mixture import Mixture, draw_components
from lowerbound.models.patterns import distinct_rows

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture


from typing import TYPE_CHECKING

from lowerbound.distributions.likelihoods.likelihood import event_sum
from lowerbound.distributions.likelihoods.normal import Normal

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

    from lowerbound.models.gaussian import MixtureOfGaussians

SOLVE_ELEMENTS = 2**23  # entries of the matrices in memory at once, one matrix for each row and component


class Given(NamedTuple):
    """K Gaussians, given the observed entries of B rows, with P distinct sets of observed entries.

    ``log_p`` log N(x_o; μ_o, Σ_oo) (K, B), ``filled`` x with E[x_m|x_o] in the gaps (K, B, F), ``W`` (K, P, F, F) and
    ``which`` (B,) the number of each row's set.
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


class MixtureOfGaussians(Mixture):
    """p(x) = Σ_k π_k N(x; μ_k, Σ_k) by EM from rows with gaps; one component is the Gaussian.

    EM maximizes the likelihood times a prior: for each component an inverse Wishart of α imaginary rows with covariance
    ``average``, Σ_k = (Σ r (x − μ_k)(x − μ_k)ᵀ + α average)/(Σ r + α), and one imaginary row in each π_k. The prior
    keeps Σ_k positive definite if there are fewer rows than features (Dempster, Laird & Rubin, 1977, section 4.1.3;
    Ghahramani & Jordan, 1994, for mixtures).

    Parameters
    ----------
    n_components : int
        K.
    event_shape : tuple of int
        F features in all.
    log_unit : Tensor, shape (*event), optional
        log of the user's units in one unit of x.
    shrinkage : float
        α, at least 0.
    form : {"full", "tied", "diagonal", "isotropic"}
        Form of Σ_k: any, the same for all components, diagonal, or a multiple of the identity.
    """

    def __init__(
        self, n_components: int, event_shape: Sequence[int], log_unit: Tensor | None = None, shrinkage: float = 1.0,
        form: str = "full",
    ) -> None:  # fmt: skip
        super().__init__(n_components, event_shape, log_unit)
        self.shrinkage: float = shrinkage
        self.form: str = form
        n_features = math.prod(event_shape)
        self.means: Tensor
        self.scale_trils: Tensor
        self.average: Tensor
        identity = torch.eye(n_features, dtype=torch.float64)
        self.register_buffer("means", torch.zeros(n_components, n_features, dtype=torch.float64))
        self.register_buffer("scale_trils", identity.repeat(n_components, 1, 1))
        self.register_buffer("average", identity, persistent=False)

    @property
    def covariances(self) -> Tensor:
        """Σ, shape (K, F, F)."""
        return self.scale_trils @ self.scale_trils.mT

    def start(self, means: Tensor, covariance: Tensor, average: Tensor) -> None:
        """Start from means (K, F) and one covariance (F, F) for all; ``average`` is the prior's covariance."""
        self.means.copy_(means)
        weight = covariance.new_ones(self.n_components, 1)
        self.scale_trils.copy_(
            torch.linalg.cholesky(self._most_probable(covariance.expand_as(self.scale_trils), weight))
        )
        self.average.copy_(average)

    @torch.no_grad()
    def adopt(self, fitted: GaussianMixture, counted: Tensor) -> None:
        """Copy the parameters of scikit-learn's mixture of the features where ``counted`` (F,) is True."""
        factors = torch.linalg.cholesky(torch.from_numpy(fitted.covariances_))  # (K, F, F), or (F, F) if tied
        log_weights, means = torch.from_numpy(fitted.weights_).log(), torch.from_numpy(fitted.means_)
        self._place(log_weights, means, factors.expand(self.n_components, -1, -1), counted)

    @torch.no_grad()
    def extend(self, part: MixtureOfGaussians, counted: Tensor) -> None:
        """Copy the parameters of a mixture of the features where ``counted`` (F,) is True; others are unchanged."""
        self._place(part.log_weights, part.means, part.scale_trils, counted)

    def _place(self, log_weights: Tensor, means: Tensor, scale_trils: Tensor, counted: Tensor) -> None:
        self.log_weights.copy_(log_weights)
        self.means[:, counted] = means
        self.scale_trils[:, counted.unsqueeze(-1) & counted] = scale_trils.flatten(1)

    def sample_given(self, component: Tensor, noise: Noise) -> Tensor:
        """μ_k + L_k ε."""
        x = noise.normal((len(component), self.means.shape[1]), self.means)
        for k, tril in enumerate(self.scale_trils):
            here = component == k
            x[here] = self.means[k] + x[here] @ tril.mT
        return x

    def mean_given(self, component: Tensor) -> Tensor:
        """μ_k."""
        return self.means[component]

    # conditionals given the observed entries

    def condition(self, batch: Batch) -> Given:
        """Condition each component on the observed entries."""
        x, mask = batch.x.flatten(1).to(self.means.dtype), batch.mask.flatten(1)
        patterns, which = distinct_rows(mask)
        both = patterns.unsqueeze(-1) & patterns.unsqueeze(-2)
        mean, covariance = self.means.unsqueeze(1), self.covariances.unsqueeze(1)
        identity = torch.eye(mask.shape[1], dtype=x.dtype, device=x.device)
        factor = torch.linalg.cholesky(torch.where(both, covariance, identity))  # |Σ_oo| stays
        W = torch.cholesky_inverse(factor) * both
        log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        d = torch.where(mask, x - mean, 0.0)
        white = _times(W, which, d)
        log_p = -0.5 * ((d * white).sum(-1) + log_det[:, which] + LOG_2PI * mask.to(x.dtype).sum(-1))
        return Given(log_p, torch.where(mask, x, mean + white @ self.covariances), W, which)

    def log_prob_given(self, batch: Batch) -> Tensor:
        """log N(x_o; μ_k, Σ_k), shape (B, K)."""
        return torch.cat([self.condition(part).log_p.T for part in self._pieces(batch)])

    def conditional_mean(self, batch: Batch) -> Tensor:
        """x with E[x_m|x_o] = Σ_k p(k|x_o) E[x_m|x_o, k] in the gaps, shape (B, *event)."""
        return torch.cat([self._mean_given(part) for part in self._pieces(batch)]).view(batch.x.shape)

    def _mean_given(self, batch: Batch) -> Tensor:
        given = self.condition(batch)
        filled = torch.einsum("kb,kbf->bf", self._posterior(given), given.filled)
        return torch.where(batch.mask.flatten(1), batch.x.flatten(1), filled)

    def conditional_moments(self, batch: Batch, places: Tensor) -> tuple[Tensor, Tensor]:
        """``conditional_mean``, and Var[x_j|x_o] of the features ``places`` (Q,), shape (B, Q)."""
        parts = [self._moments_given(part, places) for part in self._pieces(batch)]
        mean, variance = map(torch.cat, zip(*parts, strict=True))
        return mean.view(batch.x.shape), variance

    def _moments_given(self, batch: Batch, places: Tensor) -> tuple[Tensor, Tensor]:
        given = self.condition(batch)
        r = self._posterior(given)
        mean = torch.where(batch.mask.flatten(1), batch.x.flatten(1), torch.einsum("kb,kbf->bf", r, given.filled))
        return mean, self.variance(given, r, places)

    def variance(self, given: Given, r: Tensor, places: Tensor) -> Tensor:
        """Var[x_j|x_o] of some features, for components with probabilities r (K, B), shape (B, Q)."""
        columns = self.covariances[:, :, places]  # (K, F, Q)
        explained = ((given.W @ columns.unsqueeze(1)) * columns.unsqueeze(1)).sum(-2)
        within = self.covariances.diagonal(dim1=-2, dim2=-1)[:, None, places] - explained
        d = given.filled[..., places] - torch.einsum("kb,kbf->bf", r, given.filled[..., places])
        return torch.einsum("kb,kbq->bq", r, within[:, given.which] + d.square()).clamp_min(0)

    def conditional_sample(self, batch: Batch, n: int, noise: Noise) -> Tensor:
        """x with draws from p(x_m|x_o) in the gaps, shape (n, B, *event).

        k ~ p(k|x_o); then y ~ N(μ_k, Σ_k), and y + ΣW(x − y) has the conditional distribution: it equals x at observed
        entries, and elsewhere it has the conditional mean and covariance (Doucet, 2010).
        """
        parts = [self._sample_given_rows(part, n, noise) for part in self._pieces(batch, n)]
        return torch.cat(parts, 1).view(n, *batch.x.shape)

    def _sample_given_rows(self, batch: Batch, n: int, noise: Noise) -> Tensor:
        given = self.condition(batch)
        return self.sample_from(given, batch, draw_components(self._posterior(given).T, n, noise), noise)

    def sample_from(self, given: Given, batch: Batch, chosen: Tensor, noise: Noise) -> Tensor:
        """x with draws from the components ``chosen`` (n, B) in the gaps, shape (n, B, F)."""
        mask = batch.mask.flatten(1)
        epsilon = noise.normal((*chosen.shape, mask.shape[1]), self.means)
        x = batch.x.flatten(1).to(epsilon.dtype).expand(epsilon.shape)
        for k, tril in enumerate(self.scale_trils):
            y = epsilon @ tril.mT  # without μ, which the filled row contains
            back = _times(given.W[k], given.which, torch.where(mask, y, 0.0)) @ (tril @ tril.mT)
            x = torch.where((chosen == k).unsqueeze(-1) & ~mask, given.filled[k] + y - back, x)
        return x

    def conditional_covariance(self, batch: Batch) -> Tensor:
        """Cov[x|x_o] of each row, with zeros where an entry is observed, shape (B, F, F)."""
        return torch.cat([self._covariance_given_rows(part) for part in self._pieces(batch)])

    def _covariance_given_rows(self, batch: Batch) -> Tensor:
        """Σ_k r_k (Σ_k − Σ_k W_k Σ_k + d_k d_kᵀ) with d_k = E[x|x_o, k] − E[x|x_o]."""
        given, hidden, covariance = self.condition(batch), ~batch.mask.flatten(1), self.covariances.unsqueeze(1)
        within = (covariance - covariance @ given.W @ covariance)[:, given.which]
        d = given.filled - self._mean_given(batch)
        total = torch.einsum("kb,kbij->bij", self._posterior(given), within + d.unsqueeze(-1) * d.unsqueeze(-2))
        return torch.where(hidden.unsqueeze(-1) & hidden.unsqueeze(-2), total, 0.0)

    def _posterior(self, given: Given) -> Tensor:
        """p(k|x_o), shape (K, B)."""
        return (self.log_weights.unsqueeze(1) + given.log_p).softmax(0)

    def _pieces(self, batch: Batch, n: int = 1) -> list[Batch]:
        """The batch in parts, small enough for matrices of each row."""
        rows = rows_at_once(batch.x[0].numel(), self.n_components + n)
        split = zip(batch.x.split(rows), batch.mask.split(rows), batch.index.split(rows), strict=True)
        return [Batch(*part) for part in split]

    # exact EM

    def expect(self, batch: Batch) -> GaussianSums:
        """The E-step: sums of r = p(k|x_o), d = E[x|x_o, k] − μ_k, and Cov[x|x_o, k] = Σ − ΣWΣ."""
        given = self.condition(batch)
        log_joint = self.log_weights.unsqueeze(1) + given.log_p
        log_p = log_joint.logsumexp(0)
        return self.sums(given, (log_joint - log_p).exp(), log_p)

    def sums(self, given: Given, r: Tensor, log_p: Tensor) -> GaussianSums:
        """The sums for ``maximize``, from responsibilities r (K, B) and log p (B,) of the rows."""
        d, covariances = given.filled - self.means.unsqueeze(1), self.covariances
        of_sets = r.new_zeros(len(r), given.W.shape[1]).index_add(1, given.which, r)
        explained = covariances @ torch.einsum("kp,kpij->kij", of_sets, given.W) @ covariances
        second = (d * r.unsqueeze(-1)).mT @ d + r.sum(1).view(-1, 1, 1) * covariances - explained
        first, n_rows = torch.einsum("kb,kbf->kf", r, d), torch.tensor(len(log_p), device=r.device)
        return GaussianSums(n_rows, log_p.sum(), r.sum(1), first, second)

    def maximize(self, sums: GaussianSums) -> None:
        """The M-step: π_k = (Σ r + 1)/(n + K), μ_k = Σ r x̂/Σ r, and Σ_k as in the class's docstring."""
        weight = sums.weight.clamp_min(torch.finfo(sums.weight.dtype).tiny).view(-1, 1)
        shift = sums.first / weight
        around = sums.second - weight.unsqueeze(-1) * shift.unsqueeze(-1) * shift.unsqueeze(-2)
        covariances = self._most_probable(around + self.shrinkage * self.average, weight + self.shrinkage)
        self.means += shift
        self.scale_trils.copy_(torch.linalg.cholesky((covariances + covariances.mT) / 2))
        self.log_weights.copy_(((sums.weight + 1) / (sums.n_rows + self.n_components)).log())

    def _most_probable(self, around: Tensor, weight: Tensor) -> Tensor:
        """Σ_k = S_k/w_k, or the maximum within ``form``, for sums S (K, F, F) and weights w (K, 1)."""
        if self.form == "tied":
            return (around.sum(0) / weight.sum()).expand_as(around)
        covariances = around / weight.unsqueeze(-1)
        if self.form == "full":
            return covariances
        variances = covariances.diagonal(dim1=-2, dim2=-1)
        if self.form == "isotropic":
            variances = variances.mean(-1, keepdim=True).expand_as(variances)
        return variances.diag_embed()

    def log_prior(self) -> Tensor:
        """Σ_k −½ α [tr(average Σ_k⁻¹) + log |Σ_k|] + log π_k, up to a constant."""
        log_det = 2 * self.scale_trils.diagonal(dim1=-2, dim2=-1).log().sum()
        trace = (torch.cholesky_inverse(self.scale_trils) * self.average).sum()
        return self.log_weights.sum() - 0.5 * self.shrinkage * (trace + log_det)


def rows_at_once(n_features: int, n_components: int = 1) -> int:
    """The number of rows whose F × F matrices for each component fit in memory at once."""
    return max(1, SOLVE_ELEMENTS // (n_components * n_features**2))


def _times(W: Tensor, which: Tensor, d: Tensor) -> Tensor:
    """W d for every row, d of shape (*, B, F)."""
    if W.shape[-3] == 1:
        return d @ W.squeeze(-3)
    return torch.einsum("...bij,...bj->...bi", W[..., which, :, :], d)


class MixtureOfDiagonalGaussians(Mixture):
    """p(x) = Σ_k π_k N(x; μ_k, diag σ_k²); ``means`` and ``scales`` are (K, F)."""

    def __init__(self, n_components: int, event_shape: Sequence[int], log_unit: Tensor | None = None) -> None:
        super().__init__(n_components, event_shape, log_unit)
        n_features = math.prod(event_shape)
        self.means: Tensor
        self.scales: Tensor
        self.register_buffer("means", torch.zeros(n_components, n_features, dtype=torch.float64))
        self.register_buffer("scales", torch.ones(n_components, n_features, dtype=torch.float64))

    @torch.no_grad()
    def adopt(self, fitted: GaussianMixture, counted: Tensor) -> None:
        """Copy the parameters of scikit-learn's mixture of the features where ``counted`` (F,) is True."""
        self.log_weights.copy_(torch.from_numpy(fitted.weights_).log())
        self.means[:, counted] = torch.from_numpy(fitted.means_)
        scales = torch.from_numpy(fitted.covariances_).sqrt()  # (K, F), or (K,) if isotropic
        self.scales[:, counted] = scales if scales.ndim == 2 else scales[:, None]

    @torch.no_grad()
    def extend(self, part: MixtureOfGaussians, counted: Tensor) -> None:
        """Copy a mixture with diagonal covariances of the features where ``counted`` (F,) is True."""
        self.log_weights.copy_(part.log_weights)
        self.means[:, counted] = part.means
        self.scales[:, counted] = part.scale_trils.diagonal(dim1=-2, dim2=-1)

    def log_prob_given(self, batch: Batch) -> Tensor:
        """Σ_j log N(x_j; μ_kj, σ_kj²), shape (B, K)."""
        x, mask = batch.x.flatten(1), batch.mask.flatten(1)
        components = zip(self.means, self.scales, strict=True)
        return torch.stack([event_sum(Normal(mean, scale).log_prob(x), mask) for mean, scale in components], 1)

    def sample_given(self, component: Tensor, noise: Noise) -> Tensor:
        """μ_k + σ_k ε."""
        return Normal(self.means[component], self.scales[component]).sample(noise)

    def mean_given(self, component: Tensor) -> Tensor:
        """μ_k."""
        return self.means[component]
