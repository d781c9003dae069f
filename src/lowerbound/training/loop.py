"""The one training loop: for everything that is fitted by gradients."""

from __future__ import annotations

import json
import math
import time
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import torch

from lowerbound.core import ObjectiveState
from lowerbound.data.batches import Rows
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.evaluation.evaluation import EVALUATION_BATCH, evaluating
from lowerbound.precision import tensor_cores
from lowerbound.training.identity import OF_ONE_PROCESS, identity
from lowerbound.training.state import LOOK_STEPS, MOST_BROKEN, Training
from lowerbound.training.watch import Watch


def train(training: Training, data: Rows, validation: Rows | None = None, watch: Watch | None = None) -> None:
    """Train until ``max_epochs``, until the validation bound no longer rises, or until ``watch`` asks to stop.

    Training continues from the state of ``training``, also within an epoch: the epoch's order is drawn again, and
    finished batches are skipped. Training never depends on the validation, which has its own generator, the same for
    every epoch. Several processes are given the same rows, and take their shares.
    """
    settings, progress, processes = training.settings, training.progress, training.processes
    watch = watch or Watch()
    _check_same_rows(training, data, validation)
    watch.on_start(training, data, validation)
    n_steps = settings.max_epochs * math.ceil(len(data) / settings.batch_size)
    started = time.perf_counter() - progress.seconds
    with training.weights_in_training(), tensor_cores(settings.precision, training.device):
        while not training.is_done:
            training.begin_epoch()
            for batch in data.batches(
                settings.batch_size, training.noise, training.order, progress.n_batches, processes
            ):  # fmt: skip
                training.step(batch, training.learning_rate(n_steps))
                progress.seconds = time.perf_counter() - started
                if progress.objective.step % LOOK_STEPS == 0:
                    training.check()
                    training.epoch_totals.settle()
                watch.on_step(training)
                if training.is_settled and processes.any(watch.should_stop()):
                    return watch.on_stop(training)
            record = _finish_epoch(training, validation, watch)
            if record is None:
                return watch.on_stop(training)
            progress.seconds = time.perf_counter() - started
            record["seconds"] = round(progress.seconds, 3)
            watch.on_epoch(training, record)
            if processes.any(watch.should_stop()):
                return watch.on_stop(training)


def _check_same_rows(training: Training, data: Rows, validation: Rows | None) -> None:
    """Raise ``ValueError`` unless all processes have the same rows and settings."""
    if training.processes.size == 1:
        return
    known = training.identity or identity(training, data, validation)
    own = {name: value for name, value in known.items() if name not in OF_ONE_PROCESS}
    own |= {"step": training.progress.objective.step, "random_state": training.seed}
    own |= {name: repr(value) for name, value in asdict(training.settings).items()}
    first = json.loads(training.processes.from_first(json.dumps(own).encode()))
    differing = [name for name in own if own[name] != first.get(name)]
    if training.processes.any(bool(differing)):
        names = f" (this one differs from the first in {', '.join(differing)})" if differing else ""
        raise ValueError(
            f"the processes were given different rows or settings: give all of them the same, "
            f"every process takes its own share of each batch{names}"
        )


def _finish_epoch(training: Training, validation: Rows | None, watch: Watch) -> dict[str, Any] | None:
    """Validate and keep the weights if they are the best; the epoch's record (nats a row), or None if stopped."""
    training.check(min(MOST_BROKEN, training.progress.n_batches))
    bounds = None
    with nullcontext() if training.average is None else training.average.showing():
        if validation is not None:
            bounds = _validate(training, validation, watch)
            if bounds is None:
                return None
            training.judge(bounds[1])
        elif not training.epoch_totals.skipped[1]:
            training.keep()
    reconstruction, kl, n_skipped = training.epoch_totals.close()  # a point posterior has no KL, so no bound
    values = {"elbo": reconstruction - kl, "reconstruction": reconstruction, "kl": kl}
    values["validation_elbo"] = bounds[0] if bounds else math.nan
    record: dict[str, Any] = {"epoch": training.progress.epoch + 1, "step": training.progress.objective.step}
    record |= {name: value if math.isfinite(value) else None for name, value in values.items()}
    record["n_skipped"] = n_skipped
    training.close_epoch(record)
    return record


def _validate(training: Training, validation: Rows, watch: Watch) -> tuple[float, float] | None:
    """Mean over rows of the ELBO, and of the bound that is optimized (its KL weighted as at the end)."""
    noise = Noise(make_generator(training.seed, "validation", training.device))
    finished = ObjectiveState(step=max(training.progress.objective.step, training.objective.warmup_steps))
    totals = torch.zeros(2, dtype=torch.float64, device=training.device)
    posterior = training.posterior.for_new_rows()
    with evaluating(training.modules):
        for batch in validation.batches(EVALUATION_BATCH, noise, processes=training.processes):
            draw = training.model.draw(batch, posterior, training.objective, noise)
            elbo = draw.log_px.mean(0) - draw.kl.sum(-1)
            totals += batch.share.sum(torch.stack([elbo, -training.objective.loss(draw, finished)], -1))
            if training.processes.size == 1 and watch.should_stop():
                return None
    elbo, bound = (training.processes.sum(totals) / len(validation)).tolist()
    if posterior is not training.posterior:  # the objective is of the training posterior: judge this one by the ELBO
        bound = elbo
    return elbo, bound
