"""A folder that one process at a time writes to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from lowerbound.storage.opening import size_of

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = ".lock"


class FolderInUseError(OSError):
    """Another process has locked the folder."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes; it is made if it doesn't exist, and removed if it stays empty.

    The lock ends with its process, even a killed one. Systems and file systems without locks are not protected.

    Raises
    ------
    FolderInUseError
        If another process has locked the folder.
    """
    was_there, path = folder.exists(), folder / LOCK
    folder.mkdir(parents=True, exist_ok=True)
    file = _opened_and_locked(path)
    if file is None:
        raise FolderInUseError(f"{folder} is in use: another process trains there; wait for it, or stop it")
    try:
        yield
    finally:
        with file, suppress(OSError):  # rmdir fails if the folder isn't empty
            path.unlink()
            if not was_there:
                folder.rmdir()


def _opened_and_locked(path: Path) -> BinaryIO | None:
    """The locked file, whose closing ends the lock; None if another process has locked it."""
    while True:
        if path.exists():
            size_of(path)  # a pipe would keep this process waiting
        file = path.open("ab")
        if not try_lock(file):
            file.close()
            return None
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()  # its last owner has deleted this file meanwhile


def try_lock(file: IO[bytes], *, otherwise: bool = True) -> bool:
    """Lock a file until it is closed; False if another process has, ``otherwise`` where there are no locks."""
    if fcntl is None:
        return otherwise
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return otherwise
    return True
