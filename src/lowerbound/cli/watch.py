"""What happens beside training: progress, history, checkpoints, and stopping when asked."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from lowerbound.cli.output import Console, write_error
from lowerbound.cli.run import Run
from lowerbound.data.batches import Rows
from lowerbound.data.storage import save_tensors
from lowerbound.estimators.progress import ProgressWatch
from lowerbound.train import Training, Watch

CHECKPOINT_SECONDS = 1.0  # short epochs share a checkpoint
CHECKPOINT_PART = 0.1  # of the time, at most, goes into writing them

Begin = Callable[[Training, Rows, Rows | None], None]


class RunWatch(Watch):
    """Fills the folder of a run while it trains.

    Parameters
    ----------
    run : Run
    begin : callable
        Told before the first step what is going to be trained, on which rows.
    console : Console
    """

    training: Training

    def __init__(self, run: Run, begin: Begin, console: Console) -> None:
        self.run, self.begin, self.console = run, begin, console
        self.progress = None if console.quiet else ProgressWatch()
        self.asked_to_stop = self.announced = False
        self.saved_epoch, self.save_after = 0, 0.0

    def on_start(self, training: Training, data: Rows, validation: Rows | None) -> None:
        """Write what is known."""
        self.training, self.saved_epoch = training, training.progress.epoch
        self.begin(training, data, validation)
        if self.progress is not None:
            self.progress.on_start(training, data, validation)

    def on_step(self, training: Training, totals: Tensor, n_rows: int) -> None:
        """Move the bar."""
        if self.progress is not None:
            self.progress.on_step(training, totals, n_rows)
        if self.asked_to_stop and not self.announced:
            self.announced = True
            write_error(f"stopping after epoch {training.progress.epoch + 1}; Ctrl-C again stops at once")

    def on_epoch(self, training: Training, record: dict[str, Any]) -> None:
        """Append to the history; write a checkpoint, unless the last one is very young."""
        self.run.append_history(record)
        if self.progress is not None:
            self.progress.on_epoch(training, record)
        if self.console.as_json:
            self.console.emit(record)
        if self.is_done or time.monotonic() >= self.save_after:
            self.save_checkpoint()

    def should_stop(self) -> bool:
        """After the first Ctrl-C; then the checkpoint is as far as training is."""
        if self.asked_to_stop and self.saved_epoch < self.training.progress.epoch:
            self.save_checkpoint()
        return self.asked_to_stop

    def save_checkpoint(self) -> None:
        """Everything that is needed to continue."""
        started = time.monotonic()
        save_tensors(self.run.checkpoint, *self.training.state())
        finished = time.monotonic()
        self.save_after = finished + max(CHECKPOINT_SECONDS, (finished - started) / CHECKPOINT_PART)
        self.saved_epoch = self.training.progress.epoch

    @property
    def is_done(self) -> bool:
        """There is no epoch left to train."""
        progress = self.training.progress
        return progress.stopped or progress.epoch >= self.training.settings.max_epochs

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Ctrl-C (and SIGTERM) asks to stop after the epoch; the second one interrupts."""

        def ask(number: int, frame: object) -> None:
            if self.asked_to_stop:
                raise KeyboardInterrupt
            self.asked_to_stop = True

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if self.progress is not None:
                self.progress.close()
