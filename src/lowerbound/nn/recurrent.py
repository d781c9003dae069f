"""Recurrent networks that read a grid of entries in raster order, each output from the entries before it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowerbound.nn.initialization import linear

PLACE_SIZE = 16  # size of the embedding of an entry's place
CATEGORY_SIZE = 8  # largest size of the embedding of a category


@torch.no_grad()
def gru(n_in: int, n_hidden: int, generator: torch.Generator) -> nn.GRU:
    """A gated recurrent unit (Cho et al., 2014, arXiv:1406.1078, eqs. 5 to 8) for inputs ``(N, T, n_in)``.

    Input weights are drawn from U(±1/√n_in), the recurrent ones are orthogonal in each gate (Saxe et al., 2014,
    arXiv:1312.6120), biases are zero.
    """
    layer = nn.GRU(n_in, n_hidden, batch_first=True, device="meta").to_empty(device="cpu")  # skip_init takes no GRU
    weights = dict(layer.named_parameters())
    bound = 1 / math.sqrt(n_in)
    nn.init.uniform_(weights["weight_ih_l0"], -bound, bound, generator=generator)
    for gate in weights["weight_hh_l0"].chunk(3):
        nn.init.orthogonal_(gate, generator=generator)
    nn.init.zeros_(weights["bias_ih_l0"])
    nn.init.zeros_(weights["bias_hh_l0"])
    return layer


def largest_and_last(states: Tensor, within: Tensor) -> Tensor:
    """The largest of each state (B, T, H) over the time within the lengths, and its last, (B, 2H).

    The largest over time tells of steps wherever they stand, and so keeps a posterior that is made of it from
    forgetting all but the end (Long, Cao & Cheung, 2019, arXiv:1911.03976).
    """
    largest = states.masked_fill(~within.unsqueeze(-1), -math.inf).amax(1)
    return torch.cat([largest, states[torch.arange(len(states), device=states.device), within.sum(1) - 1]], -1)


class Number(nn.Module):
    """A real entry as a vector of length 1: (*) → (*, 1)."""

    size = 1

    def forward(self, x: Tensor) -> Tensor:
        """Add a dimension."""
        return x.unsqueeze(-1)


class Level(nn.Module):
    """An embedding of categories 0, …, K − 1: (*) → (*, V), with V = min(K, 8)."""

    def __init__(self, n_categories: int, generator: torch.Generator) -> None:
        super().__init__()
        self.size: int = min(n_categories, CATEGORY_SIZE)
        self.vectors: nn.Parameter = nn.Parameter(torch.randn(n_categories, self.size, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        """The embeddings of the categories."""
        return self.vectors[x.long()]


class RasterGRU(nn.Module):
    """A network of θ for every entry from the entries before it: row by row, each row from left to right.

        s_r   = GRU(s_{r−1}, x_{r−1})                                    the rows above, each read whole
        h_r,l = GRU(h_{r,l−1}, [x_{r,l−1}, x_{r−1, l−w … l+w}, e_{r,l}])    h_{r,−1} = tanh(A s_r)
        θ_r,l = C h_{r,l} + b_{r,l}

    with e_{r,l} learned for each place. θ_{r,l} depends on the entries before (r, l) in raster order and on no other.
    For a known x all rows run in parallel, so that there are R + L sequential steps instead of R·L; a draw of x takes
    R·L. A table is one row: s and the entries above are left out. The two layers are those of the Row LSTM (van den
    Oord et al., 2016, arXiv:1601.06759, section 3.1) with a recurrence in place of its convolutions.

    Parameters
    ----------
    grid_shape : (R, L)
    n_parameters : int
        P, the size of θ for an entry.
    hidden_size : int
        H, the size of s and h.
    view : Number or Level
        The input of V numbers for an entry; may be a sequence that ends in such a module.
    reach : int
        w.
    generator : torch.Generator
        Draws the weights.
    """

    def __init__(
        self, grid_shape: tuple[int, int], n_parameters: int, hidden_size: int, view: nn.Module, reach: int,
        generator: torch.Generator,
    ) -> None:  # fmt: skip
        super().__init__()
        (n_rows, length), n_values = grid_shape, view(torch.zeros(1)).shape[-1]
        self.view: nn.Module
        self.hidden_size: int
        self.reach: int
        self.view, self.hidden_size, self.reach = view, hidden_size, reach
        n_around = (2 * reach + 1) * n_values if n_rows > 1 else 0
        self.rows: nn.GRU | None = gru(length * n_values, hidden_size, generator) if n_rows > 1 else None
        self.start: nn.Linear | None = linear(hidden_size, hidden_size, generator) if n_rows > 1 else None
        self.within: nn.GRU = gru(n_values + n_around + PLACE_SIZE, hidden_size, generator)
        self.output: nn.Linear = linear(hidden_size, n_parameters, generator)
        self.place: nn.Parameter = nn.Parameter(torch.randn(n_rows, length, PLACE_SIZE, generator=generator))
        self.bias: nn.Parameter = nn.Parameter(torch.zeros(n_rows, length, n_parameters))

    def forward(self, x: Tensor) -> Tensor:
        """(B, R, L) → θ, (B, R, L, P)."""
        seen = self.view(x)  # (B, R, L, V)
        left = F.pad(seen, (0, 0, 1, 0))[:, :, :-1]
        above = F.pad(seen, (0, 0, 0, 0, 1, 0))[:, :-1]
        start, around, _ = self._begin(above)
        place = self.place.expand(len(x), *self.place.shape)
        context = torch.cat([left, around, place], -1)
        h, _ = self.within(context.flatten(0, 1), start.flatten(0, 1)[None])
        return self.output(h).unflatten(0, x.shape[:2]) + self.bias

    def unroll(self, x: Tensor) -> Iterator[tuple[int, int, Tensor]]:
        """Yield (r, l, θ_{r,l}) in raster order, θ of shape (B, P).

        Entry (r, l) of ``x`` (B, R, L) is read only after its θ was yielded, so that the caller can write it before.
        """
        n_rows, length, _ = self.place.shape
        state = None
        above = torch.zeros_like(self.view(x[:, :1]))
        for r in range(n_rows):
            start, around, state = self._begin(above, state)
            h, left = start.transpose(0, 1), torch.zeros_like(above[:, :, 0])
            for l in range(length):
                place = self.place[r, l].expand(len(x), 1, -1)
                out, h = self.within(torch.cat([left, around[:, :, l], place], -1), h.contiguous())
                yield r, l, self.output(out[:, 0]) + self.bias[r, l]
                left = self.view(x[:, r, l, None])
            above = self.view(x[:, r, None])

    def _begin(self, above: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """The initial state and context of n consecutive rows, from the rows above them (B, n, L, V).

        Returns
        -------
        start : Tensor, shape (B, n, H)
            h_{r,−1}.
        around : Tensor, shape (B, n, L, (2w + 1)V)
            x_{r−1, l−w … l+w} for every l.
        state : Tensor, shape (1, B, H)
            s of the last row.
        """
        if self.rows is None or self.start is None:
            return above.new_zeros(*above.shape[:2], self.hidden_size), above[..., :0], None
        s, state = self.rows(above.flatten(2), state)
        around = F.pad(above, (0, 0, self.reach, self.reach)).unfold(2, 2 * self.reach + 1, 1).flatten(3)
        return torch.tanh(self.start(s)), around, state
