"""Estimators that are fitted by the training loop."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from lowerbound.assembly.independent import independent_log_prob
from lowerbound.core import Objective, Posterior
from lowerbound.data.batches import Rows
from lowerbound.data.context import ContextSchema
from lowerbound.data.fingerprint import changed, digest
from lowerbound.data.sources import Source, as_source
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.estimators.arguments import Data, warn_of_labels
from lowerbound.estimators.density import DensityEstimator
from lowerbound.evaluation.bound import elbo_terms
from lowerbound.evaluation.evaluation import EVALUATION_BATCH, Evaluation
from lowerbound.parallel import current
from lowerbound.parameters.likelihoods import Likelihood
from lowerbound.parameters.parameter import plain
from lowerbound.parameters.parts import Adam, EarlyStopping
from lowerbound.training.fit import run
from lowerbound.training.identity import TIMES, Identity, digest_of
from lowerbound.training.loop import train
from lowerbound.training.settings import Settings
from lowerbound.training.state import Training, TrainingError
from lowerbound.training.watch import Watch
from lowerbound.warning import warn

APART = {  # parameters that settings and seed tell, or on which the result doesn't depend
    *("optimizer", "max_epochs", "batch_size", "random_state", "device", "verbose", "warm_start")
}
ROWS_TO_JUDGE = 2000  # a fit by
STEPS_TO_JUDGE = 100  # before which a fit has hardly begun
CLEARLY_WORSE = 1.0  # nats a row


class WorseThanIndependentWarning(UserWarning):
    """A fit ended below independent features: it has diverged."""


class BegunFit(NamedTuple):
    """A fit before its first step: the training state, the rows to fit, and rows that are held out."""

    training: Training
    rows: Rows
    validation: Rows | None


class GradientEstimator(DensityEstimator):
    """Fits a model by the one training loop."""

    FITTED: ClassVar[tuple[str, ...]] = (*DensityEstimator.FITTED, "n_iter_", "n_fits_", "history_")
    STREAMS: ClassVar[bool] = True
    n_fits_: int = 0  # of models that were saved before it was counted

    LR: ClassVar[float] = 1e-3  # that lr="auto" stands for

    max_epochs: int | str
    batch_size: int | str
    optimizer: str | Adam
    early_stopping: bool | EarlyStopping
    warm_start: bool
    device: str | torch.device
    verbose: int
    history_: list[dict[str, Any]]
    n_iter_: int

    def _training_posterior(self, n_rows: int) -> Posterior:
        """q(z|x) for ``n_rows`` rows to be fitted."""
        return self._posterior()

    def _objective(self) -> Objective:
        """The loss, the number of samples and the gradient estimator."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it minimizes")

    def _objective_over(self, n_steps: int) -> Objective:
        """The objective of a fit of so many steps."""
        return self._objective()

    def fit(
        self, X: Data, y: object = None, *, context: Any = None, checkpoint: str | Path | None = None,
        watch: Watch | None = None, resume: tuple[dict[str, Tensor], dict[str, Any]] | None = None,
    ) -> Self:  # fmt: skip
        """Fit to the rows of ``X``.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        y : ignored, with a warning
        context : array, series or DataFrame, n rows, optional
            What is known of each row beforehand, such as its class: the model is then that of p(x|c), and ``given``
            says c where it is used. Words and whole numbers alone are categories; NaN is not known. For a ``VAE``.
        checkpoint : path, optional
            A folder for checkpoints. If it holds one, training continues from there, with the result of a run that was
            never interrupted; the data, the parameters and the seed must be the same, so give a ``random_state``.
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
            describe them; if the checkpoint is of a fit that differs, with the names of what does.
        TrainingError
            If too many steps in a row have no finite loss or gradient; the last good weights are kept.
        FolderInUseError
            If another process trains with the same ``checkpoint``.
        """
        warn_of_labels(self, y)
        begun = self.begin_fit(X, context)
        if current().size > 1 or (checkpoint, watch, resume) != (None, None, None):
            begun.training.identity = self._identity(X, context)
        if self.verbose >= 2:
            print(self._choices(begun.training.settings), file=sys.stderr)
        try:
            run(*begun, checkpoint=checkpoint, watch=watch, resume=resume, verbose=bool(self.verbose))
        except TrainingError:
            if begun.training.progress.best_epoch:
                self.finish_fit(begun)
            raise
        return self.finish_fit(begun)

    def begin_fit(self, X: Data, context: Any = None) -> BegunFit:
        """All that ``fit`` does before the first step: the schema, the model with its starting weights, the rows.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        context : array, series or DataFrame, optional
            As for ``fit``.
        """
        self._check_context_of_fit(X, context)
        if not (self.warm_start and hasattr(self, "model_")):
            self.context_ = None if context is None else self._context_schema(context)
        self._given = context
        try:
            rows, validation = self._split(self._start(X, keep_weights=self.warm_start))
        finally:
            self._given = None
        if self.n_fits_ == 0:
            self._begin(rows)
        training = self._training(len(rows))
        self.n_fits_ += 1
        return BegunFit(training, rows, validation)

    def _identity(self, X: Data, context: Any) -> Identity:
        """All that the result of a fit depends on, by name, beside settings and seed."""
        X = as_source(X)
        times = {TIMES: changed(X)} if isinstance(X, Source) else {}
        parameters = {name: plain(self._part(name)) for name in self.PARAMETERS if name not in APART}
        columns, network = self.schema_.columns, getattr(self, "network", None)
        parameters |= {} if columns is None else {"columns": digest_of([_rounded(asdict(each)) for each in columns])}
        parameters |= {"network": digest_of(network)} if isinstance(network, (tuple, list)) else {}
        known = {"X": self._digest(X), "context": None if context is None else digest(context)}
        return {**known, **parameters, "earlier fits": self.n_fits_ - 1, **times}

    def _digest(self, X: Data) -> str:
        """A hash of the data."""
        return digest(X)

    def _check_context_of_fit(self, X: Data, context: Any) -> None:
        """Raise ``ValueError`` where rows and a context can't be fitted together."""
        if self._given is not None:
            raise ValueError("a model that given() made shares its weights: fit the one that it was made from")
        if context is not None and isinstance(as_source(X), Source):
            raise ValueError("a model that is given a context needs its rows in memory: give an array, no stream")

    def _context_schema(self, context: Any) -> ContextSchema:
        """The columns of a context; raises where the model can't be given one."""
        raise ValueError(f"{type(self).__name__} can't be given a context: use VAE")

    def finish_fit(self, begun: BegunFit) -> Self:
        """All that ``fit`` does after the last step: the history, and what the estimator learns of itself."""
        self._training_state = None
        return self._finish(begun.training, begun.rows, begun.validation or begun.rows)

    def partial_fit(self, X: Data, y: object = None) -> Self:
        """One pass over ``X``, at a constant learning rate and with nothing held out.

        The first call fixes what the rows are (likelihood, standardization); later calls keep it.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        y : ignored, with a warning

        Returns
        -------
        self
        """
        warn_of_labels(self, y)
        self._check_partial_fit()
        if self.context_ is not None:
            raise ValueError("partial_fit can't be given a context: use fit(X, context=…)")
        started = hasattr(self, "model_")
        X = self._start(X, keep_weights=started, reset=not started)
        rows = self._rows_to_fit(X)
        training: Training | None = getattr(self, "_training_state", None) if started else None
        if training is None:
            if self.n_fits_ == 0:
                self._begin(rows)
            training = self._training(len(rows), max_epochs=0, lr_schedule="constant", early_stopping=False)
            self.n_fits_ += 1
        training.settings = replace(training.settings, max_epochs=training.progress.epoch + 1)
        train(training, rows)
        self._training_state = training
        return self._finish(training, rows)

    def _choices(self, settings: Settings) -> str:
        """The values that "auto" stood for, in a line."""
        chosen = {name.removesuffix("_"): value for name, value in vars(self).items() if name == "latent_dim_"}
        layout = f"image {self.schema_.axes}" if self.schema_.is_image else self.schema_.layout
        chosen |= {"layout": layout, "likelihood": self.schema_.likelihood, "batch_size": settings.batch_size}
        return ", ".join(f"{k}={v}" for k, v in {**chosen, "max_epochs": settings.max_epochs}.items())

    def _begin(self, rows: Rows) -> None:
        """Look at the training rows once, before the first fit of new weights."""

    def _check_partial_fit(self) -> None:
        """Raise where a pass over some of the rows makes no sense."""

    def _rows_to_fit(self, X: Any) -> Rows:
        """The rows of checked data as they are trained on."""
        return self._fitting().checked_rows(X)

    def _split(self, X: np.ndarray | Source) -> tuple[Rows, Rows | None]:
        """Training rows, and rows held out for early stopping (none if there would be fewer than two of either)."""
        rows = self._rows_to_fit(X)
        held_out = self._part("early_stopping")
        if not isinstance(held_out, EarlyStopping):
            return rows, None
        return rows.split(held_out.fraction, make_generator(self.seed_, "split"))

    def _training(self, n_rows: int, **overrides: Any) -> Training:
        automatic_batch = min(128, max(16, 2 ** round(math.log2(max(1, n_rows) / 16))))
        batch_size = automatic_batch if self.batch_size == "auto" else int(self.batch_size)
        automatic_epochs = min(500, max(30, 10_000 // math.ceil(n_rows / batch_size)))
        max_epochs = automatic_epochs if self.max_epochs == "auto" else int(self.max_epochs)
        chosen = {"max_epochs": max_epochs, "batch_size": batch_size, **self._steps(), **self._stopping()}
        settings = Settings(**(chosen | overrides))
        return Training(
            self.model_,
            self._training_posterior(n_rows),
            self._objective_over(settings.max_epochs * math.ceil(n_rows / settings.batch_size)),
            settings,
            self._training_seed(),
            self._device(),
        )

    def _steps(self) -> dict[str, Any]:
        """The settings of the optimizer."""
        part = self._part("optimizer")
        lr = self.LR if part.lr == "auto" else part.lr
        own = {name: value for name, value in part.get_params().items() if name != "schedule"}
        return {**own, "lr": lr, "lr_schedule": part.schedule}

    def _stopping(self) -> dict[str, Any]:
        """The settings of early stopping."""
        part = self._part("early_stopping")
        if not isinstance(part, EarlyStopping):
            return {"early_stopping": False}
        return {"early_stopping": True, "n_iter_no_change": part.patience, "tol": part.tol}

    def _training_seed(self) -> int:
        """Another for every fit that goes on from the weights there are, so that no noise is met twice."""
        if self.n_fits_ == 0:
            return self.seed_
        return int(np.random.SeedSequence([self.seed_, self.n_fits_]).generate_state(1)[0])

    def _finish(self, training: Training, rows: Rows, judged: Rows | None = None) -> Self:
        self.history_ = training.progress.history
        self.n_iter_ = training.progress.epoch
        self._examine(training, rows)
        if training.progress.epoch:
            complaint = (None if judged is None else self._too_low(training, judged)) or self._unsound()
            if complaint is not None:
                warn(complaint)
        return self

    def _examine(self, training: Training, rows: Rows) -> None:
        """Set what else is learned of a fitted model."""

    def _unsound(self) -> Warning | None:
        """A warning of a fitted model that isn't sound, by what ``_examine`` set."""
        return None

    def _likelihood(self) -> Likelihood | str:
        """The part that makes the distribution of each entry, or "auto"."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its likelihood is")

    def _kl_weight(self) -> float:
        """The weight of the KL in the bound that is raised; 0 where there is none."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its bound is")

    def _free_nats(self) -> float:
        """The nats of KL that the fit doesn't count."""
        return 0.0

    def _too_low(self, training: Training, rows: Rows) -> Warning | None:
        """A warning if the bound of most rows is clearly below log p(x) of independent features; not of brief fits."""
        if training.progress.objective.step < STEPS_TO_JUDGE:
            return None
        few, fitting, weight = rows.few(ROWS_TO_JUDGE), self._fitting(), self._kl_weight()
        terms = elbo_terms(Evaluation(fitting.model, fitting.posterior, few, fitting.noise("judged")))
        kl = (terms.kl.sum(-1) - self._free_nats()).clamp_min(0)
        bound = terms.reconstruction - (weight * kl if weight else 0)
        noise = fitting.noise("judged")
        below = self._independent(few, noise) - bound
        typical = float(below.median())
        if not typical > CLEARLY_WORSE:
            return None
        where = "the training rows" if training.progress.best == -math.inf else "the rows held out"
        return WorseThanIndependentWarning(
            f"the fit is worse than independent features: on {where} the bound lies {typical:,.4g} nats a row below "
            f"their log p(x) (median). Lower the learning rate, which was {training.settings.lr:g}: "
            f"optimizer=Adam(lr=…)"
        )

    def _independent(self, rows: Rows, noise: Noise) -> Tensor:
        """log p(x) of every row under independent features, shape (N,)."""
        return independent_log_prob(self.schema_, self._likelihood(), rows, noise, EVALUATION_BATCH)

    def __getstate__(self) -> dict[str, Any]:
        """Without the optimizer's state, whose generators can't be copied."""
        state: dict[str, Any] = dict(super().__getstate__())  # type: ignore[call-overload]
        return {**state, "_training_state": None} if "_training_state" in state else state


def _rounded(record: dict[str, Any]) -> dict[str, Any]:
    """A record of a column whose numbers other machines come to as well."""
    return {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in record.items()}
