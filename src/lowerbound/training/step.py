"""One training step: the loss of a batch, AdamW; and loss, gradient and AdamW as one compiled graph.

A graph can't draw from a generator that is passed in. So the requests of one step for random numbers are recorded once,
and later steps draw them before the graph runs: the same numbers in the same order as without a graph.
"""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from lowerbound.core import Batch, Model, Objective, ObjectiveState
from lowerbound.distributions.noise import Noise
from lowerbound.precision import products_in
from lowerbound.training.optimizers import AdamW

# Since torch 2.13 graphs of one function may be kept apart; before, eight models in one program were the most.
KEPT_APART = "isolate_recompiles" in signature(torch.compile).parameters
APART: dict[str, Any] = {"isolate_recompiles": True} if KEPT_APART else {}
CHANGING = ("batch", "state")  # the arguments of a graph that differ from step to step
Request = tuple[Callable[..., Tensor], Sequence[int], Tensor]  # how to draw, the shape, an example of its type


class BatchLoss(nn.Module):
    """The loss of a batch as the forward pass of one module, which DDP can replicate."""

    def __init__(self, model: Model, posterior: nn.Module, precision: str = "float32") -> None:
        super().__init__()
        self.model: Model
        self.posterior: nn.Module
        self.precision: str
        self.model, self.posterior, self.precision = model, posterior, precision

    def forward(self, batch: Batch, objective: Objective, noise: Noise, state: ObjectiveState) -> tuple[Tensor, Tensor]:
        """The mean loss over this process's part of the batch, and the sums of (log p(x|z), KL) over its rows."""
        with products_in(self.precision, batch.x.device):
            draw = self.model.draw(batch, self.posterior, objective, noise)
        loss = batch.share.objective(objective.loss(draw, state)) + self.model.penalty()
        return loss, batch.share.sum(torch.stack([draw.log_px.detach().mean(0), draw.kl.detach().sum(-1)], -1))


class Recorder(Noise):
    """Noise that records what is asked for, drawing from a copy of the generator."""

    def __init__(self, noise: Noise) -> None:
        copy = torch.Generator(noise.generator.device)
        super().__init__(copy.set_state(noise.generator.get_state()))
        self.requests: list[Request] = []

    def draw(self, how: Callable[..., Tensor], shape: Sequence[int], like: Tensor) -> Tensor:
        """Record the request, and draw."""
        self.requests.append((how, tuple(shape), like.new_empty(0)))
        return super().draw(how, shape, like)


class Drawn(Noise):
    """Noise whose numbers are drawn already."""

    def __init__(self, numbers: Iterator[Tensor]) -> None:
        self.numbers = numbers

    def draw(self, how: Callable[..., Tensor], shape: Sequence[int], like: Tensor) -> Tensor:
        """The next numbers."""
        return next(self.numbers)


def what_changes(guards: Sequence[Any]) -> list[bool]:
    """True for the guards of a graph that are checked in every step: of the batch, and of the objective's state.

    Hundreds of others are about weights, moments and modules, which don't change. A guard is named after what it is
    about, as ``L['batch'].complete`` or ``batch.complete``; one without a name is about torch's modes.
    """
    return [not guard.name or _argument(guard.name) in CHANGING for guard in guards]


def _argument(name: str) -> str:
    """The argument of a graph that a guard is about."""
    return name.removeprefix("L['").partition(".")[0].partition("'")[0].partition("[")[0]


