"""Sequences whose latent variables are a chain as a message: all of z is popped first, given the whole of x."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lowerbound.compression.bits_back import Grid, OneLevel
from lowerbound.compression.coder import Stack
from lowerbound.compression.stepping import Popped, SequenceBlocks, Unit
from lowerbound.core import Batch
from lowerbound.distributions.gaussians import DiagonalGaussian, GaussianPrior
from lowerbound.inference.smoothing import SmoothingPosterior
from lowerbound.models.state_space import StateSpaceModel

Places = list[np.ndarray]  # at every time the places of the sequences that have the step


@dataclass(frozen=True)
class ChainBlocks(SequenceBlocks):
    """Blocks of sequences with z_t ~ p(z|d_t, z_{t−1}) and q(z_t|z_{t−1}, x) as messages, and back.

    Attributes
    ----------
    step : OneLevel
        Says how x_t is coded given z_t.
    posterior : SmoothingPosterior
    grid : Grid
    """

    model: StateSpaceModel
    step: OneLevel
    posterior: SmoothingPosterior
    grid: Grid

    def _push(self, stack: Stack, unit: Unit, *, ends: bool) -> None:
        """Pop z from the first step on, push x and z from the last one on."""
        d = self.states(unit)
        given, places, batch = in_steps(unit, d)
        path: list[np.ndarray] = []
        for rows, q in zip(places, self._posteriors(batch, path, places), strict=True):
            path.append(self.grid.pop(stack, q.mean[rows], q.scale[rows]))
        for time in reversed(range(len(unit))):
            self.push_ends(stack, unit, time, d[time + 1], ends=ends)
            step, z = unit.entries(time, given[time]), self.grid.values(path[time])
            self.step.push_x(stack, step, self.model.step.given(given[time]), z)
            step.push_gaps(stack)
            p = self._prior(given[time], self._before(path, places, time))
            self.grid.push(stack, path[time], p.mean[0], p.scale[0])

    def _pop(self, stack: Stack, rows: np.ndarray, popped: Popped) -> None:
        """Pop z and x from the first step on, push z from the last one on."""
        d, time, first = self.begin(len(rows)), 0, rows[0]
        path: list[np.ndarray] = []
        places: Places = []
        batches: list[Batch] = []
        while len(rows):
            places.append(rows - first)
            p = self._prior(d, self._before(path, places, time))
            path.append(self.grid.pop(stack, p.mean[0], p.scale[0]))
            step = popped.begin(rows, time, self.rows.counted, d)
            step.pop_gaps(stack)
            self.step.pop_x(stack, step, self.model.step.given(d), self.grid.values(path[-1]))
            batches.append(step.batch())
            d = self.onward(batches[-1])
            further = self.pop_ends(stack, rows, time, d, popped)
            d, rows, time = d[torch.from_numpy(further)], rows[further], time + 1
        posteriors = list(self._posteriors(padded(batches, places), path, places))
        for k, each, q in reversed(list(zip(path, places, posteriors, strict=True))):
            self.grid.push(stack, k, q.mean[each], q.scale[each])

    def moments(self, unit: Unit) -> tuple[Tensor, Tensor]:
        """Means and deviations of q(z_t|z_{t−1}, x) of all steps, with the means before them for z_{t−1}."""
        _, places, batch = in_steps(unit, self.states(unit))
        path: list[np.ndarray] = []
        found = []
        for rows, q in zip(places, self._posteriors(batch, path, places), strict=True):
            found.append((q.mean[rows], q.scale[rows]))
            path.append(self.grid.nearest(q.mean[rows]))
        mean, scale = (torch.cat(each) for each in zip(*found, strict=True))
        return mean, scale

    def _posteriors(self, batch: Batch, path: Sequence[np.ndarray], places: Places) -> Iterator[DiagonalGaussian]:
        """q(z_t|z_{t−1}, x) of all sequences, time after time; z_{t−1} of ``path`` is read when q of t is asked for."""
        assert batch.context is not None
        q, read = self.posterior(batch), self.model.transition.read(batch.context)  # type: ignore[operator]
        z = torch.zeros(1, len(batch.x), self.model.step.latent_dim, dtype=torch.float64)
        for time in range(batch.x.shape[1]):
            if time:
                z[0, places[time - 1]] = self.grid.values(path[time - 1])
            at = q.at(time, z, self.model.prior_at(read[:, time], z))
            yield DiagonalGaussian(at.mean[0], at.log_scale[0])

    def _prior(self, d: Tensor, before: Tensor) -> GaussianPrior:
        """p(z_t|d_t, z_{t−1}), parameters of shape (1, n, D)."""
        return self.model.prior_at(self.model.transition.read(d), before[None])  # type: ignore[operator]

    def _before(self, path: Sequence[np.ndarray], places: Places, time: int) -> Tensor:
        """z_{t−1} of the sequences that have the step, 0 before the first, (n, D)."""
        if not time:
            return torch.zeros(len(places[0]), self.model.step.latent_dim, dtype=torch.float64)
        return self.grid.values(path[time - 1])[torch.from_numpy(np.isin(places[time - 1], places[time]))]


def in_steps(unit: Unit, d: Sequence[Tensor]) -> tuple[list[Tensor], Places, Batch]:
    """d_t and the places of the sequences of every step, and the sequences with their d."""
    given = [each[unit.kept(time)] for time, each in enumerate(d[:-1])]
    places = [unit.rows(time) for time in range(len(unit))]
    return given, places, padded([unit.entries(time, c).batch() for time, c in enumerate(given)], places)


def padded(steps: Sequence[Batch], places: Places) -> Batch:
    """Sequences, of shape (B, T, F), with their d as context, from the steps of every time."""

    def together(parts: list[Tensor]) -> Tensor:
        out = parts[0].new_zeros(len(parts[0]), len(parts), *parts[0].shape[1:])
        for time, (rows, part) in enumerate(zip(places, parts, strict=True)):
            out[torch.from_numpy(rows), time] = part
        return out

    has_gaps = any(step.missing is not None for step in steps)
    missing = together([step.mask & False if step.missing is None else step.missing for step in steps])
    x, mask = together([step.x for step in steps]), together([step.mask for step in steps])
    context = together([step.context for step in steps])  # type: ignore[misc]
    return Batch(x, mask, torch.arange(len(x)), missing=missing if has_gaps else None, context=context)
