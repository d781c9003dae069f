"""Pictures of sequences: piano rolls of zeros and ones, lines of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowerbound.pictures.pictures import INK, save_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 12  # sequences in a picture
COLUMNS = 3
PAST_SHOWN = 4  # times the horizon of a forecast that is shown before it
PAST = "#f0e6d2"  # behind the steps that are continued
MOST_LINES = 8  # columns of numbers that are drawn as lines; more are a map of shades


def sequence_figure(sequences: Sequence[np.ndarray], prompt: np.ndarray | None = None) -> Figure:
    """Some sequences, one beside another: steps to the right, columns upwards.

    Zeros and ones are a piano roll, few columns of numbers lines, and many a map of shades.

    Parameters
    ----------
    sequences : sequence of ndarray, shape (T, F) each
        The first twelve are shown.
    prompt : ndarray, shape (T, F), optional
        Steps that come before all of them, on another ground.
    """
    from matplotlib.figure import Figure

    shown = [_numbers(each) for each in sequences[:SHOWN]]
    past = None if prompt is None else _numbers(prompt)
    whole = shown if past is None else [np.concatenate([past, each]) for each in shown]
    columns = min(COLUMNS, len(whole))
    rows = math.ceil(len(whole) / columns)
    figure = Figure(figsize=(4 * columns, 2.2 * rows + 0.3), dpi=120, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    values = np.concatenate(whole)
    seen = values[~np.isnan(values)]
    is_roll, keys = bool(np.isin(seen, (0, 1)).all()), _used(values)
    limits = (0.0, 1.0) if is_roll else (float(seen.min()), float(seen.max()))
    for i, (axes, each) in enumerate(zip(grid, whole, strict=False)):
        if is_roll or each.shape[1] > MOST_LINES:
            _draw_roll(axes, each[:, keys], keys.start, limits)
        else:
            axes.plot(each, linewidth=0.9)
        if past is not None:
            axes.axvspan(-0.5, len(past) - 0.5, color=PAST, zorder=0 if not is_roll else 2, alpha=0.5)
        axes.set_title(str(i), loc="left", fontsize=8, color=INK)
        axes.tick_params(colors=INK, labelsize=7)
    for axes in grid[len(whole) :]:
        axes.set_visible(False)
    figure.supxlabel("step", fontsize=8, color=INK)
    figure.supylabel("column" if is_roll or values.shape[1] > MOST_LINES else "value", fontsize=8, color=INK)
    return figure


def save_sequences(sequences: Sequence[np.ndarray], path: Path, prompt: np.ndarray | None = None) -> None:
    """Write ``sequence_figure`` as a PNG file, atomically."""
    save_map(sequence_figure(sequences, prompt), path)


def forecast_figure(
    before: Sequence[Any], low: Sequence[Any], middle: Sequence[Any], high: Sequence[Any], names: Sequence[str]
) -> Figure:
    """Quantiles of what follows on sequences, behind their last steps: a band, and a line.

    Parameters
    ----------
    before, low, middle, high : sequence of array or DataFrame, shape (T, F) each
        A panel for each of the first columns of numbers of the first sequences, twelve in all.
    names : sequence of str
        Names of the columns.
    """
    from matplotlib.figure import Figure

    kept = [j for j, name in enumerate(names) if _is_numeric(before[0], j)]
    panels = [(i, j) for i in range(len(before)) for j in kept][:SHOWN]
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(4 * columns, 2.2 * rows + 0.3), dpi=120, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (i, j) in zip(grid, panels, strict=False):
        horizon = len(low[i])
        past = _column(before[i], j)[-PAST_SHOWN * horizon :]
        later = np.arange(len(past), len(past) + horizon)
        axes.plot(past, linewidth=0.9, color="#3b6ea8")
        axes.fill_between(later, _column(low[i], j), _column(high[i], j), color="#b0413e", alpha=0.25, linewidth=0)
        axes.plot(later, _column(middle[i], j), linewidth=0.9, color="#b0413e")
        axes.set_title(f"{i}: {names[j]}", loc="left", fontsize=8, color=INK)
        axes.tick_params(colors=INK, labelsize=7)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.supxlabel("step", fontsize=8, color=INK)
    return figure


def save_forecasts(
    before: Sequence[Any], low: Sequence[Any], middle: Sequence[Any], high: Sequence[Any], path: Path,
    names: Sequence[str],
) -> None:  # fmt: skip
    """Write ``forecast_figure`` as a PNG file, atomically."""
    save_map(forecast_figure(before, low, middle, high, names), path)


def _is_numeric(each: Any, j: int) -> bool:
    return not hasattr(each, "columns") or each.dtypes.iloc[j].kind in "iuf"


def _column(each: Any, j: int) -> np.ndarray:
    """A column of numbers, with NaN in gaps."""
    return (
        np.ma.filled(np.ma.asarray(each[:, j], np.float64), np.nan)
        if not hasattr(each, "columns")
        else np.asarray(each.iloc[:, j], np.float64)
    )


def _numbers(each: Any) -> np.ndarray:
    """The columns of numbers, with NaN in gaps."""
    if hasattr(each, "columns"):
        each = each.select_dtypes("number").to_numpy(np.float64, na_value=np.nan)
    return np.ma.filled(np.ma.asarray(each, np.float64), np.nan)


def _used(values: np.ndarray) -> slice:
    """The columns from the first to the last that isn't 0 everywhere."""
    used = np.flatnonzero(np.nan_to_num(values).any(0))
    return slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, values.shape[1])


def _draw_roll(axes: Axes, each: np.ndarray, first: int, limits: tuple[float, float]) -> None:
    """Draw columns as rows of shades, of which white is the lowest."""
    T, F = each.shape
    extent = (-0.5, T - 0.5, first - 0.5, first + F - 0.5)
    axes.imshow(
        np.ma.masked_invalid(each.T), cmap="Greys", vmin=limits[0], vmax=limits[1], origin="lower", aspect="auto",
        interpolation="none", extent=extent,
    )  # fmt: skip
