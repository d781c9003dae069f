"""What one autoencoder finds unusual about rows, and the rows a part at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import _num_samples

from lowerbound.distributions import make_generator
from lowerbound.estimators.vae import VAE
from lowerbound.evaluate import importance_weighted
from lowerbound.tasks import outliers

N_PARTS, N_SAMPLES, N_IMPORTANCE = 4, 2, 64
ROWS_AT_ONCE = 10_000  # scored together: bounds memory, whatever the number of rows


def scores_of(vae: VAE, X, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Scores of one autoencoder, (n,) each; reconstruction and surprise by entry, (n, F), NaN where it is missing."""
    model, posterior, rows, noise = vae._exactly(X)
    found: dict[str, torch.Tensor] = {}
    if {"kl", "reconstruction", "elbo"} & set(names):
        found["kl"], found["reconstruction"] = outliers.bound(model, posterior, rows, noise, N_SAMPLES)
    if "surprise" in names:
        found["surprise"] = outliers.surprise(model, posterior, rows, noise, N_PARTS, N_SAMPLES)
    if "log_p" in names:
        found["log_p"] = -importance_weighted(model, posterior, rows, noise, N_IMPORTANCE)[0]
    if "regret" in names:
        found["regret"] = outliers.regret(model, posterior, rows, noise)
    return {name: (nats if nats.ndim == 1 else nats.flatten(1)).double().numpy() for name, nats in found.items()}


def median_of_known(nats: np.ndarray) -> np.ndarray:
    """The median of each column's numbers, 0 where there are none."""
    known = ~np.isnan(nats)
    return np.array([np.median(column[k]) if k.any() else 0.0 for column, k in zip(nats.T, known.T, strict=True)])


def take(X, places: np.ndarray) -> Any:
    """Some rows of an array, a frame or a list."""
    if hasattr(X, "iloc"):
        return X.iloc[places]
    return X[places] if isinstance(X, np.ndarray) else np.asarray(X)[places]


def few(X, n: int, seed: int) -> Any:
    """At most ``n`` rows, from all over."""
    if _num_samples(X) <= n:
        return X
    return take(X, np.sort(torch.randperm(_num_samples(X), generator=make_generator(seed, "few"))[:n].numpy()))


def chunks(X) -> Iterator[Any]:
    """The rows in order, so many at a time that scoring them needs little memory."""
    n = _num_samples(X)
    if n <= ROWS_AT_ONCE:
        yield X
    else:
        yield from (take(X, np.arange(i, min(n, i + ROWS_AT_ONCE))) for i in range(0, n, ROWS_AT_ONCE))
