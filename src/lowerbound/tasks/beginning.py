"""Latent vectors that go with the beginning of a sequence or a text: z ~ p(z | beginning) by weighted draws."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lowerbound.core import Batch, Infer, Model
from lowerbound.distributions.noise import Noise
from lowerbound.evaluation.annealing import UnreliableEstimateWarning
from lowerbound.evaluation.defensive import Defensive
from lowerbound.evaluation.evaluation import PASS_ELEMENTS
from lowerbound.warning import warn

N_OF_BEGINNING = 1000  # weighted draws
FEWEST = 5.0  # of them that have to count
WIDTH = 128  # numbers for each entry of the beginning that a decoder holds, or so

DrawLatents = Callable[[int], Tensor]  # n → z (n, D)


@torch.no_grad()
def latents_of(model: Model, posterior: Infer, beginning: Batch, noise: Noise) -> DrawLatents:
    """Draw z ~ p(z | beginning) again from weighted draws, half of them from q(z|x) and half from p(z).

    Parameters
    ----------
    model : Model
        In evaluation mode, as the posterior.
    posterior : Infer
    beginning : Batch of one row
        With its context, if the model is given one.
    noise : Noise

    Warns
    -----
    UnreliableEstimateWarning
        If fewer than 5 of the draws count.
    """
    q, prior, half = posterior(beginning, noise), model.prior_of(beginning), N_OF_BEGINNING // 2
    proposal = Defensive(q, prior, half, half)
    z = torch.cat([*proposal.draws(half, noise)])
    log_p, log_q = prior.log_prob(z), q.log_prob(z)
    size = max(1, PASS_ELEMENTS // (WIDTH * beginning.x.numel()))
    log_px = torch.cat([model.log_px(beginning, some) for some in z.split(size)])
    w = (log_px + log_p - proposal.log_prob(log_q, log_p))[:, 0].double().softmax(0)
    if (ess := 1 / w.square().sum().item()) < FEWEST:
        warn(
            f"of {N_OF_BEGINNING:,} draws of z for the beginning only {ess:.1f} count (effective sample size): what "
            f"follows on it is less varied than it should be",
            UnreliableEstimateWarning,
        )
    total = w.cumsum(0)

    def draw(n: int) -> Tensor:
        u = noise.uniform((1, n), total)[0] * total[-1]
        return z[torch.searchsorted(total, u).clamp_max(len(total) - 1), 0]

    return draw
