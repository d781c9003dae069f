"""The last values of the columns of a sequence, and what they tell of the next ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowerbound.core import Batch
from lowerbound.distributions.atoms import is_atom, value_of
from lowerbound.distributions.unseen import is_unseen
from lowerbound.nn.inputs import drawn_in

NONE = -3.0  # in place of a last category where there is none
LARGEST = 500.0  # standard deviations: beyond are codes of a point mass and of values never seen


class LastValues(nn.Module):
    """The last values observed of some columns up to every step.

    For a column of real numbers the last one, and how it changed from the one observed before; for one of categories
    the place of the last.

    Parameters
    ----------
    numbers : sequence of int
        The places of columns of real numbers.
    atoms : ndarray, shape (len(numbers), M), optional
        The numbers that their atoms stand for; NaN for those that are skipped.
    categories : sequence of int
        The places of columns of categories 0, 1, …
    n_shown : sequence of int
        Those of each column that are told apart; the last one stands for all after it.
    all_seen : bool
        No category is one that was never seen in the fit.

    Attributes
    ----------
    n_values : int
        V = 2 len(numbers) + len(categories).
    """

    numbers: Tensor
    atoms: Tensor
    categories: Tensor
    greatest: Tensor

    def __init__(
        self, numbers: Sequence[int] = (), atoms: np.ndarray | None = None, categories: Sequence[int] = (),
        n_shown: Sequence[int] = (), *, all_seen: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.all_seen = all_seen
        atoms = np.full((len(numbers), 1), np.nan) if atoms is None else atoms
        buffers = {
            "numbers": torch.tensor(numbers, dtype=torch.int64), "atoms": torch.from_numpy(atoms).float(),
            "categories": torch.tensor(categories, dtype=torch.int64),
            "greatest": torch.tensor(n_shown, dtype=torch.float32) - 1,
        }  # fmt: skip
        for name, values in buffers.items():
            self.register_buffer(name, values, persistent=False)
        self.sizes: list[int] = [len(numbers), len(numbers), len(categories)]
        self.n_values: int = sum(self.sizes)

    def start(self) -> Tensor:
        """The numbers in place of last values where there are none, (V,)."""
        return torch.cat([torch.zeros(2 * len(self.numbers)), torch.full((len(self.categories),), NONE)])

    def forward(self, batch: Batch, before: Tensor) -> Tensor:
        """Numbers, their changes, and places of categories spread over [−1, 1], (B, T, V), from those before (B, V)."""
        last_number, last_change, last_place = before.split(self.sizes, -1)
        if self.all_seen and batch.missing is None:  # whatever is behind the ends has no meaning
            return self._places(batch)
        x, observed = batch.x[..., self.numbers], batch.mask[..., self.numbers]
        x = torch.where(is_atom(x), value_of(x, self.atoms.to(x.dtype)), x)
        known = observed & (x.abs() < LARGEST)
        x = drawn_in(torch.where(known, x, 0.0))
        last = latest(x, known, last_number)
        change = x - torch.cat([last_number.unsqueeze(1), last[:, :-1]], 1)
        has_place = batch.mask[..., self.categories] & ~is_unseen(batch.x[..., self.categories])
        places = latest(self._places(batch), has_place, last_place)
        return torch.cat([last, latest(change, known, last_change), places], -1)

    def _places(self, batch: Batch) -> Tensor:
        """The places of categories of every step, spread over [−1, 1], (B, T, ·)."""
        k = batch.x[..., self.categories]
        return spread(k.minimum(self.greatest.to(k.dtype)), self.greatest)


def latest(values: Tensor, known: Tensor, before: Tensor) -> Tensor:
    """The last known one of values (B, T, ·) up to every step, same shape; ``before`` (B, ·) where none is."""
    time = torch.arange(values.shape[1], device=values.device)[:, None]
    place = torch.where(known, time, -1).cummax(1).values
    return torch.where(place >= 0, values.gather(1, place.clamp_min(0)), before.unsqueeze(1))


def spread(k: Tensor, greatest: Tensor) -> Tensor:
    """Places 0, …, K − 1 of categories as numbers from −1 to 1."""
    return 2 * k / greatest.clamp_min(1) - 1


class WithLast(nn.Module):
    """The output of a network, and a simple function of the last values: the network need not tell what changes little.

    network(v) + W w, with w the last numbers and their changes. The logit of a category k after the category l also
    has a 1[k = l] and, where their order has a meaning, − e (b + c e) with the distance e = |k − l|, drawn in. W, a, b
    and c are learned, from 0 on.

    Parameters
    ----------
    network : Module
        (N, V) → (N, *output), V with the last values at the end.
    last : LastValues
    n_outputs : int
        Numbers of the output.
    logits : sequence of mapping
        For each of its columns of categories the places in the output of the logits of some of them.
    ordered : sequence of bool
        The columns of categories whose order has a meaning.
    """

    column: Tensor
    level: Tensor
    place: Tensor
    greatest: Tensor
    ordered: Tensor

    def __init__(
        self, network: nn.Module, last: LastValues, n_outputs: int, logits: Sequence[Mapping[int, int]],
        ordered: Sequence[bool],
    ) -> None:  # fmt: skip
        super().__init__()
        self.network: nn.Module
        n = 2 * len(last.numbers)
        self.network, self.n_numbers, self.n_places = network, n, len(logits)
        self.weight: nn.Parameter = nn.Parameter(torch.zeros(n_outputs, n))  # W
        buffers = {
            "column": [j for j, places in enumerate(logits) for _ in places],
            "level": [k for places in logits for k in places],
            "place": [place for places in logits for place in places.values()],
        }
        for name, values in buffers.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.int64), persistent=False)
        self.register_buffer("greatest", last.greatest, persistent=False)
        self.register_buffer("ordered", torch.tensor(ordered, dtype=torch.float32), persistent=False)
        self.has_order: bool = any(ordered)
        self.nearness: nn.Parameter = nn.Parameter(torch.zeros(3, len(logits)))  # a, b and c

    def forward(self, v: Tensor) -> Tensor:
        """(N, V) → (N, *output)."""
        w_and_l = v[:, v.shape[1] - self.n_numbers - self.n_places :]
        out, (numbers, places) = self.network(v), w_and_l.tensor_split([self.n_numbers], 1)
        flat = out.flatten(1) + F.linear(numbers, self.weight)
        if self.n_places:
            flat = flat.index_add(1, self.place, self._near(places).to(flat.dtype))
        return flat.view_as(out)

    def _near(self, last: Tensor) -> Tensor:
        """The terms that are added to the logits of the categories, (N, ΣK)."""
        distance = (self.level - (last[:, self.column] + 1) / 2 * self.greatest[self.column]).abs()
        same, slope, curve = self.nearness
        near = same[self.column] * (distance < 0.5)
        if self.has_order:
            e = drawn_in(distance)  # or one jump would decide over all steps
            near = near - (self.ordered * slope)[self.column] * e - (self.ordered * curve)[self.column] * e.square()
        return torch.where((last > (NONE - 1) / 2)[:, self.column], near, 0.0)


class WithoutEnd(nn.Module):
    """A network that reads all but the last n numbers of its input (N, ·); other arguments are handed on."""

    def __init__(self, network: nn.Module, n: int) -> None:
        super().__init__()
        self.network: nn.Module
        self.network, self.n = network, n

    def forward(self, v: Tensor, *others: Tensor) -> Tensor:
        """The network's output."""
        return self.network(v[:, : v.shape[1] - self.n], *others)
