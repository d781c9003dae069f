"""Pictures of data and of codes: grids of images, and maps of two latent variables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowerbound.data.schema import Schema
from lowerbound.pictures.placing import apart
from lowerbound.storage.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

TILE = 56  # least width and height of an image in pixels
WIDEST = 4096  # pixels; images are not enlarged beyond such a picture
GAP = 2  # pixels between images
LETTERS = 12  # pixels of their height
GROUP_GAP = 12  # pixels between groups of rows, such as originals and their reconstructions
BACKGROUND = 255
FRAME = 120  # milliseconds of an animation
MOST_CLASSES = 20  # classes with a color each; more are shown on a scale
INK = "#333333"
OF_A_CLASS = "class"  # marks the name of a class in a map


def pixel_range(schema: Schema, *parts: np.ndarray) -> tuple[float, float]:
    """The values of black and white.

    Bytes and probabilities have a natural range. Real values outside of [0, 1] are stretched between their 0.5 % and
    99.5 % quantiles, so that a few extreme draws don't turn the rest grey.
    """
    highest = schema.kind.highest(schema.n_categories)
    if highest is not None:
        return 0.0, highest
    values = np.concatenate([part.ravel() for part in parts])
    if np.nanmin(values) >= 0 and np.nanmax(values) <= 1:
        return 0.0, 1.0
    low, high = np.nanquantile(values, [0.005, 0.995])
    return float(low), float(high)


def to_pixels(images: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values as bytes, with ``low`` black and ``high`` white."""
    share = (np.asarray(images, np.float64) - low) / max(high - low, 1e-12)
    return np.rint(255 * np.nan_to_num(np.clip(share, 0, 1), nan=0.5)).astype(np.uint8)  # grey where nothing was seen


def as_images(schema: Schema, rows: np.ndarray) -> np.ndarray:
    """Rows of data as images (n, H, W) or (n, H, W, 3).

    Raises
    ------
    ValueError
        If the rows are not images, or have neither one channel nor three.
    """
    if not schema.is_image:
        raise ValueError("rows of a table make no picture: give a name that ends in .csv or .npy")
    images = np.moveaxis(schema.to_event(np.asarray(rows)), 1, -1)
    if images.shape[-1] not in (1, 3):
        raise ValueError(f"images of {images.shape[-1]} channels make no picture: give a name that ends in .npy")
    return images[..., 0] if images.shape[-1] == 1 else images


