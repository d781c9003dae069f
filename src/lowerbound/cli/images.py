"""Folders of images on the command line: what their conversion changes is said, and a bar shown while they are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lowerbound.cli.output import Console

if TYPE_CHECKING:
    from lowerbound.data.readers.images import ImageFolder
    from lowerbound.data.sources import Dataset

ROWS_AT_ONCE = 32
READING_IMAGES = "reading images"


def in_memory(images: ImageFolder, asked: bool | None, console: Console) -> Dataset:
    """The images as an array, read with a bar, unless they are to be streamed."""
    import numpy as np

    from lowerbound.data.sources import Dataset, is_streamed

    if is_streamed(images, asked):
        return Dataset(images, None, images.name, images.notes)
    X, labels, n_done = np.empty(images.shape, images.dtype), [], 0
    with console.progress(len(images), READING_IMAGES) as progress:
        for block in read_blocks(images, progress):
            X[n_done : n_done + len(block.X)] = block.X
            labels.append(block.labels)
            n_done += len(block.X)
    return Dataset(X, None if labels[0] is None else np.concatenate(labels), images.name, images.notes)


def read_blocks(images: ImageFolder, progress: Any) -> Iterator[Dataset]:
    """All images, a few at a time; ``progress`` is told how many more are done."""
    for block in images.blocks(ROWS_AT_ONCE):
        yield block
        progress(len(block.X))
