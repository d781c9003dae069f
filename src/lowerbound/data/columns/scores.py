"""Columns of real numbers described by their normal scores: what each is like by itself needn't be learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lowerbound.data.columns.schema import ColumnSchema
from lowerbound.data.columns.values import as_numbers
from lowerbound.data.normal_scores import NormalScores

if TYPE_CHECKING:
    import pandas as pd

REAL_KINDS = ("continuous", "positive", "date")
FEWEST = 500  # values from which quantiles are known well enough
COMPONENTS, ROWS_A_COMPONENT = 10, 100  # of the density of the scores given z, and the least rows of each
FAR = 1000.0  # standard deviations that the scale goes on beyond the last quantiles


def by_normal_scores(frame: pd.DataFrame, columns: Sequence[ColumnSchema]) -> dict[str, dict[str, Any]]:
    """Descriptions of the columns of real numbers, with which they enter the model as normal scores.

    Parameters
    ----------
    frame : DataFrame
    columns : sequence of ColumnSchema
        Of its columns, as they were inferred.

    Returns
    -------
    dict
        What ``VAE(columns=…)`` takes. Columns with fewer than 500 values beside their atoms are not in it.
    """
    found = {}
    for j, column in enumerate(columns):
        if column.kind in REAL_KINDS:
            v = as_numbers(frame.iloc[:, j], column.dtype)
            v = v[np.isfinite(v) & ~np.isin(v, column.atoms)]
            if len(v) >= FEWEST:
                quantiles, scores = knots(v)
                n_components = max(1, min(COMPONENTS, len(v) // ROWS_A_COMPONENT))
                kind = "date" if column.kind == "date" else "continuous"
                found[column.name] = {
                    "kind": kind, "quantiles": quantiles, "scores": scores, "n_components": n_components
                }  # fmt: skip
    return found


def knots(v: np.ndarray) -> tuple[list[float], list[float]]:
    """Quantiles of values and their normal scores, rising; beyond the last ones the unit is the standard deviation."""
    quantiles, scores = NormalScores.of(v).knots
    beyond = FAR * (float(v.std()) or 1.0)
    ends = [quantiles[0] - beyond], [quantiles[-1] + beyond]
    return (
        np.concatenate([ends[0], quantiles, ends[1]]).tolist(),
        np.concatenate([[scores[0] - FAR], scores, [scores[-1] + FAR]]).tolist(),
    )
