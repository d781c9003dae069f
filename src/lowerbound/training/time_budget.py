"""Fits on a time budget: the passes and rows that it allows, and watches that keep to it."""

from __future__ import annotations

import math
import time
from typing import Any

from lowerbound.data.batches import Rows
from lowerbound.training.state import Training
from lowerbound.training.watch import Watch


def affordable(row_passes: float, wanted: int, fewest: int, n: int, fewest_rows: int) -> tuple[int, int]:
    """The numbers of passes and of rows whose product is at most ``row_passes``; passes are cut first."""
    passes = int(min(wanted, max(fewest, row_passes // n)))
    return passes, int(min(n, max(fewest_rows, row_passes // passes)))


class Deadline(Watch):
    """Stops a fit after the epoch in which its time ends."""

    def __init__(self, until: float) -> None:
        self.until: float
        self.stopped_after: int
        self.until, self.stopped_after = until, 0

    def on_epoch(self, training: Training, record: dict[str, Any]) -> None:
        """Check the time."""
        is_last = training.progress.stopped or training.progress.epoch >= training.settings.max_epochs
        if time.perf_counter() > self.until and not is_last:
            self.stopped_after = training.progress.epoch

    def should_stop(self) -> bool:
        """True once the time is over."""
        return self.stopped_after > 0


class Enough(Exception):
    """The trial has been long enough."""


class Stopwatch(Watch):
    """Times the steps of a trial, without the first, and ends it."""

    MOST_STEPS = 20

    def __init__(self, seconds: float) -> None:
        self.seconds: float
        self.n_steps: int
        self.n_first: int
        self.n_of_epoch: int
        self.seconds, self.n_steps, self.n_first, self.n_of_epoch = seconds, 0, 0, 0
        self.seconds_per_row: float = math.nan

    def on_start(self, training: Training, data: Rows, validation: Rows | None) -> None:
        """Note the rows of an epoch."""
        self.n_of_epoch = len(data)

    def on_step(self, training: Training) -> None:
        """Measure the rows a second since the first step, or of this alone if it takes all the time."""
        now, progress = time.perf_counter(), training.progress
        n_rows = progress.epoch * self.n_of_epoch + progress.n_rows
        self.begun: float
        if self.n_steps == 0:
            self.begun, self.n_first = now, n_rows
        elif n_rows > self.n_first:
            self.seconds_per_row = (now - self.begun) / (n_rows - self.n_first)
        self.n_steps += 1
        if self.n_steps > self.MOST_STEPS or (self.n_steps > 1 and now - self.begun > self.seconds):
            raise Enough
