"""Files that are never half-written: a temporary file, fsync, rename. Tensors in safetensors, the rest in JSON."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from lowerbound.storage.locks import try_lock
from lowerbound.storage.opening import MOST_JSON, parse_json, read_bytes, read_json

FORMAT_VERSION = 3
PARTS_OF_A_RUN = ("model/model.json", "checkpoint")  # a model is not saved beside them, as it would hide theirs
TEMPORARY = re.compile(r"\..+(\.\w+)\.[a-z0-9_]{8}\1")  # .name.suffix.????????.suffix
WEIGHTS = re.compile(r"[\w-]{1,100}\.safetensors")  # in the folder itself


class SavedFileError(ValueError):
    """A saved model or checkpoint is missing, damaged or foreign."""


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` with a temporary file beside ``path``, flush it to disk, and move it into place.

    Whatever happens, ``path`` holds either what it held before or the whole new content.
    """
    path = Path(path)
    with errors_about(path):
        remove_temporaries_of(path)
        with _temporary(path) as temporary:
            write(temporary)
            _flush_to_disk(temporary)
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
            _flush_to_disk(path.parent)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A new file beside ``path``, locked as long as its process writes it, and deleted if it is still there."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    temporary = Path(name)
    with os.fdopen(handle, "r+b") as file:
        if not try_lock(file, otherwise=False):
            file.close()  # Windows moves no open file
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Delete temporary files of a process that was killed while writing; no other process may be writing there."""
    for path in Path(folder).glob(".*"):
        if TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def remove_temporaries_of(path: Path) -> None:
    """Delete temporary files of one file that no process is writing any more; systems without locks keep them."""
    name, suffix = re.escape(path.name), re.escape(path.suffix)
    _remove_abandoned(path.parent, re.compile(rf"\.{name}\.[a-z0-9_]{{8}}{suffix}"))


def _remove_abandoned(folder: Path, names: re.Pattern[str]) -> None:
    for path in folder.glob(".*"):
        if names.fullmatch(path.name):
            with suppress(OSError), path.open("r+b") as file:
                if try_lock(file, otherwise=False):
                    path.unlink()


@contextmanager
def errors_about(path: Path) -> Iterator[None]:
    """Add the name of the file to errors of the operating system, some of which (a full disk) lack it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def write_text(path: Path, text: str) -> None:
    """Write text with ``write_atomically``."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Save one safetensors file with JSON metadata in its header."""
    content = to_bytes(tensors, metadata)
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def to_bytes(tensors: dict[str, Tensor], metadata: dict[str, Any]) -> bytes:
    """The bytes that ``save_tensors`` writes."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(plain, {"lowerbound": json.dumps(metadata, allow_nan=True)})


def from_bytes(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse of ``to_bytes``."""
    tensors = safetensors.torch.load(content)  # which checks the length of the header
    length = int.from_bytes(content[:8], "little")
    header = parse_json(content[8 : 8 + length], ValueError, "the header")
    return tensors, parse_json(header["__metadata__"]["lowerbound"], ValueError, "the metadata")


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse of ``save_tensors``; runs no code from the file.

    Raises
    ------
    SavedFileError
        If the file is missing, damaged, or not one of ours.
    """
    content = read_bytes(path, SavedFileError)  # not mapped: a file that is cut meanwhile would end the process
    try:
        return from_bytes(content)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise SavedFileError(f"{path} is damaged or was not written by lowerbound ({error})") from error


def save_folder(folder: Path, tensors: dict[str, Tensor], description: dict[str, Any]) -> None:
    """Save a folder with ``weights-<hash>.safetensors`` and the ``model.json`` that names this file.

    The weights are written first and ``model.json`` is moved into place last, so that a folder that is overwritten
    holds the old model or the new one at every moment.

    Raises
    ------
    SavedFileError
        If ``folder`` is a file, or the folder of a run, whose own model could no longer be loaded.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise SavedFileError(f"{folder} is a file; a model is saved as a folder")
    if any((folder / part).exists() for part in PARTS_OF_A_RUN):
        raise SavedFileError(f"{folder} is the folder of a run, whose model this would hide: save to another folder")
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder, TEMPORARY)
    content = safetensors.torch.save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
    digest = hashlib.sha256(content).hexdigest()
    weights = f"weights-{digest[:16]}.safetensors"
    record = {
        "format": "lowerbound",
        "version": FORMAT_VERSION,
        **description,
        "weights": weights,
        "sha256": digest,
    }
    text = json.dumps(record, indent=1) + "\n"
    if len(text) > MOST_JSON:
        raise ValueError(f"the description of the model has {len(text):,} bytes, and {MOST_JSON:,} can be read again")
    write_atomically(folder / weights, lambda temporary: temporary.write_bytes(content))
    write_text(folder / "model.json", text)
    for stale in folder.glob("weights-*.safetensors"):
        if stale.name != weights:
            stale.unlink(missing_ok=True)


def load_folder(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse of ``save_folder``.

    Raises
    ------
    SavedFileError
        If the folder is missing, damaged, not written by lowerbound, or of a newer format version.
    """
    record = _read_description(Path(folder))
    named = str(record.get("weights"))
    path = Path(folder) / named
    if not WEIGHTS.fullmatch(named) or not path.is_file():
        raise SavedFileError(
            f"{folder}/model.json names the weights {named[:100]!r}, which aren't there: copy the whole folder"
        )
    content = read_bytes(path, SavedFileError)
    if hashlib.sha256(content).hexdigest() != record.get("sha256"):
        raise SavedFileError(f"{path} is damaged: its checksum isn't the one in model.json")
    try:
        return safetensors.torch.load(content), record
    except safetensors.SafetensorError as error:
        raise SavedFileError(f"{path} is damaged ({error})") from error


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / "model.json"
    if not folder.exists():
        raise SavedFileError(f"{folder} doesn't exist")
    if not path.exists():
        raise SavedFileError(f"{folder} holds no saved model: there is no {path.name} in it")
    record = read_json(path, SavedFileError)
    if not isinstance(record, dict) or record.get("format") != "lowerbound":
        raise SavedFileError(f"{path} was not written by lowerbound")
    if type(record.get("version")) is not int or not 1 <= record["version"] <= FORMAT_VERSION:
        raise SavedFileError(
            f"{path} has format version {str(record.get('version'))[:20]}, "
            f"this lowerbound reads up to {FORMAT_VERSION}: update it"
        )
    return record


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
