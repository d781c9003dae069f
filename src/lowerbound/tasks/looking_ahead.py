"""Nearness of a value in a gap to the next one observed, for the weights of particles."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lowerbound.core import Batch
from lowerbound.nn.last import LARGEST

LONGEST = 64  # steps ahead, for which mean squares of differences are told apart
FEWEST = 3  # pairs of values that these are means of
DF = 4.0  # of Student's t


@dataclass(frozen=True)
class LookAhead:
    """log ψ_t(x_t) = Σ_j log t_4((y_j − x_tj)/√V_jk), y_j the next value observed of column j, k steps ahead.

    V_jk is the mean square of x_{t+k} − x_t among the values observed, or the variance of x_tj over the particles if
    that is larger: where series are at rest, none of these would come near. What is no number has no next value.

    Attributes
    ----------
    numbers : Tensor of int64, shape (G,)
        The columns of numbers that have gaps.
    following : Tensor, shape (B, T, G)
        y; anything where there is none.
    scale : Tensor, shape (B, T, G)
        V_jk; infinite where nothing follows, or the value is observed.
    """

    numbers: Tensor
    following: Tensor
    scale: Tensor

    @classmethod
    def of(cls, batch: Batch, numbers: Tensor) -> LookAhead:
        """The values that follow the gaps of sequences, for the columns ``numbers``."""
        assert batch.missing is not None
        numbers = numbers[batch.missing[..., numbers].any(0).any(0)]
        x, missing = batch.x[..., numbers], batch.missing[..., numbers]
        known = batch.mask[..., numbers] & (x.abs() < LARGEST)
        T = x.shape[1]
        time = torch.arange(T, device=x.device)[:, None]
        next_place = torch.where(known, time, T).flip(1).cummin(1).values.flip(1)
        steps = (next_place - time).clamp(1, LONGEST)
        longest = int(steps.max()) if steps.numel() else 1
        squares = torch.stack([_mean_square(x, known, k) for k in range(1, longest + 1)])
        scale = squares[steps - 1, torch.arange(len(numbers), device=x.device)]
        following = x.gather(1, next_place.clamp_max(T - 1))
        return cls(numbers, following, torch.where(missing & (next_place < T), scale, torch.inf))

    def at(self, time: int, x: Tensor) -> Tensor:
        """log ψ_t of particles (B, n, P, F) at step ``time``, shape (B, n, P), up to what is the same for all."""
        x = x[..., self.numbers]
        if not len(self.numbers):
            return x.sum(-1)
        y, scale = (each[:, time, None, None] for each in (self.following, self.scale))
        numbers = x.where(x.abs() < LARGEST, 0.0)
        scale = torch.maximum(scale, numbers.flatten(1, 2).var(1, correction=0)[:, None, None])
        distance = torch.where(x.abs() < LARGEST, (y - x).square() / scale, 0.0)
        return -0.5 * (DF + 1) * (distance / DF).log1p().sum(-1)


def _mean_square(x: Tensor, known: Tensor, k: int) -> Tensor:
    """The mean square of x_{t+k} − x_t of each column; infinite where few pairs are known."""
    both = known[:, k:] & known[:, :-k]
    squares = torch.where(both, x[:, k:] - x[:, :-k], 0.0).square().sum((0, 1))
    n = both.sum((0, 1))
    return torch.where(n >= FEWEST, (squares / n.clamp_min(1)).clamp_min(1e-6), torch.inf)
