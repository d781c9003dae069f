"""Rows with latent variables as a message: bits to send z, bits to send x given z, bits got back (Hinton & van Camp,
1993; Townsend, Bird & Barber, 2019, arXiv:1901.04866).

To write x, z is popped from the message with q(z|x), which takes bits off it; then x is pushed with p(x|z) and z with
p(z). Who reads it pops z and x, and pushes z with q(z|x): the bits are back. So a row adds log q(z|x)/p(x,z) bits, and
on average the negative lower bound. z lies on a grid, whose cells have their mass in both directions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from lowerbound.compression.coder import Stack, rounded
from lowerbound.compression.entries import Entries
from lowerbound.core import Batch, ElementwiseModel, Infer
from lowerbound.core.explicit import NoLatents
from lowerbound.distributions.gaussians import DiagonalGaussian, FullGaussian, GaussianPrior, StandardNormal
from lowerbound.inference.posteriors import PriorWhereUnobserved
from lowerbound.models.priors.mixture import GaussianMixture


class NotCodableError(ValueError):
    """The model, or the data, can't be compressed without loss; the message says why."""


@dataclass(frozen=True)
class Grid:
    """The values of a latent variable: ``step`` · k, with −reach ≤ k ≤ reach."""

    step: float
    reach: int

    def coarser(self, doublings: int) -> Grid:
        """The grid with steps that are doubled some times, up to a single cell."""
        return Grid(self.step * 2.0**doublings, self.reach >> doublings)

    def nearest(self, x: Tensor) -> np.ndarray:
        """The k nearest to some numbers."""
        return (x / self.step).round().clamp(-self.reach, self.reach).long().numpy()

    def values(self, k: np.ndarray) -> Tensor:
        """The values of k."""
        return torch.from_numpy(k.astype(np.float64)) * self.step

    def push(self, stack: Stack, k: np.ndarray, mean: Tensor, scale: Tensor) -> None:
        """Normal variables, all tensors of one shape."""
        stack.push_normal(k, *self._in_steps(mean, scale), self.reach)

    def pop(self, stack: Stack, mean: Tensor, scale: Tensor) -> np.ndarray:
        """The inverse of ``push``."""
        return stack.pop_normal(*self._in_steps(mean, scale), self.reach).astype(np.int64)

    def _in_steps(self, mean: Tensor, scale: Tensor) -> tuple[np.ndarray, np.ndarray]:
        scale = rounded(scale.expand_as(mean), positive=True)
        return (rounded(mean) / self.step).numpy(), (scale / self.step).numpy()


class LatentCode(ABC):
    """The way of rows through the latent variables of a model.

    Attributes
    ----------
    has_latents : bool
        Bits are got back, so that the first rows need some to begin with.
    """

    has_latents = True

    @property
    def coarsest(self) -> int:
        """Doublings of its grid's steps until there is a single cell; 0 without a grid."""
        return 0

    def coarser(self, doublings: int) -> LatentCode:
        """The same with steps of the grid that are doubled some times."""
        if doublings:
            raise ValueError("a code without a grid has none that is coarser")
        return self

    @abstractmethod
    def encode(self, stack: Stack, batch: Batch, x: Entries, *, begins: bool) -> None:
        """Write the rows of a batch.

        Parameters
        ----------
        stack : Stack
        batch : Batch
        x : Entries
            The same rows, to be pushed given p(x|z).
        begins : bool
            There are no bits to pop: z is the posterior's mean.
        """

    @abstractmethod
    def decode(self, stack: Stack, n_rows: int, context: Tensor | None, x: Entries, *, begins: bool) -> Batch:
        """The inverse of ``encode``; the rows are popped into ``x``."""


class OnGrid(LatentCode):
    """A way through latent variables on one grid.

    Attributes
    ----------
    grid : Grid
    """

    grid: Grid

    @property
    def coarsest(self) -> int:
        """Doublings that leave the grid a single cell."""
        return self.grid.reach.bit_length()

    def coarser(self, doublings: int) -> LatentCode:
        """The same with steps of the grid that are doubled some times."""
        return replace(cast(Any, self), grid=self.grid.coarser(doublings)) if doublings else self


@dataclass
class OneLevel(OnGrid):
    """z ~ p(z), Gaussian or a mixture of Gaussians; q(z|x) Gaussian.

    The component of a mixture is a latent variable too, whose posterior p(k|z) is known.
    """

    model: ElementwiseModel
    posterior: Infer
    grid: Grid

    def encode(self, stack: Stack, batch: Batch, x: Entries, *, begins: bool) -> None:
        """Pop z, push x, push z."""
        q, given = gaussian_of(self.posterior(batch)), self.model.given(batch.context)
        k = self.grid.nearest(q.mean) if begins else pop_gaussian(stack, self.grid, q)
        z = self.grid.values(k)
        p: Any = given.prior()
        component = None
        if isinstance(p, GaussianMixture):
            r = responsibilities(p, z)
            component = r.argmax(-1).numpy() if begins else pop_categories(stack, r)
        self.push_x(stack, x, given, z)
        self.grid.push(stack, k, *prior_moments(p, len(k), component))
        if component is not None:
            push_categories(stack, component, weights_of(p, len(k)))

    def decode(self, stack: Stack, n_rows: int, context: Tensor | None, x: Entries, *, begins: bool) -> Batch:
        """Pop z, pop x, push z."""
        given = self.model.given(context)
        p: Any = given.prior()
        component = pop_categories(stack, weights_of(p, n_rows)) if isinstance(p, GaussianMixture) else None
        k = self.grid.pop(stack, *prior_moments(p, n_rows, component))
        z = self.grid.values(k)
        self.pop_x(stack, x, given, z)
        batch = x.batch()
        if not begins:
            if component is not None:
                push_categories(stack, component, responsibilities(p, z))
            push_gaussian(stack, self.grid, k, gaussian_of(self.posterior(batch)))
        return batch

    def push_x(self, stack: Stack, x: Entries, given: Any, z: Tensor) -> None:
        """Push x by p(x|z), z (B, D)."""
        x.push(stack, given.likelihood(z[None]))

    def pop_x(self, stack: Stack, x: Entries, given: Any, z: Tensor) -> None:
        """The inverse of ``push_x``."""
        x.pop(stack, given.likelihood(z[None]))


