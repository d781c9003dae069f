"""Some rows of the data, as a model and a posterior get them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lowerbound.parallel import WHOLE, Share


@dataclass(frozen=True)
class Batch:
    """Some rows of the data.

    Parameters
    ----------
    x : Tensor, shape (B, *event)
        The values, in the units that the model works in.
    mask : Tensor of bool, shape (B, *event)
        True where an entry is observed and counted in the density.
    index : Tensor of int64, shape (B,)
        The rows' places in the data set.
    share : Share
        Which rows these are of the batch that one step is taken with, where several processes train.
    complete : bool
        Whether every entry is known to be observed, so that nobody has to look at the mask.
    missing : Tensor of bool, shape (B, *event), or None
        True where an entry that would count was not observed; None where the data have no gaps.
    context : Tensor, shape (B, C), or None
        c, what is known of the rows beforehand, as numbers; None for a model that isn't given any.
    """

    x: Tensor
    mask: Tensor
    index: Tensor
    share: Share = WHOLE
    complete: bool = False
    missing: Tensor | None = None
    context: Tensor | None = None

    def __post_init__(self) -> None:
        if self.mask.dtype is not torch.bool:
            raise TypeError(f"the mask of a batch is of bool, True where an entry is observed; got {self.mask.dtype}")

    @property
    def seen(self) -> Tensor:
        """The entries that are observed, and zeros elsewhere."""
        return self.x if self.complete else torch.where(self.mask, self.x, 0.0)

    def with_hidden(self, hidden: Tensor) -> Batch:
        """The same rows with some entries not observed; ``hidden`` is broadcastable to (B, *event)."""
        missing = self.mask & hidden if self.missing is None else self.missing | (self.mask & hidden)
        return replace(self, mask=self.mask & ~hidden, complete=False, missing=missing)

    def with_context(self, context: Tensor | None) -> Batch:
        """The same rows with another context."""
        return replace(self, context=context)

    def subset(self, rows: Tensor) -> Batch:
        """Some of the rows, at the places ``rows`` (n,) of int64."""
        missing, context = (None if t is None else t[rows] for t in (self.missing, self.context))
        index = self.index[rows.to(self.index.device)]
        return Batch(self.x[rows], self.mask[rows], index, complete=self.complete, missing=missing, context=context)
