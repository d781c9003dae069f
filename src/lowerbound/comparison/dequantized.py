"""Densities of real values as models of 8-bit grey levels, by uniform dequantization."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lowerbound.distributions.likelihoods.discretized_logistic import N_GREY_LEVELS
from lowerbound.estimators.density import ExactEstimator
from lowerbound.evaluation.estimate import Estimate, mean_over_rows

SCORED_DRAWS = 8  # of u for each row; fewer add noise but no bias


class Dequantized:
    """A density p of real values as a model P of grey levels 0, 1, …, 255: p is fitted to x + u, u uniform on [0, 1).

    P(x) = ∫ p(x + u) du, so log P(x) ≥ E_u log p(x + u) by Jensen. The score is thus a **lower bound** of a
    log-probability, on the same scale as that of any discrete model (Theis, van den Oord & Bethge, 2016, section 3.1).

    Parameters
    ----------
    density : ExactEstimator
        A density of real values.
    seed : int
        The seed of u.
    """

    def __init__(self, density: ExactEstimator, seed: int) -> None:
        self.density: ExactEstimator = density
        self.seed: int = seed

    @property
    def model_(self) -> Any:
        """The model of the density."""
        return self.density.model_

    def set_params(self, **parameters: Any) -> Dequantized:
        """Set parameters of the density."""
        self.density.set_params(**parameters)
        return self

    def fit(self, X: np.ndarray) -> Dequantized:
        """Fit to the rows of ``X``, bytes of shape (n, *row), each dequantized once."""
        self.density.fit(X + np.random.default_rng([self.seed, 0]).random(X.shape))  # type: ignore[attr-defined]
        return self

    def log_likelihood(self, X: np.ndarray) -> Estimate:
        """Mean of E_u log p(x + u) over rows, in nats: a lower bound; the standard error includes that of E_u."""
        rng = np.random.default_rng([self.seed, 1])
        draws = [self.density.log_likelihood_rows(X + rng.random(X.shape)) for _ in range(SCORED_DRAWS)]
        return mean_over_rows(torch.from_numpy(np.mean(draws, 0)), "lower")

    def sample(self, n_samples: int) -> np.ndarray:
        """Draws of x + u, rounded down and clipped to 0…255."""
        return np.clip(np.floor(self.density.sample(n_samples)), 0, N_GREY_LEVELS - 1).astype(np.uint8)
