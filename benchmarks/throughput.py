"""Images a second in training, against what one would otherwise use; and how close log p(x) comes to the machine.

    pip install -r benchmarks/requirements-throughput.txt
    python benchmarks/throughput.py train --data mnist.npz --model mlp --batch 100 --threads 2
    python benchmarks/throughput.py score --data mnist.npz --threads 2

``train`` takes turns: every contender is a process of its own, pinned to the same cores, that trains one epoch at a
time when it is told to, so that whatever disturbs the machine disturbs all of them. The first epoch (compilation,
caches) is reported apart; then medians over the epochs and ratios to the hand-written loop. One call measures one cell
and merges it into ``benchmarks/results/throughput.json`` with its command, commit and machine.

ours         ``VAE.fit`` as a user calls it: held-out rows validated each epoch, history, a progress bar on a terminal
compiled     the same with ``Adam(compile=True)``
handwritten  the shortest PyTorch loop that does the work: index slices of one tensor, torch.optim.Adam
fused        the same with ``fused=True``
jax          the whole epoch, shuffle included, as one ``jax.jit`` of a ``lax.scan``
pythae       its ``TrainingPipeline``

All train the same network with the same batch size on the same binary images; epochs end when the last step is done.
``score`` measures importance-weighted log p(x) against the arithmetic that its matrix products need.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import contenders
import numpy as np
from contenders import HIDDEN, LATENT, PIXELS

OURS = ("ours", "compiled")
CONTENDERS = ("ours", "compiled", "handwritten", "fused", "jax", "pythae")


def images(path: Path, rows: int, split: str = "x_train") -> np.ndarray:
    """Binary images, (n, 784) of 0 and 1."""
    with np.load(path) as archive:
        return (archive[split][:rows].reshape(-1, PIXELS) > 127).astype(np.uint8)


# taking turns


def work(arguments: argparse.Namespace) -> None:
    """What one process does: an epoch, its images a second to stdout, wait for a line on stdin."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print goes to the terminal
    started = time.perf_counter()

    def epoch(rows: int) -> None:
        nonlocal started
        print(json.dumps({"images": rows, "seconds": time.perf_counter() - started}), file=answers, flush=True)
        if not sys.stdin.readline():
            os._exit(0)
        started = time.perf_counter()

    getattr(contenders, arguments.contender)(images(arguments.data, arguments.rows), arguments, epoch)


class Contender:
    """A process with a terminal for its progress bar."""

    def __init__(self, name: str, arguments: argparse.Namespace) -> None:
        cores = sorted(os.sched_getaffinity(0))[: arguments.threads]
        keep = {"model", "batch", "rows", "threads", "device", "data"}
        options = [f"--{k}={v}" for k, v in vars(arguments).items() if k in keep]
        threads = str(arguments.threads)
        environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "NPROC": threads}
        self.terminal, terminal = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, __file__, "work", "--contender", name, *options], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=terminal,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )  # fmt: skip
        os.close(terminal)
        self.shown = b""
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        try:
            while part := os.read(self.terminal, 4096):
                self.shown = (self.shown + part)[-4000:]
        except OSError:  # the other end is closed
            pass

    def wait(self) -> dict:
        """The epoch that is under way."""
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise SystemExit(f"a contender ended:\n{self.shown.decode(errors='replace')}")
        return json.loads(line)

    def epoch(self) -> float:
        """Train one more; images a second."""
        self.process.stdin.write("go\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]
        answer = self.wait()
        return answer["images"] / answer["seconds"]


def train(arguments: argparse.Namespace) -> dict:
    names = arguments.contenders.split(",")
    running, first, rates = {}, {}, {name: [] for name in names}
    for name in names:
        running[name] = Contender(name, arguments)
        first[name] = round(running[name].wait()["seconds"], 2)
    for _ in range(arguments.rounds):
        for name in names:
            rates[name].append(running[name].epoch())
    for contender in running.values():
        contender.process.stdin.close()
        contender.process.wait()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "images_per_second": {name: round(value) for name, value in medians.items()},
        "fewest_and_most": {name: [round(min(v)), round(max(v))] for name, v in rates.items()},
        "first_epoch_seconds": first,
        "ratio": {f"{mine} / {other}": round(medians[mine] / medians[other], 3)
                  for mine in names if mine in OURS for other in names if other not in OURS},
        "rows": arguments.rows, "rounds": arguments.rounds,
    }  # fmt: skip


