"""Hints at something else that data could be than they were taken for, in a sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lowerbound.data.layout import possible_images
from lowerbound.data.likelihoods import has_ends_alone
from lowerbound.data.sources import Source

if TYPE_CHECKING:
    from lowerbound.data.schema import Schema


def hints(schema: Schema, X: Any) -> Iterator[str]:
    """Flags that may describe the rows of a model better than what was recognized."""
    if schema.likelihood == "discretized_logistic":
        middle = schema.kind.highest(schema.n_categories) / 2  # type: ignore[operator]  # of −1 to 1
        if has_ends_alone((schema.mean + 1) * middle, schema.spread * middle):
            yield "all values are 0 or 255: --binarize threshold reads them as 0 and 1"
    if schema.layout == "features":
        shape = possible_images(X if isinstance(X, Source) else np.asarray(X))
        if shape is not None:
            word = ",".join(map(str, shape))
            yield f"rows of {X.shape[1]:,} values may be images: if they are, add --image-shape {word}"
