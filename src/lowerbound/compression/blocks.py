"""The way of blocks of rows, of sequences or of texts through a fitted model, and the grid that suits some of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lowerbound.compression.arrays import CodedBlock
from lowerbound.compression.bits_back import Grid, NotCodableError, OneLevel, unwrapped
from lowerbound.compression.entries import Entries
from lowerbound.compression.message import BlockCode, Message
from lowerbound.compression.models import (
    MOST_ROWS,
    grid_for,
    grid_of,
    latents_of,
    moments_of,
    rows_of_a_step,
)
from lowerbound.compression.sequences import CodedSequences
from lowerbound.compression.stepping import MaskedStep, SequenceBlocks
from lowerbound.compression.texts import CodedTexts
from lowerbound.compression.tokens import TextBlocks, batch_of
from lowerbound.core import Batch
from lowerbound.data.texts import TextContext
from lowerbound.estimators.fitted import Fitted
from lowerbound.models.masked import MaskedModel
from lowerbound.models.sequence import SequenceModel
from lowerbound.models.state_space import StateSpaceModel
from lowerbound.models.texts import TextModel

LOOKED_AT = 1000  # rows, texts or steps that the grid is chosen by
SEQUENCES = 100  # of these steps
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
    if isinstance(model, StateSpaceModel):
        raise NotCodableError("latent variables that are a chain over the steps have no code yet: fit with chain=False")
    kind = MaskedStep if isinstance(model.step, MaskedModel) else OneLevel
    return SequenceBlocks(model, kind(model.step, fitted.posterior, grid), rows, most)


def suited(fitted: Fitted, rows: Any, first: Any, context: Tensor | None) -> tuple[Grid, int]:
    """The grid, and how many rows at a time, that suit some rows."""
    model = fitted.model
    if isinstance(model, TextModel):
        return _suited_to_texts(fitted, model, first, context)
    if isinstance(model, SequenceModel):
        fitted, looked_at = replace(fitted, model=model.step), _steps(model, first, rows.counted)
        if isinstance(model.step, MaskedModel):
            return grid_for(fitted, looked_at), MOST_ROWS
    else:
        some = slice(0, LOOKED_AT)
        looked_at = batch_of_rows(first.part(some), rows.counted, None if context is None else context[some])
    return grid_for(fitted, looked_at), rows_of_a_step(fitted, looked_at.subset(torch.zeros(1).long()))


def _suited_to_texts(fitted: Fitted, model: TextModel, first: CodedTexts, context: Tensor | None) -> tuple[Grid, int]:
    looked_at = batch_of(first, slice(0, LOOKED_AT), context)
    q = unwrapped(fitted.posterior(looked_at))
    return grid_of(moments_of(q)), max(1, min(MOST_ROWS, LOGITS // (model.n_tokens + 2)))


def _steps(model: SequenceModel, first: CodedSequences, counted: np.ndarray) -> Batch:
    """Steps of the first sequences, each with its d."""
    ends = np.minimum(first.starts + first.lengths, LOOKED_AT)[:SEQUENCES]
    flat = batch_of_rows(first.steps.part(slice(0, int(ends[-1]))), counted, None)
    parts = []
    for start, end in zip(first.starts.tolist(), ends.tolist(), strict=False):
        if start < end:
            one = flat.subset(torch.arange(start, end))
            missing = None if one.missing is None else one.missing[None]
            one = Batch(one.x[None], one.mask[None], one.index[:1], complete=one.complete, missing=missing)
            parts.append(model.past(one)[0, :-1])
    return flat.with_context(torch.cat(parts))


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
