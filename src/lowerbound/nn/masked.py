"""A masked network: logits of every column from the columns before it, and from a context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear as affine

from lowerbound.nn.initialization import branch, linear


class MaskedMLP(nn.Module):
    """Logits of columns x_1, …, x_F, the i-th of c and x_<i alone (MADE: Germain et al., 2015, arXiv:1502.03509).

    Hidden unit k reads the first n_k columns, n_k being spread evenly from 0 to F − 1, and the logits of the columns
    from x_{n_k + 1} on read it. The logits are zeros at first.

    Parameters
    ----------
    n_columns, n_context : int
        F, and the numbers of c.
    hidden_size : int
        Hidden units.
    generator : torch.Generator
        Draws the weights.
    """

    def __init__(self, n_columns: int, n_context: int, hidden_size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.of_columns: nn.Linear = linear(n_columns, hidden_size, generator)
        self.of_context: nn.Linear = linear(n_context, hidden_size, generator)
        self.output: nn.Linear = linear(hidden_size, n_columns, generator)
        self.direct: nn.Linear = linear(n_columns, n_columns, generator)
        branch(self.output)
        branch(self.direct)
        n_read, column = torch.arange(hidden_size) * n_columns // hidden_size, torch.arange(n_columns)
        self.reads: Tensor
        self.is_read: Tensor
        self.before: Tensor
        self.register_buffer("reads", column < n_read[:, None], persistent=False)
        self.register_buffer("is_read", n_read <= column[:, None], persistent=False)
        self.register_buffer("before", column < column[:, None], persistent=False)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Columns x (…, F) and c (S, B, C) to logits (S, B, F)."""
        hidden = affine(x, self.of_columns.weight * self.reads) + self.of_context(context)
        direct = affine(x, self.direct.weight * self.before)
        return self.output_of(nn.functional.silu(hidden)) + direct

    def unroll(self, x: Tensor, context: Tensor, columns: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """Yield some columns and the logits of each (S, B), in order; all others are 0.

        Column i of ``x`` (…, B, F) is read only after its logits were yielded, so that the caller can write it before.
        A hidden unit adds to the logits as soon as it has read all of its columns.
        """
        read = (self.of_columns.weight * self.reads).mT.contiguous()  # a row for each column
        direct = (self.direct.weight * self.before).mT.contiguous()
        output = (self.output.weight * self.is_read).mT.contiguous()  # a row for each hidden unit
        n_read, logits, first = self.reads.sum(1), self.output.bias, 0
        ends = torch.searchsorted(n_read, torch.tensor(columns, device=n_read.device), right=True).tolist()
        hidden = self.of_context(context)  # of the units from ``first`` on
        for i, last in zip(columns, ends, strict=True):
            logits = logits + nn.functional.silu(hidden[..., : last - first]) @ output[first:last]
            yield i, logits[..., i]
            hidden = hidden[..., last - first :] + x[..., i, None] * read[i, last:]
            logits, first = logits + x[..., i, None] * direct[i], last

    def output_of(self, hidden: Tensor) -> Tensor:
        """The part of the logits that comes from the hidden units (…, K)."""
        return affine(hidden, self.output.weight * self.is_read, self.output.bias)
