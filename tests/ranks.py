"""What test_parallel.py runs in several processes, and in one: ``python -m tests.ranks FILE``."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from lowerbound import ELBO, IWAE, MLP, VAE, Amortized, BernoulliLikelihood, KLPenalty, parallel
from lowerbound.cli import main
from lowerbound.estimators.autoencoder import Autoencoder
from lowerbound.estimators.gradient import GradientEstimator
from lowerbound.estimators.pixel_rnn import PixelRNN
from lowerbound.inference.objectives import elbo
from lowerbound.storage.atomic import load_tensors, save_tensors
from lowerbound.training.loop import train
from lowerbound.training.settings import Settings
from lowerbound.training.state import LOOK_STEPS, Training
from lowerbound.training.watch import Watch
from tests import linear_gaussian as toy

TABLE = np.random.default_rng(0).normal(size=(40, 5)) @ np.random.default_rng(1).normal(size=(5, 5))
IMAGES = np.random.default_rng(2).integers(0, 256, size=(40, 16, 16), dtype=np.uint8)
SIZE = 3  # processes; 49 rows in batches of 16 leave a last one, of a single row
EPOCHS = 10  # of 14 steps
RUN = (
    *("train", "digits", "--hidden-layer-sizes", 16, "--latent-dim", 3, "--random-state", 0, "--max-epochs", EPOCHS),
    *("--no-early-stopping", "-q"),
)
SMALL = {"random_state": 0, "early_stopping": False, "network": MLP((8,))}
CONV = SMALL | {"network": "conv"}
ESTIMATORS: dict[str, tuple[GradientEstimator, np.ndarray]] = {
    "vae": (VAE(2, **SMALL), TABLE),
    "free bits": (VAE(4, objective=ELBO(free_bits=0.02), **SMALL), TABLE),  # some latent variables above it, some below
    "running baseline": (VAE(2, objective=ELBO(gradient="score"), **SMALL), TABLE),
    "dreg": (VAE(2, objective=IWAE(3, gradient="dreg"), **SMALL), TABLE),
    "trimmed": (VAE(2, objective=ELBO(trim_fraction=0.25), **SMALL), TABLE),  # of the whole batch
    "refined": (VAE(2, posterior=Amortized(n_refinement_steps=3), **SMALL), TABLE),
    "full covariance": (VAE(2, posterior=Amortized("full"), **SMALL), TABLE),
    "conv, drawn binarization": (VAE(2, likelihood=BernoulliLikelihood("sample"), **CONV), IMAGES),
    "sparse code": (Autoencoder(3, penalty=KLPenalty(1.0), **SMALL), TABLE),
    "denoising": (Autoencoder(3, noise="gaussian", **SMALL), TABLE),
    "pixel rnn": (PixelRNN(hidden_size=4, random_state=0, early_stopping=False), IMAGES[:, :4, :4] > 127),
}  # fmt: skip


class _Seen(Exception):
    """Enough of this fit."""


class Gradient(Watch):
    """The gradient of the first batch of 10 rows and of one of 3, summed up over processes as the optimizer gets it."""

    def on_start(self, training: Training, data, validation) -> None:
        self.values: list[Tensor] = []
        for size in (10, 3):
            batch = next(data.batches(size, training.noise, training.order, processes=training.processes))
            for _ in range(2):  # a running baseline counts from the second step on
                training.modules.zero_grad()
                state = training.progress.objective
                loss, totals = training.loss(batch, training.objective, training.noise, state)
                loss.backward()
            gradients = [p.grad for p in training.modules.parameters() if p.grad is not None]
            training.processes.average(gradients)
            self.values += [torch.cat([g.flatten() for g in gradients]), training.processes.sum(totals)]
        raise _Seen


def gradient(name: str) -> list[Tensor]:
    estimator, X = ESTIMATORS[name]
    watch = Gradient()
    try:
        estimator.fit(X, watch=watch)
    except _Seen:
        return watch.values
    raise AssertionError("it never started")


def gradients() -> dict[str, Tensor]:
    return {f"{name}.{i}": value for name in ESTIMATORS for i, value in enumerate(gradient(name))}


def training(max_epochs: int = 5, **settings) -> Training:
    chosen = Settings(**({"max_epochs": max_epochs, "batch_size": 16, "lr": 0.02} | settings))
    return Training(toy.model(), toy.posterior("diagonal"), elbo(), chosen, seed=3, device=torch.device("cpu"))


def outcome(run: Training, prefix: str = "") -> dict[str, Tensor]:
    """Weights and history."""
    numbers = [[v or 0.0 for k, v in record.items() if k != "seconds"] for record in run.progress.history]
    weights = torch.nn.utils.parameters_to_vector(run.modules.parameters()).detach()
    return {f"{prefix}weights": weights, f"{prefix}history": torch.tensor(numbers, dtype=torch.float64)}


def whole_run() -> dict[str, Tensor]:
    """49 rows: the last batch has one, fewer than there are processes."""
    run = training()
    train(run, toy.rows(toy.numbers(49, toy.F, seed=7)), toy.rows(toy.numbers(21, toy.F, seed=8)))
    return outcome(run)


def early_stopping() -> dict[str, Tensor]:
    run = training(max_epochs=50, lr=0.3, n_iter_no_change=3, lr_schedule="constant")
    train(run, toy.rows(toy.numbers(49, toy.F, seed=7)), toy.rows(toy.numbers(21, toy.F, seed=8)))
    assert run.progress.stopped
    run.restore_best()
    return outcome(run)


class Stop(Watch):
    """After so many steps, or as soon after as it can."""

    def __init__(self, step: int) -> None:
        self.step, self.now = step, 0

    def on_step(self, training: Training) -> None:
        self.now = training.progress.objective.step

    def should_stop(self) -> bool:
        return self.now >= self.step


LONG = {"max_epochs": 16, "early_stopping": False}  # 64 steps


def first_part() -> Training:
    """The first half or so of a run, left within an epoch."""
    run = training(**LONG)
    train(run, toy.rows(toy.numbers(49, toy.F, seed=7)), toy.rows(toy.numbers(21, toy.F, seed=8)), Stop(LOOK_STEPS - 1))
    assert 0 < run.progress.n_batches < 4
    return run


def rest(state: tuple[dict[str, Tensor], dict] | None) -> dict[str, Tensor]:
    """What follows on the state of a run; the whole run if there is none."""
    run = training(**LONG)
    if state is not None:
        run.load_state(*state)
    train(run, toy.rows(toy.numbers(49, toy.F, seed=7)), toy.rows(toy.numbers(21, toy.F, seed=8)))
    return outcome(run)


def unseeded() -> dict[str, Tensor]:
    """Nobody said which seed: that of the first process is everyone's."""
    vae = VAE(2, **{**SMALL, "random_state": None, "max_epochs": 1}).fit(TABLE)
    return {"seed": torch.tensor(vae.seed_), "codes": torch.from_numpy(vae.transform(TABLE))}


