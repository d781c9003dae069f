"""A command line to call, small data, and runs that tests share and don't change."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lowerbound.cli import main

ROOT = Path(__file__).parents[2]
TINY = ("--hidden-layer-sizes", "8", "--latent-dim", "3", "--random-state", "0")


@pytest.fixture(scope="session")
def cli():
    """Call the program: ``cli("train", "digits", ..., exit_code=1)``."""

    def call(*words, exit_code=0):
        result = CliRunner().invoke(main, [str(word) for word in words])
        unforeseen = result.exception is not None and not isinstance(result.exception, SystemExit)
        if unforeseen:
            raise result.exception
        assert result.exit_code == exit_code, result.output
        return result

    return call


@pytest.fixture(scope="session")
def program():
    """Run the program in a process of its own; ``program(words, after=0.2)`` kills it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.cli.forks"]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=-1, stdout=-1, text=True)

    def call(words, **request):
        server.stdin.write(json.dumps({"words": [str(word) for word in words], **request}) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    yield call
    server.communicate(timeout=30)


def write_table(path, n_rows, seed):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal(n_rows)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "height", "weight", "age", "class"])
        for i in range(n_rows):
            height, weight = 170 + 10 * z[i], 70 + 8 * z[i] + rng.normal()
            age, group = int(rng.integers(20, 80)), "a" if z[i] > 0 else "b"
            writer.writerow([f"p{i}", round(height, 3), round(weight, 3), age, group])
    return path


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """A table of 90 rows: id, three features, a class."""
    return write_table(tmp_path_factory.mktemp("data") / "people.csv", 90, seed=0)


@pytest.fixture(scope="session")
def other_table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("data") / "others.csv", 40, seed=1)


TABLE_OPTIONS = ("--drop", "id", "--label", "class")


@pytest.fixture(scope="session")
def table_run(cli, table, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "table"
    cli("train", table, *TABLE_OPTIONS, "-o", run, "--max-epochs", 3, *TINY, "-q")
    return run


@pytest.fixture(scope="session")
def digits_run(cli, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "digits"
    cli("train", "digits", "-o", run, "--max-epochs", 2, *TINY, "-q")
    return run


@pytest.fixture
def images(tmp_path):
    """A few of the digits, in an archive with their labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    path = tmp_path / "few.npz"
    np.savez(path, x=(data.images[:40] * 255 / 16).round().astype(np.uint8), y=data.target[:40])
    return path
