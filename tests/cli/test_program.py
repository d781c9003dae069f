"""The program as a process: how fast it helps, how it ends."""

import os
import resource
import subprocess
import sys

import pytest
from tests.cli.conftest import TINY

import lowerbound

COMMAND = [sys.executable, "-m", "lowerbound"]
HEAVY = ("torch", "sklearn", "pandas", "numpy", "matplotlib", "PIL")


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["data", "check", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(words):
    code = f"""
import sys
from lowerbound.cli import main
main({words!r}, standalone_mode=False)
loaded = [name for name in {HEAVY!r} if name in sys.modules]
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_help_takes_less_than_half_a_second():
    def seconds():  # of computing: what else the machine does is not counted
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*COMMAND, "train", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill")
def test_ctrl_c_stops_after_the_epoch_and_saves(program, tmp_path):
    run = tmp_path / "run"
    words = ["train", "digits", "-o", run, "--max-epochs", 100000, "--no-early-stopping", *TINY]
    stopped = program(words, once=str(run / "history.jsonl"), signal="SIGINT")
    assert stopped["code"] == 130
    assert "Traceback" not in stopped["stderr"]
    assert stopped["stderr"].splitlines()[-1] == f"next: lowerbound train -o {run} --resume"
    model = lowerbound.load(run)
    assert model.n_iter_ == len((run / "history.jsonl").read_text().splitlines())
    assert model.sample(2).shape == (2, 8, 8)


def test_a_closed_pipe_is_quiet():
    read, write = os.pipe()
    os.close(read)
    try:
        words = ["train", "--help"]
        result = subprocess.run([*COMMAND, *words], stdout=write, stderr=subprocess.PIPE, check=False, text=True)
    finally:
        os.close(write)
    assert result.stderr == ""
    assert result.returncode == 1


def test_usage_errors_are_2_and_failures_1(cli, tmp_path):
    for words in (
        ["nonsense"],
        ["train"],
        ["train", "digits"],
        ["generate"],
        ["data", "check"],
        ["data", "check", "a", "b"],
    ):
        assert "Usage: " in cli(*words, exit_code=2).stderr
    result = cli("data", "check", tmp_path / "none.csv", exit_code=1)
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied", "/data/x.csv"), "can't read or write /data/x.csv: Permission denied"),
        (MemoryError(), "there is not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried …"), "there is not enough memory"),
        (ValueError("this\n  and that"), "this and that"),
    ],
)
def test_what_can_go_wrong_is_a_sentence(cli, monkeypatch, error, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("lowerbound.data.readers.read.read", fail)
    result = cli("data", "check", "digits", exit_code=1)
    assert result.stderr.startswith(f"error: {message}")
    assert result.stderr.count("\n") == 1


def test_what_cannot_go_wrong_is_not_hidden(cli, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr("lowerbound.data.readers.read.read", fail)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        cli("data", "check", "digits")


def test_interrupted_before_training(cli, monkeypatch, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("lowerbound.data.readers.read.read", interrupt)
    assert cli("train", "digits", "-o", tmp_path / "run", exit_code=130).stderr == "interrupted\n"
    assert not (tmp_path / "run").exists()
