"""Fitted estimators as tensors and JSON, and back; the classes themselves are named in ``loading`` alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lowerbound.data.context import ContextSchema
from lowerbound.data.schema import Schema
from lowerbound.distributions.noise import make_generator
from lowerbound.parameters.parameter import Parameter, plain
from lowerbound.storage.atomic import SavedFileError, save_folder


class Saved(NamedTuple):
    """The tensors of a fitted object, and its description in JSON."""

    tensors: dict[str, Tensor]
    record: dict[str, Any]


@dataclass(frozen=True)
class Restore:
    """Makes the object that a record describes.

    Attributes
    ----------
    kind_of : callable
        From the name of a class to the class, which has a ``from_saved(saved, restore)``.
    network : pair of Module or None
        The encoder and decoder, if they were the user's own.
    device : str
        Where the estimator shall compute.
    """

    kind_of: Callable[[str], Any]
    network: tuple[torch.nn.Module, torch.nn.Module] | None
    device: str

    def __call__(self, saved: Saved) -> Any:
        """The fitted object, of the class that the record names."""
        return self.kind_of(saved.record["class"]).from_saved(saved, self)


def save(estimator: Any, folder: Path) -> None:
    """Write ``model.json`` and the weights it names."""
    save_folder(folder, *contents(estimator))


def contents(estimator: Any) -> Saved:
    """The tensors of a fitted estimator, and its description in JSON."""
    tensors = {f"schema.{k}": v for k, v in estimator.schema_.arrays().items()}
    for name, module in estimator._modules().items():
        tensors |= {f"{name}.{k}": v for k, v in module.state_dict().items()}
    names = getattr(estimator, "feature_names_in_", None)
    return Saved(
        tensors,
        {
            "class": type(estimator).__name__,
            "parameters": to_plain(estimator.get_params(deep=False)),
            "fitted": {name: getattr(estimator, name) for name in estimator.FITTED},
            "feature_names": None if names is None else list(map(str, names)),
            "schema": estimator.schema_.metadata(),
            "context": None if estimator.context_ is None else estimator.context_.metadata(),
            "output": output_of(estimator),
        },
    )


def output_of(estimator: Any) -> str | None:
    """The container that ``set_output`` chose, or None."""
    return getattr(estimator, "_sklearn_output_config", {}).get("transform")


def restored(kind: Any, saved: Saved, restore: Restore) -> Any:
    """The inverse of ``contents``, an estimator of this kind."""
    tensors, record = saved
    parameters = from_plain(kind.PARAMETERS, record["parameters"])
    if parameters.get("network") == "own":
        if restore.network is None:
            raise SavedFileError(
                "the model was fitted with modules of your own: load(path, network=(encoder, decoder))"
            )
        parameters["network"] = tuple(restore.network)
    if "device" in parameters:
        parameters["device"] = restore.device
    estimator = kind(**parameters)
    for name, value in record["fitted"].items():
        setattr(estimator, name, value)
    if record["feature_names"] is not None:
        setattr(estimator, "feature_names_in_", np.asarray(record["feature_names"], dtype=object))  # noqa: B010
    if record.get("output") is not None:
        estimator.set_output(transform=record["output"])
    estimator.schema_ = Schema.from_saved(record["schema"], part(tensors, "schema."))
    if record.get("context") is not None:
        estimator.context_ = ContextSchema.from_saved(record["context"])
    estimator._assemble(make_generator(0, "unused"))
    estimator._built_with = estimator._structure()
    for name, module in estimator._modules().items():
        module.load_state_dict(part(tensors, f"{name}."))
        module.to(estimator._device())
    return estimator


def part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose names begin so, by what follows."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def to_plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of an estimator as JSON holds them; a pair of modules leaves the word "own"."""
    network = parameters.get("network")
    own = {"network": "own"} if isinstance(network, (tuple, list)) else {}
    return {name: plain(value) for name, value in parameters.items()} | own


def from_plain(table: Mapping[str, Parameter], record: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of ``to_plain``, for the estimator with these parameters."""
    return {k: table[k].from_plain(v) if k in table else v for k, v in record.items()}
