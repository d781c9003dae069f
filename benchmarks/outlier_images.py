"""Images of one kind among those of another: Fashion-MNIST against MNIST, both ways.

    python benchmarks/outlier_images.py --data FOLDER
    python benchmarks/outlier_images.py --data FOLDER --first 0 --output benchmarks/results/outlier-images.json

FOLDER holds ``fashion_mnist.npz`` and ``mnist.npz`` with ``x_train`` and ``x_test``, 8-bit. An autoencoder is fitted to
the first training images of one set; AUROC is of some test images of it against as many of the other set, by every
score. The first 300 are those on which ``relative_regret`` was found, so by default they are others. ``±`` is the
standard error over seeds of the autoencoder, which all see the same images: what comes from the choice of images isn't
in it. What has been computed is kept in the JSON of results, with the commit of each run that has one (of the others it
is that of the file); ``--report`` prints the table of what is there and puts it into docs/outliers.md.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
import warnings
from pathlib import Path

import numpy as np
from density import machine, recorded, revision
from sklearn.metrics import roc_auc_score

from lowerbound import Adam
from lowerbound.parameters.upgrade import upgraded_parameters
from lowerbound.storage.atomic import write_text

PAIRS = {"Fashion-MNIST": ("fashion_mnist", "mnist"), "MNIST": ("mnist", "fashion_mnist")}
SCORES = ("kl", "reconstruction", "elbo", "surprise", "regret", "relative_regret")
AUTOENCODER = {"network": "mlp", "batch_size": 128, "max_epochs": 8, "early_stopping": False, "optimizer": Adam(2e-3)}


def measure(folder: Path, fitted: str, n_rows: int, tested: slice, seed: int) -> dict:
    """AUROC by score, and processor seconds."""
    from lowerbound import VAE, VAEOutlierDetector

    (train, usual), (_, odd) = (read(folder / f"{name}.npz") for name in PAIRS[fitted])
    started = time.process_time()
    vae = VAE(**AUTOENCODER, random_state=seed, device="cpu").fit(train[:n_rows])
    trained = time.process_time()
    detector = VAEOutlierDetector(vae, criterion="elbo", novelty=True, random_state=seed).fit(train[:1000])
    scores = detector.scores(np.concatenate([usual[tested], odd[tested]]), SCORES)
    y = np.repeat([0, 1], [len(usual[tested]), len(odd[tested])])
    return {
        "auroc": {name: round(float(roc_auc_score(y, scores[name])), 5) for name in SCORES},
        "cpu_seconds": {"fit": round(trained - started, 1), "score": round(time.process_time() - trained, 1)},
    }


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as arrays:
        return arrays["x_train"], arrays["x_test"]


def in_todays_form(settings: dict) -> dict:
    """The settings of results that may be older than parts."""
    return {**settings, "autoencoder": recorded(upgraded_parameters("VAE", settings["autoencoder"]))}


def table(record: dict) -> str:
    lines = ["| criterion | Fashion-MNIST fitted, MNIST odd | MNIST fitted, Fashion-MNIST odd |", "| --- | --- | --- |"]
    for name in SCORES:
        cells = []
        for fitted in PAIRS:
            runs = [r["auroc"][name] for key, r in record["runs"].items() if key.startswith(f"{fitted}|")]
            error = f" ± {np.std(runs, ddof=1) / math.sqrt(len(runs)):.3f}" if len(runs) > 1 else ""
            cells.append(f"{np.mean(runs):.3f}{error} ({len(runs)})" if runs else "")
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of .npz files")
    parser.add_argument("--rows", type=int, default=20_000, help="training images")
    parser.add_argument("--test", type=int, default=300, help="test images of each set")
    parser.add_argument("--first", type=int, default=1000, help="the first of them, counting from 0")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "outlier-images-unseen.json")
    parser.add_argument("--report", action="store_true", help="the table of the results there are, into the docs")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    record = json.loads(arguments.output.read_text()) if arguments.output.exists() else {"runs": {}}
    if not arguments.report:
        chosen = {"rows": arguments.rows, "test": arguments.test, "first": arguments.first}
        chosen |= {"autoencoder": recorded(AUTOENCODER)}
        if "settings" in record and in_todays_form(record["settings"]) != chosen:
            parser.error(f"{arguments.output} holds results of other settings: choose another --output")
        command = f"python benchmarks/outlier_images.py --data FOLDER --first {arguments.first}"
        record |= {"settings": chosen, "command": command, "machine": machine()}
        commit = revision()
        tested = slice(arguments.first, arguments.first + arguments.test)
        for seed in range(arguments.seeds):
            for fitted in PAIRS:
                key = f"{fitted}|{seed}"
                if key not in record["runs"]:
                    found = measure(arguments.data, fitted, arguments.rows, tested, seed)
                    record["runs"][key] = {**found, "commit": commit}
                    write_text(arguments.output, json.dumps(record, indent=1) + "\n")
    print(table(record))
    if arguments.report:
        page = Path(__file__).parents[1] / "docs" / "outliers.md"
        name = arguments.output.stem.removeprefix("outlier-")  # each file has a block of its own
        block = f"<!-- {name} -->\n{table(record)}\n<!-- end -->"
        text = page.read_text(encoding="utf-8")
        page.write_text(re.sub(rf"<!-- {name} -->.*?<!-- end -->", lambda _: block, text, flags=re.S), encoding="utf-8")


if __name__ == "__main__":
    main()
