"""A model and its posterior on some rows of data: what every estimate and every task takes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

from torch import nn, no_grad

from lowerbound.core import Batch, Infer, Model
from lowerbound.data.batches import Rows
from lowerbound.distributions.noise import Noise

PASS_ELEMENTS = 2**21  # entries of x that one pass of the decoder may produce: bounds memory, whatever S is
EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Evaluation:
    """A model and its posterior on some rows.

    Attributes
    ----------
    model : Model
        p(x, z).
    posterior : Posterior
        q(z|x).
    rows : Rows
    noise : Noise
        Of all draws; if rows share it, the numbers of a row depend on that row alone.
    pass_elements : int
        Entries of x that one pass of the decoder may produce.
    pass_rows : int
        Rows that one pass may have.
    """

    model: Model
    posterior: Infer
    rows: Rows
    noise: Noise
    pass_elements: int = PASS_ELEMENTS
    pass_rows: int = EVALUATION_BATCH

    def under(self, posterior: Infer) -> Evaluation:
        """The same rows under another q(z|x)."""
        return replace(self, posterior=posterior)

    def parts(self) -> Iterator[Evaluation]:
        """The rows in order, as many at a time as are held in memory; noise goes on from part to part."""
        return (replace(self, rows=rows) for rows in self.rows.parts(EVALUATION_BATCH))

    def batches(self, n_rows: int | None = None) -> Iterator[Batch]:
        """The rows in order, ``n_rows`` at a time, by default ``pass_rows``."""
        return self.rows.batches(n_rows or self.pass_rows, self.noise)

    def rows_in_a_pass(self, n_samples: int = 1) -> int:
        """Rows that fit in a pass with S samples each; depends on the shape of a row, never on the number of rows."""
        entries = n_samples * max(1, math.prod(self.rows.event_shape))
        return max(1, min(self.pass_rows, self.pass_elements // entries))

    def evaluating(self) -> AbstractContextManager[None]:
        """Evaluation mode without gradients."""
        return evaluating(self.model, self.posterior)


@contextmanager
def evaluating(*parts: object) -> Iterator[None]:
    """Evaluation mode without gradients; the modes of those parts that are modules come back afterwards."""
    modules = [part for part in parts if isinstance(part, nn.Module) and any(each.training for each in part.modules())]
    modes = [module.training for module in modules]
    for module in modules:
        module.eval()
    try:
        with no_grad():
            yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.train(mode)
