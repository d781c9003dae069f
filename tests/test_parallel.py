"""Several processes train the same model as one does: the same noise, gradient, history, decisions."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
import torch

from lowerbound.data.storage import load_tensors
from lowerbound.distributions import Noise, make_generator
from lowerbound.parallel import ALONE, Processes
from tests import linear_gaussian as toy
from tests import ranks

ROOT = Path(__file__).parent.parent


def environment(**more: str) -> dict[str, str]:
    paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", **more}


def torchrun(
    n: int, *words: object, options: tuple[str, ...] = (), timeout: float = 120
) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}", *options, "-m"]
    return subprocess.run(
        [*command, *map(str, words)], env=environment(), cwd=ROOT, capture_output=True, text=True, timeout=timeout
    )


@pytest.fixture(scope="module")
def alone():
    return ranks.everything()


@pytest.fixture(scope="module", params=[2, 4])
def together(request, tmp_path_factory):
    """What each of several processes came to."""
    path = tmp_path_factory.mktemp("ranks") / "result"
    done = torchrun(request.param, "tests.ranks", "everything", path)
    assert done.returncode == 0, done.stderr
    return [load_tensors(path.with_suffix(f".{rank}"))[0] for rank in range(request.param)]


@pytest.mark.parametrize("case", [f"gradients/{name}" for name in ranks.ESTIMATORS] + ["whole run", "early stopping"])
def test_several_processes_come_to_what_one_comes_to(alone, together, case):
    """To rounding; and all of them to the same bits."""
    names = [name for name in alone if name.startswith(f"{case}.") or name.startswith(f"{case}/")]
    assert len(names) >= 2
    for name in names:
        torch.testing.assert_close(together[0][name], alone[name], rtol=2e-5, atol=2e-6, equal_nan=True)
        assert all(torch.equal(other[name].nan_to_num(), together[0][name].nan_to_num()) for other in together)


def test_without_a_seed_all_take_that_of_the_first(together):
    assert all(torch.equal(other[name], together[0][name]) for other in together for name in ("seed", "codes"))


def test_a_process_that_dies_ends_the_others_with_an_error(tmp_path):
    """Also where nobody but the others can notice: no torchrun, which would end them itself."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    command = [sys.executable, "-m", "tests.ranks", "death", str(tmp_path / "result")]
    processes = [
        subprocess.Popen(
            command, env=environment(RANK=str(rank), LOCAL_RANK=str(rank), **meeting), cwd=ROOT, stderr=subprocess.PIPE
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=60)[1].decode() for process in processes]
    assert processes[1].returncode == -signal.SIGKILL
    assert processes[0].returncode == 1
    assert "LostProcessError: process 0 lost another process of this training" in errors[0]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


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
