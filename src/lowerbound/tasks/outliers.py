"""How unusual rows are, and which of their entries: a few lines over prior, likelihood and posterior.

Everything is in nats, higher is more unusual; where rows share their noise, a row's numbers depend on that row alone.
What each score is blind to:

- KL(q(z|x) ‖ p(z)): rows off the manifold, whose codes are ordinary;
- −E_q log p(x|z): rows that are coded far from the prior and rebuilt well;
- their sum −ELBO, and −log p(x): the same, where the entries are so many that they drown the few codes;
- the surprise −log p(x_j | x_-j) of each entry given the others: rows that are far out in all entries alike.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lowerbound.core import Batch, Model
from lowerbound.data.batches import Rows
from lowerbound.distributions import Noise, make_generator
from lowerbound.evaluate import EVALUATION_BATCH, PASS_ELEMENTS, accounts, evaluating
from lowerbound.inference.posteriors import Refined

PATCH = 4  # pixels on a side that are hidden together: one alone is given away by its neighbors


def parts_of(event_shape: tuple[int, ...], n_parts: int) -> Tensor:
    """A partition of a row's entries, drawn once and for all; shape (P, *event) of bool with P ≤ ``n_parts``.

    Images (C, H, W) are cut in patches of 4 × 4 pixels with all their channels.
    """
    is_image = len(event_shape) == 3
    shape = tuple(math.ceil(side / PATCH) for side in event_shape[1:]) if is_image else event_shape
    n = math.prod(shape)
    part = (torch.randperm(n, generator=make_generator(0, "parts")) % min(n, n_parts)).reshape(shape)
    if is_image:
        part = part.repeat_interleave(PATCH, 0).repeat_interleave(PATCH, 1)
        part = part[: event_shape[1], : event_shape[2]].expand(event_shape)
    return torch.stack([part == i for i in range(min(n, n_parts))])


def codes_of_the_rest(
    model: Model, posterior: nn.Module, batch: Batch, n_samples: int, noise: Noise
) -> tuple[Tensor, Tensor]:
    """Draws z from q(z|x) of what ``batch`` shows, (S, B, D), and log weights (S, B) that make them draws of p(z|x).

    The weights p(x, z)/q(z|x) are normalized, so that a mean under p(z|x) is a sum (Mattei & Frellsen, 2019,
    arXiv:1812.02633, eq. 12).
    """
    q = posterior(batch, noise)
    z = q.rsample((n_samples,), noise)
    return z, torch.log_softmax(model.log_joint(batch, z) - q.log_prob(z), 0)


def surprise(
    model: Model, posterior: nn.Module, data: Rows, noise: Noise, n_parts: int = 8, n_samples: int = 8
) -> Tensor:
    """−log p(x_j | x_-P) of every entry j, where P is the part of the row that j is hidden with; (N, *event).

    p(x_j | x_-P) = ∫ p(x_j|z) p(z|x_-P) dz by importance sampling from q(z|x_-P). What is hidden from the encoder
    can't be coded away. In nats and the model's units; 0 where an entry is missing.

    Parameters
    ----------
    n_parts : int
        Parts that the entries fall into, a pass each; as many as there are entries gives −log p(x_j | x_-j).
    n_samples : int
        Draws of z.
    """
    parts = parts_of(data.event_shape, n_parts).to(data.device)
    n_rows = max(1, min(EVALUATION_BATCH, PASS_ELEMENTS // (n_samples * math.prod(data.event_shape))))
    rows = []
    with evaluating(model, posterior):
        for batch in data.batches(n_rows, noise):
            nats = torch.zeros_like(batch.x)
            for part in parts:
                noise.restart()
                z, log_weight = codes_of_the_rest(model, posterior, batch.hiding(part), n_samples, noise)
                log_p = model.likelihood(z).log_prob(batch.x)  # (S, B, *event)
                log_weight = log_weight.reshape(*log_weight.shape, *(1,) * part.ndim)
                nats = torch.where(part & batch.mask, -(log_weight + log_p).logsumexp(0), nats)
            rows.append(nats)
    return torch.cat(rows).cpu()


def regret(
    model: Model, posterior: nn.Module, data: Rows, noise: Noise, n_steps: int = 100, n_samples: int = 8
) -> Tensor:
    """By how much a q(z) of the row's own beats the encoder's: ELBO(q*) − ELBO(q(z|x)), in nats, (N,).

    Likelihood regret (Xiao et al., 2020, arXiv:2003.02977, eq. 5): the encoder knows what it was trained on.
    """
    refined = Refined(posterior, model.draw, n_steps)
    before, after = (accounts(model, q, data, noise, n_samples).elbo for q in (posterior, refined))
    return after - before
