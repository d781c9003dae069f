"""The time that a step takes, by a trial."""

from types import SimpleNamespace

import pytest

from lowerbound.training import time_budget
from lowerbound.training.time_budget import Enough, Stopwatch


def test_the_rows_of_all_epochs_of_a_trial_are_timed(monkeypatch):
    """The first step isn't: 5 rows of its epoch and 8 of the next in 3 s."""
    clock = iter([10.0, 11.0, 12.0, 13.0])
    monkeypatch.setattr(time_budget, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    watch = Stopwatch(2.5)
    watch.on_start(None, range(9), None)
    for epoch, n_rows in ((0, 4), (0, 9), (1, 4)):
        watch.on_step(SimpleNamespace(progress=SimpleNamespace(epoch=epoch, n_rows=n_rows)))
    with pytest.raises(Enough):
        watch.on_step(SimpleNamespace(progress=SimpleNamespace(epoch=1, n_rows=8)))
    assert watch.seconds_per_row == pytest.approx(3 / 13)
