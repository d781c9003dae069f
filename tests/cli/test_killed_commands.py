"""Every command that writes, killed and given again: the same bytes, and nothing half-written is left.

``KILLS=30 pytest tests/cli/test_killed_commands.py`` kills thirty times in all instead of twice a command.
"""

import os
import random
import time
from pathlib import Path

import pandas as pd
import pytest
from tests.cli.conftest import TABLE_OPTIONS, TINY

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill")

KILLS = int(os.environ.get("KILLS", "0"))
FEW = ("--n-importance", 200)
OLD = 'hidden_layer_sizes = [8]\nlr = 0.01\n[data]\nsource = "digits"\n'  # a configuration of an older version
SEED = ("--random-state", 0)
COMMANDS = {  # the words, those that are added where they are given again, and a file that is written
    "train": (("train", "DATA", *TABLE_OPTIONS, "-o", "OUT/run", *TINY, "--max-epochs", 20), ("--resume",), "last"),
    "train a mixture": (
        ("train", "DATA", *TABLE_OPTIONS, "-o", "OUT/run", "--model", "mixture", *SEED), ("--resume",), "model",
    ),
    "generate": (("generate", "RUN", "-n", 500, "-o", "OUT/new.csv"), ("--force",), "new.csv"),
    "reconstruct": (("reconstruct", "RUN", "DATA", *TABLE_OPTIONS, "-o", "OUT/x.npy"), ("--force",), "x.npy"),
    "encode": (("encode", "RUN", "DATA", *TABLE_OPTIONS, "-o", "OUT/codes.parquet"), ("--force",), "codes"),
    "impute": (("impute", "RUN", "GAPS", *TABLE_OPTIONS, "-o", "OUT/filled.csv", *FEW), ("--force",), "filled.csv"),
    "outliers": (("outliers", "RUN", "DATA", *TABLE_OPTIONS, "-o", "OUT/o.csv", "--plot"), ("--force",), "o.csv"),
    "evaluate": (("evaluate", "RUN", "GAPS", *TABLE_OPTIONS, *FEW), (), "evaluation"),
    "compare": (
        ("compare", "DATA", *TABLE_OPTIONS, "--models", "factorized,ppca", "-o", "OUT/x.png"), ("--force",), "x.png",
    ),
    "config upgrade": (("config", "upgrade", "OUT/old.toml"), (), "old.toml"),
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(program, table, table_run, tmp_path_factory):
    """The files that commands read, by the words that stand for them."""
    gaps = tmp_path_factory.mktemp("gaps") / "gaps.csv"
    frame = pd.read_csv(table)
    frame.loc[::3, "weight"] = None
    frame.to_csv(gaps, index=False)
    return {"DATA": table, "GAPS": gaps, "RUN": table_run}


class Command:
    """A command with outputs in a folder of its own."""

    def __init__(self, program, words, folder, inputs):
        self.program, self.folder, self.inputs = program, folder, inputs
        folder.mkdir()
        self.words = [str(inputs.get(word, str(word).replace("OUT", str(folder)))) for word in words]
        if "upgrade" in words:
            (folder / "old.toml").write_text(OLD)

    def __call__(self, *more, **kill):
        return self.program([*self.words, *map(str, more), "-q"], **kill)

    def content(self):
        """The bytes of all outputs, without those that name the time or the folder."""
        apart = ("environment.json", "history.jsonl", "config.toml", "last.safetensors")
        files = sorted(path for path in self.folder.rglob("*") if path.is_file() and path.name not in apart)
        return {str(path.relative_to(self.folder)): self.without_times(path) for path in files}

    def without_times(self, path):
        content = path.read_bytes()
        return content if path.name != "model.json" else content.partition(b'"seconds"')[0]

    def strays(self):
        """What a killed process left."""
        hidden = [path for folder in (self.folder, self.inputs["RUN"]) for path in folder.rglob(".*")]
        return hidden + list(Path(self.inputs["RUN"]).glob("evaluation-*"))


def kills(name, seconds, writes):
    """Ways of being killed: while a file is being moved into place, and at any moment, by either signal."""
    moments = random.Random(name)
    n = KILLS // len(COMMANDS) if KILLS else 2
    first = [{"at": ("before the rename", writes, 1)}]
    later = [{"after": moments.uniform(0.1, 0.9) * seconds, "signal": ("SIGTERM", "SIGKILL")[i % 2]} for i in range(n)]
    return (first + later)[: max(n, 2)]


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_and_given_again_it_writes_the_same_and_leaves_nothing(program, inputs, tmp_path, name):
    words, again, writes = COMMANDS[name]
    whole = Command(program, words, tmp_path / "whole", inputs)
    started = time.monotonic()
    expected = whole()
    seconds = time.monotonic() - started
    assert expected["code"] == 0, expected["stderr"]
    command = Command(program, words, tmp_path / "killed", inputs)
    for i, kill in enumerate(kills(name, seconds, writes)):
        died = command(*(again if i else ()), **kill)
        assert died["code"] in (-9, 130, 0), died["stderr"]
        assert (died["code"] == 130) <= ("interrupted" in died["stderr"] or "train" in name)
    result = command(*again)
    assert result["code"] == 0, result["stderr"]
    assert command.strays() == []
    if name in ("evaluate", "compare"):
        assert result["stdout"].split("draws, s")[0] == expected["stdout"].split("draws, s")[0]
    assert command.content() == whole.content()
