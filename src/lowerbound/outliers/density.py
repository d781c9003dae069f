"""Rows ranked by their density alone, for models that have no codes."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd

from lowerbound.estimators.density import DensityEstimator
from lowerbound.evaluation.bound import Progress
from lowerbound.evaluation.evaluation import EVALUATION_BATCH
from lowerbound.outliers.criteria import fence
from lowerbound.outliers.member import in_parts, index_of, untold


class DensityRanks:
    """The ranks of rows by −log p(x) among usual rows.

    Parameters
    ----------
    estimator : DensityEstimator
        Fitted.
    usual : array-like, shape (n, *row)
        Rows to compare with.
    progress : callable, optional
        Told what part of their scoring is newly done.

    Attributes
    ----------
    training_scores_ : ndarray, shape (n,)
        log p(x) of the usual rows, in nats, ascending.
    offset_ : float
        Tukey's lower fence of them, Q₁ − 1.5 (Q₃ − Q₁).
    """

    criterion_: ClassVar[str] = "log_p"

    def __init__(self, estimator: DensityEstimator, usual: Any, progress: Progress = untold) -> None:
        self.estimators_: list[DensityEstimator] = [estimator]
        found = in_parts(lambda rows: {"log_p": estimator.score_samples(rows)}, usual, EVALUATION_BATCH, progress)
        self.training_scores_: np.ndarray = np.sort(found["log_p"])
        self.offset_: float = fence(self.training_scores_, "auto")

    def explain(self, X: Any, n_features: int = 3, *, least: float = -np.inf) -> pd.DataFrame:
        """Raise ``TypeError``: a density of whole rows has no reasons."""
        raise TypeError(f"{type(self.estimators_[0]).__name__} gives no reasons for a row: use a VAE, or a detector")

    def table(self, X: Any) -> pd.DataFrame:
        """−log p(x) of every row in nats, and the part of the usual rows that are more probable."""
        log_p = self.estimators_[0].score_samples(X)
        below = np.searchsorted(self.training_scores_, log_p, "right") / len(self.training_scores_)
        return pd.DataFrame({"score": -log_p, "quantile": 1 - below, "log_p": -log_p}, index=index_of(X))
