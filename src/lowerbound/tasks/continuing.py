"""New sequences, and continuations of one: step by step, each read before the next is drawn."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lowerbound.core import Batch
from lowerbound.data.sequences import SequenceRows
from lowerbound.distributions.noise import Noise
from lowerbound.evaluation.evaluation import Evaluation, evaluating
from lowerbound.evaluation.smc import states_after
from lowerbound.models.sequence import SequenceModel
from lowerbound.models.state_space import StateSpaceModel
from lowerbound.models.whole_sequence import WholeSequenceModel
from lowerbound.tasks.beginning import latents_of

PARTICLES = 128  # at least, for what follows on a sequence whose latent variables are a chain


def continued(
    model: SequenceModel, n: int, most: Tensor, counted: Tensor, noise: Noise, prompt: Evaluation | None = None,
    z: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
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
    prompt : Evaluation, optional
        On the m sequences that they begin with, which are not returned: the first n/m draws with the first, and so on.
    z : Tensor, shape (n, D), optional
        The z of each whole sequence, if the model has one and it isn't to be drawn; without a prompt.

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
        state = _begun(model, n, noise, z) if prompt is None else _after(model, prompt, n, noise)
        while goes_on.any():
            x = model.draw_step(state, noise).unsqueeze(1)
            steps.append(x)
            lengths += goes_on
            state = model.read(Batch(x.to(state.dtype), counted.expand_as(x), torch.arange(n)), state, noise)
            goes_on = goes_on & model.draw_goes_on(state, noise)
            is_cut |= goes_on & (lengths >= most)
            goes_on &= lengths < most
    return torch.cat(steps, 1), lengths, is_cut


def _begun(model: SequenceModel, n: int, noise: Noise, z: Tensor | None) -> Tensor:
    """The states of ``n`` sequences before their first steps."""
    if z is None:
        return model.begin(n, noise)
    assert isinstance(model, WholeSequenceModel)
    return model.begin_with(z, noise)


def _after(model: SequenceModel, prompts: Evaluation, n: int, noise: Noise) -> Tensor:
    """The states of ``n`` continuations, as many of each sequence."""
    assert isinstance(prompts.rows, SequenceRows)
    each = [replace(prompts, rows=prompts.rows.subset(i)) for i in torch.arange(len(prompts.rows)).split(1)]
    return torch.cat([_after_one(model, prompt, n // len(each), noise) for prompt in each])


def _after_one(model: SequenceModel, prompt: Evaluation, n: int, noise: Noise) -> Tensor:
    """The states of ``n`` continuations of a sequence."""
    if isinstance(model, StateSpaceModel):
        return states_after(replace(prompt, noise=noise), n, PARTICLES)
    batch = next(prompt.batches(1))
    if isinstance(model, WholeSequenceModel):
        z = latents_of(model, prompt.posterior, batch, noise)(n)
        d, _ = model.parts(model.read(batch, model.begin(1, noise), noise))
        return torch.cat([d.expand(n, -1), z.to(d)], -1)
    return model.read(batch, model.begin(1, noise), noise).expand(n, -1)
