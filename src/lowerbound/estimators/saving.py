"""Estimators to folders and back: safetensors and JSON, no pickle."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lowerbound.data.schema import Schema
from lowerbound.data.storage import SavedFileError, load_folder, save_folder
from lowerbound.distributions import make_generator

if TYPE_CHECKING:
    from lowerbound.estimators.base import DensityEstimator

HOMES = {  # the only classes that a saved folder can name
    "VAE": "lowerbound.estimators.vae",
    "Autoencoder": "lowerbound.estimators.autoencoder",
    "Factorized": "lowerbound.estimators.factorized",
    "Gaussian": "lowerbound.estimators.gaussian",
    "Mixture": "lowerbound.estimators.mixture",
    "PPCA": "lowerbound.estimators.ppca",
    "FactorAnalysis": "lowerbound.estimators.ppca",
    "PixelRNN": "lowerbound.estimators.pixel_rnn",
    "RBM": "lowerbound.estimators.rbm",
}


def save(estimator: DensityEstimator, folder: Path) -> None:
    """Write ``model.json`` and the weights it names."""
    save_folder(folder, *contents(estimator))


def contents(estimator: DensityEstimator) -> tuple[dict[str, torch.Tensor], dict]:
    """The tensors of a fitted estimator, and what JSON says of it."""
    tensors = {f"schema.{k}": v for k, v in estimator.schema_.arrays().items()}
    for name, module in estimator._modules().items():
        tensors |= {f"{name}.{k}": v for k, v in module.state_dict().items()}
    names = getattr(estimator, "feature_names_in_", None)
    return tensors, {
        "class": type(estimator).__name__,
        "parameters": {name: plain(value) for name, value in estimator.get_params(deep=False).items()},
        "fitted": {name: getattr(estimator, name) for name in estimator.FITTED},
        "feature_names": None if names is None else list(map(str, names)),
        "schema": estimator.schema_.metadata(),
        "output": output_of(estimator),
    }


def output_of(estimator: Any) -> str | None:
    """What ``set_output`` chose, if it did."""
    return getattr(estimator, "_sklearn_output_config", {}).get("transform")


def load(path: str | Path, network: tuple[torch.nn.Module, torch.nn.Module] | None = None, device: str = "auto") -> Any:
    """Read a fitted estimator from the folder that ``save`` wrote, or from the run that holds it.

    Parameters
    ----------
    path : str or Path
        The folder of ``save``, or of ``lowerbound train -o``.
    network : pair of Module, optional
        The encoder and decoder that the estimator was fitted with, if they were the user's own.
    device : str
        Where it shall compute; "auto" takes a GPU if there is one.

    Raises
    ------
    SavedFileError
        If the folder is missing, damaged, foreign, or needs the user's own modules.
    """
    folder = Path(path)
    if not (folder / "model.json").exists() and (folder / "model" / "model.json").exists():
        folder = folder / "model"
    tensors, record = load_folder(folder)
    try:
        if "members" in record:
            from lowerbound.estimators.saving_detector import restored

            return restored(tensors, record, network, device)
        if "fillers" in record:
            from lowerbound.estimators import saving_imputer

            return saving_imputer.restored(tensors, record, network, device)
        return rebuilt(tensors, record, network, device)
    except (KeyError, TypeError, RuntimeError) as error:
        raise SavedFileError(f"{folder} is damaged: what model.json says doesn't fit the weights ({error})") from error


def rebuilt(tensors: dict, record: dict, network: Any, device: str) -> Any:
    """The inverse of ``contents``."""
    kind = getattr(importlib.import_module(HOMES[record["class"]]), record["class"])
    parameters = {k: tuple(v) if isinstance(v, list) else v for k, v in record["parameters"].items()}
    if parameters.get("network") == "own":
        if network is None:
            raise SavedFileError(
                "the model was fitted with modules of your own: load(path, network=(encoder, decoder))"
            )
        parameters["network"] = tuple(network)
    if "device" in parameters:
        parameters["device"] = device
    estimator: DensityEstimator = kind(**parameters)
    for name, value in record["fitted"].items():
        setattr(estimator, name, value)
    if record["feature_names"] is not None:
        setattr(estimator, "feature_names_in_", np.asarray(record["feature_names"], dtype=object))  # noqa: B010
    if record.get("output") is not None:
        estimator.set_output(transform=record["output"])  # pyright: ignore[reportAttributeAccessIssue]
    estimator.schema_ = Schema.from_saved(record["schema"], part(tensors, "schema."))
    estimator._assemble(make_generator(0, "unused"))
    for name, module in estimator._modules().items():
        module.load_state_dict(part(tensors, f"{name}."))
        module.to(estimator._device())
    return estimator


def part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose names begin so, by what follows."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def plain(value: Any) -> Any:
    """As JSON can hold it; modules and generators leave their kind only."""
    if isinstance(value, (tuple, list)):
        return "own" if any(isinstance(v, torch.nn.Module) for v in value) else [plain(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, (int, float, str, type(None))) else None
