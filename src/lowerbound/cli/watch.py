"""The watch of a run in training: progress, history, checkpoints, and Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lowerbound.cli.output import Console
from lowerbound.cli.run import Run
from lowerbound.cli.signals import handled
from lowerbound.cli.tensorboard import TensorBoardWatch
from lowerbound.data.batches import Rows
from lowerbound.training.checkpoints import Checkpoints, Saving
from lowerbound.training.progress import ProgressWatch
from lowerbound.training.state import Training
from lowerbound.training.watch import Together

Begin = Callable[[Training, Rows, Rows | None], None]


class RunWatch(Together):
    """Writes the folder of a run while it trains.

    Parameters
    ----------
    run : Run
    checkpoints : Checkpoints
    begin : callable
        Called before the first step with the training and its rows.
    console : Console
    log : TensorBoardWatch, optional
    """

    training: Training

    def __init__(
        self, run: Run, checkpoints: Checkpoints, begin: Begin, console: Console, log: TensorBoardWatch | None = None
    ) -> None:
        self.run: Run
        self.checkpoints: Checkpoints
        self.begin: Begin
        self.console: Console
        self.run, self.checkpoints, self.begin, self.console = run, checkpoints, begin, console
        self.progress: ProgressWatch | None = None if console.quiet else ProgressWatch()
        self.asked_to_stop: bool
        self.log: TensorBoardWatch | None
        self.asked_to_stop, self.log = False, log
        super().__init__(*(watch for watch in (self.progress, log, Saving(checkpoints)) if watch is not None))

    def on_start(self, training: Training, data: Rows, validation: Rows | None) -> None:
        """Call ``begin``, and start the other watches."""
        self.training = training
        self.begin(training, data, validation)
        super().on_start(training, data, validation)

    def on_epoch(self, training: Training, record: dict[str, Any]) -> None:
        """Append to the history, before a checkpoint may be written."""
        self.run.append_history(record)
        if self.console.as_json:
            self.console.emit(record)
        super().on_epoch(training, record)

    def should_stop(self) -> bool:
        """True after the first Ctrl-C."""
        return self.asked_to_stop

    @contextmanager
    def listening(self) -> Iterator[None]:
        """A context in which Ctrl-C (or SIGTERM) asks to stop after the step; a second one interrupts."""

        def ask(number: int, frame: object) -> None:
            if self.asked_to_stop:
                raise KeyboardInterrupt
            self.asked_to_stop = True

        try:
            with handled(ask):
                yield
        finally:
            for watch in (self.progress, self.log):
                if watch is not None:
                    watch.close()
