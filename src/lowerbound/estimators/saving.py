"""Fitted estimators as tensors and JSON, and back; the classes themselves are named in ``loading`` alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lowerbound.distributions.noise import make_generator
from lowerbound.parameters.parameter import Parameter, plain
from lowerbound.storage.allowance import LARGEST, Allowance, elements
from lowerbound.storage.atomic import SavedFileError, save_folder
from lowerbound.storage.records import is_of, shown

OF_FITTING = {  # parameters that change how a model is fitted or used, not what it is
    *("objective", "optimizer", "early_stopping", "max_epochs", "batch_size", "warm_start", "random_state", "device"),
    *("verbose", "method", "tol", "max_iter", "n_init", "lr", "momentum", "weight_decay", "validation_fraction"),
    *("window", "n_gibbs_steps", "n_chains", "n_temperatures", "burn_in", "penalty", "noise"),
}
FITTED_TYPES: dict[str, Any] = {  # of the attributes that a record holds besides the tensors
    **dict.fromkeys(
        ("seed_", "n_features_in_", "n_iter_", "n_fits_", "latent_dim_", "n_active_units_", "longest_"), int
    ),
    **dict.fromkeys(("history_", "report_"), list[dict]),
    **dict.fromkeys(("objective_", "log_z_", "log_z_standard_error_", "offset_", "mean_length_", "kl_"), Real),
    "log_z_ess_": Real | None,
    "converged_": bool,
    "reads_last_": bool,
    "criterion_": str,
}


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
        if not isinstance(saved.record, dict):
            raise ValueError(f"a model must be a record, got {shown(saved.record)}")
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
    parameters = parameters_of(kind, record["parameters"])
    _check_sizes({k: v for k, v in record["parameters"].items() if k not in OF_FITTING}, tensors)
    if parameters.get("network") == "own":
        if restore.network is None:
            raise SavedFileError(
                "the model was fitted with modules of your own: load(path, network=(encoder, decoder))"
            )
        parameters["network"] = tuple(restore.network)
    if "device" in parameters:
        parameters["device"] = restore.device
    estimator = kind(**parameters)
    set_fitted(estimator, record, kind.FITTED)
    estimator.schema_ = kind.SCHEMA.from_saved(record["schema"], part(tensors, "schema."))
    if record.get("context") is not None:
        estimator.context_ = kind.CONTEXT.from_saved(record["context"])
    with Allowance(tensors):
        estimator._assemble(make_generator(0, "unused"))
    estimator._built_with = estimator._structure()
    for name, module in estimator._modules().items():
        module.load_state_dict(part(tensors, f"{name}."))
        module.to(estimator._device()).eval()
    return estimator


def parameters_of(kind: Any, record: Any) -> dict[str, Any]:
    """The parameters of an estimator from a record; raises ``ValueError`` where one is out of range."""
    if not isinstance(record, dict):
        raise ValueError(f"the parameters of a model must be a record, got {shown(record)}")
    parameters = from_plain(kind.PARAMETERS, record)
    for name in parameters.keys() & kind.PARAMETERS.keys():
        if parameters[name] != "own":  # the user's modules
            kind.PARAMETERS[name].check(parameters[name])
    return parameters


def _check_sizes(parameters: Any, tensors: Mapping[str, Tensor]) -> None:
    """Raise ``ValueError`` for a number of layers, units or components that exceeds the saved numbers by far."""
    if isinstance(parameters, (dict, list)):
        for value in parameters.values() if isinstance(parameters, dict) else parameters:
            _check_sizes(value, tensors)
    elif isinstance(parameters, int) and parameters > elements(tensors) + LARGEST:
        raise ValueError(f"a size of {shown(parameters)} doesn't fit weights of {elements(tensors):,} numbers")


def set_fitted(estimator: Any, record: Mapping[str, Any], names: Sequence[str]) -> None:
    """Set the attributes of these names, the names of the columns, and the container, that a record holds."""
    fitted, columns = record["fitted"], record.get("feature_names")
    if not isinstance(fitted, dict) or not set(fitted) <= set(names):
        raise ValueError(f"what was fitted must be a record of {', '.join(names)}, got {shown(fitted)}")
    for name, value in fitted.items():
        if not is_of(value, FITTED_TYPES[name]) or (FITTED_TYPES[name] is int and value < 0):
            raise ValueError(f"{name} can't be {shown(value)}")
        setattr(estimator, name, value)
    missing = [name for name in names if not hasattr(estimator, name)]
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    if not is_of(columns, list[str] | None) or (columns is not None and len(columns) != fitted["n_features_in_"]):
        raise ValueError("the names of the columns aren't a name for each feature")
    if columns is not None:
        setattr(estimator, "feature_names_in_", np.asarray(columns, dtype=object))  # noqa: B010
    if record.get("output") is not None:
        estimator.set_output(transform=record["output"])


def part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose names begin so, by what follows."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def parts(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, dict[str, torch.Tensor]]:
    """The tensors whose names begin so, by the word that follows, and by what follows that."""
    found: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in part(tensors, prefix).items():
        word, _, rest = name.partition(".")
        found.setdefault(word, {})[rest] = tensor
    return found


def to_plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of an estimator as JSON holds them; a pair of modules leaves the word "own"."""
    network = parameters.get("network")
    own = {"network": "own"} if isinstance(network, (tuple, list)) else {}
    return {name: plain(value) for name, value in parameters.items()} | own


def from_plain(table: Mapping[str, Parameter], record: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of ``to_plain``, for the estimator with these parameters."""
    return {k: table[k].from_plain(v) if k in table else v for k, v in record.items()}
