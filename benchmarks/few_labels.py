"""Digits of which 100 have a label: errors on test images of a classifier that learns from the others, too.

    python benchmarks/few_labels.py --data FOLDER

FOLDER holds mnist.npz. Ten training images of each digit, chosen by the seed, keep their label. Fitted are M2, a VAE
given the digit (of the pixels, binarized by chance), and M1+M2, the same on the codes of a first VAE (Kingma et al.,
2014, arXiv:1406.5298, who report 11.97 ± 1.71 % and 3.33 ± 0.14 %); beside them a logistic regression on the labeled
images, and on their codes. The settings of M1+M2 were chosen by the errors on 20,000 training images without a label,
with other labels and another first VAE (--random-state 10 and 11); the test images had no part in it.

What is measured is put beside what OUTPUT has of the same labels: --only M2 adds M2.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
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
STACKED = {**COMMON, "latent_dim": 10, "network": MLP((500, 500)), "likelihood": GaussianLikelihood(standardize=False)}
M2 = {**COMMON, "latent_dim": 16, "network": "conv", "likelihood": PIXELS, "optimizer": Adam(2e-3)}
ACTIVE = 0.1  # variance of the means of a code's variable; those with less are mostly noise


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


def logistic(train: tuple, test: tuple) -> float:
    """The part of test rows that a logistic regression on the labeled rows classifies wrongly."""
    rows, labels = train
    known = labels >= 0
    fitted = LogisticRegression(max_iter=2000).fit(rows[known].reshape(known.sum(), -1), labels[known])
    return 1 - float(fitted.score(test[0].reshape(len(test[0]), -1), test[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mnist.npz")
    parser.add_argument("--only", choices=("M1+M2", "M2"), nargs="+", default=("M1+M2", "M2"))
    parser.add_argument("--first", type=Path, help="folder for the first VAE, or that has it")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--first-epochs", type=int, default=20)
    parser.add_argument("--stacked-epochs", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=20, help="of M2")
    parser.add_argument("--random-state", type=int, default=0)
    arguments = parser.parse_args()
    seed = arguments.random_state
    with np.load(arguments.data / "mnist.npz") as arrays:
        x, c, test, truth = (arrays[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    labels = few_labels(c, seed)
    before = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    before = before if before.get("random_state") == seed else {}
    found, seconds, parameters = (before.get(name, {}) for name in ("errors", "cpu_seconds", "parameters"))
    found["logistic regression on pixels"] = logistic((x, labels), (test, truth))

    def timed(name: str, what: Callable[[], Any]) -> Any:
        started = time.process_time()
        result = what()
        seconds[name] = round(time.process_time() - started, 1)
        return result

    if "M1+M2" in arguments.only:
        vae = timed("first VAE", lambda: first_vae(arguments.first, x, arguments.first_epochs, seed))
        codes, test_codes = vae.transform(x), vae.transform(test)
        active = codes.var(0) > ACTIVE
        train, held_out = (codes[:, active], labels), (test_codes[:, active], truth)
        found["logistic regression on codes"] = logistic(train, held_out)
        epochs = arguments.stacked_epochs
        found["M1+M2"] = timed("M1+M2", lambda: errors(STACKED, epochs, seed, train, held_out))
        parameters |= {"first": recorded(FIRST), "M1+M2": {**recorded(STACKED), "max_epochs": epochs}}
    if "M2" in arguments.only:
        found["M2"] = timed("M2", lambda: errors(M2, arguments.epochs, seed, (x, labels), (test, truth)))
        parameters |= {"M2": {**recorded(M2), "max_epochs": arguments.epochs}}
    print(json.dumps(found, indent=1))
    command = " ".join(["python", *sys.argv]).replace(str(arguments.data), "FOLDER")
    record = {
        "commands": [*before.get("commands", []), command.split(" --first ")[0].split(" --output ")[0]],
        "commit": revision(), "machine": machine(), "rows": len(x), "labels": int((labels >= 0).sum()),
        "cpu_seconds": seconds, "errors": found, "parameters": parameters, "random_state": seed,
    }  # fmt: skip
    write_text(arguments.output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
