"""The axes of a row: features, or an image with axes (H, W), (H, W, C) or (C, H, W).

An image shape lists the sizes in the order in which the values of a row lie, the last axis fastest: (32, 32, 3) is red,
green and blue of the first pixel, then of the next; (3, 32, 32) is planar, all red, all green, all blue.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import Any

import numpy as np

from lowerbound.data.sources import Source

CHANNELS = (1, 3, 4)  # of a last axis that is recognized: grey, red-green-blue, with opacity
CHANNELS_FIRST = (1, 3)  # of a first axis that is recognized
MOST_CHANNELS = 4  # that a layout which was asked for may mean, where the other order is plausible
LOOKED_AT, LOOKED_AT_VALUES = 500, 2**22  # rows and values that are looked at, at most
FEWEST_ROWS, SHORTEST_SIDE = 20, 8  # that tell in which order the values of flat rows lie
ROUGHER = 1.5  # real color images read in the wrong order: 1.5 to 50 (50 rows of 8 × 8 pixels and more); right: below 1
FEWEST_NEIGHBORS = 4  # along an axis that tell anything
UNRELATED = 0.8  # neighbors along an axis of images: 0.2 to 0.75; sensors of a series, in any order: 0.8 to 1.1


@dataclass(frozen=True)
class Arrangement:
    """The order in which the values of a row become an event.

    Attributes
    ----------
    layout : {"features", "image"}
    event_shape : tuple of int
        (F,), or (C, H, W).
    channels_last : bool
        The user's images are (H, W, C).
    """

    layout: str
    event_shape: tuple[int, ...]
    channels_last: bool


def arrange(X: Any, image_shape: Sequence[int] | None = None, layout: str = "auto") -> Arrangement:
    """The layout that was asked for, or the one recognized by the shape of rows and, where it says too little, values.

    Parameters
    ----------
    X : ndarray or Source, shape (n, *row)
    image_shape : tuple of int, optional
        Of images given as flat rows.
    layout : {"auto", "image", "channels_first", "features"}

    Raises
    ------
    ValueError
        If layout, image_shape and rows contradict each other, or if "auto" could mean more than one layout.
    """
    row_shape = tuple(X.shape[1:])
    if layout == "features":
        if image_shape is not None:
            raise ValueError(
                f"image_shape={tuple(image_shape)} needs images, and layout='features' says there are none"
            )
        return Arrangement("features", (math.prod(row_shape),), False)
    shape = row_shape if image_shape is None else _checked(tuple(image_shape), row_shape)
    what = f"rows of shape {row_shape}" if image_shape is None else f"image_shape={shape}"
    if layout != "auto":
        _check_asked(shape, layout, what)
    elif len(shape) in (2, 3):
        layout = _recognized(shape, what)
        if image_shape is None and len(shape) == 2:
            _check_neighbors(X)
        elif image_shape is not None and len(row_shape) == 1 and len(shape) == 3:
            _check_order(X, shape, layout)
    else:
        return Arrangement("features", (math.prod(shape),), False)
    if layout == "channels_first":
        return Arrangement("image", shape, False)
    height, width, *channels = shape
    return Arrangement("image", (*(channels or (1,)), height, width), bool(channels))


def _checked(image_shape: tuple[int, ...], row_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The image shape, if rows of this shape hold such images without a change of the order of their values."""
    n_values = math.prod(row_shape)
    if len(image_shape) not in (2, 3) or math.prod(image_shape) != n_values:
        raise ValueError(
            f"image_shape={image_shape} doesn't fit rows of {n_values} values: give (H, W), (H, W, C) or (C, H, W)"
        )
    if not set(accumulate(row_shape[::-1], mul)) <= {1, *accumulate(image_shape[::-1], mul)}:
        raise ValueError(
            f"image_shape={image_shape} is for flat rows, and rows of shape {row_shape} have their axes in another "
            f"order: leave image_shape out, and say layout='image' for (H, W, C) or 'channels_first' for (C, H, W)"
        )
    return image_shape


def _check_asked(shape: tuple[int, ...], layout: str, what: str) -> None:
    """Raise where an image can't have the layout that was asked for."""
    axes, n_axes = ("(C, H, W)", (3,)) if layout == "channels_first" else ("(H, W) or (H, W, C)", (2, 3))
    if len(shape) not in n_axes:
        hint = ": give their sizes as image_shape" if len(shape) == 1 else ""
        raise ValueError(f"layout={layout!r} needs images {axes}, but there are {what}{hint}")
    if len(shape) == 2:
        return
    first, _, last = shape
    if layout == "image" and last > MOST_CHANNELS and first in CHANNELS_FIRST:
        raise ValueError(f"layout='image' makes {what} images of {last} channels: say layout='channels_first'")
    if layout == "channels_first" and first > MOST_CHANNELS and last in CHANNELS:
        raise ValueError(
            f"layout='channels_first' makes {what} images of {first} channels: "
            f"say layout='image', or give the sizes as (C, H, W)"
        )


