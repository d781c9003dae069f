"""log p(x) of one MLP on binarized MNIST by every method, and the sandwich that says how far annealing can be trusted.

    python benchmarks/evidence.py --data FOLDER

FOLDER holds mnist.npz. A hundred test rows, binarized once, the same for all methods. Writes
``benchmarks/results/evidence.json``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from density import HERE, git, machine, read_data, read_recipe

from lowerbound import VAE
from lowerbound.data.storage import write_text
from lowerbound.evaluate import Estimate

ROWS, SANDWICH_ROWS = 100, 40
ANNEALING = {"n_temperatures": 500, "n_chains": 8}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mnist.npz")
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    train, test = read_data(arguments.data, "mnist")
    parameters = read_recipe("mlp")["parameters"] | {"max_epochs": arguments.epochs}
    vae = VAE(**parameters, early_stopping=False, random_state=0).fit(train)
    rows = test[np.random.default_rng(0).choice(len(test), ROWS, replace=False)]
    X = (np.random.default_rng(1).random(rows.shape) * 255 < rows) * np.uint8(255)
    found: dict[str, dict] = {}

    def measure(name: str, seconds: float, estimate: Estimate) -> None:
        found[name] = {**estimate.to_dict(), "seconds": round(seconds, 1)}
        print(name, found[name], flush=True)

    def timed(name: str, estimate) -> None:
        started = time.perf_counter()
        measure(name, 0.0, estimate()) if name == "elbo" else measure_after(name, started, estimate())

    def measure_after(name: str, started: float, estimate: Estimate) -> None:
        measure(name, time.perf_counter() - started, estimate)

    timed("elbo", lambda: vae.summary(X, 64).elbo)


if __name__ == "__main__":
    main()
