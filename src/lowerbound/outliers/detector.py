"""The outlier detector: a few autoencoders, what is unusual about a row in nats, and the reasons."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils.validation import _num_samples, check_is_fitted

from lowerbound.data.columns.coding import warned_once
from lowerbound.data.context import RowsGiven
from lowerbound.data.frames import as_pandas
from lowerbound.estimators.arguments import Data, check_no_sequences
from lowerbound.estimators.saving import Restore, Saved
from lowerbound.estimators.vae import VAE
from lowerbound.evaluation.bound import Progress
from lowerbound.outliers import criteria, saved
from lowerbound.outliers.criteria import check_asked, fence, recommended, trimmed
from lowerbound.outliers.ensemble import fitted_members
from lowerbound.outliers.member import Member, few, rows_to_tell, split, untold
from lowerbound.outliers.scoring import OutlierScores
from lowerbound.outliers.stream import Stream, checked_rows, learn
from lowerbound.parameters.parameter import Parameter
from lowerbound.parameters.seed import RandomState, seed_from
from lowerbound.parameters.tables import DETECTOR_PARAMETERS

LEFT_OUT = 0.04  # part of the training rows' codes that may be those of outliers of one kind, unless novelty
TO_KNOW = 0.3  # of the time that fitted members take to be introduced and to score training rows, about


class VAEOutlierDetector(OutlierScores):
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

    _stream: Stream | None = None

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
        self._check_asked()
        seed = seed_from(self.random_state)
        check_no_sequences(X)
        X = as_pandas(X)
        given = X if context is None else RowsGiven(X, context)
        rows, held_out = split(given, self.calibration_fraction, seed)
        self._stream = None
        self._compare(fitted_members(self, rows, seed), rows, seed, progress)
        if held_out is not None:
            self.calibrate(held_out)
        return self

    def partial_fit(self, X: Data, y: object = None) -> Self:
        """One pass over ``X``, the next rows of a stream; scores and ``offset_`` are then of all rows up to now.

        The first call fixes what the rows are, as ``VAE.partial_fit`` does; ``n_steps`` isn't used. A uniform sample of
        1,000 rows of the stream is kept, with which rows are compared: they are its training rows. After ``fit`` it
        goes on from the fitted autoencoders, and rows are compared with those of the stream alone.

        Parameters
        ----------
        X : array-like, shape (n, *row)
            Numbers alone; NaN is missing.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For a fitted ``estimator``, a ``calibration_fraction``, a context, files, or columns that aren't numbers.
        """
        self._check_asked()
        rows = checked_rows(self, X)
        started = self._stream
        seed = seed_from(self.random_state) if started is None else started.seed
        vaes = learn(self, rows, seed)
        self._stream = Stream.begun(rows, seed) if started is None else started.continued(rows)
        self._compare(vaes, self._stream.rows, seed, untold)
        return self

    def _check_asked(self) -> None:
        """Raise ``ValueError`` where the detector can't be fitted as it is."""
        check_asked(self, self.PARAMETERS)
        if self._given is not None:
            raise ValueError("a detector that given() made is fitted already: fit the one that it was made from")

    def _compare(self, vaes: list[VAE], rows: Any, seed: int, progress: Progress) -> None:
        """See how unusual training rows are to fitted autoencoders, and draw the line."""
        left_out = 0.0 if self.novelty else LEFT_OUT
        of_one = TO_KNOW / len(vaes)
        members = [Member.introduced(v, rows, seed, left_out, lambda part: progress(of_one * part)) for v in vaes]
        mixture = None if isinstance(rows, RowsGiven) else members[0].mixture(rows, trimmed(self), left_out, seed)
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

    def save(self, path: str | Path) -> None:
        """Write a folder of safetensors and JSON, atomically; ``lowerbound.load`` reads it."""
        check_is_fitted(self)
        saved.save(self, Path(path))

    @classmethod
    def from_saved(cls, contents: Saved, restore: Restore) -> VAEOutlierDetector:
        """The detector that ``save`` wrote; ``lowerbound.load`` calls this."""
        return saved.restored(cls, contents, restore)
