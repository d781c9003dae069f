"""Rows of data as a page shows them: images as PNG files within the text, rows of a table as words."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from lowerbound.data.frames import as_pandas
from lowerbound.data.gaps import nan_in_gaps
from lowerbound.data.schema import Schema
from lowerbound.pictures.pictures import pixel_range, to_pixels

Shown = str | list[str | None]  # an image as a data URI, or the values of a row; None where one is missing

LESS, MORE = np.array([27, 89, 158]), np.array([190, 85, 12])  # of differences below and above zero
DIGITS = 4  # of a number


@dataclass(frozen=True)
class Display:
    """The way in which rows of a schema are shown.

    Attributes
    ----------
    schema : Schema
    names : list of str
        The columns of a table.
    low, high, grey : float
        The values of black and of white, and of white in the rows that were given, if they are binarized.
    largest : int
        Pixels on the longer side of an image; larger ones are made smaller.
    """

    schema: Schema
    names: list[str]
    low: float = 0.0
    high: float = 1.0
    grey: float = 1.0
    largest: int = 96

    @classmethod
    def of(cls, schema: Schema, names: Sequence[str], rows: Any = None) -> Display:
        """The display of rows like some of the data."""
        display = cls(schema, list(names))
        if not display.is_image:
            return display
        low, high = pixel_range(schema, np.zeros(1) if rows is None else np.asarray(nan_in_gaps(rows), np.float64))
        return replace(display, low=low, high=high, grey=float(schema.grey_levels) if schema.binarize else high)

    @property
    def is_image(self) -> bool:
        """Rows are shown as images."""
        return self.schema.is_image

    @property
    def kind(self) -> str:
        """``image`` or ``table``."""
        return "image" if self.is_image else "table"

    def smaller(self, largest: int) -> Display:
        """The same with smaller images."""
        return replace(self, largest=min(largest, self.largest))

    def show(self, rows: Any, *, given: bool = False) -> list[Shown]:
        """Rows in the user's units; ``given`` for rows of data, which stand above what the model made of them."""
        if self.is_image:
            pixels = self.pixels(rows, given=given)
            return [as_png(self.reduced(image)) for image in pixels]
        return in_words(flat(rows))

    def pixels(self, rows: Any, *, given: bool = False) -> np.ndarray:
        """Bytes of images, (n, H, W) or (n, H, W, 3)."""
        images = self._images(rows)
        return to_pixels(images, self.low, self.grey if given else self.high)

    def differences(self, given: Any, made: Any) -> list[Shown]:
        """Rows that were made less those given: images in two colors, white where they agree; numbers in words."""
        if self.is_image:
            less = self.pixels(made).astype(np.float64) - self.pixels(given, given=True)
            return [as_png(self.reduced(in_two_colors(image / 255))) for image in less]
        return [_differences(a, b) for a, b in zip(flat(given), flat(made), strict=True)]

    def _images(self, rows: Any) -> np.ndarray:
        """(n, H, W), or (n, H, W, 3) of the first three channels; of two channels the first."""
        images = np.moveaxis(self.schema.to_event(np.asarray(nan_in_gaps(rows), np.float64)), 1, -1)
        return images[..., :3] if images.shape[-1] >= 3 else images[..., 0]

    def reduced(self, image: np.ndarray) -> np.ndarray:
        """An image that is no larger than ``largest``."""
        from PIL import Image

        longer = max(image.shape[:2])
        if longer <= self.largest:
            return image
        size = [max(1, round(side * self.largest / longer)) for side in (image.shape[1], image.shape[0])]
        return np.asarray(Image.fromarray(image).resize((size[0], size[1]), Image.Resampling.BOX))


def as_png(image: np.ndarray) -> str:
    """Bytes (H, W) or (H, W, 3) as a data URI."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=6)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def in_two_colors(difference: np.ndarray) -> np.ndarray:
    """Differences from −1 to 1 as colors on white; of color images their mean over the channels."""
    difference = difference.mean(-1) if difference.ndim == 3 else difference
    amount = np.abs(np.clip(difference, -1, 1))[..., None]
    color = np.where(difference[..., None] > 0, MORE, LESS)
    return np.rint(255 + amount * (color - 255)).astype(np.uint8)


def flat(rows: Any) -> list[list[Any]]:
    """The values of each row of a table, of an array of any number of axes, or of a frame."""
    rows = as_pandas(rows)
    if isinstance(rows, pd.DataFrame):
        return [list(row) for row in rows.itertuples(index=False, name=None)]
    array = np.asarray(nan_in_gaps(rows))
    return array.reshape(len(array), -1).tolist()


def in_words(rows: list[list[Any]]) -> list[Shown]:
    """The values of rows as words."""
    return [[word(value) for value in row] for row in rows]


def word(value: Any) -> str | None:
    """A value as a word; None where it is missing."""
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        return str(value).removesuffix(" 00:00:00")
    number = float(value)
    if number.is_integer() and abs(number) < 1e15:
        return f"{number:.0f}".replace("-", "−")
    text = f"{number:.0f}" if 1e4 <= abs(number) < 1e15 else f"{number:.{DIGITS}g}"
    return text.replace("-", "−")


def _differences(given: list[Any], made: list[Any]) -> list[str | None]:
    """The differences of two rows: of numbers; of other values "≠" where they differ, and nothing where they don't."""
    found = []
    for a, b in zip(given, made, strict=True):
        if word(a) is None or word(b) is None:
            found.append(None)
        elif is_number(a) and is_number(b):
            found.append(word(float(b) - float(a)))
        else:
            found.append("" if word(a) == word(b) else "≠")
    return found


def is_number(value: Any) -> bool:
    """True for numbers, not for truth values."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.bool_))


def floats(values: Any) -> str:
    """Numbers as the text of their bytes: float32, little end first, in base 64."""
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()
