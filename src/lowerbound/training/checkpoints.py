"""Checkpoints of a training run: the last state and the best weights, each written whole or not at all.

last.safetensors            everything that is needed to continue, from any step
best-<epoch>.safetensors    the best weights; ``last`` names the epoch

The best weights are written before the state that names them, and deleted after a state that names others, so that a
process may be killed at any moment.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from lowerbound.core import ObjectiveState
from lowerbound.storage.atomic import SavedFileError, load_tensors, remove_temporaries, save_tensors
from lowerbound.storage.records import conforming, is_of
from lowerbound.training.identity import check_same
from lowerbound.training.settings import Progress
from lowerbound.training.state import Training
from lowerbound.training.watch import Watch

SECONDS = 5.0  # of training that a killed process may lose
PART = 0.02  # largest part of the time spent on writing
BEST = "best."


class Checkpoints:
    """A folder of checkpoints of one run.

    Parameters
    ----------
    folder : Path
    seconds : float
        The shortest time between two checkpoints of ``save_if_due``.

    Raises
    ------
    TypeError
        If ``folder`` is no path.
    NotADirectoryError
        If it is a file.
    """

    def __init__(self, folder: str | Path, seconds: float = SECONDS) -> None:
        if not isinstance(folder, str | os.PathLike):
            raise TypeError(f"checkpoint must be the path of a folder, got {folder!r}")
        self.folder: Path
        self.seconds: float
        self.folder, self.seconds = Path(folder), seconds
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(f"{folder} is a file; checkpoints are kept in a folder of their own")
        self.due_at: float = time.monotonic() + seconds
        self.saved: tuple[int, int] | None = None  # epochs, and batches of the next one
        self.saved_best: int = 0  # the epoch of the saved best weights

    @property
    def last(self) -> Path:
        """The file of the last state."""
        return self.folder / "last.safetensors"

    def best(self, epoch: int) -> Path:
        """The file of an epoch's weights."""
        return self.folder / f"best-{epoch}.safetensors"

    def save_if_due(self, training: Training) -> None:
        """Save, unless the last checkpoint is recent."""
        if time.monotonic() >= self.due_at and training.is_settled:
            self.save(training)

    def save(self, training: Training) -> None:
        """Write the state of ``training``, unless it is written already."""
        progress = training.progress
        if self.saved == (progress.epoch, progress.n_batches):
            return
        started = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors, metadata = training.state()
        best = {name: tensors.pop(name) for name in list(tensors) if name.startswith(BEST)}
        named = self.best(progress.best_epoch)
        if progress.best_epoch != self.saved_best:
            save_tensors(named, best, {"epoch": progress.best_epoch, "validation_bound": progress.best})
        save_tensors(self.last, tensors, metadata)
        for other in self.folder.glob("best-*.safetensors"):
            if other != named:
                other.unlink(missing_ok=True)
        self.saved, self.saved_best = (progress.epoch, progress.n_batches), progress.best_epoch
        finished = time.monotonic()
        self.due_at = finished + max(self.seconds, (finished - started) / PART)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Read the arguments of ``Training.load_state``; None if nothing was saved.

        Raises
        ------
        SavedFileError
            If a file is damaged, or the best weights are missing.
        """
        remove_temporaries(self.folder)
        if not self.last.exists():
            return None
        try:
            tensors, metadata = load_tensors(self.last)
            progress = _progress_of(metadata, self.last)
            if progress.best_epoch:
                tensors |= load_tensors(self.best(progress.best_epoch))[0]
        except SavedFileError as error:
            raise SavedFileError(
                f"{error}: copy it back if you can; else remove {self.folder} to start anew"
            ) from error
        self.saved, self.saved_best = (progress.epoch, progress.n_batches), progress.best_epoch
        return tensors, metadata

    def load_for(self, training: Training) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Read the saved state of the same run; None if nothing was saved.

        Raises
        ------
        ValueError
            If the state is of another run.
        """
        state = self.load()
        if state is None:
            return None
        check_same(state[1], training, f"{self.folder} holds")
        return state

    def clear(self) -> None:
        """Delete the files of an older run: the state first, as the others are useless without it."""
        remove_temporaries(self.folder)
        self.last.unlink(missing_ok=True)
        for old in self.folder.glob("best-*.safetensors"):
            old.unlink(missing_ok=True)


def _progress_of(metadata: Any, path: Path) -> Progress:
    """The progress of a saved run; raises ``SavedFileError`` where the metadata are none of ``Training.state``."""
    try:
        if not isinstance(metadata["settings"], dict) or not is_of(metadata["seed"], int):
            raise ValueError("the settings, or the seed")
        state = ObjectiveState(**conforming(ObjectiveState, metadata["progress"]["objective"], "it", finite=False))
        return Progress(**conforming(Progress, {**metadata["progress"], "objective": state}, "it", finite=False))
    except (KeyError, TypeError, ValueError) as error:
        raise SavedFileError(f"{path} is damaged, or of another version of lowerbound ({error})") from error


class Saving(Watch):
    """Writes checkpoints during training: now and then, at the end, and when it is stopped."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints

    def on_step(self, training: Training) -> None:
        """Save, unless the last checkpoint is recent."""
        self.checkpoints.save_if_due(training)

    def on_epoch(self, training: Training, record: dict[str, Any]) -> None:
        """Save if training is done, or the last checkpoint isn't recent."""
        if training.is_done:
            self.checkpoints.save(training)
        else:
            self.checkpoints.save_if_due(training)

    def on_stop(self, training: Training) -> None:
        """Save the present state."""
        self.checkpoints.save(training)
