"""Digits of which half the pixels are missing: a density of what is seen, several fillings, and what they are worth.

    python benchmarks/half_seen_digits.py --data FOLDER

FOLDER holds mnist.npz. Grey values are cut at one half; half of the pixels, drawn anew for each image, are missing in
training and test alike. A VAE is fitted to what is left, with the ELBO or the importance-weighted bound (MIWAE: Mattei
& Frellsen, 2019). Reported are log p of the observed pixels of test images, and the accuracy on complete test images
of a random forest that learns from complete training images; from ones filled by a draw of p(x_m|x_o); from five such
draws of each image, stacked (multiple imputation); from ones filled with the more probable value of each pixel,
p(x_j|x_o) above one half or below; from ones filled with the pixels' most frequent values; and from ones whose missing
pixels are left black, the background. The accuracies are of one seed and one mask. Beside the result a picture is
written: images, what is seen of them, and six fillings of each.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from density import machine, recorded, revision
from sklearn.ensemble import RandomForestClassifier

from lowerbound import IWAE, MLP, VAE, Adam, VAEImputer
from lowerbound.pictures.pictures import save_grid
from lowerbound.storage.atomic import write_text

OUTPUT = Path(__file__).parent / "results" / "half-seen-digits.json"
PARAMETERS = {
    "latent_dim": 32,
    "likelihood": "bernoulli",
    "network": MLP((256, 256)),
    "batch_size": 100,
    "early_stopping": False,
    "optimizer": Adam(2e-3),
}
DRAWN, FILLINGS = 8, 6  # images in the picture, and fillings of each
STACKED = 5  # fillings of each image that a forest learns from


def half_seen(images: np.ndarray, seed: int) -> np.ndarray:
    """NaN in half of the pixels of each image."""
    hidden = np.random.default_rng(seed).random(images.shape) < 0.5
    return np.where(hidden, np.nan, images).astype(np.float32)


def accuracy(images: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray, seed: int) -> float:
    forest = RandomForestClassifier(200, random_state=seed).fit(images.reshape(len(images), -1), labels)
    return float(forest.score(test.reshape(len(test), -1), truth))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mnist.npz")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--rows", type=int, default=30_000, help="training images")
    parser.add_argument("--scored", type=int, default=2000, help="test images whose log p is estimated")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--n-samples", type=int, default=1, help="of z in a step; several raise the IWAE bound")
    parser.add_argument("--n-importance", type=int, default=200)
    parser.add_argument("--random-state", type=int, default=0)
    arguments = parser.parse_args()
    seed = arguments.random_state
    with np.load(arguments.data / "mnist.npz") as arrays:
        train, labels = arrays["x_train"][: arguments.rows] > 127, arrays["y_train"][: arguments.rows]
        test, truth = arrays["x_test"] > 127, arrays["y_test"]
    gaps, test_gaps = half_seen(train, seed), half_seen(test, seed + 1)[: arguments.scored]
    objective = IWAE(arguments.n_samples) if arguments.n_samples > 1 else "elbo"
    parameters = {**PARAMETERS, "objective": objective, "max_epochs": arguments.epochs}
    cpu = time.process_time()
    vae = VAE(**parameters, random_state=seed, verbose=1).fit(gaps)
    seconds = {"fit": round(time.process_time() - cpu, 1)}
    log_p = vae.log_likelihood(test_gaps, n_importance=arguments.n_importance)
    imputer = VAEImputer(vae, n_importance=arguments.n_importance, random_state=seed).fit(gaps)
    cpu = time.process_time()
    draws = np.stack(imputer.sample_imputations(gaps, STACKED)) > 0.5
    seconds["draws of all training images"] = round(time.process_time() - cpu, 1)
    learned_from = {
        "complete": train,
        "a draw": draws[0],
        f"{STACKED} draws": draws.reshape(-1, *train.shape[1:]),
        "more probable": imputer.transform(gaps) > 0.5,
        "most frequent": np.where(np.isnan(gaps), np.nanmean(gaps, 0) > 0.5, gaps),
        "black": np.nan_to_num(gaps),
    }
    accuracies = {
        name: accuracy(images, np.tile(labels, len(images) // len(labels)), test, truth, seed)
        for name, images in learned_from.items()
    }
    some = test_gaps[:DRAWN]
    fillings = imputer.sample_imputations(some, FILLINGS)
    rows = [(255.0 * test[:DRAWN]), np.where(np.isnan(some), 128, 255 * some), *(255.0 * f for f in fillings)]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    save_grid(np.concatenate(rows).astype(np.uint8), arguments.output.with_suffix(".png"), columns=DRAWN)
    record = {
        "command": " ".join(["python", *sys.argv]).replace(str(arguments.data), "FOLDER"),
        "commit": revision(),
        "machine": machine(), "rows": len(train), "parameters": {**recorded(parameters), "random_state": seed},
        "cpu_seconds": seconds, "log_p_of_observed_pixels": asdict(log_p),
        "accuracy": accuracies,
    }  # fmt: skip
    print(json.dumps(record, indent=1))
    write_text(arguments.output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
