"""Mixtures, p(x) = Σ_k π_k p(x|k): one discrete latent variable, which can be summed out.

The mixture of Bernoullis fits itself by EM; the Gaussian ones (with full covariance: ``gaussian``) can take over what
scikit-learn's ``GaussianMixture`` fitted, and add densities and draws. Each scores the observed entries of a row alone,
which is its exact marginal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lowerbound.core import Batch, ExplicitModel
from lowerbound.distributions import Noise, Normal, event_sum

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

    from lowerbound.models.gaussian import MixtureOfGaussians


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

    def conditional_mean(self, batch: Batch) -> Tensor:
        """E[x|x_o] = Σ_k p(k|x_o) E[x|k], since entries are independent given k; observed ones as they are."""
        everything = torch.arange(self.n_components, device=self.log_weights.device)
        mean = self.responsibilities(batch) @ self.mean_given(everything)
        return torch.where(batch.mask, batch.x, mean.view_as(batch.x).to(batch.x.dtype))

    def conditional_sample(self, batch: Batch, n: int, noise: Noise) -> Tensor:
        """k ~ p(k|x_o), then the missing entries from p(x|k), shape (n, B, *event)."""
        component = draw_components(self.responsibilities(batch), n, noise)
        x = self.sample_given(component.flatten(), noise).view(n, *batch.x.shape)
        return torch.where(batch.mask, batch.x, x.to(batch.x.dtype))

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

    @torch.no_grad()
    def extend(self, part: MixtureOfGaussians, counted: Tensor) -> None:
        """Take over a mixture with diagonal covariances of the features where ``counted`` (F,) is True."""
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


def draw_components(r: Tensor, n: int, noise: Noise) -> Tensor:
    """k ~ r for each of the rows of r (B, K), n times, shape (n, B)."""
    cumulative = r.cumsum(-1)
    u = noise.uniform((n, len(r), 1), r) * cumulative[:, -1:]
    return (u > cumulative).sum(-1).clamp_max(r.shape[1] - 1)
