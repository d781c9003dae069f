"""The flags that commands share; flags of the model's parameters are made from their table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lowerbound.cli.output import Console
from lowerbound.parameters.parameter import Parameter
from lowerbound.parameters.vae import VAE_PARAMETERS

if TYPE_CHECKING:
    from lowerbound.data.sources import Dataset

    PathType = click.ParamType[Path]
    ValueType = click.ParamType[Any]
else:
    PathType = ValueType = click.ParamType  # takes no type argument in older versions of click

FLAGS = {name: parameter for name, parameter in VAE_PARAMETERS.items() if name != "verbose"}  # given by -q and -v


@dataclass(frozen=True)
class DataOptions:
    """The data of a command, and the columns or arrays to read.

    Attributes
    ----------
    source : str
        A file, a folder of images, or ``digits``.
    key : str or None
        The array of an .npz file.
    drop : tuple of str
        Columns of a table to leave out.
    label : str or None
        The column, or the array, with a label for each row.
    stream : bool or None
        Read rows when they are used; None does so if they take much memory.
    """

    source: str
    key: str | None = None
    drop: tuple[str, ...] = ()
    label: str | None = None
    stream: bool | None = None

    def read(self, *, mixed: bool = True) -> Dataset:
        """Read the data, whose columns may be text and dates if ``mixed``; raises ``DataError``."""
        from lowerbound.data.readers.read import read

        return read(self.source, key=self.key, drop=self.drop, label=self.label, stream=self.stream, mixed=mixed)

    def words(self) -> list[str]:
        """The options as words of a command line."""
        named = [("--key", self.key), *(("--drop", column) for column in self.drop), ("--label", self.label)]
        words = [word for flag, value in named if value is not None for word in (flag, value)]
        return [self.source, *words, *({None: (), True: ("--stream",), False: ("--no-stream",)}[self.stream])]


def data_options(command: Callable) -> Callable:
    """Add ``--key``, ``--drop``, ``--label`` and ``--stream`` to a command."""
    for option in (
        click.option(
            "--stream/--no-stream",
            default=None,
            help="Read rows when they are used, or load them all.  [stream what takes more than 256 MiB]",
        ),
        click.option("--label", metavar="NAME", help="Column, or array of an .npz, with a label for each row."),
        click.option("--drop", metavar="COLUMN", multiple=True, help="Leave this column out; can be repeated."),
        click.option("--key", metavar="NAME", help="Array of an .npz file."),
    ):
        command = option(command)
    return command


def console_options(command: Callable) -> Callable:
    """Add ``--json`` and ``-q`` to a command, which gets them as its ``console``."""

    @click.option("--json", "as_json", is_flag=True, help="Give the results as JSON on stdout.")
    @click.option("-q", "--quiet", is_flag=True, help="Print only results, warnings and errors.")
    @wraps(command)
    def with_console(*args: Any, as_json: bool, quiet: bool, **others: Any) -> Any:
        return command(*args, console=Console(quiet=quiet, as_json=as_json), **others)

    return with_console


run_argument: Callable[..., Any] = click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
data_argument: Callable[..., Any] = click.argument("data", metavar="DATA")
force_option: Callable[..., Any] = click.option("--force", is_flag=True, help="Overwrite existing files.")


class ParameterType(ValueType):
    """The click type of a parameter, which parses and checks a word on the command line."""

    name = "parameter"

    def __init__(self, parameter: Parameter) -> None:
        self.parameter: Parameter = parameter

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value of the word."""
        if not isinstance(value, str):
            return value
        try:
            return self.parameter.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def parameter_flags(command: Callable) -> Callable:
    """Add a flag for every parameter to a command."""
    for parameter in reversed(FLAGS.values()):
        command = _flag(parameter)(command)
    return command


def _flag(parameter: Parameter) -> Callable:
    flag = "--" + parameter.name.replace("_", "-")
    described = f"{parameter.help}  [{_word(parameter.default)}]"
    if set(parameter.choices) == {True, False}:
        return click.option(f"{flag}/--no-{flag[2:]}", parameter.name, default=None, help=described)
    return click.option(
        flag, parameter.name, type=ParameterType(parameter), metavar=_metavar(parameter), default=None, help=described
    )


def _metavar(parameter: Parameter) -> str:
    """The allowed values after the flag: ``auto|INT``."""
    words = [_word(choice) for choice in parameter.choices]
    kind = "NAME" if parameter.any_word else {int: "INT", float: "FLOAT"}.get(parameter.number, "")
    return "|".join([*words, *([f"{kind},…" if parameter.many else kind] if kind else [])])


def _word(value: Any) -> str:
    """A value in its form on the command line."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def given_flags(context: click.Context) -> dict[str, Any]:
    """The parameters whose flags are on the command line."""
    return {
        name: context.params[name]
        for name in FLAGS
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


class ParametersApart(click.Command):
    """A command whose help lists the model's parameters under a separate heading."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then the parameters."""
        parts: dict[str, list[tuple[str, str]]] = {"Options": [], "Parameters of the model  [default]": []}
        titles: Sequence[str] = list(parts)
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                parts[titles[parameter.name in FLAGS]].append(record)
        for title, records in parts.items():
            with formatter.section(title):
                formatter.write_dl(records)