def _recognized(shape: tuple[int, ...], what: str) -> str:
    """The layout of images by the sizes of their axes."""
    if len(shape) == 2 or shape[-1] in CHANNELS:
        return "image"
    if shape[0] in CHANNELS_FIRST:
        return "channels_first"
    raise ValueError(
        f"{what} may be images (H, W, C), images (C, H, W) or no images: "
        f"say layout='image', 'channels_first' or 'features'"
    )


def _check_neighbors(X: Any) -> None:
    """Raise where real values don't look like pixels: steps by sensors, say."""
    if X.dtype.kind not in "fiu" or X.dtype == np.uint8:
        return
    x = _some(X)
    low, high = np.nanmin(x, initial=0), np.nanmax(x, initial=0)
    if low >= 0 and (high <= 1 or (high <= 255 and not (x % 1 > 0).any())):  # 0 to 1, or grey levels
        return
    short = [axis for axis in (1, 2) if x.shape[axis] < FEWEST_NEIGHBORS]
    if len(short) == 1 or (not short and max(_unlikeness(x, axis) for axis in (1, 2)) > UNRELATED):
        raise ValueError(
            f"rows of shape {tuple(X.shape[1:])} can be images (H, W) or features: say layout='image' (--layout image) "
            f"if they are images, or layout='features' if not"
        )


def _unlikeness(x: np.ndarray, axis: int) -> float:
    """Mean squared difference of neighbors over that of any two along an axis, 1 where the order says nothing.

    von Neumann's ratio of the entries in standard deviations from their means over the rows.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # entries without any value
        spread = np.nanstd(x, 0)
        x = (x - np.nanmean(x, 0)) / np.where(spread > 0, spread, 1)
        any_two = 2 * np.nanmean(np.nanvar(x, axis, ddof=1))
        next_ones = np.nanmean(np.diff(x, axis=axis) ** 2)
    return float(next_ones / any_two) if any_two > 0 else 0.0


def _check_order(X: Any, shape: tuple[int, ...], layout: str) -> None:
    """Raise where flat rows are clearly smoother images if their values lie in the other order."""
    channels, height, width = shape if layout == "channels_first" else (shape[2], *shape[:2])
    if channels == 1 or min(height, width) < SHORTEST_SIDE or len(X) < FEWEST_ROWS:
        return
    x = _some(X)
    interleaved = x.reshape(len(x), height, width * channels)
    planar = x.reshape(len(x) * channels, height, width)
    across_rows = {"image": _rise(interleaved), "channels_first": _rise(planar)}
    other = "image" if layout == "channels_first" else "channels_first"
    if across_rows[layout] > ROUGHER * across_rows[other]:
        right = (channels, height, width) if other == "channels_first" else (height, width, channels)
        order = "one channel after another" if other == "channels_first" else "pixel by pixel, channels innermost"
        raise ValueError(
            f"image_shape={shape} seems to be wrong: the values of the rows lie {order}. Say layout={other!r} with "
            f"image_shape={right}, or layout={layout!r} if image_shape={shape} is right nevertheless"
        )


def possible_images(X: Any) -> tuple[int, ...] | None:
    """The sizes that flat rows would have as square images, in the order in which their values lie.

    None where rows are no bytes of such a number, or where neighbors are as different as any two values.
    """
    if len(X.shape) != 2 or X.dtype.kind not in "iu":
        return None
    side, n_channels = next(
        ((side, n) for n in (1, 3) if n * (side := math.isqrt(X.shape[1] // n)) ** 2 == X.shape[1]), (0, 0)
    )
    x = _some(X)
    if side < SHORTEST_SIDE or x.min() < 0 or x.max() > 255:
        return None
    planar, last = x.reshape(len(x) * n_channels, side, side), x.reshape(len(x), side, side * n_channels)
    is_planar = n_channels > 1 and _rise(planar) < _rise(last)
    images = planar if is_planar or n_channels == 1 else last[:, :, ::n_channels]
    if len(x) >= FEWEST_ROWS and max(_unlikeness(images, axis) for axis in (1, 2)) > UNRELATED:
        return None
    return (side, side) if n_channels == 1 else (3, side, side) if is_planar else (side, side, 3)


def _rise(images: np.ndarray) -> float:
    """Mean squared difference of values above one another, images (n, H, W)."""
    return float(np.nanmean(np.diff(images, axis=1) ** 2))


def _some(X: Any) -> np.ndarray:
    """Rows from all over the data in float64, NaN where values are missing."""
    n = min(len(X), LOOKED_AT, max(2, LOOKED_AT_VALUES // max(1, math.prod(X.shape[1:]))))
    rows = X.as_array(X.spread(n).X) if isinstance(X, Source) else X[np.linspace(0, len(X) - 1, n).round().astype(int)]
    return np.ma.filled(np.ma.asarray(rows).astype(np.float64), np.nan)
