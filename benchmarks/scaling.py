"""What a step costs when rows, features, latent variables and processes grow tenfold.

    python benchmarks/scaling.py                   # all of it, processes on this machine: 1 and 2
    python benchmarks/scaling.py --ranks 1 2 4 8   # on a machine with 8 GPUs, or more cores

The model is that of ``throughput.py`` (784-200-200-50, tanh, Bernoulli), its data random bits; every process has one
thread, or a GPU. Prints a table and writes ``benchmarks/results/scaling.json``. A step's parts are measured alone: the
numbers that are drawn for a batch, and the mean of the gradient over processes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from density import machine, revision

from lowerbound import MLP, VAE, parallel
from lowerbound.estimators.latent import CollapsedPosteriorWarning
from lowerbound.storage.atomic import write_text
from lowerbound.training.watch import Watch

FEATURES, LATENTS, ROWS, BATCH = 784, 50, 5_000, 100
EPOCHS = 7
CASES = {
    "base": {},
    "rows × 10": {"rows": 10 * ROWS, "epochs": 3},
    "features × 10": {"features": 10 * FEATURES, "epochs": 3},
    "latents × 10": {"latents": 10 * LATENTS, "epochs": 4},
    "batch × 10": {"batch": 10 * BATCH, "epochs": 4},
}


class Clock(Watch):
    """When every epoch ended, and what was trained."""

    def on_start(self, training, data, validation):
        self.n_weights = sum(weight.numel() for weight in training.modules.parameters())
        self.times = [time.perf_counter()]

    def on_epoch(self, training, record):
        self.times.append(time.perf_counter())


def epoch_seconds(rows=ROWS, features=FEATURES, latents=LATENTS, batch=BATCH, epochs=EPOCHS) -> tuple[float, int]:
    """Median time of an epoch after the first, and the number of weights."""
    X = np.random.default_rng(0).integers(0, 2, size=(rows, features), dtype=np.uint8)
    clock = Clock()
    warnings.simplefilter("ignore", CollapsedPosteriorWarning)  # random bits have nothing to say
    VAE(
        latents,
        network=MLP(activation="tanh"),
        likelihood="bernoulli",
        batch_size=batch,
        max_epochs=epochs,
        early_stopping=False,
        random_state=0,
    ).fit(X, watch=clock)
    return statistics.median(np.diff(clock.times)[1:]), clock.n_weights


def seconds(act: Callable[[], object], repeats: int = 50) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        act()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def case(name: str) -> dict:
    """One line of the table, measured in the processes that there are."""
    here = parallel.current()
    changed = {"rows": ROWS, "features": FEATURES, "latents": LATENTS, "batch": BATCH} | CASES[name]
    epoch, n_weights = epoch_seconds(**changed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator, gradient = torch.Generator(device).manual_seed(0), torch.zeros(n_weights, device=device)
    drawn = (changed["batch"], changed["latents"])
    return {
        "processes": here.size,
        "rows_per_second": changed["rows"] / epoch,
        "step_ms": 1e3 * epoch / -(-changed["rows"] // changed["batch"]),
        "noise_ms": 1e3 * seconds(lambda: torch.randn(drawn, generator=generator, device=device)),
        "binarization_ms": 1e3
        * seconds(lambda: torch.rand((changed["batch"], changed["features"]), generator=generator, device=device)),
        "gradient_ms": 1e3 * seconds(lambda: here.sum(gradient)) if here.size > 1 else 0.0,
        "n_weights": n_weights,
        "sent_bytes_per_step": 4 * n_weights * 2 * (here.size - 1) // here.size,
    }


def measure(n: int, name: str) -> dict:
    """One line, in n processes of one thread each."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}"]
    words = [*(start if n > 1 else [sys.executable]), __file__, "--case", name]
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2], help="numbers of processes")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "scaling.json")
    arguments = parser.parse_args()
    if arguments.case:
        with parallel.join() as here:
            result = case(arguments.case)
            if here.is_first:
                print(json.dumps(result))
        return
    results: dict[str, list[dict]] = {}
    print(f"{'':14} {'ranks':>5} {'rows/s':>9} {'step':>9} {'noise':>8} {'binarize':>8} {'gradient':>8} {'sent':>9}")
    for name in arguments.cases:
        results[name] = [measure(n, name) for n in arguments.ranks]
        for r in results[name]:
            times = " ".join(f"{r[part]:6.2f}ms" for part in ("noise_ms", "binarization_ms", "gradient_ms"))
            sent = f"{r['sent_bytes_per_step'] / 1e6:7.2f}MB"
            print(
                f"{name:14} {r['processes']:5} {r['rows_per_second']:9,.0f} {r['step_ms']:7.2f}ms {times} {sent}",
                flush=True,
            )
    record = {
        "command": "python benchmarks/scaling.py",
        "commit": revision(),
        "machine": machine(),
        "results": results,
    }
    write_text(arguments.output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
