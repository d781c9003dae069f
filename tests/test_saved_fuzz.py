"""Broken models, configurations, descriptions and states end in a result or a sentence: no other error, no hang.

900 of them, the same each time; LOWERBOUND_FUZZ=100000 tries more.
"""

import copy
import json
import os
import resource
import time
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch

from lowerbound import load
from lowerbound.cli.config import read_file
from lowerbound.cli.output import Failure
from lowerbound.cli.run import Run
from lowerbound.cli.scoring import Partial
from lowerbound.data.columns.inference import infer_columns
from lowerbound.storage.atomic import SavedFileError, save_tensors
from lowerbound.storage.opening import read_json
from lowerbound.training.checkpoints import Checkpoints
from tests.saved_models import FRAME

FIXTURES = Path(__file__).parent / "fixtures"
FOLDERS = sorted(path.parent.relative_to(FIXTURES).as_posix() for path in FIXTURES.glob("*/*/model.json"))
N = int(os.environ.get("LOWERBOUND_FUZZ", "900"))
N_MODELS, N_OTHERS = N // 2 // len(FOLDERS), N // 12
MOST_SECONDS, MOST_MEMORY = 5, 2**29  # of one input, and of all
MOST_BYTES = 10**7  # larger descriptions are read, and take their time
DEEP = json.loads("[" * 60 + "]" * 60)
VALUES = [
    None, True, False, 0, 1, -1, 2, 7, 10**5, 10**9, 10**12, 10**30, -(10**9), 0.5, -0.0, 1e308, float("nan"),
    float("inf"), "", "x", "auto", "VAE", "Gaussian", "../../x", "\0", "é" * 300, [], {}, [[]], [1] * 1000, [10**9] * 3,
    {"kind": "mlp"}, {"kind": "ladder", "n_levels": 10**9}, {"kind": "mlp", "hidden_layer_sizes": [10**5, 10**5]}, DEEP,
]  # fmt: skip
BYTES = [b"", b"\0", b"\xff\xfe", b"{", b"[" * 100_000, b'{"a":' * 50_000, b"1e999", b"9" * 5000, b'"', b",", b"NaN"]


def places(value, path=()):
    """Every place in a record, as the keys that lead there."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [path] if path else []
    for key, each in inner:
        found += places(each, (*path, key))
    return found


def mutated(record, rng):
    """A record with one to three values that were replaced, deleted, exchanged or added."""
    record = copy.deepcopy(record)
    for _ in range(rng.integers(1, 4)):
        everywhere = places(record)
        if not everywhere:
            break
        path = everywhere[rng.integers(len(everywhere))]
        owner = record
        for key in path[:-1]:
            owner = owner[key]
        match rng.integers(6):
            case 0:
                del owner[path[-1]]
            case 1:
                owner[path[-1]] = copy.deepcopy(record)
            case 2 if isinstance(owner, list):
                owner += owner * int(rng.integers(1, 100))
            case 3 if isinstance(owner, dict):
                owner["strange"] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
            case _:
                owner[path[-1]] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
    return record


def edited(content: bytes, rng) -> bytes:
    """Bytes of which some were cut, flipped or written over."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at, more = int(rng.integers(len(content) + 1)), BYTES[rng.integers(len(BYTES))]
        match rng.integers(4):
            case 0:
                del content[at : at + int(rng.integers(100))]
            case 1:
                content[at : at + len(more)] = more
            case 2:
                content[at:at] = more
            case _ if at < len(content):
                content[at] ^= 1 << int(rng.integers(8))
    return bytes(content)


class Watched:
    """What came of many inputs, each of which has to be quick; their memory together is bounded."""

    def __init__(self):
        self.results, self.messages, self.slowest = 0, [], 0.0

    def __enter__(self):
        self.before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return self

    def __exit__(self, *error):
        if error[0] is None:
            taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self.before
            assert taken * 1024 < MOST_MEMORY
            assert self.slowest < MOST_SECONDS
            assert self.messages
            wrong = [m for m in self.messages if not m or len(m) > 2000 or "\n" in m]
            assert not wrong, wrong[0][:3000]

    def take(self, use, *errors):
        """Use one input."""
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                use()
                self.results += 1
            except errors as error:
                self.messages.append(str(error))
        self.slowest = max(self.slowest, time.process_time() - started)


