"""The configuration of a run from flags, assignments and a file: flag > ``-s`` > file > default.

The file is TOML: the model, its parameters by name, and a table ``[data]`` with ``source``, ``key``, ``drop``,
``label`` and ``stream``. A part is a table with its ``kind`` and fields. A run's ``config.toml`` is such a file; its
table ``[chosen]`` holds the choices for "auto", and isn't read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import click

import lowerbound
from lowerbound.cli.flags import assignment, combined, flags_of
from lowerbound.cli.models import MODELS
from lowerbound.cli.options import DataOptions
from lowerbound.cli.output import Failure
from lowerbound.parameters.parameter import Parameter, plain, suggestion
from lowerbound.parameters.upgrade import upgraded_parameters
from lowerbound.storage import opening
from lowerbound.storage.records import shown

DATA_KEYS = tuple(each.name for each in fields(DataOptions))
LISTS = ("drop", "missing")  # of words, among these keys


@dataclass(frozen=True)
class Config:
    """The configuration of a run: a model, its data, and every parameter.

    Attributes
    ----------
    model : str
    data : DataOptions
    parameters : dict
        Every parameter with its value.
    asked : dict
        The parameters that were given by flag, ``-s`` or file.
    """

    model: str
    data: DataOptions
    parameters: dict[str, Any]
    asked: dict[str, Any] = field(default_factory=dict)

    def to_toml(self, chosen: Mapping[str, Any]) -> str:
        """The text of ``config.toml``, without None, which TOML lacks."""
        import tomli_w

        record = {"model": self.model, **plain(self.parameters), "data": asdict(self.data), "chosen": chosen or None}
        return tomli_w.dumps(_without_none(record))

    def to_json(self) -> str:
        """The configuration as JSON, for another process."""
        record = {"model": self.model, "data": asdict(self.data)}
        return json.dumps(record | {"parameters": plain(self.parameters), "asked": plain(self.asked)})

    @classmethod
    def from_json(cls, text: str) -> Config:
        """The inverse of ``to_json``."""
        record = json.loads(text)
        table = MODELS[record["model"]].table
        parts = {
            what: {name: table[name].from_plain(value) for name, value in record[what].items()}
            for what in ("parameters", "asked")
        }
        return cls(record["model"], DataOptions(**_with_tuples(record["data"])), **parts)


def _without_none(record: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _without_none(v) if isinstance(v, Mapping) else v for k, v in record.items() if v is not None}


def resolve(
    data: Mapping[str, Any], flags: Mapping[str, Any], assignments: Iterable[str], path: Path | None, model: str | None
) -> Config:
    """Combine flags, assignments and a file into one configuration.

    Parameters
    ----------
    data : mapping
        Fields of ``DataOptions`` from the command line; None or empty if not given.
    flags : mapping
        Parameters whose flags were given, and fields of their parts: ``prior__n_components``.
    assignments : iterable of str
        ``key=value``.
    path : Path, optional
        A configuration file.
    model : str, optional
        The model from the command line.
    """
    file = {} if path is None else read_file(path, model)
    said = {name: value for name, value in data.items() if value not in (None, (), "")}
    options = {**file.pop("data", {}), **said}
    chosen = model or file.pop("model", "vae")
    file.pop("model", None)
    if "source" not in options:
        raise click.UsageError("no data are given: name a file, a folder of images, or digits")
    table = MODELS[chosen].table
    defaults = {name: parameter.default for name, parameter in table.items()}
    given = {**dict(assignment(each, flags_of(table)) for each in assignments), **flags}
    try:
        parameters = combined(table, defaults | file, given, file)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    asked = {name: parameters[name] for name in {*file, *(name.partition("__")[0] for name in given)}}
    return Config(chosen, DataOptions(**options), parameters, asked)


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file; raises ``Failure``."""
    try:
        return opening.read_toml(path)
    except ValueError as error:
        raise Failure(str(error)) from error


