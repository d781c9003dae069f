"""The networks that read a sequence: a vector for the past of every step, and one for what is still to come."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from lowerbound.core import Batch
from lowerbound.distributions.noise import Noise
from lowerbound.nn.last import LastValues
from lowerbound.nn.recurrent import gru, largest_and_last


def within(batch: Batch) -> Tensor:
    """True for the steps within the length of their sequence, observed or not, shape (B, T)."""
    entries = batch.mask if batch.missing is None else batch.mask | batch.missing
    return entries.any(-1)


def dropped(values: Tensor, rate: float, noise: Noise | None) -> Tensor:
    """Each number 0 with probability ``rate``, else divided by 1 − ``rate``; all as they are without noise.

    Srivastava et al., 2014, "Dropout: a simple way to prevent neural networks from overfitting".
    """
    if noise is None or not rate:
        return values
    kept = noise.uniform((1, *values.shape), values)[0] >= rate
    return values * kept / (1 - rate)


def numbers_of(inputs: nn.Module, batch: Batch, n_gaps: int) -> Tensor:
    """Numbers that a network reads of the steps of a batch, (B, T, V); of a gap zeros, and that it is missing."""
    seen, x = inputs(batch.seen.flatten(0, 1), batch.mask.flatten(0, 1)).flatten(1), batch.x
    seen = seen.unflatten(0, x.shape[:2])
    if not n_gaps:
        return seen
    gaps = torch.zeros_like(x) if batch.missing is None else batch.missing.to(x.dtype)
    return torch.cat([seen, gaps], -1)


class PastGRU(nn.Module):
    """h_1 learned, h_{t+1} = GRU(h_t, x_t): d_t = h_t depends on x_1, …, x_{t−1} and on no other.

    What changes little from step to step is told by the last values, which a bounded h_t can hold but roughly. So d_t
    also has those of some columns.

    Parameters
    ----------
    inputs : Module
        ``(x, mask)`` of steps (N, F) → the F' numbers that are read of each, zeros where nothing was observed.
    n_inputs : int
        F'.
    hidden_size : int
        H.
    generator : torch.Generator
        Draws the weights.
    n_gaps : int
        Indicators of missing entries that are read beside them; 0 for data without gaps.
    last : LastValues, optional
        The columns whose last values d_t has.

    Attributes
    ----------
    hidden_size : int
        Of d: H and the numbers of ``last``.
    """

    def __init__(
        self, inputs: nn.Module, n_inputs: int, hidden_size: int, generator: torch.Generator, n_gaps: int = 0,
        last: LastValues | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.inputs: nn.Module
        self.last: LastValues
        self.inputs, self.last = inputs, last or LastValues()
        self.hidden_size: int = hidden_size + self.last.n_values
        self.recurrence: nn.GRU = gru(n_inputs + n_gaps, hidden_size, generator)
        self.first: nn.Parameter = nn.Parameter(torch.cat([torch.zeros(hidden_size), self.last.start()]))
        self.n_gaps: int = n_gaps

    def forward(
        self, batch: Batch, start: Tensor | None = None, dropout: float = 0.0, noise: Noise | None = None
    ) -> Tensor:
        """The states before every step, and after the last.

        Parameters
        ----------
        batch : Batch
            B sequences, x of shape (B, T, F).
        start : Tensor, shape (B, hidden_size), optional
            The state before the first step; d_1 by default.
        dropout : float
            Share of the numbers read that is set to 0.
        noise : Noise, optional
            Says which; none are without it.

        Returns
        -------
        Tensor, shape (B, T + 1, hidden_size)
            d_1, …, d_{T+1}.
        """
        start = self.first.expand(len(batch.x), -1) if start is None else start
        seen = dropped(numbers_of(self.inputs, batch, self.n_gaps), dropout, noise)
        h, last = start.tensor_split([self.hidden_size - self.last.n_values], -1)
        later, _ = self.recurrence(seen, h[None].contiguous())
        if self.last.n_values:
            later = torch.cat([later, self.last(batch, last)], -1)
        return torch.cat([start.unsqueeze(1), later], 1)

    def dropped(self, d: Tensor, rate: float, noise: Noise | None) -> Tensor:
        """d (N, ·) without some of the numbers of h; the last values stay."""
        h, last = d.tensor_split([self.hidden_size - self.last.n_values], -1)
        return torch.cat([dropped(h, rate, noise), last], -1)


class BackwardGRU(nn.Module):
    """a_t = GRU(a_{t+1}, v_t) from the end of each sequence: a_t depends on v_t, …, v_T and on no padding.

    Parameters
    ----------
    n_inputs, hidden_size : int
    generator : torch.Generator
        Draws the weights.
    """

    def __init__(self, n_inputs: int, hidden_size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.n_inputs: int = n_inputs
        self.recurrence: nn.GRU = gru(n_inputs, hidden_size, generator)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """The states of every step, (B, T, H), of inputs (B, T, V); behind the end they have no meaning."""
        place = lengths[:, None] - 1 - torch.arange(inputs.shape[1], device=inputs.device)
        reverse = place.where(place >= 0, torch.arange(inputs.shape[1], device=inputs.device))[..., None]
        backward, _ = self.recurrence(inputs.take_along_dim(reverse, 1))
        return backward.take_along_dim(reverse, 1)


class SequenceReader(nn.Module):
    """A sequence of steps → features: the largest of each state of a GRU over time, and its last.

    Parameters
    ----------
    inputs, n_inputs, hidden_size, generator, n_gaps
        As in ``PastGRU``.
    """

    def __init__(
        self, inputs: nn.Module, n_inputs: int, hidden_size: int, generator: torch.Generator, n_gaps: int = 0
    ) -> None:
        super().__init__()
        self.inputs: nn.Module = inputs
        self.n_features, self.n_gaps = 2 * hidden_size, n_gaps
        self.recurrence: nn.GRU = gru(n_inputs + n_gaps, hidden_size, generator)

    def forward(self, batch: Batch) -> Tensor:
        """Features of B sequences, (B, 2H)."""
        return largest_and_last(self.states(batch), within(batch))

    def states(self, batch: Batch) -> Tensor:
        """The states after every step, (B, T, H)."""
        return self.recurrence(numbers_of(self.inputs, batch, self.n_gaps))[0]


def goes_on(hidden_size: int, start: float) -> nn.Linear:
    """The logit that a sequence goes on, from d; at first ``start`` whatever d is."""
    layer = skip_init(nn.Linear, hidden_size, 1)
    assert isinstance(layer, nn.Linear)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, start)
    return layer
