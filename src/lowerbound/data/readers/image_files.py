"""Image files of the usual formats, known by their content: what their headers say, and their pixels in 8 bits."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import SEEK_CUR
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from lowerbound.data.checks import DataError
from lowerbound.data.readers.content import content, explained, opened

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

MOST_PIXELS = 1 << 26  # of one image; a small file may claim many more
MODES = ("gray", "rgb")
CROPS = ("center", "none")
_PNG = b"\x89PNG\r\n\x1a\n"
_FORMATS = {
    _PNG: "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"BM": "BMP",
    b"P4": "PPM", b"P5": "PPM", b"P6": "PPM",
}  # fmt: skip
_GREY, _COLOR = {"1", "L", "LA", "I;16", "I;16B", "I;16L", "I;16N"}, {"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
_ORIENTATION = 0x0112  # the EXIF tag of a photograph's orientation
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_PNG_DEPTH = 24  # the byte of a PNG image that gives the bits of a channel
_BITS_OF_A_SAMPLE = 258  # the tag of a TIFF image
_LONGEST_EXIF = 1 << 16  # bytes


@dataclass(frozen=True)
class Conversion:
    """The way from images of any size and kind to those of one.

    Attributes
    ----------
    size : (width, height) or None
        None leaves the size as it is.
    crop : {"center", "none"}
        Cut the largest part of that shape around the center before resizing, or stretch the whole image.
    mode : {None, "gray", "rgb"}
        None is color if any image has color.
    """

    size: tuple[int, int] | None = None
    crop: str = "center"
    mode: str | None = None


def conversion(resize: int | str | None = None, crop: str | None = None, mode: str | None = None) -> Conversion:
    """The conversion that is asked for, checked.

    Parameters
    ----------
    resize : int or str, optional
        The side of a square in pixels, or ``"64x48"``, width and height.
    crop : {"center", "none"}, optional
    mode : {"gray", "rgb"}, optional
    """
    if crop is not None and resize is None:
        raise DataError("crop says how images are cut before they are resized: say resize=64 (--resize 64) too.")
    for name, value, known in (("crop", crop, CROPS), ("mode", mode, MODES)):
        if value is not None and value not in known:
            raise DataError(f"{name}={value!r} is not known: say {' or '.join(map(repr, known))}.")
    return Conversion(None if resize is None else _size(resize), crop or "center", mode)


def _size(resize: int | str) -> tuple[int, int]:
    """``64`` or ``64x48`` as width and height."""
    width, x, height = str(resize).partition("x")
    words = (width, height if x else width)
    if not all(word.isascii() and word.isdecimal() and int(word[:6]) > 0 for word in words):
        raise DataError(f"resize={resize!r} is no size: say 64, the side of a square, or '64x48', width and height.")
    return int(words[0][:6]), int(words[1][:6])


@dataclass(frozen=True)
class Header:
    """The facts of an image that are known without decoding it.

    Attributes
    ----------
    size : (width, height)
        Once it is turned upright.
    color : bool
    remarks : tuple of str
        What its conversion to 8 bits of grey or color changes, as words that follow "3 images".
    """

    size: tuple[int, int]
    color: bool
    remarks: tuple[str, ...]


def header(path: Path, name: str) -> Header:
    """The header of an image file."""
    with _opened(path, name) as (image, orientation, bits):
        size = _turned(image.size) if orientation >= 5 else image.size
        return Header(size, _has_color(image), tuple(_remarks(image, bits)))


def pixels(path: Path, name: str, how: Conversion, *, color: bool) -> np.ndarray:
    """Decode an image as bytes, (height, width) or (height, width, 3): upright, on white, and of the size asked for."""
    if path.suffix.lower() == ".png":
        with _opened(path, name) as (image, *_):
            image.verify()  # the checksums, which decoding leaves alone
    with _opened(path, name) as (image, orientation, _):
        resized = _resized(image, how, turned=orientation >= 5)
        return np.asarray(_on_white(_upright(resized, orientation)).convert("RGB" if color else "L"))


@contextmanager
def _opened(path: Path, name: str) -> Iterator[tuple[ImageFile, int, int]]:
    """Open an image by its content; yield it with its orientation as in EXIF, and the bits of a channel."""
    from PIL import Image

    Image.init()  # registers the formats, once
    with explained(name), warnings.catch_warnings(), opened(path, name) as file:
        warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata
        head = file.read(64)
        kind = _format(head)
        if not head:
            raise DataError(f"{name} is empty (0 bytes).")
        if kind is None:
            raise DataError(f"{name} is named like an image but holds {content(head) or 'something else'}.")
        exif = _exif_of_png(file) if kind == "PNG" else None
        file.seek(0)
        with Image.OPEN[kind][0](file, "") as image:  # without Pillow's own check of sizes
            _check(image, name)
            yield image, _orientation(image, exif), _bits(image, head)


def _format(head: bytes) -> str | None:
    """Pillow's name of the format of a file by its first bytes."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return next((kind for magic, kind in _FORMATS.items() if head.startswith(magic)), None)