class CompiledStep:
    """One step of AdamW on a loss, for batches that all have the same number of rows.

    Parameters
    ----------
    loss : Module
        ``(batch, objective, noise, state) → (loss, totals)``; depends on its arguments and its weights alone.
    objective : Objective
    optimizer : AdamW
        Holds the moments, so that compiled and plain steps may follow each other.
    """

    def __init__(self, loss: nn.Module, objective: Objective, optimizer: AdamW) -> None:
        self.loss: nn.Module
        self.objective: Objective
        self.optimizer: AdamW
        self.loss, self.objective, self.optimizer = loss, objective, optimizer
        self.weights: dict[str, Tensor] = dict(loss.named_parameters())
        self.moments: tuple[list[Tensor], list[Tensor]] = optimizer.moments(list(self.weights.values()))
        group = optimizer.param_groups[0]
        self.betas: Tensor = torch.tensor(group["betas"], dtype=torch.float64, device=optimizer.count.device)
        self.requests: list[Request] | None = None
        for tensor in (*self.weights.values(), *self.moments[0], *self.moments[1]) if optimizer.count.is_cuda else ():
            torch._dynamo.mark_static_address(tensor)  # CUDA graphs can only write to such arguments
        kind = "triton.cudagraphs" if optimizer.count.is_cuda else "cpp_wrapper"  # one launch; one call from Python
        options = {kind: True, "guard_filter_fn": what_changes}
        self.graph: Callable[..., tuple[Tensor, Tensor, Tensor]]
        self.graph = torch.compile(self._step, fullgraph=True, options=options, **APART)
        from torch._dynamo.exc import TorchDynamoException  # which takes a second to import

        self.failure = TorchDynamoException

    def __call__(
        self, batch: Batch, noise: Noise, state: ObjectiveState, lr: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Take the step; return the loss, totals, if it was skipped, and if a value was not finite.

        Raises ``ValueError`` if the compiler fails or is missing.
        """
        if self.requests is None:
            self.requests = self._record(batch, noise, state)
        numbers = [noise.draw(*request) for request in self.requests]
        with torch.no_grad():
            try:
                loss, totals, broken = self.graph(self.weights, self.moments, batch, numbers, state, self._scalars(lr))
            except self.failure as error:
                raise ValueError(
                    f"compile=True can't make one graph of this model's training step, leave compile=False; "
                    f"the compiler says: {str(error).strip().splitlines()[0]}"
                ) from error
            self.optimizer.count += ~broken
        return loss, totals, broken, broken

    def _record(self, batch: Batch, noise: Noise, state: ObjectiveState) -> list[Request]:
        recorder = Recorder(noise)
        with torch.no_grad():
            self.loss(batch, self.objective, recorder, state)
        return recorder.requests

    def _step(
        self, weights: dict[str, Tensor], moments: tuple[list[Tensor], list[Tensor]], batch: Batch,
        numbers: list[Tensor], state: ObjectiveState, scalars: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        def loss(weights: dict[str, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            arguments = (batch, self.objective, Drawn(iter(numbers)), state)
            value, totals = torch.func.functional_call(self.loss, weights, arguments)
            return value, (value, totals)

        gradients, (value, totals) = torch.func.grad(loss, has_aux=True)(weights)
        good = torch.stack([value, *(gradient.sum() for gradient in gradients.values())]).sum().isfinite()
        for weight, gradient, *own in zip(weights.values(), gradients.values(), *moments, strict=True):
            self._adamw(weight, gradient, good, scalars.to(weight.dtype), *own)
        return value, totals, ~good

    def _scalars(self, lr: float) -> Tensor:
        """η/(1 − β₁ᵗ), 1/√(1 − β₂ᵗ) and 1 − ηλ of the next step, the same for all weights."""
        beta1, beta2 = (1 - self.betas ** (self.optimizer.count + 1)).unbind()
        kept = 1 - lr * self.optimizer.param_groups[0]["weight_decay"]
        return torch.stack([lr / beta1, beta2.rsqrt(), torch.full_like(beta1, kept)])

    def _adamw(
        self, weight: Tensor, gradient: Tensor, good: Tensor, scalars: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor
    ) -> None:
        """θ ← (1 − ηλ)θ − η m̂/(√v̂ + ε) (Loshchilov & Hutter, 2019, arXiv:1711.05101, algorithm 2)."""
        group = self.optimizer.param_groups[0]
        (beta1, beta2), eps = group["betas"], group["eps"]
        rate, correction, kept = scalars.unbind()
        m = torch.lerp(exp_avg, gradient, 1 - beta1)
        v = beta2 * exp_avg_sq + (1 - beta2) * gradient.square()
        moved = kept * weight - rate * m / (v.sqrt() * correction + eps)
        for old, new in ((exp_avg, m), (exp_avg_sq, v), (weight, moved)):
            old.copy_(torch.where(good, new, old))
