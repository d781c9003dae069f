"""Sequences of numbers as a page shows them: zeros and ones as a piano roll, other columns as lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lowerbound.data.frames import as_pandas
from lowerbound.report.rows import as_png, word
from lowerbound.report.series_subject import SeriesSubject

MOST_LINES = 8  # columns that are shown as lines
INK, GROUND, PROMPT, HIDDEN, MARK, GAP = (
    np.array(color) for color in (
        (29, 31, 36), (255, 255, 255), (244, 233, 210), (214, 225, 241), (255, 205, 165), (190, 190, 190))
)  # fmt: skip
Facts = dict[str, Any]


def shown(
    subject: SeriesSubject, steps: Any, *, first: int = 0, n_prompt: int = 0, hidden: np.ndarray | None = None,
    marks: Sequence[int] = (),
) -> Facts:  # fmt: skip
    """Some steps as a picture or as lines.

    Parameters
    ----------
    steps : array or DataFrame, shape (T, F)
    first : int
        The number of the first step.
    n_prompt : int
        Steps that were given, on another ground.
    hidden : ndarray of bool, shape (T, F), optional
        Values that were hidden.
    marks : sequence of int
        Steps that stand out.
    """
    if subject.kind == "roll":
        return roll(subject, steps, first=first, n_prompt=n_prompt, hidden=hidden, marks=marks)
    return {**lines(subject, [path(subject, steps, "given")], first=first), "n_prompt": n_prompt,
            "marks": list(marks), "when": when(steps)}  # fmt: skip


def roll(
    subject: SeriesSubject, steps: Any, *, first: int, n_prompt: int, hidden: np.ndarray | None, marks: Sequence[int]
) -> Facts:
    """A piano roll: steps to the right, columns upwards."""
    values, keys = numbers(steps), keys_of(subject)
    ground = np.broadcast_to(GROUND, (*values.shape, 3)).astype(np.float64).copy()
    ground[:n_prompt] = PROMPT
    ground[list(marks)] = MARK
    if hidden is not None:
        ground[hidden] = HIDDEN
    amount = np.nan_to_num(values)[..., None]
    pixels = ground + amount * (INK - ground)
    pixels[np.isnan(values)] = GAP if hidden is None else HIDDEN
    picture = np.rint(pixels[:, keys]).astype(np.uint8).transpose(1, 0, 2)[::-1]
    return {"kind": "roll", "uri": as_png(np.ascontiguousarray(picture)), "width": len(values),
            "height": keys.stop - keys.start, "keys": [keys.start, keys.stop - 1], "first": first}  # fmt: skip


def keys_of(subject: SeriesSubject) -> slice:
    """The columns from the first to the last that is ever 1 in the data, or in those that were fitted."""
    used = subject.fitted.schema.counted & (np.asarray(subject.fitted.schema.mean) > 0)
    if subject.has_rows:
        used = used | (numbers(subject.sequences.steps) > 0).any(0)
    places = np.flatnonzero(used)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, len(used))


def lines(subject: SeriesSubject, paths: list[Facts], *, first: int = 0) -> Facts:
    """Several paths over the same steps."""
    names, n = subject.names, min(MOST_LINES, len(subject.names))
    columns = [{"name": names[j], "classes": classes_of(subject, j)} for j in range(n)]
    return {"kind": "series", "first": first, "columns": columns, "paths": paths, "n_prompt": 0, "marks": [],
            "hidden": None, "when": None, "n_more": len(names) - n}  # fmt: skip


def path(subject: SeriesSubject, steps: Any, role: str, *, start: int = 0, name: str = "") -> Facts:
    """The values of each column: numbers, or places among classes."""
    steps = as_pandas(steps)
    n = min(MOST_LINES, len(subject.names))
    return {"role": role, "start": start, "name": name,
            "values": [_column(steps, j, classes_of(subject, j)) for j in range(n)]}  # fmt: skip


def classes_of(subject: SeriesSubject, j: int) -> list[str] | None:
    """The classes of a column in words; None for numbers."""
    columns = subject.fitted.schema.columns
    if columns is None or not columns[j].has_categories or columns[j].are_numbers:
        return None
    return [word(category) or "" for category in columns[j].categories]


def _column(steps: Any, j: int, classes: list[str] | None) -> list[float | None]:
    values = steps.iloc[:, j] if isinstance(steps, pd.DataFrame) else np.ma.filled(np.ma.asarray(steps[:, j]), np.nan)
    if classes is not None:
        place = {name: k for k, name in enumerate(classes)}
        return [place.get(word(value) or "") for value in values.tolist()]
    return [None if not np.isfinite(value) else float(f"{value:.5g}") for value in as_floats(values)]


def as_floats(values: Any) -> np.ndarray:
    """A column as numbers, NaN where it is missing; of dates the seconds since 1970."""
    dtype = getattr(values, "dtype", None)
    if dtype is not None and dtype.kind in "mM":
        seconds = pd.Series(values).astype("int64").to_numpy() / 1e9
        return np.where(pd.isna(values), np.nan, seconds)
    return np.asarray(pd.to_numeric(pd.Series(values), errors="coerce"), np.float64)


def numbers(steps: Any) -> np.ndarray:
    """Steps of an array or a frame as numbers, NaN in gaps, (T, F)."""
    steps = as_pandas(steps)
    if isinstance(steps, pd.DataFrame):
        return np.column_stack([as_floats(steps.iloc[:, j]) for j in range(steps.shape[1])])
    return np.ma.filled(np.ma.asarray(steps, np.float64), np.nan)


def when(steps: Any) -> list[str] | None:
    """The times of the first and the last step, where they have some."""
    index = getattr(as_pandas(steps), "index", None)
    if index is None or not isinstance(index, pd.DatetimeIndex):
        return None
    return [str(index[0]).removesuffix(" 00:00:00"), str(index[-1]).removesuffix(" 00:00:00")]
