"""Callbacks of the training loop."""

from __future__ import annotations

from typing import Any

from lowerbound.data.batches import Rows
from lowerbound.training.state import Training


class Watch:
    """Callbacks of the training loop, which do nothing here."""

    def on_start(self, training: Training, data: Rows, validation: Rows | None) -> None:
        """Called before the first step, also of a run that is continued."""

    def on_step(self, training: Training) -> None:
        """Called after a step; reading ``training.epoch_totals`` waits for the device, so read it seldom."""

    def on_epoch(self, training: Training, record: dict[str, Any]) -> None:
        """Called after an epoch and its validation."""

    def should_stop(self) -> bool:
        """Asked after every epoch and step, and during validation; with several processes only now and then."""
        return False

    def on_stop(self, training: Training) -> None:
        """Called when training stops before its end; ``training`` can be continued from its state."""


class Together(Watch):
    """Several watches."""

    def __init__(self, *watches: Watch) -> None:
        self.watches = watches

    def on_start(self, training: Training, data: Rows, validation: Rows | None) -> None:
        """Call all watches."""
        for watch in self.watches:
            watch.on_start(training, data, validation)

    def on_step(self, training: Training) -> None:
        """Call all watches."""
        for watch in self.watches:
            watch.on_step(training)

    def on_epoch(self, training: Training, record: dict[str, Any]) -> None:
        """Call all watches."""
        for watch in self.watches:
            watch.on_epoch(training, record)

    def should_stop(self) -> bool:
        """True if one of the watches asks to stop."""
        return any(watch.should_stop() for watch in self.watches)

    def on_stop(self, training: Training) -> None:
        """Call all watches."""
        for watch in self.watches:
            watch.on_stop(training)
