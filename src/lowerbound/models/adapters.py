"""Mixtures, p(x) = Σ_k π_k p(x|k): one discrete latent variable, which can be summed out.

The mixture of Bernoullis fits itself by EM; the Gaussian ones take over what scikit-learn's ``GaussianMixture``
fitted, and add densities and draws. Each scores the observed entries of a row alone, which is its exact marginal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lowerbound.core import Batch, ExplicitModel
from lowerbound.distributions import LOG_2PI, Noise, Normal, event_sum

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

SOLVE_ELEMENTS = 2**23  # entries of the covariance factors of the rows that are solved together


class Mixture(ExplicitModel):
    """p(x) = Σ_k π_k p(x|k); a subclass supplies log p(x|k) and how to draw from it.

    Parameters
    ----------
    n_components : int
        K.
    event_shape : tuple of int
    log_unit : Tensor, shape (*event), optional
        log of the user's units in one unit of x; None where x is discrete.
    """

    def __init__(self, n_components: int, event_shape: Sequence[int], log_unit: Tensor | None = None) -> None:
        super().__init__()
        self.n_components, self.event_shape = n_components, tuple(event_shape)
        self.log_weights: Tensor
        uniform = torch.full((n_components,), -math.log(n_components), dtype=torch.float64)
        self.register_buffer("log_weights", uniform)
        self.register_buffer("log_unit", log_unit)

    def log_prob_given(self, batch: Batch) -> Tensor:
        """log p(x|k) of the observed entries, in the model's units, shape (B, K)."""
        raise NotImplementedError(f"{type(self).__name__} does not define its components")

    def sample_given(self, component: Tensor, noise: Noise) -> Tensor:
        """x for each of the components (n,); their means if there is no noise; shape (n, F)."""
        raise NotImplementedError(f"{type(self).__name__} does not define how to draw from its components")

    def log_joint_given(self, batch: Batch) -> Tensor:
        """log π_k + log p(x|k), shape (B, K)."""
        return self.log_weights + self.log_prob_given(batch)

    def responsibilities(self, batch: Batch) -> Tensor:
        """p(k|x), shape (B, K)."""
        return self.log_joint_given(batch).softmax(-1)

    def log_prob(self, batch: Batch) -> Tensor:
        """log Σ_k π_k p(x|k), shape (B,)."""
        log_p = self.log_joint_given(batch).logsumexp(-1)
        return log_p if self.log_unit is None else log_p - event_sum(self.log_unit, batch.mask)

    def sample(self, n: int, noise: Noise, *, draw: bool = True) -> Tensor:
        """k ~ π, then x ~ p(x|k), or its mean; shape (n, *event)."""
        cumulative = self.log_weights.exp().cumsum(0)
        u = noise.uniform((n, 1), cumulative)[:, 0] * cumulative[-1]
        component = torch.searchsorted(cumulative, u, right=True).clamp_max(self.n_components - 1)
        x = self.sample_given(component, noise) if draw else self.mean_given(component)
        return x.view(n, *self.event_shape)

    def mean_given(self, component: Tensor) -> Tensor:
        """E[x|k] for each of the components (n,), shape (n, F)."""
        raise NotImplementedError(f"{type(self).__name__} does not define the means of its components")


class BernoulliSums(NamedTuple):
    """Sums over rows that EM needs; r is p(k|x).

    ``n_rows`` (), ``log_p`` (), ``weight`` Σ r (K,), ``ones`` Σ r x (K, F), ``seen`` Σ r over rows in which the entry
    is observed, (K, F), or (K, 1) where all are.
    """

    n_rows: Tensor
    log_p: Tensor
    weight: Tensor
    ones: Tensor
    seen: Tensor


