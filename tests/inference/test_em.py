"""The loop of EM: when it stops, and what it says."""

from typing import NamedTuple

import torch
from torch import Tensor

from lowerbound.inference import em


class Sums(NamedTuple):
    n_rows: Tensor
    log_p: Tensor


class Staircase:
    """A model whose objective takes the given values, one for each E-step."""

    def __init__(self, values: list[float]) -> None:
        self.values, self.steps = values, 0

    def expect(self, batch: object) -> Sums:
        return Sums(torch.tensor(2), torch.tensor(self.values[self.steps], dtype=torch.float64))

    def maximize(self, sums: Sums) -> None:
        self.steps += 1

    def log_prior(self) -> Tensor:
        return torch.tensor(0.0)


def climb(values: list[float], max_iter: int, patience: int = 1) -> em.Ascent:
    return em.fit(Staircase(values), lambda: [None, None], 0.1, max_iter, patience)


def test_it_stops_when_a_step_gains_too_little():
    ascent = climb([-8.0, -4.0, -2.0, -1.95, 7.0], 10)
    assert ascent == em.Ascent([-4.0, -2.0, -1.0, -0.975], 3, True)


def test_it_stops_at_the_last_step_allowed():
    ascent = climb([-8.0, -4.0, -2.0], 2)
    assert ascent == em.Ascent([-4.0, -2.0], 2, False)


def test_patience_bears_with_noise():
    noisy = [-8.0, -4.0, -4.5, -2.0, -2.1, -2.2, -2.05, 0.0]
    assert climb(noisy, 10).n_iter == 2
    assert climb(noisy, 10, patience=3) == em.Ascent([-4.0, -2.0, -2.25, -1.0, -1.05, -1.1, -1.025], 6, True)


def test_it_tells_how_far_it_is():
    told: list[tuple[int, float]] = []
    em.fit(Staircase([-8.0, -4.0]), lambda: [None, None], 0, 2, watch=lambda *step: told.append(step))
    assert told == [(0, -4.0), (1, -2.0)]
