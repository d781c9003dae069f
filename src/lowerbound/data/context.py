"""The context c of a row, known beforehand, as the numbers that the networks read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lowerbound.data.columns.coding import encode_quietly, standardized_atoms, warn_of_unseen
from lowerbound.data.columns.inference import framed, infer_columns
from lowerbound.data.columns.schema import ColumnSchema, from_record
from lowerbound.data.frames import as_pandas
from lowerbound.data.gaps import nan_in_gaps
from lowerbound.distributions.atoms import is_atom, place_of
from lowerbound.distributions.unseen import is_unseen

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ContextSchema:
    """The columns of a context, and their places among C numbers.

    Each category has an indicator, and those that are missing or weren't seen in the fit have one together. A number is
    its place in standard deviations, and has an indicator of where it is missing.

    Attributes
    ----------
    columns : tuple of ColumnSchema
    """

    columns: tuple[ColumnSchema, ...]

    @classmethod
    def infer(cls, context: Any) -> ContextSchema:
        """The schema of a context: an array, a series or a frame; words and whole numbers alone are categories."""
        frame = as_frame(context)
        alone = frame.shape[1] == 1 and frame.dtypes.iloc[0].kind in "biuOSU"
        empty = [str(name) for name in frame.columns if bool(np.all(frame[name].isna()))]
        if empty:
            raise ValueError(f"the context has no value in {empty[0]!r}: leave it out")
        asked = {str(frame.columns[0]): "categorical"} if alone and np.ndim(context) == 1 else None
        return cls(infer_columns(frame, asked))

    @property
    def n_numbers(self) -> int:
        """The number of numbers, C."""
        return sum(map(_width, self.columns))

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self.columns]

    def encode(self, context: Any, n_rows: int) -> np.ndarray:
        """The context of ``n_rows`` rows as numbers, shape (n_rows, C); one row is the context of all.

        Raises
        ------
        ValueError
            If there are other columns, or not as many rows.
        """
        frame = as_frame(context)
        if list(map(str, frame.columns)) != self.names:
            if frame.shape[1] != len(self.columns) or hasattr(context, "columns"):
                raise ValueError(f"the model is given a context of the columns {self.names}, got {list(frame.columns)}")
            frame.columns = self.names
        if len(frame) not in (1, n_rows):
            raise ValueError(f"the context has {len(frame)} rows, and there are {n_rows} to be given one")
        coded, unseen = encode_quietly(frame, self.columns)
        warn_of_unseen(unseen)
        parts = [_numbers(coded[:, j], column) for j, column in enumerate(self.columns)]
        return np.repeat(np.concatenate(parts, 1), n_rows if len(frame) == 1 else 1, 0)

    def metadata(self) -> list[dict[str, Any]]:
        """The columns as JSON holds them."""
        return [asdict(column) for column in self.columns]

    @classmethod
    def from_saved(cls, columns: Sequence[dict[str, Any]]) -> ContextSchema:
        """The inverse of ``metadata``."""
        return cls(tuple(map(from_record, columns)))


@dataclass(frozen=True)
class RowsGiven:
    """Rows of data, and the context of each.

    Attributes
    ----------
    X : array-like, shape (n, *row)
    context : array, series or DataFrame
        n rows, or one for all.
    """

    X: Any
    context: Any

    def __len__(self) -> int:
        return len(self.X)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of X."""
        return np.shape(self.X)

    def take(self, places: np.ndarray) -> RowsGiven:
        """The rows at some places."""
        context = as_pandas(self.context)  # an array stays one: it has no names of columns that could be others
        one_for_all = np.ndim(context) == 0 or len(context) == 1
        return RowsGiven(_at(self.X, places), context if one_for_all else _at(context, places))


def _at(X: Any, places: np.ndarray) -> Any:
    iloc = getattr(X, "iloc", None)
    return np.asanyarray(X)[places] if iloc is None else iloc[places]


def as_frame(context: Any) -> pd.DataFrame:
    """A context as a frame; an array of one dimension, or a series, is one column."""
    import pandas as pd

    context = as_pandas(context)
    if isinstance(context, pd.Series):
        return context.to_frame(str(context.name) if context.name is not None else "context")
    if isinstance(context, pd.DataFrame):
        return context
    values = np.asarray(nan_in_gaps(context))
    if values.ndim == 0:
        values = values[None]
    if values.ndim == 1:
        return pd.DataFrame({"context": values})
    return framed(context)


def _width(column: ColumnSchema) -> int:
    if column.has_categories:
        return len(column.categories) + 1
    return 2 + bool(column.atoms)


def _numbers(coded: np.ndarray, column: ColumnSchema) -> np.ndarray:
    """One column's numbers, (n, width)."""
    missing = np.isnan(coded) | is_unseen(coded)
    if column.has_categories:
        places = np.where(missing, len(column.categories), coded).astype(int)
        return np.eye(len(column.categories) + 1)[places]
    at_atom, atoms = is_atom(coded), standardized_atoms(column)
    value = np.where(missing, 0.0, coded)
    if column.atoms:
        value = np.where(at_atom, atoms[place_of(coded).astype(int)] if len(atoms) > 1 else 0.0, value)
    return np.column_stack([value, missing, *([at_atom] if column.atoms else [])])


def class_frequencies(column: ColumnSchema) -> np.ndarray:
    """The frequencies of a column's categories in the fit, the rare ones alike, shape (K,)."""
    common, n_rare = column.frequencies[: column.n_common], len(column.categories) - column.n_common
    rare = [column.frequencies[column.n_common] / n_rare] * n_rare if n_rare else []
    p = np.array([*common, *rare])
    return p / p.sum()
