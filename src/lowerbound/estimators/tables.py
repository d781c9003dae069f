"""Estimators that take tables whose columns are of several kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.utils.validation import validate_data

from lowerbound.data.columns.coding import encode
from lowerbound.data.columns.inference import framed, summarize_columns
from lowerbound.data.columns.schema import ColumnSchema
from lowerbound.data.columns.streamed import EncodedRows
from lowerbound.data.frames import as_pandas, container_of
from lowerbound.data.gaps import mask_gaps
from lowerbound.data.schema import Schema
from lowerbound.data.sources import Source, as_source
from lowerbound.estimators.arguments import Columns
from lowerbound.estimators.density import DensityEstimator
from lowerbound.parameters.likelihoods import ColumnLikelihoods

if TYPE_CHECKING:
    import pandas as pd


class MixedColumns(DensityEstimator):
    """A frame with text, categories or dates, or any table for which ``columns`` says so, is encoded by its columns."""

    columns: Columns

    def _encode_columns(self, X, *, reset: bool) -> Any | None:
        """The places of categories and scaled numbers, masked where they are missing; None for numbers alone."""
        container, X = container_of(X), as_pandas(X)
        is_kept = not reset or (getattr(self, "warm_start", False) and hasattr(self, "model_"))
        if not is_kept:
            self._inferred = self._infer_columns(X, container)
        schema = self.schema_ if is_kept else self._inferred
        columns = None if schema is None else schema.columns
        if columns is None:
            return None
        X = as_source(X) if self.STREAMS else X
        frame = framed(X.spread(2).X if isinstance(X, Source) else X)
        named: Any = frame if hasattr(X, "columns") else X
        validate_data(self, named, reset=reset, skip_check_array=True)
        if frame.shape[1] != len(columns):
            raise ValueError(f"X has {frame.shape[1]} columns, but the model was fitted to {len(columns)}")
        if not len(frame):
            raise ValueError(f"X has no rows: 0 sample(s) (shape={frame.shape}) while a minimum of 1 is required")
        return EncodedRows(X, columns) if isinstance(X, Source) else mask_gaps(encode(frame, columns))

    def _infer_columns(self, X: Any, container: str) -> Schema | None:
        """The schema of a table of several kinds; None for other data."""
        likelihood, wanted = self._part("likelihood"), self.columns is not None
        wanted |= isinstance(likelihood, ColumnLikelihoods)
        if (isinstance(X, Source) and not self.STREAMS) or not (wanted or has_text(X)):
            return None
        if not isinstance(likelihood, ColumnLikelihoods) and likelihood != "auto":
            raise ValueError(
                f"a table of several kinds has a likelihood for each column, so likelihood={likelihood!r} can't be "
                f"honored: leave it 'auto'"
            )
        for name in ("image_shape", "layout"):
            asked = getattr(self, name, None)
            if asked not in (None, "auto", "features"):
                raise ValueError(f"a table of several kinds has no axes: leave {name}={asked!r} out")
        looks = summarize_columns(X, None if self.columns == "auto" else self.columns)
        gaps = any(look.n < len(X) for look in looks)
        return Schema.of_columns(tuple(look.schema() for look in looks), gaps=gaps, container=container)

    @property
    def columns_(self) -> tuple[ColumnSchema, ...] | None:
        """The schema of each column of a table of several kinds; None for other data."""
        return self.schema_.columns


def has_text(X: Any) -> bool:
    """It is a table with a column that is neither numbers nor truth values."""
    if isinstance(X, Source):
        return X.is_mixed
    if not (hasattr(X, "dtypes") and hasattr(X, "columns")):
        return False
    X = as_pandas(X)
    return any(_is_text(X.iloc[:, j]) for j in range(X.shape[1]))


def _is_text(column: pd.Series) -> bool:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column.dtype):
        return False
    if column.dtype.kind != "O" or isinstance(column.dtype, pd.CategoricalDtype):
        return True
    inferred = pd.api.types.infer_dtype(column, skipna=True)  # of objects
    return inferred not in ("integer", "floating", "mixed-integer-float", "boolean", "decimal", "empty")
