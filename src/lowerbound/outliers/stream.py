"""Learning from rows that come a part at a time, with a sample of all of them to compare with."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import _num_samples
from torch import Tensor

from lowerbound.data.context import RowsGiven
from lowerbound.data.frames import as_pandas
from lowerbound.data.sources import Source, as_source
from lowerbound.distributions.noise import make_generator
from lowerbound.estimators.latent import CollapsedPosteriorWarning
from lowerbound.estimators.vae import VAE
from lowerbound.outliers.ensemble import untrained
from lowerbound.outliers.member import take
from lowerbound.storage.records import is_of

ROWS_KEPT = 1_000


@dataclass
class Stream:
    """A uniform sample of the rows of a stream up to now (Vitter, 1985, algorithm R).

    Attributes
    ----------
    rows : ndarray or DataFrame
        At most 1,000.
    n_seen : int
        Rows of the stream.
    seed : int
    """

    rows: Any
    n_seen: int
    seed: int

    @classmethod
    def begun(cls, X: Any, seed: int) -> Stream:
        """The stream whose first rows these are."""
        return cls(take(X, np.arange(0)), 0, seed).continued(X)

    def continued(self, X: Any) -> Stream:
        """The stream after the rows ``X``: row t replaces one that is kept with a probability of 1,000/t."""
        n, kept = _num_samples(X), _num_samples(self.rows)
        draw = make_generator(self.seed, f"reservoir from {self.n_seen}")
        uniform = torch.rand(n, generator=draw, dtype=torch.float64).numpy()
        places = np.arange(ROWS_KEPT)  # of those kept and X together
        for i in range(n):
            seen = self.n_seen + i
            place = seen if seen < ROWS_KEPT else int(uniform[i] * (seen + 1))
            if place < ROWS_KEPT:
                places[place] = kept + i
        n_seen = self.n_seen + n
        return Stream(take(_together(self.rows, X), places[: min(n_seen, ROWS_KEPT)]), n_seen, self.seed)

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and a record that ``restored`` takes."""
        is_frame = isinstance(self.rows, pd.DataFrame)
        rows = np.ascontiguousarray(self.rows.to_numpy() if is_frame else self.rows)
        columns = list(map(str, self.rows.columns)) if is_frame else None
        record = {"n_seen": self.n_seen, "seed": self.seed, "columns": columns}
        return {"stream.rows": torch.from_numpy(rows)}, record

    @classmethod
    def restored(cls, rows: Tensor, record: Any) -> Stream:
        """The stream that was saved; ``ValueError`` where the record is damaged."""
        types = {"n_seen": int, "seed": int, "columns": list[str] | None}
        if not isinstance(record, dict) or not all(is_of(record.get(name), kind) for name, kind in types.items()):
            raise ValueError("the record of a stream is damaged")
        columns, values = record["columns"], rows.numpy()
        if values.ndim < 2 or not len(values) <= record["n_seen"] or (columns and len(columns) != values.shape[1]):
            raise ValueError("the rows of a stream are damaged")
        return cls(
            values if columns is None else pd.DataFrame(values, columns=columns), record["n_seen"], record["seed"]
        )


def checked_rows(detector: Any, X: Any) -> Any:
    """Rows of numbers, as an array or frame; ``ValueError`` where a stream can't be of them, or by this detector."""
    estimator = detector.estimator
    if hasattr(estimator, "model_"):
        raise ValueError("partial_fit would change the fitted estimator: give one that isn't fitted, or use fit")
    if hasattr(detector, "estimators_") and detector._stream is None:
        raise ValueError("fit kept no rows to compare with: begin with partial_fit to go on with partial_fit")
    if detector.calibration_fraction:
        raise ValueError("partial_fit holds no rows out: leave calibration_fraction at 0, and call calibrate")
    if isinstance(as_source(X), Source) or isinstance(X, RowsGiven):
        raise ValueError("partial_fit takes rows in memory without a context: use fit for files")
    X = as_pandas(X)
    X = X if isinstance(X, pd.DataFrame) else np.asarray(X)
    kinds = X.dtypes if isinstance(X, pd.DataFrame) else [X.dtype]
    if not all(isinstance(kind, np.dtype) and kind.kind in "iuf" for kind in kinds):
        raise ValueError("partial_fit takes numbers alone: code other columns as numbers, or use fit")
    return X


def learn(detector: Any, X: Any, seed: int) -> list[VAE]:
    """The autoencoders after a pass over ``X``: new ones, or those that the detector has."""
    members = getattr(detector, "estimators_", None)
    if members is None:
        members = untrained(detector, X, seed)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapsedPosteriorWarning)  # early in a stream codes are hardly used
        return [member.partial_fit(X) for member in members]


def _together(kept: Any, X: Any) -> Any:
    if isinstance(X, pd.DataFrame):
        return pd.concat([kept, X], ignore_index=True) if len(kept) else X
    return np.concatenate([kept, X]) if len(kept) else X