def refuse_what_one_process_alone_can_do() -> None:
    here = parallel.current()
    with pytest.raises(ValueError, match="MeanField keeps numbers for every training row, which one process has to"):
        VAE(2, posterior="mean_field", **SMALL).fit(TABLE)
    rows = toy.numbers(12 * here.size, toy.F, seed=7)
    with pytest.raises(ValueError, match="the processes were given different rows or settings: give all of them the"):
        train(training(), toy.rows(rows[here.rank :: here.size]))  # as it would be for many other programs
    rows[-1, 0] += here.rank
    with pytest.raises(ValueError, match="the processes were given different rows or settings"):  # in one value
        train(training(), toy.rows(rows))
    with pytest.raises(ValueError, match="the processes were given different rows or settings"):
        VAE(2, **SMALL).fit(rows)
    with pytest.raises(ValueError, match="the processes were given different rows or settings"):
        train(training(weight_decay=0.1 * here.rank), toy.rows(rows * 0))


def death() -> None:
    """The last process dies in the second epoch."""
    with parallel.join() as here:

        class Die(Watch):
            def on_epoch(self, training, record):
                if here.rank == here.size - 1:
                    os.kill(os.getpid(), signal.SIGKILL)

        train(training(max_epochs=10**6), toy.rows(toy.numbers(49, toy.F, seed=7)), None, Die())


def doomed_command(run: Path) -> None:
    """The command line, of which the last process dies as soon as there is a checkpoint, but not a second time."""

    def die_once_it_is_saved() -> None:
        while not (run / "checkpoint" / "last.safetensors").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

    if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        threading.Thread(target=die_once_it_is_saved, daemon=True).start()
    several = ("--batch-size-per-device", 64, "--resume", "--checkpoint-seconds", 0)
    main([*map(str, (*RUN, "-o", run, *several))], standalone_mode=False)


def restarted(run: Path) -> None:
    """A command in two processes of 64 rows each that torchrun's agent starts again when one has died."""
    meeting = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "run_id": "restarted"}
    elastic_launch(LaunchConfig(1, 1, 2, max_restarts=1, start_method="fork", **meeting), doomed_command)(run)


def everything() -> dict[str, Tensor]:
    """What has to be the same, however many processes there are."""
    long_run = partial(rest, None)
    cases = {"gradients": gradients, "whole": whole_run, "early stopping": early_stopping, "long": long_run}
    return {f"{name}/{key}": value for name, case in cases.items() for key, value in case().items()}


def together(path: Path) -> None:
    """All that several processes come to, and where each of them could continue."""
    with parallel.join() as processes:
        assert processes.size > 1
        refuse_what_one_process_alone_can_do()
        first = first_part().state()
        save_tensors(path.with_suffix(f".{processes.rank}.state"), *first)
        starts = {"own": first, "alone": load_tensors(path.with_suffix(".alone"))}
        rests = {f"rest of {k}/{name}": value for k, state in starts.items() for name, value in rest(state).items()}
        save_tensors(path.with_suffix(f".{processes.rank}"), everything() | rests | unseeded(), {})


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def exit_codes(n: int, case: Callable[[], None]) -> list[int | None]:
    """Those of ``n`` processes that share what is imported, and meet as those of torchrun do."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(n)}

    def begin(rank: int) -> None:
        os.environ.update(meeting, RANK=str(rank), LOCAL_RANK=str(rank))
        case()

    processes = [get_context("fork").Process(target=begin, args=(rank,)) for rank in range(n)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


if __name__ == "__main__":
    path = Path(sys.argv[1])
    restarted(path.with_suffix(".run"))
    print(json.dumps({"together": exit_codes(SIZE, partial(together, path)), "death": exit_codes(2, death)}))
