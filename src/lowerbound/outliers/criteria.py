"""The outlier detector's choice among scores, and its check of what is asked."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lowerbound.estimators.vae import VAE
from lowerbound.parameters.parameter import Parameter
from lowerbound.parameters.tables import CLIMBING, SCORES

ONLY_IF_NAMED = (*CLIMBING, "level_ratio", "combined")
COMBINED = ("aggregate_kl", "reconstruction", "surprise")
ROWS_TO_RANK = 10_000  # training rows whose scores are known: enough for quantiles
CLIMBED_TO_RANK = 200  # the same of likelihood regrets, of which each takes long
WEIGHTS = {"mixture": 2.0}  # in "combined"; with 1 outliers between clusters were lost, with 3 tight groups of outliers


def recommended(vae: VAE) -> str:
    """The score that "auto" stands for."""
    if not vae.schema_.is_image:
        return "combined"
    return "relative_regret" if vae.model_.log_unit is None else "regret"


def asked_scores(names: Sequence[str] | None, criterion: str, *, has_mixture: bool) -> Sequence[str]:
    """The names of scores, by default of those that take no longer than the criterion."""
    if names is None:
        left_out = [*ONLY_IF_NAMED, *([] if has_mixture else ["mixture"])]
        left_out += ["log_p", "surprise"] if criterion in CLIMBING else []
        return [name for name in SCORES if name not in left_out or name == criterion]
    for name in names:
        if name not in SCORES:
            raise ValueError(f"there is no score {name!r}: take some of {', '.join(SCORES)}")
    if "combined" in names and criterion != "combined":
        raise ValueError(f"fitted with criterion={criterion!r}, nothing can be combined: use criterion='combined'")
    return names


def trimmed(detector: Any) -> float:
    """The fraction of the rows that is not learned."""
    return (0.0 if detector.novelty else 0.1) if detector.trim_fraction == "auto" else float(detector.trim_fraction)


def rows_to_rank(criterion: str, contamination: float | str) -> int:
    """The number of training rows, at most, whose scores are known: all, where a part of them is to be outliers."""
    if criterion in CLIMBING:
        return CLIMBED_TO_RANK
    return ROWS_TO_RANK if contamination == "auto" else sys.maxsize


def fence(scores: np.ndarray, contamination: float | str) -> float:
    """The score below which rows are called outliers, Tukey's lower fence if ``contamination`` is "auto"."""
    if contamination != "auto":
        return float(np.percentile(scores, 100 * float(contamination)))
    low, high = np.quantile(scores, [0.25, 0.75])
    return float(low - 1.5 * (high - low))


def check_asked(detector: Any, parameters: Mapping[str, Parameter]) -> None:
    """Raise ``ValueError`` if a parameter isn't allowed, or is for the default autoencoders and others are given."""
    for name, parameter in parameters.items():
        parameter.check(getattr(detector, name))
    if detector.estimator is None:
        return
    own = ["n_steps", "trim_fraction", "layout", "device", "verbose"]
    for name in [*own, "n_estimators"] if hasattr(detector.estimator, "model_") else own:
        default = parameters[name].default
        if getattr(detector, name) != default:
            raise ValueError(
                f"{name}={getattr(detector, name)!r} is for the default autoencoders, and an estimator is given: leave "
                f"it {default!r}"
            )
