"""A folder that one process at a time writes to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = ".lock"


class FolderInUseError(OSError):
    """Another process works in a folder."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from a folder, which is made if it isn't there, and taken away if it stays empty.

    The lock ends with its process, however that ends. Where the system or the file system has no locks, there is none.

    Raises
    ------
    FolderInUseError
        If another process has locked it.
    """
    was_there, path = folder.exists(), folder / LOCK
    folder.mkdir(parents=True, exist_ok=True)
    file = _opened_and_locked(path)
    if file is None:
        raise FolderInUseError(f"{folder} is in use: another process trains there; wait for it, or stop it")
    try:
        yield
    finally:
        with file, suppress(OSError):  # a folder that holds something stays
            path.unlink()
            if not was_there:
                folder.rmdir()


def _opened_and_locked(path: Path) -> BinaryIO | None:
    """The file, which the lock goes with; None if another process has it."""
    while True:
        file = path.open("ab")
        if not _lock(file):
            file.close()
            return None
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()  # whoever had it has taken the file away meanwhile


def _lock(file: BinaryIO) -> bool:
    """Whether no other process has the file locked."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
    return True
