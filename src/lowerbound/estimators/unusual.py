"""What one autoencoder finds unusual about rows, and the rows a part at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import _num_samples

from lowerbound.data.sources import Source
from lowerbound.distributions import make_generator
from lowerbound.estimators.vae import VAE
from lowerbound.evaluate import EVALUATION_BATCH, importance_weighted
from lowerbound.tasks import outliers

N_PARTS, N_SAMPLES, N_IMPORTANCE = 4, 2, 64
ROWS_AT_ONCE = 10_000  # that are scored together, where they are no larger than that
ENTRIES_AT_ONCE = 2**23


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
    if "level_ratio" in names:
        found["level_ratio"] = outliers.level_ratio(model, posterior, rows, noise)
    return {name: (nats if nats.ndim == 1 else nats.flatten(1)).double().numpy() for name, nats in found.items()}


def median_of_known(nats: np.ndarray) -> np.ndarray:
    """The median of each column's numbers, 0 where there are none."""
    known = ~np.isnan(nats)
    return np.array([np.median(column[k]) if k.any() else 0.0 for column, k in zip(nats.T, known.T, strict=True)])


def take(X, places: np.ndarray) -> Any:
    """Some rows of an array, a frame, a list or a source."""
    if isinstance(X, Source):
        return X.take(places).X
    if hasattr(X, "iloc"):
        return X.iloc[places]
    return X[places] if isinstance(X, np.ndarray) else np.asarray(X)[places]


def few(X, n: int, seed: int) -> Any:
    """At most ``n`` rows, from all over."""
    if _num_samples(X) <= n:
        return X
    return take(X, np.sort(torch.randperm(_num_samples(X), generator=make_generator(seed, "few"))[:n].numpy()))


def rows_at_once(row_shape: Sequence[int]) -> int:
    """How many rows are worked on together: bounds memory, whatever their number."""
    rows = ENTRIES_AT_ONCE // max(1, math.prod(row_shape))
    return max(1, min(ROWS_AT_ONCE, rows - rows % EVALUATION_BATCH if rows > EVALUATION_BATCH else rows))


def chunks(X, n_rows: int | None = None) -> Iterator[Any]:
    """The rows in order, ``n_rows`` at a time: so many that working on them needs little memory."""
    n, step = _num_samples(X), n_rows or rows_at_once((X if hasattr(X, "shape") else np.asarray(X)).shape[1:])
    if isinstance(X, Source):
        yield from (block.X for block in X.blocks(step))
    elif n <= step:
        yield X
    else:
        yield from (take(X, np.arange(i, min(n, i + step))) for i in range(0, n, step))
