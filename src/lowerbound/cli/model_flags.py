"""The command whose flags are those of the model that is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from lowerbound.cli.flags import Flag, flags_of, option_of, word_of
from lowerbound.cli.models import MODELS
from lowerbound.parameters.parameter import Parameter
from lowerbound.storage.opening import read_toml

MODEL, HELP_ALL = "lowerbound.model", "lowerbound.help-all"
TOML = "config.toml"


def named_model(words: Sequence[str]) -> str:
    """The model that a command line names, itself or by a file: ``vae`` if none or an unknown one."""
    found = _value_of(words, ("--model",))
    if found is None:
        file, run = _value_of(words, ("-c", "--config")), _value_of(words, ("-o", "--output"))
        path = Path(file) if file else Path(run) / TOML if run and "--resume" in words else None
        found = _model_in(path)
    return found if found in MODELS else "vae"


def _value_of(words: Sequence[str], names: tuple[str, ...]) -> str | None:
    """The value of the last of these flags."""
    value = None
    taken = False  # by the option before
    for word, following in pairwise([*words, None]):
        assert word is not None
        if word == "--":
            break
        name, equals, rest = word.partition("=")
        short = next((n for n in names if len(n) == 2 and word.startswith(n) and len(word) > 2), None)
        if taken:
            taken = False
        elif name in names:
            value, taken = (rest, False) if equals else (following, True)
        elif short is not None:
            value = word[2:]
        else:
            taken = word in ("-s", "--set")
    return value


def _model_in(path: Path | None) -> str | None:
    try:
        found = None if path is None else read_toml(path).get("model")
        return found if isinstance(found, str) else None
    except ValueError:  # which the command says itself
        return None


class ModelCommand(click.Command):
    """A command with the flags of a model's parameters, most of which only ``--help-all`` shows."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take note of the model, whose flags are to be understood; one of another model gets a sentence."""
        ctx.meta[MODEL] = named_model(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            own = [word for word in _words(MODELS[named(ctx)].table) if word.endswith(f".{error.option_name[2:]}")]
            if own:  # of several parts
                raise click.UsageError(
                    f"{error.option_name} is of several: give {' or '.join(sorted(own))}", ctx
                ) from error
            have = [name for name, each in MODELS.items() if error.option_name in _words(each.table)]
            takes = MODELS[named(ctx)].takes
            able = [name for name in have if MODELS[name].takes == takes] or have
            if not able:
                raise
            raise click.UsageError(_of_others(error.option_name, named(ctx), able), ctx) from error

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own options, and the flags of the model."""
        everything = click.Option(
            ["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=_help_all,
            help="Show the flags of all parts too.",
        )  # fmt: skip
        return [*super().get_params(ctx), everything, *map(option_of, _flags(ctx).values())]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, the parameters that are used most, and with ``--help-all`` the rest by parameter."""
        flags = _flags(ctx)
        options = [each for each in self.get_params(ctx) if each.name not in flags]
        _write(formatter, "Options", [each.get_help_record(ctx) for each in options])
        name = named(ctx)
        common = MODELS[name].common or tuple(MODELS[name].table)
        is_all = ctx.meta.get(HELP_ALL, False)
        is_all |= not MODELS[name].common
        shown = [flag for flag in flags.values() if flag.name in common or (is_all and not flag.field)]
        _write(formatter, f"Parameters of {name}  [default]", [_record(flag, ctx) for flag in shown])
        for owner in MODELS[name].table if is_all else ():
            fields = [flag for flag in flags.values() if flag.owner == owner and flag.field and flag not in shown]
            _write(formatter, f"Fields of {owner}", [_record(flag, ctx) for flag in fields])


def _words(table: Mapping[str, Parameter]) -> set[str]:
    return {f"--{word}" for flag in flags_of(table).values() for word in flag.words}


def _of_others(option: str, name: str, able: list[str]) -> str:
    """The sentence where a flag is that of other models."""
    sentence = (
        f"{option}: the model {name} has no such parameter; {', '.join(able)} {'has' if len(able) == 1 else 'have'} it"
    )
    purpose = {"imputer": "fills gaps", "detector": "ranks outliers"}.get(name)
    command = MODELS[name].can[0]
    if purpose is None or "vae" not in able:
        return sentence
    return f"{sentence}. A vae of your own {purpose} too: train --model vae, then lowerbound {command}"


def _write(formatter: click.HelpFormatter, title: str, records: list[tuple[str, str] | None]) -> None:
    known = [record for record in records if record is not None]
    if known:
        with formatter.section(title):
            formatter.write_dl(known)


def _record(flag: Flag, ctx: click.Context) -> tuple[str, str] | None:
    """The lines of a flag, with the parts that have the field where it is one."""
    record = option_of(flag).get_help_record(ctx)
    if record is None or not flag.field:
        return record
    kinds = [kind for kind in _owner(flag, ctx).kinds if flag.field in kind.options()]
    of = ", ".join(word_of(kind.kind) for kind in kinds)
    return record[0], f"{record[1]}  ({of})" if len(_owner(flag, ctx).kinds) > 1 else record[1]


def _owner(flag: Flag, ctx: click.Context) -> Any:
    return MODELS[named(ctx)].table[flag.owner]


def _flags(ctx: click.Context) -> dict[str, Flag]:
    return flags_of(MODELS[named(ctx)].table)


def _help_all(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta[HELP_ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


def named(context: click.Context) -> str:
    """The model that a command line is about."""
    return context.meta.get(MODEL, "vae")


def given_flags(context: click.Context) -> dict[str, Any]:
    """The parameters, and fields of parts, whose flags are on the command line."""
    return {
        name: context.params[name]
        for name in _flags(context)
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
