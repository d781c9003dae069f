"""Sequences as a message: every step given those before it, and many sequences at once.

d_t is a function of x_<t, so who reads x_1, …, x_{t−1} knows p(x_t|x_<t) too. The last step is pushed first.
"""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lowerbound.compression.arrays import CodedBlock
from lowerbound.compression.bits_back import NotCodableError, OneLevel, gaussian_of
from lowerbound.compression.coder import Stack, rounded
from lowerbound.compression.entries import Entries, Numbers
from lowerbound.compression.growth import grown
from lowerbound.compression.lengths import Lengths
from lowerbound.compression.message import Message, shares_of
from lowerbound.compression.sequences import CodedSequences, SequencesCode
from lowerbound.core import Batch
from lowerbound.models.masked import MaskedModel
from lowerbound.models.sequence import SequenceModel


@dataclass
class MaskedStep(OneLevel):
    """A step whose columns depend on those before them."""

    model: MaskedModel  # pyright: ignore[reportIncompatibleVariableOverride]

    def push_x(self, stack: Stack, x: Entries, given: MaskedModel, z: Tensor) -> None:
        """Push the columns of x, the last one first."""
        if not x.observed[:, x.counted].all():
            raise NotCodableError("columns that depend on each other have to be observed: fill the gaps")
        columns, logits = zip(*given.unroll(x.batch().seen, z[None]), strict=True)
        stack.push_bits(x.k[:, columns].T, _p(torch.cat(logits)))

    def pop_x(self, stack: Stack, x: Entries, given: MaskedModel, z: Tensor) -> None:
        """Pop the columns of x."""
        seen = torch.zeros(x.k.shape, dtype=torch.float64)
        for column, logit in given.unroll(seen, z[None]):
            x.k[:, column] = stack.pop_bits(_p(logit[0]))
            seen[:, column] = torch.from_numpy(x.k[:, column])


@dataclass(frozen=True)
class SequenceBlocks:
    """Blocks of sequences as messages, and back.

    Attributes
    ----------
    model : SequenceModel
    step : OneLevel
        Of a step given d_t.
    rows : SequencesCode
    most : int
        Sequences that go through the networks together.
    """

    model: SequenceModel
    step: OneLevel
    rows: SequencesCode
    most: int

    def write(self, block: CodedSequences, context: Tensor | None) -> Message:
        """Sequences as a message."""
        steps, gaps = block.steps, shares_of(block.steps.observed)
        is_aside = not np.isnan(steps.aside).all()  # at places that are counted in steps, so lengths have to be known
        lengths = Lengths.of(block.lengths) if is_aside or not self.rows.has_ends else None

        def push(stack: Stack, rows: slice) -> None:
            unit = Unit(steps, block.starts[rows], block.lengths[rows], self.rows.counted, gaps)
            self._push(stack, unit, ends=lengths is None)

        how, stack = grown(push, len(block), self.most, has_latents=self.model.step.latent_dim > 0)
        if lengths is not None:
            lengths.push(stack, block.lengths)
        about = [len(steps), len(block.apart), lengths and astuple(lengths)]
        apart = json.dumps(about, separators=(",", ":")).encode() + b"\n" + block.apart + steps.apart
        return Message(how, steps.low, steps.high, gaps, apart, stack.words)

    def _push(self, stack: Stack, unit: Unit, *, ends: bool) -> None:
        """Push some sequences."""
        d = self.states(unit)
        for time in reversed(range(len(unit))):
            self.push_ends(stack, unit, time, d[time + 1], ends=ends)
            step = unit.entries(time, d[time][unit.kept(time)])
            self.step.encode(stack, step.batch(), step, begins=False)
            step.push_gaps(stack)

    def states(self, unit: Unit) -> list[Tensor]:
        """d_1, then the d after every step, of all that have the step."""
        found = [self.begin(len(unit.lengths))]
        for time in range(len(unit)):
            found.append(self.onward(unit.entries(time, found[time][unit.kept(time)]).batch()))
        return found

    def moments(self, unit: Unit) -> tuple[Tensor, Tensor]:
        """Means and deviations of q(z_t|d_t, x_t) of all steps."""
        d = self.states(unit)
        steps = [unit.entries(time, d[time][unit.kept(time)]).batch() for time in range(len(unit))]
        q = [gaussian_of(self.step.posterior(step)) for step in steps]
        return torch.cat([each.mean for each in q]), torch.cat([each.scale for each in q])

    def push_ends(self, stack: Stack, unit: Unit, time: int, after: Tensor, *, ends: bool) -> None:
        """Push which sequences go on after a step, if this is how their ends are told."""
        if ends:
            stack.push_bits(unit.kept(time + 1).numpy(), self._goes_on(after))

    def read(self, message: Message, n_rows: int, context: Tensor | None) -> CodedSequences:
        """The inverse of ``write``; k of entries aside is 0."""
        about, _, apart = message.apart.partition(b"\n")
        n_steps, n_apart, known = json.loads(about)
        times, apart = apart[:n_apart], apart[n_apart:]
        stack = Stack(message.words)
        lengths = None if known is None else Lengths(*known).pop(stack, n_rows)
        numbers, aside = self.rows.steps.begin(0 if lengths is None else int(lengths.sum()), apart)
        popped = Popped(numbers, aside, message, lengths, n_steps)
        for first, last in reversed(message.steps.ranges(n_rows)):
            self._pop(stack, np.arange(first, last), popped)
        k, observed, lengths = popped.in_order(n_rows)
        aside = aside if known is not None else np.broadcast_to(np.nan, k.shape)
        return CodedSequences(CodedBlock(numbers, k, observed, aside, message.low, message.high, apart), lengths, times)

    def _pop(self, stack: Stack, rows: np.ndarray, popped: Popped) -> None:
        """Pop some sequences."""
        d, time = self.begin(len(rows)), 0
        while len(rows):
            step = popped.begin(rows, time, self.rows.counted, d)
            step.pop_gaps(stack)
            d = self.onward(self.step.decode(stack, len(rows), d, step, begins=False))
            further = self.pop_ends(stack, rows, time, d, popped)
            d, rows, time = d[torch.from_numpy(further)], rows[further], time + 1

    def pop_ends(self, stack: Stack, rows: np.ndarray, time: int, after: Tensor, popped: Popped) -> np.ndarray:
        """True for the sequences that go on after a step."""
        if popped.lengths is None:
            return stack.pop_bits(self._goes_on(after)) == 1
        return popped.lengths[rows] > time + 1

    def begin(self, n: int) -> Tensor:
        """d_1 of n sequences, (n, H)."""
        return self.model.past.first.expand(n, -1)

    def onward(self, step: Batch) -> Tensor:
        """d after a step, rounded, so that differences in its last digits don't grow."""
        missing = None if step.missing is None else step.missing[:, None]
        one = Batch(step.x[:, None], step.mask[:, None], step.index, complete=step.complete, missing=missing)
        past = self.model.past
        h, last = past(one, step.context)[:, -1].tensor_split([past.hidden_size - past.last.n_values], -1)
        return torch.cat([rounded(h), last], -1)

    def _goes_on(self, d: Tensor) -> np.ndarray:
        """The probabilities that sequences go on, (n,)."""
        assert self.model.ends is not None
        return _p(self.model.ends(d).squeeze(-1))


