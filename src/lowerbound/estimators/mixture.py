"""Mixtures of Gaussians and of Bernoullis as one scikit-learn estimator."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn import config_context
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from lowerbound.core import Batch
from lowerbound.data.batches import RowsInMemory
from lowerbound.data.likelihoods import choose_likelihood
from lowerbound.data.schema import Schema
from lowerbound.distributions.likelihoods.kind import LikelihoodError
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.estimators.arguments import Data, warn_of_labels
from lowerbound.estimators.density import ExactEstimator
from lowerbound.inference import em
from lowerbound.models.bernoulli_mixture import MixtureOfBernoullis
from lowerbound.models.factorized import IndependentBernoulli
from lowerbound.models.gaussian import MixtureOfDiagonalGaussians, MixtureOfGaussians, rows_at_once
from lowerbound.parameters.likelihoods import BernoulliLikelihood
from lowerbound.parameters.seed import RandomState
from lowerbound.parameters.tables import MIXTURE_PARAMETERS
from lowerbound.warning import warn

PASS_ELEMENTS = 2**22  # of x and of the responsibilities that are held together
IN_SCIKIT_LEARN = {"diagonal": "diag", "isotropic": "spherical"}
PATIENCE = 10  # EM steps in a row without a gain, where the likelihood is noisy


class Mixture(ExactEstimator):
    """A mixture p(x) = Σ_k π_k p(x|k) of Gaussians or of Bernoullis, fitted by EM.

    Takes tables ``(n, features)``, images ``(n, H, W)`` or ``(n, H, W, C)``, and DataFrames of numbers. log p(x) is in
    nats, for one row, in the user's units, and exact. Gaussians are fitted by scikit-learn's ``GaussianMixture`` (from
    k-means, on standardized features); if there are gaps, by exact EM for what is observed (Ghahramani & Jordan, 1994),
    from k-means on rows that one Gaussian has filled. Bernoullis are fitted by exact EM, with or without gaps, from
    components that start between the average row and a random one.

    Parameters
    ----------
    n_components : int
        K.
    likelihood : {"auto", "gaussian", "bernoulli"} or BernoulliLikelihood
        p(x|k). "auto": Bernoulli for 0/1 data, else Gaussian; bytes (uint8) that aren't binarized are refused, since a
        density of real values says nothing of the probability of grey levels. With
        ``BernoulliLikelihood(binarize="sample")`` grey values are drawn as 0 or 1 anew for every EM step.
    covariance : {"full", "tied", "diagonal", "isotropic"}
        Of the Gaussians; isotropic on the scale of the standardized features.
    image_shape : tuple of int, optional
        (H, W), (H, W, C) or (C, H, W), for images given as flat rows.
    layout : {"auto", "image", "channels_first", "features"}
        The axes of a row, as in ``VAE``.
    reg_covar : float
        Added to the variances of the standardized features; keeps Gaussians from closing in on single rows. If there
        are gaps, the part of n that each component gets as imaginary rows of independent features, and each π_k gets
        one imaginary row: EM climbs the likelihood times this prior.
    smoothing : float
        Imaginary rows α, distributed like all rows together, that each Bernoulli component gets: what one never saw is
        improbable in it, not impossible. EM climbs the likelihood times this prior.
    tol : float
        In nats a row; EM stops when a step gains less (redrawn rows: ten steps).
    max_iter : int
        EM steps at most.
    n_init : int
        Starts; the one that ends highest is kept.
    random_state : int, RandomState or None
        For the starts, the binarizations and ``sample``.
    device : str
        Where Bernoullis are fitted and everything is scored; "auto" takes a GPU if there is one.
    verbose : int
        1 prints a line for each EM step on stderr (for Bernoullis, and Gaussians if there are gaps).

    Attributes
    ----------
    model_ : MixtureOfBernoullis, MixtureOfGaussians or MixtureOfDiagonalGaussians
    weights_ : ndarray, shape (K,)
        π.
    n_iter_ : int
        EM steps of the best start.
    converged_ : bool
    objective_ : float
        What EM maximized, in nats a row of the training data.
    schema_ : Schema
        What the rows are; ``schema_.likelihood`` is the one in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
    seed_ : int

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from lowerbound import Mixture
    >>> mixture = Mixture(3, random_state=0).fit(load_iris().data)
    >>> mixture.responsibilities(load_iris().data).shape
    (150, 3)
    """

    PARAMETERS = MIXTURE_PARAMETERS
    FITTED: ClassVar[tuple[str, ...]] = (*ExactEstimator.FITTED, "n_iter_", "converged_", "objective_")

    model_: Any
    objective_: float
    n_iter_: int
    converged_: bool

    def __init__(
        self, n_components: int = 5, *, likelihood: str | BernoulliLikelihood = "auto", covariance: str = "full",
        image_shape: Sequence[int] | None = None, layout: str = "auto", reg_covar: float = 1e-6, smoothing: float = 1.0,
        tol: float = 1e-3, max_iter: int = 200, n_init: int = 1, random_state: RandomState = None,
        device: str = "auto", verbose: int = 0,
    ) -> None:  # fmt: skip
        self.n_components = n_components
        self.likelihood = likelihood
        self.covariance = covariance
        self.image_shape = image_shape
        self.layout = layout
        self.reg_covar = reg_covar
        self.smoothing = smoothing
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

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
            If a parameter is out of range, or there are fewer rows than components; ``LikelihoodError`` if neither
            kind of component can describe the data.
        """
        warn_of_labels(self, y)
        X = self._start(X)
        rows = self._fitting(torch.float64).checked_rows(X)
        if len(rows) < self.n_components:
            raise ValueError(
                f"n_components={self.n_components} needs at least as many rows, but X has n_samples = {len(rows)}"
            )
        if self.schema_.likelihood == "gaussian":
            self._fit_gaussians(rows)
        else:
            self._fit_bernoullis(rows)
        return self

    @property
    def weights_(self) -> np.ndarray:
        """π, shape (K,)."""
        return self.model_.log_weights.exp().cpu().numpy()

    def responsibilities(self, X: Data) -> np.ndarray:
        """p(k|x): which component a row comes from, shape (n, K)."""
        on = self.fitted_.exactly().on(X)
        with on.evaluating():
            parts = [self.model_.responsibilities(batch) for batch in on.batches()]
        return torch.cat(parts).cpu().numpy()

    def _infer_schema(self, X: Any) -> Schema:
        is_auto = self.likelihood == "auto"
        if is_auto and choose_likelihood(X, None, self.image_shape, self.layout) == "discretized_logistic":
            raise LikelihoodError(
                "Mixture has Gaussian and Bernoulli components, and neither gives the probability of grey levels: use "
                "likelihood=BernoulliLikelihood('sample') to redraw them as 0 or 1, Factorized or VAE to model the "
                "grey levels, or likelihood='gaussian' if a density will do"
            )
        return super()._infer_schema(X)

    def _refuse_what_is_of_other_components(self) -> None:
        """Raise ``ValueError`` for parameters that the data's kind of component hasn't."""
        is_gaussian = self.schema_.likelihood == "gaussian"
        for name in ("smoothing",) if is_gaussian else ("covariance", "reg_covar"):
            if getattr(self, name) != self.PARAMETERS[name].default:
                kind, other = ("Gaussian", "Bernoulli") if is_gaussian else ("Bernoulli", "Gaussian")
                value = self.PARAMETERS[name].default
                raise ValueError(f"{name} is of {other} components, and these are {kind}: leave it {value!r}")

    def _assemble(self, generator: torch.Generator) -> None:
        K, schema = self.n_components, self.schema_
        self._refuse_what_is_of_other_components()
        if schema.likelihood == "bernoulli":
            self.model_ = MixtureOfBernoullis(K, schema.event_shape, self.smoothing)
        else:
            kind = MixtureOfGaussians if self.covariance in ("full", "tied") else MixtureOfDiagonalGaussians
            self.model_ = kind(K, schema.event_shape, torch.from_numpy(np.log(schema.unit)))

    # Gaussians

    def _fit_gaussians(self, rows: RowsInMemory) -> None:
        """On the features that aren't constant; these stay apart, as the schema says."""
        counted = torch.from_numpy(self.schema_.counted).flatten()
        if self.schema_.gaps:
            return self._fit_over_gaps(rows, counted.to(self._device()))
        mixture = GaussianMixture(
            self.n_components, covariance_type=IN_SCIKIT_LEARN.get(self.covariance, self.covariance),
            tol=self.tol, reg_covar=self.reg_covar,
            max_iter=self.max_iter, n_init=self.n_init, random_state=self._seed_of_start(0),
        )  # fmt: skip
        with config_context(array_api_dispatch=False):  # with it k-means can't be started from
            fitted = mixture.fit(rows.raw.flatten(1)[:, counted].numpy())
        self.model_.adopt(fitted, counted)
        self.model_.to(self._device())
        self._finish(fitted.lower_bound_ - self._log_units(rows), fitted.n_iter_, fitted.converged_)

    def _fit_over_gaps(self, rows: RowsInMemory, counted: Tensor) -> None:
        """EM for the observed entries, from groups of the rows as the Gaussian of all of them fills them."""

        def batches(noise: Noise | None = None) -> Iterator[Batch]:
            for batch in rows.batches(rows_at_once(len(counted), self.n_components)):
                yield Batch(batch.x.flatten(1)[:, counted], batch.mask.flatten(1)[:, counted], batch.index)

        def mixture(K: int) -> MixtureOfGaussians:
            shape, shrinkage = (int(counted.sum()),), self.reg_covar * len(rows)
            return MixtureOfGaussians(K, shape, None, shrinkage, self.covariance).to(self._device())

        def begin(start: int) -> None:
            seed = self._seed_of_start(start)
            groups = KMeans(self.n_components, n_init=1, random_state=seed).fit(filled)  # type: ignore[arg-type]
            model.log_weights.fill_(-math.log(self.n_components))
            model.start(torch.from_numpy(groups.cluster_centers_).to(one.means), one.covariances[0], one.average)

        one, model = mixture(1), mixture(self.n_components)
        try:
            em.fit(one, batches, self.tol, self.max_iter)
            filled = torch.cat([one.conditional_mean(batch) for batch in batches()]).cpu().numpy()
            best = self._climb(model, begin, batches)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise ValueError(
                f"the covariance of a component is singular: raise reg_covar (it is {self.reg_covar:g}), or have fewer "
                f"components than {self.n_components}, or covariance='diagonal'"
            ) from error
        self.model_.to(self._device()).extend(model, counted)
        self._finish(best.objective[-1] - self._log_units(rows), best.n_iter, best.converged)

    def _seed_of_start(self, start: int) -> int:
        return int(np.random.SeedSequence(self.seed_).generate_state(start + 1)[start])

    def _log_units(self, rows: RowsInMemory) -> float:
        """The mean over rows of Σ log s over observed entries, which a log-density in the user's units is lower by."""
        observed = 1.0 if rows.observed is None else rows.observed.double().mean(0).cpu().numpy()
        return float((np.log(self.schema_.unit) * observed)[self.schema_.counted].sum())

    # Bernoullis

    def _fit_bernoullis(self, rows: RowsInMemory) -> None:
        """Redrawn rows need patience, since their likelihood is noisy."""
        size = max(1, PASS_ELEMENTS // (self.n_components + self.model_.logits.shape[1]))
        patience = PATIENCE if self.schema_.binarize == "sample" else 1
        self.model_.to(self._device())
        average = self._average(rows, size)
        best = self._climb(
            self.model_,
            lambda start: self.model_.start(average, self._seeds(rows, start)),
            lambda noise: rows.batches(size, noise),
            patience,
        )
        self._finish(best.objective[-1], best.n_iter, best.converged)

    def _average(self, rows: RowsInMemory, size: int) -> Tensor:
        """The frequency of ones of each feature, smoothed, shape (F,)."""
        independent = IndependentBernoulli(self.schema_.event_shape).to(self._device())
        batches = rows.batches(size, self._fitting().noise("average"))
        independent.maximize(em.total(independent.statistics, batches))
        return independent.logits.sigmoid().flatten()

    def _seeds(self, rows: RowsInMemory, start: int) -> Batch:
        """Random rows, one for each component, no row twice."""
        order = torch.randperm(len(rows), generator=make_generator(self.seed_, f"start {start}"))
        chosen = rows.subset(order[: self.n_components])
        return next(iter(chosen.batches(self.n_components, self._fitting().noise("seeds"))))

    # both

    def _climb(
        self, model: Any, begin: Callable[[int], None], batches: Callable[[Noise], Iterable[Batch]], patience: int = 1
    ) -> em.Ascent:
        """EM from ``n_init`` starts; the model has the parameters of the one that ended highest."""
        runs: list[tuple[em.Ascent, dict[str, Tensor]]] = []
        for start in range(self.n_init):
            noise = self._fitting().noise(f"fit {start}")
            begin(start)
            ascent = em.fit(model, lambda noise=noise: batches(noise), self.tol, self.max_iter, patience, self._watch)
            runs.append((ascent, {name: tensor.clone() for name, tensor in model.state_dict().items()}))
        best, parameters = max(runs, key=lambda run: run[0].objective[-1])
        model.load_state_dict(parameters)
        if not best.converged:
            message = f"after max_iter={self.max_iter} steps EM still gained tol={self.tol:g} nats a row or more"
            warn(message, ConvergenceWarning)
        return best

    def _watch(self, n_iter: int, objective: float) -> None:
        if self.verbose:
            print(f"EM step {n_iter:4d}  {objective:.4f} nats a row", file=sys.stderr)

    def _finish(self, objective: float, n_iter: int, converged: bool) -> None:
        self.objective_, self.n_iter_, self.converged_ = float(objective), int(n_iter), bool(converged)
