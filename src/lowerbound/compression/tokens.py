"""Texts as a message: z of each, then token by token, and many texts at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lowerbound.compression.bits_back import Grid, gaussian_of, pop_gaussian, prior_moments, push_gaussian, sums_of
from lowerbound.compression.coder import Below, Stack, decisions, rounded
from lowerbound.compression.growth import grown
from lowerbound.compression.message import Message
from lowerbound.compression.texts import CodedTexts, TextsCode
from lowerbound.core import Batch, Infer
from lowerbound.data.texts import trimmed
from lowerbound.models.texts import TextModel

Choose = Callable[[np.ndarray, int, Below], np.ndarray]  # texts, place, cumulative probabilities → their tokens there


@dataclass(frozen=True)
class TextBlocks:
    """Blocks of texts as messages, and back.

    Attributes
    ----------
    model : TextModel
    posterior : Infer
    rows : TextsCode
    grid : Grid
    most : int
        Texts that go through the networks together.
    """

    model: TextModel
    posterior: Infer
    rows: TextsCode
    grid: Grid
    most: int

    def write(self, block: CodedTexts, context: Tensor | None) -> Message:
        """Texts as a message.

        Parameters
        ----------
        block : CodedTexts
        context : Tensor, shape (n, C), or None
        """

        def push(stack: Stack, rows: slice) -> None:
            self._push(stack, block.starts[rows], block, self._read(batch_of(block, rows, context)))

        steps, stack = grown(push, len(block), self.most, has_latents=self.model.latent_dim > 0)
        nothing = np.zeros(1, np.int64)
        about = str(len(block.tokens)).encode() + b"\n"
        return Message(steps, nothing, nothing, None, about + block.apart, stack.words)

    def _push(self, stack: Stack, starts: np.ndarray, block: CodedTexts, batch: Batch) -> None:
        """Pop z, push the tokens, the last one first, push z."""
        k = pop_gaussian(stack, self.grid, gaussian_of(self.posterior(batch)))
        bits: list[tuple[np.ndarray, np.ndarray]] = []

        def choose(rows: np.ndarray, time: int, below: Below) -> np.ndarray:
            tokens = block.tokens[starts[rows] + time]
            bits.extend(decisions(tokens, *self._range(len(rows)), below))
            return tokens

        self._walk(k, batch.context, choose, len(block.tokens))
        for each, p in reversed(bits):
            stack.push_bits(each, p)
        self.grid.push(stack, k, *self._prior(len(k), batch.context))

    def read(self, message: Message, n_rows: int, context: Tensor | None) -> CodedTexts:
        """The inverse of ``write``."""
        about, _, apart = message.apart.partition(b"\n")
        stack, units, n_left = Stack(message.words), [], int(about)
        for first, last in reversed(message.steps.ranges(n_rows)):
            given = None if context is None else trimmed(context[first:last])
            units.append(self._pop(stack, last - first, self.model.read(given), n_left))
            n_left -= len(units[-1][0])
        tokens, lengths = (np.concatenate(each) for each in zip(*reversed(units), strict=True))
        return CodedTexts(tokens, lengths, apart)

    def _pop(self, stack: Stack, n: int, context: Tensor | None, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Pop z, pop the tokens, which are so many at most, push z; the tokens of n texts and their lengths."""
        k = self.grid.pop(stack, *self._prior(n, context))
        places: list[np.ndarray] = []
        found: list[np.ndarray] = []

        def choose(rows: np.ndarray, time: int, below: Below) -> np.ndarray:
            places.append(rows)
            found.append(stack.pop_numbers(*self._range(len(rows)), below))
            return found[-1]

        self._walk(k, context, choose, most)
        row = np.concatenate(places)
        order = np.argsort(row, kind="stable")
        block = CodedTexts(np.concatenate(found)[order], np.bincount(row, minlength=n), b"")
        push_gaussian(stack, self.grid, k, gaussian_of(self.posterior(batch_of(block, slice(0, n), context))))
        return block.tokens, block.lengths

    def _read(self, batch: Batch) -> Batch:
        """The batch with the features of its context."""
        return batch.with_context(self.model.read(batch.context))

    def _walk(self, k: np.ndarray, context: Tensor | None, choose: Choose, most: int) -> None:
        """Through the places of the texts, in each of which their tokens are chosen, so many at most."""
        state = self.model.begin(self.grid.values(k)[None], context)
        end, rows, time = self.model.n_tokens, np.arange(len(k)), 0
        token = torch.full((len(k),), end)
        while len(rows):
            most -= len(rows)
            if most < 0:
                raise ValueError("there are more tokens than were written")
            logits, after = self.model.after(token, state)
            token = torch.from_numpy(choose(rows, time, self._below(logits)))
            on = token != end
            hidden = rounded(after.hidden[:, on])  # so that differences in the last digits don't grow
            token, rows, time = token[on], rows[on.numpy()], time + 1
            state = after._replace(hidden=hidden, input=after.input[on], output=after.output[on])

    def _below(self, logits: Tensor) -> Below:
        """P(token ≤ k): of the tokens, the end, and one for all that nobody knows."""
        known = float(np.exp(self.model.log_known))
        p = rounded(logits).softmax(-1) * known
        return sums_of(torch.cat([p, torch.full_like(p[:, :1], 1 - known)], -1))

    def _range(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """The least and the greatest token."""
        low = np.zeros(n, np.int64)
        return low, low + self.model.n_tokens + (self.model.log_known < 0)

    def _prior(self, n: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return prior_moments(self.model.given(context).prior(), n)


def batch_of(block: CodedTexts, rows: slice, context: Tensor | None) -> Batch:
    """Some texts as the model reads them; behind the end of each is nothing."""
    lengths, starts = block.lengths[rows], block.starts[rows]
    inside = np.arange(lengths.max()) < lengths[:, None]
    x = np.full(inside.shape, block.tokens[-1])  # the end
    x[inside] = block.tokens[starts[0] : starts[-1] + lengths[-1]]
    mask, index = torch.from_numpy(inside), torch.arange(len(x))
    given = None if context is None else trimmed(context[rows])
    return Batch(torch.from_numpy(x), mask, index, complete=bool(inside.all()), context=given)
