"""Estimators of models with latent variables: fitting, codes, and scores by bounds of log p(x)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lowerbound.core import Batch, Posterior
from lowerbound.data.batches import Rows
from lowerbound.distributions.gaussians import DiagonalGaussian, FullGaussian
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.estimators.arguments import Data
from lowerbound.estimators.coding import CodingEstimator
from lowerbound.estimators.gradient import GradientEstimator
from lowerbound.evaluation import gap
from lowerbound.evaluation.annealing import (
    Annealing,
    BidirectionalBounds,
    UnreliableEstimateWarning,
    bidirectional_bounds,
    expected_bias,
    log_likelihood_rows,
    warning_about,
)
from lowerbound.evaluation.bound import ElboTerms, Summary, elbo_terms, importance_weighted, summarize
from lowerbound.evaluation.estimate import Estimate, mean_over_rows, pooled
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.parameters.parameter import check_count
from lowerbound.parameters.seed import RandomState
from lowerbound.training.state import Training
from lowerbound.warning import warn

ROWS_TO_JUDGE_COLLAPSE = 2000

Progress = Callable[[float], object]


class CollapsedPosteriorWarning(UserWarning):
    """Most latent variables carry no information about the data."""


class LatentEstimator(CodingEstimator):
    """A model with latent variables and its posterior, fitted by the training loop."""

    FITTED: ClassVar[tuple[str, ...]] = (*GradientEstimator.FITTED, "latent_dim_", "n_active_units_")

    posterior_: Posterior
    latent_dim_: int
    n_active_units_: int

    def _posterior(self) -> Posterior:
        return self.posterior_

    def _fewest_active(self) -> float:
        """Active latent variables below which the posterior is said to have collapsed."""
        raise NotImplementedError(f"{type(self).__name__} does not say when its posterior has collapsed")

    def _examine(self, training: Training, rows: Rows) -> None:
        for name, value in training.posterior.findings().items():
            setattr(self, f"{name}_", value)
        fitting = self._fitting()
        few = Evaluation(fitting.model, fitting.posterior, rows.few(ROWS_TO_JUDGE_COLLAPSE), fitting.noise("collapse"))
        self.n_active_units_ = elbo_terms(few).active_units

    def _unsound(self) -> Warning | None:
        if self.n_active_units_ >= self._fewest_active():
            return None
        return CollapsedPosteriorWarning(
            f"the posterior has collapsed: {self.n_active_units_} of {self.latent_dim_} latent variables are active. "
            f"Train longer, set ELBO(warmup_steps=…) to a tenth of the steps or free_bits=0.1, or ask for fewer latent "
            f"variables"
        )

    def elbo(self, X: Data, n_samples: int = 16, *, context: Any = None) -> np.ndarray:
        """The evidence lower bound of every row, in nats, shape (n,).

        All rows share one noise, as in ``score_samples``; for the mean over rows use ``elbo_terms``.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        n_samples : int
            Draws of z for each row.
        context : array, series or DataFrame, optional
            As for ``given``.
        """
        return elbo_terms(self._given_to(context).fitted_.exactly().on(X), n_samples).elbo.numpy()

    def score_samples(self, X: Data, n_importance: int = 64, *, context: Any = None) -> np.ndarray:
        """log p(x) of every row by ``n_importance`` samples (a lower bound in expectation), in nats, shape (n,).

        Computed in float64 with one seeded noise for all rows, so that a row's score depends neither on its
        neighbors nor on their order; grey values under ``binarize="sample"`` are scored on one fixed binarization.
        Because of that noise the mean of these scores is less certain than their spread says: ``score`` and
        ``log_likelihood`` draw noise for each row.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        n_importance : int
            K, samples for each row: nine tenths of q(z|x), a tenth of p(z).
        context : array, series or DataFrame, optional
            As for ``given``.
        """
        return importance_weighted(self._given_to(context).fitted_.exactly().on(X), n_importance)[0].numpy()

    def score(self, X: Data, y: object = None, n_importance: int = 64, *, context: Any = None) -> float:
        """Mean log p(x) in nats a row, by ``n_importance`` samples (a lower bound) with noise of each row's own.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        y : ignored
        n_importance : int
            K, samples for each row: nine tenths of q(z|x), a tenth of p(z).
        context : array, series or DataFrame, optional
            As for ``given``.
        """
        return float(self._given_to(context).log_likelihood_rows(X, n_importance)[0].mean())

    def log_likelihood(
        self, X: Data, n_importance: int = 5000, progress: Progress = lambda n: None, *, method: str = "importance",
        n_temperatures: int = 500, n_chains: int = 8, n_leapfrog: int = 5, context: Any = None,
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
            K samples, nine tenths of q(z|x) and a tenth of p(z) (Burda et al., 2016); K samples of the prior, which
            only few latent variables allow; or annealed importance sampling from q(z|x) with Hamiltonian chains (Neal,
            2001; Wu et al., 2017), dear and the most reliable.
        n_temperatures, n_chains, n_leapfrog : int
            Of annealing: steps from q(z|x) to p(z|x), chains for each row, leapfrog steps in each step.
        context : array, series or DataFrame, optional
            As for ``given``.

        Returns
        -------
        Estimate
            Its standard error over rows holds the Monte-Carlo part; ``ess`` is the mean effective number of samples, or
            of chains. ``UnreliableEstimateWarning`` where that says that the estimate is not to be trusted.
        """
        how, n_samples = Annealing(n_temperatures, n_chains, n_leapfrog), n_chains if method == "ais" else n_importance
        parts, biases = [], []
        for log_p, ess in self._given_to(context)._log_likelihood_parts(X, n_importance, progress, method, how):
            parts.append(mean_over_rows(log_p, "lower", n_samples, float(ess.mean())))
            biases.append(len(ess) * expected_bias(ess, n_samples))
        found = pooled(parts)
        message = warning_about(found, sum(biases) / found.n_rows, method)
        if message:
            warn(message, UnreliableEstimateWarning)
        return found

    def log_likelihood_rows(
        self, X: Data, n_importance: int = 5000, progress: Progress = lambda n: None, *, method: str = "importance",
        n_temperatures: int = 500, n_chains: int = 8, n_leapfrog: int = 5, first_row: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """log p(x) and the effective sample size of every row, (n,) each; ``log_likelihood`` is their mean.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        n_importance, progress, method, n_temperatures, n_chains, n_leapfrog : optional
            As in ``log_likelihood``.
        first_row : int
            The place of the first row in the whole of the data, where they are scored in parts.

        Returns
        -------
        log_p, ess : ndarray, shape (n,)
            log p(x) in nats, and the effective number of samples, or of chains.
        """
        how = Annealing(n_temperatures, n_chains, n_leapfrog)
        parts = self._log_likelihood_parts(X, n_importance, progress, method, how, first_row)
        log_p, ess = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
        return log_p, ess

    def _log_likelihood_parts(
        self, X: Data, n_importance: int, progress: Progress, method: str, how: Annealing, first_row: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """log p(x) and the effective sample size of every row, as much at a time as memory is given for."""
        on = self.fitted_.on(X, f"log_likelihood from {first_row}" if first_row else "log_likelihood")
        for part in on.parts():
            yield log_likelihood_rows(part, method, n_importance, how, progress)

    def bidirectional_bounds(
        self, n_rows: int = 100, *, n_temperatures: int = 500, n_chains: int = 8, n_leapfrog: int = 5,
        random_state: RandomState = None, progress: Progress = lambda n: None,
    ) -> BidirectionalBounds:  # fmt: skip
        """log p(x) from below and above, on rows drawn from the model: how far annealing can be trusted here.

        Bidirectional Monte Carlo (Grosse et al., 2015). The gap bounds, in expectation, the error of
        ``log_likelihood(method="ais")`` with the same temperatures and chains on such rows.

        Parameters
        ----------
        n_rows : int
            Rows that are drawn, at least 2.
        n_temperatures, n_chains, n_leapfrog : int
            As in ``log_likelihood``.
        random_state : int, RandomState or Generator, optional
            For the rows and the chains; the estimator's if None.
        progress : callable
            As in ``log_likelihood``.
        """
        fitted = self.fitted_
        check_count("n_rows", n_rows, 2)
        how, noise = Annealing(n_temperatures, n_chains, n_leapfrog), self._fresh_noise(random_state, "sandwich")
        mask = torch.from_numpy(self.schema_.counted).to(fitted.device)
        context = fitted.coded_context(n_rows)
        return bidirectional_bounds(fitted.model, fitted.posterior, n_rows, mask, noise, how, progress, context)

    def elbo_terms(self, X: Data, n_samples: int = 1) -> ElboTerms:
        """The lower bound's parts for every row, with independent noise: reconstruction, KL, posterior means.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        n_samples : int
            Draws of z for each row.
        """
        return elbo_terms(self.fitted_.on(X, "accounts"), n_samples)

    def summary(self, X: Data, n_samples: int = 1) -> Summary:
        """The means over rows of ``elbo_terms``, in memory that doesn't grow with the rows of a source.

        Parameters
        ----------
        X : array-like or Source, shape (n, *row)
        n_samples : int
            Draws of z for each row.
        """
        return summarize(elbo_terms(part, n_samples) for part in self.fitted_.on(X, "accounts").parts())

    def mutual_information(self, X: Data, n_rows: int | None = None) -> Estimate:
        """I(x; z) under q, in nats, from at most ``n_rows`` rows, of whose number its logarithm is the ceiling.

        For a model that is given a context it is I(x; z|c) of rows that the model draws given the contexts of these,
        by telling the z of each from 499 others: log 500 = 6.2 nats is the ceiling.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        n_rows : int, optional
            If None 2,000; 300 where log q(z|x) takes networks (levels, flows): it is evaluated for every pair; 100 for
            a model that is given a context.
        """
        on = self.fitted_.on(X, "mutual information")
        is_given = self.fitted_.context_schema is not None
        gaussian = isinstance(on.posterior(next(on.batches(1)), on.noise), DiagonalGaussian | FullGaussian)
        n = n_rows or (100 if is_given else 2000 if gaussian else 300)
        few = replace(on, rows=on.rows.few(n, make_generator(0, "rows of the mutual information")))
        return gap.information_given_context(few, self._drawn_given) if is_given else gap.mutual_information(few)

    def _drawn_given(self, batch: Batch, z: Tensor, noise: Noise) -> Batch:
        """A row without gaps for each of the contexts of a batch and z (1, B, D)."""
        x = self.fitted_.model.given(batch.context).draw_x(z, noise)[0]
        mask = torch.from_numpy(self.schema_.counted).to(x.device).expand_as(x)
        return replace(batch, x=x, mask=mask, missing=None, complete=bool(self.schema_.counted.all()))

    def inference_gap(
        self, X: Data, n_steps: int = 300, n_samples: int = 64, n_importance: int = 2000
    ) -> gap.InferenceGap:
        """log p(x) − ELBO, split into approximation gap and amortization gap (Cremer et al., 2018).

        For inference="amortized".

        Parameters
        ----------
        X : array-like, shape (n, *row)
            Each row's q is refined: take some hundred rows.
        n_steps : int
            Steps of that refinement.
        n_samples : int
            Draws of z for each row, for the ELBO before and after.
        n_importance : int
            Samples of q(z|x) for each row, for log p(x).
        """
        return gap.inference_gap(self.fitted_.on(X, "gap"), n_steps, n_samples, n_importance)
