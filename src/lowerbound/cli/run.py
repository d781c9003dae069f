"""The folder of a run.

config.toml        the parameters, and the choices for "auto"
environment.json   versions, seed, command line, and a description of the data
history.jsonl      one record an epoch
checkpoint/        the state of training, and the best weights
model/             the fitted model, for ``lowerbound.load``
images.npy         of a folder of images that was trained on, the pixels; images.json says which they are
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowerbound import __version__
from lowerbound.cli.output import Failure, command_line

if TYPE_CHECKING:
    from lowerbound.data.sources import Dataset
    from lowerbound.training.checkpoints import Checkpoints

REPORTED = ("torch", "numpy", "scikit-learn")
ARRAY, ARRAY_OF = "images.npy", "images.json"
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Run:
    """The folder of a run and its files."""

    folder: Path

    @property
    def config(self) -> Path:
        """The file of parameters."""
        return self.folder / "config.toml"

    @property
    def environment(self) -> Path:
        """The file of versions, seed, command and data."""
        return self.folder / "environment.json"

    @property
    def history(self) -> Path:
        """The file with one line of JSON an epoch."""
        return self.folder / "history.jsonl"

    def checkpoints(self, *seconds: float) -> Checkpoints:
        """The checkpoints of the run, with the least time between two."""
        from lowerbound.training.checkpoints import Checkpoints

        return Checkpoints(self.folder / "checkpoint", *seconds)

    @property
    def has_checkpoint(self) -> bool:
        """True if training can be continued."""
        return self.checkpoints().last.exists()

    @property
    def model(self) -> Path:
        """The folder of the model, for ``lowerbound.load``."""
        return self.folder / "model"

    @property
    def has_model(self) -> bool:
        """True if the run has a fitted model."""
        return (self.model / "model.json").exists()

    @property
    def is_begun(self) -> bool:
        """True if the run trains, or was trained."""
        from lowerbound.storage.locks import LOCK

        return self.config.exists() or (self.folder / LOCK).exists()

    def locked(self) -> AbstractContextManager[None]:
        """Lock the folder, so that one process at a time trains in it."""
        from lowerbound.storage.locks import locked

        if self.folder.exists() and not self.folder.is_dir():
            raise Failure(f"{self.folder} is a file; a run is a folder")
        return locked(self.folder)

    def check_free(self, force: bool) -> None:
        """Refuse a folder that isn't empty, unless ``force`` is given."""
        from lowerbound.storage.locks import LOCK

        if not force and any(path.name not in (LOCK, ARRAY, ARRAY_OF) for path in self.folder.iterdir()):
            continued = ", or continue it with --resume" if self.config.exists() else ""
            raise Failure(f"{self.folder} exists: choose another folder, or overwrite it with --force{continued}")

    def begin(self, config: str, environment: dict[str, Any]) -> None:
        """Write the configuration and environment, and delete an older run's files."""
        from lowerbound.storage.atomic import remove_temporaries, write_text

        self.folder.mkdir(parents=True, exist_ok=True)
        self.checkpoints().clear()
        for old in (self.model / "model.json", *self.model.glob("weights-*.safetensors")):
            old.unlink(missing_ok=True)
        for folder in (self.folder, self.model):
            remove_temporaries(folder)
        write_text(self.config, config)
        write_text(self.environment, _indented(environment))
        self.write_history([])

    def begin_again(
        self, config: str, epoch: int, step: int, environment: dict[str, Any], history: list[dict[str, Any]]
    ) -> None:
        """Record that the run is resumed, and delete the history after the checkpoint."""
        from lowerbound.storage.atomic import remove_temporaries, write_text

        for folder in (self.folder, self.model):
            remove_temporaries(folder)
        record = self.read_environment()
        resumed = {"epoch": epoch, "step": step, **{k: v for k, v in environment.items() if k not in ("seed", "data")}}
        record["resumed"] = [*record.get("resumed", []), resumed]
        write_text(self.config, config)
        write_text(self.environment, _indented(record))
        self.write_history(history)

    def read_environment(self) -> dict[str, Any]:
        """The content of ``environment.json``; empty if it doesn't exist or isn't what was written."""
        from lowerbound.storage.opening import read_json

        try:
            record = read_json(self.environment)
        except ValueError:
            return {}
        is_ours = isinstance(record, dict) and isinstance(record.get("data", {}), dict)
        return record if is_ours and isinstance(record.get("resumed", []), list) else {}

    def read_history(self) -> list[dict[str, Any]]:
        """The records of ``history.jsonl``, without lines that aren't whole: the last may be being written."""
        from lowerbound.storage.opening import MOST_HISTORY, parse_json, read_bytes

        found = []
        try:
            lines = read_bytes(self.history, most=MOST_HISTORY).splitlines()
        except ValueError:
            return found
        for line in lines:
            with suppress(ValueError):
                record = parse_json(line, ValueError, str(self.history))
                found += [record] if isinstance(record, dict) else []
        return found

    def write_history(self, records: list[dict[str, Any]]) -> None:
        """Write all of ``history.jsonl``."""
        from lowerbound.storage.atomic import write_text

        write_text(self.history, "".join(json.dumps(record) + "\n" for record in records))

    def append_history(self, record: dict[str, Any]) -> None:
        """Append an epoch to ``history.jsonl``."""
        from lowerbound.storage.atomic import errors_about

        with errors_about(self.history), self.history.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def data_of(run: Path) -> dict[str, Any]:
    """The words and numbers in ``[data]`` of the configuration of a run, or of the run whose model is in the folder."""
    from lowerbound.storage.opening import read_toml

    for folder in (run, run.parent):
        try:
            record = read_toml(folder / "config.toml").get("data")
        except (OSError, ValueError):
            continue
        if isinstance(record, dict):
            return {name: value for name, value in record.items() if isinstance(value, (str, int))}
    return {}