def unwrapped(q: Any) -> Any:
    """q(z|x) as the network gives it for rows without any observed entry too: every q codes them."""
    return q.q if isinstance(q, PriorWhereUnobserved) else q


def gaussian_of(q: Any) -> DiagonalGaussian | FullGaussian:
    """q(z|x), if it is Gaussian; raises ``NotCodableError`` if it isn't."""
    q = unwrapped(q)
    if isinstance(q, NoLatents):
        return DiagonalGaussian(q.mean, q.mean)
    if isinstance(q, (DiagonalGaussian, FullGaussian)):
        return q
    raise NotCodableError(
        f"a posterior that is a {type(q).__name__} can't be coded: fit the model with a Gaussian q(z|x) of an encoder"
    )


def pop_gaussian(stack: Stack, grid: Grid, q: DiagonalGaussian | FullGaussian) -> np.ndarray:
    """k of z ~ q; with a full covariance one variable after another, given those before, shape (B, D)."""
    if isinstance(q, DiagonalGaussian):
        return grid.pop(stack, q.mean, q.scale)
    k = np.zeros(q.mean.shape, np.int64)
    for j in range(k.shape[1]):
        k[:, j] = grid.pop(stack, *_conditional(grid, q, k, j))
    return k


def push_gaussian(stack: Stack, grid: Grid, k: np.ndarray, q: DiagonalGaussian | FullGaussian) -> None:
    """The inverse of ``pop_gaussian``."""
    if isinstance(q, DiagonalGaussian):
        grid.push(stack, k, q.mean, q.scale)
        return
    for j in reversed(range(k.shape[1])):
        grid.push(stack, k[:, j], *_conditional(grid, q, k, j))


def _conditional(grid: Grid, q: FullGaussian, k: np.ndarray, j: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation of z_j given z_<j: μ_j + Σ_i<j L_ji ε_i and L_jj, with ε = L⁻¹(z − μ)."""
    factor = rounded(q.scale_tril)
    mean, before = rounded(q.mean), slice(0, j)
    deviation = (grid.values(k[:, before]) - mean[:, before]).unsqueeze(-1)
    epsilon = torch.linalg.solve_triangular(factor[:, before, before], deviation, upper=False)
    return mean[:, j] + (factor[:, j, None, before] @ epsilon)[:, 0, 0], factor[:, j, j]


def prior_moments(p: Any, n_rows: int, component: np.ndarray | None = None) -> tuple[Tensor, Tensor]:
    """Means and deviations of z (n, D) under a prior, or a component of it.

    Raises
    ------
    NotCodableError
        If it isn't Gaussian, nor a mixture of Gaussians.
    """
    if isinstance(p, StandardNormal):
        zero = torch.zeros(n_rows, p.latent_dim, dtype=torch.float64)
        return zero, torch.ones_like(zero)
    if isinstance(p, GaussianPrior):
        return p.mean, p.scale
    if isinstance(p, GaussianMixture) and component is not None:
        chosen = torch.from_numpy(component)
        return p.mean[chosen], p.log_scale[chosen].exp()
    raise NotCodableError(
        f"a prior that is a {type(p).__name__} can't be coded: its variables have no distribution on a grid; fit the "
        "model with prior='normal', 'mixture' or 'vamp'"
    )


def weights_of(p: GaussianMixture, n_rows: int) -> Tensor:
    """The probabilities of the components, (n, K)."""
    return p.log_weight.softmax(-1).expand(n_rows, -1)


def responsibilities(p: GaussianMixture, z: Tensor) -> Tensor:
    """p(k|z), (n, K)."""
    each = DiagonalGaussian(p.mean, p.log_scale)
    return rounded((p.log_weight + each.log_prob(z.unsqueeze(1))).log_softmax(-1).clamp_min(-100)).softmax(-1)


def push_categories(stack: Stack, k: np.ndarray, p: Tensor) -> None:
    """Categories (n,) with probabilities p (n, K)."""
    stack.push_numbers(k, np.zeros_like(k), np.full_like(k, p.shape[-1] - 1), sums_of(p))


def pop_categories(stack: Stack, p: Tensor) -> np.ndarray:
    """The inverse of ``push_categories``."""
    low = np.zeros(len(p), np.int64)
    return stack.pop_numbers(low, low + p.shape[-1] - 1, sums_of(p))


def sums_of(p: Tensor) -> Callable[[np.ndarray], np.ndarray]:
    """Categories → the probabilities of all up to them, of probabilities (n, K)."""
    sums = np.concatenate([np.zeros((len(p), 1)), np.cumsum(p.numpy(), -1)], -1)
    return lambda k: np.take_along_axis(sums, k[:, None] + 1, -1)[:, 0]
