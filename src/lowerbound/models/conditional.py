"""Models that may be given a context."""

from __future__ import annotations

import copy
from typing import Self

from torch import Tensor

from lowerbound.core import ElementwiseModel


class ConditionalModel(ElementwiseModel):
    """A model whose conditionals may be given a context c: p(z|c) and p(x|z, c).

    Parameters
    ----------
    n_context : int
        C, numbers of a context; 0 for a model that isn't given any.
    """

    context: Tensor | None = None

    def __init__(self, n_context: int = 0) -> None:
        super().__init__()
        self.n_context: int = n_context

    def given(self, context: Tensor | None) -> Self:
        """The same model given a context of shape (B, C)."""
        n_numbers = 0 if context is None else context.shape[-1]
        if n_numbers != self.n_context:
            raise ValueError(f"the model is given a context of {self.n_context} numbers, got {n_numbers}")
        if context is None:
            return self
        same = copy.copy(self)  # shares all modules
        same.context = context
        return same

    def needed_context(self) -> Tensor | None:
        """The context that was given; raises ``ValueError`` if one is missing."""
        if self.n_context and self.context is None:
            raise ValueError(f"the model needs a context of {self.n_context} numbers: use given(context)")
        return self.context