def _indented(record: dict[str, Any]) -> str:
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def environment(arguments: Sequence[str], seed: int, data: dict[str, Any]) -> dict[str, Any]:
    """The versions, command, seed and data of a run."""
    versions = {"python": platform.python_version(), "lowerbound": __version__}
    return {
        "command": command_line(*arguments),
        "seed": seed,
        "versions": versions | {name: version(name) for name in REPORTED},
        "platform": platform.platform(),
        "data": data,
    }


def fingerprint(dataset: Dataset) -> dict[str, Any]:
    """A fingerprint of data: name, shape, type and a hash of the values."""
    import numpy as np

    from lowerbound.data.fingerprint import as_bytes, fingerprint_of_source
    from lowerbound.data.sequences import Sequences
    from lowerbound.data.sources import Source

    if isinstance(dataset.X, Sequences):
        shape = [len(dataset.X), *dataset.X.steps.shape]
        record = {"name": dataset.source, "shape": shape, "sha256": dataset.X.digest()}
        columns = getattr(dataset.X.steps, "columns", None)
        return record if columns is None else {**record, "columns": list(map(str, columns))}
    if isinstance(dataset.X, list):
        digest = hashlib.sha256(json.dumps([dataset.X, dataset.context]).encode())
        return {"name": dataset.source, "shape": [len(dataset.X)], "dtype": "text", "sha256": digest.hexdigest()}
    if isinstance(dataset.X, Source):
        return fingerprint_of_source(dataset.X)
    digest = hashlib.sha256()
    columns = getattr(dataset.X, "columns", None)
    X = np.asarray(dataset.X)
    for first in range(0, len(X), ROWS_AT_ONCE):
        digest.update(as_bytes(X[first : first + ROWS_AT_ONCE]))
    record = {"name": dataset.source, "shape": list(X.shape), "dtype": X.dtype.name, "sha256": digest.hexdigest()}
    return record if columns is None else {**record, "columns": list(map(str, columns))}
