"""Folders of PNG and JPEG images, with a subfolder for each class if there are classes."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lowerbound.data.checks import DataError, check_rows
from lowerbound.data.readers.content import JPEG, PNG, content, explained, opened
from lowerbound.data.sources import Dataset, Source, is_streamed

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_READ = {".png", ".jpg", ".jpeg"}
_REFUSED = {".avif", ".bmp", ".gif", ".heic", ".jp2", ".pgm", ".ppm", ".tif", ".tiff", ".webp"}
_MOST_PIXELS = 1 << 26  # of one image; a small file may claim many more
_GREY, _COLOR = {"1", "L", "LA"}, {"P", "RGB", "RGBA"}
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


def read_images(folder: Path, name: str, *, stream: bool | None = None) -> Dataset:
    """Read a folder of images of one size, in the order of their names.

    Images lie in the folder itself, or in one subfolder for each class, whose names become the labels. If any
    image has color, all are read in color. Photographs are turned upright. Images of 16 bits a channel, CMYK
    images and images with transparent pixels are refused.

    Parameters
    ----------
    folder : Path
        The folder.
    name : str
        The folder's name in messages.
    stream : bool | None
        Decode images when they are used; None does so if they take much memory.

    Returns
    -------
    Dataset
        8-bit images, shape ``(n, height, width)``, or ``(n, height, width, 3)`` in color; or a source of them.
    """
    paths = _find(folder, name)
    check_rows(len(paths), name)
    images = ImageFolder(folder, paths, name)
    if is_streamed(images, stream):
        return Dataset(images, None, name)
    for path in paths:
        with _opened(path, images.called(path)) as image:
            image.verify()  # the checksums of a PNG image, which decoding leaves alone
    return images.read(np.array([[0, len(paths)]]))


class ImageFolder(Source):
    """Images that are decoded when they are used; only their names are held."""

    def __init__(self, folder: Path, paths: list[Path], name: str) -> None:
        self.folder: Path
        self.paths: list[Path]
        self.name: str
        self.folder, self.paths, self.name = folder, paths, name
        self.files: Sequence[Path] = paths
        self.has_classes: bool = paths[0].parent != folder
        self.color: bool
        height, width, self.color = _agree(paths, self.called)
        shape = (height, width, 3) if self.color else (height, width)
        super().__init__(name, (len(paths), *shape), np.dtype(np.uint8))

    def called(self, path: Path) -> str:
        """The name of an image in messages."""
        return f"{self.name}/{path.relative_to(self.folder).as_posix()}"

    def read(self, ranges: np.ndarray) -> Dataset:
        """Decode the images, labeled by their folders."""
        paths = [path for first, last in ranges.tolist() for path in self.paths[first:last]]
        with explained(self.name):
            X = np.empty((len(paths), *self.shape[1:]), np.uint8)
        for row, path in zip(X, paths, strict=True):
            with _opened(path, self.called(path)) as image:
                row[:] = _pixels(image, self.color, self.called(path))
        return Dataset(X, np.array([path.parent.name for path in paths]) if self.has_classes else None, self.name)


def _find(folder: Path, name: str) -> list[Path]:
    """List the images of a folder, or those of its subfolders."""
    entries = _visible(folder, name)
    inner = [each for entry in entries if entry.is_dir() for each in _visible(entry, f"{name}/{entry.name}")]
    files = [entry for entry in (*entries, *inner) if not entry.is_dir()]
    _check_layout(inner, files, folder, name)
    images = [file for file in files if file.suffix.lower() in _READ]
    if not images:
        kinds = Counter(file.suffix or file.name for file in files)
        held = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5)) or "nothing"
        raise DataError(f"{name} is a folder without PNG or JPEG images (it holds {held}); give a data file instead.")
    if len({image.parent == folder for image in images}) == 2:
        raise DataError(f"{name} has images both in the folder itself and in subfolders; move them to one level.")
    return images


def _visible(folder: Path, name: str) -> list[Path]:
    """List a folder in order, without hidden files and those that macOS adds."""
    with explained(name):
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
    return sorted(entries, key=lambda entry: entry.name)


def _check_layout(inner: list[Path], files: list[Path], folder: Path, name: str) -> None:
    """Refuse deeper folders and images of other formats, which would be left out silently."""
    for entry in inner:
        if entry.is_dir():
            raise DataError(
                f"{name} has folders within folders ({entry.relative_to(folder).as_posix()}): images may lie "
                "in the folder itself or in one subfolder for each class; give a folder one level down."
            )
    for file in files:
        if file.suffix.lower() in _REFUSED:
            where = f"{name}/{file.relative_to(folder).as_posix()}"
            raise DataError(f"{where} is not a PNG or JPEG image; convert it or move it away.")


def _agree(paths: list[Path], called: Callable[[Path], str]) -> tuple[int, int, bool]:
    """Find the height and width all images share, and whether any has color, without decoding them."""
    first, has_color = (0, 0), False
    for path in paths:
        with _opened(path, called(path)) as image:
            size = image.size[::-1] if _orientation(image) >= 5 else image.size
            has_color = has_color or _has_color(image)
        first = first if any(first) else size
        if size != first:
            raise DataError(
                f"{called(path)} is {size[0]} × {size[1]} pixels but {called(paths[0])} is {first[0]} × {first[1]}; "
                "crop or resize the images to one size."
            )
    return first[1], first[0], has_color


@contextmanager
def _opened(path: Path, name: str) -> Iterator[ImageFile]:
    """Open an image by its content, refusing images that don't fit into 8 bits of grey or color."""
    from PIL.Image import DecompressionBombError
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    with explained(name, DecompressionBombError), warnings.catch_warnings(), opened(path, name) as file:
        warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata
        head = file.read(64)
        file.seek(0)
        if not head:
            raise DataError(f"{name} is empty (0 bytes).")
        if content(head) not in (PNG, JPEG):
            raise DataError(f"{name} is named like an image but holds {content(head) or 'something else'}.")
        with (PngImageFile if content(head) == PNG else JpegImageFile)(file) as image:
            _check_image(image, head, name)
            yield image


