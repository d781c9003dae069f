"""The progress of a training run, on stderr: a bar on a terminal, else one line an epoch."""

from __future__ import annotations

import math
import os
import sys
import time
from typing import Any

from tqdm import tqdm

from lowerbound.data.batches import Rows
from lowerbound.training.state import Training
from lowerbound.training.watch import Watch

REFRESH_SECONDS = 0.25  # between two readings of the totals, which wait for the device
WIDE = 110  # columns of a terminal that has room for the held-out bound beside the bar
NARROW = 80  # columns of a terminal that has no room for the two terms of the ELBO
ECHO = 3  # columns left free for the ^C of an interrupted run, which would break the line
BAR = "{desc} {percentage:3.0f}%|{bar}| {remaining} left{postfix}"


class ProgressWatch(Watch):
    """Shows ELBO, reconstruction and KL (nats a row), rows a second, and the time left until ``max_epochs``."""

    def __init__(self) -> None:
        self.terminal: bool = sys.stderr.isatty()
        self.bar: tqdm[Any] | None = None
        self.shown_at: float
        self.held_out: str
        self.shown_at, self.held_out = 0.0, ""

    def on_start(self, training: Training, data: Rows, validation: Rows | None) -> None:
        """Draw the bar, on a terminal."""
        self.n_rows: int
        self.max_epochs: int
        self.n_rows, self.max_epochs = len(data), training.settings.max_epochs
        self.begun: float
        self.before: int
        self.begun, self.before = time.monotonic(), self._done(training)
        if self.terminal:
            self.bar = tqdm(
                total=self.n_rows * self.max_epochs, initial=self.before, file=sys.stderr,
                bar_format=BAR, ncols=_columns(), leave=False, desc=self._epoch(training.progress.epoch + 1),
            )  # fmt: skip

    def on_step(self, training: Training) -> None:
        """Move the bar, a few times a second."""
        if self.bar is None or time.monotonic() - self.shown_at < REFRESH_SECONDS:
            return
        self.shown_at = time.monotonic()
        reconstruction, kl = training.epoch_totals.means()
        self.bar.set_description_str(self._epoch(training.progress.epoch + 1), refresh=False)
        self.bar.ncols = _columns()
        more = f"  {self._rate(training)}{self.held_out}" if self.bar.ncols >= WIDE else ""
        self.bar.postfix = _sum(reconstruction, kl, short=self.bar.ncols < NARROW) + more
        self._move_to(self._done(training))

    def on_epoch(self, training: Training, record: dict[str, Any]) -> None:
        """Move the bar, or print a line."""
        validation = record["validation_elbo"]
        self.held_out = "" if validation is None else f"  held-out ELBO {_number(validation)}"
        if self.bar is not None:
            self._move_to(record["epoch"] * self.n_rows)
        elif not self.terminal:
            shown = _sum(record["reconstruction"], record["kl"])
            shown += f"{self.held_out}  {self._rate(training)}"
            line = f"{self._epoch(record['epoch'])}  {shown}  {record['seconds']:.1f} s"
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Remove the bar from the terminal."""
        if self.bar is not None:
            self.bar.close()

    def _done(self, training: Training) -> int:
        """The rows done in all epochs."""
        return training.progress.epoch * self.n_rows + training.progress.n_rows

    def _rate(self, training: Training) -> str:
        """Rows a second since the start, validation and checkpoints included."""
        return f"{(self._done(training) - self.before) / (time.monotonic() - self.begun):,.0f} rows/s"

    def _epoch(self, epoch: int) -> str:
        return f"epoch {epoch:>{len(str(self.max_epochs))}}/{self.max_epochs}"

    def _move_to(self, done: int) -> None:
        if self.bar is not None:
            self.bar.update(done - self.bar.n)


def _columns() -> int:
    """The width of the bar in columns."""
    return os.get_terminal_size(sys.stderr.fileno()).columns - ECHO


def _sum(reconstruction: float, kl: float | None, *, short: bool = False) -> str:
    """The ELBO and, unless ``short``, its two terms in words; log p(x|z) alone where there is no bound."""
    if kl is None or math.isnan(kl):
        return f"log p(x|z) {_number(reconstruction)}"
    if short:
        return f"ELBO {_number(reconstruction - kl)}"
    return f"ELBO {_number(reconstruction - kl)} = {_number(reconstruction)} − KL {about(kl)}{_number(kl)}"


def about(kl: float) -> str:
    """``≈ `` before a negative KL, which is an estimate from the draws; nothing before others."""
    return "≈ " if kl < 0 else ""


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
