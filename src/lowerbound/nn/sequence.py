"""The network that reads a sequence: a vector for the past of every step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from lowerbound.nn.recurrent import gru


class PastGRU(nn.Module):
    """d_1 learned, d_{t+1} = GRU(d_t, x_t): d_t depends on x_1, …, x_{t−1} and on no other.

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
    """

    def __init__(
        self, inputs: nn.Module, n_inputs: int, hidden_size: int, generator: torch.Generator, n_gaps: int = 0
    ) -> None:
        super().__init__()
        self.inputs: nn.Module
        self.hidden_size: int
        self.inputs, self.hidden_size = inputs, hidden_size
        self.recurrence: nn.GRU = gru(n_inputs + n_gaps, hidden_size, generator)
        self.first: nn.Parameter = nn.Parameter(torch.zeros(hidden_size))
        self.n_gaps: int = n_gaps

    def forward(self, x: Tensor, mask: Tensor, missing: Tensor | None, start: Tensor | None = None) -> Tensor:
        """The states before every step, and after the last.

        Parameters
        ----------
        x, mask : Tensor, shape (B, T, F)
        missing : Tensor of bool, shape (B, T, F), or None
            True for gaps; None where there are none.
        start : Tensor, shape (B, H), optional
            The state before the first step; d_1 by default.

        Returns
        -------
        Tensor, shape (B, T + 1, H)
            d_1, …, d_{T+1}.
        """
        start = self.first.expand(len(x), -1) if start is None else start
        seen = self.inputs(x.flatten(0, 1), mask.flatten(0, 1)).flatten(1).unflatten(0, x.shape[:2])
        if self.n_gaps:
            gaps = torch.zeros_like(x) if missing is None else missing.to(x.dtype)
            seen = torch.cat([seen, gaps], -1)
        later, _ = self.recurrence(seen, start[None].contiguous())
        return torch.cat([start.unsqueeze(1), later], 1)


def goes_on(hidden_size: int, start: float) -> nn.Linear:
    """The logit that a sequence goes on, from d; at first ``start`` whatever d is."""
    layer = skip_init(nn.Linear, hidden_size, 1)
    assert isinstance(layer, nn.Linear)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, start)
    return layer
