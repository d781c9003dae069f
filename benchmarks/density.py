"""Test log p(x) of the VAE by recipe: the TOML files in ``benchmarks/recipes``.

    python benchmarks/density.py mlp --data FOLDER
    python benchmarks/density.py ladder --data FOLDER --minutes 60

FOLDER holds the recipe's data: mnist.npz and fashion_mnist.npz with x_train and x_test, freyfaces.npz with one array.
Test rows are scored on one binarization, where there is one, by importance sampling. Where only some of them are, the
bound of all rows tells how far these are from typical: ``test_nll_by_difference`` is −(ELBO of all rows + log p(x) −
ELBO of some), which has a smaller standard error.

Writes ``benchmarks/results/density-<recipe>.json`` with the command, commit, machine, history and figures. What was
stopped, by ``--minutes`` or otherwise, goes on where it was if it is started again with the same arguments; its result
is that of the epochs there were, and says so. What was finished is scored again; the fitted model stays in the folder
``.density-<recipe>-<seed>-<epochs>`` beside the results.

A recipe that ``continues`` another fits that one first, or takes it from its folder, and goes on from its weights with
a new optimizer and the parameters that it changes; epochs, curve and time of both are in its result.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lowerbound
from lowerbound import VAE
from lowerbound.evaluation.estimate import Estimate, bits_per_dim, mean_over_rows
from lowerbound.parameters.parameter import plain
from lowerbound.storage.atomic import write_text
from lowerbound.training.progress import ProgressWatch

HERE = Path(__file__).parent
RECIPES = sorted(path.stem for path in (HERE / "recipes").glob("*.toml"))
ELBO_SAMPLES = 1
PAIRED_ELBO_SAMPLES = 32  # for the rows whose log p(x) is estimated
FREY_TRAIN, FREY_TEST = 1565, 200  # of faces in random order; 200 more were for validation


class Until(ProgressWatch):
    """Shows the progress, and asks to stop when the time is over."""

    def __init__(self, minutes: float | None) -> None:
        super().__init__()
        self.end = None if minutes is None else time.monotonic() + 60 * minutes

    def should_stop(self) -> bool:
        return self.end is not None and time.monotonic() > self.end


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=HERE.parent, capture_output=True, text=True, check=False
    ).stdout.strip()


def revision() -> str:
    """The commit of the code that runs, and whether it was changed since."""
    changed = git("status", "--porcelain", "-uno", "src", "benchmarks", ":!benchmarks/results")
    return git("rev-parse", "HEAD") + (" (modified)" if changed else "")


def machine() -> dict:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": cpu[0] if cpu else platform.processor(), "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(), "torch": torch.__version__, "lowerbound": lowerbound.__version__,
    }  # fmt: skip


def read_recipe(name: str) -> dict[str, Any]:
    recipe = tomllib.loads((HERE / "recipes" / f"{name}.toml").read_text(encoding="utf-8"))
    before = read_recipe(recipe["continues"])["parameters"] if "continues" in recipe else {}
    own = {name: VAE.PARAMETERS[name].from_plain(value) for name, value in recipe["parameters"].items()}
    return {**recipe, "name": name, "parameters": before | own}


def recorded(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of an estimator as a JSON file of results holds them."""
    return {name: plain(value) for name, value in parameters.items()}


