"""Real processes, killed at any moment and with the disk full: what was written before always survives."""

import os
import random
import subprocess

import pytest
import torch
from tests.cli.conftest import TABLE_OPTIONS, TINY
from tests.cli.test_train import records, same

import lowerbound
from lowerbound.cli.run import Run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill")

EPOCHS = 50  # of 6 steps
POINTS = ("half written", "before the rename", "after the rename")


def words(table, run, *more):
    chosen = ("--max-epochs", EPOCHS, "--patience", EPOCHS, "--checkpoint-seconds", 0.01, "-q")
    return ["train", table, *TABLE_OPTIONS, "-o", run, *TINY, *chosen, *more]


@pytest.fixture(scope="module")
def whole(program, table, tmp_path_factory):
    """A run that was never stopped."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert program(words(table, run))["code"] == 0
    return run


@pytest.fixture(scope="module")
def seconds(whole):
    """How long that took, on this machine."""
    return records(whole)[-1]["seconds"]


def step(run):
    """Where a run would continue; raises if the checkpoint is damaged."""
    state = Run(run).checkpoints().load()
    return 0 if state is None else state[1]["progress"]["objective"]["step"]


def test_killed_twenty_times_and_resumed_is_bit_identical(program, table, whole, seconds, tmp_path):
    """At random moments, and within the writing of a checkpoint; the run is continued again and again."""
    run, moments = tmp_path / "run", random.Random(0)
    first = [{"at": (point, "best", 1)} for point in POINTS]
    inside = [{"at": (point, "last", n)} for point in POINTS for n in (2, 5)]
    later = [{"after": 0.05 + moments.uniform(0, seconds / 15)} for _ in range(11)] + inside
    kills = first + moments.sample(later, len(later))
    assert len(kills) == 20
    reached = [0]
    for kill in kills:
        assert program(words(table, run, "--resume"), **kill)["code"] == -9
        reached.append(step(run))
        assert reached[-1] >= reached[-2]
    assert len(set(reached)) > 5  # else the kills came too early to show anything
    assert reached[-1] < EPOCHS * 6
    assert program(words(table, run, "--resume"))["code"] == 0
    assert same(run, whole)
    assert [record["epoch"] for record in records(run)] == list(range(1, EPOCHS + 1))
    assert not list(run.rglob(".*"))  # nothing half-written is left


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_stopped_by_a_signal_within_an_epoch_and_resumed_is_bit_identical(
    program, table, whole, seconds, tmp_path, number
):
    run = tmp_path / "run"
    stopped = program([*words(table, run, "--checkpoint-seconds", 1000), "-q"], after=0.1 + seconds / 4, signal=number)
    assert stopped["code"] == 130, stopped["stderr"]
    assert step(run) < EPOCHS * 6
    assert program(["train", "-o", run, "--resume", "-q"])["code"] == 0
    assert same(run, whole)


def full_disk(program, table, run, whole, **limit):
    """Ends with a sentence; what was there is unharmed; goes on when there is room."""
    before = {path: path.read_bytes() for path in run.rglob("*.safetensors")}
    reached = step(run)
    result = program(words(table, run, "--resume"), **limit)
    assert result["code"] == 1
    assert result["stderr"].splitlines()[-1].startswith("error: can't read or write ")
    assert str(run) in result["stderr"]
    after = {path: path.read_bytes() for path in run.rglob("*.safetensors")}
    assert before.items() <= after.items()  # a best one, which is smaller, may have found room
    assert step(run) == reached
    assert not list(run.rglob(".*"))


def test_no_room_for_a_checkpoint(program, table, whole, tmp_path):
    run = tmp_path / "run"
    program(words(table, run), at=("after the rename", "last", 5))
    size = (run / "checkpoint" / "last.safetensors").stat().st_size
    full_disk(program, table, run, whole, largest=size // 2)
    assert program(words(table, run, "--resume"))["code"] == 0
    assert same(run, whole)


def test_a_full_disk(program, table, whole, tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system takes root")
    try:
        run = folder / "run"
        program(words(table, run), at=("after the rename", "last", 5))
        filler = folder / "filler"
        room = os.statvfs(folder)
        filler.write_bytes(bytes(room.f_bavail * room.f_frsize))
        full_disk(program, table, run, whole)
        filler.unlink()
        assert program(words(table, run, "--resume"))["code"] == 0
        assert same(run, whole)
        assert torch.equal(*(next(lowerbound.load(path).model_.parameters()) for path in (run, whole)))
    finally:
        subprocess.run(["umount", str(folder)], check=True)
