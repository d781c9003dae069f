"""AdamW, whose step can be skipped without waiting for the device."""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class AdamW(torch.optim.AdamW):
    """torch's fused AdamW, without its overhead before every step.

    All weights share one count of steps; ``state_dict`` has the form of torch's AdamW.

    Parameters
    ----------
    weights : sequence of Parameter
        All on one device, of one type.
    lr, weight_decay : float
    """

    def __init__(self, weights: Sequence[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(weights, lr=lr, weight_decay=weight_decay, fused=True)
        self.weights: list[nn.Parameter] = list(weights)
        self.count: Tensor = torch.zeros((), device=self.weights[0].device)
        for weight in self.weights:
            slots = {name: torch.zeros_like(weight) for name in ("exp_avg", "exp_avg_sq")}
            self.state[weight] = {"step": self.count, **slots}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a ``state_dict``, copied into the present tensors."""
        for i, weight in enumerate(self.weights):
            for name, value in self.state[weight].items():
                value.copy_(state_dict["state"][i][name])

    def moments(self, weights: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """The running means of the gradient and of its square."""
        slots = [self.state[weight] for weight in weights]
        return [own["exp_avg"] for own in slots], [own["exp_avg_sq"] for own in slots]

    @torch.no_grad()
    def move(self, lr: float, skip: Tensor) -> None:
        """Take the step, unless ``skip`` is 1, and clear the gradients."""
        weights: list[Tensor] = [weight for weight in self.weights if weight.grad is not None]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        self.count += 1
        group = self.param_groups[0]
        beta1, beta2 = group["betas"]
        torch._fused_adamw_(
            weights, gradients, *self.moments(weights), [], [self.count] * len(weights), lr=lr, beta1=beta1,
            beta2=beta2, weight_decay=group["weight_decay"], eps=group["eps"], amsgrad=False, maximize=False,
            grad_scale=None, found_inf=skip,
        )  # fmt: skip
        self.count -= skip
        for weight in weights:
            weight.grad = None
