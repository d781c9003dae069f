"""Scores, ranks and explanations of rows by fitted autoencoders, compared with the training rows."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from lowerbound.data.columns.coding import warned_once
from lowerbound.data.context import RowsGiven
from lowerbound.data.frames import as_pandas
from lowerbound.estimators.arguments import Data
from lowerbound.estimators.vae import VAE
from lowerbound.evaluation.bound import Progress
from lowerbound.outliers.criteria import COMBINED, WEIGHTS, asked_scores
from lowerbound.outliers.explanation import reasons
from lowerbound.outliers.member import Member, in_parts, index_of, scores_of, untold
from lowerbound.outliers.mixture import NumbersMixture
from lowerbound.parameters.setting import Settable
from lowerbound.precision import Undisturbed

SMALLEST_SPREAD = 0.1  # nats: below, a score says the same of all rows


class OutlierScores(OutlierMixin, Undisturbed, Settable, BaseEstimator):
    """Scores, ranks and explains rows by what the autoencoders of a detector found typical of its training rows."""

    estimators_: list[VAE]
    criterion_: str
    offset_: float
    center_: dict[str, np.ndarray]
    spread_: dict[str, np.ndarray]
    training_scores_: np.ndarray
    calibration_scores_: np.ndarray
    _members: list[Member]
    _mixture: NumbersMixture | None
    _given: Any = None  # the context of the rows that are scored

    def given(self, context: Any) -> Self:
        """The fitted detector for rows with a context, as ``VAE.given``: all its methods use it.

        Parameters
        ----------
        context : array, series or DataFrame
            A row for each row that is scored, or one for all.
        """
        check_is_fitted(self)
        same = copy.copy(self)
        same._given = context
        return same

    def score_samples(self, X: Data) -> np.ndarray:
        """The negative outlier score of each row, shape (n,); higher is more normal.

        Two calls give the same numbers, and a row's doesn't depend on the others, but for rounding: from 2,000 rows
        of a table on the networks compute in float32, and the scores have six digits.
        """
        check_is_fitted(self)
        return -self._total(self._parts(X))

    def decision_function(self, X: Data) -> np.ndarray:
        """``score_samples`` less ``offset_``, shape (n,): negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Data) -> np.ndarray:
        """−1 for outliers, 1 for the others, shape (n,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def scores(self, X: Data, names: Sequence[str] | None = None) -> pd.DataFrame:
        """Every score of every row; higher is more unusual.

        All are in nats but two, which have no unit: "relative_regret" is a part of −ELBO, and "combined" counts
        interquartile ranges of the training rows, which is why its numbers mean little from one table to another.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        names : sequence of str, optional
            Which. If None: all, but regrets and "level_ratio" only if they are the criterion: those climb each row's
            own bound and take long, this one needs a ladder. Beside a regret, "log_p" and "surprise" are left out too.

        Returns
        -------
        DataFrame, shape (n, len(names))
        """
        check_is_fitted(self)
        names = asked_scores(names, self.criterion_, has_mixture=self._mixture is not None)
        wanted = list(dict.fromkeys(part for name in names for part in self._parts_of(name)))
        parts = self._by_member(X, wanted)
        found = pd.DataFrame({name: nats.mean(1) for name, nats in parts.items()})
        if "combined" in names:
            found["combined"] = self._combined(parts)
        return pd.DataFrame(found[list(names)]).set_axis(index_of(X))

    def quantile(self, X: Data) -> np.ndarray:
        """Part of the training rows that are more usual than each row, from 0 to 1, shape (n,)."""
        return self._quantile(self.score_samples(X))

    def table(self, X: Data) -> pd.DataFrame:
        """``score``, the one that was asked for, with its ``quantile``, and all ``scores``, of every row."""
        scores = self.scores(X)
        score = scores[self.criterion_].to_numpy()
        return pd.DataFrame({"score": score, "quantile": self._quantile(-score), **scores}, index=scores.index)

    def calibrate(self, X: Data) -> Self:
        """Keep the scores of normal rows that were not fitted, for ``p_values``.

        Parameters
        ----------
        X : array-like, shape (m, *row)

        """
        self.calibration_scores_ = np.sort(self.score_samples(X))
        return self

    def p_values(self, X: Data) -> np.ndarray:
        """The probability that a normal row is as unusual as each of these, shape (n,).

        (1 + #{calibration rows at least as unusual})/(m + 1): a normal row has p ≤ α with a probability of at most α,
        whatever the model (Vovk et al., 2005; Bates et al., 2023, arXiv:2104.08279). Where the calibration rows hold
        outliers, it is too large.
        """
        check_is_fitted(self)
        if not hasattr(self, "calibration_scores_"):
            raise ValueError(
                "p-values need normal rows that were not fitted: call calibrate with some, or set calibration_fraction"
            )
        as_unusual = np.searchsorted(self.calibration_scores_, self.score_samples(X), "right")
        return (1 + as_unusual) / (1 + len(self.calibration_scores_))

    @warned_once()
    def explain(self, X: ArrayLike, n_features: int = 3, *, least: float = -np.inf) -> pd.DataFrame | np.ndarray:
        """Why each row is unusual: the features that surprise most, what they are and what they should be.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        n_features : int
            Features named for each row of a table.
        least : float
            Features with less surprise than so many nats are left out, and rows without others.

        Returns
        -------
        DataFrame or ndarray
            For tables, ``n_features`` rows for each row of ``X``, the most surprising first: ``row`` (its place in
            ``X``, whose index is kept), ``feature``, ``surprise`` (nats above what is typical of the feature, given
            what else the row says; 0 where it is missing), ``value``, and in the user's units what is expected of it
            given all other features: ``expected`` (the median, or the most probable category), ``low`` and ``high``
            (between which nine of ten values lie; categories have none), with ``ess``, the effective number of samples
            that these rest on. For images a map of surprise, nats a pixel above what is typical of it, (n, H, W).
        """
        check_is_fitted(self)
        X = self._with_context(X)
        excess = np.mean([member.excess(X) for member in self._members], axis=0)
        schema = self.estimators_[0].schema_
        if schema.is_image:
            return np.nan_to_num(excess).reshape(len(excess), *schema.event_shape).sum(1)
        names = getattr(self, "feature_names_in_", [f"x{j}" for j in range(excess.shape[1])])
        return reasons(self.estimators_, X, list(names), excess, n_features, least)

    def _take(self, members: list[Member], mixture: NumbersMixture | None) -> None:
        """Set the members, and what their autoencoders know of the columns."""
        self._members, self._mixture = members, mixture
        self.estimators_ = [member.vae for member in members]
        first = self.estimators_[0]
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(first, name):
                setattr(self, name, getattr(first, name))

    def _quantile(self, scores: np.ndarray) -> np.ndarray:
        return 1 - np.searchsorted(self.training_scores_, scores, "right") / len(self.training_scores_)

    def _parts(self, X, *how: Any) -> dict[str, np.ndarray]:
        """The scores that the criterion is made of, as ``_by_member`` gives them."""
        return self._by_member(X, self._parts_of(self.criterion_), *how)

    def _parts_of(self, name: str) -> tuple[str, ...]:
        """The scores that a score is made of."""
        if name != "combined":
            return (name,)
        return COMBINED if self._mixture is None else (*COMBINED, "mixture")

    @warned_once()
    def _by_member(
        self, X, names: Sequence[str], n_rows: int | None = None, progress: Progress = untold
    ) -> dict[str, np.ndarray]:
        """Some scores of every row by every autoencoder, (n, M) each; of the mixture (n, 1)."""
        with_context = self._with_context(X)
        return in_parts(
            lambda rows: scores_of(self._members, self._mixture, rows, names), with_context, n_rows, progress
        )

    def _with_context(self, X) -> Any:
        """The rows with the context that was given, if any."""
        X = as_pandas(X)
        return X if self._given is None or isinstance(X, RowsGiven) else RowsGiven(X, self._given)

    def _rank(self, parts: dict[str, np.ndarray]) -> np.ndarray:
        """See how the parts are spread among the training rows, and what these score."""
        self.center_, self.spread_ = {}, {}
        for name, nats in parts.items():
            low, self.center_[name], high = np.quantile(nats, [0.25, 0.5, 0.75], axis=0)
            self.spread_[name] = np.maximum(high - low, SMALLEST_SPREAD)
        return -self._total(parts)

    def _combined(self, parts: dict[str, np.ndarray]) -> np.ndarray:
        """Σ_k w_k (x_k − center_k)/spread_k, mean over autoencoders, (n,)."""
        units = {k: (parts[k] - self.center_[k]) / self.spread_[k] for k in self._parts_of("combined")}
        return np.sum([WEIGHTS.get(k, 1.0) * unit.mean(1) for k, unit in units.items()], axis=0)

    def _total(self, parts: dict[str, np.ndarray]) -> np.ndarray:
        return self._combined(parts) if self.criterion_ == "combined" else parts[self.criterion_].mean(1)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = VAE().__sklearn_tags__().input_tags.allow_nan
        return tags
