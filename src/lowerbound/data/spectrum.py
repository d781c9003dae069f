"""The number of directions in which rows vary more than independent features would, from the spectrum of some rows."""

from __future__ import annotations

import numpy as np

from lowerbound.data.gaps import nan_in_gaps
from lowerbound.data.sources import Source

FEW_FEATURES = 64  # half of which are at most the 32 that are taken anyway
ROWS, FEATURES = 2000, 4096  # that are looked at, at equal distances
MOST = 256


def informative_directions(X: np.ndarray | Source, unit: np.ndarray) -> int:
    """Principal components with more variance than those of independent features: parallel analysis (Horn, 1965).

    The features become independent by a permutation of each one's known values. The components are counted until the
    first that has no more variance than the one of its rank there.

    Parameters
    ----------
    X : ndarray or Source, shape (n, *row)
        Numbers; gaps have the mean of their feature.
    unit : ndarray, shape (*row)
        The unit of each feature, in which the model has it.

    Returns
    -------
    int
        At most 256; 0 for up to 64 features, which aren't looked at.
    """
    n_features = int(np.prod(X.shape[1:]))
    if n_features <= FEW_FEATURES:
        return 0
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.permutation(n_features)[:FEATURES])
    x = _some(X, chosen) / unit.reshape(-1)[chosen]
    known = ~np.isnan(x)
    x = np.where(known, x - np.where(known, x, 0).sum(0) / np.maximum(known.sum(0), 1), 0)
    found, by_chance = (_spectrum(values) for values in (x, _independent(x, known, rng)))
    is_more = found[:MOST] > by_chance[:MOST]
    return int(is_more.argmin()) if not is_more.all() else len(is_more)


def _some(X: np.ndarray | Source, chosen: np.ndarray) -> np.ndarray:
    """Some features of some rows, NaN in gaps, shape (n, F)."""
    if isinstance(X, Source):
        rows = X.as_array(X.spread(ROWS).X)
    else:
        rows = X[np.linspace(0, len(X) - 1, min(len(X), ROWS)).round().astype(np.int64)]
    return nan_in_gaps(rows).reshape(len(rows), -1)[:, chosen].astype(np.float64)


def _independent(x: np.ndarray, known: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy in which the known values of each feature are in a random order, and gaps stay where they are."""
    if known.all():
        return rng.permuted(x, axis=0)
    x = x.copy()
    for j in range(x.shape[1]):
        x[known[:, j], j] = rng.permutation(x[known[:, j], j])
    return x


def _spectrum(x: np.ndarray) -> np.ndarray:
    """The eigenvalues of the covariance, falling."""
    small = x.T @ x if x.shape[1] < len(x) else x @ x.T
    return np.linalg.eigvalsh(small)[::-1]
