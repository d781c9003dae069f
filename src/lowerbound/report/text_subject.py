"""A model of texts with some texts: what a page or a report is about."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from lowerbound.data.context import as_frame
from lowerbound.data.texts import TextContext, Texts, is_text
from lowerbound.estimators.fitted import Fitted
from lowerbound.evaluation.bound import ElboTerms, elbo_terms
from lowerbound.report.coded import Coded
from lowerbound.report.subject import Run, spread

MOST_TEXTS = 5000


@dataclass(frozen=True)
class TextSubject(Coded):
    """A fitted model of texts, and texts to look at it with.

    Attributes
    ----------
    model : SequenceVAE
    X : list of str, or None
    context : list of str, frame or None
        What was known of each text beforehand.
    places : ndarray of int64, shape (n,)
        The places of the texts in the data.
    n_rows : int
        The number of texts of the data.
    source, chosen : str
        As in ``Subject``.
    run : Run
    """

    model: Any
    X: list[str] | None = None
    context: Any = None
    places: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    n_rows: int = 0
    source: str = ""
    chosen: str = ""
    run: Run = field(default_factory=Run)

    kind = one = "text"

    @classmethod
    def of(
        cls, model: Any, X: Any = None, context: Any = None, *, source: str = "X", run: Run | None = None,
        most: int = MOST_TEXTS,
    ) -> TextSubject:  # fmt: skip
        """A model with at most so many of some texts."""
        subject = cls(model, source=source, run=run or Run(type(model).__name__))
        if X is None:
            return subject
        texts = Texts.of(X)
        context = None if context is None or model.context_ is None else context
        if model.context_ is not None and context is None:
            raise ValueError("the model is given a context: give the texts with what was known of each")
        places = spread(len(texts), None, most)
        chosen = f"{len(places):,} of {len(texts):,} texts, from all over" if len(places) < len(texts) else ""
        return replace(
            subject, X=[texts[i] for i in places], context=_at(context, places), places=places, n_rows=len(texts),
            chosen=chosen,
        )  # fmt: skip

    @property
    def has_rows(self) -> bool:
        """There are texts."""
        return bool(self.X)

    @property
    def latent_dim(self) -> int:
        """D; 0 for a model without latent variables."""
        return int(self.model.latent_dim)

    @property
    def first_context(self) -> Any:
        """The context of the first text, or an empty one; None for a model that isn't given any."""
        if self.fitted.context_schema is None:
            return None
        if self.context is not None:
            return _at(self.context, np.arange(1))
        if self.is_given_text:
            return [""]
        raise ValueError("the model is given a context: give it with the texts")

    @property
    def is_given_text(self) -> bool:
        """The context is text."""
        return isinstance(self.fitted.context_schema, TextContext)

    def at(self, rows: np.ndarray) -> list[str]:
        """Some of the texts."""
        assert self.X is not None
        return [self.X[i] for i in rows]

    def context_at(self, rows: np.ndarray) -> Any:
        """The context of some of the texts; None for a model that isn't given any."""
        return _at(self.context, rows)

    def with_few(self, rows: np.ndarray) -> TextSubject:
        """The same with some of its texts alone."""
        return replace(self, X=self.at(rows), context=self.context_at(rows), places=self.places[rows])

    def few(self, most: int) -> np.ndarray:
        """Numbers of at most so many texts, from all over."""
        return spread(len(self.places), None, most)

    def fitted_to(self, rows: np.ndarray) -> Fitted:
        """The model given the context of some of the texts."""
        return self.fitted if self.context is None else self.fitted.given(self.context_at(rows))

    @cached_property
    def terms(self) -> ElboTerms:
        """The lower bound's parts for every text, by one draw of z each."""
        return elbo_terms(self.fitted_to(np.arange(len(self.places))).on(self.X, "report"))

    @cached_property
    def codes(self) -> np.ndarray:
        """Posterior means, (n, D)."""
        return self.terms.mean.double().numpy()

    @cached_property
    def kl(self) -> np.ndarray | None:
        """The mean KL of each latent variable in nats, (D,); None without texts."""
        return self.terms.kl.mean(0).numpy() if self.has_rows and self.latent_dim else None

    @cached_property
    def n_tokens(self) -> np.ndarray:
        """Tokens of every text, its end counted, (n,)."""
        return np.array([len(tokens) + 1 for tokens in self.fitted.schema.vocabulary.encode(self.X or [])])

    def written(self, codes: np.ndarray, context: Any = None, *, draw: bool = False, seed: int = 0) -> list[str]:
        """The most probable text of each code, token by token, or a draw; given the first context if none is said."""
        context = self.first_context if context is None else context
        return self.model.decode(codes, "sample" if draw else "greedy", context=context, random_state=seed)


def _at(context: Any, rows: np.ndarray) -> Any:
    """The context of some of the texts."""
    if context is None:
        return None
    return [context[i] for i in rows] if is_text(context) else as_frame(context).iloc[rows]
