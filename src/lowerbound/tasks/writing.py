"""Texts from latent vectors, token by token, and latent vectors that go with the beginning of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lowerbound.core import Batch, NoPosterior, Posterior
from lowerbound.distributions.noise import Noise
from lowerbound.evaluation.evaluation import evaluating
from lowerbound.models.texts import TextModel
from lowerbound.tasks.beginning import DrawLatents, latents_of


@dataclass(frozen=True)
class Choice:
    """A way to choose a token.

    Attributes
    ----------
    temperature : float
        Logits are divided by it; 0 takes the most probable token.
    top_p : float
        Only the most probable tokens are drawn that have this much probability together (Holtzman et al., 2020,
        arXiv:1904.09751).
    """

    temperature: float = 1.0
    top_p: float = 1.0

    def __call__(self, logits: Tensor, noise: Noise) -> Tensor:
        """A token for each row of logits (n, K + 1), shape (n,)."""
        if self.temperature == 0:
            return logits.argmax(-1)
        p, token = (logits.double() / self.temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
        total = p.cumsum(-1)
        p = torch.where(total - p < self.top_p, p, 0.0)
        total = p.cumsum(-1)
        u = noise.uniform((1, len(p), 1), p)[0] * total[:, -1:]
        place = (total <= u).sum(-1, keepdim=True).clamp_max((p > 0).sum(-1, keepdim=True) - 1)
        return token.gather(-1, place)[:, 0]


@torch.no_grad()
def written(
    model: TextModel, z: Tensor, features: Tensor | None, beginning: Sequence[int], most: int, choice: Choice,
    noise: Noise,
) -> tuple[list[list[int]], int]:  # fmt: skip
    """A text for every z, token by token.

    Parameters
    ----------
    model : TextModel
    z : Tensor, shape (n, D)
    features : Tensor, shape (n, C), optional
        Of the context.
    beginning : sequence of int
        The tokens that all begin with; they are not returned.
    most : int
        Tokens after which a text without an end is cut off.
    choice : Choice
    noise : Noise

    Returns
    -------
    tokens : list of list of int
        Without the end.
    n_cut : int
        How many had no end.
    """
    n, noise = len(z), noise.own()
    with evaluating(model):
        state, ended = model.begin(z.unsqueeze(0), features), torch.zeros(n, dtype=torch.bool, device=z.device)
        for token in (model.n_tokens, *beginning[:-1]) if beginning else ():
            _, state = model.after(torch.full((n,), token, device=z.device), state)
        token = torch.full((n,), beginning[-1] if beginning else model.n_tokens, device=z.device)
        chosen = []
        while len(chosen) < most and not ended.all():
            logits, state = model.after(token, state)
            token = torch.where(ended, model.n_tokens, choice(logits, noise))
            ended |= token == model.n_tokens
            chosen.append(token)
    each = torch.stack(chosen, 1).tolist() if chosen else [[] for _ in range(n)]
    return [row[: row.index(model.n_tokens)] if model.n_tokens in row else row for row in each], int((~ended).sum())


@torch.no_grad()
def latents(
    model: TextModel, posterior: Posterior, context: Tensor | None, beginning: Batch | None, noise: Noise
) -> DrawLatents:
    """Draw z ~ p(z|c), or z ~ p(z | beginning, c) by weighted draws, half of them from q and half from p.

    Parameters
    ----------
    model : TextModel
    posterior : Posterior
    context : Tensor, shape (1, C), optional
    beginning : Batch of one row, optional
        A text without its end, and its context.
    noise : Noise
    """
    noise = noise.own()
    with evaluating(model, posterior):
        if beginning is None or isinstance(posterior, NoPosterior):
            prior = model.given(context).prior()
            return lambda n: prior.rsample((n, 1), noise)[:, 0]
        return latents_of(model, posterior, beginning, noise)
