"""The state of a training run: weights, optimizers, noise, progress."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from lowerbound.core import Batch, Model, Objective, ObjectiveState, Posterior
from lowerbound.distributions.noise import Noise, continued, make_generator
from lowerbound.parallel import Processes, current
from lowerbound.training.epoch_totals import EpochTotals
from lowerbound.training.optimizers import AdamW
from lowerbound.training.settings import Progress, Settings
from lowerbound.training.stabilizers import Average, Clipping
from lowerbound.training.step import BatchLoss, CompiledStep

ROW_RATE = 20.0
LR_WARMUP = 0.05  # part of the steps in which the learning rate of the cosine schedule rises
MOST_BROKEN = 10  # steps in a row without a finite loss and gradient, after which training fails
LOOK_STEPS = 50  # steps between two checks that wait for the device or other processes
REMEDIES = {
    "reconstruction": ", or look for extreme values in the data",
    "KL term": ", or let its weight rise slowly (warmup_steps)",
    "gradient": ", or shorten it (max_gradient_norm)",
}


class TrainingError(RuntimeError):
    """Too many steps without a finite loss or gradient; the message names the step, the term, and a remedy."""


class Training:
    """A model, its posterior, an objective, and the whole state of their training.

    The state is the same in each of several processes, which only work on different rows.
    """

    def __init__(
        self,
        model: Model,
        posterior: Posterior,
        objective: Objective,
        settings: Settings,
        seed: int,
        device: torch.device,
    ) -> None:
        self.model: Model
        self.posterior: Posterior
        self.objective: Objective
        self.settings: Settings
        self.model, self.posterior, self.objective, self.settings = model, posterior, objective, settings
        self.seed: int
        self.device: torch.device
        self.seed, self.device = seed, device
        self.modules: nn.ModuleDict = nn.ModuleDict({"model": model, "posterior": posterior}).to(device)
        self.adamw: AdamW
        self.row_adam: torch.optim.SparseAdam | None
        self.adamw, self.row_adam = _optimizers(self.modules, posterior.row_parameters(), settings)
        self.optimizers: list[torch.optim.Optimizer]
        self.optimizers = [self.adamw] if self.row_adam is None else [self.adamw, self.row_adam]
        self.processes: Processes = current()
        if self.processes.size > 1 and posterior.keeps_rows:
            raise ValueError(
                f"{type(posterior).__name__} keeps numbers for every training row, which one process has to hold: "
                f"train it without torchrun, or use inference='amortized'"
            )
        self.processes.replicate(self.modules)
        self.loss: BatchLoss = BatchLoss(model, posterior, settings.precision)
        self.average: Average | None = Average(self.adamw.weights, settings.ema) if settings.ema else None
        longest = settings.max_gradient_norm
        self.clipping: Clipping | None = Clipping(self.adamw.weights, longest) if longest is not None else None
        self.epoch_totals: EpochTotals = EpochTotals(self.processes, device)
        if settings.compile and (self.processes.size > 1 or self.clipping is not None or len(self.optimizers) > 1):
            raise ValueError("compile=True goes with one process, one network for all rows, and no max_gradient_norm")
        self.compiled: CompiledStep | None
        self.compiled = CompiledStep(self.loss, objective, self.adamw) if settings.compile else None
        self.order: torch.Generator = make_generator(seed, "order")
        self.epoch_order: Tensor = self.order.get_state()  # at the start of the epoch, to draw its order again
        self.noise: Noise = Noise(make_generator(seed, "noise", device))
        self.progress: Progress = Progress()
        self.best_weights: dict[str, Tensor] | None = None
        self.identity: dict[str, Any] = {}  # what else the result depends on, by name

    @contextmanager
    def weights_in_training(self) -> Iterator[None]:
        """The weights that are trained; before and afterwards their moving average stands in the modules."""
        if self.average is None:
            yield
            return
        self.average.show(False)
        try:
            yield
        finally:
            self.average.show(True)

    def begin_epoch(self) -> None:
        """Stand where the epoch's order is drawn, be some of its batches done."""
        self.modules.train()
        self.order.set_state(self.epoch_order)

    def learning_rate(self, n_steps: int) -> float:
        """The learning rate of the next step, of ``n_steps`` in all."""
        if self.settings.lr_schedule == "constant":
            return self.settings.lr
        done = min(1.0, (self.progress.objective.step + 0.5) / n_steps)
        if done < LR_WARMUP:
            return self.settings.lr * done / LR_WARMUP
        return self.settings.lr * 0.5 * (1 + math.cos(math.pi * (done - LR_WARMUP) / (1 - LR_WARMUP)))

    def step(self, batch: Batch, lr: float) -> None:
        """Take one optimizer step on a batch, unless its loss or gradient is not finite.

        Nothing waits for the device: if ``found_inf`` is 1, AdamW leaves weights, moments and its count unchanged.
        """
        progress = self.progress
        if self.compiled is not None and len(batch.x) == self.settings.batch_size:
            loss, totals, skip, broken = self.compiled(batch, self.noise, progress.objective, lr)
        else:
            loss, totals, skip, broken = self._gradient(batch)
            self.adamw.move(lr, skip.float())
            self._move_rows(lr, skip)
        if self.average is not None:
            self.average.update(progress.objective.step)
        progress.objective.step += 1
        progress.n_batches += 1
        progress.n_rows += batch.share.n_rows or len(batch.x)
        n_counted = len(batch.x) if batch.share.counts else 0
        self.epoch_totals.enter(loss.detach(), totals, n_counted, skip=skip, broken=broken)

    def _gradient(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Loss, totals, and as ``_look_at_gradient``."""
        loss, totals = self.loss(batch, self.objective, self.noise, self.progress.objective)
        # The seed of the backward pass is 1, and NaN where the loss is not finite: then so is every gradient, and all
        # processes, which add their gradients up, skip the step together.
        loss.backward(torch.where(loss.isfinite(), 1.0, torch.nan).to(loss))
        self.processes.average([weight.grad for weight in self.adamw.weights if weight.grad is not None])
        return loss, totals, *self._look_at_gradient()

    def _move_rows(self, lr: float, skip: Tensor) -> None:
        """The step of the parameters that belong to single rows."""
        if self.row_adam is None:
            return
        self.row_adam.param_groups[0]["lr"] = lr * ROW_RATE
        if not skip:  # it waits for the device anyway
            self.row_adam.step()
        self.row_adam.zero_grad()

    def _look_at_gradient(self) -> tuple[Tensor, Tensor]:
        """Clip the gradient, if asked to; return if the step is to be skipped, and if the gradient is not finite."""
        gradients = [p.grad for o in self.optimizers for p in o.param_groups[0]["params"] if p.grad is not None]
        total = torch.stack([gradient.sum() for gradient in gradients]).sum()
        broken = total - total != 0  # ∞ − ∞ and NaN − NaN are NaN
        return (broken, broken) if self.clipping is None else (broken | self.clipping.shorten().bool(), broken)

    def check(self, most: int = MOST_BROKEN) -> None:
        """Raise ``TrainingError`` if the last ``most`` steps all had no finite loss or gradient."""
        n = int(self.epoch_totals.skipped[1])
        if n < most:
            return
        progress, step = self.progress, self.progress.objective.step
        term, value = self.epoch_totals.broken_term()
        kept = f"the weights of epoch {progress.best_epoch}" if progress.best_epoch else "no weights, no epoch was good"
        raise TrainingError(
            f"the {term}{value} is not finite since step {step - n + 1} (now step {step}, epoch {progress.epoch + 1}): "
            f"lower the learning rate (lr={self.settings.lr:g}){REMEDIES[term]}; kept: {kept}"
        )

    @property
    def is_done(self) -> bool:
        """True if no epoch is left to train."""
        return self.progress.stopped or self.progress.epoch >= self.settings.max_epochs

    @property
    def is_settled(self) -> bool:
        """True if the first of several processes holds the sums of all, so that it can write a checkpoint."""
        return self.processes.size == 1 or self.progress.objective.step % LOOK_STEPS == 0 or not self.progress.n_batches

    def close_epoch(self, record: dict[str, Any]) -> None:
        """Add the epoch to the history, and begin the next one."""
        self.progress.history.append(record)
        self.progress.epoch, self.progress.n_batches, self.progress.n_rows = self.progress.epoch + 1, 0, 0
        self.epoch_order = self.order.get_state()

    def judge(self, bound: float) -> None:
        """Keep the weights if the validation bound is the best so far, and decide whether to stop."""
        progress, settings = self.progress, self.settings
        if bound > progress.best:
            progress.best = bound
            self.keep()
        if bound > progress.reference + settings.tol or progress.objective.step < self.objective.warmup_steps:
            progress.reference, progress.stale_epochs = bound, 0
        else:
            progress.stale_epochs += 1
        progress.stopped = settings.early_stopping and progress.stale_epochs >= settings.n_iter_no_change

    def keep(self) -> None:
        """Keep the weights of the epoch that ends."""
        self.progress.best_epoch = self.progress.epoch + 1
        self.best_weights = {name: t.clone() for name, t in self.modules.state_dict().items()}

    def restore_best(self) -> None:
        """Restore the kept weights, if there are any."""
        if self.best_weights is not None:
            self.modules.load_state_dict(self.best_weights)

    def _parts(self) -> list[tuple[str, EpochTotals | Average | Clipping]]:
        parts = (("ledger", self.epoch_totals), ("average", self.average), ("clipping", self.clipping))
        return [(name, part) for name, part in parts if part is not None]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The content of a checkpoint: tensors, and metadata for JSON."""
        tensors = {f"weights.{k}": v for k, v in self.modules.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in (self.best_weights or {}).items()}
        for k, optimizer in enumerate(self.optimizers):
            for i, slots in optimizer.state_dict()["state"].items():
                tensors |= {
                    f"optimizer.{k}.{i}.{name}": torch.as_tensor(value).clone() for name, value in slots.items()
                }
        tensors |= {
            "generator.order": self.epoch_order,
            "generator.noise": self.noise.generator.get_state(),
        }
        for name, part in self._parts():
            tensors |= {f"{name}.{k}": v for k, v in part.state().items()}
        return tensors, {
            "settings": asdict(self.settings),
            "seed": self.seed,
            "identity": self.identity,
            "progress": asdict(self.progress),
        }

    def load_state(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        """Continue from the result of ``state``; ``ValueError`` if it is of another model or version."""
        try:
            self._load(tensors, metadata)
        except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                "the checkpoint is of another network or another version of lowerbound: continue it with that, "
                "or train anew in another folder"
            ) from error

    def _load(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        self.modules.load_state_dict(_with_prefix(tensors, "weights."))
        self.best_weights = _with_prefix(tensors, "best.") or None
        for k, optimizer in enumerate(self.optimizers):
            slots: dict[int, dict[str, Any]] = {}
            for key, value in _with_prefix(tensors, f"optimizer.{k}.").items():
                index, name = key.split(".", 1)
                plain = isinstance(optimizer, torch.optim.SparseAdam) and value.ndim == 0  # it counts in a Python int
                slots.setdefault(int(index), {})[name] = value.item() if plain else value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
        self.epoch_order = torch.Generator().set_state(tensors["generator.order"]).get_state()
        for name, part in self._parts():
            part.load_state(_with_prefix(tensors, f"{name}."))
        saved = metadata["progress"]
        self.progress = Progress(**{**saved, "objective": ObjectiveState(**saved["objective"])})
        purpose = f"noise from step {self.progress.objective.step}"
        self.noise = Noise(continued(self.noise.generator, tensors["generator.noise"], self.seed, purpose))


def _optimizers(
    modules: nn.Module, rows: list[nn.Parameter], settings: Settings
) -> tuple[AdamW, torch.optim.SparseAdam | None]:
    """AdamW for the networks, and where rows have numbers of their own, an Adam that moves only those of the batch.

    A row's own parameters are updated once an epoch, so their learning rate is ``ROW_RATE`` times as high.
    """
    others = [p for p in modules.parameters() if all(p is not row for row in rows)]
    row_adam = torch.optim.SparseAdam(rows, lr=settings.lr) if rows else None
    return AdamW(others, settings.lr, settings.weight_decay), row_adam


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
