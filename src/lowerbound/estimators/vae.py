"""The variational autoencoder as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import nn

from lowerbound.assembly.asked import Asked
from lowerbound.assembly.hierarchy import assemble_levels
from lowerbound.assembly.vae import (
    assemble,
    choose_latent_dim,
    choose_objective,
    choose_posterior,
    start_from_rows,
    training_posterior,
)
from lowerbound.core import Objective, Posterior
from lowerbound.data.batches import Rows
from lowerbound.data.columns.schema import ColumnSchema
from lowerbound.data.context import ContextSchema, class_frequencies
from lowerbound.estimators.arguments import Columns, Data
from lowerbound.estimators.latent import LatentEstimator
from lowerbound.estimators.tables import MixedColumns
from lowerbound.models import ladder
from lowerbound.models.vae import LatentModel
from lowerbound.parameters.likelihoods import Likelihood
from lowerbound.parameters.parts import (
    ELBO,
    IWAE,
    MCEM,
    MLP,
    Adam,
    Amortized,
    Conv,
    EarlyStopping,
    FlowPosterior,
    Ladder,
    MeanField,
    SampledELBO,
    Shared,
)
from lowerbound.parameters.priors import Prior
from lowerbound.parameters.seed import RandomState
from lowerbound.parameters.vae import VAE_PARAMETERS
from lowerbound.tasks.classify import ClassProbabilities, class_probabilities


def _is_given_a_class(vae: VAE) -> bool:
    """True if the model was fitted given a class, which it can predict; else raises ``AttributeError``."""
    try:
        vae._class_column()
    except ValueError as error:
        raise AttributeError(str(error)) from error
    return True


class VAE(MixedColumns, LatentEstimator):
    r"""Variational autoencoder: p(x) = ∫ p(x|z) N(z; 0, I) dz, with p(x|z) and q(z|x) networks.

    Fits arrays of any number of dimensions: tables ``(n, features)``, images ``(n, H, W)`` or ``(n, H, W, C)``, and
    DataFrames of numbers. All log-densities are natural logarithms (nats), for one row, in the user's units.

    A parameter is a number, a word, or a part: a few parameters that belong together, such as ``VampPrior(200)``. A
    word means the part with its defaults: ``prior="vamp"`` is ``prior=VampPrior()``. What can't go together is refused.

    Parameters
    ----------
    latent_dim : int, "auto", tuple of int or Ladder
        Latent variables D. "auto" takes half the number of features, from 2 to 32; of more than 64 features as many
        as there are directions, up to 256, in which rows vary more than independent features would (Horn, 1965).
        Several numbers make a chain of levels of so many latent variables each, from the data up, inferred from level
        to level (Burda et al., 2016).
        ``Ladder(3, 8)`` makes levels that are inferred from the top down.
    network : {"auto", "mlp", "conv"}, MLP, Conv or (encoder, decoder)
        "auto" takes convolutions for images of 16×16 and more. A pair of ``torch.nn.Module`` is copied: the
        encoder maps ``(B, *event)`` to features ``(B, h)`` of any width h, the decoder ``(N, D)`` to
        ``(N, *event)`` (``(N, P, *event)`` where the likelihood needs P parameters an entry). Images reach them as
        ``(B, C, H, W)``.
    likelihood : {"auto", "gaussian", "bernoulli", "categorical", "discretized_logistic", "columns"} or its part
        p(x|z): ``GaussianLikelihood``, ``BernoulliLikelihood``, ``CategoricalLikelihood``, ``DiscretizedLogistic`` or
        ``ColumnLikelihoods``. "auto": Bernoulli for 0/1 data, discretized logistic over 256 grey levels for uint8, one
        for each column for tables of several kinds, else Gaussian.
    columns : {None, "auto"}, mapping, sequence or str
        How a table of several kinds is described: each column by a density or by probabilities of its own
        (``ColumnSchema``). None does so for DataFrames with text, categories or dates, "auto" for every table. A
        mapping from names to kinds (or to fields of the schema), a sequence of schemas, or the name of a JSON file
        with either, says what isn't to be inferred.
    image_shape : tuple of int, optional
        (H, W), (H, W, C) or (C, H, W), for images given as flat rows.
    layout : {"auto", "image", "channels_first", "features"}
        The axes of a row (or of ``image_shape``, for flat rows). "image": (H, W) or (H, W, C). "channels_first":
        (C, H, W); flat rows are then planar, one channel after another. "features": no image, whatever the shape.
        "auto" takes a last axis of 1, 3 or 4 for channels, else a first axis of 1 or 3, and (H, W) for an image if the
        values are grey levels or vary smoothly; what could be something else is refused with a question.
    posterior : {"amortized", "flow", "mean_field", "shared", "mcem"} or its part
        Where q(z|x) comes from: an encoder, that gives a Gaussian or one that a flow bends; numbers m and s of every
        row's own, with no encoder; one q for all rows; or a Markov chain for every row (Monte-Carlo EM):
        ``Amortized``, ``FlowPosterior``, ``MeanField``, ``Shared`` or ``MCEM``.
    prior : {"normal", "mixture", "vamp", "flow", "context"} or its part
        p(z): N(0, I), or learned: ``NormalPrior``, ``MixturePrior``, ``VampPrior``, ``FlowPrior``; ``ContextPrior`` is
        p(z|c) of a model that is given a context.
    objective : {"elbo", "elbo_sampled", "iwae"}, ELBO, SampledELBO or IWAE
        The bound that is raised, and how.
    optimizer : {"adam"} or Adam
        The steps of training: learning rate, weight decay, average of the weights, precision.
    early_stopping : bool or EarlyStopping
        Hold out rows, stop when their bound no longer rises, and keep the weights of the best epoch.
    max_epochs : int or "auto"
        "auto": about 10,000 steps, from 30 to 500 epochs.
    batch_size : int or "auto"
        "auto": from 16 to 128 with the number of rows.
    warm_start : bool
        ``fit`` continues from the weights there are.
    random_state : int, RandomState or None
        With the same seed, the same result. Nothing global is touched.
    device : str
        "auto" takes a GPU if there is one.
    verbose : int
        1 shows progress on stderr, 2 also what "auto" chose.

    Attributes
    ----------
    model_ : LatentModel
        p(z) and p(x|z).
    posterior_ : Amortized
        q(z|x).
    schema_ : Schema
        What the rows are; ``schema_.likelihood`` is the one in use.
    history_ : list of dict
        One record an epoch: ``epoch, step, elbo, reconstruction, kl, validation_elbo, n_skipped, seconds``; nats
        a row. ``n_skipped`` counts steps without a finite loss or gradient, which are skipped.
    n_active_units_ : int
        Latent variables whose posterior mean varies over the data (variance > 0.01).
    acceptance_ : float
        Part of the moves of the Markov chains that were accepted, at the end of a fit with ``posterior="mcem"``.
    latent_dim_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray of str
    seed_ : int
        What ``random_state`` stood for.

    References
    ----------
    Kingma & Welling, 2014, arXiv:1312.6114. Rezende, Mohamed & Wierstra, 2014, arXiv:1401.4082.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from lowerbound import VAE
    >>> vae = VAE(latent_dim=2, max_epochs=20, random_state=0).fit(load_iris().data)
    >>> vae.transform(load_iris().data).shape
    (150, 2)
    """

    PARAMETERS = VAE_PARAMETERS

    acceptance_: float

    def __init__(
        self,
        latent_dim: int | str | Sequence[int] | Ladder = "auto",
        *,
        network: str | MLP | Conv | tuple[nn.Module, nn.Module] = "auto",
        likelihood: str | Likelihood = "auto",
        columns: Columns = None,
        image_shape: Sequence[int] | None = None,
        layout: str = "auto",
        posterior: str | Amortized | FlowPosterior | MeanField | Shared | MCEM = "amortized",
        prior: str | Prior = "normal",
        objective: str | ELBO | SampledELBO | IWAE = "elbo",
        optimizer: str | Adam = "adam",
        early_stopping: bool | EarlyStopping = True,
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        warm_start: bool = False,
        random_state: RandomState = None,
        device: str | torch.device = "auto",
        verbose: int = 0,
    ) -> None:
        self.latent_dim = latent_dim
        self.network = network
        self.likelihood = likelihood
        self.columns = columns
        self.image_shape = image_shape
        self.layout = layout
        self.posterior = posterior
        self.prior = prior
        self.objective = objective
        self.optimizer = optimizer
        self.early_stopping = early_stopping
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def asked(self) -> Asked:
        """The parts that the model is made from; those with their defaults that words stand for."""
        parts: dict[str, Any] = {each.name: self._part(each.name) for each in fields(Asked)}
        sizes = parts["latent_dim"]
        return Asked(**{**parts, "latent_dim": tuple(sizes) if isinstance(sizes, list) else sizes})

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self.asked().check()
        self.asked().check_context(is_given=self.context_ is not None)
        if self.context_ is not None and self._part("optimizer").compile:
            raise ValueError("Adam(compile=True) can't be given a context: leave compile=False")

    def _context_schema(self, context: Any) -> ContextSchema:
        return ContextSchema.infer(context)

    model_: LatentModel | ladder.Ladder
    posterior_: Posterior
    latent_dim_: int

    def _assemble(self, generator: torch.Generator) -> None:
        asked, n_context = self.asked(), 0 if self.context_ is None else self.context_.n_numbers
        if asked.has_levels:
            self.model_, self.posterior_ = assemble_levels(self.schema_, asked, generator, n_context)
            self.latent_dim_ = self.model_.latent_dim
            return
        assert isinstance(asked.latent_dim, (int, str))
        self.latent_dim_ = choose_latent_dim(self.schema_, asked.latent_dim)
        model, amortized = assemble(self.schema_, asked, self.latent_dim_, generator, n_context)
        self.posterior_ = choose_posterior(asked, model, amortized)
        self.model_ = model  # pyright: ignore[reportIncompatibleVariableOverride]

    # the class of a row, where the context is one

    @property
    def classes_(self) -> np.ndarray:
        """The classes that the model can be given, in order, shape (K,)."""
        _is_given_a_class(self)
        column = self._class_column()
        classes = np.unique(np.asarray(column.categories))
        return classes.astype(column.dtype) if column.dtype.startswith(("int", "uint")) else classes

    def class_probabilities(self, X: Data, n_importance: int = 64) -> ClassProbabilities:
        """p(c|x) ∝ p(x|c) p(c) of a model that was fitted given a class, with standard errors.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        n_importance : int
            Samples of q(z|x, c) for each row and class.

        Raises
        ------
        ValueError
            If the context is no class.
        """
        column = self._class_column()
        each = [self.given(c).fitted_.exactly().on(X, "class") for c in self.classes_]
        log_prior = np.log(class_frequencies(column)[np.argsort(np.asarray(column.categories))])
        return class_probabilities(each, log_prior, n_importance)

    @available_if(_is_given_a_class)
    def predict_proba(self, X: Data) -> np.ndarray:
        """p(c|x) of every row and class, shape (n, K); as ``class_probabilities``.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        """
        return self.class_probabilities(X).probability

    @available_if(_is_given_a_class)
    def predict(self, X: Data) -> np.ndarray:
        """The most probable class of every row, shape (n,).

        Parameters
        ----------
        X : array-like, shape (n, *row)
        """
        return self.classes_[self.predict_proba(X).argmax(1)]

    def _class_column(self) -> ColumnSchema:
        check_is_fitted(self)
        columns = () if self.context_ is None else self.context_.columns
        if len(columns) != 1 or not columns[0].has_categories:
            raise ValueError("the model isn't given a class: fit it with fit(X, context=classes)")
        return columns[0]

    def _has_full_covariance(self) -> bool:
        return self.asked().covariance == "full"

    def _fewest_active(self) -> float:
        """One q for all rows has no active units; a level may stay empty."""
        asked = self.asked()
        if isinstance(asked.posterior, Shared):
            return 0
        return 1 if asked.has_levels else max(1, 0.1 * self.latent_dim_)

    def _objective(self) -> Objective:
        return choose_objective(self.asked())

    def _likelihood(self) -> Likelihood | str:
        return self.asked().likelihood

    def _kl_weight(self) -> float:
        part = self.asked().objective
        return 1.0 if isinstance(part, IWAE) else min(1.0, part.kl_weight)

    def _begin(self, rows: Rows) -> None:
        if isinstance(self.model_, LatentModel):
            start_from_rows(self.model_, rows, self.seed_, self._fitting().noise("pseudo-inputs"))

    def _check_partial_fit(self) -> None:
        posterior = self.asked().posterior
        if isinstance(posterior, (MeanField, MCEM)):
            raise ValueError(
                f"posterior={posterior.kind!r} keeps numbers for every row, so it has to see all rows in one fit: "
                f"use fit, or posterior='amortized'"
            )

    def _training_posterior(self, n_rows: int) -> Posterior:
        return training_posterior(self.asked(), self.model_, self.posterior_, n_rows)
