"""Images given their digit: draws of a digit that are recognized, digits that are inferred, and log p(x|c) − log p(x).

    python benchmarks/given_digits.py --data FOLDER

FOLDER holds mnist.npz, whose grey values are binarized by chance. One VAE is fitted given the digit, one without it:
their parameters differ in the prior alone. Reported are the part of draws of p(x|c) that a convolutional network
recognizes as c, which learned from real binarized images (and the part of real test images that it recognizes); the
part of test images whose most probable digit by Bayes' rule, p(c|x) ∝ p(x|c) p(c), is theirs; and log p of test images
under both models. The difference of these is I(x; c) for two perfect models: log 10 = 2.30 nats at most.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from density import machine, recorded, revision
from torch import nn

from lowerbound import VAE, Adam, BernoulliLikelihood, load
from lowerbound.pictures.pictures import save_grid
from lowerbound.storage.atomic import write_text

OUTPUT = Path(__file__).parent / "results" / "given-digits.json"
PARAMETERS = {
    "latent_dim": 16, "network": "conv", "likelihood": BernoulliLikelihood(binarize="sample"), "batch_size": 128,
    "optimizer": Adam(2e-3), "early_stopping": False,
}  # fmt: skip
DRAWN = 2000  # images that are drawn, of all digits alike


class Recognizer:
    """A small convolutional network that tells digits."""

    EPOCHS = 4

    def __init__(self, images: np.ndarray, digits: np.ndarray, seed: int) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.network = nn.Sequential(
                nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(),
                nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 49, 128), nn.ReLU(), nn.Linear(128, 10),
            )  # fmt: skip
        x, c = torch.from_numpy(images).float()[:, None] / 255, torch.from_numpy(digits).long()
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.Adam(self.network.parameters(), 1e-3)
        for _ in range(self.EPOCHS):
            for rows in torch.randperm(len(x), generator=generator).split(128):
                binary = torch.bernoulli(x[rows], generator=generator)
                optimizer.zero_grad()
                nn.functional.cross_entropy(self.network(binary), c[rows]).backward()
                optimizer.step()

    @torch.no_grad()
    def accuracy(self, binary: np.ndarray, digits: np.ndarray) -> float:
        x = torch.from_numpy(binary).float()[:, None]
        found = torch.cat([self.network(part).argmax(1) for part in x.split(500)])
        return float((found.numpy() == digits).mean())


def fit(folder: Path, arguments: argparse.Namespace, x: np.ndarray, c: np.ndarray | None) -> tuple[VAE, float | None]:
    """The model that ``folder`` holds, or that is fitted and saved there; and its processor seconds."""
    if folder.exists():
        return load(folder), None
    cpu = time.process_time()
    parameters: dict[str, Any] = {**PARAMETERS, "max_epochs": arguments.epochs, "random_state": arguments.random_state}
    parameters["prior"] = arguments.prior if c is None else arguments.prior_given
    vae = VAE(**parameters, verbose=1).fit(x, context=c)
    vae.save(folder)
    return vae, round(time.process_time() - cpu, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mnist.npz")
    parser.add_argument("--models", type=Path, required=True, help="folder for the two fitted models, or that has them")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--prior", default="normal", help="of the model without the digit: a word that VAE knows")
    parser.add_argument("--prior-given", default="normal", help="of the model given the digit")
    parser.add_argument("--scored", type=int, default=2000, help="test images whose log p is estimated")
    parser.add_argument("--inferred", type=int, default=2000, help="test images whose digit is inferred")
    parser.add_argument("--n-importance", type=int, default=200)
    parser.add_argument("--alone", choices=("given", "plain"), help="leave the other model out")
    parser.add_argument("--random-state", type=int, default=0)
    arguments = parser.parse_args()
    seed = arguments.random_state
    with np.load(arguments.data / "mnist.npz") as arrays:
        x, c, test, truth = (arrays[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    binary = np.random.default_rng(seed).random(test.shape) < test / 255
    record: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    seconds: dict[str, float | None] = {}
    some = slice(arguments.scored)
    if arguments.alone != "plain":
        given, seconds["fit given"] = fit(arguments.models / "given", arguments, x, c)
        recognizer = Recognizer(x, c, seed)
        wanted = np.arange(10).repeat(DRAWN // 10)
        drawn = given.sample(DRAWN, context=wanted)
        record |= {
            "real test images recognized": recognizer.accuracy(binary, truth),
            "draws recognized": recognizer.accuracy(drawn, wanted),
            "means recognized": recognizer.accuracy(given.sample(DRAWN, mean=True, context=wanted), wanted),
        }
        print(json.dumps(record, indent=1), flush=True)
        inferred, cpu = slice(arguments.inferred), time.process_time()
        record["digits inferred"] = float((given.predict(binary[inferred]) == truth[inferred]).mean())
        seconds["infer"] = round(time.process_time() - cpu, 1)
        print(json.dumps(record, indent=1), flush=True)
        scores["log p(x|c)"] = given.log_likelihood(binary[some], arguments.n_importance, context=truth[some])
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        save_grid((255 * drawn[:: DRAWN // 100]).astype(np.uint8), arguments.output.with_suffix(".png"), columns=10)
    if arguments.alone != "given":
        plain, seconds["fit"] = fit(arguments.models / "plain", arguments, x, None)
        scores["log p(x)"] = plain.log_likelihood(binary[some], arguments.n_importance)
    difference = {} if arguments.alone else {"difference": scores["log p(x|c)"].value - scores["log p(x)"].value}
    alone = f"--alone {arguments.alone} " if arguments.alone else ""
    record = {
        "command": f"python benchmarks/given_digits.py --data FOLDER --models RUNS --epochs {arguments.epochs} "
        f"--prior {arguments.prior} --prior-given {arguments.prior_given} {alone}"
        f"--inferred {arguments.inferred} --scored {arguments.scored} --random-state {seed}", "commit": revision(),
        "machine": machine(), "rows": len(x), "cpu_seconds": seconds, **record,
        "parameters": recorded({**PARAMETERS, "max_epochs": arguments.epochs, "random_state": seed}),
        "prior": arguments.prior, "prior given the digit": arguments.prior_given,
        **{name: asdict(estimate) for name, estimate in scores.items()}, **difference,
    }  # fmt: skip
    print(json.dumps(record, indent=1))
    write_text(arguments.output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
