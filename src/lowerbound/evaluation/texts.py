"""log p(x) of texts: a mean over texts, a token, a character and a byte."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from lowerbound.data.texts import TextRows
from lowerbound.evaluation.annealing import TRUSTED_BIAS, UnreliableEstimateWarning, expected_bias
from lowerbound.evaluation.bound import exact_log_prob, importance_weighted
from lowerbound.evaluation.estimate import Estimate, bits_per_dim, mean_over_rows, plus_minus
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.models.texts import TextModel
from lowerbound.warning import warn


@dataclass(frozen=True)
class TextEstimate(Estimate):
    """A mean over texts; beside it means over all their tokens, characters and bytes, which count the end of each text.

    The end is one more token, character and byte, as the line feed of a file with a text a line. Bits a byte compare
    models of different tokens.

    Parameters
    ----------
    value : float
        The mean over texts, in nats a text.
    standard_error : float
        In nats a text; NaN for a single one.
    kind, n_rows, n_importance, ess
        As in ``Estimate``.
    per_token : float
        Σ log p(x) over the number of tokens, in nats a token.
    per_token_error : float
        Its standard error over texts, whose tokens depend on each other.
    n_tokens, n_characters, n_bytes : int
        Ends included.
    """

    per_token: float = math.nan
    per_token_error: float = math.nan
    n_tokens: int = 0
    n_characters: int = 0
    n_bytes: int = 0

    @property
    def perplexity(self) -> float:
        """exp(−nats a token)."""
        return math.exp(-self.per_token)

    @property
    def bits_per_character(self) -> float:
        """−Σ log₂ p(x) over the number of characters."""
        return bits_per_dim(self.value * self.n_rows, self.n_characters)

    @property
    def bits_per_byte(self) -> float:
        """−Σ log₂ p(x) over the number of bytes of UTF-8."""
        return bits_per_dim(self.value * self.n_rows, self.n_bytes)

    def __str__(self) -> str:
        per_token = plus_minus(self.per_token, self.per_token_error)
        text = super().__str__().replace("rows)", "texts, ends included)")
        return (
            f"{text}; {per_token} nats a token ({self.n_tokens} tokens), perplexity {self.perplexity:.4g}, "
            f"{self.bits_per_byte:.4g} bits a byte"
        )

    def to_dict(self) -> dict[str, float | str]:
        """The fields that are not None, and what is made of them, for JSON; ``mean`` is the value."""
        names = ("perplexity", "bits_per_character", "bits_per_byte")
        return {**super().to_dict(), **{name: getattr(self, name) for name in names}}


def text_likelihood(on: Evaluation, texts: Sequence[str], n_importance: int) -> TextEstimate:
    """Mean of log p(x), with a warning where it rests on few weights; exact without latent variables.

    Parameters
    ----------
    on : Evaluation
        Of a ``TextModel`` on ``TextRows``.
    texts : sequence of str
        The same texts.
    n_importance : int
        K, samples for each text.
    """
    assert isinstance(on.rows, TextRows)
    if on.model.knows_log_prob:
        return text_estimate(exact_log_prob(on), on.rows.lengths, texts)
    log_p, ess = importance_weighted(on, n_importance)
    if (bias := expected_bias(ess, n_importance)) > TRUSTED_BIAS:
        warn(
            f"of {n_importance:,} importance samples a text only {ess.mean():.1f} count (effective sample size), so "
            f"log p(x) is underestimated by {bias:.2g} nats a text or more: take more, n_importance=…",
            UnreliableEstimateWarning,
        )
    return text_estimate(log_p, on.rows.lengths, texts, n_importance, ess.mean().item())


def token_scores(on: Evaluation) -> list[Tensor]:
    """log p of every token and the end given those before it, of a model without latent variables, (T + 1,) each."""
    assert isinstance(on.model, TextModel)
    found = []
    with on.evaluating():
        for batch in on.batches(on.rows_in_a_pass()):
            log_p = on.model.log_p_of_tokens(batch, on.posterior(batch, on.noise).mean.unsqueeze(0))[0]
            found += [row[mask] for row, mask in zip(log_p.cpu(), batch.mask.cpu(), strict=True)]
    return found


def text_estimate(
    log_p: Tensor, n_tokens: Tensor, texts: Sequence[str], n_importance: int | None = None, ess: float | None = None
) -> TextEstimate:
    """Means over texts and over what they are made of.

    Parameters
    ----------
    log_p : Tensor, shape (n,)
        log p(x) of each.
    n_tokens : Tensor of int64, shape (n,)
        The end counted.
    texts : sequence of str
    n_importance : int or None
        None where log p(x) is exact.
    ess : float or None
        Mean effective sample size.
    """
    mean = mean_over_rows(log_p, "exact" if n_importance is None else "lower", n_importance, ess)
    n, T, total = len(texts), n_tokens.double(), int(n_tokens.sum())
    per_token = log_p.double().sum().item() / total
    spread = (log_p.double() - per_token * T).square().sum().item() * n / (n - 1) if n > 1 else math.nan
    n_characters, n_bytes = sum(map(len, texts)) + n, sum(len(text.encode()) for text in texts) + n
    return TextEstimate(
        **vars(mean), per_token=per_token, per_token_error=math.sqrt(spread) / total, n_tokens=total,
        n_characters=n_characters, n_bytes=n_bytes,
    )  # fmt: skip
