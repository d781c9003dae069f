"""Sequences of unequal lengths: kept one after another in one array, and given in batches of like lengths."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from lowerbound.core import Batch
from lowerbound.data.batches import Rows, RowsInMemory, held_out, scattered
from lowerbound.data.checks import DataError, check_rectangular, counted, listed
from lowerbound.data.fingerprint import digest, hashed
from lowerbound.data.frames import as_pandas, container_of, is_frame
from lowerbound.data.gaps import mask_gaps
from lowerbound.data.long_format import in_sequences
from lowerbound.data.sources import Source, as_source
from lowerbound.distributions.noise import Noise
from lowerbound.parallel import ALONE, WHOLE, Processes, Share

BUCKET = 16  # batches whose sequences are sorted by length together
PASS_STEPS = 2**15  # steps in a batch that is not trained on, padding included: bounds memory


def cut(values: Any, lengths: np.ndarray) -> list[Any]:
    """An array or a frame with one row for each step, cut into sequences of these lengths."""
    ends = np.cumsum(lengths)
    values = values.iloc if hasattr(values, "iloc") else values
    return [values[end - length : end] for end, length in zip(ends, lengths, strict=True)]


class Sequences:
    """Sequences: all steps one after another, and the number of steps of each sequence.

    Parameters
    ----------
    steps : array-like, DataFrame or Source, shape (ΣT, F)
        The steps of the first sequence, then those of the second, and so on; NaN and masked entries were not observed.
        The index of a frame, such as times, is kept. Those of a ``Source``, which ``lowerbound.stream`` opens, and of a
        memory map of more than 256 MiB are read when they are used.
    lengths : array-like of int, shape (n,)
        T of each sequence, at least 1.
    ids : array-like, shape (n,), optional
        Names of the sequences.

    Raises
    ------
    DataError
        If the lengths don't add up to the steps, or a value is no finite number.

    Examples
    --------
    >>> import numpy as np
    >>> from lowerbound import Sequences
    >>> len(Sequences(np.zeros((7, 2)), lengths=[3, 4]))
    2
    """

    steps: Any
    lengths: np.ndarray
    ids: np.ndarray | None
    container: str

    def __init__(self, steps: Any, lengths: Any, ids: Any = None) -> None:
        self.container = container_of(steps)
        steps, lengths = as_source(as_pandas(steps)), np.asarray(lengths)
        mask = np.ma.getmaskarray(steps) if isinstance(steps, np.ma.MaskedArray) else None
        flat = steps if is_frame(steps) or isinstance(steps, Source) else np.asarray(steps)
        if flat.ndim != 2 or not all(flat.shape):
            raise DataError(f"the steps of sequences have shape (steps, columns), none of them 0; got {flat.shape}")
        if not is_frame(flat) and flat.dtype.kind not in "biuf":
            raise DataError(
                f"the steps of sequences are numbers; got values of type {flat.dtype}: give DataFrames for columns of "
                f"several kinds"
            )
        if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or not (lengths >= 1).all():
            raise DataError("the lengths of sequences are whole numbers, at least 1, one for each sequence")
        if lengths.sum() != len(flat):
            raise DataError(f"the lengths add up to {lengths.sum():,} steps, and there are {len(flat):,}")
        if ids is not None and np.shape(ids) != lengths.shape:
            raise DataError(f"there are {len(lengths):,} sequences, and ids have shape {np.shape(ids)}")
        self.lengths, self.ids = lengths.astype(np.int64), None if ids is None else np.asarray(ids)
        if isinstance(flat, Source):  # what is read is checked then
            self.steps = flat
            return
        self._check_finite(flat)
        if not is_frame(flat):
            flat = mask_gaps(flat.astype(np.float32) if flat.dtype == np.float16 else flat, mask)
        self.steps = flat

    @classmethod
    def of(cls, X: Any) -> Sequences:
        """Sequences from a list of arrays or frames (T, F), or one array (n, T, F) if all are of equal length."""
        if isinstance(X, Sequences):
            return X
        if isinstance(X, np.ndarray):
            return cls.padded(X)
        if is_frame(as_pandas(X)):
            raise DataError(
                "one table may hold one sequence or several: give a list of tables, one for each, or "
                "Sequences.from_frame(table, id=…, time=…)"
            )
        if not isinstance(X, (list, tuple)):
            raise DataError(f"sequences are a list of arrays (steps, columns), or Sequences; got {type(X).__name__}")
        if not X:
            raise DataError("there are no sequences: the list is empty")
        if is_frame(as_pandas(X[0])):
            return cls._of_frames(X)
        for i, x in enumerate(X):
            check_rectangular(x, "step", f"sequence {i}: ")
        join = np.ma.concatenate if any(isinstance(x, np.ma.MaskedArray) for x in X) else np.concatenate
        each = [x if isinstance(x, np.ma.MaskedArray) else np.asarray(x) for x in X]
        for i, x in enumerate(each):
            if x.ndim != 2 or x.shape[1] != each[0].shape[-1] or not len(x):
                wanted = f"(steps, {each[0].shape[1]})" if each[0].ndim == 2 else "(steps, columns)"
                raise DataError(f"sequence {i} has shape {x.shape}; give {wanted}, with one step or more")
        return cls(join(each), [len(x) for x in each])

    @classmethod
    def _of_frames(cls, X: Sequence[Any]) -> Sequences:
        """Sequences from frames of the same columns."""
        import pandas as pd

        frames = [as_pandas(x) for x in X]
        for i, frame in enumerate(frames):
            if not is_frame(frame) or list(frame.columns) != list(frames[0].columns) or not len(frame):
                found = f"the columns {listed(list(map(str, frame.columns)))}" if is_frame(frame) else "no columns"
                raise DataError(
                    f"sequence {i} has {found} and {len(frame)} steps; give one step or more of the columns of "
                    f"sequence 0, {listed(list(map(str, frames[0].columns)))}"
                )
        joined = cls(pd.concat(frames), [len(frame) for frame in frames])
        joined.container = container_of(X[0])
        return joined

    @classmethod
    def from_frame(cls, frame: Any, id: str | None = None, time: str | None = None, every: Any = None) -> Sequences:
        """Sequences from a table in long format, whose rows are steps.

        Parameters
        ----------
        frame : DataFrame
        id : str, optional
            The column that says of which sequence a row is; None if all are of one.
        time : str, optional
            The column that says when, by which rows are sorted: dates, text of dates, or numbers. It becomes the index
            of the steps. None if the rows are in order.
        every : str, Timedelta or number, optional
            The distance of steps. Each row is put on the nearest multiple of it; steps without a row are gaps.

        Raises
        ------
        DataError
            If two rows of a sequence have the same time, or are nearest to one step.

        Examples
        --------
        >>> import pandas as pd
        >>> from lowerbound import Sequences
        >>> times = pd.to_datetime(["2024-01-01 00:00", "2024-01-01 00:05", "2024-01-01 00:15"])
        >>> table = pd.DataFrame({"sensor": "a", "time": times, "value": [1.0, 2.0, 4.0]})
        >>> Sequences.from_frame(table, id="sensor", time="time", every="5min").steps["value"].tolist()
        [1.0, 2.0, nan, 4.0]
        """
        made = cls(*in_sequences(frame, id, time, every))
        made.container = container_of(frame)
        return made

    @classmethod
    def padded(cls, X: Any, lengths: Any = None) -> Sequences:
        """Sequences from an array (n, T, F) that is filled up behind the end of each.

        Parameters
        ----------
        X : array-like, shape (n, T, F)
        lengths : array-like of int, shape (n,), optional
            The number of steps of each sequence; what is behind is not looked at. None: all have T.

        Raises
        ------
        DataError
            If the shapes don't fit; without lengths, if sequences end with NaN, which gaps and filling could mean.
        """
        X = X if isinstance(X, np.ma.MaskedArray) else np.asarray(X)
        if X.ndim != 3:
            raise DataError(f"sequences in one array have shape (sequences, steps, columns), got {X.shape}")
        if lengths is None:
            if X.size and X.dtype.kind == "f" and (ends := np.isnan(np.ma.getdata(X)[:, -1]).all(-1)).any():
                raise DataError(
                    f"{counted(int(ends.sum()), 'sequence')} of the array end with NaN, the first is {ends.argmax()}: "
                    f"say how long they are, Sequences.padded(X, lengths)"
                )
            lengths = np.full(len(X), X.shape[1])
        lengths = np.asarray(lengths)
        if lengths.shape != (len(X),) or (lengths > X.shape[1]).any():
            raise DataError(f"lengths are one for each of the {len(X)} sequences, at most {X.shape[1]}")
        return cls(X[np.arange(X.shape[1]) < lengths[:, None]], lengths)

    @classmethod
    def load(cls, path: str | Path, name: str) -> Sequences:
        """Sequences from an ``.npz`` file with the arrays ``name`` (ΣT, F) and ``name_len`` (n,)."""
        with np.load(path, allow_pickle=False) as file:
            for array in (name, f"{name}_len"):
                if array not in file:
                    raise DataError(f"{path} has no array {array!r}; it has {listed(sorted(file))}")
            return cls(file[name], file[f"{name}_len"])

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self.steps, Source):
            return (Sequences(self._read([a], [T]), [T]).steps for a, T in zip(self.starts, self.lengths, strict=True))
        return iter(self.cut(self.steps))

    @property
    def is_streamed(self) -> bool:
        """The steps are in files, and read when they are used."""
        return isinstance(self.steps, Source)

    @property
    def starts(self) -> np.ndarray:
        """The place of the first step of each sequence, shape (n,)."""
        return np.cumsum(self.lengths) - self.lengths

    def cut(self, values: Any) -> list[Any]:
        """An array or a frame with one row for each step, cut into the sequences."""
        return cut(values, self.lengths)

    def with_steps(self, steps: Any) -> Sequences:
        """The same sequences with other columns, or the same ones in other units."""
        same = copy.copy(self)
        same.steps = steps
        return same

    def subset(self, places: Any) -> Sequences:
        """The sequences with the given places (n,), in that order, in memory."""
        lengths, starts, ids = self.lengths[places], self.starts[places], None if self.ids is None else self.ids[places]
        if isinstance(self.steps, Source):
            return Sequences(self._read(starts, lengths), lengths, ids)
        steps = np.repeat(starts - (lengths.cumsum() - lengths), lengths) + np.arange(lengths.sum())
        same = copy.copy(self)
        same.steps = self.steps.iloc[steps] if is_frame(self.steps) else self.steps[steps]
        same.lengths, same.ids = lengths, ids
        return same

    def _read(self, starts: Any, lengths: Any) -> Any:
        """Steps of a source."""
        return self.steps.read(np.stack([starts, np.add(starts, lengths)], 1)).X

    def digest(self) -> str:
        """A hash of all values, of what was observed, and of the lengths."""
        return hashed([digest(self.steps).encode(), self.lengths])

    def _check_finite(self, flat: Any) -> None:
        names: Any = range(flat.shape[1])
        if is_frame(flat):
            real = [j for j, dtype in enumerate(flat.dtypes) if isinstance(dtype, np.dtype) and dtype.kind == "f"]
            names, flat = [str(flat.columns[j]) for j in real], flat.iloc[:, real].to_numpy()
        infinite = np.isinf(flat) if flat.dtype.kind == "f" else np.zeros(0, bool)
        if infinite.any():
            step, column = np.argwhere(infinite)[0]
            sequence = int(np.searchsorted(self.starts, step, "right")) - 1
            raise DataError(
                f"sequences have {counted(int(infinite.sum()), 'infinite value')}, the first in sequence {sequence}, "
                f"step {step - self.starts[sequence]}, column {names[column]!r} (counting from 0); replace them"
            )


@dataclass
class SequenceRows(Rows):
    """Sequences in memory, of which each is a row.

    In ``Batch(x, mask, index, missing=…)`` the shape of an event is (T, F), T being that of the longest sequence of the
    batch. ``mask`` is True where an entry is observed and within the length; ``missing`` is True for gaps, which are
    within the length too.

    Parameters
    ----------
    steps : RowsInMemory
        The steps of all sequences as rows of F values.
    starts, lengths : Tensor of int64, shape (n,)
        The place of the first step of each sequence, and its number of steps.
    """

    steps: RowsInMemory
    starts: Tensor
    lengths: Tensor

    def __post_init__(self) -> None:
        self.device = self.steps.device

    @classmethod
    def of(cls, steps: Any, sequences: Sequences) -> Self:
        """The rows of sequences, given those of their steps."""
        return cls(steps, torch.from_numpy(sequences.starts), torch.from_numpy(sequences.lengths))

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(T, F) of the longest sequence."""
        return (int(self.lengths.max()), *self.steps.event_shape)

    def batches(
        self,
        batch_size: int,
        noise: Noise | None = None,
        order: torch.Generator | None = None,
        start: int = 0,
        processes: Processes = ALONE,
    ) -> Iterator[Batch]:
        """Yield batches of like lengths in random order; without ``order``, all in their order, in smaller batches."""
        if processes.size > 1:
            raise ValueError("a model of sequences is trained in one process: start it without torchrun")
        for index in of_like_lengths(self.lengths, batch_size, order)[start:]:
            yield self.batch(index, noise)

    def batch(self, index: Tensor, noise: Noise | None = None, share: Share = WHOLE) -> Batch:
        """The sequences with the given indices, padded to the longest of them."""
        steps, lengths = self.steps, self.lengths[index]
        time = torch.arange(int(lengths.max()))
        within = time < lengths[:, None]  # (B, T)
        places = torch.where(within, self.starts[index][:, None] + time, 0).flatten()
        flat = steps.batch(places, places, noise, share)
        within = within[..., None].to(steps.device)
        x, mask = (t.unflatten(0, within.shape[:2]) for t in (flat.x, flat.mask))
        missing = None if flat.missing is None else flat.missing.unflatten(0, within.shape[:2]) & within
        complete = flat.complete and int(lengths.min()) == len(time)
        return Batch(torch.where(within, x, 0.0), mask & within, index, share, complete, missing)

    def digest(self) -> str:
        """A hash of all values, of what was observed, and of the lengths."""
        return hashed([self.steps.digest().encode(), self.starts.numpy(), self.lengths.numpy()])

    def flat(self) -> RowsInMemory:
        """All steps of these sequences as rows, one sequence after another."""
        first = self.lengths.cumsum(0) - self.lengths
        shift = torch.repeat_interleave(self.starts - first, self.lengths)
        return self.steps.subset(torch.arange(len(shift)) + shift)

    def parts(self, batch_size: int) -> Iterator[SequenceRows]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Yield all sequences at once: they are in memory."""
        yield self

    def few(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, n: int, order: torch.Generator | None = None
    ) -> SequenceRows:
        """Sequences from all parts of the data."""
        return self.subset(scattered(len(self), n, order))

    def split(self, fraction: float, order: torch.Generator) -> tuple[SequenceRows, SequenceRows | None]:
        """Hold out whole sequences at random."""
        places = held_out(len(self), fraction, order)
        return (self, None) if places is None else (self.subset(places[0]), self.subset(places[1]))

    def windows(self, most: int) -> Self:
        """Sequences cut into as few parts of at most ``most`` steps as there can be, whose lengths differ by 1 at most.

        Each step is in one of them, and each of them is a sequence that begins anew.
        """
        n_parts = (self.lengths + most - 1) // most
        whose = torch.repeat_interleave(torch.arange(len(self)), n_parts)
        part = torch.arange(len(whose)) - (n_parts.cumsum(0) - n_parts)[whose]
        length, n_parts = self.lengths[whose], n_parts[whose]
        first, end = part * length // n_parts, (part + 1) * length // n_parts
        return replace(self, starts=self.starts[whose] + first, lengths=end - first)

    def subset(self, index: Tensor) -> Self:
        """The sequences with the given places, in that order; their steps are shared."""
        return replace(self, starts=self.starts[index], lengths=self.lengths[index])


def of_like_lengths(lengths: Tensor, batch_size: int, order: torch.Generator | None) -> Sequence[Tensor]:
    """The sequences of each batch.

    A shuffled order is cut into buckets of some batches, which are sorted by length; then batches are shuffled. Without
    ``order`` all are in their order, in batches of bounded size.

    Parameters
    ----------
    lengths : Tensor of int64, shape (n,)
    batch_size : int
    order : torch.Generator or None
    """
    n = len(lengths)
    if order is None:
        return torch.arange(n).split(max(1, min(batch_size, PASS_STEPS // int(lengths.max()))))
    buckets = torch.randperm(n, generator=order).split(BUCKET * batch_size)
    alike = [bucket[lengths[bucket].argsort(stable=True)] for bucket in buckets]
    batches = torch.cat(alike).split(batch_size)
    return [batches[i] for i in torch.randperm(len(batches), generator=order).tolist()]
