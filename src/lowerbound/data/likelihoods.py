"""The likelihood that "auto" stands for, and checks of grey values."""

from __future__ import annotations

import numpy as np

from lowerbound.data.statistics import Extent, measure, row_blocks
from lowerbound.distributions.likelihoods.discretized_logistic import N_GREY_LEVELS
from lowerbound.distributions.likelihoods.kind import LikelihoodError
from lowerbound.distributions.likelihoods.table import choose as choose_kind

BINARY = "bernoulli"  # the likelihood of grey values that become 0 or 1


def choose_likelihood(X: np.ndarray, binarize: str | None = None) -> str:
    """The likelihood of "auto": Bernoulli for 0/1 data, the discretized logistic for bytes, else the Gaussian."""
    return choose(measure(Extent.of, row_blocks(X)), X.dtype, binarize)


def choose(extent: Extent, dtype: np.dtype, binarize: str | None) -> str:
    """``choose_likelihood`` from the range and type of the data."""
    return BINARY if binarize else choose_kind(extent, dtype).name


def grey_levels_of(X: np.ndarray) -> int:
    """The grey value that stands for 1: 255 in bytes, unless none is above 1; else 1."""
    return grey_levels(X.dtype, X.max()) if X.dtype == np.uint8 and X.size else 1


def grey_levels(dtype: np.dtype, highest: float) -> int:
    """``grey_levels_of`` from the highest value."""
    return N_GREY_LEVELS - 1 if dtype == np.uint8 and highest > 1 else 1


def check_grey(extent: Extent, dtype: np.dtype) -> None:
    """Raise unless grey values lie in [0, 1], or are bytes."""
    if extent.lowest < 0 or extent.highest > grey_levels(dtype, extent.highest):
        raise LikelihoodError(
            f"binarize needs bytes (uint8) or grey values between 0 and 1, but X has values from {extent.lowest:g} to "
            f"{extent.highest:g}: divide them by their maximum, or convert them to uint8"
        )