class MixtureOfBernoullis(Mixture):
    """p(x) = Σ_k π_k Π_j θ_kj^{x_j} (1 − θ_kj)^{1 − x_j}, by EM (Bishop, 2006, section 9.3.3).

    Parameters
    ----------
    n_components : int
        K.
    event_shape : tuple of int
    smoothing : float
        Imaginary rows α > 0 that each component gets, distributed like all rows together, θ̄:
        θ_kj = (Σ_n r_nk x_nj + α θ̄_j)/(Σ_n r_nk + α). This is the maximum under the prior
        Beta(1 + α θ̄_j, 1 + α (1 − θ̄_j)): EM climbs likelihood times prior.
    """

    def __init__(self, n_components: int, event_shape: Sequence[int], smoothing: float = 1.0) -> None:
        super().__init__(n_components, event_shape)
        self.smoothing = smoothing
        n_features = math.prod(event_shape)
        self.logits: Tensor
        self.average: Tensor
        self.register_buffer("logits", torch.zeros(n_components, n_features, dtype=torch.float64))
        self.register_buffer("average", torch.full((n_features,), 0.5, dtype=torch.float64))

    def start(self, average: Tensor, seeds: Batch) -> None:
        """Every component halfway between the average row θ̄ (F,) and a row of its own, of the K in ``seeds``."""
        self.average.copy_(average)
        row = torch.where(seeds.mask.flatten(1), seeds.x.flatten(1), self.average)
        self.logits.copy_((0.5 * row + 0.5 * self.average).logit())
        self.log_weights.fill_(-math.log(self.n_components))

    def log_prob_given(self, batch: Batch) -> Tensor:
        """Σ_j x_j logit θ_kj + log (1 − θ_kj), shape (B, K)."""
        x, mask = batch.x.flatten(1), batch.mask.flatten(1)
        none_set = -F.softplus(self.logits)  # log (1 − θ)
        if mask.all():
            return x @ self.logits.T + none_set.sum(1)
        return torch.where(mask, x, 0.0) @ self.logits.T + mask.to(x.dtype) @ none_set.T

    def expect(self, batch: Batch) -> BernoulliSums:
        """The E-step: r_nk = p(k|x_n), and the sums it weighs."""
        x, mask = batch.x.flatten(1), batch.mask.flatten(1)
        log_joint = self.log_joint_given(batch)
        log_p = log_joint.logsumexp(-1, keepdim=True)
        r = (log_joint - log_p).exp()
        weight = r.sum(0)
        seen = weight[:, None] if mask.all() else r.T @ mask.to(r.dtype)
        n_rows = torch.tensor(len(x), device=x.device)
        return BernoulliSums(n_rows, log_p.sum(), weight, r.T @ torch.where(mask, x, 0.0), seen)

    def maximize(self, sums: BernoulliSums) -> None:
        """π_k = Σ r/n and θ_kj = (Σ r x + α θ̄_j)/(Σ r + α)."""
        ones = sums.ones + self.smoothing * self.average
        zeros = sums.seen - sums.ones + self.smoothing * (1 - self.average)
        self.logits.copy_(ones.log() - zeros.log())
        self.log_weights.copy_((sums.weight / sums.n_rows).log())

    def log_prior(self) -> Tensor:
        """Σ_kj α [θ̄_j log θ_kj + (1 − θ̄_j) log (1 − θ_kj)], up to a constant."""
        return self.smoothing * (self.average * self.logits - F.softplus(self.logits)).sum()

    def sample_given(self, component: Tensor, noise: Noise) -> Tensor:
        """x_j ~ Bernoulli(θ_kj)."""
        theta = self.mean_given(component)
        return (noise.uniform(theta.shape, theta) < theta).to(theta.dtype)

    def mean_given(self, component: Tensor) -> Tensor:
        """θ_k."""
        return self.logits[component].sigmoid()


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
        """Take over the parameters of a mixture of the features where ``counted`` (F,) is True."""
        self.log_weights.copy_(torch.from_numpy(fitted.weights_).log())
        self.means[:, counted] = torch.from_numpy(fitted.means_)
        scales = torch.from_numpy(fitted.covariances_).sqrt()  # (K, F), or (K,) if spherical
        self.scales[:, counted] = scales if scales.ndim == 2 else scales[:, None]

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


