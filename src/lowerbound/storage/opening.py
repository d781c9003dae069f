"""Files that users name: regular files of a bounded size, and the JSON and TOML in them.

A name may lead to a pipe that nobody writes to, to a device without an end, or to a link whose file is gone. All that
is read by name is checked here first.
"""

from __future__ import annotations

import json
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

MOST_JSON = 2**27  # bytes; a description of a model with a million categories has fewer
MOST_TOML = 2**20
MOST_HISTORY = 2**26
MOST_LEVELS, DEEP = 64, "it is nested too deeply"
MOST_PARTS = 64  # of a key of TOML, whose reader takes the square of their number


def size_of(path: Path, error: type[ValueError] = ValueError, name: str | None = None) -> int:
    """The bytes of a regular file, links followed.

    Parameters
    ----------
    path : Path
    error : type
        What is raised where there is none.
    name : str, optional
        The file's name in messages.
    """
    name = str(path) if name is None else name
    try:
        about = Path(path).stat()
    except FileNotFoundError as missing:
        is_link = Path(path).is_symlink()
        raise error(
            f"{name} {'is a link to a file that' if is_link else ''} doesn't exist".replace("  ", " ")
        ) from missing
    except (OSError, ValueError) as failed:  # a name with a zero byte is a ValueError
        raise error(f"{name} can't be read: {getattr(failed, 'strerror', None) or failed}") from failed
    if stat.S_ISDIR(about.st_mode):
        raise error(f"{name} is a folder, and a file is needed")
    if not stat.S_ISREG(about.st_mode):
        raise error(f"{name} is neither a file nor a folder: copy its data to a file first")
    return about.st_size


def read_bytes(path: Path, error: type[ValueError] = ValueError, most: int | None = None) -> bytes:
    """The content of a regular file of at most ``most`` bytes; raises ``error``."""
    size = size_of(path, error)
    try:
        with Path(path).open("rb") as file:
            content = file.read(-1 if most is None else most + 1)
    except OSError as failed:
        raise error(f"{path} can't be read: {failed.strerror}") from failed
    except MemoryError as failed:
        raise error(f"{path} doesn't fit in memory: it has {size:,} bytes") from failed
    if most is not None and len(content) > most:
        raise error(f"{path} is too large: at most {most:,} bytes can be read")
    return content


def read_json(path: Path, error: type[ValueError] = ValueError) -> Any:
    """The value in a file of JSON; raises ``error``."""
    return parse_json(read_bytes(path, error, MOST_JSON), error, str(path))


def parse_json(content: bytes | str, error: type[ValueError], name: str) -> Any:
    """The value that JSON describes; raises ``error``."""
    try:
        return _shallow(json.loads(content))
    except RecursionError as failed:
        raise error(f"{name} isn't JSON that can be read: {DEEP}") from failed
    except ValueError as failed:
        raise error(f"{name} isn't JSON ({failed})") from failed


def _shallow(value: Any) -> Any:
    """The value, unless it is nested more than ``MOST_LEVELS`` deep: what reads it may call itself at each level."""
    within = [value]
    for _ in range(MOST_LEVELS):
        within = [
            inner
            for each in within
            for inner in (each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())
            if isinstance(inner, (dict, list))
        ]
        if not within:
            return value
    raise ValueError(DEEP)


def read_toml(path: Path, error: type[ValueError] = ValueError) -> dict[str, Any]:
    """The content of a file of TOML; raises ``error``."""
    content = read_bytes(path, error, MOST_TOML)
    try:
        text = content.decode("utf-8")
        if any(piece.count(".") >= MOST_PARTS for piece in re.split(r"[\n,=\[\]{}]", text)):
            raise ValueError(f"a key has more than {MOST_PARTS} parts")
        return _shallow(tomllib.loads(text))
    except RecursionError as failed:
        raise error(f"{path} isn't TOML that can be read: {DEEP}") from failed
    except ValueError as failed:
        raise error(f"{path} isn't TOML: {failed}") from failed
