"""The configuration of a run from flags, assignments and a file: flag > ``-s`` > file > default.

The file is TOML: the model, its parameters by name, and a table ``[data]`` with ``source``, ``key``, ``drop``,
``label`` and ``stream``. A run's ``config.toml`` is such a file; its table ``[chosen]`` holds the choices for "auto",
and isn't read.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import lowerbound
from lowerbound.cli.options import FLAGS, DataOptions
from lowerbound.cli.output import Failure
from lowerbound.parameters.parameter import suggestion
from lowerbound.parameters.tables import IMPUTER_TRAINING

if TYPE_CHECKING:
    from lowerbound.estimators.vae import VAE

DATA_KEYS = tuple(each.name for each in fields(DataOptions))
MODELS = {"vae": "VAE", "imputer": "VAE"}  # the name on the command line, and in the library
RECOMMENDED: dict[str, Any] = {"vae": {}, "imputer": IMPUTER_TRAINING}  # defaults that replace those of the model


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

        record = {"model": self.model, **self.parameters, "data": asdict(self.data), "chosen": chosen or None}
        return tomli_w.dumps(_without_none(record))

    def to_json(self) -> str:
        """The configuration as JSON, for another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Config:
        """The inverse of ``to_json``."""
        record = json.loads(text, object_hook=_with_tuples)
        return cls(**{**record, "data": DataOptions(**record["data"])})


def _with_tuples(record: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}


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
        Parameters whose flags were given.
    assignments : iterable of str
        ``key=value``.
    path : Path, optional
        A configuration file.
    model : str, optional
        The model from the command line.
    """
    file = {} if path is None else read_file(path)
    said = {name: value for name, value in data.items() if value not in (None, (), "")}
    options = {**file.pop("data", {}), **said}
    chosen = model or file.pop("model", "vae")
    asked = {**file, **dict(map(_assignment, assignments)), **flags}
    asked.pop("model", None)
    if "source" not in options:
        raise click.UsageError("no data are given: name a file, a folder of images, or digits")
    defaults = {name: parameter.default for name, parameter in FLAGS.items()}
    return Config(chosen, DataOptions(**options), defaults | RECOMMENDED[chosen] | asked, asked)


def _assignment(text: str) -> tuple[str, Any]:
    """The name and value of a ``-s key=value``."""
    name, equals, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals:
        raise click.UsageError(f"-s {text}: write it as key=value")
    if name not in FLAGS:
        raise click.UsageError(f"-s {text}: there is no parameter {name!r}{suggestion(name, list(FLAGS))}")
    try:
        return name, FLAGS[name].parse(value)
    except ValueError as error:
        raise click.UsageError(f"-s {text}: {error}") from error


def read_file(path: Path) -> dict[str, Any]:
    """Read and check a configuration file: parameters by name, and ``model`` and ``data`` if given."""
    try:
        record = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Failure(f"{path} isn't TOML: {error}") from error
    record.pop("chosen", None)
    known = {**FLAGS, "model": None, "data": None}
    for name, value in record.items():
        _check_known(name, list(known), f"{path}: there is no parameter")
        if name in FLAGS:
            record[name] = _checked(name, value, path)
    if record.get("model", "vae") not in MODELS:
        raise Failure(f"{path}: there is no model {record['model']!r}{suggestion(record['model'], list(MODELS))}")
    if "data" in record:
        record["data"] = _checked_data(record["data"], path)
    return record


def _checked(name: str, value: Any, path: Path) -> Any:
    try:
        FLAGS[name].check(value)
    except ValueError as error:
        raise Failure(f"{path}: {error}") from error
    return tuple(value) if isinstance(value, list) else value


def _checked_data(data: Any, path: Path) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise Failure(f"{path}: data must be a table: [data], then source = …")
    for name, value in data.items():
        _check_known(name, list(DATA_KEYS), f"{path}: [data] has no key")
        if name == "stream" and isinstance(value, bool):
            continue
        words = value if name == "drop" and isinstance(value, list) else [value]
        if not all(isinstance(word, str) for word in words):
            raise Failure(f"{path}: [data] {name} must be text, got {value!r}")
    return {k: tuple([v] if isinstance(v, str) else v) if k == "drop" else v for k, v in data.items()}


def _check_known(name: str, known: list[str], complaint: str) -> None:
    if name not in known:
        raise Failure(f"{complaint} {name!r}{suggestion(name, known)}")


def make(config: Config) -> VAE:
    """The unfitted estimator of a configuration."""
    return getattr(lowerbound, MODELS[config.model])(**config.parameters)
