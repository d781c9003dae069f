"""The outlier detector's choice among scores."""

from __future__ import annotations

from lowerbound.estimators.vae import VAE
from lowerbound.parameters.tables import CLIMBING

ONLY_IF_NAMED = (*CLIMBING, "level_ratio")
COMBINED = ("aggregate_kl", "reconstruction", "surprise")


def recommended(vae: VAE) -> str:
    """The score that "auto" stands for."""
    if not vae.schema_.is_image:
        return "combined"
    return "relative_regret" if vae.model_.log_unit is None else "regret"
