"""The variational autoencoder as a scikit-learn estimator."""

from __future__ import annotations

import copy
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from lowerbound.core import Model
from lowerbound.data.batches import Rows
from lowerbound.data.schema import Schema, infer_schema
from lowerbound.distributions import Noise, make_generator
from lowerbound.estimators.assemble import assemble, choose_latent_dim
from lowerbound.estimators.parameters import VAE_PARAMETERS
from lowerbound.estimators.progress import ProgressWatch
from lowerbound.evaluate import Accounts, Estimate, accounts, importance_weighted, mean_over_rows
from lowerbound.inference import objectives
from lowerbound.inference.posteriors import Amortized
from lowerbound.tasks import generate, represent
from lowerbound.train import Settings, Training, Watch, fit

ROWS_TO_JUDGE_COLLAPSE = 2000


class CollapsedPosteriorWarning(UserWarning):
    """Most latent variables say nothing about the data."""


class VAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Variational autoencoder: p(x) = ∫ p(x|z) N(z; 0, I) dz, with p(x|z) and q(z|x) networks.

    Fits arrays of any number of dimensions: tables ``(n, features)``, images ``(n, H, W)`` or ``(n, H, W, C)``, and
    DataFrames of numbers. All log-densities are natural logarithms (nats), for one row, in the user's units.

    Parameters
    ----------
    latent_dim : int or "auto"
        Latent variables D; "auto" takes half the number of features, from 2 to 32.
    network : {"auto", "mlp", "conv"} or (encoder, decoder)
        "auto" takes convolutions for images of 16×16 and more. A pair of ``torch.nn.Module`` is copied: the
        encoder maps ``(B, *event)`` to features ``(B, h)`` of any width h, the decoder ``(N, D)`` to
        ``(N, *event)`` (``(N, P, *event)`` where the likelihood needs P parameters an entry). Images reach them as
        ``(B, C, H, W)``.
    hidden_layer_sizes : tuple of int
        Hidden units of the MLP encoder; the decoder's are reversed. ``()`` makes both linear.
    activation : {"silu", "relu", "tanh", "gelu", "elu", "softplus"}
        Of the MLP.
    likelihood : {"auto", "gaussian", "bernoulli", "categorical", "discretized_logistic"}
        p(x|z). "auto": Bernoulli for 0/1 data, discretized logistic over 256 levels for uint8, else Gaussian.
    scale : {"auto", "unit", "shared", "feature", "decoder"} or float
        σ of p(x|z). "unit" is 1 in the units that the model works in (a standard deviation where features are
        standardized); a number is in the user's units (levels, for the discretized logistic); the others are
        learned: one, one for each feature, or a network of z. "auto": "feature" for the Gaussian, "decoder" for the
        discretized logistic.
    min_scale : float
        Lower bound of a learned σ of the Gaussian, as a part of the feature's standard deviation; without one, two
        equal columns would send the density to infinity.
    standardize : bool or "auto"
        Standardize real-valued features inside; log p(x) stays in the user's units. "auto" is True.
    image_shape : tuple of int, optional
        (H, W) or (H, W, C), for images given as flat rows.
    covariance : {"diagonal", "isotropic", "full"}
        Of q(z|x).
    binarize : {None, "sample", "threshold"}
        Grey values (uint8, or real in [0, 1]) become 0 or 1: redrawn as Bernoulli for every minibatch, or cut at ½.
    n_samples : int
        Draws of z for each row and step.
    kl_weight : float
        Weight of the KL term; 1 is the lower bound.
    kl_warmup_steps : int
        Steps over which that weight rises from 0.
    free_bits : float
        Nats for each latent variable that the KL term leaves free.
    max_epochs : int or "auto"
        "auto": about 10,000 steps, from 30 to 500 epochs.
    batch_size : int or "auto"
        "auto": from 16 to 128 with the number of rows.
    lr : float
        Highest learning rate of AdamW.
    lr_schedule : {"cosine", "constant"}
        "cosine" rises for 5 % of the steps and falls to zero at ``max_epochs``.
    weight_decay : float
        Decoupled (Loshchilov & Hutter, 2019).
    early_stopping : bool
        Hold out ``validation_fraction`` of the rows; stop after ``n_iter_no_change`` epochs in which their bound did
        not rise by ``tol`` nats, and keep the weights of the best epoch.
    validation_fraction, n_iter_no_change, tol
        See ``early_stopping``.
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
        One record an epoch: ``epoch, step, elbo, reconstruction, kl, validation_elbo, seconds``; nats a row.
    n_active_units_ : int
        Latent variables whose posterior mean varies over the data (variance > 0.01).
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
    >>> vae = VAE(latent_dim=2, random_state=0).fit(load_iris().data)
    >>> vae.transform(load_iris().data).shape
    (150, 2)
    """

    def __init__(
        self, latent_dim="auto", *, network="auto", hidden_layer_sizes=(200, 200), activation="silu", likelihood="auto",
        scale="auto", min_scale=0.01, standardize="auto", image_shape=None, covariance="diagonal", binarize=None,
        n_samples=1, kl_weight=1.0, kl_warmup_steps=0, free_bits=0.0, max_epochs="auto", batch_size="auto", lr=1e-3,
        lr_schedule="cosine", weight_decay=0.0, early_stopping=True, validation_fraction=0.1, n_iter_no_change=20,
        tol=0.0, warm_start=False, random_state=None, device="auto", verbose=0,
    ):  # fmt: skip
        self.latent_dim = latent_dim
        self.network = network
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.likelihood = likelihood
        self.scale = scale
        self.min_scale = min_scale
        self.standardize = standardize
        self.image_shape = image_shape
        self.covariance = covariance
        self.binarize = binarize
        self.n_samples = n_samples
        self.kl_weight = kl_weight
        self.kl_warmup_steps = kl_warmup_steps
        self.free_bits = free_bits
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    # fitting

    def fit(self, X, y=None, *, watch: Watch | None = None, resume: tuple[dict[str, Tensor], dict] | None = None):
        """Fit to the rows of ``X``.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        y : ignored
        watch : Watch, optional
            Told after every step and epoch; may ask to stop.
        resume : tuple, optional
            A checkpoint, as ``Training.state`` gave it, of a run on the same data with the same parameters.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, or doesn't fit the data; ``LikelihoodError`` if the likelihood can't
            describe them.
        TrainingError
            If the loss stops being a number.
        """
        X = self._start(X, keep_weights=self.warm_start)
        training_rows, validation_rows = self._split(X)
        training = self._training(len(training_rows))
        if resume is not None:
            training.load_state(*resume)
        bar = ProgressWatch(len(training_rows), training.settings.max_epochs) if self.verbose and not watch else None
        try:
            fit(training, training_rows, validation_rows, watch or bar)
        finally:
            if bar is not None:
                bar.close()
        training.restore_best()
        return self._finish(training, training_rows)

    def partial_fit(self, X, y=None):
        """One pass over ``X``, at a constant learning rate and with nothing held out.

        The first call fixes what the rows are (likelihood, standardization); later calls keep it.
        """
        started = hasattr(self, "model_")
        X = self._start(X, keep_weights=started, reset=not started)
        rows = self._rows(X)
        training = getattr(self, "_training_state", None) if started else None
        if training is None:
            training = self._training(len(rows), max_epochs=0, lr_schedule="constant", early_stopping=False)
        training.settings = Settings(**{**vars(training.settings), "max_epochs": training.progress.epoch + 1})
        fit(training, rows)
        self._training_state = training
        return self._finish(training, rows)

    def _start(self, X, *, keep_weights: bool, reset: bool = True) -> np.ndarray:
        """Check everything; make the model unless the weights are to be kept."""
        for name, parameter in VAE_PARAMETERS.items():
            if not self._is_object(name):
                parameter.check(getattr(self, name))
        X = self._validate(X, reset=reset)
        if keep_weights and hasattr(self, "model_"):
            return X
        if len(X) < 2:
            raise ValueError(f"X has 1 sample (n_samples = {len(X)}): a density needs at least 2 rows")
        self.seed_ = seed_from(self.random_state)
        names = getattr(self, "feature_names_in_", None)
        self.schema_: Schema = infer_schema(
            X, likelihood=self.likelihood, binarize=self.binarize, standardize=self.standardize,
            image_shape=self.image_shape, names=None if names is None else list(names),
        )  # fmt: skip
        self.latent_dim_ = choose_latent_dim(self.schema_, self.latent_dim)
        generator = make_generator(self.seed_, "weights")
        self.model_: Model
        self.posterior_: Amortized
        self.model_, self.posterior_ = assemble(self.schema_, self.get_params(deep=False), self.latent_dim_, generator)
        self._n_features_out = self.latent_dim_
        self._training_state = None
        return X

    def _is_object(self, name: str) -> bool:
        """Parameters that may be objects, which the table of words and numbers doesn't know."""
        if name == "network":
            pair = self.network
            return isinstance(pair, (tuple, list)) and len(pair) == 2 and all(isinstance(m, torch.nn.Module) for m in pair)
        if name == "random_state":
            return isinstance(self.random_state, (np.random.RandomState, np.random.Generator))
        return name == "device"

    def _validate(self, X, *, reset: bool = False) -> np.ndarray:
        X = validate_data(self, X, reset=reset, allow_nd=True, dtype="numeric", ensure_min_samples=1)
        return X.astype(np.float32) if X.dtype == np.float16 else X

    def _device(self) -> torch.device:
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    def _rows(self, X: np.ndarray, dtype: torch.dtype = torch.float32) -> Rows:
        schema, device = self.schema_, self._device()
        mask = torch.from_numpy(schema.counted).to(device)
        return Rows(schema.store(X, dtype), lambda raw, noise: schema.prepare(raw, noise, dtype), mask, device)

    def _split(self, X: np.ndarray) -> tuple[Rows, Rows | None]:
        """Training rows, and rows held out for early stopping (none if there would be fewer than two of either)."""
        rows = self._rows(X)
        n_held_out = round(self.validation_fraction * len(X))
        if not self.early_stopping or n_held_out < 2 or len(X) - n_held_out < 2:
            return rows, None
        order = torch.randperm(len(X), generator=make_generator(self.seed_, "split"))
        return rows.subset(order[n_held_out:]), rows.subset(order[:n_held_out])

    def _training(self, n_rows: int, **overrides: Any) -> Training:
        batch_size = self.batch_size
        if batch_size == "auto":
            batch_size = min(128, max(16, 2 ** round(math.log2(max(1, n_rows) / 16))))
        max_epochs = self.max_epochs
        if max_epochs == "auto":
            max_epochs = min(500, max(30, 10_000 // math.ceil(n_rows / batch_size)))
        same = ("lr", "lr_schedule", "weight_decay", "early_stopping", "n_iter_no_change", "tol")
        settings = Settings(
            **{"max_epochs": max_epochs, "batch_size": batch_size, **{k: getattr(self, k) for k in same}, **overrides}
        )
        objective = objectives.elbo(self.n_samples, self.kl_weight, self.kl_warmup_steps, self.free_bits)
        return Training(self.model_, self.posterior_, objective, settings, self.seed_, self._device())

    def _finish(self, training: Training, rows: Rows):
        self.history_ = training.progress.history
        self.n_iter_ = training.progress.epoch
        few = rows.subset(torch.arange(min(len(rows), ROWS_TO_JUDGE_COLLAPSE)))
        noise = Noise(make_generator(self.seed_, "collapse", self._device()))
        self.n_active_units_ = accounts(self.model_, self.posterior_, few, noise).active_units
        if self.n_active_units_ < max(1, 0.1 * self.latent_dim_):
            warnings.warn(
                f"the posterior has collapsed: {self.n_active_units_} of {self.latent_dim_} latent variables are active. "
                f"Set kl_warmup_steps (a tenth of the steps) or free_bits (0.1), train longer, or ask for fewer "
                f"latent variables",
                CollapsedPosteriorWarning,
                stacklevel=3,
            )
        return self

    def _exactly(self, X) -> tuple[Model, Amortized, Rows, Noise]:
        """Everything in float64, with one noise for all rows: a row's number depends on that row alone."""
        check_is_fitted(self)
        X = self._validate(X)
        model, posterior = copy.deepcopy(self.model_).double(), copy.deepcopy(self.posterior_).double()
        noise = Noise(make_generator(self.seed_, "evaluation", self._device()), shared=True)
        return model.to(self._device()), posterior.to(self._device()), self._rows(X, torch.float64), noise

    # representing

    def transform(self, X) -> np.ndarray:
        """Posterior means, shape (n, D); deterministic."""
        return self.encode(X)[0]

    def encode(self, X, draw: bool = False, n_draws: int = 1, random_state=None):
        """q(z|x) of every row.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        draw : bool
            Return draws of z, shape (n, D), or (n, n_draws, D) if ``n_draws`` > 1.
        n_draws : int
        random_state : int, optional
            For the draws; the estimator's if None.

        Returns
        -------
        mean : ndarray, shape (n, D)
        scale : ndarray, shape (n, D), or the Cholesky factor (n, D, D) of a full covariance
        """
        _, posterior, rows, noise = self._exactly(X)
        if draw:
            own = Noise(self._generator(random_state, "encode"))
            codes = represent.draw_codes(posterior, rows, own, n_draws).cpu().numpy()
            return codes[:, 0] if n_draws == 1 else codes
        mean, scale = represent.encode(posterior, rows, noise, full=self.covariance == "full")
        return mean.cpu().numpy(), scale.cpu().numpy()

    # generating

    def inverse_transform(self, Z) -> np.ndarray:
        """E[x|z] for codes ``Z`` (n, D), in the user's units and shape (categories: the most probable level)."""
        return self.decode(Z)

    def decode(self, Z, draw: bool = False, random_state=None) -> np.ndarray:
        """x for codes ``Z`` (n, D) or (D,): E[x|z], or one draw from p(x|z) for each row of ``Z``."""
        check_is_fitted(self)
        Z = np.asarray(Z, np.float64)
        if Z.shape[-1:] != (self.latent_dim_,) or Z.ndim > 2:
            raise ValueError(f"codes have shape (n, {self.latent_dim_}), got {Z.shape}")
        z = torch.from_numpy(np.atleast_2d(Z)).float().to(self._device())
        noise = Noise(self._generator(random_state, "decode")) if draw else None
        return self.schema_.restore(generate.decode(self.model_, z, noise), expected=not draw)

    def reconstruct(self, X) -> np.ndarray:
        """E[x|z] at the posterior mean z of every row."""
        return self.decode(self.transform(X))

    def traverse(self, start, dimension: int, values) -> np.ndarray:
        """E[x|z] as one latent variable takes each of ``values`` and the others stay.

        Parameters
        ----------
        start : array-like
            One row of data (*row), or one code (D,).
        dimension : int
            From 0 to D − 1.
        values : array-like, shape (m,)

        Returns
        -------
        ndarray, shape (m, *row)
        """
        check_is_fitted(self)
        if not 0 <= dimension < self.latent_dim_:
            raise ValueError(f"dimension must be from 0 to {self.latent_dim_ - 1}, got {dimension}")
        start = np.asarray(start)
        is_code = start.shape == (self.latent_dim_,) and start.shape != self.schema_.row_shape
        code = start if is_code else self.transform(start.reshape(1, *self.schema_.row_shape))[0]
        codes = np.repeat(code[None].astype(np.float64), len(values), 0)
        codes[:, dimension] = values
        return self.decode(codes)

    def sample(self, n_samples: int = 1, draw: bool = True, random_state=None) -> np.ndarray:
        """``n_samples`` new rows: draws from p(x|z), or its mean (``draw=False``), with z from the prior."""
        check_is_fitted(self)
        noise = Noise(self._generator(random_state, "sample"))
        return self.schema_.restore(generate.sample(self.model_, n_samples, noise, draw=draw), expected=not draw)

    # scoring

    def elbo(self, X, n_samples: int = 16) -> np.ndarray:
        """The evidence lower bound of every row, in nats, shape (n,)."""
        return accounts(*self._exactly(X), n_samples).elbo.numpy()

    def score_samples(self, X, n_importance: int = 64) -> np.ndarray:
        """log p(x) of every row by ``n_importance`` samples (a lower bound in expectation), in nats, shape (n,).

        Computed in float64 with one seeded noise for all rows, so that a row's score depends neither on its
        neighbors nor on their order; grey values under ``binarize="sample"`` are scored on one fixed binarization.
        """
        model, posterior, rows, noise = self._exactly(X)
        return importance_weighted(model, posterior, rows, noise, n_importance)[0].numpy()

    def score(self, X, y=None) -> float:
        """Mean of ``score_samples``."""
        return float(self.score_samples(X).mean())

    def log_likelihood(self, X, n_importance: int = 5000, progress=lambda n: None) -> Estimate:
        """Mean log p(x) over rows by importance sampling from q (Burda et al., 2016), with independent noise.

        Returns
        -------
        Estimate
            A lower bound in expectation; the standard error over rows holds the Monte-Carlo part.
        """
        check_is_fitted(self)
        rows, noise = self._rows(self._validate(X)), Noise(make_generator(self.seed_, "log_likelihood", self._device()))
        log_p, ess = importance_weighted(self.model_, self.posterior_, rows, noise, n_importance, progress)
        return mean_over_rows(log_p, "lower", n_importance, ess.mean().item())

    def accounts(self, X, n_samples: int = 1) -> Accounts:
        """The lower bound's parts for every row, with independent noise: reconstruction, KL, posterior means."""
        check_is_fitted(self)
        noise = Noise(make_generator(self.seed_, "accounts", self._device()))
        return accounts(self.model_, self.posterior_, self._rows(self._validate(X)), noise, n_samples)

    def _generator(self, random_state, purpose: str) -> torch.Generator:
        seed = seed_from(self.random_state if random_state is None else random_state)
        return make_generator(seed, purpose, self._device())

    # keeping

    def save(self, path: str | Path) -> None:
        """Write a folder of safetensors and JSON, atomically; ``lowerbound.load`` reads it."""
        from lowerbound.estimators.saving import save

        check_is_fitted(self)
        save(self, Path(path))

    def __getstate__(self) -> dict:
        state = super().__getstate__()
        return {**state, "_training_state": None} if "_training_state" in state else state


def seed_from(random_state) -> int:
    """A seed: the number itself, the next one of a generator, or a fresh one for None."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31 - 1))
    return int(random_state)