def _check(image: ImageFile, name: str) -> None:
    """Refuse images of implausible size, and those whose values have no known range."""
    if image.width * image.height > MOST_PIXELS:
        raise DataError(
            f"{name} claims {image.width} × {image.height} pixels, too many to read ({MOST_PIXELS:,} at most); "
            "make it smaller or move it away."
        )
    if image.mode == "P" and image.palette is None:
        raise DataError(f"{name} is damaged: its palette is missing.")
    if image.mode not in _GREY | _COLOR:
        raise DataError(f"{name} has pixels of the kind {image.mode}; save it as grey or RGB with 8 or 16 bits.")


def _exif_of_png(file: BinaryIO) -> bytes | None:
    """The EXIF data of a PNG image, which may follow its pixels; None without any."""
    file.seek(len(_PNG))
    while len(start := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        if kind == b"eXIf":
            return file.read(min(length, _LONGEST_EXIF))
        file.seek(length + 4, SEEK_CUR)
    return None


def _orientation(image: ImageFile, exif: bytes | None) -> int:
    """The orientation as in EXIF: 1 is upright, from 5 on width and height are exchanged."""
    from PIL.Image import Exif

    found = Exif()
    if image.format in ("JPEG", "MPO", "WEBP"):
        found = image.getexif()
    elif exif is not None:
        found.load(exif)
    held = found.get(_ORIENTATION)  # Pillow itself turns TIFF images
    return held if held in _UPRIGHT else 1


def _upright(image: Image, orientation: int) -> Image:
    from PIL.Image import Transpose

    return image.transpose(Transpose[_UPRIGHT[orientation]]) if orientation in _UPRIGHT else image


def _has_color(image: ImageFile) -> bool:
    """True for an image in color; a palette may hold either."""
    if image.mode not in ("P", "PA") or image.palette is None:
        return image.mode in _COLOR
    palette = bytes(image.palette.palette)
    step = len(image.palette.mode)
    return not palette[0::step] == palette[1::step] == palette[2::step]


def _bits(image: ImageFile, head: bytes) -> int:
    """The bits of a channel: 8, or 16."""
    if image.format == "TIFF":
        return max(image.tag_v2.get(_BITS_OF_A_SAMPLE, (8,)))  # pyright: ignore[reportAttributeAccessIssue]
    return head[_PNG_DEPTH] if image.format == "PNG" else 8


def _remarks(image: ImageFile, bits: int) -> Iterator[str]:
    """The losses of a conversion, in words."""
    if bits == 16:
        yield "with 16 bits a channel, read with the upper 8"
    if image.has_transparency_data:
        yield "with an alpha channel, put on white"
    if image.mode == "CMYK":
        yield "in CMYK, turned into RGB without a color profile"
    if image.format in ("GIF", "PNG", "TIFF", "WEBP") and getattr(image, "is_animated", False):
        yield "with several frames, of which the first is read"


def _resized(image: ImageFile, how: Conversion, *, turned: bool) -> Image:
    """The image in L, RGB or RGBA, of the size asked for; ``turned`` if it still has to be turned by 90 degrees."""
    from PIL.Image import Resampling

    if how.size is None:
        return _plain(image)
    size = _turned(how.size) if turned else how.size
    box = _center(image.size, size) if how.crop == "center" else (0.0, 0.0, float(image.width), float(image.height))
    if image.format in ("JPEG", "MPO"):  # decoded at 1/2, 1/4 or 1/8 of its size, at least twice the size asked for
        part = [(box[2] - box[0]) / image.width, (box[3] - box[1]) / image.height]
        full = image.size
        image.draft(None, (int(2 * size[0] / part[0]), int(2 * size[1] / part[1])))
        x, y = image.width / full[0], image.height / full[1]
        box = (box[0] * x, box[1] * y, min(box[2] * x, image.width), min(box[3] * y, image.height))
    return _plain(image).resize(size, Resampling.BICUBIC, box)


def _turned(size: tuple[int, int]) -> tuple[int, int]:
    return size[1], size[0]


def _center(size: tuple[int, int], shape: tuple[int, int]) -> tuple[float, float, float, float]:
    """The edges of the largest part of an image around its center that has this shape."""
    (width, height), scale = size, min(size[0] / shape[0], size[1] / shape[1])
    left, top = (width - shape[0] * scale) / 2, (height - shape[1] * scale) / 2
    return max(left, 0.0), max(top, 0.0), min(width - left, width), min(height - top, height)


def _plain(image: ImageFile) -> Image:
    """The image in L, RGB or RGBA."""
    from PIL.Image import fromarray

    if image.mode.startswith("I;16"):
        return fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _on_white(image: Image) -> Image:
    from PIL.Image import new

    if image.mode != "RGBA":
        return image
    white = new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return white
