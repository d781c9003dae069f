"""Tables in long format: each row is a step, a column says of which sequence, and another says when."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lowerbound.data.checks import DataError, check_name
from lowerbound.data.frames import as_pandas

if TYPE_CHECKING:
    import pandas as pd

MOST_CELLS = 100  # of a grid, for each row of the table


class LongTable(NamedTuple):
    """The steps of sequences, one after another.

    ``steps`` has the other columns, with the stamps as its index; ``lengths`` (n,) are the numbers of steps, ``ids``
    (n,) the values of the column that says of which sequence a row is.
    """

    steps: pd.DataFrame
    lengths: np.ndarray
    ids: np.ndarray


def in_sequences(frame: Any, id: str | None, time: str | None, every: Any = None) -> LongTable:
    """The rows sorted by sequence, in the order in which these first appear, and by time.

    Parameters
    ----------
    frame : DataFrame
    id : str or None
        The column that says of which sequence a row is; None if there is one.
    time : str or None
        The column that says when; None if rows are in order.
    every : str, Timedelta or number, optional
        The distance of the steps of a grid, onto which rows are put: each to the nearest step. Where there is no row,
        all values of the step are missing.

    Raises
    ------
    DataError
        If a column is missing or has no value somewhere, a sequence has two rows at one time, or the grid has too many
        steps.
    """
    frame = as_pandas(frame)
    for column in (id, time):
        if column is not None:
            check_name(column, list(map(str, frame.columns)), "column", "the table")
    if every is not None and time is None:
        raise DataError("every= is the distance of two times: say which column holds them, time=…")
    values = frame.drop(columns=[column for column in (id, time) if column is not None])
    if not values.size:
        raise DataError("the table has no values: a row of it needs one column or more beside id and time")
    codes, ids = _codes(frame, id)
    if time is None:
        order = np.argsort(codes, kind="stable")
        return LongTable(values.iloc[order].reset_index(drop=True), np.bincount(codes), ids)
    times = _times(frame[time], time)
    cells = times if every is None else _nearest(times, every)
    ranks = _ranks(cells)
    order = np.lexsort((ranks, codes))
    _refuse_repeated(codes[order], ranks[order], order, ids if id is not None else None, times, every)
    steps, cells = values.iloc[order].reset_index(drop=True), cells.iloc[order].reset_index(drop=True)
    if every is None:
        return LongTable(steps.set_axis(_index(cells, time)), np.bincount(codes), ids)
    return _on_grid(steps, cells, codes[order], ids, every, time)


def _codes(frame: Any, id: str | None) -> tuple[np.ndarray, np.ndarray]:
    """The number of the sequence of each row, and the ids of the sequences."""
    import pandas as pd

    if id is None:
        return np.zeros(len(frame), np.int64), np.zeros(1, np.int64)
    codes, ids = pd.factorize(frame[id])
    _refuse_missing(codes < 0, id)
    return codes, np.asarray(ids)


def _times(column: Any, name: str) -> Any:
    """Times as numbers or dates; text is read."""
    import pandas as pd

    _refuse_missing(np.asarray(pd.isna(column)), name)
    if pd.api.types.is_numeric_dtype(column.dtype) or column.dtype.kind in "mM":
        return column
    if isinstance(column.dtype, pd.ArrowDtype):
        column = column.astype(object)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # text without one form
            return pd.to_datetime(column)
    except (ValueError, TypeError, UserWarning) as error:
        raise DataError(f"column {name!r} holds {str(column.iloc[0])[:40]!r}, and not all of it are times") from error


def _refuse_missing(missing: np.ndarray, name: str) -> None:
    if missing.any():
        raise DataError(f"column {name!r} has no value in row {missing.argmax()} (counting from 0): drop such rows")


def _refuse_repeated(
    codes: np.ndarray, ranks: np.ndarray, order: np.ndarray, ids: np.ndarray | None, times: Any, every: Any
) -> None:
    """Refuse two rows of a sequence at one time, or on one step of the grid."""
    repeated = (codes[1:] == codes[:-1]) & (ranks[1:] == ranks[:-1])
    if not repeated.any():
        return
    at = int(repeated.argmax())
    first, second = sorted(order[[at, at + 1]].tolist())
    whose = "" if ids is None else f" of {ids[codes[at]]!r}"
    if every is None:
        what = f"have the same time, {times.iloc[first]}: keep one of them, or average them"
    else:
        what = f"fall on one step of every={str(every)!r}, {times.iloc[first]} and {times.iloc[second]}: "
        what += "make it shorter, or average such rows"
    n = int(repeated.sum())
    more = "" if n == 1 else f" ({n:,} such pairs)"
    raise DataError(f"rows {first} and {second}{whose} {what}{more}")


def _ranks(cells: Any) -> np.ndarray:
    """The place of each value among the different ones."""
    import pandas as pd

    return pd.factorize(cells, sort=True)[0]


def _nearest(times: Any, every: Any) -> Any:
    """The step of the grid that is nearest to each time: multiples of ``every``."""
    try:
        if times.dtype.kind in "M" or hasattr(times.dtype, "tz"):
            return times.dt.round(every)
        every = float(every)
        if not every > 0:
            raise ValueError
    except (ValueError, TypeError) as error:
        raise DataError(
            f"every={every!r} is no distance of two times: give '5min', '1h' or the like for dates, else a number > 0"
        ) from error
    return (times / every).round() * every


def _on_grid(steps: Any, cells: Any, codes: np.ndarray, ids: np.ndarray, every: Any, time: str) -> LongTable:
    """All steps from the first to the last of each sequence, without values where there was no row."""
    import pandas as pd

    unit: Any = pd.Timedelta(every) if cells.dtype.kind == "M" or hasattr(cells.dtype, "tz") else float(every)
    first = cells.groupby(codes).transform("min")
    k = np.asarray(((cells - first) / unit).round(), dtype=np.int64)
    lengths = np.zeros(len(ids), np.int64)
    np.maximum.at(lengths, codes, k + 1)
    total = int(lengths.sum())
    if total > MOST_CELLS * len(steps):
        raise DataError(f"every={str(every)!r} makes {total:,} steps of {len(steps):,} rows: make it longer")
    starts = np.cumsum(lengths) - lengths
    rows = np.full(total, -1)
    rows[starts[codes] + k] = np.arange(len(steps))
    whose = np.repeat(np.arange(len(lengths)), lengths)
    begins = first.groupby(codes).first().iloc[whose].reset_index(drop=True)
    stamps = begins + (np.arange(total) - starts[whose]) * unit
    return LongTable(steps.reindex(rows).set_axis(_index(stamps, time)), lengths, ids)


def _index(stamps: Any, time: str) -> Any:
    import pandas as pd

    return pd.Index(stamps, name=time)
