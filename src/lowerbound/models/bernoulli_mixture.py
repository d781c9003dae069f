"""Mixtures of products of Bernoullis, fitted by exact EM."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lowerbound.core import Batch
from lowerbound.distributions.likelihoods.bernoulli import Bernoulli
from lowerbound.distributions.noise import Noise
from lowerbound.models.mixture import Mixture


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
        α > 0 imaginary rows of each component, distributed like all rows together, θ̄:
        θ_kj = (Σ_n r_nk x_nj + α θ̄_j)/(Σ_n r_nk + α). This is the maximum under the prior
        Beta(1 + α θ̄_j, 1 + α (1 − θ̄_j)): EM maximizes likelihood times prior.
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
        """Start every component halfway between the average row θ̄ (F,) and one of the K rows of ``seeds``."""
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

    def likelihood_given(self, component: Tensor) -> Bernoulli:
        """p(x|k) for each of the components (n,), parameters of shape (1, n, *event)."""
        return Bernoulli(self.logits[component].unflatten(1, self.event_shape)[None])

    def expect(self, batch: Batch) -> BernoulliSums:
        """The E-step: r_nk = p(k|x_n), and the sums weighted by it."""
        x, mask = batch.x.flatten(1), batch.mask.flatten(1)
        log_joint = self.log_joint_given(batch)
        log_p = log_joint.logsumexp(-1, keepdim=True)
        r = (log_joint - log_p).exp()
        weight = r.sum(0)
        seen = weight[:, None] if mask.all() else r.T @ mask.to(r.dtype)
        n_rows = torch.tensor(len(x), device=x.device)
        return BernoulliSums(n_rows, log_p.sum(), weight, r.T @ torch.where(mask, x, 0.0), seen)

    def maximize(self, sums: BernoulliSums) -> None:
        """The M-step: π_k = Σ r/n and θ_kj = (Σ r x + α θ̄_j)/(Σ r + α)."""
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
