"""Every model of p(x) on dynamically binarized MNIST, in nats, on the same binarized test images.

    python benchmarks/comparison.py --data mnist.npz --minutes 60

The models, their order and their shares of the time are those of ``lowerbound compare``; each minibatch is binarized
afresh, and all models are scored on one binarization of all test images. Writes
``benchmarks/results/comparison.json`` with the command, commit, machine and what the budget cut.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from density import machine, recorded, revision

from lowerbound import MLP, Adam
from lowerbound.comparison.comparison import MODELS, Result, compare_models
from lowerbound.comparison.split import case_of
from lowerbound.storage.atomic import write_text

PARAMETERS = {
    "mixture": {"n_components": 100},
    "rbm": {"n_hidden": 200},
    "vae": {"latent_dim": 50, "network": MLP(activation="tanh"), "early_stopping": False, "optimizer": Adam(2e-3)},
    "pixel_rnn": {"early_stopping": False},
}
INDEPENDENT = -205.97  # nats an image: the mean over test images of the expectation over binarizations
ORDER = (
    "The notes' order is of what each model adds, not of nats. Given one pass over all the data, a pixel RNN, whose "
    "log p(x) is exact, beats an MLP VAE, whose number is a lower bound (the pixel RNN's authors report 79.2 nats on "
    "the static binarization); what the VAE has instead are draws in one step, and codes. Where the budget allows less "
    "than a pass it comes out behind. The RBM's number is too good in expectation: its log Z is by annealed importance "
    "sampling."
)


def out_of_order(results: list[Result]) -> list[str]:
    """Pairs of neighbors, among those that have a number, where the later model is worse by 2 standard errors."""
    scored = [(r.title, r.log_p) for r in results if r.log_p is not None]
    return [
        f"{a} {p.value:.2f} > {b} {q.value:.2f}"
        for (a, p), (b, q) in pairwise(scored)
        if p.value - q.value > 2 * (p.standard_error + q.standard_error)
    ]


def line(result: Result) -> str:
    if result.log_p is None:
        return f"{result.title}: {result.reason}"
    notes = "; ".join(result.notes)
    return f"{result.title}: {result.log_p}, {result.fit_seconds:.0f} s, {result.sample_seconds:.2f} s to draw  {notes}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz with x_train and x_test")
    parser.add_argument("--minutes", type=float, default=60.0, help="for fitting all models")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--n-importance", type=int, default=100)
    parser.add_argument("--test-rows", type=int, help="score only so many of the test images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "comparison.json")
    arguments = parser.parse_args()
    with np.load(arguments.data) as arrays:
        train, test = arrays["x_train"], arrays["x_test"][: arguments.test_rows]
    case = replace(
        case_of(train, test, binarize="sample", seed=arguments.seed), n_importance=arguments.n_importance
    )  # fmt: skip
    record = {
        "command": " ".join(["python", *sys.argv]).replace(str(arguments.data), "mnist.npz"),
        "commit": revision(),
        "machine": machine(),
        "budget_minutes": arguments.minutes,
        "rows": {"fitted": len(train), "scored": len(test)},
        "n_importance": arguments.n_importance,
        "parameters": {name: recorded(own) for name, own in PARAMETERS.items()},
    }
    results: list[Result] = []
    names = arguments.models.split(",")
    for result in compare_models(case, names, seconds=60 * arguments.minutes, parameters=PARAMETERS):
        results.append(result)
        print(line(result), flush=True)
        rungs = [each.to_dict() for each in results]
        more = {"models": rungs, "out_of_order": out_of_order(results), "order": ORDER}
        write_text(arguments.output, json.dumps(record | more, indent=1, ensure_ascii=False) + "\n")
    first = results[0].log_p
    if names[0] == "factorized" and first is not None and len(test) == 10_000:
        assert abs(first.value - INDEPENDENT) < 0.3, f"independent pixels came out at {first.value:.2f} nats"


if __name__ == "__main__":
    main()