def _p(logits: Tensor) -> np.ndarray:
    return rounded(logits).sigmoid().numpy()


@dataclass(frozen=True)
class Unit:
    """Sequences that are coded together.

    Attributes
    ----------
    steps : CodedBlock
        Of all sequences.
    starts, lengths : ndarray of int64, shape (B,)
    counted, gaps : ndarray
        As in ``Entries``.
    """

    steps: CodedBlock
    starts: np.ndarray
    lengths: np.ndarray
    counted: np.ndarray
    gaps: np.ndarray | None

    def __len__(self) -> int:
        return int(self.lengths.max())

    def rows(self, time: int) -> np.ndarray:
        """The places of the sequences that have a step."""
        return np.flatnonzero(self.lengths > time)

    def kept(self, time: int) -> Tensor:
        """True for those that have this step, of the sequences that have the step before."""
        return torch.from_numpy(self.lengths[self.lengths > time - 1] > time)

    def entries(self, time: int, context: Tensor) -> Entries:
        """A step of all that have it, given its context."""
        s, at = self.steps, (self.starts + time)[self.lengths > time]
        ends = (s.low, s.high, self.counted, self.gaps)
        return Entries(s.numbers, s.k[at], s.observed[at], s.aside[at], *ends, context)


@dataclass
class Popped:
    """Steps that were popped, in the order in which they were; ``n_left`` are to come."""

    numbers: Numbers
    aside: np.ndarray
    message: Message
    lengths: np.ndarray | None
    n_left: int
    steps: list[tuple[np.ndarray, int, Entries]] = field(default_factory=list)

    def begin(self, rows: np.ndarray, time: int, counted: np.ndarray, d: Tensor) -> Entries:
        """The entries of a step, which are to be popped."""
        self.n_left -= len(rows)
        if self.n_left < 0:
            raise ValueError("there are more steps than were written")
        shape = (len(rows), *counted.shape)
        aside: Any = np.broadcast_to(np.nan, shape)
        if self.lengths is not None:
            aside = self.aside[(np.cumsum(self.lengths) - self.lengths)[rows] + time]
        k, observed, gaps = np.zeros(shape, np.int64), np.ones(shape, bool), self.message.gaps
        step = Entries(self.numbers, k, observed, aside, self.message.low, self.message.high, counted, gaps, d)
        self.steps.append((rows, time, step))
        return step

    def in_order(self, n_rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """k and observed of all steps, one sequence after another, and the lengths."""
        rows, times, steps = zip(*self.steps, strict=True)
        row = np.concatenate(rows)
        order = np.lexsort((np.repeat(times, list(map(len, rows))), row))
        k, observed = (np.concatenate([getattr(step, name) for step in steps])[order] for name in ("k", "observed"))
        return k, observed, np.bincount(row, minlength=n_rows)
