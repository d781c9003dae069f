"""The choice of a likelihood for data, and checks that data have the values it describes."""

from __future__ import annotations

import numpy as np

from lowerbound.data.statistics import Extent, measure, row_blocks
from lowerbound.distributions.likelihoods import N_GREY_LEVELS

LIKELIHOODS = ("gaussian", "bernoulli", "categorical", "discretized_logistic")
MAX_CATEGORIES = 1024


class LikelihoodError(ValueError):
    """The likelihood can't describe the data; the message names one that can."""


def choose_likelihood(X: np.ndarray, binarize: str | None) -> str:
    """Choose Bernoulli for 0/1 data, the discretized logistic for bytes, the Gaussian for everything else."""
    return choose(measure(Extent.of, row_blocks(X)), X.dtype, binarize)


def choose(extent: Extent, dtype: np.dtype, binarize: str | None) -> str:
    """``choose_likelihood`` from the range and type of the data."""
    if binarize or extent.binary.all():
        return "bernoulli"
    return "discretized_logistic" if dtype == np.uint8 else "gaussian"


def grey_levels_of(X: np.ndarray) -> int:
    """The grey value that stands for 1: 255 in bytes, unless none is above 1; else 1."""
    return grey_levels(X.dtype, X.max()) if X.dtype == np.uint8 and X.size else 1


def grey_levels(dtype: np.dtype, highest: float) -> int:
    """``grey_levels_of`` from the highest value."""
    return N_GREY_LEVELS - 1 if dtype == np.uint8 and highest > 1 else 1


def check_binary(extent: Extent, dtype: np.dtype) -> None:
    """Raise unless there are only zeros and ones."""
    if not extent.binary.all():
        other = "'discretized_logistic'" if dtype == np.uint8 else "'gaussian'"
        raise LikelihoodError(
            f"likelihood='bernoulli' describes 0/1 data, but X has values from {extent.lowest:g} to "
            f"{extent.highest:g}: use likelihood={other}, or binarize='sample' to redraw grey values as 0 or 1"
        )


def check_grey(extent: Extent, dtype: np.dtype) -> None:
    """Raise unless grey values lie in [0, 1], or are bytes."""
    if extent.lowest < 0 or extent.highest > grey_levels(dtype, extent.highest):
        raise LikelihoodError(
            f"binarize needs bytes (uint8) or grey values between 0 and 1, but X has values from {extent.lowest:g} to "
            f"{extent.highest:g}: divide them by their maximum, or convert them to uint8"
        )


def check_categories(extent: Extent, n_categories: int, likelihood: str) -> None:
    """Raise unless there are only the whole numbers 0, …, n_categories − 1."""
    if not extent.whole.all():
        raise LikelihoodError(
            f"likelihood={likelihood!r} describes whole numbers, but X has fractions: use likelihood='gaussian'"
        )
    if extent.lowest < 0 or extent.highest >= n_categories:
        raise LikelihoodError(
            f"likelihood={likelihood!r} describes the values 0 to {n_categories - 1}, but X has values from "
            f"{extent.lowest:g} to {extent.highest:g}: "
            + ("recode the categories" if likelihood == "categorical" else "use likelihood='gaussian'")
        )


def count_categories(extent: Extent, likelihood: str) -> int:
    """K, the number of categories from 0 to the highest, at least two; 0 for likelihoods without categories."""
    if likelihood == "discretized_logistic":
        return N_GREY_LEVELS
    if likelihood != "categorical":
        return 0
    n_categories = int(extent.highest) + 1
    if n_categories > MAX_CATEGORIES:
        raise LikelihoodError(
            f"likelihood='categorical' has one probability for each category, and X goes up to {n_categories - 1} "
            f"(at most {MAX_CATEGORIES - 1}): recode the categories as 0, 1, 2, …, or use likelihood='gaussian'"
        )
    return max(n_categories, 2)
