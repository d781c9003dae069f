"""Draws of several models side by side, with their names: strips of images, or scatters of two columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lowerbound.data.schema import Schema
from lowerbound.pictures.pictures import INK, as_images, image_grid, pixel_range, to_pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_IMAGES = 12
SHOWN_POINTS = 500
ACROSS = 3  # scatter plots in a row


def side_by_side(samples: Mapping[str, np.ndarray], schema: Schema, columns: Sequence[str]) -> Figure:
    """A figure of the draws of each model; the first of ``samples`` is usually the data.

    Parameters
    ----------
    samples : mapping of str to ndarray, shape (n, *row)
        The draws by the names that are shown.
    schema : Schema
        The schema of the data.
    columns : sequence of str
        Names of the features of a table.

    Raises
    ------
    ValueError
        If the rows are neither images nor have two columns that vary.
    """
    check_drawable(schema)
    return _strips(samples, schema) if schema.is_image else _scatters(samples, columns)


def check_drawable(schema: Schema) -> None:
    """Raise ``ValueError`` unless rows are images or have at least two columns that vary."""
    if schema.is_image:
        as_images(schema, np.zeros((1, *schema.row_shape)))
    elif int(np.sum(schema.counted)) < 2 or len(schema.row_shape) != 1:
        raise ValueError("a picture needs images, or a table with two columns that vary: leave -o out")


def _strips(samples: Mapping[str, np.ndarray], schema: Schema) -> Figure:
    """A row of images for each model."""
    from matplotlib.figure import Figure

    images = {name: as_images(schema, rows[:SHOWN_IMAGES]) for name, rows in samples.items()}
    limits = pixel_range(schema, next(iter(images.values())))
    strips = [np.asarray(image_grid(to_pixels(part, *limits), columns=SHOWN_IMAGES)) for part in images.values()]
    height = 10 * strips[0].shape[0] / strips[0].shape[1]
    figure = Figure(figsize=(10, len(strips) * (height + 0.3)), dpi=120, layout="constrained")
    axes = figure.subplots(len(strips), 1, squeeze=False)[:, 0]
    for each, name, strip in zip(axes, images, strips, strict=True):
        each.imshow(strip, cmap="gray", vmin=0, vmax=255)
        each.set_title(name, loc="left", fontsize=10, color=INK, pad=2)
        each.set_axis_off()
    return figure


def _scatters(samples: Mapping[str, np.ndarray], columns: Sequence[str]) -> Figure:
    """A scatter plot of the two most correlated columns for each model, on the same axes."""
    from matplotlib.figure import Figure

    data = np.asarray(next(iter(samples.values())), np.float64)
    i, j = most_dependent(data)
    n_lines = -(-len(samples) // ACROSS)
    figure = Figure(figsize=(3.6 * ACROSS, 3.4 * n_lines), dpi=120, layout="constrained")
    axes = figure.subplots(n_lines, ACROSS, sharex=True, sharey=True, squeeze=False).ravel()
    for each, (name, rows) in zip(axes, samples.items(), strict=False):
        points = rows[:SHOWN_POINTS]
        each.scatter(points[:, i], points[:, j], s=6, color="#3b6ea8", alpha=0.5, linewidths=0)
        each.set_title(name, loc="left", fontsize=10, color=INK)
        each.set(xlabel=columns[i], ylabel=columns[j])
        each.spines[["top", "right"]].set_visible(False)
    axes[0].set(xlim=_limits(data[:, i]), ylim=_limits(data[:, j]))
    for each in axes[len(samples) :]:
        each.set_axis_off()
    return figure


def most_dependent(rows: np.ndarray) -> tuple[int, int]:
    """The two columns with the largest absolute correlation, among those that vary."""
    vary = np.flatnonzero(rows.std(0) > 0)
    if len(vary) < 2:
        return 0, 1
    correlation = np.abs(np.corrcoef(rows[:, vary].T))
    i, j = np.unravel_index(np.argmax(np.triu(correlation, 1)), correlation.shape)
    return int(vary[i]), int(vary[j])


def _limits(values: np.ndarray) -> tuple[float, float]:
    margin = 0.15 * (values.max() - values.min()) or 0.5
    return float(values.min() - margin), float(values.max() + margin)
