"""Independent features as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from lowerbound.assembly.columns import columns_head
from lowerbound.data.likelihoods import choose_likelihood
from lowerbound.data.schema import Schema, infer_schema
from lowerbound.estimators.arguments import Columns, Data, warn_of_labels
from lowerbound.estimators.density import ExactEstimator
from lowerbound.estimators.tables import MixedColumns
from lowerbound.evaluation.evaluation import EVALUATION_BATCH
from lowerbound.inference import em
from lowerbound.models.factorized import (
    IndependentBernoulli,
    IndependentCategorical,
    IndependentColumns,
    IndependentNormal,
)
from lowerbound.parameters.likelihoods import BernoulliLikelihood
from lowerbound.parameters.seed import RandomState
from lowerbound.parameters.tables import FACTORIZED_PARAMETERS

MIN_SCALE = 1e-3  # of a column of numbers, as a part of its standard deviation


class Factorized(MixedColumns, ExactEstimator):
    """Independent features: p(x) = Π_j p_j(x_j), the maximum of the likelihood in one pass.

    The first rung: what a model of dependence has to beat. Takes tables ``(n, features)``, images ``(n, H, W)`` or
    ``(n, H, W, C)``, and DataFrames of numbers. log p(x) is in nats, for one row, in the user's units, and exact.

    Parameters
    ----------
    likelihood : {"auto", "gaussian", "bernoulli", "categorical"} or BernoulliLikelihood
        p of each feature: a normal density, the probability of a 1, or a histogram of the categories 0, 1, 2, …; bytes
        (uint8) have 256 grey levels. "auto": Bernoulli for 0/1 data, a histogram for bytes, else Gaussian.
        With ``BernoulliLikelihood(binarize="sample")`` the fit is to the expectation over all binarizations of grey
        values, not to one of them.
    columns : {None, "auto"}, mapping, sequence or str
        How a table of several kinds is described, as in ``VAE``: None does so for DataFrames with text, categories or
        dates. log p(x) is then comparable with that of a VAE of the same columns.
    image_shape : tuple of int, optional
        (H, W), (H, W, C) or (C, H, W), for images given as flat rows.
    layout : {"auto", "image", "channels_first", "features"}
        The axes of a row, as in ``VAE``.
    smoothing : float
        Imaginary observations α of every category of a feature: (n_k + α)/(n + αK). A category not seen in ``fit`` is
        improbable, not impossible. Not used by the Gaussian; ½ in tables of several kinds.
    random_state : int, RandomState or None
        For ``sample``, and for the binarization that is scored.

    Attributes
    ----------
    model_ : IndependentNormal, IndependentBernoulli, IndependentCategorical or IndependentColumns
    schema_ : Schema
        What the rows are; ``schema_.likelihood`` is the one in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
    seed_ : int

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from lowerbound import Factorized
    >>> round(Factorized().fit(load_iris().data).score(load_iris().data), 3)
    -4.94
    """

    PARAMETERS = FACTORIZED_PARAMETERS

    model_: Any

    def __init__(
        self, *, likelihood: str | BernoulliLikelihood = "auto", columns: Columns = None,
        image_shape: Sequence[int] | None = None, layout: str = "auto", smoothing: float = 0.1,
        random_state: RandomState = None,
    ) -> None:  # fmt: skip
        self.likelihood = likelihood
        self.columns = columns
        self.image_shape = image_shape
        self.layout = layout
        self.smoothing = smoothing
        self.random_state = random_state

    def fit(self, X: Data, y: object = None) -> Self:
        """Fit to the rows of ``X``.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        y : ignored, with a warning

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range; ``LikelihoodError`` if the likelihood can't describe the data.
        """
        warn_of_labels(self, y)
        X = self._start(X)
        rows = self._fitting(torch.float64).checked_rows(X)
        if self.schema_.columns is not None:
            self.model_.climb(lambda: rows.batches(EVALUATION_BATCH))
            return self
        if self.schema_.binarize == "sample":
            rows.prepare = self._expected
        self.model_.maximize(em.total(self.model_.statistics, rows.batches(EVALUATION_BATCH)))
        return self

    def _expected(self, raw: Tensor, noise: object) -> Tensor:
        """E[x] of grey values over their binarizations."""
        return raw.double() / self.schema_.grey_levels

    def _infer_schema(self, X: Any) -> Schema:
        if self._inferred is not None:
            return super()._infer_schema(X)
        if self.likelihood == "auto":
            as_bytes = choose_likelihood(X, None, self.image_shape, self.layout) == "discretized_logistic"
        else:
            as_bytes = self.likelihood == "categorical" and X.dtype == np.uint8
        if not as_bytes:
            return super()._infer_schema(X)
        schema = infer_schema(
            X, likelihood="discretized_logistic", image_shape=self.image_shape, layout=self.layout, names=self._names
        )
        return replace(schema, likelihood="categorical")  # all 256, seen or not

    def _assemble(self, generator: torch.Generator) -> None:
        schema = self.schema_
        if schema.likelihood in ("gaussian", "columns") and self.smoothing != self.PARAMETERS["smoothing"].default:
            raise ValueError(
                f"smoothing={self.smoothing!r} is of categories and of 0/1 data, and these have the likelihood "
                f"{schema.likelihood!r}: leave it 0.1"
            )
        if schema.columns is not None:
            self.model_ = IndependentColumns(columns_head(schema.columns, "decoder", MIN_SCALE))
        elif schema.likelihood == "gaussian":
            self.model_ = IndependentNormal(schema.event_shape, torch.from_numpy(np.log(schema.unit)))
        elif schema.likelihood == "bernoulli":
            self.model_ = IndependentBernoulli(schema.event_shape, self.smoothing)
        else:
            self.model_ = IndependentCategorical(schema.event_shape, schema.n_categories, self.smoothing)
