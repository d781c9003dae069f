"""Stabilizers of training: averaging of the weights over the steps, and clipping of the gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

EXTREME = 10.0  # multiple of the usual norm beyond which a step is skipped
USUAL_DECAY = 0.99  # of the running mean of the gradient's norm


class Average:
    """An exponential moving average of the weights (Polyak & Juditsky, 1992), to validate, use and save.

    Its decay rises to ``decay`` as (1 + t)/(10 + t), so that the first, random weights soon lose their influence.

    Parameters
    ----------
    parameters : sequence of Parameter
        The weights that are trained.
    decay : float
        Weight of the average in an update.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters: list[nn.Parameter]
        self.decay: float
        self.parameters, self.decay = list(parameters), decay
        self.others: list[Tensor]
        self.others = [p.detach().clone() for p in parameters]  # the average, or the trained weights while it is shown
        self.shown: bool = False

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average after step number ``step``: w̄ ← d w̄ + (1 − d) w."""
        decay = min(self.decay, (1 + step) / (10 + step))
        weights = [p.detach() for p in self.parameters]
        torch._foreach_lerp_(self.others, weights, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]

    @torch.no_grad()
    def show(self, shown: bool) -> None:
        """Put the average, or the trained weights, into the modules."""
        if shown == self.shown:
            return
        for parameter, other in zip(self.parameters, self.others, strict=True):
            held = parameter.detach().clone()
            parameter.copy_(other)
            other.copy_(held)
        self.shown = shown

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Put the average into the modules within the context."""
        self.show(True)
        try:
            yield
        finally:
            self.show(False)

    def state(self) -> dict[str, Tensor]:
        """The average, for a checkpoint."""
        return {str(i): average for i, average in enumerate(self.others)}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Continue from the tensors of ``state``."""
        for i, average in enumerate(self.others):
            average.copy_(tensors[str(i)])


class Clipping:
    """Clipping of the gradients' norm; steps along extreme gradients are skipped.

    A gradient is extreme if its norm isn't finite, or is more than ten times a running mean of the norms, which extreme
    ones enter too. Nothing waits for the device.

    Parameters
    ----------
    parameters : sequence of Parameter
    longest : float
        The largest norm, over all parameters together; longer gradients are shortened to it (Pascanu et al., 2013,
        arXiv:1211.5063).
    """

    def __init__(self, parameters: Sequence[nn.Parameter], longest: float) -> None:
        self.parameters: list[nn.Parameter]
        self.longest: float
        self.parameters, self.longest = list(parameters), longest
        device = self.parameters[0].device
        self.usual: Tensor
        self.norm: Tensor
        self.skipped: Tensor
        self.usual, self.norm, self.skipped = (torch.zeros((), device=device) for _ in range(3))

    @torch.no_grad()
    def shorten(self) -> Tensor:
        """Scale the gradients in place; return 1 if the step must be skipped, else 0 (shape ())."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        self.norm = norm = nn.utils.get_total_norm(gradients).float()
        usual = torch.where(self.usual > 0, self.usual, norm)  # 0 would make all others extreme
        is_extreme = ~(norm <= EXTREME * usual)
        nn.utils.clip_grads_with_norm_(self.parameters, self.longest, norm)
        seen = torch.where(norm.isfinite(), norm.minimum(EXTREME * usual), usual)
        self.usual = torch.where(usual.isfinite(), USUAL_DECAY * usual + (1 - USUAL_DECAY) * seen, 0.0)
        self.skipped += is_extreme
        return is_extreme.float()

    def state(self) -> dict[str, Tensor]:
        """The tensors for a checkpoint."""
        return {"usual": self.usual, "skipped": self.skipped}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Continue from the tensors of ``state``."""
        self.usual, self.skipped = (tensors[k].to(self.usual.device) for k in ("usual", "skipped"))
