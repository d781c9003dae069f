"""The record of all that the result of a training run depends on: a checkpoint of another run is not continued."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from types import CodeType
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from lowerbound.data.batches import Rows
from lowerbound.data.fingerprint import changed, hashed
from lowerbound.data.stream import StreamedRows

if TYPE_CHECKING:
    from lowerbound.training.state import Training

Identity = dict[str, Any]

TIMES = "the times of the files"  # which differ between machines that hold copies of the same files
OF_ONE_PROCESS = (TIMES, "model", "posterior")  # which may name its machine, or its device
DEPTH = 8  # of objects within objects
PLAIN = (bool, int, float, str, tuple, list, dict, set, np.generic)  # what a module has besides weights and parts


def identity(training: Training, data: Rows, validation: Rows | None) -> Identity:
    """The identity of a run of the user's own model: its rows, modules and objective."""
    times = {TIMES: changed(data.source)} if isinstance(data, StreamedRows) else {}
    return {
        "data": data.digest(),
        "validation": None if validation is None else validation.digest(),
        "model": digest_of(training.model),
        "posterior": digest_of(training.posterior),
        "objective": digest_of(training.objective),
        **times,
    }


def digest_of(value: Any) -> str:
    """A hash of ``described``."""
    return hashed([repr(described(value)).encode()])


def check_same(saved: Mapping[str, Any], training: Training, what: str) -> None:
    """Raise ``ValueError`` if a saved state is of another run than ``training``.

    Parameters
    ----------
    saved : mapping
        The metadata of ``Training.state``.
    training : Training
    what : str
        The beginning of the message: the folder, and that it holds, …
    """
    if "identity" not in saved:
        raise ValueError(
            f"{what} a checkpoint of another version of lowerbound, which doesn't say of what run it is: "
            f"continue it with that version, or give another folder"
        )
    is_first = training.processes.is_first
    found = [name for name in differing(saved, training.state()[1]) if is_first or name != TIMES]
    if found:
        unsaid = "; random_state=None is another seed each time" if "random_state" in found else ""
        raise ValueError(
            f"{what} a checkpoint of a run that differs in {', '.join(found)}: "
            f"leave everything as it was, or give another folder{unsaid}"
        )


def differing(saved: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """The names of what differs between the saved state of a run and its own, both as ``Training.state`` has them."""
    settings = [name for name, value in own["settings"].items() if saved["settings"].get(name) != value]
    if "max_epochs" in settings and _may_go_on(saved, own):
        settings.remove("max_epochs")
    seed = [] if saved["seed"] == own["seed"] else ["random_state"]
    before, now = saved.get("identity", {}), own["identity"]
    return settings + seed + [name for name in {**now, **before} if before.get(name) != now.get(name)]


def _may_go_on(saved: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """True if the steps taken are those of a run with this number of epochs too."""
    progress = saved["progress"]
    begun = progress["epoch"] + (progress["n_batches"] > 0)
    return own["settings"]["lr_schedule"] == "constant" and begun <= own["settings"]["max_epochs"]


def described(value: Any, depth: int = DEPTH) -> Any:
    """A value in plain words and numbers: the same for an equal value of another process, and no weights.

    Of a function, its name, the constants and names in it, and what it encloses: another formula differs, and other
    numbers in it.
    """
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if depth == 0:
        return type(value).__qualname__
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    if isinstance(value, (tuple, list)):
        return [described(each, depth - 1) for each in value]
    if isinstance(value, Mapping):
        return {repr(name): described(each, depth - 1) for name, each in value.items()}
    if isinstance(value, (np.ndarray, Tensor)):
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        return [str(array.dtype), array.shape, "" if array.dtype.kind == "O" else hashed([array])]
    if isinstance(value, nn.Module):
        return _module(value, depth - 1)
    if isinstance(value, partial):
        return [described(each, depth - 1) for each in (value.func, value.args, value.keywords)]
    return _function(value, depth - 1) if callable(value) else _object(value, depth - 1)


def _module(module: nn.Module, depth: int) -> list[Any]:
    """The class of a module, its numbers and words, the shapes of its weights, and its parts."""
    own = {name: each for name, each in vars(module).items() if not name.startswith("_") and name != "training"}
    plain = {name: each for name, each in own.items() if callable(each) or isinstance(each, PLAIN)}
    shapes = {name: list(tensor.shape) for name, tensor in module.state_dict().items()}
    children = {name: described(child, depth) for name, child in module.named_children()}
    return [_name(type(module)), described(plain, depth), shapes, children]


def _function(function: Any, depth: int) -> list[Any]:
    """The name of a function, what it was made with, and for those of others what it does."""
    owner = getattr(function, "__self__", None)
    inner = getattr(function, "__func__", function)
    code = getattr(inner, "__code__", None)
    if code is None:
        return [_name(function) if hasattr(function, "__qualname__") else _object(function, depth)]
    enclosed = [cell.cell_contents for cell in inner.__closure__ or ()]
    made_with = (enclosed, inner.__defaults__, inner.__kwdefaults__, owner)
    parts = [_name(inner), *(described(each, depth) for each in made_with)]
    return parts if (inner.__module__ or "").startswith("lowerbound.") else [*parts, _code(code, inner.__globals__)]


def _code(code: CodeType, known: Mapping[str, Any]) -> list[Any]:
    """The instructions of a function, its constants, and the numbers and words among the names that it uses."""
    constants = [_code(c, known) if isinstance(c, CodeType) else _constant(c) for c in code.co_consts]
    values = {name: known[name] for name in code.co_names if isinstance(known.get(name), (bool, int, float, str))}
    return [code.co_code, constants, code.co_names, values]


def _constant(value: Any) -> Any:
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)


def _object(value: Any, depth: int) -> list[Any]:
    names = [f.name for f in fields(value)] if is_dataclass(value) else list(getattr(value, "__dict__", ()))
    public = {n: described(getattr(value, n), depth) for n in names if not n.startswith("_")}
    is_said = not public and type(value).__repr__ is not object.__repr__  # a word of an enumeration, a fraction, a type
    return [_name(type(value)), repr(value) if is_said else public]


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"
