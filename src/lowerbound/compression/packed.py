"""The model inside of a file: an estimator as bytes, in half precision where that costs less than it saves."""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from typing import Any

import torch

from lowerbound.compression.bits_back import NotCodableError
from lowerbound.estimators.saving import Restore, Saved, contents
from lowerbound.parameters.upgrade import upgraded
from lowerbound.storage.atomic import FORMAT_VERSION, from_bytes, to_bytes

MOST_BYTES = 2**32  # of a model


@dataclass(frozen=True)
class Packed:
    """A model, the bytes that it is in the file, none where it isn't, and whether its weights were rounded."""

    model: Any
    content: bytes = b""
    is_half: bool = False


def pack(model: Any, *, half: bool) -> Packed:
    """A fitted estimator as it comes back from its bytes.

    Parameters
    ----------
    model : estimator
    half : bool
        Weights have 16 bits.
    """
    if not hasattr(model, "schema_"):
        raise NotCodableError("only an estimator can be put into the file: give the estimator, or leave with_model out")
    tensors, record = contents(model)
    if record["parameters"].get("network") == "own":
        raise NotCodableError("a network of your own can't be put into the file, which holds weights and no code")
    if half:
        tensors = {name: _halved(name, tensor) for name, tensor in tensors.items()}
    content = lzma.compress(to_bytes(tensors, {"version": FORMAT_VERSION, **record}), preset=9 | lzma.PRESET_EXTREME)
    again = unpack(content, Restore(lambda name: type(model), None, "cpu"))
    return Packed(again if model._given is None else again.given(model._given), content, half)


def unpack(content: bytes, restore: Restore) -> Any:
    """The estimator that a file holds."""
    tensors, record = from_bytes(lzma.LZMADecompressor().decompress(content, MOST_BYTES))
    return restore(Saved(tensors, upgraded(record) if record["version"] < FORMAT_VERSION else record))


def _halved(name: str, tensor: torch.Tensor) -> torch.Tensor:
    is_weight = not name.startswith("schema.") and tensor.is_floating_point()
    return tensor.half() if is_weight and tensor.half().isfinite().all() else tensor
