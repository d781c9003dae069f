"""What steadies a training: weights averaged over the steps, and gradients kept from being absurd."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

ABSURD = 10.0  # a gradient longer than so many usual ones is no step to take
USUAL_DECAY = 0.99  # of the running mean of the gradient's norm


class Average:
    """An exponential moving average of the weights (Polyak & Juditsky, 1992), to validate, use and save.

    Its decay rises to ``decay`` as (1 + t)/(10 + t), so that the first, random weights are soon forgotten.

    Parameters
    ----------
    parameters : sequence of Parameter
        The weights that are trained.
    decay : float
        Part of the average that a step keeps.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters, self.decay = list(parameters), decay
        self.others = [p.detach().clone() for p in parameters]  # the average, or the trained weights while it is shown
        self.shown = False

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After step number ``step``: w̄ ← d w̄ + (1 − d) w."""
        decay = min(self.decay, (1 + step) / (10 + step))
        weights = [p.detach() for p in self.parameters]
        torch._foreach_lerp_(self.others, weights, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]

    @torch.no_grad()
    def show(self, shown: bool) -> None:
        """Let the modules hold the average, or the weights that are trained."""
        if shown == self.shown:
            return
        for parameter, other in zip(self.parameters, self.others, strict=True):
            held = parameter.detach().clone()
            parameter.copy_(other)
            other.copy_(held)
        self.shown = shown

    @contextmanager
    def showing(self) -> Iterator[None]:
        """The average inside, the trained weights again outside."""
        self.show(True)
        try:
            yield
        finally:
            self.show(False)

    def state(self) -> dict[str, Tensor]:
        """The average, for a checkpoint of a training that goes on."""
        return {str(i): average for i, average in enumerate(self.others)}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Continue from what ``state`` gave."""
        for i, average in enumerate(self.others):
            average.copy_(tensors[str(i)])


class Clipping:
    """Gradients at most so long, and no step at all along absurd ones.

    A gradient is absurd if its norm isn't finite, or is more than ten times the usual one; what is usual follows the
    norms that come, so that it can't be wrong for ever. Nothing waits for the device.

    Parameters
    ----------
    parameters : sequence of Parameter
    longest : float
        The norm, over all parameters together, beyond which a gradient is shortened (Pascanu et al., 2013,
        arXiv:1211.5063).
    """

    def __init__(self, parameters: Sequence[nn.Parameter], longest: float) -> None:
        self.parameters, self.longest = list(parameters), longest
        device = self.parameters[0].device
        self.usual, self.norm, self.skipped = (torch.zeros((), device=device) for _ in range(3))

    @torch.no_grad()
    def shorten(self) -> Tensor:
        """Scale the gradients where they lie; 1 if this step must not be taken, else 0 (shape ())."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        self.norm = norm = nn.utils.get_total_norm(gradients).float()
        usual = torch.where(self.usual > 0, self.usual, norm)  # one of 0 would forbid all others
        absurd = ~(norm <= ABSURD * usual)
        nn.utils.clip_grads_with_norm_(self.parameters, self.longest, norm)
        seen = torch.where(norm.isfinite(), norm.minimum(ABSURD * usual), usual)
        self.usual = torch.where(usual.isfinite(), USUAL_DECAY * usual + (1 - USUAL_DECAY) * seen, 0.0)
        self.skipped += absurd
        return absurd.float()

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {"usual": self.usual, "skipped": self.skipped}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Continue from what ``state`` gave."""
        self.usual, self.skipped = (tensors[k].to(self.usual.device) for k in ("usual", "skipped"))
