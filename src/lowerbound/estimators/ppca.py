"""Probabilistic principal components and factor analysis as scikit-learn estimators."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from lowerbound.core import Batch
from lowerbound.data.layout import arrange
from lowerbound.data.likelihoods import choose_likelihood
from lowerbound.data.schema import Schema, infer_schema
from lowerbound.distributions.likelihoods.kind import LikelihoodError
from lowerbound.distributions.likelihoods.table import kind_of
from lowerbound.distributions.noise import make_generator
from lowerbound.estimators.arguments import Data, RowsToCodes, warn_of_labels
from lowerbound.estimators.density import ExactEstimator
from lowerbound.evaluation.evaluation import EVALUATION_BATCH
from lowerbound.inference import em
from lowerbound.models.ppca import LinearGaussian, Spectrum, sigma_points, spectrum
from lowerbound.parameters.seed import RandomState
from lowerbound.parameters.tables import FACTOR_ANALYSIS_PARAMETERS, PPCA_PARAMETERS
from lowerbound.tasks import generate
from lowerbound.warning import warn


class LinearEstimator(ClassNamePrefixFeaturesOutMixin, RowsToCodes, ExactEstimator):
    """The base of ``PPCA`` and ``FactorAnalysis``: z ~ N(0, I), x = Wz + μ + ε.

    Rows with gaps are fitted by exact EM over what is observed, and scored by the exact density of that.
    """

    NOISE: ClassVar[Literal["shared", "feature"]]
    FITTED: ClassVar[tuple[str, ...]] = (*ExactEstimator.FITTED, "latent_dim_", "n_iter_", "converged_")

    latent_dim: int | str
    image_shape: tuple[int, ...] | None
    layout: str
    min_scale: float
    tol: float
    max_iter: int
    model_: LinearGaussian
    latent_dim_: int
    n_iter_: int
    converged_: bool

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
            If a parameter is out of range, or there are too few features or rows for the latent variables;
            ``LikelihoodError`` if the data are 0/1 or bytes.
        """
        warn_of_labels(self, y)
        X = self._start(X)
        counted = torch.from_numpy(self.schema_.counted).flatten()
        data = self._fitting(torch.float64).checked_rows(X)
        rows = data.raw.flatten(1)[:, counted]
        part = self._model((rows.shape[1],), self._min_scale(counted))  # constant features stay out of it
        if data.observed is None:
            ascent = self._maximize(part, rows)
        else:
            ascent = self._maximize_observed(part, rows, data.observed.flatten(1)[:, counted])
        part.rotate()
        self._adopt(part, counted)
        self.n_iter_, self.converged_ = ascent.n_iter, ascent.converged
        if not ascent.converged:
            message = f"after max_iter={self.max_iter} steps EM still gained tol={self.tol:g} nats a row or more"
            warn(message, ConvergenceWarning)
        return self

    def _maximize(self, model: LinearGaussian, rows: Tensor) -> em.Ascent:
        """Fit ``model`` to the rows (n, F)."""
        raise NotImplementedError

    def _maximize_observed(self, model: LinearGaussian, rows: Tensor, mask: Tensor) -> em.Ascent:
        """Exact EM over the observed entries, from the maximum for the rows with their gaps filled by the means."""
        filled = torch.where(mask, rows, (rows * mask).sum(0) / mask.sum(0))
        model.maximum_likelihood(spectrum(filled))
        index = torch.arange(len(rows))
        parts = [Batch(*part) for part in zip(*(t.split(EVALUATION_BATCH) for t in (filled, mask, index)), strict=True)]
        return em.fit(model, lambda: parts, self.tol, self.max_iter)

    def _ascend(self, model: LinearGaussian, rows: Tensor, axes: Spectrum) -> em.Ascent:
        """Exact EM, over the sigma points where they are fewer than the rows."""
        points = sigma_points(axes)
        x = points if len(points) < len(rows) else rows
        batch = Batch(x, torch.ones_like(x, dtype=torch.bool), torch.arange(len(x)))
        return em.fit(model, lambda: [batch], self.tol, self.max_iter)

    def _infer_schema(self, X: Any) -> Schema:
        """The schema of the rows; sets the number of latent variables."""
        refuse_discrete(self, X)
        schema = infer_schema(
            X, likelihood="gaussian", standardize=self._standardize(X), image_shape=self.image_shape,
            layout=self.layout, names=self._names,
        )  # fmt: skip
        schema = self._with_directions(schema, X)
        self.latent_dim_ = self._choose_latent_dim(schema, len(X))
        return schema

    def _standardize(self, X: np.ndarray) -> bool:
        return True

    def _choose_latent_dim(self, schema: Schema, n_rows: int) -> int:
        """At most half the features and half the rows; fewer than features and than rows − 1, so that σ > 0."""
        n_features = schema.n_dimensions
        limit = min(n_features, n_rows - 1) - 1
        if limit < 1:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 features that vary and 3 rows, but X has "
                f"n_samples = {n_rows}, n_features = {n_features}"
            )
        if self.latent_dim == "auto":
            return max(1, min(max(32, schema.n_directions), n_features // 2, n_rows // 2 - 1))
        if int(self.latent_dim) > limit:
            raise ValueError(
                f"latent_dim={self.latent_dim} leaves nothing to the noise: with {n_features} features that vary and "
                f"{n_rows} rows it can be at most {limit}"
            )
        return int(self.latent_dim)

    def _assemble(self, generator: torch.Generator) -> None:
        log_unit = torch.from_numpy(np.log(self.schema_.unit))
        model = self._model(self.schema_.event_shape, None, log_unit)
        self.model_ = model  # pyright: ignore[reportIncompatibleVariableOverride]

    def _model(
        self, event_shape: tuple[int, ...], min_scale: Tensor | None, log_unit: Tensor | None = None
    ) -> LinearGaussian:
        return LinearGaussian(event_shape, self.latent_dim_, self.NOISE, min_scale, log_unit)

    def _min_scale(self, counted: Tensor) -> Tensor:
        spread = torch.from_numpy(self.schema_.spread).flatten()[counted]
        return self.min_scale * (spread.square().mean().sqrt().view(1) if self.NOISE == "shared" else spread)

    @torch.no_grad()
    def _adopt(self, part: LinearGaussian, counted: Tensor) -> None:
        """The model of the features that vary, in the one of all features."""
        self.model_.mean[counted] = part.mean
        self.model_.weights[counted] = part.weights
        if self.NOISE == "shared":
            self.model_.log_scale.copy_(part.log_scale)
        else:
            self.model_.log_scale[counted] = part.log_scale

    @property
    def _n_features_out(self) -> int:
        return self.latent_dim_

    @property
    def loadings_(self) -> np.ndarray:
        """W in the user's units, shape (D, *row): how x moves with each latent variable."""
        W = self.model_.weights.detach().T.unflatten(1, self.schema_.event_shape).numpy()
        return self.schema_.to_rows(W * self.schema_.unit)

    @property
    def noise_scale_(self) -> np.ndarray:
        """σ of every feature in the user's units, shape (*row)."""
        scale = np.broadcast_to(self.model_.log_scale.detach().exp().numpy(), self.schema_.unit.size)
        return self.schema_.to_rows((scale.reshape(self.schema_.unit.shape) * self.schema_.unit)[None])[0]

    def transform(self, X: Data) -> np.ndarray:
        """Posterior means E[z|x], shape (n, D)."""
        return self.encode(X)[0]

    def encode(self, X: Data) -> tuple[np.ndarray, np.ndarray]:
        """The exact posterior p(z|x) of every row: means (n, D), and Cholesky factors (n, D, D) of its covariance."""
        on = self.fitted_.exactly().on(X)
        with on.evaluating():
            parts = [self.model_.posterior(batch) for batch in on.batches()]
        return tuple(torch.cat([getattr(q, name) for q in parts]).numpy() for name in ("mean", "scale_tril"))  # type: ignore[return-value]

    def inverse_transform(self, Z: ArrayLike) -> np.ndarray:
        """E[x|z] = Wz + μ for codes ``Z`` (n, D), in the user's units and shape (n, *row)."""
        check_is_fitted(self)
        codes = np.array(Z, np.float64)
        if codes.ndim != 2 or codes.shape[1] != self.latent_dim_:
            raise ValueError(f"codes have shape (n, {self.latent_dim_}), got {codes.shape}")
        return self.schema_.restore(generate.decode(self.model_, torch.from_numpy(codes)), expected=True)

    def reconstruct(self, X: Data) -> np.ndarray:
        """E[x|z] at the posterior mean z of every row."""
        return self.inverse_transform(self.transform(X))


class PPCA(LinearEstimator):
    """Probabilistic principal component analysis: z ~ N(0, I), x = Wz + μ + ε with ε ~ N(0, σ²I).

    The VAE whose decoder is linear, with everything known: the posterior, log p(x), and the maximum of the likelihood.
    Takes tables ``(n, features)``, real-valued images ``(n, H, W)`` or ``(n, H, W, C)``, and DataFrames of numbers;
    log p(x) is in nats, for one row, in the user's units, and exact. Latent variables come in order of how much they
    say of x, with the sign that makes the largest entry of each column of W positive.

    Maximum likelihood divides by n, scikit-learn's ``PCA`` by n − 1; with the divisor matched ``score_samples`` is
    the same, if ``standardize=False``.

    Parameters
    ----------
    latent_dim : int or "auto"
        D; "auto" takes half the features, at most half the rows, and 32 or as many as there are directions in which
        the rows vary more than independent features would, as in ``VAE``.
    method : {"closed_form", "em"}
        How the likelihood is maximized: by the eigenvectors of the covariance, or by EM from random W. Both end at the
        same maximum.
    standardize : bool or "auto"
        Standardize the features inside. Since there is one σ for all, the model depends on their units; "auto"
        standardizes the features of tables, which have units of their own, and not the pixels of images.
    image_shape : tuple of int, optional
        (H, W), (H, W, C) or (C, H, W), for images given as flat rows.
    layout : {"auto", "image", "channels_first", "features"}
        The axes of a row, as in ``VAE``.
    min_scale : float
        Lower bound of σ, as a part of the features' standard deviation (root mean square). It matters only where
        the rows lie in fewer than F dimensions and nothing is left to the noise.
    tol : float
        In nats a row; EM stops when a step gains less.
    max_iter : int
        EM steps at most.
    random_state : int, RandomState or None
        For the start of EM, and for ``sample``.

    Attributes
    ----------
    model_ : LinearGaussian
        p(z), p(x|z) and the exact p(z|x).
    loadings_ : ndarray, shape (D, *row)
        W in the user's units.
    noise_scale_ : ndarray, shape (*row)
        σ in the user's units.
    latent_dim_ : int
    n_iter_ : int
        EM steps made; 1 for the closed form.
    converged_ : bool
    schema_ : Schema
    n_features_in_ : int
    feature_names_in_ : ndarray of str
    seed_ : int

    References
    ----------
    Tipping & Bishop, 1999, J. R. Statist. Soc. B 61, 611–622.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from lowerbound import PPCA
    >>> ppca = PPCA(2).fit(load_iris().data)
    >>> ppca.transform(load_iris().data).shape
    (150, 2)
    """

    PARAMETERS = PPCA_PARAMETERS
    NOISE: ClassVar[Literal["shared", "feature"]] = "shared"

    method: str
    standardize: bool | str

    def __init__(
        self, latent_dim: int | str = "auto", method: str = "closed_form", *, standardize: bool | str = "auto",
        image_shape: tuple[int, ...] | None = None, layout: str = "auto", min_scale: float = 1e-3, tol: float = 1e-5,
        max_iter: int = 5000, random_state: RandomState = None,
    ) -> None:  # fmt: skip
        self.latent_dim = latent_dim
        self.method = method
        self.standardize = standardize
        self.image_shape = image_shape
        self.layout = layout
        self.min_scale = min_scale
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state

    def _standardize(self, X: np.ndarray) -> bool:
        if self.standardize != "auto":
            return bool(self.standardize)
        return arrange(X, self.image_shape, self.layout).layout == "features"

    def _maximize(self, model: LinearGaussian, rows: Tensor) -> em.Ascent:
        axes = spectrum(rows)
        if self.method == "em":
            model.start(axes, make_generator(self.seed_, "em"))
            return self._ascend(model, rows, axes)
        model.maximum_likelihood(axes)
        return em.Ascent([], 1, True)


class FactorAnalysis(LinearEstimator):
    """Factor analysis: z ~ N(0, I), x = Wz + μ + ε with ε ~ N(0, Ψ), Ψ diagonal: a σ for each feature.

    What features share is in z, what each has alone is noise; unlike in ``PPCA``, units don't matter. Fitted by exact
    EM from the principal components. Takes tables ``(n, features)``, real-valued images ``(n, H, W)`` or
    ``(n, H, W, C)``, and DataFrames of numbers; log p(x) is in nats, for one row, in the user's units, and exact.

    Parameters
    ----------
    latent_dim : int or "auto"
        D; "auto" takes half the features, at most half the rows, and 32 or as many as there are directions in which
        the rows vary more than independent features would, as in ``VAE``.
    image_shape : tuple of int, optional
        (H, W), (H, W, C) or (C, H, W), for images given as flat rows.
    layout : {"auto", "image", "channels_first", "features"}
        The axes of a row, as in ``VAE``.
    min_scale : float
        Lower bound of each σ, as a part of the feature's standard deviation; without one, the likelihood often rises
        without end as a factor takes one feature over (a Heywood case).
    tol : float
        In nats a row; EM stops when a step gains less.
    max_iter : int
        EM steps at most.
    random_state : int, RandomState or None
        For ``sample``.

    Attributes
    ----------
    model_ : LinearGaussian
        p(z), p(x|z) and the exact p(z|x).
    loadings_ : ndarray, shape (D, *row)
        W in the user's units.
    noise_scale_ : ndarray, shape (*row)
        σ in the user's units.
    latent_dim_ : int
    n_iter_ : int
        EM steps made.
    converged_ : bool
    schema_ : Schema
    n_features_in_ : int
    feature_names_in_ : ndarray of str
    seed_ : int

    References
    ----------
    Rubin & Thayer, 1982, Psychometrika 47, 69–76.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from lowerbound import FactorAnalysis
    >>> FactorAnalysis(1).fit(load_iris().data).loadings_.shape
    (1, 4)
    """

    PARAMETERS = FACTOR_ANALYSIS_PARAMETERS
    NOISE: ClassVar[Literal["shared", "feature"]] = "feature"

    def __init__(
        self, latent_dim: int | str = "auto", *, image_shape: tuple[int, ...] | None = None, layout: str = "auto",
        min_scale: float = 1e-3, tol: float = 1e-5, max_iter: int = 5000, random_state: RandomState = None,
    ) -> None:  # fmt: skip
        self.latent_dim = latent_dim
        self.image_shape = image_shape
        self.layout = layout
        self.min_scale = min_scale
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state

    def _maximize(self, model: LinearGaussian, rows: Tensor) -> em.Ascent:
        axes = spectrum(rows)
        model.maximum_likelihood(axes)
        return self._ascend(model, rows, axes)


def refuse_discrete(estimator: object, X: np.ndarray) -> None:
    """Raise ``LikelihoodError`` where a density of real values would be one of 0/1 data or bytes."""
    name, kind = type(estimator).__name__, kind_of(choose_likelihood(X, None))
    if kind.is_discrete:
        raise LikelihoodError(
            f"{name} is a density of real values, which says nothing of the probability of discrete ones, and X "
            f"has {kind.in_words}: use Factorized, Mixture or VAE; or make X real by uniform noise as wide as a grey "
            f"level, X + u with u in [0, 1): E log p(X + u) is a lower bound of the log-probability of X"
        )
