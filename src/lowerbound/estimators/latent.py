"""What estimators of models with latent variables share: the posterior, its objective, and whether it collapsed."""

from __future__ import annotations

import warnings

from torch import nn

from lowerbound.core import Objective
from lowerbound.data.batches import Rows
from lowerbound.estimators.gradient import GradientEstimator
from lowerbound.evaluation.bound import elbo_terms
from lowerbound.inference import objectives
from lowerbound.training.state import Training

ROWS_TO_JUDGE_COLLAPSE = 2000


class CollapsedPosteriorWarning(UserWarning):
    """Most latent variables say nothing about the data."""


class LatentEstimator(GradientEstimator):
    """Fits a model with latent variables, and its posterior, by the one training loop."""

    FITTED = (*GradientEstimator.FITTED, "latent_dim_", "n_active_units_")

    objective: str = "elbo"
    gradient: str = "pathwise"
    n_samples: int
    kl_weight: float
    kl_warmup_steps: int
    free_bits: float

    posterior_: nn.Module
    latent_dim_: int

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self.model_, "posterior": self.posterior_}

    def _posterior(self, n_rows: int) -> nn.Module:
        return self.posterior_

    def _objective(self) -> Objective:
        return objectives.make_objective(
            self.objective, self.gradient, self.n_samples, self.kl_weight, self.kl_warmup_steps, self.free_bits
        )

    def _finish(self, training: Training, rows: Rows):
        super()._finish(training, rows)
        few = rows.few(ROWS_TO_JUDGE_COLLAPSE)
        self.n_active_units_ = elbo_terms(self.model_, self.posterior_, few, self._noise("collapse")).active_units
        one_for_all = getattr(self, "inference", None) == "shared"  # where nothing else is possible
        fewest = 1 if getattr(self, "_has_levels", False) else max(1, 0.1 * self.latent_dim_)  # a level may stay empty
        if training.progress.epoch and not one_for_all and self.n_active_units_ < fewest:
            warnings.warn(
                f"the posterior has collapsed: {self.n_active_units_} of {self.latent_dim_} latent variables are "
                f"active. Set kl_warmup_steps (a tenth of the steps) or free_bits (0.1), train longer, or ask for "
                f"fewer latent variables",
                CollapsedPosteriorWarning,
                stacklevel=3,
            )
        return self
