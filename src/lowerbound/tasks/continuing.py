"""New sequences, and continuations of one: step by step, each read before the next is drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from lowerbound.core import Batch
from lowerbound.distributions.noise import Noise
from lowerbound.evaluation.evaluation import Evaluation, evaluating
from lowerbound.evaluation.smc import drawn_states
from lowerbound.models.sequence import SequenceModel
from lowerbound.models.state_space import StateSpaceModel

PARTICLES = 128  # at least, for what follows on a sequence whose latent variables are a chain


def continued(
    model: SequenceModel, n: int, most: Tensor, counted: Tensor, noise: Noise, start: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw ``n`` sequences, or continuations of a prompt.

    Parameters
    ----------
    model : SequenceModel
    n : int
    most : Tensor of int64, shape (n,)
        Steps after which each is cut off, if it doesn't end before; without a model of the end its length.
    counted : Tensor of bool, shape (F,)
        False for constant columns, which the model doesn't read.
    noise : Noise
    start : Tensor, shape (n, ·), optional
        The states after what they begin with (``states_after``), which is not returned.

    Returns
    -------
    x : Tensor, shape (n, T, F)
        In the model's units; it has no meaning behind the end of a sequence.
    lengths : Tensor of int64, shape (n,)
    is_cut : Tensor of bool, shape (n,)
        The sequence had gone on.
    """
    noise, steps = noise.own(), []
    lengths, goes_on = torch.zeros_like(most), torch.ones_like(most, dtype=torch.bool)
    is_cut = torch.zeros_like(goes_on)
    with evaluating(model):
        state = model.begin(n, noise) if start is None else start
        while goes_on.any():
            x = model.draw_step(state, noise).unsqueeze(1)
            steps.append(x)
            lengths += goes_on
            state = model.read(Batch(x.to(state.dtype), counted.expand_as(x), torch.arange(n)), state, noise)
            goes_on = goes_on & model.draw_goes_on(state, noise)
            is_cut |= goes_on & (lengths >= most)
            goes_on &= lengths < most
    return torch.cat(steps, 1), lengths, is_cut


def states_after(on: Evaluation, n: int) -> Tensor:
    """The states of ``n`` continuations of each sequence, those of one sequence after another's, (sequences · n, ·)."""
    with on.evaluating():
        return torch.cat([_after(on, batch, n) for batch in on.batches(1)])


def _after(on: Evaluation, batch: Batch, n: int) -> Tensor:
    assert isinstance(on.model, SequenceModel)
    if isinstance(on.model, StateSpaceModel):
        return drawn_states(on, batch, n, PARTICLES)
    return on.model.read(batch, on.model.begin(1, on.noise), on.noise).expand(n, -1)
