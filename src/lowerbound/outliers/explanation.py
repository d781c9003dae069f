"""The surprising values of a row, and what is expected in their place given the rest of the row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lowerbound.data.columns.values import as_numbers, as_values, measure_of, type_word
from lowerbound.data.context import RowsGiven
from lowerbound.data.frames import as_pandas
from lowerbound.data.gaps import nan_in_gaps
from lowerbound.estimators.vae import VAE
from lowerbound.outliers.member import ENTRIES_AT_ONCE, has_index, index_of, limit_of, on_rows
from lowerbound.tasks import outlier_scores

N_DRAWS = 100  # of a value given the rest of its row, from each autoencoder
RANGE = (0.05, 0.95)  # quantiles between which a value is expected


def reasons(
    members: Sequence[VAE],
    X: ArrayLike | RowsGiven,
    names: Sequence[str],
    excess: np.ndarray,
    n_features: int,
    least: float,
) -> pd.DataFrame:
    """For each row the ``n_features`` entries with the highest excess (n, F), if it is ``least`` nats or more."""
    nats = np.where(np.isnan(excess), -np.inf, excess)  # what is missing comes last
    top = np.argsort(-nats, axis=1, kind="stable")[:, :n_features]
    rows, ranks = np.nonzero(np.take_along_axis(nats, top, 1) >= least)
    columns = top[rows, ranks]
    expected, low, high, ess = expectations(members, X, rows, columns)
    table = nan_in_gaps(X.X if isinstance(X, RowsGiven) else X)
    found = {
        "row": rows,
        "feature": np.asarray(names, dtype=object)[columns],
        "surprise": np.nan_to_num(excess[rows, columns]),
        "value": np.asarray(table, dtype=object).reshape(len(excess), -1)[rows, columns],
    }
    own = index_of(X)[rows] if has_index(X) else None
    expectation = {"expected": expected, "low": low, "high": high, "ess": ess}
    return pd.DataFrame(found | expectation, index=own).infer_objects()


def expectations(members: Sequence[VAE], X: ArrayLike | RowsGiven, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Median and range of entries given the rest of their rows, for k places (row, column) in X; (4, k).

    The last number is how many importance samples they rest on, effectively: of the mean of M members, each with
    its own number, M²/Σ 1/ESS.
    """
    found = np.full((4, len(rows)), np.nan, dtype=object)
    prepared = [on_rows(member.fitted_.with_shared_noise(), X) for member in members]
    n_entries = math.prod(X.shape[1:] if isinstance(X, RowsGiven) else np.shape(X)[1:])
    for places in _parts(columns, max(1, ENTRIES_AT_ONCE // (N_DRAWS * max(1, n_entries)))):
        j, chosen = int(columns[places[0]]), rows[places]
        drawn = [
            outlier_scores.draws_of_entry(on, chosen, j, N_DRAWS, limit_of(member))
            for member, on in zip(members, prepared, strict=True)
        ]
        found[3, places] = len(drawn) ** 2 / sum(1 / ess.numpy() for _, ess in drawn)
        restored = [
            as_pandas(member.schema_.restore(x, expected=False)) for member, (x, _) in zip(members, drawn, strict=True)
        ]
        series = [_column(values, j) for values in restored]
        pooled = pd.concat(series, ignore_index=True)
        word = type_word(pooled)
        if measure_of(word) != "category":
            draws = pd.DataFrame(as_numbers(pooled, word).reshape(len(series) * N_DRAWS, len(chosen)))
            quantiles = draws.quantile([0.5, *RANGE], interpolation="nearest").to_numpy()
            found[:3, places] = as_values(quantiles.ravel(), word).astype(object).to_numpy().reshape(quantiles.shape)
        else:  # words and truth values have no order, so no range
            found[0, places] = _most_frequent(pooled.to_numpy(object).reshape(-1, len(chosen)))
    return found


def _column(rows: Any, j: int) -> pd.Series:
    """Feature j of a frame, or of an array of any number of axes."""
    return (rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows.reshape(len(rows), -1))).iloc[:, j]


def _most_frequent(draws: np.ndarray) -> np.ndarray:
    """The category that each of n entries has most often, draws (k, n) → (n,)."""
    which, categories = pd.factorize(draws.ravel())
    n = draws.shape[1]
    counts = np.bincount(which * n + np.tile(np.arange(n), len(draws)), minlength=len(categories) * n)
    return categories[counts.reshape(len(categories), n).argmax(0)]


def _parts(columns: np.ndarray, step: int) -> Iterator[np.ndarray]:
    """The places of each number in ``columns`` (k,), at most ``step`` at a time."""
    for j in np.unique(columns):
        places = np.flatnonzero(columns == j)
        yield from (places[i : i + step] for i in range(0, len(places), step))
