"""Folders of images, whose subfolders name classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from lowerbound.data.checks import DataError, check_rows, counted
from lowerbound.data.readers.content import explained
from lowerbound.data.readers.image_files import Conversion, Header, conversion, header, pixels
from lowerbound.data.sources import Dataset, Source, is_streamed

_READ = {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_REFUSED = {".avif", ".heic", ".heif", ".jp2", ".jxl", ".psd", ".svg"}
LARGEST = 1 << 20  # pixels of an image as a row of data, for whose statistics some hundred bytes a pixel are needed
SUGGESTED = 64  # pixels a side


class ImageSizeError(DataError):
    """Images have several sizes, or are too large to be rows.

    Parameters
    ----------
    message : str
    resize : int
        A side to which they could be brought.
    """

    def __init__(self, message: str, resize: int) -> None:
        super().__init__(f"{message}: say resize={resize} (--resize {resize}), or another size.")
        self.resize: int
        self.resize = resize


def read_images(
    folder: Path,
    name: str,
    *,
    stream: bool | None = None,
    resize: int | str | None = None,
    crop: str | None = None,
    mode: str | None = None,
) -> Dataset:
    """Read a folder of images, in the order of their names.

    Where images lie in subfolders, of any depth, these are the labels: ``train/cat``. Images are turned upright, put
    on white where they are transparent, and read with 8 bits a channel; the first frame of several is read. If any has
    color, all are read in color. ``notes`` of the dataset say what was changed.

    Parameters
    ----------
    folder : Path
        The folder.
    name : str
        The folder's name in messages.
    stream : bool | None
        Decode images when they are used; None does so if they take much memory.
    resize : int, str or None
        The side of a square in pixels, or ``"64x48"``, width and height; None if all images have one size.
    crop : {None, "center", "none"}
        Cut images to that shape around their center before they are resized (the default), or stretch them.
    mode : {None, "gray", "rgb"}
        Read all in gray, or in color.

    Returns
    -------
    Dataset
        8-bit images, shape ``(n, height, width)``, or ``(n, height, width, 3)`` in color; or a source of them.
    """
    how = conversion(resize, crop, mode)
    paths = list(_images(folder, name))
    check_rows(len(paths), name)
    images = ImageFolder(folder, paths, name, how)
    if is_streamed(images, stream):
        return Dataset(images, None, name, images.notes)
    return replace(images.read(np.array([[0, len(paths)]])), notes=images.notes)


class ImageFolder(Source):
    """Images that are decoded when they are used; only their names are held.

    Attributes
    ----------
    color : bool
        All are read in color.
    how : Conversion
    notes : tuple of str
        What is changed by reading them.
    """

    def __init__(self, folder: Path, paths: list[Path], name: str, how: Conversion) -> None:
        self.folder: Path
        self.paths: list[Path]
        self.name: str
        self.how: Conversion
        self.folder, self.paths, self.name, self.how = folder, paths, name, how
        self.files: Sequence[Path] = paths
        headers = [header(path, self.called(path)) for path in paths]
        self.color: bool
        self.color = any(each.color for each in headers) if how.mode is None else how.mode == "rgb"
        width, height = how.size or self._one_size(headers)
        self._check_size(width, height, headers)
        self.notes: tuple[str, ...] = tuple(_notes(headers, how, color=self.color))
        super().__init__(name, (len(paths), height, width, *((3,) if self.color else ())), np.dtype(np.uint8))

    @cached_property
    def names(self) -> list[str]:
        """The paths of the images in the folder, which tell the rows apart."""
        return [path.relative_to(self.folder).as_posix() for path in self.paths]

    def called(self, path: Path) -> str:
        """The name of an image in messages."""
        return f"{self.name}/{path.relative_to(self.folder).as_posix()}"

    def read(self, ranges: np.ndarray) -> Dataset:
        """Decode the images, labeled by their folders."""
        paths = [path for first, last in ranges.tolist() for path in self.paths[first:last]]
        with explained(self.name):
            X = np.empty((len(paths), *self.shape[1:]), np.uint8)
        for row, path in zip(X, paths, strict=True):
            row[:] = pixels(path, self.called(path), self.how, color=self.color)
        return Dataset(X, self.labels(paths), self.name)

    def labels(self, paths: Sequence[Path]) -> np.ndarray | None:
        """The folders of some images; None where all lie in the folder itself."""
        if self.paths[0].parent == self.folder:
            return None
        return np.array([path.parent.relative_to(self.folder).as_posix() for path in paths])

    def _one_size(self, headers: list[Header]) -> tuple[int, int]:
        """The width and height that all images share."""
        first = headers[0].size
        other = next((i for i, each in enumerate(headers) if each.size != first), None)
        if other is None:
            return first
        examples = " but ".join(
            f"{self.called(self.paths[i])} is {headers[i].size[0]} × {headers[i].size[1]}" for i in (other, 0)
        )
        sizes = {each.size for each in headers}
        raise ImageSizeError(
            f"{self.name} has images of {len(sizes)} sizes ({examples} pixels), and rows need one", _suggested(headers)
        )

    def _check_size(self, width: int, height: int, headers: list[Header]) -> None:
        if width * height > LARGEST:
            raise ImageSizeError(
                f"{self.name} has rows of {width} × {height} pixels, and a model takes {LARGEST:,} at most",
                _suggested(headers),
            )


def _suggested(headers: list[Header]) -> int:
    """A side for images of several sizes, less than that of most of them."""
    return int(min(SUGGESTED, np.median([min(each.size) for each in headers])))


def _notes(headers: list[Header], how: Conversion, *, color: bool) -> Iterator[str]:
    """The changes made by reading, as sentences."""
    if how.size is not None:
        sizes = sorted({each.size for each in headers}, key=lambda size: size[0] * size[1])
        held = f"{len(sizes)} sizes, from {_by(sizes[0])} to {_by(sizes[-1])}" if len(sizes) > 1 else _by(sizes[0])
        cut = "cut around the center and resized" if how.crop == "center" else "stretched"
        yield f"images of {held} pixels are {cut} to {_by(how.size)}"
    n_color = sum(each.color for each in headers)
    if color and n_color < len(headers):
        yield f"{counted(len(headers) - n_color, 'image')} in gray, read in color as the others are"
    if not color and n_color:
        yield f"{counted(n_color, 'image')} in color, read in gray"
    remarks = Counter(remark for each in headers for remark in each.remarks)
    yield from (f"{counted(count, 'image')} {remark}" for remark, count in remarks.items())


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"


def _images(folder: Path, name: str) -> list[Path]:
    """List the images of a folder and of its subfolders."""
    files = list(_files(folder, name))
    images = [file for file in files if file.suffix.lower() in _READ]
    if not images:
        kinds = Counter(file.suffix or file.name for file in files)
        held = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5)) or "nothing"
        raise DataError(f"{name} is a folder without images to read (it holds {held}); give a data file instead.")
    if len({image.parent == folder for image in images}) == 2:
        raise DataError(f"{name} has images both in the folder itself and in subfolders; move them to one level.")
    return images


def _files(folder: Path, name: str, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the files of a folder in order, then those of its subfolders; refuse images that would be left out."""
    with explained(name):
        entries = sorted(_visible(folder), key=lambda entry: entry.name)
        real = folder.resolve()
    if real in above:
        raise DataError(f"{name} is a link to a folder that holds it; remove the link.")
    folders = [entry for entry in entries if entry.is_dir()]
    files = [entry for entry in entries if not entry.is_dir()]
    for file in files:
        if file.suffix.lower() in _REFUSED:
            raise DataError(f"{name}/{file.name} is an image that can't be read; convert it to JPEG or move it away.")
    yield from files
    for entry in folders:
        yield from _files(entry, f"{name}/{entry.name}", (*above, real))


def _visible(folder: Path) -> list[Path]:
    """The entries of a folder without hidden ones and those that macOS adds."""
    return [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
