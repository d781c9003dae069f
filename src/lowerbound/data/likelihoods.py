"""The likelihood that "auto" stands for, and checks of grey values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lowerbound.data.layout import arrange
from lowerbound.data.statistics import Extent, measure, row_blocks
from lowerbound.distributions.likelihoods.discretized_logistic import N_GREY_LEVELS
from lowerbound.distributions.likelihoods.kind import LikelihoodError
from lowerbound.distributions.likelihoods.table import choose as choose_kind

BINARY = "bernoulli"  # the likelihood of grey values that become 0 or 1


def choose_likelihood(
    X: np.ndarray, binarize: str | None = None, image_shape: Sequence[int] | None = None, layout: str = "features"
) -> str:
    """The likelihood of "auto": Bernoulli for 0/1 data, the discretized logistic for bytes, else the Gaussian."""
    images = arrange(X, image_shape, layout).layout == "image"
    return choose(measure(Extent.of, row_blocks(X)), X.dtype, binarize, images=images)


def choose(extent: Extent, dtype: np.dtype, binarize: str | None, *, images: bool = False) -> str:
    """``choose_likelihood`` from the range and type of the data; whole numbers of ``images`` may be bytes."""
    if binarize:
        return BINARY
    as_bytes = images and has_bytes(dtype, extent) and not extent.binary.all()
    return choose_kind(extent, np.dtype(np.uint8) if as_bytes else dtype).name


def has_bytes(dtype: np.dtype, extent: Extent) -> bool:
    """True for bytes, and for whole numbers of another integer type that reach from 0 up to the upper half of bytes."""
    if dtype == np.uint8:
        return True
    return dtype.kind in "iu" and extent.lowest >= 0 and N_GREY_LEVELS // 2 <= extent.highest < N_GREY_LEVELS


def has_ends_alone(mean: np.ndarray, spread: np.ndarray) -> bool:
    """True if all values are 0 or 255, by the means and standard deviations of bytes.

    x(255 − x) ≥ 0 is 0 for these two alone, and its mean is m(255 − m) − s².
    """
    highest = N_GREY_LEVELS - 1
    return bool(np.all(np.abs(mean * (highest - mean) - spread**2) < 1e-9 * highest**2))


def grey_levels_of(X: np.ndarray) -> int:
    """The grey value that stands for 1: 255 in integers, unless none is above 1; else 1."""
    return grey_levels(X.dtype, X.max()) if X.dtype.kind in "iu" and X.size else 1


def grey_levels(dtype: np.dtype, highest: float) -> int:
    """``grey_levels_of`` from the highest value."""
    return N_GREY_LEVELS - 1 if dtype.kind in "iu" and highest > 1 else 1


def check_grey(extent: Extent, dtype: np.dtype) -> None:
    """Raise unless grey values lie in [0, 1], or are bytes."""
    if extent.lowest < 0 or extent.highest > grey_levels(dtype, extent.highest):
        raise _no_grey(extent)


def check_grey_scale(extent: Extent, dtype: np.dtype, binarize: str | None) -> None:
    """Raise if what stands for 1 isn't known: of whole numbers of which none is in the upper half of bytes."""
    if (
        binarize in ("sample", "threshold")
        and dtype.kind in "iu"
        and extent.highest > 1
        and not has_bytes(dtype, extent)
    ):
        raise _no_grey(extent)


def _no_grey(extent: Extent) -> LikelihoodError:
    return LikelihoodError(
        f"binarize needs bytes or grey values between 0 and 1, but X has values from {extent.lowest:g} to "
        f"{extent.highest:g}: divide them by their maximum, or convert them to uint8"
    )
