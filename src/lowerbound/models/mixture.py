"""Mixtures, p(x) = Σ_k π_k p(x|k): one discrete latent variable, which can be summed out.

The mixture of Bernoullis is fitted by EM; the Gaussian ones (with full covariance: ``gaussian``) can copy the
parameters of scikit-learn's ``GaussianMixture``, and add densities and draws. The density of a row is the exact
marginal of its observed entries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lowerbound.core import Batch, ExplicitModel
from lowerbound.distributions.likelihoods.likelihood import event_sum
from lowerbound.distributions.noise import Noise


class Mixture(ExplicitModel):
    """p(x) = Σ_k π_k p(x|k); a subclass supplies log p(x|k), its draws and its mean.

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
        self.n_components: int
        self.event_shape: tuple[int, ...]
        self.n_components, self.event_shape = n_components, tuple(event_shape)
        self.log_weights: Tensor
        uniform = torch.full((n_components,), -math.log(n_components), dtype=torch.float64)
        self.register_buffer("log_weights", uniform)
        self.register_buffer("log_unit", log_unit)

    def log_prob_given(self, batch: Batch) -> Tensor:
        """log p(x|k) of the observed entries, in the model's units, shape (B, K)."""
        raise NotImplementedError(f"{type(self).__name__} does not define its components")

    def sample_given(self, component: Tensor, noise: Noise) -> Tensor:
        """A draw of x from each of the components (n,), shape (n, F)."""
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

    def sample(self, n: int, noise: Noise, *, mean: bool = False) -> Tensor:
        """k ~ π, then x ~ p(x|k), or its mean, shape (n, *event)."""
        cumulative = self.log_weights.exp().cumsum(0)
        u = noise.uniform((n, 1), cumulative)[:, 0] * cumulative[-1]
        component = torch.searchsorted(cumulative, u, right=True).clamp_max(self.n_components - 1)
        x = self.mean_given(component) if mean else self.sample_given(component, noise)
        return x.view(n, *self.event_shape)

    def conditional_mean(self, batch: Batch) -> Tensor:
        """x with E[x|x_o] = Σ_k p(k|x_o) E[x|k] in the gaps, for entries independent given k, shape (B, *event)."""
        everything = torch.arange(self.n_components, device=self.log_weights.device)
        mean = self.responsibilities(batch) @ self.mean_given(everything)
        return torch.where(batch.mask, batch.x, mean.view_as(batch.x).to(batch.x.dtype))

    def conditional_sample(self, batch: Batch, n: int, noise: Noise) -> Tensor:
        """x with draws in the gaps: k ~ p(k|x_o), then the missing entries from p(x|k), shape (n, B, *event)."""
        component = draw_components(self.responsibilities(batch), n, noise)
        x = self.sample_given(component.flatten(), noise).view(n, *batch.x.shape)
        return torch.where(batch.mask, batch.x, x.to(batch.x.dtype))

    def mean_given(self, component: Tensor) -> Tensor:
        """E[x|k] for each of the components (n,), shape (n, F)."""
        raise NotImplementedError(f"{type(self).__name__} does not define the means of its components")


def draw_components(r: Tensor, n: int, noise: Noise) -> Tensor:
    """k ~ r for each of the rows of r (B, K), n times, shape (n, B)."""
    cumulative = r.cumsum(-1)
    u = noise.uniform((n, len(r), 1), r) * cumulative[:, -1:]
    return (u > cumulative).sum(-1).clamp_max(r.shape[1] - 1)
