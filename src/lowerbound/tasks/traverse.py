"""Paths through the latent space: along single variables, and from one code to another."""

from __future__ import annotations

import torch
from torch import Tensor

from lowerbound.core import Model
from lowerbound.distributions.gaussians import StandardNormal
from lowerbound.distributions.noise import Noise

DRAWS = 4096  # of a learned prior


def prior_quantiles(model: Model, deviations: Tensor, noise: Noise, context: Tensor | None = None) -> Tensor:
    """Values of every latent variable of p(z): t for N(0, I), else the quantile at Φ(t) of its marginal, by draws.

    Parameters
    ----------
    model : Model
    deviations : Tensor, shape (m,)
        t, from low to high.
    noise : Noise
    context : Tensor, shape (1, C), optional
        What the model is given.

    Returns
    -------
    Tensor, shape (m, D)
    """
    with torch.no_grad():
        prior = model.given(context).prior()
        if isinstance(prior, StandardNormal):
            return deviations[:, None].expand(-1, prior.latent_dim)
        of_each = None if context is None else context.expand(DRAWS, -1)
        z = model.given(of_each).prior().rsample((1, DRAWS), noise)[0]
    return z.double().quantile(torch.special.ndtr(deviations.double()).to(z.device), 0).cpu()


def along_each(start: Tensor, values: Tensor) -> Tensor:
    """Codes in which one variable takes its values and the others stay.

    Parameters
    ----------
    start : Tensor, shape (D,)
    values : Tensor, shape (m, D)

    Returns
    -------
    Tensor, shape (D, m, D)
    """
    codes = start.repeat(len(start), len(values), 1)
    each = torch.arange(len(start))
    codes[each, :, each] = values.T.to(codes.dtype)
    return codes


def between(first: Tensor, last: Tensor, n_steps: int) -> Tensor:
    """Codes on the straight line from one to another, both included, shape (n_steps, D)."""
    share = torch.linspace(0, 1, n_steps, dtype=first.dtype)[:, None]
    return (1 - share) * first + share * last
