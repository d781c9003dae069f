"""The images of a run: decoded once, into an array in its folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lowerbound.cli.images import READING_IMAGES, read_blocks
from lowerbound.cli.options import DataOptions
from lowerbound.cli.output import Console
from lowerbound.cli.run import ARRAY, ARRAY_OF

if TYPE_CHECKING:
    from lowerbound.data.readers.images import ImageFolder


def converted(run: Path, data: DataOptions, console: Console) -> tuple[DataOptions, DataOptions]:
    """The data of a run to be remembered, and to be read: for a folder of images, the array of its pixels.

    The array is made unless it is there. What is remembered says whether the images are gray or in color.
    """
    from lowerbound.storage.atomic import write_text
    from lowerbound.storage.results import write_parts

    images = data.images()
    if images is None:
        return data, data
    for note in images.notes:
        console.say(note)
    data, known = replace(data, mode="rgb" if images.color else "gray"), _record(images)
    if not _is_there(run, known):
        (run / ARRAY_OF).unlink(missing_ok=True)
        with console.progress(len(images), READING_IMAGES) as progress:
            write_parts(
                run / ARRAY,
                ((images.as_array(block.X), {}) for block in read_blocks(images, progress)),
                [],
                len(images),
            )
        write_text(run / ARRAY_OF, known)
    return data, DataOptions(str(run / ARRAY), stream=data.stream)


def at_hand(run: Path, data: DataOptions) -> DataOptions:
    """The array of a folder of images that a run has, if the folder hasn't changed; else the data as they are."""
    images = data.images()
    if images is None or not _is_there(run, _record(images)):
        return data
    return DataOptions(str(run / ARRAY), stream=data.stream)


def _is_there(run: Path, known: str) -> bool:
    array, record = run / ARRAY, run / ARRAY_OF
    return array.exists() and record.exists() and record.read_text(encoding="utf-8") == known


def _record(images: ImageFolder) -> str:
    """The conversion, and a hash of the names, sizes and times of the files."""
    total = hashlib.sha256()
    for name, path in zip(images.names, images.paths, strict=True):
        found = path.stat()
        total.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\0".encode())
    how = {"shape": images.shape, **{name: getattr(images.how, name) for name in ("size", "crop")}}
    return json.dumps({**how, "sha256": total.hexdigest()}) + "\n"