# log p(x)


def score(arguments: argparse.Namespace) -> dict:
    """Samples a second of importance-weighted log p(x), and what the matrix products alone would allow."""
    import resource

    import torch

    torch.set_num_threads(arguments.threads)
    X = images(arguments.data, arguments.rows)
    vae = contenders.our_vae("mlp", max_epochs=1, batch_size=100, device=arguments.device, early_stopping=False)
    vae.fit(images(arguments.data, 10_000))
    K, rates, products = arguments.n_importance, [], []
    flops = 2 * (LATENT * HIDDEN + HIDDEN * HIDDEN + HIDDEN * PIXELS)
    vae.log_likelihood(X[:2], K)
    for _ in range(arguments.rounds):
        products.append(product_rate(arguments.device))
        started = time.perf_counter()
        result = vae.log_likelihood(X, K)
        rates.append(len(X) * K / (time.perf_counter() - started))
    rate, product = statistics.median(rates), statistics.median(products)
    return {
        "samples_per_second": round(rate), "n_importance": K, "rows": len(X), "flops_per_sample": flops,
        "product_gflops": round(product / 1e9, 1), "floor_samples_per_second": round(product / flops),
        "part_of_floor": round(rate * flops / product, 3), "rounds": arguments.rounds,
        "log_p": result.to_dict(), "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }  # fmt: skip


def product_rate(device: str, samples: int = 2500, seconds: float = 1.0) -> float:
    """Floating-point operations a second of the decoder's three matrix products, and nothing else."""
    import torch

    shapes = ((LATENT, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, PIXELS))
    pairs = [(torch.rand(samples, n, device=device), torch.rand(m, n, device=device)) for n, m in shapes]
    outputs = [x @ w.T for x, w in pairs]
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for (x, w), out in zip(pairs, outputs, strict=True):
            torch.mm(x, w.T, out=out)
        done += 1
        if device != "cpu":
            torch.cuda.synchronize()
    return done * samples * sum(2 * n * m for n, m in shapes) / (time.perf_counter() - started)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "score", "work"), help="work: what each contender's process runs")
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz with x_train")
    parser.add_argument("--model", choices=("mlp", "conv"), default="mlp")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=None, help="60,000 to train, 200 to score")
    parser.add_argument("--rounds", type=int, default=5, help="epochs, or scorings, that the medians are of")
    parser.add_argument("--n-importance", type=int, default=5000)
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "throughput.json")
    arguments = parser.parse_args()
    arguments.rows = arguments.rows or (200 if arguments.what == "score" else 60_000)
    return arguments


def main() -> None:
    arguments = read_arguments()
    if arguments.what == "work":
        work(arguments)
        return
    from density import machine, revision

    from lowerbound.storage.atomic import write_text

    where = f"{arguments.device}, {arguments.threads} threads" if arguments.device == "cpu" else arguments.device
    what = f"{arguments.model}, batch {arguments.batch}" if arguments.what == "train" else "log p(x), mlp"
    cell = {
        "command": " ".join(["python", *sys.argv]).replace(str(arguments.data), "mnist.npz"),
        "commit": revision(),
        "machine": machine() | {"threads": arguments.threads},
        **(train if arguments.what == "train" else score)(arguments),
    }
    print(json.dumps(cell, indent=1))
    cells = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    write_text(arguments.output, json.dumps({**cells, f"{what}, {where}": cell}, indent=1) + "\n")


if __name__ == "__main__":
    main()
