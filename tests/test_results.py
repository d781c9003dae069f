"""Committed results lie between their floor and their ceiling: outside, there is a bug."""

import json
from pathlib import Path

import pytest

RESULTS = sorted((Path(__file__).parents[1] / "benchmarks" / "results").glob("density-*.json"))
BINARIZATION_ENTROPY, INDEPENDENT_PIXELS = 45.53, 205.97  # MNIST, nats an image


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_densities_of_mnist(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    nll, elbo = record["test_nll"]["mean"], record["test_elbo"]["mean"]
    assert BINARIZATION_ENTROPY < nll < INDEPENDENT_PIXELS
    assert BINARIZATION_ENTROPY < -elbo < INDEPENDENT_PIXELS
    assert nll < -elbo + 3 * record["test_elbo"]["standard_error"]
    assert {"command", "commit", "machine", "history"} <= set(record)


def test_there_are_results():
    assert {path.stem for path in RESULTS} >= {"density-mlp", "density-conv"}
