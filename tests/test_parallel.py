"""Several processes train the same model as one does: the same noise, gradient, history, decisions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from lowerbound import parallel
from lowerbound.cli import main
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.parallel import ALONE, Processes
from lowerbound.storage.atomic import load_tensors, save_tensors
from tests import linear_gaussian as toy
from tests import ranks

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def alone():
    return ranks.everything()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks") / "result"


@pytest.fixture(scope="module")
def ended(path):
    """Several processes that have ended: their exit codes by what they did, and what they wrote to stderr."""
    save_tensors(path.with_suffix(".alone"), *ranks.first_part().state())
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "tests.ranks", path]
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.fixture(scope="module")
def launched(ended, path):
    assert ended[0]["together"] == [0] * ranks.SIZE, ended[1]
    results = [load_tensors(path.with_suffix(f".{rank}"))[0] for rank in range(ranks.SIZE)]
    return results, [load_tensors(path.with_suffix(f".{rank}.state")) for rank in range(ranks.SIZE)]


@pytest.fixture(scope="module")
def together(launched):
    """What each of several processes came to."""
    return launched[0]


@pytest.mark.parametrize(
    "case", [f"gradients/{name}" for name in ranks.ESTIMATORS] + ["whole", "early stopping", "long"]
)
def test_several_processes_come_to_what_one_comes_to(alone, together, case):
    """To rounding; and all of them to the same bits."""
    names = [name for name in alone if name.startswith(f"{case}.") or name.startswith(f"{case}/")]
    assert len(names) >= 2
    for name in names:
        torch.testing.assert_close(together[0][name], alone[name], rtol=2e-5, atol=2e-6, equal_nan=True)
        assert all(torch.equal(other[name].nan_to_num(), together[0][name].nan_to_num()) for other in together)


def test_continuing_within_an_epoch_is_bit_exact_with_as_many_processes(together):
    for here in together:
        assert torch.equal(here["rest of own/weights"], here["long/weights"])
        torch.testing.assert_close(here["rest of own/history"], here["long/history"])


def test_a_run_continues_with_another_number_of_processes(alone, launched):
    """To rounding: one process what several began, and several what one began."""
    together, states = launched
    fewer = ranks.rest(states[0])
    for name in ("weights", "history"):
        torch.testing.assert_close(fewer[name], alone[f"long/{name}"], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(together[0][f"rest of alone/{name}"], alone[f"long/{name}"], rtol=1e-5, atol=1e-6)


def test_without_a_seed_all_take_that_of_the_first(together):
    assert all(torch.equal(other[name], together[0][name]) for other in together for name in ("seed", "codes"))


def test_a_process_that_dies_ends_the_others_with_an_error(ended):
    """Also where nobody but the others can notice: no torchrun, which would end them itself."""
    codes, errors = ended
    assert codes["death"] == [1, -signal.SIGKILL]
    assert "LostProcessError: process 0 lost another process of this training" in errors


def test_what_the_dead_left_in_the_store_is_not_read():
    """Processes that are started again meet in the same store, one sooner than the other."""
    store = torch.distributed.HashStore()

    def met(rank: int) -> bytes | None:
        time.sleep(0.2 * rank)
        mine = parallel._of_these(store, rank, 2)
        mine.set(f"here {rank}", f"round {turn}")
        return mine.get(f"here {1 - rank}")

    for turn in range(3):
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(met, range(2))) == [f"round {turn}".encode()] * 2


def test_a_command_that_torchrun_starts_again_continues(ended, path, tmp_path):
    """Processes of 64 rows each take the steps of one with 128."""
    run, alone = path.with_suffix(".run"), tmp_path / "alone"
    [resumed] = json.loads((run / "environment.json").read_text())["resumed"]
    assert 0 < resumed["step"] < ranks.EPOCHS * 14
    assert tomllib.loads((run / "config.toml").read_text())["batch_size"] == 128
    main([*map(str, ranks.RUN), "-o", str(alone), "--batch-size", "128"], standalone_mode=False)
    histories = [
        [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()] for folder in (run, alone)
    ]
    assert [record["epoch"] for record in histories[0]] == list(range(1, ranks.EPOCHS + 1))
    for ours, expected in zip(*histories, strict=True):
        assert ours["elbo"] == pytest.approx(expected["elbo"], rel=1e-3)


@pytest.mark.parametrize("words", [["evaluate", "run", "digits"], ["train", "digits", "--dry-run"]])
def test_what_one_process_does_is_refused_once(monkeypatch, words):
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 2
        said.append(result.output)
    assert "works in one process: start it without torchrun" in said[0]
    assert said[1] == ""


def test_one_batch_size_is_enough():
    result = CliRunner().invoke(main, ["train", "digits", "--batch-size", "8", "--batch-size-per-device", "4"])
    assert result.exit_code == 2
    assert "--batch-size counts the rows of all processes together" in result.output


@pytest.mark.parametrize("size", [2, 4, 7])
def test_a_batch_is_divided_without_rest_or_overlap(size):
    for n_rows in (1, 3, 16, 50):
        shares = [Processes(rank, size).share(n_rows) for rank in range(size)]
        rows = [list(range(share.start, share.stop)) for share in shares]
        assert all(rows)  # also those that don't count
        counted = [part if share.counts else [] for part, share in zip(rows, shares, strict=True)]
        assert list(chain(*counted)) == list(range(n_rows))
        assert max(map(len, counted)) - min(map(len, counted)) <= 1


@pytest.mark.parametrize("size", [2, 4])
def test_noise_belongs_to_the_row_whatever_the_number_of_processes(size):
    """The numbers of a row, and all that are drawn later, are bit for bit those of one process."""
    rows = toy.rows(toy.numbers(11, toy.F, seed=1))

    def drawn(processes: Processes) -> list[tuple[bool, torch.Tensor, torch.Tensor, torch.Tensor]]:
        noise, order = Noise(make_generator(0, "noise")), make_generator(0, "order")
        return [
            (
                batch.share.counts,
                batch.index,
                noise.normal((3, len(batch.x), 2), batch.x),
                noise.uniform((1, *batch.x.shape), batch.x),
            )
            for batch in rows.batches(4, noise, order, processes=processes)
        ]

    parts = [drawn(Processes(rank, size)) for rank in range(size)]
    for whole, *shares in zip(drawn(ALONE), *parts, strict=True):
        _, index, normal, uniform = zip(*(share for share in shares if share[0]), strict=True)
        assert torch.equal(torch.cat(index), whole[1])
        assert torch.equal(torch.cat(normal, 1), whole[2])
        assert torch.equal(torch.cat(uniform, 1), whole[3])
