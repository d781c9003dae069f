"""What every estimator of p(x) shares: checking, the schema, seeds, sampling, scoring, saving.

``DensityEstimator`` is for all of them; ``GradientEstimator`` adds what the one training loop needs.
"""

from __future__ import annotations

import copy
import math
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from lowerbound.checkpoints import Checkpoints, Saving
from lowerbound.core import Model, Objective
from lowerbound.data.batches import Rows, RowsInMemory
from lowerbound.data.dataset import check_finite
from lowerbound.data.gaps import mask_gaps, naming_words, without_na
from lowerbound.data.locks import locked
from lowerbound.data.schema import Schema, infer_schema
from lowerbound.data.sources import Source, as_source
from lowerbound.data.stream import streamed
from lowerbound.distributions import Noise, make_generator
from lowerbound.estimators.parameters import Parameter
from lowerbound.estimators.progress import ProgressWatch
from lowerbound.evaluate import Estimate, exact_log_prob, mean_over_rows
from lowerbound.inference import objectives
from lowerbound.parallel import current
from lowerbound.tasks import generate
from lowerbound.train import Settings, Together, Training, TrainingError, Watch, fit


class DensityEstimator(BaseEstimator):
    """A model of p(x) behind scikit-learn's conventions.

    A subclass lists its parameters in ``PARAMETERS``, makes its modules from ``schema_`` in ``_assemble``, fits them
    in ``fit``, and scores rows in ``score_samples`` and ``log_likelihood``. What must come back after ``load`` is in
    the modules, or named in ``FITTED``. Entries that are NaN, None or NA, or masked in a ``numpy.ma.MaskedArray``, were
    not observed: they are in no statistic and in no density. ``GAPS`` says where a subclass can do without values.
    """

    PARAMETERS: ClassVar[dict[str, Parameter]]
    FITTED: ClassVar[tuple[str, ...]] = ("seed_", "n_features_in_")
    STREAMS: ClassVar[bool] = False  # a `Source` can be given, whose rows are read when they are needed
    GAPS: ClassVar[Literal["anywhere", "somewhere", "nowhere"]] = "anywhere"

    random_state: Any
    schema_: Schema
    model_: Model
    seed_: int

    def _assemble(self, generator: torch.Generator) -> None:
        """Make ``model_`` (and a posterior, where there is one) from ``schema_``, weights from ``generator``."""
        raise NotImplementedError(f"{type(self).__name__} does not say how its model is made")

    def _modules(self) -> dict[str, nn.Module]:
        """What is saved, by name."""
        return {"model": self.model_}

    def _start(self, X, *, keep_weights: bool = False, reset: bool = True) -> Any:
        """Check everything; make the model unless the weights are to be kept."""
        for name, parameter in self.PARAMETERS.items():
            if not self._is_object(name):
                parameter.check(getattr(self, name))
        X = self._validate(X, reset=reset)
        if keep_weights and hasattr(self, "model_"):
            return X
        self.n_fits_ = 0
        if len(X) < 2:
            raise ValueError(f"X has 1 sample (n_samples = {len(X)}): a density needs at least 2 rows")
        if isinstance(X, np.ma.MaskedArray) and not X.count():
            raise ValueError("every value of X is missing: there is nothing to fit")
        self.seed_ = self._choose_seed()
        names = getattr(self, "feature_names_in_", None)
        self.schema_ = self._infer_schema(X, None if names is None else list(names))
        self._assemble(make_generator(self.seed_, "weights"))
        return X

    def _choose_seed(self) -> int:
        return seed_from(self.random_state)

    def _infer_schema(self, X: Any, names: list[str] | None) -> Schema:
        asked = {
            k: getattr(self, k) for k in ("likelihood", "binarize", "standardize", "image_shape") if hasattr(self, k)
        }
        return infer_schema(X, names=names, **asked)

    def _is_object(self, name: str) -> bool:
        """Parameters that may be objects, which the table of words and numbers doesn't know."""
        is_generator = isinstance(self.random_state, (np.random.RandomState, np.random.Generator))
        return name == "device" or (name == "random_state" and is_generator)

    def _validate(self, X, *, reset: bool = False) -> Any:
        """An array, checked, masked where it has gaps; of a source only a few rows, the others when they are read."""
        X = as_source(X)
        if isinstance(X, Source):
            if not self.STREAMS:
                raise ValueError(f"{type(self).__name__} needs all rows in memory: give an array, or part of them")
            self._validate(X.spread(2).X, reset=reset)
            return X
        mask = np.ma.getmaskarray(X) if isinstance(X, np.ma.MaskedArray) else None
        checks = {"reset": reset, "allow_nd": True, "dtype": "numeric", "ensure_all_finite": False}
        with naming_words(X):
            X = np.asarray(validate_data(self, without_na(X), **checks))
        names = getattr(self, "feature_names_in_", None)
        place = None if names is None else lambda row, column: f"row {row}, column {str(names[column])!r}"
        check_finite(X, "X", place, allow_nan=self.GAPS != "nowhere")
        return self._mask_gaps(X.astype(np.float32) if X.dtype == np.float16 else X, mask)

    def _mask_gaps(self, X: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        X = mask_gaps(X, mask)
        if self.GAPS == "nowhere" and isinstance(X, np.ma.MaskedArray):
            raise ValueError(f"{type(self).__name__} needs complete data, and X has missing values: drop or fill them")
        return X

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.GAPS == "anywhere"
        return tags

    def _device(self) -> torch.device:
        device = getattr(self, "device", "cpu")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            return torch.empty(0, device=device).device  # with its number: of several GPUs the current one
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"device={device!r} can't be used on this machine: use 'cpu', or 'auto'") from error

    def _rows(self, X: Any, dtype: torch.dtype = torch.float32) -> Any:
        """The rows of an array in memory, or those of a source as they are read."""
        schema, device = self.schema_, self._device()
        mask = torch.from_numpy(schema.counted).to(device)

        def hold(rows: np.ndarray, grey_levels: int | None = None) -> RowsInMemory:
            raw, observed = schema.store(rows, dtype, grey_levels), schema.observed(rows)
            return RowsInMemory(raw, lambda raw, noise: schema.prepare(raw, noise, dtype), mask, device, observed)

        if not isinstance(X, Source):
            return hold(X)
        grey_levels = schema.grey_levels if X.dtype.name == schema.dtype else None
        return streamed(
            X, lambda rows: hold(self._mask_gaps(X.as_array(rows)), grey_levels), schema.event_shape, device
        )

    def _noise(self, purpose: str, *, shared: bool = False) -> Noise:
        """Noise that is the same at every call."""
        return Noise(make_generator(self.seed_, purpose, self._device()), shared)

    def _fresh_noise(self, random_state, purpose: str) -> Noise:
        """Noise from the seed that the caller gives, else from the estimator's."""
        seed = seed_from(self.random_state if random_state is None else random_state)
        return Noise(make_generator(seed, purpose, self._device()))

    def score_samples(self, X) -> np.ndarray:
        """log p(x) of every row, in nats, shape (n,)."""
        raise NotImplementedError(f"{type(self).__name__} does not score rows")

    def log_likelihood(self, X) -> Estimate:
        """Mean of log p(x) over rows, in nats, with its standard error."""
        raise NotImplementedError(f"{type(self).__name__} does not score data")

    def score(self, X, y=None) -> float:
        """Mean of ``score_samples``, in nats a row."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, draw: bool = True, random_state=None) -> np.ndarray:
        """New rows.

        Parameters
        ----------
        n_samples : int
        draw : bool
            Draws from p(x|z) with z from the prior; its mean E[x|z] if False.
        random_state : int, optional
            The estimator's if None: with a fixed one, two calls give the same rows.

        Returns
        -------
        ndarray, shape (n_samples, *row)
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, got {n_samples}")
        noise = self._fresh_noise(random_state, "sample")
        return self.schema_.restore(generate.sample(self.model_, n_samples, noise, draw=draw), expected=not draw)

    def save(self, path: str | Path) -> None:
        """Write a folder of safetensors and JSON, atomically; ``lowerbound.load`` reads it."""
        from lowerbound.estimators.saving import save

        check_is_fitted(self)
        save(self, Path(path))


