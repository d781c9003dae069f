"""What a fitted variational autoencoder says of data: log p(x), its bound, and the bound's parts."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from lowerbound.core import Model
from lowerbound.data.batches import Rows
from lowerbound.distributions import Noise
from lowerbound.estimators.latent import LatentEstimator
from lowerbound.evaluate import (
    EVALUATION_BATCH,
    Accounts,
    Estimate,
    Summary,
    accounts,
    importance_weighted,
    mean_over_rows,
    pooled,
    summarize,
)


class Scoring(LatentEstimator):
    """The scores of an estimator with a model, a posterior, and no closed form of log p(x)."""

    def _exactly(self, X) -> tuple[Model, nn.Module, Rows, Noise]:
        """Everything in float64, with one noise for all rows: a row's number depends on that row alone."""
        check_is_fitted(self)
        X = self._validate(X)
        model, posterior = copy.deepcopy((self.model_, self.posterior_))  # together: a posterior may climb the model
        return model.double(), posterior.double(), self._rows(X, torch.float64), self._noise("evaluation", shared=True)

    def elbo(self, X, n_samples: int = 16) -> np.ndarray:
        """The evidence lower bound of every row, in nats, shape (n,).

        All rows share one noise, as in ``score_samples``; for the mean over rows use ``accounts``.
        """
        return accounts(*self._exactly(X), n_samples).elbo.numpy()

    def score_samples(self, X, n_importance: int = 64) -> np.ndarray:
        """log p(x) of every row by ``n_importance`` samples (a lower bound in expectation), in nats, shape (n,).

        Computed in float64 with one seeded noise for all rows, so that a row's score depends neither on its
        neighbors nor on their order; grey values under ``binarize="sample"`` are scored on one fixed binarization.
        Because of that noise the mean of these scores is less certain than their spread says: ``score`` and
        ``log_likelihood`` draw noise for each row.
        """
        model, posterior, rows, noise = self._exactly(X)
        return importance_weighted(model, posterior, rows, noise, n_importance)[0].numpy()

    def score(self, X, y=None, n_importance: int = 64) -> float:
        """Mean log p(x) in nats a row, by ``n_importance`` samples (a lower bound) with noise of each row's own."""
        return float(self.log_likelihood_rows(X, n_importance)[0].mean())

    def log_likelihood(self, X, n_importance: int = 5000, progress=lambda n: None) -> Estimate:
        """Mean log p(x) over rows by importance sampling from q (Burda et al., 2016), with independent noise.

        Returns
        -------
        Estimate
            A lower bound in expectation; the standard error over rows holds the Monte-Carlo part.
        """
        parts = self._log_likelihood_parts(X, n_importance, progress)
        return pooled([mean_over_rows(log_p, "lower", n_importance, float(ess.mean())) for log_p, ess in parts])

    def log_likelihood_rows(
        self, X, n_importance: int = 5000, progress=lambda n: None
    ) -> tuple[np.ndarray, np.ndarray]:
        """What ``log_likelihood`` is the mean of: log p(x) and the effective sample size of every row, (n,) each."""
        parts = self._log_likelihood_parts(X, n_importance, progress)
        log_p, ess = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
        return log_p, ess

    def _log_likelihood_parts(self, X, n_importance: int, progress) -> Iterator[tuple[Tensor, Tensor]]:
        """log p(x) and the effective sample size of every row, as much at a time as memory is given for."""
        check_is_fitted(self)
        rows, noise = self._rows(self._validate(X)), self._noise("log_likelihood")
        for part in rows.parts(EVALUATION_BATCH):
            yield importance_weighted(self.model_, self.posterior_, part, noise, n_importance, progress)

    def accounts(self, X, n_samples: int = 1) -> Accounts:
        """The lower bound's parts for every row, with independent noise: reconstruction, KL, posterior means."""
        check_is_fitted(self)
        rows = self._rows(self._validate(X))
        return accounts(self.model_, self.posterior_, rows, self._noise("accounts"), n_samples)

    def summary(self, X, n_samples: int = 1) -> Summary:
        """The means over rows of ``accounts``, in memory that doesn't grow with the rows of a source."""
        check_is_fitted(self)
        rows, noise = self._rows(self._validate(X)), self._noise("accounts")
        parts = rows.parts(EVALUATION_BATCH)
        return summarize(accounts(self.model_, self.posterior_, part, noise, n_samples) for part in parts)
