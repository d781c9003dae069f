"""The distinct sets of observed entries among the rows of a mask."""

from __future__ import annotations

import torch
from torch import Tensor

BITS = 63  # of a whole number


def distinct_rows(mask: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows (P, F) of a mask (B, F), and the number of each row's, shape (B,).

    As ``mask.unique(dim=0, return_inverse=True)``, in another order and many times faster: the entries of a row are the
    bits of whole numbers, of which those with the same beginning are told apart by the next.
    """
    which = mask.new_zeros(len(mask), dtype=torch.int64)
    for part in mask.split(BITS, dim=1):
        bits = (part.long() << torch.arange(part.shape[1], device=mask.device)).sum(1)
        _, number = bits.unique(return_inverse=True)
        _, which = (which * (len(mask) + 1) + number).unique(return_inverse=True)
    first = which.new_full((int(which.max()) + 1 if len(which) else 0,), len(mask))
    first.scatter_reduce_(0, which, torch.arange(len(mask), device=mask.device), "amin")
    return mask[first], which