def _check_image(image: ImageFile, head: bytes, name: str) -> None:
    """Refuse images of implausible size, and those that don't fit into 8 bits of grey or color."""
    if image.width * image.height > _MOST_PIXELS:
        raise DataError(f"{name} claims {image.width} × {image.height} pixels, too many to read.")
    if image.format == "PNG" and head[_PNG_DEPTH] == 16:
        raise DataError(f"{name} has 16 bits a channel; save it with 8.")
    if image.mode == "P" and image.palette is None:
        raise DataError(f"{name} is damaged: its palette is missing.")
    if image.mode not in _GREY | _COLOR:
        raise DataError(f"{name} has pixels of the kind {image.mode}; save it as grey or RGB.")


def _has_color(image: ImageFile) -> bool:
    """Return True for an image in color; a palette may hold either."""
    if image.mode != "P":
        return image.mode in _COLOR
    assert image.palette is not None
    palette = bytes(image.palette.palette)
    return not palette[0::3] == palette[1::3] == palette[2::3]


def _orientation(image: ImageFile) -> int:
    """The orientation of a photograph as in EXIF: 1 is upright, from 5 on width and height are exchanged."""
    held = image.getexif().get(_ORIENTATION) if image.format == "JPEG" else 1
    return held if held in _UPRIGHT else 1


def _pixels(image: ImageFile, color: bool, name: str) -> np.ndarray:
    """Decode one image, upright."""
    from PIL.Image import Transpose

    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] != 255:
        raise DataError(f"{name} has transparent pixels; put it on a background and save it without transparency.")
    held = _orientation(image)
    upright = image.transpose(Transpose[_UPRIGHT[held]]) if held in _UPRIGHT else image
    return np.asarray(upright.convert("RGB" if color else "L"))
