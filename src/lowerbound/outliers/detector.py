"""The outlier detector: a few autoencoders, what is unusual about a row in nats, and the reasons."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import _num_samples, check_is_fitted

from lowerbound.data.columns.coding import warned_once
from lowerbound.data.context import RowsGiven
from lowerbound.data.frames import as_pandas
from lowerbound.estimators.arguments import Data
from lowerbound.estimators.saving import Restore, Saved
from lowerbound.estimators.vae import VAE
from lowerbound.evaluation.bound import Progress
from lowerbound.outliers import criteria, saved
from lowerbound.outliers.criteria import COMBINED, WEIGHTS, asked_scores, check_asked, fence, recommended, trimmed
from lowerbound.outliers.ensemble import fitted_members
from lowerbound.outliers.explanation import reasons
from lowerbound.outliers.member import Member, few, in_parts, index_of, rows_to_tell, scores_of, split, untold
from lowerbound.outliers.mixture import NumbersMixture
from lowerbound.parameters.parameter import Parameter
from lowerbound.parameters.seed import RandomState, seed_from
from lowerbound.parameters.setting import Settable
from lowerbound.parameters.tables import DETECTOR_PARAMETERS
from lowerbound.precision import Undisturbed

LEFT_OUT = 0.04  # part of the training rows' codes that may be those of outliers of one kind, unless novelty
SMALLEST_SPREAD = 0.1  # nats: below, a score says the same of all rows
TO_KNOW = 0.3  # of the time that fitted members take to be introduced and to score training rows, about


class VAEOutlierDetector(OutlierMixin, Undisturbed, Settable, BaseEstimator):
    """Finds, ranks and explains outliers by variational autoencoders.

    Rows may be tables, with missing values, or images; they may hold outliers when they are fitted (``novelty=False``)
    or be known to be clean (``novelty=True``).

    Parameters
    ----------
    estimator : VAE, optional
        A fitted ``VAE``, used as it is, or one to be fitted. By default, for tables, small ones that are hard to
        mislead: a part of each row is hidden from the encoder in training, the rows of highest loss are not learned,
        and σ of p(x|z) comes from the decoder in one of three and is one for each feature in the others.
    criterion : str
        What makes a row an outlier, in nats; a word among these. "kl": KL(q(z|x) ‖ p(z)). "aggregate_kl": a bound on
        KL(q(z|x) ‖ q̂(z)), q̂ the mean of q(z|x_j) over 500 training rows but for the 4 % that are nearest (with
        ``novelty`` the nearest one: its own for one of the 500, a neighbor's for other rows); "kl" where q(z|x) has no
        diagonal covariance. "reconstruction": −E_q log p(x|z). "elbo": −ELBO, KL and reconstruction. "log_p": −log
        p(x), by importance sampling. "surprise": Σ_j −log p(x_j | x_-j), each entry given what is left when a part of
        the row is hidden. "regret": how much better a q of the row's own is (Xiao et al., 2020, arXiv:2003.02977).
        "relative_regret": the part of −ELBO that this is, for discrete data. "level_ratio": what the levels of a ladder
        below the top add to the bound (Havtorn et al., 2021, arXiv:2102.08248). "mixture": −log p(x) of the numbers of
        a table by a mixture of up to 6 Gaussians, fitted by EM. "combined": KL to the aggregate, reconstruction and
        surprise, means over autoencoders, and twice the mixture if there are numbers and no context, each in units of
        its interquartile range among the training rows. "auto": combined for tables, the relative regret for images, or
        the regret where they are continuous.
    contamination : "auto" or float
        Part of the training rows that ``predict`` calls outliers; "auto" draws the line at Tukey's upper fence of what
        is unusual among them, Q₃ + 1.5 (Q₃ − Q₁).
    novelty : bool
        The training rows are clean, and all of them are learned.
    trim_fraction : float or "auto"
        Part of each batch, its rows of highest loss, that is not learned; "auto" is 0.1, and 0 with ``novelty``.
    n_estimators : int or "auto"
        Autoencoders of different seeds over which scores are averaged; "auto": 3 for tables, 1 for images.
    n_steps : int or "auto"
        Steps of training of each default autoencoder; "auto": 400 for tables, 2,000 for images.
    calibration_fraction : float
        Part of the rows that ``fit`` holds out for ``p_values``; ``calibrate`` takes others.
    layout : {"auto", "image", "channels_first", "features"}
        The axes of a row, as in ``VAE``, for the default autoencoders; an ``estimator`` has its own.
    random_state : int, RandomState or None
        With the same seed, the same result. Nothing global is touched.
    device : str
        "auto" takes a GPU if there is one.
    verbose : int
        1 shows the progress of the default autoencoders on stderr.

    Attributes
    ----------
    estimators_ : list of VAE
    offset_ : float
        ``decision_function`` is ``score_samples`` less this.
    center_, spread_ : dict of ndarray, shape (len(estimators_),), or (1,) of the mixture
        Medians and interquartile ranges of the parts of "combined" among the training rows, in nats.
    training_scores_ : ndarray, shape (n,)
        ``score_samples`` of the training rows, ascending: the most unusual first. Of at most 10,000 of them if
        ``contamination`` is "auto", of 200 where regrets are climbed.
    calibration_scores_ : ndarray, shape (m,)
        Of held-out rows, ascending.
    criterion_ : str
        What "auto" stood for.
    n_features_in_ : int
    feature_names_in_ : ndarray of str

    Examples
    --------
    >>> import numpy as np
    >>> from lowerbound import VAEOutlierDetector
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> X[7] = [6, -6, 6]
    >>> int(VAEOutlierDetector(random_state=0).fit(X).score_samples(X).argmin())
    7
    """

    PARAMETERS: ClassVar[dict[str, Parameter]] = DETECTOR_PARAMETERS

    estimators_: list[VAE]
    criterion_: str
    offset_: float
    center_: dict[str, np.ndarray]
    spread_: dict[str, np.ndarray]
    training_scores_: np.ndarray
    calibration_scores_: np.ndarray
    _mixture: NumbersMixture | None
    _given: Any = None  # the context of the rows that are scored

    def __init__(
        self, estimator: VAE | None = None, *, criterion: str = "auto", contamination: float | str = "auto",
        novelty: bool = False, trim_fraction: float | str = "auto", n_estimators: int | str = "auto",
        n_steps: int | str = "auto", calibration_fraction: float = 0.0, layout: str = "auto",
        random_state: RandomState = None, device: str | torch.device = "auto", verbose: int = 0,
    ) -> None:  # fmt: skip
        self.estimator = estimator
        self.criterion = criterion
        self.contamination = contamination
        self.novelty = novelty
        self.trim_fraction = trim_fraction
        self.n_estimators = n_estimators
        self.n_steps = n_steps
        self.calibration_fraction = calibration_fraction
        self.layout = layout
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    @warned_once()
    def fit(self, X: Data, y: object = None, *, context: Any = None, progress: Progress = untold) -> Self:
        """Fit the autoencoders, unless ``estimator`` is fitted, and see how unusual the rows are.

        Parameters
        ----------
        X : array-like or Source, shape (n, *row)
        y : ignored
        context : array, series or DataFrame, optional
            What is known of each row beforehand, as in ``VAE.fit``: rows are then unusual given their context, which
            ``given`` says wherever rows are scored.
        progress : callable, optional
            Told what part of the training rows' scoring is newly done, from 0 to 1 in all.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, or the rows can't be described.
        """
        check_asked(self, self.PARAMETERS)
        if self._given is not None:
            raise ValueError("a detector that given() made is fitted already: fit the one that it was made from")
        seed = seed_from(self.random_state)
        X = as_pandas(X)
        given = X if context is None else RowsGiven(X, context)
        rows, held_out = split(given, self.calibration_fraction, seed)
        left_out = 0.0 if self.novelty else LEFT_OUT
        vaes = fitted_members(self, rows, seed)
        of_one = TO_KNOW / len(vaes)
        members = [Member.introduced(v, rows, seed, left_out, lambda part: progress(of_one * part)) for v in vaes]
        mixture = None if context is not None else members[0].mixture(rows, trimmed(self), left_out, seed)
        self._take(members, mixture)
        first = self.estimators_[0]
        self.criterion_ = recommended(first) if self.criterion == "auto" else self.criterion
        known = few(rows, criteria.rows_to_rank(self.criterion_, self.contamination), seed)
        if self.verbose:
            print(f"scoring {_num_samples(known):,} training rows: {self.criterion_}", file=sys.stderr, flush=True)
        how = rows_to_tell(first, self.criterion_), lambda part: progress((1 - TO_KNOW) * part)
        scores = self._rank(self._parts(known, *how))
        self.training_scores_ = np.sort(scores)
        self.offset_ = fence(scores, self.contamination)
        if held_out is not None:
            self.calibrate(held_out)
        return self

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

    def fit_predict(self, X: Data, y: object = None, **kwargs: Any) -> np.ndarray:
        """Fit, and −1 for the outliers among the same rows, 1 for the others, shape (n,).

        Parameters
        ----------
        X : array-like or Source, shape (n, *row)
        y : ignored
        **kwargs : optional
            ``context``, as in ``fit``.
        """
        self.fit(X, **kwargs)
        context = kwargs.get("context")
        return (self if context is None else self.given(context)).predict(X)

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

    def save(self, path: str | Path) -> None:
        """Write a folder of safetensors and JSON, atomically; ``lowerbound.load`` reads it."""
        check_is_fitted(self)
        saved.save(self, Path(path))

    @classmethod
    def from_saved(cls, contents: Saved, restore: Restore) -> VAEOutlierDetector:
        """The detector that ``save`` wrote; ``lowerbound.load`` calls this."""
        return saved.restored(cls, contents, restore)

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