def read_data(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on, and rows to test."""
    with np.load(folder / f"{name}.npz") as arrays:
        if "x_train" in arrays:
            return arrays["x_train"], arrays["x_test"]
        (rows,) = (arrays[key] for key in arrays.files)
        rows = np.random.default_rng(0).permutation(rows)  # they are a film, whose end is unlike its beginning
        return rows[:FREY_TRAIN], rows[-FREY_TEST:]


def fit(recipe: dict, train: np.ndarray, folder: Path, seed: int, watch: Until) -> tuple[VAE, list[dict]]:
    """The VAE of the recipe, and what it went through: after the epochs of the recipe it continues, its own."""
    earlier: list[dict] = []
    vae = VAE(early_stopping=False, random_state=seed)
    if "continues" in recipe:
        vae, earlier = fit(read_recipe(recipe["continues"]), train, folder, seed, watch)
    if earlier and watch.should_stop():
        return vae, earlier
    vae.set_params(**recipe["parameters"], warm_start="continues" in recipe)
    vae.fit(train, checkpoint=folder / f".density-{recipe['name']}-{seed}-{vae.max_epochs}", watch=watch)
    epochs, seconds = (earlier[-1]["epoch"], earlier[-1]["seconds"]) if earlier else (0, 0.0)
    own = [{**r, "epoch": epochs + r["epoch"], "seconds": seconds + r["seconds"]} for r in vae.history_]
    return vae, earlier + own


def choose_rows(test: np.ndarray, n: int, choice: str) -> tuple[np.ndarray, str]:
    """The rows whose log p(x) is estimated, and in words which; 0 is all."""
    if not n or n >= len(test):
        return test, f"all {len(test):,}"
    if choice == "first":
        return test[:n], f"the first {n:,}"
    return test[np.sort(np.random.default_rng(0).choice(len(test), n, replace=False))], f"{n:,} fixed at random"


def binarized(test: np.ndarray) -> np.ndarray:
    """One draw of black and white for every pixel, the same for the bound and for log p(x)."""
    return (255 * (np.random.default_rng(1).random(test.shape) * 255 < test)).astype(test.dtype)


def by_difference(bound: Estimate, log_p: np.ndarray, elbo: np.ndarray) -> dict:
    """Mean of all ELBOs + mean of some (log p − ELBO), negated (the difference estimator of survey sampling).

    Its variance is σ²(E)/N + σ²(g)/n + 2 cov(E, g)/N, with g = log p − E, as the n rows are among the N.
    """
    gap = log_p - elbo
    covariance = np.cov(elbo, gap)
    variance = bound.standard_error**2 + covariance[1, 1] / len(gap) + 2 * covariance[0, 1] / bound.n_rows
    return {"mean": -(bound.value + gap.mean()), "standard_error": math.sqrt(variance), "kind": "upper"}


def score(vae: VAE, test: np.ndarray, evaluation: dict[str, Any]) -> dict[str, Any]:
    """What the model says of rows it has not seen."""
    started = time.perf_counter()
    test = binarized(test) if vae.schema_.binarize else test
    summary = vae.summary(test, ELBO_SAMPLES)
    choice = evaluation.get("choice", "random")
    scored, which = choose_rows(test, evaluation["test_rows"], choice)
    rows, ess = (torch.from_numpy(values) for values in vae.log_likelihood_rows(scored, evaluation["n_importance"]))
    log_p = mean_over_rows(rows, "lower", evaluation["n_importance"], ess.mean().item())
    found: dict[str, Any] = {
        "evaluation_seconds": round(time.perf_counter() - started, 1),
        "test_elbo": summary.elbo.to_dict(),
        "test_nll": {**log_p.to_dict(), "mean": -log_p.value, "kind": "upper", "rows": which},
        "test_kl": summary.kl.tolist(),
        "active_units": summary.active_units,
    }
    if len(scored) < len(test) and choice == "random":
        elbo = vae.elbo_terms(scored, PAIRED_ELBO_SAMPLES).elbo.double()
        found["test_nll_by_difference"] = by_difference(summary.elbo, rows.numpy(), elbo.numpy())
    if not vae.schema_.binarize:
        found["bits_per_dim"] = bits_per_dim(log_p.value, vae.schema_.n_dimensions)
    return found


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--data", type=Path, required=True, help="folder with the data")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--minutes", type=float, help="stop fitting after so long, and score what there is by then")
    return parser.parse_args()


def main() -> None:
    arguments, commit = read_arguments(), revision()
    recipe = read_recipe(arguments.recipe)
    recipe["parameters"] |= {"max_epochs": arguments.epochs} if arguments.epochs else {}
    train, test = read_data(arguments.data, recipe["data"])
    output = arguments.output or HERE / "results" / f"density-{arguments.recipe}.json"
    vae, history = fit(recipe, train, output.parent, arguments.seed, Until(arguments.minutes))
    record = {
        "command": " ".join(["python", *sys.argv]).replace(str(arguments.data), "FOLDER"),
        "commit": commit,
        "machine": machine(),
        "recipe": arguments.recipe,
        "data": recipe["data"],
        "parameters": recorded(recipe["parameters"]),
        **({"continues": recipe["continues"]} if "continues" in recipe else {}),
        "n_weights": sum(p.numel() for m in (vae.model_, vae.posterior_) for p in m.parameters()),
        "epochs": history[-1]["epoch"],
        "fit_seconds": round(history[-1]["seconds"], 1),
        **score(vae, test, recipe["evaluation"]),
    }
    print(json.dumps(record, indent=1))
    record["history"] = [{k: r[k] for k in ("epoch", "elbo", "reconstruction", "kl", "seconds")} for r in history]
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
