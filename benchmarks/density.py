"""Test log p(x) of the VAE on dynamically binarized MNIST, by recipe.

    python benchmarks/density.py mlp  --data mnist.npz
    python benchmarks/density.py conv --data mnist.npz

Every minibatch is binarized afresh; the test rows are scored on one binarization by importance sampling. Writes
``benchmarks/results/density-<recipe>.json`` with the command, commit, machine, history and figures. A run that was
killed goes on where it was, if it is started again with the same arguments.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

import lowerbound
from lowerbound import VAE
from lowerbound.data.storage import write_text
from lowerbound.evaluate import mean_over_rows

# K importance samples on the first so many test rows (None: all of them)
RECIPES = {
    "mlp": {
        "parameters": {
            "latent_dim": 50, "network": "mlp", "hidden_layer_sizes": (200, 200), "activation": "tanh",
            "max_epochs": 100, "batch_size": 100, "lr": 2e-3,
        },
        "n_importance": 5000,
        "test_rows": None,
    },
    "conv": {
        "parameters": {"network": "conv", "max_epochs": 30, "lr": 2e-3},
        "n_importance": 1000,
        "test_rows": 1000,
    },
}  # fmt: skip


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()


def machine() -> dict:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": cpu[0] if cpu else platform.processor(), "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(), "torch": torch.__version__, "lowerbound": lowerbound.__version__,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz with x_train and x_test")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    arguments = parser.parse_args()
    recipe = RECIPES[arguments.recipe]
    parameters = recipe["parameters"] | ({"max_epochs": arguments.epochs} if arguments.epochs else {})
    with np.load(arguments.data) as arrays:
        train, test = arrays["x_train"], arrays["x_test"]

    vae = VAE(**parameters, binarize="sample", early_stopping=False, random_state=arguments.seed, verbose=1)
    commit = git("rev-parse", "HEAD") + (" (modified)" if git("status", "--porcelain", "-uno", "src") else "")
    output = arguments.output or Path(__file__).parent / "results" / f"density-{arguments.recipe}.json"
    checkpoint = output.parent / f".{output.stem}-{arguments.seed}-{parameters['max_epochs']}"
    vae.fit(train, checkpoint=checkpoint)
    fitted = time.perf_counter()
    test_elbo = mean_over_rows(vae.accounts(test).elbo, "lower")
    scored = test[: recipe["test_rows"]]
    log_p = vae.log_likelihood(scored, recipe["n_importance"])
    record = {
        "command": " ".join(["python", *sys.argv]).replace(str(arguments.data), "mnist.npz"),
        "commit": commit,
        "machine": machine(),
        "recipe": arguments.recipe,
        "parameters": parameters,
        "n_weights": sum(p.numel() for m in (vae.model_, vae.posterior_) for p in m.parameters()),
        "epochs": vae.n_iter_,
        "fit_seconds": round(vae.history_[-1]["seconds"], 1),
        "evaluation_seconds": round(time.perf_counter() - fitted, 1),
        "test_elbo": test_elbo.to_dict(),
        "test_nll": {
            **log_p.to_dict(),
            "mean": -log_p.value,
            "kind": "upper",
            "rows": f"the first {len(scored)}",
        },
        "active_units": vae.accounts(test).active_units,
        "history": [{k: r[k] for k in ("epoch", "elbo", "reconstruction", "kl", "seconds")} for r in vae.history_],
    }
    print(json.dumps({k: v for k, v in record.items() if k != "history"}, indent=1))
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, json.dumps(record, indent=1) + "\n")
    shutil.rmtree(checkpoint)


if __name__ == "__main__":
    main()
