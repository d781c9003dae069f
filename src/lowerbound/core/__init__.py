"""The names through which everything composes: Batch, Model, Posterior, Draw, Objective.

A model supplies the prior p(z) and the conditional p(x|z); a posterior supplies q(z|x); an objective turns a draw of
both into a loss. Models and posteriors never know each other: they meet in ``Model.draw``.
"""

from lowerbound.core.batch import Batch
from lowerbound.core.draw import (
    Draw,
    Infer,
    LatentDistribution,
    Objective,
    ObjectiveState,
    Posterior,
    Prior,
    once,
)
from lowerbound.core.explicit import ExplicitModel, NoLatents, NoPosterior
from lowerbound.core.model import ElementwiseModel, Missingness, Model

__all__ = [
    "Batch",
    "Draw",
    "ElementwiseModel",
    "ExplicitModel",
    "Infer",
    "LatentDistribution",
    "Missingness",
    "Model",
    "NoLatents",
    "NoPosterior",
    "Objective",
    "ObjectiveState",
    "Posterior",
    "Prior",
    "once",
]
