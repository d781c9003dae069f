"""The uses of a model of texts that need its latent variables, or write: codes, texts from codes, continuations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from lowerbound.core import Batch, Posterior
from lowerbound.data.checks import counted
from lowerbound.data.texts import Texts, TextSchema
from lowerbound.distributions.noise import Noise
from lowerbound.estimators.gradient import GradientEstimator
from lowerbound.evaluation.bound import elbo_terms, exact_log_prob, importance_weighted
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.models.texts import TextModel
from lowerbound.parameters.parameter import check_count
from lowerbound.parameters.seed import RandomState
from lowerbound.tasks.beginning import N_OF_BEGINNING
from lowerbound.tasks.writing import Choice, latents, written
from lowerbound.warning import warn

MOST_TIMES = 10  # the longest text that was fitted: a draw without an end is cut off there
MOST_DRAWS = 100  # for each different continuation that is asked for


@dataclass(frozen=True)
class Continuation:
    """A text that may follow on a beginning.

    Parameters
    ----------
    text : str
    log_p : float
        log p of the text and its end, given the beginning and the context, in nats; importance-weighted over z, and
        exact without. Temperature and ``top_p`` don't change it. Of byte pairs it is that of the tokens that were
        drawn, which others can spell too; of a text that was cut off it is that of ending there.
    n_draws : int
        The draw in which it came up first, counting from 1.
    """

    text: str
    log_p: float
    n_draws: int


class Writing(GradientEstimator):
    """Codes of texts, texts of codes, and what may follow on the beginning of a text."""

    latent_dim: int
    model_: TextModel  # pyright: ignore[reportIncompatibleVariableOverride]
    posterior_: Posterior
    schema_: TextSchema  # pyright: ignore[reportIncompatibleVariableOverride]

    def transform(self, X: Any, *, context: Any = None) -> np.ndarray:
        """The means of q(z|x), shape (n, D); deterministic.

        Parameters
        ----------
        X : list of str
        context : list of str, array, series or DataFrame, optional
            As for ``given``.
        """
        self._need_latents("transform")
        return elbo_terms(self._given_to(context).fitted_.exactly().on(X)).mean.numpy()

    def decode(
        self, Z: Any, mode: str = "greedy", *, context: Any = None, random_state: RandomState = None
    ) -> list[str]:
        """A text for every code.

        Parameters
        ----------
        Z : array-like, shape (n, D) or (D,)
        mode : {"greedy", "sample"}
            The most probable token at every place, or draws.
        context : list of str, array, series or DataFrame, optional
            As for ``given``.
        random_state : int, RandomState or Generator, optional
            For draws; the estimator's if None.
        """
        check_is_fitted(self)
        if mode not in ("greedy", "sample"):
            raise ValueError(f"mode must be 'greedy' or 'sample', got {mode!r}")
        codes = np.atleast_2d(np.asarray(Z, np.float32))
        if codes.ndim != 2 or codes.shape[1] != self.latent_dim:
            raise ValueError(f"codes have shape (n, {self.latent_dim}), got {np.shape(Z)}")
        fitted = self._given_to(context)._fitting()
        features = self.model_.eval().read(fitted.coded_context(len(codes)))
        noise, most = self._fresh_noise(random_state, "decode"), MOST_TIMES * self.schema_.longest
        choice = Choice(0.0 if mode == "greedy" else 1.0)
        z = torch.from_numpy(codes).to(fitted.device)
        tokens, n_cut = written(self.model_, z, features, [], most, choice, noise)
        _warn_of_cut(n_cut, most)
        return list(map(self.schema_.vocabulary.decode, tokens))

    def reconstruct(self, X: Any, *, context: Any = None) -> list[str]:
        """The most probable tokens, one after another, at the posterior mean of every text.

        Parameters
        ----------
        X : list of str
        context : list of str, array, series or DataFrame, optional
            As for ``given``.
        """
        return self.decode(self.transform(X, context=context), context=context)

    def interpolate(self, a: str, b: str, n: int = 7, *, context: Any = None) -> list[str]:
        """``n`` texts on the line between the posterior means of two, both ends included.

        Parameters
        ----------
        a, b : str
        n : int
            At least 2.
        context : list of str, array, series or DataFrame, optional
            As for ``given``; of both.
        """
        check_count("n", n, 2)
        first, last = self.transform([a, b], context=context)
        return self.decode(np.linspace(first, last, n), context=context)

    @overload
    def sample(
        self, n_samples: int = ..., *, prompt: str = ..., context: Any = ..., distinct: Literal[False] = ...,
        temperature: float = ..., top_p: float = ..., random_state: RandomState = ...,
    ) -> list[str]: ...  # fmt: skip
    @overload
    def sample(
        self, n_samples: int = ..., *, prompt: str = ..., context: Any = ..., distinct: Literal[True],
        temperature: float = ..., top_p: float = ..., random_state: RandomState = ...,
    ) -> list[Continuation]: ...  # fmt: skip

    def sample(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, n_samples: int = 1, *, prompt: str = "", context: Any = None, distinct: bool = False,
        temperature: float = 1.0, top_p: float = 1.0, random_state: RandomState = None,
    ) -> list[str] | list[Continuation]:  # fmt: skip
        """New texts, or continuations of one: z ~ p(z | prompt, c), then one token after another.

        Parameters
        ----------
        n_samples : int
            The number of texts.
        prompt : str
            What all begin with; only what follows on it is returned.
        context : str, array, series or DataFrame, optional
            One for all, as for ``given``.
        distinct : bool
            Draw until there are ``n_samples`` different texts, and give each with its log p: the most probable first.
            With a warning fewer, where 100 times as many draws have no more.
        temperature : float
            The logits of a token are divided by it; 0 takes the most probable one, so that texts differ by their z.
        top_p : float
            Draw from the most probable tokens alone that have this much probability together.
        random_state : int, RandomState or Generator, optional
            The estimator's if None: with a fixed one, two calls give the same texts.
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples)
        if not temperature >= 0 or not 0 < top_p <= 1:
            raise ValueError(f"temperature must be ≥ 0 and top_p in (0, 1], got {temperature} and {top_p}")
        fitted, noise = self._given_to(context)._fitting(), self._fresh_noise(random_state, "sample")
        vocabulary, coded = self.schema_.vocabulary, fitted.coded_context(1)
        features = self.model_.eval().read(coded)
        beginning = vocabulary.encode(Texts.of([prompt], "the prompt"))[0]
        rows = self.schema_.rows_of([beginning], fitted.device, coded, ends=False)
        batch = next(rows.batches(1)) if beginning else None
        draw_z, most = latents(self.model_, fitted.posterior, coded, batch, noise), MOST_TIMES * self.schema_.longest
        choice, each, n_draws, n_cut = Choice(temperature, top_p), {}, 0, 0
        while n_draws < n_samples or (distinct and len(each) < n_samples and n_draws < MOST_DRAWS * n_samples):
            known = None if features is None else features.expand(n_samples, -1)
            tokens, cut = written(self.model_, draw_z(n_samples), known, beginning, most, choice, noise)
            n_cut += cut
            texts = list(map(vocabulary.decode, tokens))
            if not distinct:
                _warn_of_cut(n_cut, most)
                return texts
            for i, (text, found) in enumerate(zip(texts, tokens, strict=True), n_draws + 1):
                each.setdefault(text, (i, found))
            n_draws += n_samples
        _warn_of_cut(n_cut, most)
        if len(each) < n_samples:
            warn(f"{n_draws} draws had only {len(each)} different texts")
        return self._with_log_p(dict(list(each.items())[:n_samples]), beginning, context)

    def _written_given(self, batch: Batch, z: Tensor, noise: Noise) -> Batch:
        """A text for each of the contexts of a batch and z (1, B, D), cut off at the longest that was fitted."""
        features, longest = self.model_.read(batch.context), self.schema_.longest
        tokens, _ = written(self.model_, z[0], features, [], longest, Choice(), noise)
        return self.schema_.rows_of(tokens, z.device, batch.context).batch(torch.arange(len(tokens)))

    def _with_log_p(
        self, each: dict[str, tuple[int, list[int]]], beginning: list[int], context: Any
    ) -> list[Continuation]:
        """Continuations with log p(text | beginning, c) = log p(beginning, text | c) − log p(beginning | c)."""
        whole = self._log_p([beginning + tokens for _, tokens in each.values()], context, ends=True)
        before = self._log_p([beginning], context, ends=False) if beginning else 0.0
        found = zip(each.items(), whole - before, strict=True)
        drawn = [Continuation(text, float(log_p), n_draws) for (text, (n_draws, _)), log_p in found]
        return sorted(drawn, key=lambda each: -each.log_p)

    def _log_p(self, tokens: list[list[int]], context: Any, *, ends: bool) -> np.ndarray:
        fitted = self._given_to(context).fitted_.exactly()
        rows = self.schema_.rows_of(tokens, fitted.device, fitted.coded_context(len(tokens)), ends=ends)
        on = Evaluation(fitted.model, fitted.posterior, rows, fitted.noise("continuations"))
        if self.latent_dim == 0:
            return exact_log_prob(on).numpy()
        return importance_weighted(on, N_OF_BEGINNING)[0].numpy()

    def _need_latents(self, what: str) -> None:
        check_is_fitted(self)
        if self.latent_dim == 0:
            raise ValueError(f"latent_dim=0 has no latent variables: there is no {what}")


def _warn_of_cut(n_cut: int, most: int) -> None:
    if n_cut:
        warn(f"{counted(n_cut, 'text')} had no end after {most} tokens: cut off")
