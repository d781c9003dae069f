"""The settings and the progress of a training run, which a checkpoint holds as JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from lowerbound.core import ObjectiveState


@dataclass(frozen=True)
class Settings:
    """The settings of a training run, in epochs unless said otherwise.

    Attributes
    ----------
    batch_size : int
        Rows in a step, of all processes together.
    lr_schedule : {"cosine", "constant"}
        "cosine" rises over the first 5 % of the steps and falls to zero at the last of ``max_epochs``.
    n_iter_no_change : int
        Epochs without a validation bound better by ``tol`` nats a row, after which training stops.
    ema : float
        Decay of the moving average of the weights, which is validated and kept; 0 keeps the weights themselves.
    max_gradient_norm : float, optional
        Longer gradients are shortened to it, and extreme ones skipped.
    compile : bool
        Make one compiled graph of a step: the first step takes half a minute, later ones are faster.
    precision : {"float32", "tf32", "bfloat16"}
        Precision of matrix products in a step.
    """

    max_epochs: int
    batch_size: int
    lr: float
    weight_decay: float = 0.0
    lr_schedule: str = "cosine"
    early_stopping: bool = True
    n_iter_no_change: int = 20
    tol: float = 0.0
    ema: float = 0.0
    max_gradient_norm: float | None = None
    compile: bool = False
    precision: str = "float32"


@dataclass
class Progress:
    """The progress of a training run: its state without tensors and generators."""

    objective: ObjectiveState = field(default_factory=ObjectiveState)
    epoch: int = 0  # finished epochs
    n_batches: int = 0  # finished batches of the next epoch
    n_rows: int = 0  # rows of these batches
    seconds: float = 0.0
    best: float = -math.inf  # highest validation bound so far
    best_epoch: int = 0  # the epoch of the kept weights: that of the best bound; without a validation the last
    reference: float = -math.inf  # the bound that the next one has to exceed by tol
    stale_epochs: int = 0  # epochs since the bound last did so
    stopped: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)
