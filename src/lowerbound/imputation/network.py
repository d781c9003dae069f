"""Fitted estimators as fillers of gaps, and the network among the imputer's candidates."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone

from lowerbound.data.batches import RowsInMemory
from lowerbound.data.columns.coding import UnseenCategoryWarning
from lowerbound.data.filling import some_rows
from lowerbound.data.frames import as_pandas
from lowerbound.data.schema import ConstantFeatureWarning
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.estimators.density import DensityEstimator, ExactEstimator
from lowerbound.estimators.gradient import GradientEstimator, WorseThanIndependentWarning
from lowerbound.estimators.latent import CollapsedPosteriorWarning
from lowerbound.estimators.vae import VAE
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.imputation.budget import Budget
from lowerbound.imputation.candidates import Candidate, View
from lowerbound.imputation.fillers import WithErrors
from lowerbound.imputation.selection import Network
from lowerbound.imputation.stacking import stack
from lowerbound.parameters.likelihoods import GaussianLikelihood
from lowerbound.parameters.parts import IWAE, MLP
from lowerbound.tasks import conditional
from lowerbound.training.state import Training
from lowerbound.training.watch import Watch

STEPS = 3000
CHECKS = 12  # of the error on hidden cells, to choose the epoch;
FEWEST_CHECKS = 2  # before a network is given up,
LEAST_GAIN = 0.005  # of the stack's squared error by a network that is worth its time
CHECK_IMPORTANCE = 50
FEWEST_ROWS = 200  # to fit a network
AGAIN = 0.25  # part of the epochs of a fit, for a fit to other rows that starts from its weights


class EstimatorFiller:
    """A filler by a fitted estimator's p(x_m|x_o), exact if the model has it, else by importance sampling.

    ``ess`` is the mean effective number of samples of a row with gaps in the last call, or None.
    """

    def __init__(self, estimator: DensityEstimator, n_importance: int, most_steps: int | None = None) -> None:
        self.estimator = estimator
        self.n_importance = n_importance
        self.most_steps = most_steps  # of another fit
        self.ess: float | None = None

    def mean(self, Z: Any) -> Any:
        """E[x_m|x_o] in the gaps; a row's result doesn't depend on the others."""
        on = self._on(Z)
        filled = conditional.expected(on, self.n_importance)
        self._note(on, filled.ess)
        return as_pandas(self.estimator.schema_.restore(filled.x, expected=True))

    def draws(self, Z: Any, n: int, seed: int) -> Any:
        """Draws from p(x_m|x_o) in the gaps: n arrays (N, *row), or frames."""
        drawn, size = self.drawn_rows(Z, n, seed), len(Z)
        parts = [some_rows(drawn, first, first + size) for first in range(0, n * size, size)]
        return [part.reset_index(drop=True) if isinstance(part, pd.DataFrame) else part for part in parts]

    def drawn_rows(self, Z: Any, n: int, seed: int) -> Any:
        """The same draws below one another: an array (n · N, *row), or a frame."""
        on = self._on(Z)
        noise = Noise(make_generator(seed, "impute", on.rows.device))
        filled = conditional.drawn(replace(on, noise=noise), n, self.n_importance)
        self._note(on, filled.ess)
        return as_pandas(self.estimator.schema_.restore(filled.x.flatten(0, 1), expected=False))

    def refit(self, Z: Any, seed: int) -> EstimatorFiller:
        """A copy that is fitted to other rows: a network goes on from its weights, other models start anew."""
        if isinstance(self.estimator, GradientEstimator):
            again: Any = copy.deepcopy(self.estimator)
            epochs = math.ceil(AGAIN * max(1, again.n_iter_))
            if self.most_steps is not None:
                epochs = max(1, min(epochs, self.most_steps * again.batch_size // len(Z)))
            again.set_params(warm_start=True, early_stopping=False, max_epochs=epochs)
        else:
            again = clone(self.estimator)
        with _no_warnings():
            return EstimatorFiller(again.fit(self._rows(Z)), self.n_importance, self.most_steps)

    def _rows(self, X: Any) -> Any:
        """Flattened rows in the shape of those of the fit."""
        return X.reshape(len(X), *self.estimator.schema_.row_shape) if isinstance(X, np.ndarray) else X

    def _on(self, X: Any) -> Evaluation:
        fitted = self.estimator.fitted_
        exact = isinstance(self.estimator, ExactEstimator)
        return (fitted.exactly() if exact else fitted.with_shared_noise()).on(self._rows(X), "impute")

    def _note(self, on: Evaluation, ess: torch.Tensor | None) -> None:
        """Keep the mean over the rows that have gaps, of which alone anything was sampled."""
        observed = cast(RowsInMemory, on.rows).observed
        gaps = torch.zeros(len(on.rows), dtype=torch.bool) if observed is None else ~observed.flatten(1).all(1).cpu()
        self.ess = float(ess[gaps].mean()) if ess is not None and gaps.any() else None


def recommended(n_rows: int, n_columns: int) -> dict[str, Any]:
    """Parameters of a VAE for imputation (a smaller MIWAE: Mattei & Frellsen, 2019, section 4.3)."""
    batch_size = min(128, max(16, 2 ** round(math.log2(max(1, n_rows) / 16))))
    return {
        "latent_dim": min(10, max(2, n_columns // 2)), "network": MLP((128, 128)),
        "likelihood": GaussianLikelihood("decoder", min_scale=0.05), "objective": IWAE(5), "early_stopping": False,
        "batch_size": batch_size, "max_epochs": max(8, math.ceil(STEPS / math.ceil(n_rows / batch_size))),
    }  # fmt: skip


def network_candidate(n_importance: int) -> Network:
    """A VAE trained with the importance-weighted bound, as long as its error on hidden cells falls."""

    def candidate(view: View, others: list[Candidate], budget: Budget) -> Candidate | None:
        varies = np.fmax.reduce(view.rest) > np.fmin.reduce(view.rest)
        if len(view.rest) < FEWEST_ROWS or not varies.any():
            return None
        parameters: dict[str, Any] = recommended(*view.rest.shape) | {"random_state": view.trial.seed}
        watch = _Trying(view, VAE(**parameters), others, budget, parameters["max_epochs"])
        _fitted(watch.vae, view.rest, watch)
        if watch.best is None:
            return None
        filler = watch.filler(n_importance)

        def refit() -> WithErrors:
            return WithErrors(filler.filler.refit(view.whole, view.trial.seed), filler.variance)

        best = watch.best
        return Candidate("network" + view.name, view.of(filler), lambda: view.of(refit()), best.predicted, best.error)

    return candidate


def _fitted(vae: VAE, Z: np.ndarray, watch: Watch) -> VAE:
    """Fit without warnings: the error on hidden cells judges the VAE here."""
    with _no_warnings():
        return vae.fit(Z, watch=watch)


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Without warnings of the rows and of unsound fits, about which the user can do nothing."""
    unheard = ConstantFeatureWarning, CollapsedPosteriorWarning, UnseenCategoryWarning, WorseThanIndependentWarning
    with warnings.catch_warnings():
        for category in unheard:
            warnings.simplefilter("ignore", category)
        yield


