"""Codes of sequences, sequences of codes, and what may follow on the beginning of one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from lowerbound.data.sequences import Sequences, cut
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.bound import elbo_terms
from lowerbound.evaluation.estimate import Estimate
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.evaluation.gap import mutual_information
from lowerbound.evaluation.steps import step_expectations, step_means
from lowerbound.parameters.parameter import check_count
from lowerbound.parameters.seed import RandomState
from lowerbound.sequences.series import SequenceData, SeriesModel
from lowerbound.tasks.continuing import continued
from lowerbound.warning import warn

MOST_TIMES = 10  # the longest sequence that was fitted: a draw without an end is cut off there


def anew(steps: Any) -> Any:
    """Steps whose index, if they have one, counts from 0."""
    return steps.reset_index(drop=True) if hasattr(steps, "reset_index") else steps


class CodedSeries(SeriesModel):
    """A model of sequences with codes for their steps, or for each of them, and with draws."""

    latent_dim: int
    latents: str
    longest_: int

    def transform(self, X: SequenceData) -> Any:
        """The means of q(z_t|d_t, x_t), an array (T, D) for each sequence; deterministic.

        Of one z for a whole sequence the means of q(z|x), one array (n, D).

        Parameters
        ----------
        X : list of arrays, shape (T, F) each
        """
        sequences, on = Sequences.of(X), self.fitted_.exactly().on(X)
        if self.latents == "sequence":
            return elbo_terms(on).mean.numpy()
        return sequences.cut(step_means(on).cpu().numpy())

    def reconstruct(self, X: SequenceData) -> list[Any]:
        """E[x_t | x_<t, z] of every step, z being the mean of its posterior; of categories the most probable one.

        Parameters
        ----------
        X : list of arrays or frames, shape (T, F) each

        Returns
        -------
        list of arrays or frames, shape (T, F) each
        """
        self._check_columns("reconstruct")
        sequences, on = Sequences.of(X), self.fitted_.exactly().on(X)
        made = sequences.cut(self._as_given(step_expectations(on), expected=True))
        if not hasattr(made[0], "set_axis"):
            return made
        pairs = zip(made, sequences, strict=True)
        return [each.set_axis(x.index) if hasattr(x, "set_axis") else anew(each) for each, x in pairs]

    def decode(self, Z: Any, *, lengths: Any = None, random_state: RandomState = None) -> list[Any]:
        """A sequence for every code: draws of x ~ p(x|z), of one z for a whole sequence.

        Parameters
        ----------
        Z : array-like, shape (n, D) or (D,)
        lengths, random_state
            As in ``sample``.
        """
        self._need_codes("decode")
        codes = np.atleast_2d(np.asarray(Z, np.float32))
        if codes.ndim != 2 or codes.shape[1] != self.latent_dim:
            raise ValueError(f"codes have shape (n, {self.latent_dim}), got {np.shape(Z)}")
        if not len(codes) or not np.isfinite(codes).all():
            raise ValueError("codes are one or more rows of finite numbers, and these are not")
        z, most = torch.from_numpy(codes), self._most(lengths, len(codes))
        return self._drawn(len(z), most, self._fresh_noise(random_state, "decode"), z=z)

    def interpolate(
        self, a: Any, b: Any, n: int = 7, *, lengths: Any = None, random_state: RandomState = None
    ) -> list[Any]:
        """``n`` sequences on the line between the posterior means of two, both ends included: draws of x ~ p(x|z).

        Parameters
        ----------
        a, b : array or frame, shape (T, F) each
        n : int
            At least 2.
        lengths, random_state
            As in ``sample``.
        """
        check_count("n", n, 2)
        self._need_codes("interpolate")
        first, last = self.transform([a, b])
        return self.decode(np.linspace(first, last, n), lengths=lengths, random_state=random_state)

    def mutual_information(self, X: SequenceData, n_rows: int = 2000) -> Estimate:
        """I(x; z) under q, in nats, of one z for a whole sequence.

        Parameters
        ----------
        X : list of arrays, shape (T, F) each
        n_rows : int
            At most so many sequences are used; the estimate can't exceed the logarithm of their number.
        """
        self._need_codes("mutual_information")
        check_count("n_rows", n_rows)
        on = self.fitted_.on(X, "mutual information")
        rows = on.rows.few(n_rows, make_generator(0, "rows of the mutual information"))
        return mutual_information(replace(on, rows=rows))

    def sample(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, n_samples: int = 1, *, lengths: Any = None, prompt: Any = None, random_state: RandomState = None
    ) -> list[np.ndarray]:
        """New sequences, or continuations of one.

        Parameters
        ----------
        n_samples : int
            The number of sequences.
        lengths : int or array-like of int, shape (n_samples,), optional
            The number of steps that are drawn, of all or of each; for ``length="given"``, where it is needed.
        prompt : array-like, shape (T, F), optional
            The steps that all begin with; only what follows on them is returned.
        random_state : int, RandomState or Generator, optional
            The estimator's if None: with a fixed one, two calls give the same sequences.

        Returns
        -------
        list of ndarray, shape (T, F) each
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples)
        most, fitting = self._most(lengths, n_samples), self._fitting()
        given = None if prompt is None else fitting.on([prompt], "prompt")
        return self._drawn(n_samples, most, self._fresh_noise(random_state, "sample"), given)

    def _drawn(
        self, n: int, most: Tensor, noise: Noise, prompt: Evaluation | None = None, z: Tensor | None = None
    ) -> list[Any]:
        """``n`` sequences of at most so many steps each, in the user's units."""
        device = self._fitting().device
        counted = torch.from_numpy(self.schema_.counted).to(device)
        x, n_steps, is_cut = continued(self.model_, n, most.to(device), counted, noise, prompt, z)
        if self.length == "end" and is_cut.any():
            warn(f"{int(is_cut.sum())} sequences had no end after {most.max()} steps: cut off")
        within = torch.arange(x.shape[1], device=x.device) < n_steps[:, None]
        return list(map(anew, cut(self._as_given(x[within]), n_steps.cpu().numpy())))

    def _need_codes(self, what: str) -> None:
        check_is_fitted(self)
        if self.latents != "sequence":
            raise ValueError(f"{what} is for one z of a whole sequence: fit with latents='sequence'")

    def _most(self, lengths: Any, n: int) -> Tensor:
        """Steps of each of ``n`` draws, at most."""
        if self.length == "end":
            if lengths is not None:
                raise ValueError("length='end' draws where sequences end: leave lengths=None")
            return torch.full((n,), MOST_TIMES * self.longest_)
        asked = np.asarray(lengths) if lengths is not None else np.zeros(())
        if asked.dtype.kind not in "iu" or asked.shape not in ((), (n,)) or not (asked >= 1).all():
            raise ValueError(
                f"length='given' needs the number of steps to draw: lengths= a whole number, or one for each of {n}"
            )
        return torch.from_numpy(np.broadcast_to(asked, (n,)).astype(np.int64))
