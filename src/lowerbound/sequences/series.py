"""Uses of a model of sequences: filling gaps, forecasts, and outliers among sequences and steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lowerbound.core import Posterior
from lowerbound.data.frames import in_container, is_frame
from lowerbound.data.sequences import SequenceRows, Sequences, cut
from lowerbound.estimators.gradient import GradientEstimator
from lowerbound.estimators.tables import MixedColumns
from lowerbound.evaluation.steps import step_scores
from lowerbound.models.sequence import SequenceModel
from lowerbound.parameters.parameter import check_count
from lowerbound.parameters.seed import RandomState
from lowerbound.sequences.draws import Draws, FilledSequences
from lowerbound.tasks.continuing import continued
from lowerbound.tasks.filling import filled
from lowerbound.tasks.surprise import surprises

if TYPE_CHECKING:
    import pandas as pd

SequenceData = Sequence[Any] | np.ndarray | Sequences  # a list of arrays or frames (T, F), or an array (n, T, F)

ROUNDING = 1e-9  # nats: sequences whose log p differ by less are equally probable
DRAWS_AT_ONCE = 2**14  # of all sequences whose forecasts are drawn together


class SeriesModel(MixedColumns, GradientEstimator):
    """A model of sequences that fills gaps, forecasts, and finds outliers."""

    model_: SequenceModel  # pyright: ignore[reportIncompatibleVariableOverride]
    posterior_: Posterior
    n_features_in_: int
    length: str
    head: str
    chain: bool
    latents: str

    def impute(
        self, X: SequenceData, n: int = 50, *, n_particles: int = 32, random_state: RandomState = None
    ) -> FilledSequences:
        """Fill gaps given all that was observed, before, beside and after them: n draws from p(x_m|x_o).

        By sequential Monte Carlo. What follows a gap chooses among the particles of each draw, so a long gap between
        observed values needs many of them; ``ess`` of the result says how many count.

        Parameters
        ----------
        X : list of arrays or frames, shape (T, F) each
        n : int
            Draws of every gap, which means, medians and intervals are taken of.
        n_particles : int
            Particles of each draw.
        random_state : int, RandomState or Generator, optional
            The estimator's if None.

        Returns
        -------
        FilledSequences
            With ``draws()``, ``mean()``, ``median()`` and ``interval(level)``.
        """
        check_count("n", n)
        check_count("n_particles", n_particles)
        self._check_columns("impute")
        sequences, fitted = in_memory(Sequences.of(X), "impute"), self.fitted_
        on = replace(fitted.on(sequences), noise=self._fresh_noise(random_state, "impute"))
        found = filled(on, n, n_particles)
        draws = Draws(self._as_given(found.x.flatten(0, 1)), n)
        gaps, places = found.gaps.cpu().numpy(), found.steps.numpy()
        return FilledSequences(self._with_constants(sequences), places, gaps, draws, found.ess.numpy())

    def forecast(
        self, X: SequenceData, horizon: int, quantiles: Sequence[float] = (0.1, 0.5, 0.9), *, n_draws: int = 200,
        random_state: RandomState = None,
    ) -> list[list[Any]]:  # fmt: skip
        """Quantiles of the steps that follow on each sequence, from draws of whole continuations.

        Parameters
        ----------
        X : list of arrays or frames, shape (T, F) each
        horizon : int
            The number of steps.
        quantiles : sequence of float
            Between 0 and 1. Of categories each is the most frequent one.
        n_draws : int
            Continuations of each sequence.
        random_state : int, RandomState or Generator, optional
            The estimator's if None.

        Returns
        -------
        list of list
            For each quantile the sequences (horizon, F): ``low, median, high = model.forecast(X, 24)``. The index of a
            frame goes on if its steps are of equal size.
        """
        for name, number in (("horizon", horizon), ("n_draws", n_draws)):
            check_count(name, number)
        if np.ndim(quantiles) != 1 or any(not 0 <= q <= 1 for q in quantiles):
            raise ValueError(f"quantiles are a list of numbers that lie between 0 and 1, got {quantiles!r}")
        if self.length == "end":
            raise ValueError("a forecast is of so many steps, and length='end' draws where sequences end: use sample")
        sequences, fitted = in_memory(Sequences.of(X), "forecast"), self.fitted_
        on, noise = fitted.on(sequences), self._fresh_noise(random_state, "forecast").own()
        assert isinstance(on.rows, SequenceRows)
        counted = torch.from_numpy(self.schema_.counted).to(fitted.device)
        parts = []
        for index in torch.arange(len(sequences)).split(max(1, DRAWS_AT_ONCE // n_draws)):
            prompts = replace(on, rows=on.rows.subset(index))
            most = torch.full((len(index) * n_draws,), horizon, device=fitted.device)
            x, _, _ = continued(self.model_, len(most), most, counted, noise, prompts)
            parts.append(x.unflatten(0, (len(index), n_draws)).transpose(0, 1))
        draws = Draws(self._as_given(torch.cat(parts, 1).flatten(0, 2)), n_draws)
        lengths = np.full(len(sequences), horizon)
        return [self._indexed(cut(draws.quantile(q), lengths), sequences) for q in quantiles]

    def p_values(self, X: SequenceData, reference: SequenceData, n_importance: int = 64) -> np.ndarray:
        """The share of reference sequences that are as improbable as each sequence, at equal lengths, shape (n,).

        log p(x) falls with the length. So a longer reference sequence counts with its first T steps, and a shorter one,
        like x then, with its mean a step. A sequence like those of the reference has a value below α in a share α of
        cases if they are as long or longer, else in fewer, since means over more steps spread less. The least possible
        value is 1/(1 + their number). The log p of where sequences end isn't in it.

        Parameters
        ----------
        X : list of arrays or frames, shape (T, F) each
        reference : list of arrays or frames
            Sequences that are no outliers and were not fitted; those that were fitted are a little too probable.
        n_importance : int
            As in ``score_samples``.
        """
        others, (found, lengths) = self._sums(reference, n_importance), self._last_sums(X, n_importance)
        as_improbable = np.zeros(len(found))
        for sums in others:
            is_longer = len(sums) >= lengths
            theirs = np.where(is_longer, sums[np.minimum(lengths, len(sums)) - 1], sums[-1] / len(sums))
            as_improbable += theirs <= np.where(is_longer, found, found / lengths) + ROUNDING
        return (1 + as_improbable) / (1 + len(others))

    def explain(
        self, X: SequenceData, n_steps: int = 10, n_columns: int = 3, *, places: np.ndarray | None = None
    ) -> pd.DataFrame:
        """The most unusual steps, and which of their columns surprise, given what was before.

        Parameters
        ----------
        X : list of arrays or frames, shape (T, F) each
        n_steps : int
            Steps of all sequences together, those with the lowest log p(x_t | x_<t).
        n_columns : int
            Columns named for each.
        places : array-like of int, optional
            Steps that are explained in place of these, counted through all sequences one after another.

        Returns
        -------
        DataFrame
            ``sequence`` and ``step`` (counting from 0), ``column``, ``surprise`` (−log p of the value given what was
            before, above what is to be expected of it, in nats), ``value``, ``expected`` (the median, or the most
            frequent category), ``low`` and ``high`` (between which nine of ten values lie).
        """
        import pandas as pd

        self._check_columns("explain")
        if self.chain or self.latents == "sequence":
            raise ValueError(
                "explain is for latent variables of steps that are no chain: fit with latents='steps', chain=False"
            )
        sequences = in_memory(Sequences.of(X), "explain")
        on = self.fitted_.exactly().on(sequences)
        if places is None:
            places = np.argsort(step_scores(on, 64).of_values().numpy(), kind="stable")[:n_steps]
        places = np.asarray(places, np.int64)
        found = surprises(on, torch.from_numpy(places.copy()))
        draws = Draws(self._as_given(found.x.flatten(0, 1)), len(found.x))
        low, expected, high = (draws.quantile(q) for q in (0.05, 0.5, 0.95))
        names = self._names or (list(range(self.n_features_in_)))
        surprise = found.nats.cpu().numpy()
        records = []
        for i, place in enumerate(places):
            sequence = int(np.searchsorted(sequences.starts, place, "right")) - 1
            for j in np.argsort(-np.nan_to_num(surprise[i], nan=-np.inf), kind="stable")[:n_columns]:
                at = {"sequence": sequence, "step": int(place - sequences.starts[sequence]), "column": names[j]}
                values = {"value": _at(sequences.steps, place, j), "expected": _at(expected, i, j)}
                ends = {"low": _at(low, i, j), "high": _at(high, i, j)}
                records.append({**at, "surprise": surprise[i, j], **values, **ends})
        return pd.DataFrame(records)

    def _check_columns(self, use: str) -> None:
        if self.head != "independent":
            raise ValueError(f"{use} needs columns that are independent given z: fit with head='independent'")

    def _sums(self, X: SequenceData, n_importance: int) -> list[np.ndarray]:
        """log p(x_1, …, x_t) of every sequence and t, wherever it ends."""
        sequences = Sequences.of(X)
        log_p = step_scores(self.fitted_.exactly().on(sequences), n_importance).of_values().numpy()
        return [np.cumsum(each) for each in sequences.cut(log_p)]

    def _last_sums(self, X: SequenceData, n_importance: int) -> tuple[np.ndarray, np.ndarray]:
        """log p(x) of every sequence, and its length."""
        sums = self._sums(X, n_importance)
        return np.array([each[-1] for each in sums]), np.array([len(each) for each in sums])

    def _as_given(self, x: Tensor, *, expected: bool = False) -> Any:
        """Steps (N, F) of the model as the user gave steps: an array or a frame; draws, or expectations."""
        values = self.schema_.restore(x, expected=expected)
        if self.schema_.columns is not None or self._names is None:
            return values
        import pandas as pd

        return in_container(pd.DataFrame(values, columns=self._names), self.schema_.container)

    def _with_constants(self, sequences: Sequences) -> Sequences:
        """The sequences with the value of each column of one value in its gaps."""
        if self.schema_.columns is not None or self.schema_.counted.all():
            return sequences
        constant = np.asarray(self.schema_.restore(torch.zeros(1, self.n_features_in_), expected=True))[0]
        steps: Any = sequences.steps
        for j in np.flatnonzero(~self.schema_.counted):
            if is_frame(steps):
                steps = steps.fillna({steps.columns[j]: constant[j]})
            elif isinstance(steps, np.ma.MaskedArray):
                steps = steps.copy()
                steps[:, j] = steps[:, j].filled(constant[j])
        return sequences.with_steps(steps)

    def _indexed(self, later: list[Any], sequences: Sequences) -> list[Any]:
        """Frames with the index of the sequences that they follow on."""
        if not is_frame(sequences.steps):
            return later
        frames = [
            each.set_axis(_onward(before.index, len(each))) for each, before in zip(later, sequences, strict=True)
        ]
        return [in_container(each, sequences.container) for each in frames]


def in_memory(sequences: Sequences, use: str) -> Sequences:
    """The same sequences, if their steps are in memory."""
    if sequences.is_streamed:
        raise ValueError(f"{use} needs its sequences in memory: give some of them, X.subset(places)")
    return sequences


def _at(values: Any, i: int, j: int) -> Any:
    return values.iloc[i, j] if is_frame(values) else values[i, j]


def _onward(index: Any, n: int) -> Any:
    """The next ``n`` values of an index whose steps are of equal size; else counted from 0."""
    import pandas as pd

    try:
        steps = index[1:] - index[:-1]
    except TypeError:
        return pd.RangeIndex(n)
    if not len(steps) or not (steps == steps[0]).all():
        return pd.RangeIndex(n)
    return pd.Index([index[-1] + steps[0] * (k + 1) for k in range(n)], name=index.name)
