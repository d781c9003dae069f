"""A model of texts, sequences of tokens with one z each: log p(x|z) = Σ_t log p(x_t | x_<t, z), the end included.

Bowman et al., 2016, arXiv:1511.06349.
"""

from __future__ import annotations

import copy
import math
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowerbound.core import Batch, Draw, Infer, Model, Objective, Prior
from lowerbound.distributions.gaussians import StandardNormal
from lowerbound.distributions.noise import Noise
from lowerbound.models.priors.context import ContextPrior
from lowerbound.nn.tokens import TokenDecoder, TokenReader, Written
from lowerbound.precision import in_single


class TextModel(Model):
    """p(z) and p(x|z), or p(z|c) and p(x|z, c), of texts; without latent variables p(x) itself, if D is 0.

    Tokens are 0, …, K − 1; K is the end, K + 1 a character that the vocabulary doesn't have.

    Parameters
    ----------
    decoder : TokenDecoder
    latent_dim : int
        D.
    n_tokens : int
        K.
    log_known, log_unknown : float
        As in ``Vocabulary``.
    reader : TokenReader, optional
        Reads a context that is text; another context is numbers already.
    learned_prior : ContextPrior, optional
        p(z|c); N(0, I) without a context.
    token_dropout : float
        The share of the tokens before each that the decoder doesn't read in training.
    """

    def __init__(
        self, decoder: TokenDecoder, latent_dim: int, n_tokens: int, log_known: float = 0.0,
        log_unknown: float = -math.inf, reader: TokenReader | None = None, learned_prior: ContextPrior | None = None,
        token_dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.decoder: TokenDecoder
        self.reader: TokenReader | None
        self.learned_prior: ContextPrior | None
        self.decoder, self.reader, self.learned_prior = decoder, reader, learned_prior
        self.latent_dim, self.n_tokens, self.token_dropout = latent_dim, n_tokens, token_dropout
        self.log_known, self.log_unknown = log_known, log_unknown
        self.log_unit: Tensor | None = None
        self.features: Tensor | None = None  # of the context
        self.hidden: Tensor | None = None  # True for tokens that the decoder doesn't read
        self._like: Tensor
        self.register_buffer("_like", torch.empty(0), persistent=False)

    @property
    def knows_log_prob(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """True without latent variables."""
        return self.latent_dim == 0

    def read(self, context: Tensor | None) -> Tensor | None:
        """The features of a context: of tokens (B, C), −1 behind their end, by a network; numbers are features."""
        if context is None or self.reader is None or context.is_floating_point():
            return context
        return self.reader(context.clamp_min(0), context >= 0)

    def given(self, context: Tensor | None) -> Self:
        """The same model given a context, tokens or numbers of shape (B, C)."""
        same = copy.copy(self)  # shares all modules
        same.features = self.read(context)
        return same

    def prior(self) -> Prior:
        """N(0, I), or p(z|c)."""
        if self.learned_prior is None:
            return StandardNormal(self.latent_dim, self._like)
        assert self.features is not None
        return self.learned_prior(self.features)

    def draw(self, batch: Batch, posterior: Infer, objective: Objective, noise: Noise) -> Draw:
        """A scored draw of z; in training the decoder doesn't read some of the tokens.

        Parameters
        ----------
        batch : Batch
            B texts.
        posterior : Infer
            It gives q(z|x).
        objective : Objective
            As in ``Model.draw``.
        noise : Noise
            The random numbers.
        """
        batch = batch.with_context(self.read(batch.context))
        same = self
        if self.training and self.token_dropout:
            same = copy.copy(self)
            same.hidden = noise.uniform((1, *batch.x.shape), self._like)[0] < self.token_dropout
        return super(TextModel, same).draw(batch, posterior, objective, noise)

    def log_px(self, batch: Batch, z: Tensor) -> Tensor:
        """log p(x|z) of the tokens and the end, shape (S, B).

        Parameters
        ----------
        batch : Batch
            B texts.
        z : Tensor, shape (S, B, D)
            S latent vectors for each text.
        """
        return self.log_p_of_tokens(batch, z).sum(-1)

    def log_p_of_tokens(self, batch: Batch, z: Tensor) -> Tensor:
        """log p(x_t | x_<t, z) of every token and the end, 0 behind it, shape (S, B, T)."""
        state, before = self.begin(z, self.read(batch.context)), self._before(batch.x)
        (S, B), T = z.shape[:2], batch.x.shape[1]
        hidden, _ = self.decoder(before.expand(S, B, T).flatten(0, 1), state)
        within = batch.mask.expand(S, B, T)
        log_p = self._log_p(hidden.unflatten(0, (S, B))[within], batch.x.expand(S, B, T)[within])
        return log_p.new_zeros(S, B, T).masked_scatter(within, log_p)

    def log_prob(self, batch: Batch) -> Tensor:
        """log p(x), shape (B,), without latent variables."""
        return self.log_px(batch, self._like.new_empty(1, len(batch.x), self.latent_dim))[0]

    def begin(self, z: Tensor, features: Tensor | None) -> Written:
        """The state of the decoder before the first token, for z (S, B, D) and features of the context (B, C)."""
        given = z.to(self._like.dtype)
        if features is not None:
            given = torch.cat([given, features.to(given.dtype).expand(len(z), -1, -1)], -1)
        return self.decoder.begin(given.flatten(0, 1))

    def after(self, token: Tensor, state: Written) -> tuple[Tensor, Written]:
        """The logits of what follows on a token (N,), shape (N, K + 1), and the state; K stands for the start."""
        hidden, state = self.decoder(token.unsqueeze(1), state)
        return in_single(self.decoder.output(hidden[:, 0])), state

    def _before(self, x: Tensor) -> Tensor:
        """The token before each, as it is read."""
        before = F.pad(x, (1, 0), value=self.n_tokens)[:, :-1]
        if self.hidden is None:
            return before
        return torch.where(self.hidden & (before != self.n_tokens), self.n_tokens + 1, before)

    def _log_p(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """log p of tokens (N,), given what the logits are made of (N, H)."""
        logits = in_single(self.decoder.output(hidden))
        known = self.log_known - F.cross_entropy(logits, tokens.clamp_max(self.n_tokens), reduction="none")
        if self.log_known == 0:
            return known
        return torch.where(tokens <= self.n_tokens, known, self.log_unknown)


def start_from_frequencies(decoder: TokenDecoder, log_frequencies: Tensor) -> None:
    """Let the logits begin at the frequencies of the tokens and the end (K + 1,)."""
    assert isinstance(decoder.output, nn.Linear)
    with torch.no_grad():
        decoder.output.bias.copy_(log_frequencies)
