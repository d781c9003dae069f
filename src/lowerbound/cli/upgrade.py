"""``lowerbound config``: configuration files of older versions in today's form."""

from __future__ import annotations

import stat
from pathlib import Path

import click

from lowerbound.cli.config import model_of, read_file, read_toml, upgraded_file
from lowerbound.cli.options import console_options, force_option
from lowerbound.cli.output import Console, Failure, new_file

KEPT = ".before"  # the ending of the copy of a file that is replaced


@click.group(name="config", short_help="Bring configuration files up to date.")
def config() -> None:
    """Configuration files of `lowerbound train -c`."""


@config.command(short_help="Write a file of an older version in today's form.")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Write to this file instead.")
@force_option
@console_options
def upgrade(file: Path, output: Path | None, force: bool, console: Console) -> None:
    """Write FILE, a configuration of an older version, in today's form: parts instead of flat parameters.

    Without -o the file is replaced, the one itself where FILE is a link to it, and what it was is kept beside it with
    the ending .before. Comments are lost.
    """
    import tomli_w

    from lowerbound.parameters.parameter import plain
    from lowerbound.storage.atomic import write_text

    record = read_toml(file)
    read_file(file)  # raises where a name or a value is wrong
    new = {name: plain(value) for name, value in upgraded_file(record, model_of(record, file)).items()}
    if new == record:
        return _report(console, f"{file} is in today's form already", file, kept=None, written=False)
    text = tomli_w.dumps({name: _without_none(value) for name, value in new.items() if value is not None})
    target, kept = file.resolve() if output is None else new_file(output, force), None
    if output is None:
        kept = target.with_name(target.name + KEPT)
        if not (kept.is_file() and kept.read_bytes() == target.read_bytes()):  # as after a kill between the two files
            new_file(kept, force)
        _replace(target, kept, text)
    else:
        write_text(target, text)
    _report(console, f"wrote {target}", target, kept=kept, written=True)


def _replace(file: Path, kept: Path, text: str) -> None:
    """Replace a file, and keep what it was; both have its permissions."""
    from lowerbound.storage.atomic import write_text
    from lowerbound.storage.opening import read_bytes

    mode = stat.S_IMODE(file.stat().st_mode)
    if not mode & stat.S_IWUSR:
        raise Failure(f"{file} is read-only: make it writable, or write another file with -o")
    for path, content in ((kept, read_bytes(file).decode("utf-8")), (file, text)):
        write_text(path, content)
        path.chmod(mode)


def _report(console: Console, sentence: str, file: Path, *, kept: Path | None, written: bool) -> None:
    console.say(sentence)
    if console.as_json:
        console.result({"file": file, "kept": kept, "written": written}, sentence)


def _without_none(value: object) -> object:
    return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value
