"""Small fitted models of every kind that is saved, and the numbers that must come back: for the fixtures of formats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_iris

from lowerbound import (
    ELBO,
    MLP,
    VAE,
    Amortized,
    GaussianLikelihood,
    Mixture,
    VAEImputer,
    VAEOutlierDetector,
)

X = load_iris().data
_rng = np.random.default_rng(0)
FRAME = pd.DataFrame({"a": X[:, 0], "word": _rng.choice(["x", "y", "z"], 150), "n": _rng.integers(0, 9, 150) * 1.0})
FRAME.loc[::7, "a"] = np.nan
FRAME.loc[::11, "word"] = None
GAPS = X.copy()
GAPS[_rng.random(X.shape) < 0.2] = np.nan
TINY = {"max_epochs": 3, "network": MLP((4,)), "random_state": 0}

NUMBERS: dict[str, Callable[[Any], Any]] = {  # of each model, numbers that must not change
    "vae": lambda model: model.score_samples(X[:5]),
    "mixed": lambda model: model.score_samples(FRAME[:5]),
    "missingness": lambda model: model.score_samples(GAPS[:5]),
    "mixture": lambda model: model.score_samples(X[:5]),
    "imputer": lambda model: np.asarray(model.transform(FRAME[:15]), object)[:, 0].astype(float),
    "detector": lambda model: model.score_samples(X[:5]),
}


def fitted() -> dict[str, Any]:
    """The models of ``NUMBERS``."""
    return {
        "vae": VAE(2, network=MLP((8,)), posterior=Amortized("full"), max_epochs=30, random_state=0).fit(X),
        "mixed": VAE(2, posterior=Amortized(input_dropout=0.3), objective=ELBO(trim_fraction=0.1), **TINY).fit(FRAME),
        "missingness": VAE(1, likelihood=GaussianLikelihood(missingness="self_masking"), **TINY).fit(GAPS),
        "mixture": Mixture(2, covariance="diagonal", random_state=0).fit(X),
        "imputer": VAEImputer(models=("gaussian",), random_state=0).fit(FRAME),
        "detector": VAEOutlierDetector(VAE(2, **TINY), random_state=0).fit(X[:60]),
    }
