"""Validation of an imputer, column by column: observed cells are hidden, filled, and compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lowerbound.data.columns.values import as_numbers, type_word
from lowerbound.data.table_code import column_numbers, columns_of, missing
from lowerbound.imputation.gaussians import stream
from lowerbound.imputation.imputer import VAEImputer

HIDDEN = 0.1
LEVEL = 0.9


@dataclass
class ColumnCheck:
    """The errors in one column.

    Attributes
    ----------
    kind : {"number", "category"}
    n_cells : int
        The number of hidden cells.
    error : float
        Root mean squared error in the column's standard deviations; for categories, the fraction of wrong ones.
    coverage : float or None
        The fraction of the hidden numbers that lie in their 90 % interval, of those at its ends as many as the level
        needs (`Intervals.covered`).
    """

    name: str
    kind: str
    n_cells: int
    error: float
    coverage: float | None


def check_filling(imputer: VAEImputer, X: Any, seed: int) -> tuple[list[ColumnCheck], float | None]:
    """Hide a tenth of the observed cells of X, fill them, and compare.

    Parameters
    ----------
    imputer : VAEImputer
        A fitted imputer; it is not fitted again, so the hidden cells may have been in its training data.
    X : ndarray or DataFrame, shape (n, columns)
    seed : int

    Returns
    -------
    checks : list of ColumnCheck
        Columns without hidden cells are left out.
    gaussian : float or None
        The error in all hidden numbers of a full Gaussian that is fitted to the other cells.
    """
    hidden = ~missing(X) & (stream(seed, "check").random(X.shape) < HIDDEN)
    gaps = X.mask(hidden) if isinstance(X, pd.DataFrame) else np.where(hidden, np.nan, X)
    filled, found = imputer.transform(gaps), imputer.intervals(gaps, LEVEL)
    numbers = np.stack([column_numbers(values) for values in columns_of(X)], 1)
    covered = found.covered(numbers)
    names = X.columns if isinstance(X, pd.DataFrame) else range(X.shape[1])
    checks = []
    for j, (name, truth) in enumerate(zip(names, columns_of(X), strict=True)):
        rows = np.flatnonzero(hidden[:, j])
        if len(rows):
            guess = np.asarray(columns_of(filled)[j])[rows]
            checks.append(_compare(str(name), truth, guess, rows, covered[rows, j]))
    return checks, _gaussian_error(X, gaps, hidden, seed)


def _compare(name: str, truth: Any, guess: np.ndarray, rows: np.ndarray, covered: np.ndarray) -> ColumnCheck:
    numbers = column_numbers(truth)
    if np.isnan(numbers).all():
        return ColumnCheck(name, "category", len(rows), float(np.mean(guess != np.asarray(truth)[rows])), None)
    right, spread = numbers[rows], np.nanstd(numbers) or 1.0
    guessed = as_numbers(guess, type_word(truth))
    error = float(np.sqrt(np.mean((guessed - right) ** 2)) / spread)
    return ColumnCheck(name, "number", len(rows), error, float(covered.mean()))


def _gaussian_error(X: Any, gaps: Any, hidden: np.ndarray, seed: int) -> float | None:
    """The Gaussian's root mean squared error over columns of numbers, in standard deviations."""
    numbers = np.stack([column_numbers(values) for values in columns_of(X)], 1)
    gaussian = VAEImputer(models=("gaussian",), keep_empty_features=True, random_state=seed)
    filled = np.stack(
        [column_numbers(v) for v in columns_of(gaussian.set_output(transform="pandas").fit_transform(gaps))], 1
    )
    of_columns = []
    for j, rows in enumerate(hidden.T):
        if rows.any() and not np.isnan(numbers[:, j]).all():
            spread = np.nanstd(numbers[:, j]) or 1.0
            of_columns.append((((filled - numbers)[rows, j] / spread) ** 2).mean())
    return float(np.sqrt(np.mean(of_columns))) if of_columns else None
