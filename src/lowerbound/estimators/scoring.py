"""What a fitted variational autoencoder says of data: log p(x), its bound, and the bound's parts."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from lowerbound.core import Model
from lowerbound.data.batches import Rows
from lowerbound.distributions.gaussians import DiagonalGaussian, FullGaussian
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.estimators.latent import LatentEstimator
from lowerbound.evaluation.annealing import (
    Annealing,
    BidirectionalBounds,
    UnreliableEstimateWarning,
    bidirectional_bounds,
    expected_bias,
    log_likelihood_rows,
    warning_about,
)
from lowerbound.evaluation.bound import EVALUATION_BATCH, ElboTerms, Summary, elbo_terms, importance_weighted, summarize
from lowerbound.evaluation.estimate import Estimate, mean_over_rows, pooled
from lowerbound.evaluation.gap import InferenceGap, inference_gap, mutual_information


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

        All rows share one noise, as in ``score_samples``; for the mean over rows use ``elbo_terms``.
        """
        return elbo_terms(*self._exactly(X), n_samples).elbo.numpy()

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

    def log_likelihood(
        self, X, n_importance: int = 5000, progress=lambda n: None, *, method: str = "importance",
        n_temperatures: int = 500, n_chains: int = 8, n_leapfrog: int = 5,
    ) -> Estimate:  # fmt: skip
        """Mean log p(x) over rows, with noise of each row's own: a lower bound in expectation, whatever the method.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        n_importance : int
            K, samples for each row.
        progress : callable
            Told how many rows more are done.
        method : {"importance", "naive", "ais"}
            K samples of q(z|x) (Burda et al., 2016); K samples of the prior, which only few latent variables allow; or
            annealed importance sampling from q(z|x) with Hamiltonian chains (Neal, 2001; Wu et al., 2017), dear and
            the most reliable.
        n_temperatures, n_chains, n_leapfrog : int
            Of annealing: steps from q(z|x) to p(z|x), chains for each row, leapfrog steps in each step.

        Returns
        -------
        Estimate
            Its standard error over rows holds the Monte-Carlo part; ``ess`` is the mean effective number of samples, or
            of chains. ``UnreliableEstimateWarning`` where that says that the estimate is not to be trusted.
        """
        how, n_samples = Annealing(n_temperatures, n_chains, n_leapfrog), n_chains if method == "ais" else n_importance
        parts, biases = [], []
        for log_p, ess in self._log_likelihood_parts(X, n_importance, progress, method, how):
            parts.append(mean_over_rows(log_p, "lower", n_samples, float(ess.mean())))
            biases.append(len(ess) * expected_bias(ess, n_samples))
        found = pooled(parts)
        message = warning_about(found, sum(biases) / found.n_rows, method)
        if message:
            warnings.warn(message, UnreliableEstimateWarning, stacklevel=2)
        return found

    def log_likelihood_rows(
        self, X, n_importance: int = 5000, progress=lambda n: None, *, method: str = "importance",
        n_temperatures: int = 500, n_chains: int = 8, n_leapfrog: int = 5, first_row: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """What ``log_likelihood`` is the mean of: log p(x) and the effective sample size of every row, (n,) each.

        ``first_row`` is the place of the first row in the whole of the data, where they are scored in parts.
        """
        how = Annealing(n_temperatures, n_chains, n_leapfrog)
        parts = self._log_likelihood_parts(X, n_importance, progress, method, how, first_row)
        log_p, ess = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
        return log_p, ess

    def _log_likelihood_parts(
        self, X, n_importance: int, progress, method: str, how: Annealing, first_row: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """log p(x) and the effective sample size of every row, as much at a time as memory is given for."""
        check_is_fitted(self)
        rows = self._rows(self._validate(X))
        noise = self._noise(f"log_likelihood from {first_row}" if first_row else "log_likelihood")
        for part in rows.parts(EVALUATION_BATCH):
            yield log_likelihood_rows(self.model_, self.posterior_, part, noise, method, n_importance, how, progress)

    def bidirectional_bounds(
        self, n_rows: int = 100, *, n_temperatures: int = 500, n_chains: int = 8, n_leapfrog: int = 5,
        random_state: int | None = None, progress=lambda n: None,
    ) -> BidirectionalBounds:  # fmt: skip
        """log p(x) from below and above, on rows drawn from the model: how far annealing can be trusted here.

        Bidirectional Monte Carlo (Grosse et al., 2015). The gap bounds, in expectation, the error of
        ``log_likelihood(method="ais")`` with the same temperatures and chains on such rows.
        """
        check_is_fitted(self)
        if n_rows < 2:
            raise ValueError(f"n_rows must be at least 2, got {n_rows}")
        how, noise = Annealing(n_temperatures, n_chains, n_leapfrog), self._fresh_noise(random_state, "sandwich")
        mask = torch.from_numpy(self.schema_.counted).to(self._device())
        return bidirectional_bounds(self.model_, self.posterior_, n_rows, mask, noise, how, progress)

    def elbo_terms(self, X, n_samples: int = 1) -> ElboTerms:
        """The lower bound's parts for every row, with independent noise: reconstruction, KL, posterior means."""
        check_is_fitted(self)
        rows = self._rows(self._validate(X))
        return elbo_terms(self.model_, self.posterior_, rows, self._noise("accounts"), n_samples)

    def summary(self, X, n_samples: int = 1) -> Summary:
        """The means over rows of ``elbo_terms``, in memory that doesn't grow with the rows of a source."""
        check_is_fitted(self)
        rows, noise = self._rows(self._validate(X)), self._noise("accounts")
        parts = rows.parts(EVALUATION_BATCH)
        return summarize(elbo_terms(self.model_, self.posterior_, part, noise, n_samples) for part in parts)

    def mutual_information(self, X, n_rows: int | None = None) -> Estimate:
        """I(x; z) under q, in nats, from at most ``n_rows`` rows, of whose number its logarithm is the ceiling.

        By default from 2,000, or 300 where log q(z|x) takes networks (levels, flows): it is evaluated for every pair.
        """
        check_is_fitted(self)
        rows, noise = self._rows(self._validate(X)), self._noise("mutual information")
        gaussian = isinstance(self.posterior_(next(rows.batches(1, noise)), noise), DiagonalGaussian | FullGaussian)
        few = rows.few(n_rows or (2000 if gaussian else 300), make_generator(0, "rows of the mutual information"))
        return mutual_information(self.posterior_, few, noise)

    def inference_gap(self, X, n_steps: int = 300, n_samples: int = 64, n_importance: int = 2000) -> InferenceGap:
        """log p(x) − ELBO, split into what q can't express and what the encoder misses (Cremer et al., 2018).

        Each row's q is refined by ``n_steps``: take some hundred rows. For inference="amortized".
        """
        check_is_fitted(self)
        rows, noise = self._rows(self._validate(X)), self._noise("gap")
        return inference_gap(self.model_, self.posterior_, rows, noise, n_steps, n_samples, n_importance)
