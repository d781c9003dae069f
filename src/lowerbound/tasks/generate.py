"""New data: z from the prior, x from p(x|z)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lowerbound.core import ExplicitModel, Model
from lowerbound.distributions.noise import Noise
from lowerbound.evaluation.evaluation import PASS_ELEMENTS, evaluating


def decode(model: Model, z: Tensor, noise: Noise | None = None, context: Tensor | None = None) -> Tensor:
    """x for every z: its expectation E[x|z], or a draw from p(x|z) if there is noise to draw from.

    Parameters
    ----------
    z : Tensor, shape (n, D)
    context : Tensor, shape (n, C), optional
        What the model is given.

    Returns
    -------
    Tensor, shape (n, *event)
    """
    with evaluating(model):
        parts, rows = [], 1  # the first pass tells how large an event is
        while sum(map(len, parts)) < len(z):
            first = sum(map(len, parts))
            some = z[None, first : first + rows]
            one = model.given(None if context is None else context[first : first + rows])
            parts.append((one.mean_x(some) if noise is None else one.draw_x(some, noise))[0])
            rows = max(1, PASS_ELEMENTS // math.prod(parts[0].shape[1:]))
    return torch.cat(parts) if parts else z.new_zeros(0)


def sample(model: Model, n: int, noise: Noise, *, mean: bool = False, context: Tensor | None = None) -> Tensor:
    """``n`` draws of x, or of E[x|z], with z ~ p(z), given a context (n, C) if there is one; shape (n, *event)."""
    noise = noise.own()
    if isinstance(model, ExplicitModel):
        with evaluating(model):
            return model.sample(n, noise, mean=mean)
    with torch.no_grad():
        z = model.given(context).prior().rsample((1, n), noise)[0]
    return decode(model, z, None if mean else noise, context)
