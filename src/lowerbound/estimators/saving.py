"""Estimators to folders and back: safetensors and JSON, no pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lowerbound.data.schema import Schema
from lowerbound.data.storage import SavedFileError, load_folder, save_folder
from lowerbound.distributions import make_generator
from lowerbound.estimators.assemble import assemble
from lowerbound.estimators.vae import VAE

FITTED = ("seed_", "latent_dim_", "n_features_in_", "n_iter_", "n_active_units_", "history_")


def save(estimator: VAE, folder: Path) -> None:
    """Write ``model.json`` and the weights it names."""
    tensors = {f"model.{k}": v for k, v in estimator.model_.state_dict().items()}
    tensors |= {f"posterior.{k}": v for k, v in estimator.posterior_.state_dict().items()}
    tensors |= {f"schema.{k}": v for k, v in estimator.schema_.arrays().items()}
    parameters = {name: _plain(value) for name, value in estimator.get_params(deep=False).items()}
    description = {
        "class": type(estimator).__name__,
        "parameters": parameters,
        "fitted": {name: getattr(estimator, name) for name in FITTED},
        "feature_names": list(map(str, getattr(estimator, "feature_names_in_", []))) or None,
        "schema": estimator.schema_.metadata(),
    }
    save_folder(folder, tensors, description)


def load(path: str | Path, network: tuple[torch.nn.Module, torch.nn.Module] | None = None, device: str = "auto") -> VAE:
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
        return _rebuild(tensors, record, network, device)
    except (KeyError, TypeError, RuntimeError) as error:
        raise SavedFileError(f"{folder} is damaged: what model.json says doesn't fit the weights ({error})") from error


def _rebuild(tensors: dict, record: dict, network: Any, device: str) -> VAE:
    parameters = dict(record["parameters"])
    if parameters["network"] == "own":
        if network is None:
            raise SavedFileError("the model was fitted with modules of your own: load(path, network=(encoder, decoder))")
        parameters["network"] = tuple(network)
    parameters |= {name: tuple(parameters[name]) for name in ("hidden_layer_sizes", "image_shape") if parameters[name] is not None}
    vae = VAE(**{**parameters, "device": device})
    for name, value in record["fitted"].items():
        setattr(vae, name, value)
    if record["feature_names"] is not None:
        vae.feature_names_in_ = np.asarray(record["feature_names"], dtype=object)
    vae.schema_ = Schema.from_saved(record["schema"], _part(tensors, "schema."))
    vae.model_, vae.posterior_ = assemble(vae.schema_, parameters, vae.latent_dim_, make_generator(0, "unused"))
    vae.model_.load_state_dict(_part(tensors, "model."))
    vae.posterior_.load_state_dict(_part(tensors, "posterior."))
    vae.model_.to(vae._device())
    vae.posterior_.to(vae._device())
    vae._n_features_out = vae.latent_dim_
    return vae


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _plain(value: Any) -> Any:
    """As JSON can hold it; modules and generators leave their kind only."""
    if isinstance(value, (tuple, list)):
        return "own" if any(isinstance(v, torch.nn.Module) for v in value) else [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, (int, float, str, type(None))) else None
