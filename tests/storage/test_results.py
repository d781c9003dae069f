"""Parts that are written one after another are the whole."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from lowerbound.storage.results import write_parts

rng = np.random.default_rng(0)
ROWS = rng.standard_normal((100, 3)).astype(np.float32)
LABELS = np.array(["ä", "b, c"] * 50)
NAMES = ["x", "y", "z"]


def parts(*places):
    bounds = [0, *places, 100]
    return ((ROWS[a:b], {"label": LABELS[a:b]}) for a, b in pairwise(bounds))


@pytest.mark.parametrize("ending", [".npy", ".csv", ".parquet"])
@pytest.mark.parametrize("places", [(), (50,), (1, 2, 99)])
def test_parts_are_the_whole(tmp_path, ending, places):
    path = tmp_path / f"out{ending}"
    assert write_parts(path, parts(*places), NAMES, 100) == (100, 3)
    if ending == ".npy":
        np.save(tmp_path / "whole.npy", ROWS)
        assert path.read_bytes() == (tmp_path / "whole.npy").read_bytes()
    elif ending == ".csv":
        whole = pd.DataFrame({"label": LABELS}).join(pd.DataFrame(ROWS, columns=NAMES))
        whole.to_csv(tmp_path / "whole.csv", index=False, float_format="%.9g")
        assert path.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    else:
        written = pd.read_parquet(path)
        assert np.array_equal(written[NAMES].to_numpy(), ROWS)
        assert written["label"].tolist() == LABELS.tolist()


@pytest.mark.parametrize("ending", [".npy", ".csv", ".parquet"])
def test_a_failure_leaves_what_was_there(tmp_path, ending):
    path = tmp_path / f"out{ending}"
    path.write_text("before")

    def broken():
        yield next(parts(50))
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_parts(path, broken(), NAMES, 100)
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_images_go_into_an_array(tmp_path):
    X = rng.integers(0, 256, (10, 4, 5, 3), np.uint8)
    assert write_parts(tmp_path / "x.npy", [(X[:3], {}), (X[3:], {})], [], 10) == X.shape
    assert np.array_equal(np.load(tmp_path / "x.npy"), X)