class _Trying(Watch):
    """Fills the hidden cells now and then, and stops the fit when this gets no better, or has no weight in a stack."""

    def __init__(self, view: View, vae: VAE, others: list[Candidate], budget: Budget, max_epochs: int) -> None:
        self.view, self.vae, self.others, self.budget = view, vae, others, budget
        self.every = max(1, max_epochs // CHECKS)
        self.best: Candidate | None = None
        self.is_done = False

    def filler(self, n_importance: int) -> WithErrors:
        """The network with the variances of its errors in each column."""
        filler, trial = EstimatorFiller(self.vae, n_importance, round(AGAIN * STEPS)), self.view.trial
        if not trial.scale.places or self.view.of_values:
            return WithErrors(filler, np.zeros(trial.Z.shape[1]))
        squares = np.where(trial.hidden, (filler.mean(self.view.rest) - trial.Z) ** 2, 0.0)
        return WithErrors(filler, squares.sum(0) / np.maximum(trial.hidden.sum(0), 1))

    def on_step(self, training: Training) -> None:
        """Look at the time."""
        self.budget.tick()
        self.is_done |= self.budget.is_over

    def on_epoch(self, training: Training, record: dict) -> None:
        """Fill the hidden cells every few epochs."""
        n_checks, between = divmod(training.progress.epoch, self.every)
        if between:
            return
        filler = self.filler(CHECK_IMPORTANCE)
        found = self.view.candidate("network", filler, lambda: filler)
        self.is_done |= self.best is not None and found.error >= self.best.error
        self.is_done |= n_checks >= FEWEST_CHECKS and self._gain(found) < LEAST_GAIN
        if self.best is None or found.error < self.best.error:
            self.best = found

    def _gain(self, found: Candidate) -> float:
        """The part of the squared error of a stack of the other candidates that the network takes away."""
        trial, predicted = self.view.trial, np.stack([candidate.predicted for candidate in [*self.others, found]])
        cells = trial.target, trial.of_hidden(trial.code.importance)
        without, together = (
            np.average((stack(p, *cells) @ p - cells[0]) ** 2, weights=cells[1]) for p in (predicted[:-1], predicted)
        )
        return 1 - together / without

    def should_stop(self) -> bool:
        """True after the last check."""
        return self.is_done
