"""What is expected of a value, given the rest of its row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from lowerbound.estimators.unusual import ENTRIES_AT_ONCE, limit_of
from lowerbound.estimators.vae import VAE
from lowerbound.tasks import outliers

N_DRAWS = 200  # of a value given the rest of its row, from each autoencoder
RANGE = (0.05, 0.95)  # quantiles between which a value is expected


def expectations(members: Sequence[VAE], X, places: np.ndarray) -> list[np.ndarray]:
    """Mean and range of x_j given the rest of its row, for the features j in ``places`` (n, k); (n·k,) each."""
    found = np.full((3, *places.shape), np.nan, dtype=object)
    prepared = [member._exactly(X) for member in members]
    for j, rows, ranks in _parts(places, max(1, ENTRIES_AT_ONCE // (N_DRAWS * np.shape(X)[1]))):
        drawn = [
            outliers.draws_of_entry(*model, rows, j, N_DRAWS, limit_of(member))
            for member, model in zip(members, prepared, strict=True)
        ]
        draws = [
            pd.DataFrame(member.schema_.restore(x, expected=False)) for member, x in zip(members, drawn, strict=True)
        ]
        pooled = pd.DataFrame(np.concatenate([d.iloc[:, j].to_numpy().reshape(N_DRAWS, len(rows)) for d in draws]))
        if all(dtype.kind in "biuf" for dtype in pooled.dtypes):
            found[:, rows, ranks] = pooled.mean(), *(pooled.quantile(q) for q in RANGE)
        else:  # levels have no mean and no range
            found[0, rows, ranks] = pooled.mode().iloc[0]
    return list(found.reshape(3, -1))


def _parts(places: np.ndarray, step: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Each number in ``places`` (n, k), and the rows and columns where it stands, at most ``step`` at a time."""
    for j in np.unique(places):
        rows, columns = np.nonzero(places == j)
        yield from ((j, rows[i : i + step], columns[i : i + step]) for i in range(0, len(rows), step))
