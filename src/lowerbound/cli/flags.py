"""The flags of a model's parameters and of the fields of their parts, and the parameters that flags give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from lowerbound.cli.options import READING
from lowerbound.parameters.parameter import Parameter, Part, suggestion

RESERVED = {*READING, "output", "model", "config", "set", "resume", "log", "force", "verbose"}
SYNONYMS = {"random_state": "seed"}


@dataclass(frozen=True)
class Flag:
    """A parameter, or a field of a parameter's parts.

    Attributes
    ----------
    owner : str
        The parameter.
    field : str
        The field; empty for the parameter itself.
    parameters : tuple of Parameter
        The row of it in each of the parts that have the field.
    words : tuple of str
        Its names, without dashes: ``prior.n-components``.
    """

    owner: str
    field: str
    parameters: tuple[Parameter, ...]
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """``prior__n_components``, as scikit-learn calls it."""
        return f"{self.owner}__{self.field}" if self.field else self.owner

    def parse(self, word: str) -> Any:
        """The value of a word; raises ``ValueError``."""
        errors = []
        for parameter in self.parameters:
            try:
                return parameter.parse(word)
            except ValueError as error:
                errors.append(error)
        raise errors[0]


def flags_of(table: Mapping[str, Parameter]) -> dict[str, Flag]:
    """The flags of a model with these parameters, by name; a field has its own name too where it is unambiguous."""
    fields = {
        owner: sorted({name for kind in parameter.kinds for name in kind.options()})
        for owner, parameter in table.items()
    }
    every = [name for names in fields.values() for name in names]
    flags = []
    for owner, parameter in table.items():
        flags.append(Flag(owner, "", (parameter,), tuple(map(_dashed, (owner, *_synonyms(owner))))))
        for name in fields[owner]:
            rows = tuple(kind.options()[name] for kind in parameter.kinds if name in kind.options())
            is_clear = every.count(name) == 1 and name not in table and name not in RESERVED
            words = (f"{_dashed(owner)}.{_dashed(name)}", *((_dashed(name),) if is_clear else ()))
            flags.append(Flag(owner, name, rows, words))
    return {flag.name: flag for flag in flags}


def _synonyms(owner: str) -> tuple[str, ...]:
    return (SYNONYMS[owner],) if owner in SYNONYMS else ()


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def combined(
    table: Mapping[str, Parameter], before: Mapping[str, Any], given: Mapping[str, Any], asked: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameters ``before``, replaced by those that flags give, with the fields of their parts.

    A field of a parameter that nobody ``asked`` for makes it the part that has the field, if there is one alone.

    Raises
    ------
    ValueError
        If a part hasn't the field that is given.
    """
    values = {**before, **{name: value for name, value in given.items() if "__" not in name}}
    fields: dict[str, dict[str, Any]] = {}
    for name, value in given.items():
        owner, _, field = name.partition("__")
        if field:
            fields.setdefault(owner, {})[field] = value
    for owner, wanted in fields.items():
        is_asked = owner in asked or owner in given
        values[owner] = _with_fields(table[owner], values[owner], wanted, is_asked=is_asked)
    return values


def _with_fields(parameter: Parameter, value: Any, wanted: Mapping[str, Any], *, is_asked: bool) -> Part:
    """The part that a value is, or stands for, with some fields."""
    part = parameter.part(value)
    if isinstance(part, Part) and set(wanted) <= set(part.options()):
        return part.replaced(**wanted)
    able = [kind for kind in parameter.kinds if set(wanted) <= set(kind.options())]
    names = ", ".join("--" + _dashed(f"{parameter.name}.{name}") for name in wanted)
    if len(able) == 1 and (value == "auto" or not (is_asked and isinstance(value, (str, bool, Part)))):
        own = {parameter.name: value} if is_asked and parameter.name in able[0].options() else {}
        return able[0](**{**own, **wanted})
    flag = f"--{_dashed(parameter.name)}"
    words = [flag if kind is parameter.yes else f"{flag} {kind.kind}" for kind in able]
    known = " or ".join(words) or "nothing that can be asked for"
    shown = value.kind if isinstance(value, Part) else value
    raise ValueError(f"{names}: {parameter.name} is {shown!r}, which has no such field; {known} has")


class FlagType(click.ParamType):
    """The click type of a flag, which parses and checks a word on the command line."""

    name = "parameter"

    def __init__(self, flag: Flag) -> None:
        self.flag: Flag = flag

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value of the word."""
        if not isinstance(value, str):
            return value
        try:
            return self.flag.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def option_of(flag: Flag) -> click.Option:
    """The click option of a flag."""
    first, words = flag.parameters[0], [f"--{word}" for word in flag.words]
    described = f"{first.help}  [{word_of(first.default)}]"
    if set(first.choices) == {True, False}:
        words = [f"{word}/--no-{word[2:]}" for word in words]
        return click.Option([*words, flag.name], default=None, help=described)
    return click.Option(
        [*words, flag.name], type=FlagType(flag), metavar=_metavar(flag.parameters), default=None, help=described
    )


def _metavar(parameters: tuple[Parameter, ...]) -> str:
    """The allowed values after the flag: ``auto|INT``."""
    words = list(dict.fromkeys(word_of(word) for parameter in parameters for word in parameter.words))
    for parameter in parameters:
        kind = "NAME" if parameter.any_word else {int: "INT", float: "FLOAT"}.get(parameter.number, "")
        kind = "|".join(parameter.each) or kind
        words += [f"{kind},…" if parameter.many or parameter.each else kind] if kind else []
    return "|".join(dict.fromkeys(words))


def word_of(value: Any) -> str:
    """A value in its form on the command line."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def assignment(text: str, flags: Mapping[str, Flag]) -> tuple[str, Any]:
    """The name and value of a ``-s key=value``."""
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"-s {text}: write it as key=value")
    known = {word: flag for flag in flags.values() for word in flag.words}
    word = _dashed(name.strip())
    if word not in known:
        close = suggestion(name.strip(), [each.replace("-", "_") for each in known])
        raise click.UsageError(f"-s {text}: there is no parameter {name.strip()!r}{close}")
    try:
        return known[word].name, known[word].parse(value)
    except ValueError as error:
        raise click.UsageError(f"-s {text}: {error}") from error
