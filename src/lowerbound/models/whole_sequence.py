"""Sequences with one z each (VRAE: Fabius & van Amersfoort, 2015, arXiv:1412.6581).

z ~ N(0, I), d_t = GRU(x_<t), x_t ~ p(x|d_t, z). z does not enter the recurrence, so that one pass of it serves all
draws of z; every step reads z itself, and d_t need not remember it.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from lowerbound.core import Batch, Draw, Infer, Model, Objective, Prior
from lowerbound.distributions.noise import Noise
from lowerbound.models.sequence import Steps, WithLatentState


class WholeSequenceModel(WithLatentState):
    """p(x, z) = p(z) Π_t p(x_t|d_t, z), d_t = GRU(x_<t), with one z ~ N(0, I) for a whole sequence.

    The parameters are those of ``SequenceModel``; the ``step`` has no prior of its own.
    """

    _dropping: Noise | None = None  # says what is dropped in training

    def prior(self) -> Prior:
        """N(0, I)."""
        return self.step.prior()

    def draw(self, batch: Batch, posterior: Infer, objective: Objective, noise: Noise) -> Draw:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Draw z for every sequence from the posterior, and score x under each.

        Parameters
        ----------
        batch : Batch
            B sequences.
        posterior : Infer
            It gives q(z|x).
        objective : Objective
            As in ``Model.draw``.
        noise : Noise
            The random numbers.
        """
        same = copy.copy(self)  # shares all modules
        same._dropping = noise if self.training else None
        return Model.draw(same, batch, posterior, objective, noise)

    def log_px(self, batch: Batch, z: Tensor) -> Tensor:
        """log p(x|z) for z of shape (S, B, D), or log p of x and of where it ends, shape (S, B).

        Parameters
        ----------
        batch : Batch
            B sequences.
        z : Tensor, shape (S, B, D)
        """
        steps = self.steps(batch, self._dropping)
        return steps.sums(self.log_p_of_steps(steps, z) + steps.log_length)

    def log_p_of_steps(self, steps: Steps, z: Tensor) -> Tensor:
        """log p(x_t|x_<t, z) of every step, for z of shape (S, B, D), shape (S, N)."""
        return self.step.log_px(steps.batch, z[:, steps.row])

    # a state is d_t and z

    def begin(self, n: int, noise: Noise) -> Tensor:
        """d_1 and z ~ p(z) of ``n`` sequences, (n, H + D)."""
        return self.begin_with(self.prior().rsample((1, n), noise)[0], noise)

    def begin_with(self, z: Tensor, noise: Noise) -> Tensor:
        """d_1 beside every z (n, D), (n, H + D)."""
        return torch.cat([super().begin(len(z), noise), z.to(self.past.first)], -1)

    def read(self, batch: Batch, state: Tensor, noise: Noise) -> Tensor:
        """The states after the steps of a batch."""
        d, z = self.parts(state)
        return torch.cat([super().read(batch, d, noise), z], -1)
