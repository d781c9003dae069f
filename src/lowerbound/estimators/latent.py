"""Estimators of models with latent variables: fitting, codes, and scores by bounds of log p(x)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import ClassVar, Literal, overload

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from lowerbound.core import Posterior
from lowerbound.data.batches import Rows
from lowerbound.distributions.gaussians import DiagonalGaussian, FullGaussian
from lowerbound.distributions.noise import make_generator
from lowerbound.estimators.arguments import Data
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
from lowerbound.tasks import generate, represent
from lowerbound.training.state import Training

ROWS_TO_JUDGE_COLLAPSE = 2000

Progress = Callable[[float], object]


class CollapsedPosteriorWarning(UserWarning):
    """Most latent variables carry no information about the data."""


class LatentEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, GradientEstimator):
    """A model with latent variables and its posterior, fitted by the training loop."""

    FITTED: ClassVar[tuple[str, ...]] = (*GradientEstimator.FITTED, "latent_dim_", "n_active_units_")

    posterior_: Posterior
    latent_dim_: int
    n_active_units_: int

    def _posterior(self) -> Posterior:
        return self.posterior_

    def _has_full_covariance(self) -> bool:
        """q(z|x) is a Gaussian with a full covariance."""
        return False

    def _fewest_active(self) -> float:
        """Active latent variables below which the posterior is said to have collapsed."""
        raise NotImplementedError(f"{type(self).__name__} does not say when its posterior has collapsed")

    def _examine(self, training: Training, rows: Rows) -> None:
        for name, value in training.posterior.findings().items():
            setattr(self, f"{name}_", value)
        fitting = self._fitting()
        few = Evaluation(fitting.model, fitting.posterior, rows.few(ROWS_TO_JUDGE_COLLAPSE), fitting.noise("collapse"))
        self.n_active_units_ = elbo_terms(few).active_units
        if training.progress.epoch and self.n_active_units_ < self._fewest_active():
            warnings.warn(
                f"the posterior has collapsed: {self.n_active_units_} of {self.latent_dim_} latent variables are "
                f"active. Train longer, set ELBO(warmup_steps=…) to a tenth of the steps or free_bits=0.1, or ask "
                f"for fewer latent variables",
                CollapsedPosteriorWarning,
                stacklevel=5,
            )

    # codes

    @property
    def _n_features_out(self) -> int:
        return self.latent_dim_

    def transform(self, X: Data) -> np.ndarray:
        """Posterior means, shape (n, D); deterministic."""
        return self.encode(X)[0]

    @overload
    def encode(
        self, X: Data, draw: Literal[False] = False, n_draws: int = 1, random_state: RandomState = None
    ) -> tuple[np.ndarray, np.ndarray]: ...

    @overload
    def encode(
        self, X: Data, draw: Literal[True], n_draws: int = 1, random_state: RandomState = None
    ) -> np.ndarray: ...

    @overload
    def encode(
        self, X: Data, draw: bool, n_draws: int = 1, random_state: RandomState = None
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]: ...

    def encode(
        self, X: Data, draw: bool = False, n_draws: int = 1, random_state: RandomState = None
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """q(z|x) of every row.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        draw : bool
            Return draws of z, shape (n, D), or (n, n_draws, D) if ``n_draws`` > 1.
        n_draws : int
            Draws for each row.
        random_state : int, RandomState or Generator, optional
            For the draws; the estimator's if None.

        Returns
        -------
        mean : ndarray, shape (n, D)
        scale : ndarray, shape (n, D), or the Cholesky factor (n, D, D) of a full covariance
        """
        on = self.fitted_.exactly().on(X)
        if draw:
            drawn = replace(on, noise=self._fresh_noise(random_state, "encode"))
            codes = represent.draw_codes(drawn, n_draws).cpu().numpy()
            return codes[:, 0] if n_draws == 1 else codes
        mean, scale = represent.encode(on, full=self._has_full_covariance())
        return mean.cpu().numpy(), scale.cpu().numpy()

    def inverse_transform(self, Z: ArrayLike) -> np.ndarray:
        """E[x|z] for codes ``Z`` (n, D), in the user's units and shape (categories: the most probable one)."""
        return self.decode(Z)

    def decode(
        self, Z: ArrayLike, draw: bool = False, n_draws: int = 1, random_state: RandomState = None
    ) -> np.ndarray:
        """x for every code.

        Parameters
        ----------
        Z : array-like, shape (n, D) or (D,)
        draw : bool
            Draws from p(x|z) instead of its mean E[x|z].
        n_draws : int
            Several different x for one z.
        random_state : int, RandomState or Generator, optional
            For the draws; the estimator's if None.

        Returns
        -------
        ndarray, shape (n, *row), or (n, n_draws, *row) if ``n_draws`` > 1
        """
        check_is_fitted(self)
        codes = np.asarray(Z, np.float64)
        if codes.shape[-1:] != (self.latent_dim_,) or codes.ndim > 2:
            raise ValueError(f"codes have shape (n, {self.latent_dim_}), got {codes.shape}")
        z = torch.from_numpy(np.atleast_2d(codes)).float().to(self._device())
        noise = self._fresh_noise(random_state, "decode") if draw else None
        x = generate.decode(self.model_, z.repeat_interleave(n_draws, 0), noise)
        rows = self.schema_.restore(x, expected=not draw)
        return rows if n_draws == 1 else rows.reshape(-1, n_draws, *rows.shape[1:])

    def reconstruct(self, X: Data) -> np.ndarray:
        """E[x|z] at the posterior mean z of every row."""
        return self.decode(self.transform(X))

    def traverse(self, start: ArrayLike, dimension: int, values: ArrayLike) -> np.ndarray:
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
        first = np.asarray(start)
        is_code = first.shape == (self.latent_dim_,) and first.shape != self.schema_.row_shape
        code = first if is_code else self.transform(first.reshape(1, *self.schema_.row_shape))[0]
        codes = np.repeat(code[None].astype(np.float64), len(np.asarray(values)), 0)
        codes[:, dimension] = values
        return self.decode(codes)

    # scores

    def elbo(self, X: Data, n_samples: int = 16) -> np.ndarray:
        """The evidence lower bound of every row, in nats, shape (n,).

        All rows share one noise, as in ``score_samples``; for the mean over rows use ``elbo_terms``.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        n_samples : int
            Draws of z for each row.
        """
        return elbo_terms(self.fitted_.exactly().on(X), n_samples).elbo.numpy()

    def score_samples(self, X: Data, n_importance: int = 64) -> np.ndarray:
        """log p(x) of every row by ``n_importance`` samples (a lower bound in expectation), in nats, shape (n,).

        Computed in float64 with one seeded noise for all rows, so that a row's score depends neither on its
        neighbors nor on their order; grey values under ``binarize="sample"`` are scored on one fixed binarization.
        Because of that noise the mean of these scores is less certain than their spread says: ``score`` and
        ``log_likelihood`` draw noise for each row.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        n_importance : int
            K, samples of q(z|x) for each row.
        """
        return importance_weighted(self.fitted_.exactly().on(X), n_importance)[0].numpy()

    def score(self, X: Data, y: object = None, n_importance: int = 64) -> float:
        """Mean log p(x) in nats a row, by ``n_importance`` samples (a lower bound) with noise of each row's own.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        y : ignored
        n_importance : int
            K, samples of q(z|x) for each row.
        """
        return float(self.log_likelihood_rows(X, n_importance)[0].mean())

    def log_likelihood(
        self, X: Data, n_importance: int = 5000, progress: Progress = lambda n: None, *, method: str = "importance",
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
        return bidirectional_bounds(fitted.model, fitted.posterior, n_rows, mask, noise, how, progress)

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

        Parameters
        ----------
        X : array-like, shape (n, *row)
        n_rows : int, optional
            If None 2,000, or 300 where log q(z|x) takes networks (levels, flows): it is evaluated for every pair.
        """
        on = self.fitted_.on(X, "mutual information")
        gaussian = isinstance(on.posterior(next(on.batches(1)), on.noise), DiagonalGaussian | FullGaussian)
        few = on.rows.few(n_rows or (2000 if gaussian else 300), make_generator(0, "rows of the mutual information"))
        return gap.mutual_information(replace(on, rows=few))

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
