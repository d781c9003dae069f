"""Ranked in parts is ranked as a whole."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lowerbound.storage import spool
from lowerbound.storage.spool import Ranking, Spool


@pytest.fixture(autouse=True)
def short_runs(monkeypatch):
    monkeypatch.setattr(spool, "RUN", 32)
    monkeypatch.setattr(spool, "PIECE", 5)


def rows(n):
    rng = np.random.default_rng(0)
    score = rng.integers(0, 20, n) / 3  # with many ties
    why = [f'because "{i}",\nit is' * (i % 4) for i in range(n)]
    return pd.DataFrame({"row": np.arange(n), "score": score, "why": why, "kind": rng.choice(["a", "ä"], n)})


@pytest.mark.parametrize("n", [1, 31, 32, 33, 64, 500])
@pytest.mark.parametrize("step", [1, 7, 32, 100, 1000])
def test_it_is_that_of_the_whole(tmp_path, n, step):
    frame = rows(n)
    with Ranking(tmp_path, "score") as ranked:
        for first in range(0, n, step):
            ranked.add(frame[first : first + step])
        found = list(ranked.blocks())
        assert all(len(block) == 32 for block in found[:-1])
        whole = frame.sort_values("score", ascending=False, kind="stable", ignore_index=True)
        pd.testing.assert_frame_equal(pd.concat(found, ignore_index=True), whole, check_dtype=False)
        pd.testing.assert_frame_equal(next(ranked.blocks()), found[0])
        assert (ranked.scores == frame["score"]).all()
        assert (ranked.order == whole["row"]).all()
    assert list(tmp_path.iterdir()) == []


def test_scores_that_are_no_numbers_come_last(tmp_path):
    frame = pd.DataFrame({"row": np.arange(100), "score": np.where(np.arange(100) % 9, np.arange(100.0), np.nan)})
    with Ranking(tmp_path, "score") as ranked:
        ranked.add(frame)
        row = np.concatenate([block["row"] for block in ranked.blocks()])
    assert row[:3].tolist() == [98, 97, 96]
    assert (row[-12:] == np.arange(0, 100, 9)).all()


def test_nothing_is_left_where_it_fails(tmp_path):
    with pytest.raises(KeyError), Ranking(tmp_path, "score") as ranked:
        ranked.add(rows(100).rename(columns={"score": "another"}))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        Ranking(tmp_path / "nowhere", "score")


def test_categories_come_back_whatever_their_number(tmp_path):
    frames = [
        pd.DataFrame({"c": pd.Categorical([f"{i}" for i in range(n)], [f"{i}" for i in range(n)][::-1], ordered=True)})
        for n in (3, 300, 40_000)
    ]
    with Spool(tmp_path) as spooled:
        places = [spooled.put(frame, len(frame) // 2) for frame in frames]  # in two pieces or three
        for frame, place in zip(frames, places, strict=True):
            pd.testing.assert_frame_equal(spooled.get(place).to_pandas(), frame)


def fill_a_full_disk(folder):
    frame = pd.DataFrame({"x": np.arange(100_000)})
    with Spool(folder) as spooled:
        spooled.file.close()
        spooled.file = open("/dev/full", "r+b")  # noqa: SIM115
        spooled.put(frame.head(10))  # which fits into a buffer, that can't be written when the file is closed either
        spooled.put(frame)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named(tmp_path):
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}'"):
        fill_a_full_disk(tmp_path)
