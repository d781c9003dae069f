"""The time of a fit: its end, and its progress on stderr from the third second on."""

from __future__ import annotations

import math
import sys
import time
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

PATIENCE = 3  # seconds without a sign of progress


class Budget:
    """Knows when the time is over, and says what is being fitted: a bar on a terminal, else a line for each step.

    Parameters
    ----------
    seconds : float or None
        No end if None.
    """

    def __init__(self, seconds: float | None) -> None:
        self.begun: float = time.perf_counter()
        self.until: float = math.inf if seconds is None else self.begun + seconds
        self.bar: tqdm[Any] | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            form = "{desc} ({elapsed})"
            self.bar = tqdm(file=sys.stderr, bar_format=form, delay=PATIENCE, leave=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.close()

    @property
    def is_over(self) -> bool:
        """True once the time has passed."""
        return time.perf_counter() > self.until

    def begin(self, step: str) -> None:
        """Say what is begun."""
        if self.bar is not None:
            self.bar.set_description_str(step, refresh=False)
            self.tick()
        elif time.perf_counter() - self.begun > PATIENCE:
            print(step, file=sys.stderr, flush=True)

    def tick(self) -> None:
        """Move the bar on; called often in long steps."""
        if self.bar is not None:
            self.bar.update()
