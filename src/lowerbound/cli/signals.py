"""Ctrl-C, and SIGTERM, which schedulers send and which does the same."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def handled(handler: Callable[[int, Any], None], numbers: tuple[signal.Signals, ...] = STOPPING) -> Iterator[None]:
    """A context in which signals call ``handler``; in threads, which get none, without effect."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, signal.SIG_DFL if earlier is None else earlier)


def interrupt(number: int, frame: object) -> None:
    """End the command as Ctrl-C does."""
    raise KeyboardInterrupt
