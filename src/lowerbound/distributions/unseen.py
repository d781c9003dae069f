"""Values that no row of the fit had: an outcome of a column with a probability ε of its own, whatever z is.

Numbers divide it among them by a law that is fixed with the column. The entry of x carries the logarithm of the value's
part, so that a model can score a value that it has no place for, and that says nothing of z.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from torch import Tensor

CODE = -1e30  # entries of x below are values never seen
LARGEST = 100.0  # logarithm of a part: those of probabilities are at most 0, of densities they depend on the unit

Array = TypeVar("Array", np.ndarray, Tensor)


def coded(log_part: np.ndarray) -> np.ndarray:
    """The entries of x for values with these logarithms of their parts, same shape."""
    return CODE * (LARGEST - log_part)


def is_unseen(x: Array) -> Array:
    """True for values never seen, same shape."""
    return x < CODE


def log_part(x: Tensor) -> Tensor:
    """The inverse of ``coded``."""
    return LARGEST - x / CODE
