"""The output of commands: results on stdout, everything else on stderr; files are never half-written."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

INTERRUPTED = 130  # the exit code after Ctrl-C
BAR = "{desc} {percentage:3.0f}%|{bar}| {remaining} left"


class Failure(click.ClickException):
    """An error in one sentence; the exit code is 1."""

    def show(self, file: Any = None) -> None:
        """Write the error to stderr."""
        write_error(f"error: {self.message}")


@dataclass(frozen=True)
class Console:
    """The console of a command, with its verbosity and format."""

    quiet: bool = False
    as_json: bool = False

    def say(self, message: str) -> None:
        """Write a message on stderr, unless quiet."""
        if not self.quiet:
            write_error(message)

    def result(self, record: Mapping[str, Any], text: str) -> None:
        """Write the result of the command on stdout: one JSON object, or text."""
        click.echo(to_json(record) if self.as_json else text)

    def emit(self, record: Mapping[str, Any]) -> None:
        """Write one line of JSON on stdout, without breaking the progress bar."""
        with tqdm.external_write_mode(sys.stdout):
            click.echo(to_json(record))

    @contextmanager
    def progress(self, n_rows: int, what: str, done: int = 0) -> Iterator[Callable[[float], Any]]:
        """Show a bar on a terminal; yield a function to call with the number of rows done."""
        if self.quiet or not sys.stderr.isatty():
            yield lambda n: None
            return
        with tqdm(
            total=n_rows, initial=done, desc=what, bar_format=BAR, dynamic_ncols=True, leave=False, file=sys.stderr
        ) as bar:
            yield bar.update

    def suggest(self, *words: str | Path) -> None:
        """Suggest the next command."""
        if not self.as_json:
            self.say(f"next: {command_line(*words)}")


def write_error(message: str) -> None:
    """Write one line on stderr, above the progress bar if there is one."""
    tqdm.write(message, file=sys.stderr)


def command_line(*words: str | Path) -> str:
    """A command of this program in shell syntax."""
    return shlex.join(["lowerbound", *map(str, words)])


def to_json(record: Mapping[str, Any]) -> str:
    """One line of JSON; NaN and infinite values become null."""
    return json.dumps(_plain(record), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, type(None))) else str(value)


def table(rows: Mapping[str, Any]) -> str:
    """Names and values in two columns."""
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def nats(value: float) -> str:
    """A number with two decimals and a real minus sign."""
    return f"{value:,.2f}".replace("-", "−")


def short(value: float) -> str:
    """A number with four significant digits."""
    return f"{value:.4g}".replace("-", "−")


def plus_minus(mean: float, error: float) -> str:
    """``−85.32 ± 0.41``: the error with two significant digits, the mean to the same place."""
    from lowerbound.evaluation import estimate

    if not math.isfinite(error) or error <= 0:
        return nats(mean)
    return estimate.plus_minus(mean, error, ",").replace("-", "−")


def information(estimate: Mapping[str, Any], text: str) -> str:
    """A mutual information, and the most that it could be where it is near that."""
    from lowerbound.evaluation.gap import at_its_ceiling

    said = at_its_ceiling(estimate["mean"], estimate["n_rows"], estimate.get("n_importance"))
    return f"≥ {text}" + f"; {said}" * bool(said)


def listing(values: Mapping[str, Any]) -> str:
    """``name value, name value``."""
    return ", ".join(f"{name} {value}" for name, value in values.items())


def new_file(path: Path, force: bool) -> Path:
    """Check that a file may be written, before any work is done for it."""
    if not path.parent.is_dir():
        raise Failure(f"can't write {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise Failure(f"can't write {path}: it is a folder")
    if not os.access(path.parent, os.W_OK):
        raise Failure(f"can't write {path}: you have no permission to write into {path.parent}")
    if path.exists() and not force:
        raise Failure(f"{path} exists: choose another name, or overwrite it with --force")
    return path
