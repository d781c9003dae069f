"""The Gaussian with full covariance as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from lowerbound.core import Batch
from lowerbound.data.batches import Rows
from lowerbound.data.schema import Schema, infer_schema
from lowerbound.estimators.arguments import Data, warn_of_labels
from lowerbound.estimators.density import ExactEstimator
from lowerbound.estimators.ppca import refuse_discrete
from lowerbound.inference import em
from lowerbound.models.gaussian import MixtureOfGaussians, rows_at_once
from lowerbound.parameters.seed import RandomState
from lowerbound.parameters.tables import GAUSSIAN_PARAMETERS
from lowerbound.warning import warn


class Gaussian(ExactEstimator):
    """A Gaussian with full covariance, by EM where entries are missing: p(x) = N(x; μ, Σ).

    Takes tables ``(n, features)``, real-valued images ``(n, H, W)`` or ``(n, H, W, C)``, and DataFrames of numbers;
    log p(x) is in nats, for one row, in the user's units, and exact, of the observed entries where some are missing.
    Every conditional is known, so this is the first model to try for filling gaps.

    Parameters
    ----------
    shrinkage : float
        α, imaginary rows of independent features with the variances of the data: Σ = (nS + α diag S)/(n + α), on the
        log-likelihood's side an inverse Wishart prior. Needed where there are fewer rows than features; 0 gives
        maximum likelihood, for complete rows the sample covariance with divisor n.
    image_shape : tuple of int, optional
        (H, W), (H, W, C) or (C, H, W), for images given as flat rows.
    layout : {"auto", "image", "channels_first", "features"}
        The axes of a row, as in ``VAE``.
    tol : float
        In nats a row; EM stops when a step gains less.
    max_iter : int
        EM steps at most. Rows without gaps need one.
    random_state : int, RandomState or None
        For ``sample``.

    Attributes
    ----------
    model_ : MixtureOfGaussians
        With one component.
    mean_ : ndarray, shape (*row)
        μ in the user's units.
    covariance_ : ndarray, shape (F, F)
        Σ in the user's units, of the features of a flattened event.
    n_iter_ : int
        EM steps made.
    converged_ : bool
    schema_ : Schema
    n_features_in_ : int
    feature_names_in_ : ndarray of str
    seed_ : int

    References
    ----------
    Dempster, Laird & Rubin, 1977, J. R. Statist. Soc. B 39, section 4.1.3.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from lowerbound import Gaussian
    >>> round(Gaussian().fit(load_iris().data).score(load_iris().data), 2)
    -2.55
    """

    PARAMETERS = GAUSSIAN_PARAMETERS
    FITTED: ClassVar[tuple[str, ...]] = (*ExactEstimator.FITTED, "n_iter_", "converged_")

    model_: MixtureOfGaussians
    n_iter_: int
    converged_: bool

    def __init__(
        self, *, shrinkage: float = 1.0, image_shape: tuple[int, ...] | None = None, layout: str = "auto",
        tol: float = 1e-5, max_iter: int = 1000, random_state: RandomState = None,
    ) -> None:  # fmt: skip
        self.shrinkage = shrinkage
        self.image_shape = image_shape
        self.layout = layout
        self.tol = tol
        self.max_iter = max_iter
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
            If a parameter is out of range, or if the covariance is singular and ``shrinkage`` 0; ``LikelihoodError`` if
            the data are 0/1 or bytes.
        """
        warn_of_labels(self, y)
        X = self._start(X)
        rows = self._fitting(torch.float64).checked_rows(X)
        counted = torch.from_numpy(self.schema_.counted).flatten()
        part = MixtureOfGaussians(
            1, (int(counted.sum()),), shrinkage=self.shrinkage
        )  # constant features stay out of it
        spread = torch.from_numpy(self.schema_.spread).flatten()[counted]
        mean = torch.from_numpy(self.schema_.mean).flatten()[counted]
        part.start(mean[None], spread.square().diag(), spread.square().diag())
        ascent = self._ascend(part, rows, counted)
        self.model_.extend(part, counted)
        self.n_iter_, self.converged_ = ascent.n_iter, ascent.converged
        if not ascent.converged:
            message = f"after max_iter={self.max_iter} steps EM still gained tol={self.tol:g} nats a row or more"
            warn(message, ConvergenceWarning)
        return self

    def _ascend(self, model: MixtureOfGaussians, rows: Rows, counted: Tensor) -> em.Ascent:
        def batches() -> Iterator[Batch]:
            for batch in rows.batches(rows_at_once(len(counted))):
                yield Batch(batch.x.flatten(1)[:, counted], batch.mask.flatten(1)[:, counted], batch.index)

        try:
            return em.fit(model, batches, self.tol, self.max_iter)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise ValueError(
                f"the covariance of {len(rows)} rows and {int(counted.sum())} features is singular: a feature is a "
                f"linear function of others, or there are too few rows; raise shrinkage (it is {self.shrinkage:g})"
            ) from error

    def _infer_schema(self, X: Any) -> Schema:
        refuse_discrete(self, X)
        return infer_schema(
            X, likelihood="gaussian", standardize=True, image_shape=self.image_shape, layout=self.layout,
            names=self._names,
        )  # fmt: skip

    def _assemble(self, generator: torch.Generator) -> None:
        log_unit = torch.from_numpy(np.log(self.schema_.unit))
        model = MixtureOfGaussians(1, self.schema_.event_shape, log_unit, self.shrinkage)
        self.model_ = model  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def mean_(self) -> np.ndarray:
        """μ in the user's units, shape (*row)."""
        return self.schema_.restore(self.model_.means.view(1, *self.schema_.event_shape), expected=True)[0]

    @property
    def covariance_(self) -> np.ndarray:
        """Σ in the user's units, shape (F, F); constant features have no variance."""
        schema = self.schema_
        unit = np.where(schema.counted, schema.unit, 0.0).ravel()
        return self.model_.covariances[0].numpy() * np.outer(unit, unit)

    def conditional(self, X: Data) -> tuple[np.ndarray, np.ndarray]:
        """The exact conditional distribution of the missing entries of each row given the observed ones.

        Parameters
        ----------
        X : array-like, shape (n, *row)
            NaN where an entry is missing.

        Returns
        -------
        mean : ndarray, shape (n, *row)
            E[x|x_o]: observed entries as they are.
        covariance : ndarray, shape (n, F, F)
            Cov[x|x_o], zero for observed entries, in the user's units.
        """
        on = self.fitted_.exactly().on(X)
        unit = np.where(self.schema_.counted, self.schema_.unit, 0.0).ravel()
        with on.evaluating():
            parts = [
                (self.model_.conditional_mean(batch), self.model_.conditional_covariance(batch))
                for batch in on.batches(rows_at_once(unit.size))
            ]
        mean, covariance = (torch.cat(part) for part in zip(*parts, strict=True))
        return self.schema_.restore(mean, expected=True), covariance.numpy() * np.outer(unit, unit)
