"""Committed results lie between their floor and their ceiling: outside, there is a bug."""

import json
import tomllib
from pathlib import Path

import pytest

from lowerbound import VAE

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
RESULTS = sorted((BENCHMARKS / "results").glob("density-*.json"))
RECIPES = sorted((BENCHMARKS / "recipes").glob("*.toml"))
# nats an image: the mean entropy of the binarization, and independent pixels
BINARY = {"mnist": (45.53, 205.97), "fashion_mnist": (189.86, 385.03)}
# bits a dimension: below what the best published models of such images reach, and above one byte
BYTES = {"mnist": (0.5, 8.0), "fashion_mnist": (1.5, 8.0), "freyfaces": (3.0, 8.0)}


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_densities_of_images(path):
    record = read(path)
    nll, elbo, data = record["test_nll"]["mean"], record["test_elbo"]["mean"], record.get("data", "mnist")
    if "bits_per_dim" in record:
        floor, ceiling = BYTES[data]
        assert floor < record["bits_per_dim"] < ceiling
    else:
        floor, ceiling = BINARY[data]
        assert floor < nll < ceiling
        assert floor < -elbo < ceiling
    error = record["test_elbo"]["standard_error"]
    if record["test_nll"]["n_rows"] == record["test_elbo"]["n_rows"]:
        assert nll < -elbo + 3 * error
    if "test_nll_by_difference" in record:
        better = record["test_nll_by_difference"]
        assert better["mean"] < -elbo
        assert abs(better["mean"] - nll) < 4 * record["test_nll"]["standard_error"]
        assert better["standard_error"] < record["test_nll"]["standard_error"]
    assert {"command", "commit", "machine", "history", "epochs", "n_weights"} <= set(record)
    assert record["epochs"] == len(record["history"]) == record["history"][-1]["epoch"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_of_known_parameters(path):
    recipe = tomllib.loads(path.read_text(encoding="utf-8"))
    assert {"title", "data", "published", "deviations", "parameters", "evaluation"} == set(recipe) - {"continues"}
    assert recipe.get("continues", path.stem) in {other.stem for other in RECIPES}
    assert recipe["data"] in BYTES
    for name, value in recipe["parameters"].items():
        VAE.PARAMETERS[name].check(VAE.PARAMETERS[name].from_plain(value))


def test_there_are_results():
    assert {path.stem for path in RESULTS} >= {"density-mlp", "density-conv"}
    assert {path.stem.removeprefix("density-") for path in RESULTS} <= {path.stem for path in RECIPES}


def test_the_ways_to_log_p_agree_and_the_sandwich_closes():
    found = {r["of"]: r for r in read(BENCHMARKS / "results" / "evidence.json")["measured"]}
    assert found["gap"]["mean"] < 0.5
    error = max(found["ais"]["standard_error"], found["importance"]["standard_error"])
    assert found["elbo"]["mean"] < found["importance"]["mean"]
    assert found["ais"]["mean"] > found["importance"]["mean"] - 4 * error
    assert found["naive"]["mean"] < found["importance"]["mean"]