class ExactEstimator(DensityEstimator):
    """A model that knows its log p(x) exactly."""

    def score_samples(self, X) -> np.ndarray:
        """log p(x) of every row, exact, in nats and the user's units, shape (n,).

        Computed in float64; grey values under ``binarize="sample"`` are scored on one fixed binarization.
        """
        check_is_fitted(self)
        rows = self._rows(self._validate(X), torch.float64)
        model = copy.deepcopy(self.model_).double()
        return exact_log_prob(model, rows, self._noise("evaluation", shared=True)).numpy()

    def log_likelihood_rows(self, X) -> np.ndarray:
        """log p(x) of every row, exact, shape (n,); like ``score_samples``, but binarizations are independent."""
        check_is_fitted(self)
        rows = self._rows(self._validate(X), torch.float64)
        return exact_log_prob(copy.deepcopy(self.model_).double(), rows, self._noise("log_likelihood")).numpy()

    def log_likelihood(self, X) -> Estimate:
        """Mean log p(x) over rows, exact, with its standard error; binarizations are independent."""
        return mean_over_rows(torch.from_numpy(self.log_likelihood_rows(X)), "exact")


class GradientEstimator(DensityEstimator):
    """Fits a model by the one training loop."""

    FITTED = (*DensityEstimator.FITTED, "n_iter_", "n_fits_", "history_")
    STREAMS = True
    n_fits_ = 0  # of models that were saved before it was counted

    max_epochs: int | str
    batch_size: int | str
    early_stopping: bool
    validation_fraction: float
    warm_start: bool
    verbose: int

    def _posterior(self, n_rows: int) -> nn.Module:
        """q(z|x) for ``n_rows`` rows to be fitted; a model without latent variables needs none."""
        return nn.Identity()

    def _objective(self) -> Objective:
        """What is minimized: −log p(x) where there are no latent variables."""
        return objectives.elbo()

    def fit(
        self, X, y=None, *, checkpoint: str | Path | None = None, watch: Watch | None = None,
        resume: tuple[dict[str, Tensor], dict] | None = None,
    ):  # fmt: skip
        """Fit to the rows of ``X``.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        y : ignored
        checkpoint : path, optional
            A folder that is told now and then where training stands. If it says so already, training goes on from
            there, as if it had never been stopped; the data, the parameters and the seed must be the same.
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
            If too many steps in a row have no finite loss or gradient; the last good weights are kept.
        FolderInUseError
            If another process trains with the same ``checkpoint``.
        """
        X = self._start(X, keep_weights=self.warm_start)
        training_rows, validation_rows = self._split(X)
        if self.n_fits_ == 0:
            self._begin(training_rows)
        training = self._training(len(training_rows))
        self.n_fits_ += 1
        checkpoints = None if checkpoint is None else Checkpoints(Path(checkpoint))
        first = current().is_first
        with locked(checkpoints.folder) if checkpoints and first else nullcontext():
            if checkpoints is not None:
                resume = checkpoints.load_for(training)
            if resume is not None:
                training.load_state(*resume)
            if self.verbose >= 2:
                print(self._choices(training.settings), file=sys.stderr)
            bar = ProgressWatch() if self.verbose and not watch and first else None
            saving = Saving(checkpoints) if checkpoints and first else None
            try:
                watches = Together(*(each for each in (watch, bar, saving) if each))
                fit(training, training_rows, validation_rows, watches)
            except TrainingError:
                if training.progress.best_epoch:
                    self._end(training, training_rows)
                raise
            finally:
                if bar is not None:
                    bar.close()
        return self._end(training, training_rows)

    def _end(self, training: Training, rows: Rows):
        """With the weights that were kept."""
        training.restore_best()
        self._training_state = None
        return self._finish(training, rows)

    def partial_fit(self, X, y=None):
        """One pass over ``X``, at a constant learning rate and with nothing held out.

        The first call fixes what the rows are (likelihood, standardization); later calls keep it.
        """
        self._check_partial_fit()
        started = hasattr(self, "model_")
        X = self._start(X, keep_weights=started, reset=not started)
        rows = self._rows(X)
        training: Training | None = getattr(self, "_training_state", None) if started else None
        if training is None:
            if self.n_fits_ == 0:
                self._begin(rows)
            training = self._training(len(rows), max_epochs=0, lr_schedule="constant", early_stopping=False)
            self.n_fits_ += 1
        training.settings = replace(training.settings, max_epochs=training.progress.epoch + 1)
        fit(training, rows)
        self._training_state = training
        return self._finish(training, rows)

    def _choices(self, settings: Settings) -> str:
        """What "auto" stood for, in a line."""
        chosen = {name.removesuffix("_"): value for name, value in vars(self).items() if name == "latent_dim_"}
        chosen |= {"likelihood": self.schema_.likelihood, "batch_size": settings.batch_size}
        return ", ".join(f"{k}={v}" for k, v in {**chosen, "max_epochs": settings.max_epochs}.items())

    def _begin(self, rows: Rows) -> None:
        """Look at the training rows once, before the first fit of new weights."""

    def _check_partial_fit(self) -> None:
        """Raise where a pass over some of the rows makes no sense."""

    def _split(self, X: np.ndarray | Source) -> tuple[Rows, Rows | None]:
        """Training rows, and rows held out for early stopping (none if there would be fewer than two of either)."""
        rows = self._rows(X)
        if not self.early_stopping:
            return rows, None
        return rows.split(self.validation_fraction, make_generator(self.seed_, "split"))

    def _training(self, n_rows: int, **overrides: Any) -> Training:
        automatic_batch = min(128, max(16, 2 ** round(math.log2(max(1, n_rows) / 16))))
        batch_size = automatic_batch if self.batch_size == "auto" else int(self.batch_size)
        automatic_epochs = min(500, max(30, 10_000 // math.ceil(n_rows / batch_size)))
        max_epochs = automatic_epochs if self.max_epochs == "auto" else int(self.max_epochs)
        chosen: dict[str, Any] = {"max_epochs": max_epochs, "batch_size": batch_size}
        for name in ("lr", "lr_schedule", "weight_decay", "early_stopping", "n_iter_no_change", "tol"):
            chosen[name] = getattr(self, name)
        own = ("ema", "max_gradient_norm", "compile", "precision")
        chosen |= {name: getattr(self, name) for name in own if hasattr(self, name)}
        settings = Settings(**(chosen | overrides))
        return Training(
            self.model_, self._posterior(n_rows), self._objective(), settings, self._training_seed(), self._device()
        )

    def _choose_seed(self) -> int:
        """That of the first of several processes."""
        return current().number_of_first(super()._choose_seed())

    def _training_seed(self) -> int:
        """Another for every fit that goes on from the weights there are, so that no noise is met twice."""
        if self.n_fits_ == 0:
            return self.seed_
        return int(np.random.SeedSequence([self.seed_, self.n_fits_]).generate_state(1)[0])

    def _finish(self, training: Training, rows: Rows):
        self.history_ = training.progress.history
        self.n_iter_ = training.progress.epoch
        return self

    def __getstate__(self) -> dict:
        """Without the optimizer's state, whose generators can't be copied."""
        state = dict(super().__getstate__())  # type: ignore[call-overload]
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
