"""New sequences, and continuations of one: step by step, each read before the next is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lowerbound.core import Batch, Infer
from lowerbound.distributions.noise import Noise
from lowerbound.evaluation.evaluation import evaluating
from lowerbound.evaluation.smc import states_by_particles
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
    start : Tensor, shape (n, H), optional
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
            x = x.to(state.dtype)
            state = model.read(Batch(x, counted.expand_as(x), torch.arange(n)), state, noise)
            goes_on = goes_on & model.draw_goes_on(state, noise)
            is_cut |= goes_on & (lengths >= most)
            goes_on &= lengths < most
    return torch.cat(steps, 1), lengths, is_cut


def states_after(model: SequenceModel, posterior: Infer, prompts: Sequence[Batch], n: int, noise: Noise) -> Tensor:
    """The states of ``n`` continuations of each prompt, a batch of one sequence, one prompt after another."""
    with evaluating(model, posterior):
        return torch.cat([_after(model, posterior, prompt, n, noise) for prompt in prompts])


def _after(model: SequenceModel, posterior: Infer, prompt: Batch, n: int, noise: Noise) -> Tensor:
    if isinstance(model, StateSpaceModel):
        return states_by_particles(model, posterior, prompt, n, max(n, PARTICLES), noise.own())
    return model.read(prompt, model.begin(1, noise), noise).expand(n, -1)
