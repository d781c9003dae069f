"""Callbacks of the training loop."""

from __future__ import annotations

from lowerbound.data.batches import Rows
from lowerbound.training.state import Training


class Watch:
    """What a caller may do while it trains; this one does nothing."""

    def on_start(self, training: Training, data: Rows, validation: Rows | None) -> None:
        """Before the first step; ``training`` stands where it was left, if it is continued."""

    def on_step(self, training: Training) -> None:
        """After a step; reading ``training.ledger`` waits for the device, so it should be done seldom."""

    def on_epoch(self, training: Training, record: dict) -> None:
        """After an epoch and its validation."""

    def should_stop(self) -> bool:
        """Asked after every epoch and step, and in the validation; of several processes only now and then."""
        return False

    def on_stop(self, training: Training) -> None:
        """When it is left before its end; ``training`` stands where it can be continued."""


class Together(Watch):
    """Several watches."""

    def __init__(self, *watches: Watch) -> None:
        self.watches = watches

    def on_start(self, training: Training, data: Rows, validation: Rows | None) -> None:
        """Tell all."""
        for watch in self.watches:
            watch.on_start(training, data, validation)

    def on_step(self, training: Training) -> None:
        """Tell all."""
        for watch in self.watches:
            watch.on_step(training)

    def on_epoch(self, training: Training, record: dict) -> None:
        """Tell all."""
        for watch in self.watches:
            watch.on_epoch(training, record)

    def should_stop(self) -> bool:
        """If one of them asks for it."""
        return any(watch.should_stop() for watch in self.watches)

    def on_stop(self, training: Training) -> None:
        """Tell all."""
        for watch in self.watches:
            watch.on_stop(training)
