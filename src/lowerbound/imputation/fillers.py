"""Fillers of a coded table's gaps that are made of others, or of no model at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lowerbound.data.normal_scores import Scale
from lowerbound.imputation.gaussians import Filler, stream


@dataclass(frozen=True)
class Marginal:
    """Fills every column by its own distribution: the mean, or the most frequent category.

    Attributes
    ----------
    center, variance : ndarray, shape (P,)
    """

    center: np.ndarray
    variance: np.ndarray

    @classmethod
    def of(cls, Z: np.ndarray) -> Marginal:
        """The mean and variance of each column; 0 of one without any value."""
        seen = ~np.isnan(Z)
        n = np.maximum(seen.sum(0), 1)
        center = np.where(seen, Z, 0.0).sum(0) / n
        return cls(center, np.where(seen, (Z - center) ** 2, 0.0).sum(0) / n)

    def mean(self, Z: np.ndarray) -> np.ndarray:
        """Z with the means in the gaps, shape (n, P)."""
        return np.where(np.isnan(Z), self.center, Z)

    def moments(self, Z: np.ndarray, places: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """``mean``, and the variances of the columns ``places``, (n, Q)."""
        return self.mean(Z), np.broadcast_to(self.variance[places], (len(Z), len(places)))

    def draws(self, Z: np.ndarray, n: int, seed: int) -> np.ndarray:
        """Z with normal draws in the gaps, shape (n, N, P)."""
        drawn = stream(seed, "marginal").standard_normal((n, *Z.shape)) * np.sqrt(self.variance) + self.center
        return np.where(np.isnan(Z), drawn, Z)

    def refit(self, Z: np.ndarray, seed: int) -> Marginal:
        """The distributions of other rows."""
        return self.of(Z)


@dataclass(frozen=True)
class OfValues:
    """A filler whose model is fitted to standardized values instead of scores; its means are of values."""

    filler: Filler
    scale: Scale

    def mean(self, Z: np.ndarray) -> np.ndarray:
        """Values with E[v_m|v_o] in the gaps, shape (n, P)."""
        return self.filler.mean(self.scale.bounded(Z))

    def moments(self, Z: np.ndarray, places: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """``mean``, and Var[v_j|v_o] for the columns ``places``, (n, Q)."""
        return self.filler.moments(self.scale.bounded(Z), places)

    def draws(self, Z: np.ndarray, n: int, seed: int) -> np.ndarray:
        """Z with the scores of draws in the gaps, shape (n, N, P)."""
        drawn = np.stack(list(self.filler.draws(self.scale.bounded(Z), n, seed)))
        return np.where(np.isnan(Z), self.scale.to_scores(drawn), Z)

    def refit(self, Z: np.ndarray, seed: int) -> OfValues:
        """The same model fitted to other rows."""
        return OfValues(self.filler.refit(self.scale.bounded(Z), seed), self.scale)


@dataclass(frozen=True)
class WithErrors:
    """A filler by a model that doesn't say how uncertain it is, with the variances of its errors on hidden cells.

    Attributes
    ----------
    filler : EstimatorFiller
    variance : ndarray, shape (P,)
    """

    filler: Any
    variance: np.ndarray

    def mean(self, Z: np.ndarray) -> np.ndarray:
        """Z with E[z_m|z_o] in the gaps, shape (n, P)."""
        return self.filler.mean(Z)

    def moments(self, Z: np.ndarray, places: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """``mean``, and the variances of the columns ``places``, (n, Q)."""
        return self.filler.mean(Z), np.broadcast_to(self.variance[places], (len(Z), len(places)))

    def draws(self, Z: np.ndarray, n: int, seed: int) -> np.ndarray:
        """Z with draws from p(z_m|z_o) in the gaps, shape (n, N, P)."""
        return self.filler.draws(Z, n, seed)

    def refit(self, Z: np.ndarray, seed: int) -> WithErrors:
        """The same model fitted to other rows."""
        return WithErrors(self.filler.refit(Z, seed), self.variance)


def expected_values(filler: Filler, Z: np.ndarray, scale: Scale) -> np.ndarray:
    """Standardized values (n, P) with a filler's expectations in the gaps of Z, within the support."""
    if isinstance(filler, OfValues) or not scale.places:
        return scale.within(filler.mean(Z))
    V = scale.expected(*filler.moments(Z, scale.places), np.isnan(Z))
    if isinstance(filler, Marginal):
        V[:, scale.places] = np.where(np.isnan(Z[:, scale.places]), 0.0, V[:, scale.places])  # the mean itself
    return V
