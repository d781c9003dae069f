"""How to train, and how far training is: what a checkpoint holds as JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from lowerbound.core import ObjectiveState


@dataclass(frozen=True)
class Settings:
    """How to train; units are epochs unless said otherwise.

    Attributes
    ----------
    batch_size : int
        Rows a step, of all processes together.
    lr_schedule : {"cosine", "constant"}
        "cosine" rises over the first 5 % of the steps and falls to zero at the last of ``max_epochs``.
    n_iter_no_change : int
        Stop after so many epochs without a validation bound better by ``tol`` nats a row.
    ema : float
        Decay of the moving average of the weights that is validated and kept; 0 keeps the weights themselves.
    max_gradient_norm : float, optional
        Longer gradients are shortened to it, and absurd ones skipped.
    compile : bool
        Make one compiled graph of a step: the first takes half a minute, the others less time than without.
    precision : {"float32", "tf32", "bfloat16"}
        Of the products of the networks in a step.
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
    """Where a training run is; everything that isn't a tensor or a generator."""

    objective: ObjectiveState = field(default_factory=ObjectiveState)
    epoch: int = 0  # finished
    n_batches: int = 0  # done of the next one
    n_rows: int = 0  # in them
    seconds: float = 0.0
    best: float = -math.inf  # highest validation bound so far
    best_epoch: int = 0  # whose weights are kept: the one of that bound; without a validation the last
    reference: float = -math.inf  # the bound that the next one has to beat by tol
    stale_epochs: int = 0  # epochs since it was beaten
    stopped: bool = False
    history: list[dict] = field(default_factory=list)
