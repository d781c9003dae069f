"""Normal scores: skewed and heavy-tailed columns as functions of a standard normal variable, and back.

A column with the quantile function Q is x = Q(Φ(z)) with z ~ N(0, 1). Here Q is that of the values that were seen, so
what is computed from scores lies among these, and a value far outside has the score of the last one. A value that is
seen often has an interval of scores, of which it gets the mean; the variance that this takes from the scores is given
back when they become values again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr, ndtri

KNOTS = 201
NODES = np.linspace(-4, 4, 49)  # of the trapezoidal rule for means over N(0, 1)
WEIGHTS = np.exp(-(NODES**2) / 2) / np.exp(-(NODES**2) / 2).sum()
FARTHEST = 5.0  # standard deviations, which no number exceeds as a value that others are filled from


@dataclass(frozen=True)
class NormalScores:
    """The map of one column.

    Attributes
    ----------
    reach : float
        The score of the greatest value, −reach that of the least.
    quantiles : ndarray, shape (K,)
        The values at equally spaced scores from −reach to reach, ascending.
    """

    reach: float
    quantiles: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> NormalScores:
        """The scores Φ⁻¹((i − ½)/n) of the ordered values."""
        n = len(x)
        reach = float(ndtri(1 - 0.5 / n))
        places = ndtr(np.linspace(-reach, reach, KNOTS)) * n - 0.5
        return cls(reach, np.interp(places, np.arange(n), np.sort(x)))

    @cached_property
    def _grid(self) -> np.ndarray:
        return np.linspace(-self.reach, self.reach, len(self.quantiles))

    @cached_property
    def _known(self) -> tuple[np.ndarray, np.ndarray, float]:
        """The distinct quantiles, their mean scores, and the standard deviation of these."""
        density = np.exp(-(self._grid**2) / 2)
        values, place = np.unique(self.quantiles, return_inverse=True)
        mass = np.bincount(place, density)
        scores = np.bincount(place, density * self._grid) / mass
        return values, scores, float(np.sqrt(mass @ scores**2 / mass.sum()))

    @property
    def knots(self) -> tuple[np.ndarray, np.ndarray]:
        """The distinct quantiles and their standardized scores, rising."""
        values, scores, spread = self._known
        return values, scores / (spread or 1.0)

    @property
    def lost(self) -> float:
        """The variance of z that the scores of the values lack."""
        return max(0.0, 1 - self._known[2] ** 2)

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Standardized scores of values."""
        values, scores, spread = self._known
        return np.interp(x, values, scores) / spread

    def of_observed(self, scores: np.ndarray) -> np.ndarray:
        """The values that have these standardized scores."""
        values, known, spread = self._known
        return np.interp(scores * spread, known, values)

    def values(self, z: np.ndarray) -> np.ndarray:
        """Q(Φ(z))."""
        return np.interp(z, self._grid, self.quantiles)

    def expected(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """E[x] for normal standardized scores."""
        spread = self._known[2]
        center, sd = mean * spread, np.sqrt(variance * spread**2 + self.lost)
        terms = (w * self.values(center + sd * node) for w, node in zip(WEIGHTS, NODES, strict=True))
        return sum(terms, np.zeros_like(mean))

    def drawn(self, scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Values for draws of standardized scores."""
        return self.values(scores * self._known[2] + np.sqrt(self.lost) * rng.standard_normal(scores.shape))


@dataclass(frozen=True)
class Scale:
    """The standardized values of a table, and the scores that models are fitted to: the same but in some columns.

    NaN are gaps.

    Attributes
    ----------
    scores : dict of int to NormalScores
        Of those columns of the matrix.
    farthest : ndarray, shape (P,)
        How far from 0 the numbers for the models may be.
    low, high : ndarray, shape (P,)
        The support of the standardized values.
    """

    scores: dict[int, NormalScores]
    farthest: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def plain(cls, width: int) -> Scale:
        """Values without scores, of any size."""
        return cls({}, *np.full((3, width), [[np.inf], [-np.inf], [np.inf]]))

    @property
    def places(self) -> list[int]:
        """The columns of the matrix that are scores."""
        return list(self.scores)

    def to_scores(self, V: np.ndarray) -> np.ndarray:
        """The matrix for models; numbers far from all that was seen are drawn in."""
        Z = np.clip(V, -self.farthest, self.farthest)
        for j, scores in self.scores.items():
            Z[..., j] = scores.scores(V[..., j])
        return Z

    def bounded(self, Z: np.ndarray) -> np.ndarray:
        """The values of observed scores; those far from 0 are drawn in."""
        V = Z.copy()
        for j, scores in self.scores.items():
            V[..., j] = scores.of_observed(Z[..., j])
        return np.clip(V, -self.farthest, self.farthest)

    def expected(self, mean: np.ndarray, variance: np.ndarray, gaps: np.ndarray) -> np.ndarray:
        """Standardized values with expectations in the gaps.

        Parameters
        ----------
        mean : ndarray, shape (n, P)
            Of the models' matrix given what was observed.
        variance : ndarray, shape (n, Q)
            Of its columns ``places``.
        gaps : ndarray of bool, shape (n, P)
        """
        V = mean.copy()
        for q, (j, scores) in enumerate(self.scores.items()):
            rows = gaps[:, j]
            V[rows, j] = scores.expected(mean[rows, j], variance[rows, q])
            V[~rows, j] = scores.of_observed(mean[~rows, j])
        return self.within(V)

    def drawn(self, Z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Standardized values for draws of the models' matrix, shape (*, P)."""
        V = Z.copy()
        for j, scores in self.scores.items():
            V[..., j] = scores.drawn(Z[..., j], rng)
        return V

    def within(self, V: np.ndarray) -> np.ndarray:
        """Standardized values within the support."""
        return np.clip(V, self.low, self.high)