class MixtureOfGaussians(Mixture):
    """p(x) = Σ_k π_k N(x; μ_k, L_k L_kᵀ); ``means`` is (K, F), ``scale_trils`` (K, F, F)."""

    def __init__(self, n_components: int, event_shape: Sequence[int], log_unit: Tensor | None = None) -> None:
        super().__init__(n_components, event_shape, log_unit)
        n_features = math.prod(event_shape)
        self.means: Tensor
        self.scale_trils: Tensor
        self.register_buffer("means", torch.zeros(n_components, n_features, dtype=torch.float64))
        identity = torch.eye(n_features, dtype=torch.float64).repeat(n_components, 1, 1)
        self.register_buffer("scale_trils", identity)

    @torch.no_grad()
    def adopt(self, fitted: GaussianMixture, counted: Tensor) -> None:
        """Take over the parameters of a mixture of the features where ``counted`` (F,) is True."""
        self.log_weights.copy_(torch.from_numpy(fitted.weights_).log())
        self.means[:, counted] = torch.from_numpy(fitted.means_)
        factors = torch.linalg.cholesky(torch.from_numpy(fitted.covariances_))  # (K, F, F), or (F, F) if tied
        block = counted.unsqueeze(-1) & counted
        self.scale_trils[:, block] = factors.expand(self.n_components, -1, -1).flatten(1)

    def log_prob_given(self, batch: Batch) -> Tensor:
        """log N(x; μ_k, Σ_k) of the observed entries, shape (B, K)."""
        x, mask = batch.x.flatten(1), batch.mask.flatten(1)
        components = zip(self.means, self.scale_trils, strict=True)
        return torch.stack([marginal_normal_log_prob(x, mask, mean, tril @ tril.mT) for mean, tril in components], 1)

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


def marginal_normal_log_prob(x: Tensor, mask: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """log N(x_o; μ_o, Σ_oo), o the observed entries of each row.

    What isn't observed is made independent of the rest, with variance 1 and deviation 0: it then adds nothing to the
    determinant or the quadratic form. One Cholesky factor is made for every distinct set of observed entries.

    Parameters
    ----------
    x : Tensor, shape (B, F)
    mask : Tensor of bool, shape (B, F)
    mean : Tensor, shape (F,)
    covariance : Tensor, shape (F, F)

    Returns
    -------
    Tensor, shape (B,)
    """
    rows = max(1, SOLVE_ELEMENTS // covariance.numel())
    if (mask == mask[:1]).all():
        factor, which = _observed_factor(mask[:1], covariance), slice(None)
        white = torch.linalg.solve_triangular(factor, torch.where(mask, x - mean, 0.0).mT[None], upper=False)[0].mT
    elif len(x) > rows:
        parts = zip(x.split(rows), mask.split(rows), strict=True)
        return torch.cat([marginal_normal_log_prob(*part, mean, covariance) for part in parts])
    else:
        patterns, which = mask.unique(dim=0, return_inverse=True)
        factor = _observed_factor(patterns, covariance)
        deviation = torch.where(mask, x - mean, 0.0).unsqueeze(-1)
        white = torch.linalg.solve_triangular(factor[which], deviation, upper=False).squeeze(-1)
    log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)[which]  # ½ log |Σ_oo|
    return -0.5 * (white.square().sum(-1) + LOG_2PI * mask.to(x.dtype).sum(-1)) - log_det


def _observed_factor(patterns: Tensor, covariance: Tensor) -> Tensor:
    """Cholesky factors of Σ with the rows and columns that aren't observed replaced by the identity's, (P, F, F)."""
    both = patterns.unsqueeze(-1) & patterns.unsqueeze(-2)
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    return torch.linalg.cholesky(torch.where(both, covariance, identity))
