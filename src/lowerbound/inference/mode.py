"""The mode of p(z|x) for every row and how curved log p(x, z) is there: Laplace's approximation, a place to start."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lowerbound.core import Batch, LatentDistribution
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.inference.mcmc import value_and_gradient
from lowerbound.inference.posteriors import FeaturePosterior, PriorFrom

LogDensity = Callable[[Tensor], Tensor]  # (B, D) → (B,)

ASCENT = 1e-4  # part of the expected rise that a step has to bring (Armijo, 1966)
SHORTER = 0.25  # factor of a step that did not bring it
CLOSE = 1e-4  # nats below the top, by the quadratic approximation, at which a row's search ends
NARROWEST, WIDEST = 1e-3, 1.0  # steps of the differences that give the curvature
LARGEST_SCALE = math.e**2  # of q; where log p(x, z) curves less, or upwards, q starts with the prior's scale


def mode(log_density: LogDensity, z: Tensor, n_steps: int) -> tuple[Tensor, Tensor]:
    """Climb log p(z) in every row by the method of Broyden, Fletcher, Goldfarb and Shanno, with backtracking.

    Nocedal & Wright, 2006, eqs. 6.17 and 6.20. A row's steps depend on that row alone.

    Parameters
    ----------
    log_density : callable
        log p(z) up to a constant, ``(B, D) → (B,)``.
    z : Tensor, shape (B, D)
        The start.
    n_steps : int
        Evaluations of log p and its gradient, at most.

    Returns
    -------
    z : Tensor, shape (B, D)
    inverse : Tensor, shape (B, D, D)
        Approximately the inverse of the matrix of −∂²log p, positive definite.
    """
    log_p, gradient = value_and_gradient(log_density, z)
    identity = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    inverse, is_first = identity.repeat(len(z), 1, 1), torch.ones_like(log_p, dtype=torch.bool)
    length = 1 / (1 + gradient.norm(dim=1))  # the first step is no longer than 1
    for _ in range(n_steps):
        direction = (inverse @ gradient.unsqueeze(-1)).squeeze(-1)
        rise = (gradient * direction).sum(1)
        done = ~(0.5 * rise > CLOSE)
        if done.all():
            break
        there = z + length.unsqueeze(1) * direction
        log_p_there, gradient_there = value_and_gradient(log_density, there)
        better = ~done & (log_p_there >= log_p + ASCENT * length * rise)
        moved, turned = there - z, gradient - gradient_there
        curved = better & ((moved * turned).sum(1) > 0)
        inverse = torch.where(curved[:, None, None], _updated(inverse, moved, turned, is_first), inverse)
        is_first &= ~curved
        z, gradient = (torch.where(better.unsqueeze(1), *pair) for pair in ((there, z), (gradient_there, gradient)))
        log_p, length = torch.where(better, log_p_there, log_p), torch.where(better, 1.0, SHORTER * length)
    return z, inverse


def _updated(inverse: Tensor, moved: Tensor, turned: Tensor, is_first: Tensor) -> Tensor:
    """(I − ρsyᵀ) H (I − ρysᵀ) + ρssᵀ with ρ = 1/sᵀy for a move s that turned the gradient by −y; at first H ∝ I."""
    identity = torch.eye(moved.shape[1], dtype=moved.dtype, device=moved.device)
    along = (moved * turned).sum(1)
    size = torch.where(is_first, along / turned.square().sum(1), 1.0)
    inverse = torch.where(is_first[:, None, None], size[:, None, None] * identity, inverse)
    s, y, rho = moved.unsqueeze(2), turned.unsqueeze(2), (1 / along)[:, None, None]
    left = identity - rho * s @ y.mT
    return left @ inverse @ left.mT + rho * s @ s.mT


def curvature(log_density: LogDensity, z: Tensor, width: Tensor) -> Tensor:
    """−∂²log p/∂z_d² of every latent variable, by differences of the gradient over z_d ± ``width``, (B, D) each."""
    found = []
    for d in range(z.shape[1]):
        step = torch.zeros_like(z)
        step[:, d] = width[:, d]
        ends = [value_and_gradient(log_density, z + sign * step)[1][:, d] for sign in (-1, 1)]
        found.append((ends[0] - ends[1]) / (2 * width[:, d]))
    return torch.stack(found, 1)


class Laplace(FeaturePosterior):
    """q(z|x) = N(m, diag s²) at a mode m of p(z|x), with 1/s_d² = −∂²log p(x, z)/∂z_d² there.

    That is the best diagonal q where p(z|x) is Gaussian. The search for the mode begins at the best of a few points.

    Parameters
    ----------
    start : FeaturePosterior
        Its features are a mean and a log scale; the mean is one of the points.
    log_joint : callable
        log p(x, z), ``(batch, z of shape (S, B, D)) → (S, B)``; usually ``model.log_joint``.
    prior : callable
        ``model.prior_of``: the other points are draws of p(z).
    n_steps : int
        Evaluations of log p(x, z) and its gradient, at most.
    """

    N_STARTS = 8

    def __init__(
        self, start: FeaturePosterior, log_joint: Callable[[Batch, Tensor], Tensor], prior: PriorFrom, n_steps: int
    ) -> None:
        super().__init__()
        self.start: FeaturePosterior
        self.log_joint: Callable[[Batch, Tensor], Tensor]
        self.draws_of: PriorFrom
        self.n_steps: int
        self.start, self.log_joint, self.draws_of, self.n_steps = start, log_joint, prior, n_steps

    def features(self, batch: Batch) -> Sequence[Tensor]:
        """The mode and log s of every row; those of the start for no steps."""
        mean, log_scale = self.start.features(batch)
        if self.n_steps == 0:
            return mean, log_scale

        def log_density(z: Tensor) -> Tensor:
            return self.log_joint(batch, z[None])[0]

        m, inverse = mode(log_density, self._best_start(batch, mean), self.n_steps)
        width = inverse.diagonal(dim1=1, dim2=2).sqrt().clamp(NARROWEST, WIDEST)
        precision = curvature(log_density, m, width)
        return m, torch.where(precision > LARGEST_SCALE**-2, -0.5 * precision.log(), log_scale)

    def given(self, features: Sequence[Tensor], batch: Batch) -> LatentDistribution:
        """q(z|x) by the second step of the start."""
        return self.start.given(features, batch)

    @torch.no_grad()
    def _best_start(self, batch: Batch, mean: Tensor) -> Tensor:
        """The point with the highest log p(x, z) for every row, (B, D)."""
        noise = Noise(make_generator(0, "starts", mean.device), shared=True)
        drawn = self.draws_of(batch).rsample((self.N_STARTS, len(mean)), noise)
        points = torch.cat([mean[None], drawn.to(mean)])
        best = self.log_joint(batch, points).nan_to_num(nan=-math.inf).argmax(0)
        return points[best, torch.arange(len(mean), device=mean.device)]
