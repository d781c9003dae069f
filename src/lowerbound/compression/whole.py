"""Sequences with one z each as a message: z is popped given the whole of x, and all steps are pushed given z."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lowerbound.compression.bits_back import Grid, gaussian_of, pop_gaussian, prior_moments, push_gaussian
from lowerbound.compression.chains import Places, in_steps, padded
from lowerbound.compression.coder import Stack
from lowerbound.compression.stepping import Popped, SequenceBlocks, Unit
from lowerbound.core import Batch, Infer
from lowerbound.models.whole_sequence import WholeSequenceModel


@dataclass(frozen=True)
class WholeSequenceBlocks(SequenceBlocks):
    """Blocks of sequences with z ~ p(z) and q(z|x) as messages, and back.

    Attributes
    ----------
    step : OneLevel
        Says how x_t is coded given d_t and z.
    posterior : Infer
    grid : Grid
    """

    model: WholeSequenceModel
    posterior: Infer
    grid: Grid

    def _push(self, stack: Stack, unit: Unit, *, ends: bool) -> None:
        """Pop z, push the steps, the last one first, push z."""
        d = self.states(unit)
        given, places, batch = in_steps(unit, d)
        k = pop_gaussian(stack, self.grid, gaussian_of(self.posterior(batch)))
        for time in reversed(range(len(unit))):
            self.push_ends(stack, unit, time, d[time + 1], ends=ends)
            step, z = unit.entries(time, given[time]), self.grid.values(k[places[time]])
            self.step.push_x(stack, step, self.model.step.given(given[time]), z)
            step.push_gaps(stack)
        self.grid.push(stack, k, *prior_moments(self.model.prior(), len(k)))

    def _pop(self, stack: Stack, rows: np.ndarray, popped: Popped) -> None:
        """Pop z, pop the steps, push z."""
        k = self.grid.pop(stack, *prior_moments(self.model.prior(), len(rows)))
        d, time, first = self.begin(len(rows)), 0, rows[0]
        places: Places = []
        batches: list[Batch] = []
        while len(rows):
            places.append(rows - first)
            step = popped.begin(rows, time, self.rows.counted, d)
            step.pop_gaps(stack)
            self.step.pop_x(stack, step, self.model.step.given(d), self.grid.values(k[places[-1]]))
            batches.append(step.batch())
            d = self.onward(batches[-1])
            further = self.pop_ends(stack, rows, time, d, popped)
            d, rows, time = d[torch.from_numpy(further)], rows[further], time + 1
        push_gaussian(stack, self.grid, k, gaussian_of(self.posterior(padded(batches, places))))

    def moments(self, unit: Unit) -> tuple[Tensor, Tensor]:
        """Means and deviations of q(z|x) of all sequences."""
        q = gaussian_of(self.posterior(in_steps(unit, self.states(unit))[-1]))
        return q.mean, q.scale
