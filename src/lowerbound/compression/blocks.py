"""The way of blocks of rows, of sequences or of texts through a fitted model, and the grid that suits some of them."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lowerbound.compression.arrays import CodedBlock
from lowerbound.compression.bits_back import Grid, OneLevel, unwrapped
from lowerbound.compression.chains import ChainBlocks
from lowerbound.compression.entries import Entries, widest
from lowerbound.compression.message import BlockCode, Message, shares_of
from lowerbound.compression.models import (
    COARSEST,
    ENTRIES,
    MOST_CELLS,
    MOST_ROWS,
    grid_for,
    grid_of,
    latents_of,
    moments_of,
    rows_of_a_step,
)
from lowerbound.compression.sequences import CodedSequences, SequencesCode
from lowerbound.compression.stepping import MaskedStep, SequenceBlocks, Unit
from lowerbound.compression.texts import CodedTexts
from lowerbound.compression.tokens import TextBlocks, batch_of
from lowerbound.compression.whole import WholeSequenceBlocks
from lowerbound.core import Batch
from lowerbound.data.texts import TextContext
from lowerbound.estimators.fitted import Fitted
from lowerbound.inference.smoothing import SmoothingPosterior
from lowerbound.models.masked import MaskedModel
from lowerbound.models.sequence import SequenceModel
from lowerbound.models.state_space import StateSpaceModel
from lowerbound.models.texts import TextModel
from lowerbound.models.whole_sequence import WholeSequenceModel

LOOKED_AT = 1000  # rows, texts or steps that the grid is chosen by
SEQUENCES = 100  # that these steps are of
LOGITS = 2**20  # of the texts that are coded together


class Blocks(Protocol):
    """Blocks of rows as messages, and back."""

    def write(self, block: Any, context: Tensor | None) -> Message:
        """Rows as a message; the context has shape (n, C)."""
        ...

    def read(self, message: Message, n_rows: int, context: Tensor | None) -> Any:
        """The inverse of ``write``."""
        ...


def blocks_for(fitted: Fitted, rows: Any, grid: Grid, most: int) -> Blocks:
    """The way of blocks through a model, with so many rows at a time."""
    model = fitted.model
    if isinstance(model, TextModel):
        return TextBlocks(model, fitted.posterior, rows, grid, most)
    if not isinstance(model, SequenceModel):
        example = batch_of_rows(rows.example(1), rows.counted, example_context(fitted, 1))
        return BlockCode(latents_of(fitted, example, grid), rows, most)
    of_step, q = model.step, fitted.posterior
    step = MaskedStep(of_step, q, grid) if isinstance(of_step, MaskedModel) else OneLevel(of_step, q, grid)
    if isinstance(model, StateSpaceModel):
        assert isinstance(fitted.posterior, SmoothingPosterior)
        return ChainBlocks(model, step, rows, most, fitted.posterior, grid)
    if isinstance(model, WholeSequenceModel):
        return WholeSequenceBlocks(model, step, rows, most, fitted.posterior, grid)
    return SequenceBlocks(model, step, rows, most)


def suited(fitted: Fitted, rows: Any, first: Any, context: Tensor | None) -> tuple[Grid, int]:
    """The grid, and how many rows at a time, that suit some rows."""
    model = fitted.model
    if isinstance(model, TextModel):
        return _suited_to_texts(fitted, model, first, context)
    if isinstance(model, SequenceModel):
        return _suited_to_sequences(fitted, model, rows, first)
    some = slice(0, LOOKED_AT)
    looked_at = batch_of_rows(first.part(some), rows.counted, None if context is None else context[some])
    return grid_for(fitted, looked_at), rows_of_a_step(fitted, looked_at.subset(torch.zeros(1).long()))


def _suited_to_sequences(
    fitted: Fitted, model: SequenceModel, rows: SequencesCode, first: CodedSequences
) -> tuple[Grid, int]:
    blocks = blocks_for(fitted, rows, Grid(2.0**-COARSEST, MOST_CELLS), 1)
    assert isinstance(blocks, SequenceBlocks)
    lengths = np.minimum(first.lengths, LOOKED_AT)
    n = max(1, min(SEQUENCES, int((np.cumsum(lengths) <= LOOKED_AT).sum())))
    unit = Unit(first.steps, first.starts[:n], lengths[:n], rows.counted, shares_of(first.steps.observed))
    grid, step = grid_of([blocks.moments(unit)]), model.step
    if isinstance(step, MaskedModel):
        return grid, MOST_ROWS
    p = step.given(blocks.begin(1)).likelihood(torch.zeros(1, 1, step.latent_dim, dtype=torch.float64))
    return grid, max(1, min(MOST_ROWS, ENTRIES // widest(p)))


def _suited_to_texts(fitted: Fitted, model: TextModel, first: CodedTexts, context: Tensor | None) -> tuple[Grid, int]:
    looked_at = batch_of(first, slice(0, LOOKED_AT), context)
    q = unwrapped(fitted.posterior(looked_at))
    return grid_of(moments_of(q)), max(1, min(MOST_ROWS, LOGITS // (model.n_tokens + 2)))


def batch_of_rows(coded: CodedBlock, counted: np.ndarray, context: Tensor | None) -> Batch:
    """Rows as the model reads them."""
    parts = (coded.numbers, coded.k, coded.observed, coded.aside, coded.low, coded.high)
    return Entries(*parts, counted, None if coded.observed.all() else ~coded.observed[0] * 0.5, context).batch()


def example_context(fitted: Fitted, n_rows: int) -> Tensor | None:
    """A context of zeros, or of one token, for rows of an example."""
    schema = fitted.context_schema
    if schema is None:
        return None
    if isinstance(schema, TextContext):
        return torch.zeros(n_rows, 1, dtype=torch.int64)
    return torch.zeros(n_rows, schema.n_numbers, dtype=torch.float64)
