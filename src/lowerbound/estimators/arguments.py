"""Types of arguments that several estimators take, and labels and sequences that they don't."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import TransformerMixin

from lowerbound.data.checks import DataError
from lowerbound.data.columns.schema import ColumnSchema
from lowerbound.data.sequences import Sequences
from lowerbound.data.sources import Source
from lowerbound.warning import warn

# rows of data, shape (n, *row): arrays, lists, frames, or what reads rows from files
Data = ArrayLike | Source

# how a table is described: "auto" or the name of a JSON file, kinds or fields by name, or the schemas of its columns
Columns = str | Mapping[str, str | Mapping[str, Any] | ColumnSchema] | Sequence[ColumnSchema | Mapping[str, Any]] | None


def warn_of_labels(estimator: object, y: object) -> None:
    """Warn where labels are given to a fit that doesn't use them, and say what would."""
    if y is not None:
        warn(
            f"y is not used: {type(estimator).__name__} is fitted to the rows of X alone. VAE().fit(X, context=y) is "
            f"fitted to p(x|y), and VAEClassifier().fit(X, y) predicts y",
        )


class RowsToCodes(TransformerMixin):
    """A transformer whose fit uses no labels, so that it can stand in a pipeline that has them."""

    def fit_transform(self, X: Data, y: object = None, **options: Any) -> Any:
        """Fit to ``X``, and give the codes of its rows.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        y : ignored
        **options
            As for ``fit``.
        """
        fitted: Any = self.fit(X, **options)  # type: ignore[attr-defined]
        return fitted.transform(X)


def check_no_sequences(X: Any) -> None:
    """Refuse sequences and texts where rows of one shape are wanted, and say what takes them.

    Parameters
    ----------
    X : array-like
        Of lists those of texts, and of arrays or frames that differ in length.
    """
    each: Any = X if isinstance(X, (list, tuple)) else ()
    if each and isinstance(each[0], str):
        raise DataError("X is a list of texts, of which SequenceVAE is a model; here a row is numbers")
    shapes = {np.shape(one) for one in each if not isinstance(one, (list, tuple))}
    if isinstance(X, Sequences) or (len(shapes) > 1 and min(map(len, shapes)) > 1):
        raise DataError(
            "X is sequences of several steps, of which RecurrentVAE is a model (p_values rank them as outliers); here "
            "all rows have one shape"
        )
