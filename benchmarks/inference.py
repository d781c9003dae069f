"""The ways of inference of ``VAE``, the same model fitted by each: bound, log p(x), seconds, parameters, cost of a row.

    python benchmarks/inference.py --epochs 60

On the built-in digits, binarized once by their grey values. Monte-Carlo EM has no bound, so log p(x) by importance
sampling is given for all; under "mean_field" and "mcem" a row that was not fitted gets its q by a climb, which is its
cost. Writes ``benchmarks/results/inference.json`` with the command, commit and machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from density import machine, recorded, revision

from lowerbound import MCEM, MLP, VAE, Adam, Amortized, MeanField, read
from lowerbound.comparison.comparison import count_parameters
from lowerbound.evaluation.estimate import mean_over_rows
from lowerbound.storage.atomic import write_text

PARAMETERS = {"latent_dim": 8, "network": MLP((100,)), "batch_size": 128, "optimizer": Adam(2e-3)}
OWN = {  # numbers kept for each training row: m and log s of every latent variable; a chain keeps its z
    "mean_field": 2, "mcem": 1,
}  # fmt: skip
REFINEMENT = 5  # steps in training, of "refined"
ELBO_SAMPLES, N_IMPORTANCE = 16, 200


def posteriors(refinement: int) -> dict[str, object]:
    """The posterior of each way of inference; so many steps are for new rows."""
    return {
        "amortized": "amortized", "refined": Amortized(n_refinement_steps=REFINEMENT),
        "mean_field": MeanField(refinement), "shared": "shared", "mcem": MCEM(refinement),
    }  # fmt: skip


def numbers_of_new_rows(vae: VAE, X: np.ndarray) -> float:
    """Milliseconds a row to find q(z|x) of rows that were not fitted."""
    vae.transform(X[:2])  # what is loaded at the first call
    started = time.perf_counter()
    vae.transform(X)
    return 1000 * (time.perf_counter() - started) / len(X)


def measure(inference: str, train: np.ndarray, test: np.ndarray, epochs: int, refinement: int, seed: int) -> dict:
    vae = VAE(
        **PARAMETERS, posterior=posteriors(refinement)[inference], max_epochs=epochs, early_stopping=False,
        random_state=seed,
    )  # fmt: skip
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # q shared by all rows is a collapsed posterior: that is the point
        vae.fit(train)
    seconds = time.perf_counter() - started
    if hasattr(vae.posterior_, "n_steps"):
        vae.posterior_.n_steps = refinement
    last = vae.history_[-1]["elbo"]
    return {
        "inference": inference,
        "training_elbo": last,
        "test_elbo": mean_over_rows(vae.elbo_terms(test, ELBO_SAMPLES).elbo, "lower").to_dict(),
        "test_log_likelihood": vae.log_likelihood(test, N_IMPORTANCE).to_dict(),
        "fit_seconds": round(seconds, 2),
        "parameters": count_parameters(vae),
        "numbers_of_training_rows": OWN.get(inference, 0) * len(train) * vae.latent_dim_,
        "milliseconds_a_new_row": round(numbers_of_new_rows(vae, test), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--refinement", type=int, default=100, help="steps of the climb for new rows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "inference.json")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    grey = np.asarray(read("digits").X)
    X = (rng.random(grey.shape) * 255 < grey).astype(np.uint8)[rng.permutation(len(grey))]
    record = {
        "command": " ".join(["python", *sys.argv]),
        "commit": revision(),
        "machine": machine(),
        "data": "digits, binarized once by their grey values; 1,400 rows fitted, 397 scored",
        "parameters": recorded(PARAMETERS),
        "epochs": arguments.epochs,
        "refinement_steps": {"new rows": arguments.refinement, "in training, refined": REFINEMENT},
        "importance_samples": N_IMPORTANCE,
        "ways": [],
    }
    for inference in posteriors(arguments.refinement):
        way = measure(inference, X[:1400], X[1400:], arguments.epochs, arguments.refinement, arguments.seed)
        record["ways"].append(way)
        print(json.dumps(way), flush=True)
        write_text(arguments.output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
