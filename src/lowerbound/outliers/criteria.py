"""The parameters of the outlier detector, and its choice among scores."""

from __future__ import annotations

from lowerbound.estimators.vae import VAE
from lowerbound.parameters.parameter import Parameter
from lowerbound.parameters.tables import CLIMBING, SCORES
from lowerbound.parameters.vae import VAE_PARAMETERS

ONLY_IF_NAMED = (*CLIMBING, "level_ratio")
COMBINED = ("aggregate_kl", "reconstruction", "surprise")

PARAMETERS = {
    p.name: p
    for p in (
        Parameter("criterion", "auto", "what makes a row an outlier", ("auto", *SCORES)),
        Parameter("contamination", "auto", "part of the rows called outliers", ("auto",), float, 0, 0.5, open_low=True),
        Parameter("novelty", False, "the training rows are clean", (True, False)),
        Parameter("trim_fraction", 0.1, "part of each batch that isn't learned, unless novelty", (), float, 0, 0.5),
        Parameter("n_estimators", "auto", "autoencoders", ("auto",), int, 1),
        Parameter("n_steps", "auto", "steps of training of each", ("auto",), int, 1),
        Parameter("calibration_fraction", 0.0, "part of the rows held out for p-values", (), float, 0, 0.9),
        VAE_PARAMETERS["layout"],
    )
}


def recommended(vae: VAE) -> str:
    """The score that "auto" stands for."""
    if not vae.schema_.is_image:
        return "combined"
    return "relative_regret" if vae.model_.log_unit is None else "regret"