@pytest.mark.parametrize("name", FOLDERS)
def test_broken_models(name, tmp_path):
    rng = np.random.default_rng(FOLDERS.index(name))
    content = (FIXTURES / name / "model.json").read_bytes()
    [weights] = (FIXTURES / name).glob("*.safetensors")
    (tmp_path / weights.name).write_bytes(weights.read_bytes())
    with Watched() as watched:
        for i in range(N_MODELS):
            broken = edited(content, rng) if i % 8 == 0 else json.dumps(mutated(json.loads(content), rng)).encode()
            if len(broken) > MOST_BYTES:
                continue
            (tmp_path / "model.json").write_bytes(broken)
            watched.take(lambda: load(tmp_path), SavedFileError)


CONFIG = b"""model = "vae"
latent_dim = 2
max_epochs = 3
[network]
kind = "mlp"
hidden_layer_sizes = [8, 8]
[likelihood]
kind = "gaussian"
min_scale = 0.01
[data]
source = "x.csv"
drop = ["a", "b"]
stream = false
"""
COLUMNS = {
    "columns": [{"name": "a", "kind": "continuous"}, {"name": "word", "kind": "categorical", "categories": ["x"]}]
}


def test_broken_configurations(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "config.toml"
    with Watched() as watched:
        for i in range(N_OTHERS):
            broken = edited(CONFIG, rng)
            if i % 2:
                try:
                    broken = tomli_w.dumps(mutated(tomllib.loads(CONFIG.decode()), rng)).encode()
                except (TypeError, RecursionError):  # what TOML can't hold
                    continue
            path.write_bytes(broken)
            watched.take(lambda: read_file(path), Failure)


def test_broken_descriptions_of_columns(tmp_path):
    rng, path = np.random.default_rng(1), tmp_path / "columns.json"
    content, rows = json.dumps(COLUMNS).encode(), FRAME[:30]
    with Watched() as watched:
        for i in range(N_OTHERS):
            broken = edited(content, rng) if i % 2 else json.dumps(mutated(COLUMNS, rng)).encode()
            path.write_bytes(broken)
            watched.take(lambda: infer_columns(rows, str(path)), ValueError)


def test_broken_checkpoints(tmp_path):
    rng = np.random.default_rng(2)
    progress = {"epoch": 2, "n_batches": 0, "best": float("-inf"), "best_epoch": 0, "history": [{}]}
    metadata = {"settings": {"lr": 0.1}, "seed": 0, "progress": progress | {"objective": {"step": 3, "baseline": None}}}
    checkpoints = Checkpoints(tmp_path)
    save_tensors(checkpoints.last, {"weights.w": torch.zeros(3)}, metadata)
    content = checkpoints.last.read_bytes()
    with Watched() as watched:
        watched.take(checkpoints.load, SavedFileError)
        assert watched.results == 1
        for i in range(N_OTHERS):
            if i % 2:
                checkpoints.last.write_bytes(edited(content, rng))
            else:
                save_tensors(checkpoints.last, {"weights.w": torch.zeros(3)}, mutated(metadata, rng))
            watched.take(checkpoints.load, SavedFileError)


def test_broken_results_and_records(tmp_path, capsys):
    rng = np.random.default_rng(3)
    partial, run = Partial(tmp_path, {}), Run(tmp_path)
    partial.write([(np.zeros(9), np.ones(9))], now=True)
    content, told = partial.path.read_bytes(), {"seed": 0, "data": {"sha256": "x", "shape": [3, 4]}, "resumed": [{}]}
    assert len(partial.read()[0][0]) == 9
    for i in range(N_OTHERS):
        partial = Partial(tmp_path, {})
        partial.path.write_bytes(edited(content, rng))
        found = partial.read()
        assert not found or len(found[0][0]) == len(found[0][1])
        run.environment.write_bytes(
            edited(json.dumps(told).encode(), rng) if i % 2 else json.dumps(mutated(told, rng)).encode()
        )
        assert isinstance(run.read_environment().get("data", {}), dict)
    assert "can't be read" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}"])
def test_deep_json_is_named(tmp_path, content):
    (tmp_path / "deep.json").write_bytes(content)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json(tmp_path / "deep.json")