def image_grid(
    images: np.ndarray, columns: int | None = None, group: int = 1, captions: Sequence[str] = (),
    headings: Sequence[str] = (),
) -> Image:  # fmt: skip
    """Many images in one picture, small ones enlarged.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, H, W) or (n, H, W, 3)
    columns : int, optional
        Images in a row; by default the picture is about square.
    group : int
        Rows in a group; groups have larger gaps between them.
    captions : sequence of str
        Words on the left of the rows, from the first; they begin again after the last.
    headings : sequence of str
        Words above the columns.

    Returns
    -------
    PIL.Image.Image
    """
    from PIL import Image, ImageDraw

    n, height, width = images.shape[:3]
    columns = int(columns or min(n, math.ceil(math.sqrt(n * height / width))))
    rows = math.ceil(n / columns)
    factor = max(1, min(math.ceil(TILE / min(height, width)), WIDEST // (max(columns * width, rows * height))))
    images = images.repeat(factor, axis=1).repeat(factor, axis=2)
    height, width = images.shape[1:3]
    margin = max((math.ceil(_font().getlength(word)) + 2 * GAP for word in captions), default=0)
    first = GAP + (LETTERS + GAP if headings else 0)
    tops = [first + row * (height + GAP) + row // group * (GROUP_GAP - GAP) * (group > 1) for row in range(rows)]
    lefts = [GAP + margin + column * (width + GAP) for column in range(columns)]
    canvas = np.full((tops[-1] + height + GAP, lefts[-1] + width + GAP, *images.shape[3:]), BACKGROUND, np.uint8)
    for i, image in enumerate(images):
        top, left = tops[i // columns], lefts[i % columns]
        canvas[top : top + height, left : left + width] = image
    picture = Image.fromarray(canvas)
    write = ImageDraw.Draw(picture).text
    for top, word in zip(tops, cycle(captions), strict=False):
        write((lefts[0] - 2 * GAP, top + height // 2), word, INK, _font(), "rm")
    for left, word in zip(lefts, headings, strict=False):
        write((left + width // 2, GAP), word, INK, _font(), "mt")
    return picture


def _font() -> Any:
    from PIL.ImageFont import load_default

    return load_default(LETTERS)


def above_one_another(upper: np.ndarray, lower: np.ndarray, columns: int) -> np.ndarray:
    """Rows of ``upper`` and ``lower`` in turn, for a grid with ``columns`` and groups of two."""
    n_blank = -len(upper) % columns
    blank = np.full((n_blank, *upper.shape[1:]), BACKGROUND, upper.dtype)
    pairs = [np.concatenate([part, blank]).reshape(-1, columns, *part.shape[1:]) for part in (upper, lower)]
    return np.stack(pairs, 1).reshape(-1, *upper.shape[1:])


def save_grid(
    images: np.ndarray, path: Path, columns: int | None = None, group: int = 1, captions: Sequence[str] = (),
    headings: Sequence[str] = (),
) -> None:  # fmt: skip
    """Write ``image_grid`` as a PNG file, atomically."""
    grid = image_grid(images, columns, group, captions, headings)
    write_atomically(path, lambda temporary: grid.save(temporary, format="PNG", optimize=True))


def save_animation(images: np.ndarray, path: Path) -> None:
    """Write images (n, H, W) or (n, H, W, 3) as the frames of an endless GIF file, atomically."""
    first, *others = (image_grid(image[None]) for image in images)
    write_atomically(
        path,
        lambda temporary: first.save(
            temporary, "GIF", save_all=True, append_images=others, duration=FRAME, loop=0, optimize=False
        ),
    )


def latent_map(
    codes: np.ndarray, labels: np.ndarray | None = None, names: Sequence[str] = ("z₁", "z₂"), title: str = "",
    label: str = "",
) -> Figure:  # fmt: skip
    """Posterior means of two latent variables, colored by label.

    Parameters
    ----------
    codes : ndarray, shape (n, 2)
    labels : ndarray, shape (n,), optional
        A few classes get a color and a name each, many numbers a color scale.
    names : pair of str
        Names of the axes.
    title : str
    label : str
        Name of the labels.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 7), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    _draw_prior(axes)
    size = float(np.clip(24000 / len(codes), 4, 30))
    classes = None if labels is None else np.unique(labels)
    if labels is None or classes is None:
        axes.scatter(*codes.T, s=size, color="#3b6ea8", alpha=0.6, linewidths=0)
    elif len(classes) <= MOST_CLASSES or labels.dtype.kind not in "biuf":
        _draw_classes(axes, codes, labels, classes, size, label)
    else:
        points = axes.scatter(*codes.T, s=size, c=labels, cmap="viridis", alpha=0.8, linewidths=0)
        figure.colorbar(points, ax=axes, shrink=0.7, label=label)
    axes.set(xlabel=names[0], ylabel=names[1])
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_aspect("equal", adjustable="datalim")
    axes.tick_params(colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(0.03)
    _move_apart(figure, axes)
    return figure


def _move_apart(figure: Figure, axes: Axes) -> None:
    """Move the names of classes so that they cover neither each other nor the names of the circles."""
    words = [each for each in axes.texts if each.get_text()]
    if len(words) < 2:
        return
    figure.draw_without_rendering()
    corners = np.array([word.get_window_extent().get_points() for word in words])
    centers, sizes = corners.mean(1), corners[:, 1] - corners[:, 0]
    movable = np.array([word.get_gid() == OF_A_CLASS for word in words])
    frame = axes.get_window_extent().get_points()
    moved = axes.transData.inverted().transform(apart(centers, sizes, movable, frame))
    for word, place in zip(words, moved, strict=True):
        if word.get_gid() == OF_A_CLASS:
            word.set_position(place)


def save_map(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file, atomically."""
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png"))


def _draw_prior(axes: Axes) -> None:
    """Draw the circles that contain 50 % and 95 % of the prior N(0, I)."""
    from matplotlib.patches import Circle
    from matplotlib.patheffects import withStroke

    for part in (0.5, 0.95):
        radius = math.sqrt(-2 * math.log(1 - part))  # ‖z‖² of two dimensions is exponential
        axes.add_patch(Circle((0, 0), radius, fill=False, color="#c0c0c0", linewidth=0.8, zorder=0))
        corner = radius * math.sqrt(0.5)
        halo = [withStroke(linewidth=2, foreground="white")]
        axes.annotate(
            f"{part:.0%} of p(z)", (corner, -corner), color="#808080", fontsize=8, path_effects=halo, zorder=3
        )


def _draw_classes(
    axes: Axes, codes: np.ndarray, labels: np.ndarray, classes: np.ndarray, size: float, label: str
) -> None:
    """Draw every class in a color, with its name at its median and in a legend."""
    import matplotlib
    from matplotlib.patheffects import withStroke

    palette = matplotlib.colormaps["tab10" if len(classes) <= 10 else "tab20"]
    order = np.random.default_rng(0).permutation(len(codes))  # so that no class covers all others
    place = np.searchsorted(classes, labels)
    axes.scatter(*codes[order].T, s=size, color=palette(place[order] % palette.N), alpha=0.75, linewidths=0)
    for i, name in enumerate(classes[:MOST_CLASSES]):
        axes.scatter([], [], s=30, color=palette(i % palette.N), label=str(name))
        x, y = np.median(codes[labels == name], 0).tolist()
        axes.text(
            x, y, str(name), ha="center", va="center", weight="bold",
            fontsize=14 if len(str(name)) < 4 else 10, color=palette(i % palette.N), gid=OF_A_CLASS,
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )  # fmt: skip
    legend = axes.legend(
        loc="upper left", bbox_to_anchor=(1, 1), fontsize=8, frameon=False, handletextpad=0, title=label,
        title_fontsize=8,
    )  # fmt: skip
    legend.get_title().set_color(INK)