def model_of(record: Mapping[str, Any], path: Path) -> str:
    """The model that a configuration names."""
    model = record.get("model", "vae")
    if not isinstance(model, str) or model not in MODELS:
        raise Failure(f"{path}: there is no model {shown(model)}{suggestion(model, list(MODELS))}")
    return model


def read_file(path: Path, model: str | None = None) -> dict[str, Any]:
    """Read and check a configuration file: parameters by name, and ``model`` and ``data`` if given.

    Files of older versions are upgraded. ``model`` is that of the command line, if one is given there.
    """
    record = _unfolded(read_toml(path), path)
    own = model_of(record, path)
    named = model or own
    if "model" in record and named != own:
        raise Failure(f"{path} is for a {own}, and a {named} is asked for: leave --model out, or take another file")
    try:
        record = upgraded_file(record, named)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise Failure(f"{path}: {error}") from error
    record.pop("chosen", None)
    table = MODELS[named].table
    for name, value in record.items():
        _check_known(name, [*table, "model", "data"], f"{path}: there is no parameter")
        if name in table:
            record[name] = _checked(table[name], value, path)
    if "data" in record:
        record["data"] = _checked_data(record["data"], path)
    return record


def _unfolded(record: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The record with fields that are written in one word, ``"prior.kind" = "vamp"``, in the tables they are of."""
    new = {name: value for name, value in record.items() if "." not in name}
    for name in record.keys() - new.keys():
        owner, _, field = name.partition(".")
        table = new.setdefault(owner, {})
        if not isinstance(table, dict):
            whole = f'"{shown(name)[1:-1]}"'
            raise Failure(f"{path}: {owner} is {shown(table)}, so {whole} can't be set: write [{owner}] with a kind")
        new[owner] = {**table, field: record[name]}
    return new


def upgraded_file(record: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The content of a configuration file in today's form."""
    chosen = record.get("chosen")
    chosen = chosen if isinstance(chosen, dict) else {}
    likelihood = "columns" if chosen.get("layout") == "columns" else chosen.get("likelihood", "gaussian")
    apart = {name: record[name] for name in ("model", "data", "chosen") if name in record}
    own = {name: value for name, value in record.items() if name not in apart}
    is_conv = chosen.get("network") == "conv"
    parameters = upgraded_parameters(MODELS[model].class_name, own, likelihood, conv=is_conv)
    return {**apart, **parameters}


def _checked(parameter: Parameter, value: Any, path: Path) -> Any:
    try:
        value = parameter.from_plain(value)
        parameter.check(value)
    except ValueError as error:
        raise Failure(f"{path}: {error}") from error
    return value


def _checked_data(data: Any, path: Path) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise Failure(f"{path}: data must be a table: [data], then source = …")
    for name, value in data.items():
        _check_known(name, list(DATA_KEYS), f"{path}: [data] has no key")
        if name in ("stream", "header") and isinstance(value, bool):
            continue
        if name in ("bits", "turns") and type(value) is int:
            continue
        if name == "resize" and type(value) is int:
            data = {**data, name: str(value)}
            continue
        words = value if name in LISTS and isinstance(value, list) else [value]
        if not all(isinstance(word, str) for word in words):
            raise Failure(f"{path}: [data] {name} must be text, got {shown(value)}")
    return _with_tuples(data)


def _with_tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ``DataOptions`` with tuples of words, also where there is one word."""
    return {k: tuple([v] if isinstance(v, str) else v) if k in LISTS else v for k, v in data.items()}


def _check_known(name: str, known: list[str], complaint: str) -> None:
    if name not in known:
        raise Failure(f"{complaint} {shown(name)}{suggestion(name, known)}")


def make(config: Config, **others: Any) -> Any:
    """The unfitted estimator of a configuration."""
    return getattr(lowerbound, MODELS[config.model].class_name)(**config.parameters, **others)
