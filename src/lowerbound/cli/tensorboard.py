"""``--log tensorboard``: the history as event files for TensorBoard."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lowerbound.cli.output import Failure
from lowerbound.data.batches import Rows
from lowerbound.training.state import Training
from lowerbound.training.watch import Watch

SECONDS = 10.0  # between two records within an epoch


class TensorBoardWatch(Watch):
    """Writes the bound and its parts after every epoch, and within long ones, by step.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    Failure
        If the package is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise Failure(
                "--log tensorboard needs the package tensorboard: pip install 'lowerbound[tensorboard]'"
            ) from error
        self.folder: Path
        self.make_writer: type[SummaryWriter]
        self.writer: SummaryWriter | None
        self.folder, self.make_writer, self.writer = folder, SummaryWriter, None

    def on_start(self, training: Training, data: Rows, validation: Rows | None) -> None:
        """Open the file; of a run that is continued, records after the checkpoint are hidden."""
        self.writer = self.make_writer(str(self.folder), purge_step=training.progress.objective.step + 1)
        self.n_rows: int
        self.written_at: float
        self.n_rows, self.written_at = len(data), time.monotonic()

    def on_step(self, training: Training) -> None:
        """Write the means of the epoch so far, every few seconds."""
        if time.monotonic() - self.written_at >= SECONDS:
            reconstruction, kl = training.epoch_totals.means()
            self._write(training, "within the epoch", elbo=reconstruction - kl, reconstruction=reconstruction, kl=kl)

    def on_epoch(self, training: Training, record: dict[str, Any]) -> None:
        """Write the epoch's record."""
        self._write(training, "training", **{name: record[name] for name in ("elbo", "reconstruction", "kl")})
        self._write(training, "validation", elbo=record["validation_elbo"])
        rate = record["epoch"] * self.n_rows / training.progress.seconds
        self._write(training, "progress", epoch=record["epoch"], skipped=record["n_skipped"], rows_per_second=rate)

    def close(self) -> None:
        """Close the file."""
        if self.writer is not None:
            self.writer.close()

    def _write(self, training: Training, group: str, **values: Any) -> None:
        self.written_at = time.monotonic()
        for name, value in values.items():
            if self.writer is not None and value is not None:
                self.writer.add_scalar(f"{group}/{name}", value, training.progress.objective.step)
