"""Networks that read sequences of tokens, and that predict each token from those before it."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowerbound.nn.initialization import linear
from lowerbound.nn.recurrent import gru, largest_and_last


class TokenReader(nn.Module):
    """A sequence of tokens → features: the largest of each state of a GRU over time, and its last.

    Parameters
    ----------
    n_tokens : int
        The number of tokens that may be read.
    embedding_size, hidden_size : int
        E and H.
    generator : torch.Generator
        Draws the weights.
    """

    def __init__(self, n_tokens: int, embedding_size: int, hidden_size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.n_features: int = 2 * hidden_size
        self.embeddings: nn.Parameter = nn.Parameter(torch.randn(n_tokens, embedding_size, generator=generator))
        self.recurrence: nn.GRU = gru(embedding_size, hidden_size, generator)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features of the tokens (B, T) within the lengths, which ``mask`` tells, shape (B, 2H)."""
        mask = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
        states, _ = self.recurrence(F.embedding(tokens, self.embeddings))
        return largest_and_last(states, mask)


class Written(NamedTuple):
    """The state of a decoder after some tokens: its hidden units (1, N, H), and what it is given at every step."""

    hidden: Tensor
    input: Tensor  # (N, E) beside every token
    output: Tensor  # (N, H) beside every state


class TokenDecoder(nn.Module):
    """p(token | tokens before it, g), by a GRU to which g, z and a context, is given at the start and at every step.

        h_0 = tanh(A g)      h_t = GRU(h_{t−1}, e(x_{t−1}) + B g)      logits_t = W (h_t + C g) + b

    z next to the output keeps the latent variables in use (Dieng et al., 2019, arXiv:1807.04863).

    Parameters
    ----------
    n_tokens : int
        K of the vocabulary; K + 1 can follow (the last is the end) and K + 2 be read (before the first token, the end
        of what was before; and a token that isn't known, or is hidden).
    n_given : int
        G.
    embedding_size, hidden_size : int
        E and H.
    generator : torch.Generator
        Draws the weights.
    """

    def __init__(
        self, n_tokens: int, n_given: int, embedding_size: int, hidden_size: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.sizes: tuple[int, int, int] = (hidden_size, embedding_size, hidden_size)
        self.embeddings: nn.Parameter = nn.Parameter(torch.randn(n_tokens + 2, embedding_size, generator=generator))
        self.given: nn.Linear | None = linear(n_given, sum(self.sizes), generator) if n_given else None
        self.recurrence: nn.GRU = gru(embedding_size, hidden_size, generator)
        self.output: nn.Linear = linear(hidden_size, n_tokens + 1, generator)

    def begin(self, given: Tensor) -> Written:
        """The state before the first token, for g of shape (N, G)."""
        if self.given is None:
            parts = given.new_zeros(len(given), sum(self.sizes)).split(self.sizes, -1)
        else:
            parts = self.given(given).split(self.sizes, -1)
        return Written(parts[0].tanh().unsqueeze(0), parts[1], parts[2])

    def forward(self, before: Tensor, state: Written) -> tuple[Tensor, Written]:
        """Read ``before`` (N, T), the token before each; what the logits are made of (N, T, H), and the state after."""
        read = F.embedding(before, self.embeddings) + state.input.unsqueeze(1)
        states, hidden = self.recurrence(read, state.hidden.contiguous())
        return states + state.output.unsqueeze(1), state._replace(hidden=hidden)
