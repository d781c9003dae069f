"""An outlier detector to a folder and back: its autoencoders, and what they found typical of the training rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor

from lowerbound.distributions.gaussians import DiagonalGaussian
from lowerbound.estimators.saving import Restore, Saved, contents, parameters_of, part, parts, plain, set_fitted
from lowerbound.estimators.vae import VAE
from lowerbound.outliers.member import BY_ENTRY, Member
from lowerbound.outliers.mixture import NumbersMixture
from lowerbound.outliers.stream import Stream
from lowerbound.parameters.tables import SCORES
from lowerbound.storage.atomic import save_folder
from lowerbound.storage.records import is_of

SORTED = ("training_scores_", "calibration_scores_")
BY_PART = ("center_", "spread_")


def save(detector: Any, folder: Path) -> None:
    """Write ``model.json`` and the tensors it names, of all autoencoders together."""
    tensors: dict[str, Tensor] = {}
    descriptions = []
    for i, member in enumerate(detector._members):
        weights, description = contents(member.vae)
        tensors |= {f"members.{i}.{k}": v for k, v in (weights | _seen(member)).items()}
        descriptions.append(description | {"n_left_out": member.n_left_out})
    tensors |= {name: torch.from_numpy(getattr(detector, name)) for name in SORTED if hasattr(detector, name)}
    tensors |= {f"{name}.{k}": torch.from_numpy(v) for name in BY_PART for k, v in getattr(detector, name).items()}
    if detector._mixture is not None:
        tensors |= {f"mixture.{k}": v for k, v in detector._mixture.tensors().items()}
    description = {
        "class": type(detector).__name__,
        "parameters": {name: plain(value) for name, value in detector.get_params(deep=False).items()},
        "estimator": _kind(detector.estimator),
        "fitted": {"criterion_": detector.criterion_, "offset_": detector.offset_},
        "members": descriptions,
    }
    if detector._stream is not None:
        rows, description["stream"] = detector._stream.contents()
        tensors |= rows
    save_folder(folder, tensors, description)


def restored(kind: Any, saved: Saved, restore: Restore) -> Any:
    """The detector that ``save`` wrote."""
    tensors, record = saved
    detector = kind(**(parameters_of(kind, record["parameters"]) | {"device": restore.device}))
    of_members = parts(tensors, "members.")
    members = []
    for i, description in enumerate(record["members"]):
        own = of_members[str(i)]
        members.append(_member(restore(Saved(own, description)), own, description["n_left_out"]))
    if not members or not all(isinstance(member.vae, VAE) for member in members):
        raise ValueError("a detector is made of VAEs, one at least")
    mixture = part(tensors, "mixture.")
    detector._take(members, NumbersMixture.restored(mixture) if mixture else None)
    if record["estimator"] is not None:
        first = detector.estimators_[0]
        detector.estimator = first if record["estimator"] == "fitted" else clone(first)
    set_fitted(detector, {"fitted": record["fitted"]}, ("criterion_", "offset_"))
    if detector.criterion_ not in SCORES or any(tensors[name].ndim != 1 for name in set(SORTED) & set(tensors)):
        raise ValueError(f"{detector.criterion_!r} is no criterion, or the scores of the training rows are no list")
    for name in set(SORTED) & set(tensors):
        setattr(detector, name, tensors[name].numpy())
    for name in BY_PART:
        setattr(detector, name, {k: v.numpy() for k, v in part(tensors, f"{name}.").items()})
    if record.get("stream") is not None:
        detector._stream = Stream.restored(tensors["stream.rows"], record["stream"])
    return detector


def _kind(estimator: Any) -> str | None:
    """The ``estimator`` parameter in a word: None, "fitted" for one used as it was, "template" for one to be fitted."""
    if estimator is None:
        return None
    return "fitted" if hasattr(estimator, "model_") else "template"


def _seen(member: Member) -> dict[str, Tensor]:
    """The statistics of the training rows that a member keeps."""
    codes = {} if member.codes is None else {"codes.mean": member.codes.mean, "codes.log_scale": member.codes.log_scale}
    return {f"typical.{name}": torch.from_numpy(nats) for name, nats in member.typical.items()} | codes


def _member(vae: Any, tensors: dict[str, Tensor], n_left_out: int) -> Member:
    if not is_of(n_left_out, int):
        raise ValueError(f"n_left_out can't be {n_left_out!r}")
    codes = part(tensors, "codes.")
    typical = {name: np.asarray(tensors[f"typical.{name}"]) for name in BY_ENTRY}
    return Member(vae, typical, DiagonalGaussian(**codes) if codes else None, n_left_out)
