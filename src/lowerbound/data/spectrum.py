"""The number of directions in which rows vary more than independent features would, from the spectrum of some rows."""

from __future__ import annotations

import numpy as np

from lowerbound.data.gaps import nan_in_gaps
from lowerbound.data.sources import Source

FEW_FEATURES = 64  # half of which are at most the 32 that are taken anyway
ROWS, FEATURES = 2000, 4096  # that are looked at, at equal distances
MOST = 256


def informative_directions(X: np.ndarray | Source) -> int:
    """Principal components with more variance than those of independent features: parallel analysis (Horn, 1965).

    The features become independent by a permutation of each one's values. The components are counted until the first
    that has no more variance than the one of its rank there.

    Parameters
    ----------
    X : ndarray or Source, shape (n, *row)
        Numbers; gaps have the mean of their feature.

    Returns
    -------
    int
        At most 256; 0 for up to 64 features, which aren't looked at.
    """
    if int(np.prod(X.shape[1:])) <= FEW_FEATURES:
        return 0
    x = _some(X)
    if x.shape[1] <= 1:
        return 0
    rng = np.random.default_rng(0)
    found, by_chance = (_spectrum(values) for values in (x, rng.permuted(x, axis=0)))
    is_more = found[:MOST] > by_chance[:MOST]
    return int(is_more.argmin()) if not is_more.all() else len(is_more)


def _some(X: np.ndarray | Source) -> np.ndarray:
    """Some features of some rows without their means, those that vary; shape (n, F)."""
    if isinstance(X, Source):
        rows = X.as_array(X.spread(ROWS).X)
    else:
        rows = X[np.linspace(0, len(X) - 1, min(len(X), ROWS)).round().astype(np.int64)]
    rows = nan_in_gaps(rows).reshape(len(rows), -1)
    x = rows[:, :: -(-rows.shape[1] // FEATURES)].astype(np.float64)
    mean = np.nan_to_num(np.nanmean(x, 0)) if np.isnan(x).any() else x.mean(0)
    x = np.nan_to_num(x - mean)
    return x[:, x.std(0) > 0]


def _spectrum(x: np.ndarray) -> np.ndarray:
    """The eigenvalues of the covariance, falling."""
    small = x.T @ x if x.shape[1] < len(x) else x @ x.T
    return np.linalg.eigvalsh(small)[::-1]
