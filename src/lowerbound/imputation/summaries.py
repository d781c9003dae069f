"""Summaries of draws from p(x_m|x_o): medians, modes, and intervals of a given probability.

Draws have shape (m, …), and each of the other places is summarized for itself. A law has a *frequent value* where one
value is a twentieth of its draws or more: a whole number, an atom of a column of real numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lowerbound.data.table_code import FREQUENT

NEAR_MODE = 0.2  # of the draws, whose shortest interval is around the mode


@dataclass(frozen=True)
class Intervals:
    """Intervals [low, high], and the part of the draws at their ends that has to count for the level to be met.

    A discrete law puts more than the level on most intervals. If a value at an end counts as covered with probability
    ``at_ends``, the intervals of a law have exactly the level that was asked for.
    """

    low: np.ndarray
    high: np.ndarray
    at_ends: np.ndarray

    def covered(self, x: np.ndarray) -> np.ndarray:
        """1 inside, 0 outside, and ``at_ends`` at the ends."""
        inside = np.where((self.low < x) & (x < self.high), 1.0, 0.0)
        return np.where((x == self.low) | (x == self.high), self.at_ends, inside)


def intervals(draws: np.ndarray, level: float) -> Intervals:
    """Central intervals; of a law with a frequent value the shortest, which is its smallest set of neighbors.

    Parameters
    ----------
    draws : ndarray, shape (m, …)
    level : float
        The probability of the interval.
    """
    ordered = np.sort(draws, 0)
    k = max(1, int((1 - level) / 2 * (len(draws) + 1)))  # below the k-th of m draws lies k/(m + 1) on average
    central = ordered[[k - 1, -k]]
    low, high = np.where(_most_frequent(ordered)[1] >= FREQUENT, shortest(ordered, level), central)
    inside = ((low < draws) & (draws < high)).mean(0)
    ends = ((draws == low) | (draws == high)).mean(0)
    at_ends = np.where(ends > 0, (level - inside) / np.where(ends > 0, ends, 1), 1.0)
    return Intervals(low, high, at_ends.clip(0, 1))


def median(draws: np.ndarray) -> np.ndarray:
    """The median, which is a value of the draws."""
    return np.quantile(draws, 0.5, axis=0, method="inverted_cdf")


def mode(draws: np.ndarray) -> np.ndarray:
    """The most frequent value where one is frequent, else the middle of the shortest fifth (Venter, 1967)."""
    ordered = np.sort(draws, 0)
    value, share = _most_frequent(ordered)
    return np.where(share >= FREQUENT, value, shortest(ordered, NEAR_MODE).mean(0))


def shortest(ordered: np.ndarray, level: float) -> np.ndarray:
    """The ends (2, …) of the shortest interval with a share ``level`` of the draws, (m, …) in their order.

    Of several that are as short, that with the most draws.
    """
    m = len(ordered)
    k = max(1, int(np.ceil(level * m - 1e-9)))
    first, last = _runs(ordered)
    width, n = ordered[k - 1 :] - ordered[: m - k + 1], last[k - 1 :] - first[: m - k + 1]
    at = np.where(width <= width.min(0), n, -1).argmax(0)[None]
    return np.concatenate([np.take_along_axis(ordered, place, 0) for place in (at, at + k - 1)])


def _most_frequent(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent of ordered draws, and its share."""
    first, last = _runs(ordered)
    n = last - first + 1
    at = n.argmax(0)[None]
    return np.take_along_axis(ordered, at, 0)[0], np.take_along_axis(n, at, 0)[0] / len(ordered)


def _runs(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of ordered draws the places of the first and the last that are equal to it."""
    places = np.arange(len(ordered)).reshape(-1, *[1] * (ordered.ndim - 1))
    changes = ordered[1:] != ordered[:-1]
    edge = np.ones((1, *ordered.shape[1:]), bool)
    first = np.maximum.accumulate(np.where(np.concatenate([edge, changes]), places, 0), 0)
    ends = np.where(np.concatenate([changes, edge]), places, len(ordered))
    return first, np.minimum.accumulate(ends[::-1], 0)[::-1]
