"""Masks of tables of numbers: which cells are hidden completely at random, at random, or not at random.

MAR and MNAR are the logistic ones of Muzellec, Josse, Boyer & Cuturi (2020, arXiv:2002.03860, section 4;
BorisMuzellec/MissingDataOT): 30 % of the columns, at least one, are inputs of a logistic model of what is hidden in
each of the others. Its weights are drawn from N(0, 1) and divided so that their sum of inputs has unit variance; its
intercept is the one with which the expected part of a column that is hidden is the rate. With "mar" the inputs are
never hidden; with "mnar" they are, completely at random, so that what is hidden depends on what is.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

MECHANISMS = ("mcar", "mar", "mnar")
INPUTS = 0.3  # part of the columns


def hidden_cells(X: np.ndarray, mechanism: str, rate: float, rng: np.random.Generator) -> np.ndarray:
    """True where a cell of ``X`` (n, F) is hidden.

    With "mar" the rate is that of the columns that aren't inputs, else that of all.
    """
    if mechanism == "mcar":
        return rng.random(X.shape) < rate
    n, n_columns = X.shape
    columns = rng.permutation(n_columns)
    inputs, others = np.split(columns, [max(1, int(INPUTS * n_columns))])
    hidden = np.zeros(X.shape, dtype=bool)
    hidden[:, others] = rng.random((n, len(others))) < probabilities(X[:, inputs], len(others), rate, rng)
    if mechanism == "mnar":
        hidden[:, inputs] = rng.random((n, len(inputs))) < rate
    return hidden


def probabilities(inputs: np.ndarray, n_columns: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Of being hidden by the logistic model, for every row in each of ``n_columns`` columns, (n, n_columns)."""
    standardized = (inputs - inputs.mean(0)) / np.where(inputs.std(0) > 0, inputs.std(0), 1)
    logits = standardized @ rng.normal(size=(inputs.shape[1], n_columns))
    logits /= np.where(logits.std(0) > 0, logits.std(0), 1)
    return expit(logits + [brentq(lambda b, of=of: expit(of + b).mean() - rate, -50, 50) for of in logits.T])
