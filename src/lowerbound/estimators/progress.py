"""How far a training run is, on stderr: a bar on a terminal, else one line an epoch."""

from __future__ import annotations

import sys
import time

from torch import Tensor
from tqdm import tqdm

from lowerbound.train import Training, Watch

REFRESH_SECONDS = 0.25  # reading the totals waits for the device, so it is done this seldom


class ProgressWatch(Watch):
    """Shows ELBO, reconstruction and KL (nats a row), and the time left."""

    def __init__(self, n_rows: int, max_epochs: int) -> None:
        self.n_rows, self.shown_at, self.done = n_rows, 0.0, 0
        self.terminal = sys.stderr.isatty()
        total = n_rows * max_epochs
        self.bar = tqdm(total=total, unit="row", unit_scale=True, disable=not self.terminal, file=sys.stderr)

    def on_step(self, training: Training, totals: Tensor, n_rows: int) -> None:
        """Move the bar, a few times a second."""
        if not self.terminal or time.monotonic() - self.shown_at < REFRESH_SECONDS:
            return
        self.shown_at = time.monotonic()
        reconstruction, kl = (totals / n_rows).tolist()
        self.bar.set_description(f"epoch {training.progress.epoch + 1}", refresh=False)
        self.bar.set_postfix_str(f"ELBO {reconstruction - kl:.2f} = {reconstruction:.2f} − KL {kl:.2f}", refresh=False)
        self._move_to(training.progress.epoch * self.n_rows + n_rows)

    def on_epoch(self, training: Training, record: dict) -> None:
        """One line, where there is no bar."""
        if self.terminal:
            self._move_to(record["epoch"] * self.n_rows)
            return
        validation = record["validation_elbo"]
        held_out = "" if validation is None else f"  held-out ELBO {validation:.2f}"
        print(
            f"epoch {record['epoch']:4d}  ELBO {record['elbo']:.2f} = {record['reconstruction']:.2f} − KL "
            f"{record['kl']:.2f}{held_out}  {record['seconds']:.1f} s",
            file=sys.stderr,
        )

    def close(self) -> None:
        """Leave the terminal as it was."""
        self.bar.close()

    def _move_to(self, done: int) -> None:
        self.bar.update(done - self.done)
        self.done = done
