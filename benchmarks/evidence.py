"""log p(x) of one MLP on binarized MNIST by every method, and bounds from both sides that check annealing.

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
from density import HERE, machine, read_data, read_recipe, recorded, revision

from lowerbound import VAE
from lowerbound.storage.atomic import write_text

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
    ways = {
        "elbo": lambda: {"elbo": vae.summary(X, 64).elbo},
        "naive": lambda: {"naive": vae.log_likelihood(X, 5000, method="naive")},
        "importance": lambda: {"importance": vae.log_likelihood(X, 5000)},
        "sandwich": lambda: vars(vae.bidirectional_bounds(SANDWICH_ROWS, **ANNEALING)),
        "ais": lambda: {"ais": vae.log_likelihood(X, method="ais", **ANNEALING)},
    }
    measured = []
    for name, estimate in ways.items():
        started = time.perf_counter()
        found = estimate()
        seconds = round(time.perf_counter() - started, 1)
        measured += [{"way": name, "of": part, "seconds": seconds, **e.to_dict()} for part, e in found.items()]
        print(measured[-1], flush=True)
    record = {
        "command": f"python benchmarks/evidence.py --data FOLDER --epochs {arguments.epochs}",
        "commit": revision(),
        "machine": machine(),
        "parameters": recorded(parameters),
        "annealing": ANNEALING,
        "fit_seconds": round(vae.history_[-1]["seconds"], 1),
        "measured": measured,
    }
    write_text(HERE / "results" / "evidence.json", json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
