"""Rows far outside what was fitted, which are rather in another unit than unusual."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lowerbound.data.checks import listed
from lowerbound.data.gaps import mask_gaps, nan_in_gaps
from lowerbound.data.schema import Schema
from lowerbound.data.sources import Source
from lowerbound.distributions.atoms import is_atom
from lowerbound.distributions.unseen import is_unseen
from lowerbound.warning import warn

FAR = 10.0  # standard deviations; of the values that were fitted at most one in a hundred is as far (Chebyshev)
FEWEST = 20  # values, from which more than outliers are seen in them
ROWS_SEEN, ROWS_READ = 1000, 20  # of rows in memory, and of a source


class FarFromFittedWarning(UserWarning):
    """Most values of some features lie far outside those that were fitted."""


def warn_of_far(X: np.ndarray | Source, schema: Schema, names: Sequence[str] | None = None) -> None:
    """Warn where most values of a feature are more than ten standard deviations from the mean that was fitted.

    Parameters
    ----------
    X : ndarray, shape (n, *row), or Source
        Checked rows; those of a table of several kinds as its columns encode them.
    schema : Schema
        Of the rows that were fitted.
    names : sequence of str, optional
        Of the features.
    """
    if schema.columns is None and schema.is_discrete:  # other values are refused
        return
    seen = _some(X)
    deviations = _deviations(seen, schema)
    is_far = np.abs(deviations) > FAR
    features = np.flatnonzero(is_far.sum(0) > 0.5 * np.maximum(1, np.isfinite(deviations).sum(0)))
    if is_far[:, features].sum() < FEWEST:
        return
    if schema.columns is not None:
        names = [column.name for column in schema.columns]
    which = listed([repr(str(names[j])) if names is not None else str(j) for j in features.tolist()])
    distance = float(np.nanmedian(np.abs(deviations[:, features])))
    warn(
        f"most values of {len(features)} of {deviations.shape[1]} features ({which}) lie far outside those that were "
        f"fitted, {distance:,.3g} standard deviations from their mean (median): {_reason(seen, schema, features)}",
        FarFromFittedWarning,
    )


def _some(X: np.ndarray | Source) -> np.ndarray:
    """Rows from all over an array, the first ones of a source; NaN in gaps."""
    if isinstance(X, Source):
        return nan_in_gaps(mask_gaps(X.as_array(X.read(np.array([[0, min(len(X), ROWS_READ)]])).X)))
    return nan_in_gaps(X[:: -(-len(X) // ROWS_SEEN)])


def _deviations(X: np.ndarray, schema: Schema) -> np.ndarray:
    """(x − mean)/sd of every entry that counts, shape (n, F), in the order of the user's axes; else NaN."""
    x = schema.to_event(X)
    if schema.columns is not None:
        return np.where(schema.in_deviations & ~is_atom(x) & ~is_unseen(x), x, np.nan)
    z = ((x - schema.location) / schema.unit - schema.mean) / schema.spread
    return schema.to_rows(np.where(schema.counted, z, np.nan)).reshape(len(X), -1)


def _reason(X: np.ndarray, schema: Schema, features: np.ndarray) -> str:
    """The likely reason in words."""
    unit = "are they in another unit, or columns in another order?"
    if schema.columns is not None:
        return unit
    values = X.reshape(len(X), -1)[:, features]
    location, scale = schema.location + schema.unit * schema.mean, schema.unit * schema.spread
    mean, sd = (schema.to_rows(each[None]).ravel()[features] for each in (location, scale))
    are_bytes = np.nanmin(values) >= 0 and 1 < np.nanmax(values) <= 255 and (values == np.floor(values)).all()
    if are_bytes and (mean >= 0).all() and (mean + sd <= 1.5).all():
        return "bytes (0 to 255) where fractions (0 to 1) were fitted? Divide them by 255"
    if (
        (np.abs(np.nanmedian(values, 0)) < 1).all()
        and (np.nanstd(values, 0) < 3).all()
        and (np.abs(mean) > FAR * sd).all()
    ):
        return "standardized, where raw values were fitted? The model standardizes them itself: give the raw ones"
    return unit
