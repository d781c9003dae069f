"""The worth of drawn rows, in one record: likeness, what they teach, copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lowerbound.synthesis.copies import Copies, copies
from lowerbound.synthesis.learning import Learning, learning
from lowerbound.synthesis.likeness import Area, shapes, some_of, told_apart, trends


@dataclass(frozen=True)
class Quality:
    """The quality of drawn rows, each figure beside that of as many held-out real rows.

    Attributes
    ----------
    shapes : dict of str to float
        For each column, 1 if it is distributed as in the rows that the model was fitted to.
    trend, trend_of_real : float
        The mean over pairs of columns, 1 if they depend on each other as in the fitted rows; drawn, held out.
    shape_of_real : float
        The mean of ``shapes`` for held-out rows.
    told_apart : Area
        The area under the ROC curve of a classifier of drawn and held-out rows; ½ if they can't be told apart.
    learning : Learning or None
        What the drawn rows teach of a target.
    copies : Copies
    n_held_out : int
        Held-out rows.
    """

    shapes: dict[str, float]
    shape_of_real: float
    trend: float
    trend_of_real: float
    told_apart: Area
    learning: Learning | None
    copies: Copies
    n_held_out: int

    @property
    def shape(self) -> float:
        """The mean of ``shapes``."""
        return float(np.mean(list(self.shapes.values())))

    @property
    def detection(self) -> float:
        """The score 1 − (2 max(½, area) − 1) of SDMetrics, with the area of ``told_apart``: 1 if that is ½."""
        return 2 - 2 * max(0.5, self.told_apart.value)

    def to_dict(self) -> dict[str, Any]:
        """A record of JSON."""
        return {"shape": self.shape, "detection": self.detection, **asdict(self)}


def quality(
    fitted: Any, held_out: Any, drawn: Any, *, target: str | None,
    log_p: Sequence[np.ndarray], seed: int = 0,
) -> Quality:  # fmt: skip
    """Measure drawn rows.

    Parameters
    ----------
    fitted, held_out, drawn : DataFrame
        The rows that the model was fitted to, others, and those that it drew; of the same columns.
    target : str or None
        A column to predict from the others.
    log_p : pair of ndarray
        log p(x), in nats, of some fitted and of some held-out rows.
    seed : int
    """
    as_many = some_of(drawn, len(held_out), seed)  # as fewer rows are farther from all by chance
    each, of_real = shapes(fitted, as_many), shapes(fitted, held_out)
    return Quality(
        each, float(np.mean(list(of_real.values()))), trends(fitted, as_many, seed), trends(fitted, held_out, seed),
        told_apart(held_out, drawn, seed), None if target is None else learning(fitted, held_out, drawn, target, seed),
        copies(fitted, held_out, drawn, *log_p, seed=seed), len(held_out),
    )  # fmt: skip
