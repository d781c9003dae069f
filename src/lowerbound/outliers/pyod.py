"""The detector in PyOD's conventions, which are the opposite ones; PyOD itself isn't needed."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from lowerbound.estimators.arguments import Data
from lowerbound.outliers.detector import VAEOutlierDetector
from lowerbound.parameters.parameter import Parameter
from lowerbound.parameters.setting import Settable


class PyODDetector(Settable, BaseEstimator):
    """``VAEOutlierDetector`` as PyOD would have it: higher scores and the label 1 are outliers.

    Parameters
    ----------
    detector : VAEOutlierDetector, optional
        The default one if None; ``contamination`` takes the place of its own.
    contamination : float
        Part of the training rows that are called outliers.

    Attributes
    ----------
    detector_ : VAEOutlierDetector
    decision_scores_ : ndarray, shape (n,)
        Of the training rows.
    threshold_ : float
        Scores above it are outliers.
    labels_ : ndarray of int, shape (n,)
        Of the training rows: 1 for outliers, 0 for the others.

    Examples
    --------
    >>> import numpy as np
    >>> from lowerbound import PyODDetector, VAEOutlierDetector
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> X[7] = [6, -6, 6]
    >>> PyODDetector(VAEOutlierDetector(random_state=0), contamination=0.005).fit(X).labels_.nonzero()[0].tolist()
    [7]
    """

    PARAMETERS: ClassVar[dict[str, Parameter]] = {}

    detector_: VAEOutlierDetector
    decision_scores_: np.ndarray
    threshold_: float
    labels_: np.ndarray

    def __init__(self, detector: VAEOutlierDetector | None = None, *, contamination: float = 0.1) -> None:
        self.detector = detector
        self.contamination = contamination

    def fit(self, X: Data, y: object = None) -> Self:
        """Fit the detector to the rows of ``X``.

        Parameters
        ----------
        X : array-like or Source, shape (n, *row)
        y : ignored

        Returns
        -------
        self
        """
        given = VAEOutlierDetector() if self.detector is None else self.detector
        parameters: dict[str, Any] = given.get_params(deep=False) | {"contamination": self.contamination}
        self.detector_ = type(given)(**parameters).fit(X)  # no clone: its estimator may be a fitted one
        self.decision_scores_ = self.decision_function(X)
        self.threshold_ = -self.detector_.offset_
        self.labels_ = (self.decision_scores_ > self.threshold_).astype(int)
        return self

    def decision_function(self, X: Data) -> np.ndarray:
        """The outlier score of each row, shape (n,); higher is more unusual."""
        check_is_fitted(self, "detector_")
        return -self.detector_.score_samples(X)

    def predict(self, X: Data) -> np.ndarray:
        """1 for outliers, 0 for the others, shape (n,)."""
        return (self.decision_function(X) > self.threshold_).astype(int)

    def predict_proba(self, X: Data) -> np.ndarray:
        """Scores between the least and the greatest of the training rows, cut at both: columns usual, unusual."""
        low, high = self.decision_scores_.min(), self.decision_scores_.max()
        unusual = np.clip((self.decision_function(X) - low) / (high - low), 0, 1)
        return np.column_stack([1 - unusual, unusual])

    def fit_predict(self, X: Data, y: object = None) -> np.ndarray:
        """``fit``, and the labels of the same rows, shape (n,): 1 for outliers, 0 for the others.

        Parameters
        ----------
        X : array-like or Source, shape (n, *row)
        y : ignored
        """
        return self.fit(X).labels_
