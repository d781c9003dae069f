"""Models with several levels of latent variables as a message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lowerbound.compression.bits_back import Grid, OnGrid, prior_moments, unwrapped
from lowerbound.compression.coder import Stack, rounded
from lowerbound.compression.entries import Entries
from lowerbound.core import Batch, ElementwiseModel, Infer
from lowerbound.distributions.gaussians import DiagonalGaussian
from lowerbound.models.chain import Chain, Link
from lowerbound.models.ladder import Ladder


@dataclass
class ChainOfLevels(OnGrid):
    """A Markov chain z_1, …, z_L: every level is popped just before the one below is pushed, so that the bits to begin
    with are those of one level (Bit-Swap: Kingma, Abbeel & Ho, 2019, arXiv:1905.06845).

    Attributes
    ----------
    up : sequence of callable
        q(z_{l+1}|z_l), from z_1 up.
    """

    model: ElementwiseModel
    posterior: Infer
    grid: Grid
    up: Sequence[Link]

    def encode(self, stack: Stack, batch: Batch, x: Entries, *, begins: bool) -> None:
        """Pop z_1, push x; pop z_2, push z_1; …; push z_L."""
        given = self.model.given(batch.context)
        p = _chain(given.prior())

        def pop(g: DiagonalGaussian) -> np.ndarray:
            return self.grid.nearest(g.mean) if begins else self.grid.pop(stack, g.mean, g.scale)

        k = pop(_first(self.posterior(batch)))
        x.push(stack, given.likelihood(self._z(k)))
        for up, down in zip(self.up, reversed(p.links), strict=True):
            above = pop(self._after(up, k))
            self._push(stack, k, self._after(down, above))
            k = above
        self.grid.push(stack, k, *prior_moments(p.first, len(k)))

    def decode(self, stack: Stack, n_rows: int, context: Tensor | None, x: Entries, *, begins: bool) -> Batch:
        """Pop z_L; pop z_{L−1}, push z_L; …; pop x, push z_1."""
        given = self.model.given(context)
        p = _chain(given.prior())
        k = self.grid.pop(stack, *prior_moments(p.first, n_rows))
        for up, down in zip(reversed(self.up), p.links, strict=True):
            g = self._after(down, k)
            below = self.grid.pop(stack, g.mean, g.scale)
            if not begins:
                self._push(stack, k, self._after(up, below))
            k = below
        x.pop(stack, given.likelihood(self._z(k)))
        batch = x.batch()
        if not begins:
            self._push(stack, k, _first(self.posterior(batch)))
        return batch

    def _after(self, link: Link, k: np.ndarray) -> DiagonalGaussian:
        """The next level's distribution, parameters of shape (B, D)."""
        g = link(self.grid.values(k)[None])
        return DiagonalGaussian(g.mean[0], g.log_scale[0])

    def _push(self, stack: Stack, k: np.ndarray, g: DiagonalGaussian) -> None:
        self.grid.push(stack, k, g.mean, g.scale)

    def _z(self, k: np.ndarray) -> Tensor:
        """z for the decoder, which reads z_1 alone, (1, B, D)."""
        z = torch.zeros(1, len(k), self.model.latent_dim, dtype=torch.float64)  # type: ignore[arg-type]
        z[0, :, : k.shape[1]] = self.grid.values(k)
        return z


def _chain(p: object) -> Chain:
    assert isinstance(p, Chain)
    return p


def _first(q: object) -> DiagonalGaussian:
    first = _chain(unwrapped(q)).first
    assert isinstance(first, DiagonalGaussian)
    return first


@dataclass
class LadderOfLevels(OnGrid):
    """Levels whose q and p share one path down. The grid holds (z_l − μ_p)/σ_p, which has the prior N(0, I)."""

    model: Ladder
    posterior: Infer
    grid: Grid

    def encode(self, stack: Stack, batch: Batch, x: Entries, *, begins: bool) -> None:
        """Pop the levels from the top down, push x, push the levels from the bottom up."""
        q = unwrapped(self.posterior(batch))
        levels: list[np.ndarray] = []

        def choose(p: DiagonalGaussian, q: DiagonalGaussian) -> Tensor:
            relative = q.relative_to(p)
            k = self.grid.nearest(relative.mean) if begins else self.grid.pop(stack, relative.mean, relative.scale)
            levels.append(k)
            return self._z(k, p)

        way = q.ladder.descend((1, len(batch.x)), q.seen, draw=choose, known=q.known)
        x.push(stack, q.ladder.decode(way))
        for k in reversed(levels):
            self.grid.push(stack, k, *_standard(k))

    def decode(self, stack: Stack, n_rows: int, context: Tensor | None, x: Entries, *, begins: bool) -> Batch:
        """Pop the levels from the top down, pop x, push the levels from the bottom up."""
        given, levels = self.model.given(context), []

        def choose(p: DiagonalGaussian, q: DiagonalGaussian) -> Tensor:
            levels.append(self.grid.pop(stack, *_standard(p.mean)))
            return self._z(levels[-1], p)

        way = given.descend((1, n_rows), draw=choose)
        x.pop(stack, given.decode(way))
        batch = x.batch()
        if not begins:
            q = unwrapped(self.posterior(batch))
            back = q.ladder.descend((1, n_rows), q.seen, z=way.z, known=q.known)
            for k, p, q_l in reversed(list(zip(levels, back.prior, back.posterior, strict=True))):
                relative = q_l.relative_to(p)
                self.grid.push(stack, k, relative.mean, relative.scale)
        return batch

    def _z(self, k: np.ndarray, p: DiagonalGaussian) -> Tensor:
        return rounded(p.mean) + rounded(p.scale, positive=True) * self.grid.values(k)


def _standard(like: np.ndarray | Tensor) -> tuple[Tensor, Tensor]:
    zero = torch.zeros(tuple(like.shape), dtype=torch.float64)
    return zero, torch.ones_like(zero)
