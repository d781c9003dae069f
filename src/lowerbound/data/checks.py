"""The error that all readers raise, and the checks they share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_CHUNK = 1 << 20  # values checked together: a file larger than memory is checked in constant memory
_MAX_DIMENSIONS = 32
_LISTED = 20  # names shown before "and 7 more"


class DataError(ValueError):
    """Data that cannot be used; the message, one line, says what is wrong, where, and what to do."""

    def __init__(self, message: str):
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))


def check_rows(rows: int, name: str) -> None:
    """Refuse data without rows; one row can be scored, and a fit checks for more."""
    if not rows:
        raise DataError(f"{name} has no rows; at least one is needed.")


def check_shape(shape: Sequence[int], name: str) -> None:
    """Refuse shapes that are not ``(n, *event)`` with at least one row and one value in each."""
    if not shape:
        raise DataError(f"{name} is a single number; an array of shape (rows, ...) is needed.")
    if len(shape) > _MAX_DIMENSIONS:
        raise DataError(f"{name} claims {len(shape)} dimensions; at most {_MAX_DIMENSIONS} can be read.")
    check_rows(shape[0], name)
    if math.prod(shape) == 0:
        raise DataError(f"{name} has shape {tuple(shape)}: its rows hold no values.")


def check_finite(x: np.ndarray, name: str, place: Callable[..., str] | None = None, *, allow_nan: bool = True) -> None:
    """Refuse infinite values and, unless ``allow_nan``, missing ones; contiguous arrays are checked in chunks.

    Parameters
    ----------
    x : np.ndarray
        Numbers, shape ``(n, *event)``; may be a memory-mapped file.
    name : str
        The data's name in the message.
    place : Callable[..., str] | None
        Turns the index of a value into words, such as ``line 7, column 'age'``.
    allow_nan : bool
        Values may be missing.
    """
    if x.dtype.kind != "f":
        return
    import numpy as np

    bad, first = _count(x, np.isinf if allow_nan else lambda chunk: ~np.isfinite(chunk))
    if not bad:
        return
    what, remedy = "infinite value", "replace the values or drop the rows"
    if not allow_nan and (missing := _count(x, np.isnan))[0]:
        bad, first = missing
        what, remedy = "missing value (NaN)", "missing values are not supported here: drop or fill them"
    raise DataError(f"{name} has {counted(bad, what)}, the first at {(place or in_array)(*first)}; {remedy}.")


def check_rectangular(X: object, what: str = "row", name: str = "") -> None:
    """Refuse a list without rows, or whose rows are not of one length.

    Parameters
    ----------
    X : object
        Only lists and tuples are looked at.
    what : str
        The word for a row.
    name : str
        What is before it in the message.
    """
    if isinstance(X, (list, tuple)) and not X:
        raise DataError(f"{name}there are no {what}s: the list is empty")
    if not isinstance(X, (list, tuple)) or not all(isinstance(row, (list, tuple)) for row in X):
        return
    lengths = [len(row) for row in X]
    for i, length in enumerate(lengths):
        if length != lengths[0]:
            raise DataError(
                f"{name}{what} {i} has {counted(length, 'value')}, and {what} 0 has {lengths[0]:,} (counting from 0): "
                f"give as many for every {what}, NaN where one is missing"
            )


def check_labels(labels: np.ndarray, rows: int, name: str) -> np.ndarray:
    """Refuse labels that are not one for each row; return text as ``str``."""
    if labels.shape != (rows,):
        raise DataError(f"{name} has shape {labels.shape}, but labels need one value for each of the {rows} rows.")
    check_finite(labels, name, allow_nan=False)
    try:
        return labels.astype(str) if labels.dtype.kind in "SU" else labels
    except ValueError as error:
        raise DataError(f"{name} holds text that cannot be decoded; save the labels as str.") from error


def _count(x: np.ndarray, test: Callable[[np.ndarray], np.ndarray]) -> tuple[int, tuple[int, ...]]:
    """The number of values that pass the test, and the index of the first in order of rows."""
    import numpy as np

    order = "C" if x.flags.c_contiguous else "F"
    flat = x.reshape(-1, order=order)  # a view, whichever way the file was written
    count, first = 0, x.size
    for start in range(0, x.size, _CHUNK):
        found = start + np.flatnonzero(test(flat[start : start + _CHUNK]))
        if found.size:
            count += found.size
            rows_first = np.ravel_multi_index(np.unravel_index(found, x.shape, order), x.shape)
            first = min(first, int(rows_first.min()))
    return count, tuple(int(i) for i in np.unravel_index(min(first, x.size - 1), x.shape))


def in_array(row: int, *event: int) -> str:
    """Words for the place of a value in an array."""
    if not event:
        return f"row {row} (counting from 0)"
    column = event[0] if len(event) == 1 else event
    return f"row {row}, column {column} (counting from 0)"


def check_name(name: str, names: Sequence[str], what: str, source: str) -> None:
    """Refuse a name that is not among `names`, and suggest a similar one.

    Parameters
    ----------
    name, names : str, Sequence[str]
        The name asked for, and the names there are.
    what : str
        The kind of thing named: ``column``, ``array``.
    source : str
        The data's name in the message.
    """
    if name in names:
        return
    close = get_close_matches(name, names, n=1, cutoff=0.7)
    meant = f"; did you mean '{close[0]}'?" if close else "."
    raise DataError(f"{source} has no {what} '{name}'{meant} Its {what}s are: {listed(names)}.")


def listed(names: Sequence[str], describe: Callable[[str], str] = str) -> str:
    """Names in a list; of many the first twenty."""
    shown = ", ".join(describe(name) for name in names[:_LISTED])
    more = len(names) - _LISTED
    return f"{shown} and {more} more" if more > 0 else shown


def counted(count: int, what: str) -> str:
    """A number with its noun: ``1 missing value``, ``1,234 missing values (NaN)``."""
    noun, space, note = what.partition(" (")
    return f"{count:,} {noun}{'' if count == 1 else 's'}{space}{note}"
