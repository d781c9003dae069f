"""What one process saves another reads the same: with other threads, and other hashes."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("constriction", reason="compression needs constriction: pip install 'lowerbound[compress]'")

import lowerbound
from lowerbound import MLP, VAE, VAEImputer, VAEOutlierDetector

pytestmark = pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")

SOURCE = Path(lowerbound.__file__).parents[1]
rng = np.random.default_rng(0)
FRAME = pd.DataFrame(rng.normal(size=(120, 2)) @ rng.normal(size=(2, 3)) + 5, columns=list("abc"))
FRAME["kind"] = pd.Categorical(rng.choice(["x", "y"], 120))
FRAME["code"] = rng.integers(0, 5, 120).astype(float)
GAPS = FRAME.mask(rng.random(FRAME.shape) < 0.1)
BITS = rng.random((30, 6)) < rng.random((30, 1))
SMALL = VAE(2, network=MLP((8,)), max_epochs=3, random_state=0)

THERE = """
import pickle, sys
from pathlib import Path
import numpy, pandas, torch, lowerbound
folder = Path(sys.argv[1])
assert torch.get_num_threads() == 2
gaps = pandas.read_parquet(folder / "gaps.parquet")
detector, imputer, model = (lowerbound.load(folder / name) for name in ("detector", "imputer", "model"))
numpy.save(folder / "scores.npy", detector.score_samples(gaps))
imputer.set_output(transform="pandas").transform(gaps).to_parquet(folder / "filled.parquet")
numpy.save(folder / "bits.npy", lowerbound.decompress(folder / "bits.lb", model))
unfitted, rows = pickle.loads((folder / "unfitted").read_bytes())
(folder / "fitted").write_bytes(pickle.dumps(unfitted.fit(rows)))
"""


@pytest.fixture(scope="module")
def here():
    """A detector, an imputer and a model, fitted in this process."""
    detector = VAEOutlierDetector(n_steps=30, calibration_fraction=0.2, random_state=0).fit(GAPS)
    return detector, VAEImputer(models=("gaussian", "mixture"), random_state=0).fit(GAPS), SMALL.fit(BITS)


@pytest.fixture(scope="module")
def folder(here, tmp_path_factory):
    """What this process saves, and what another makes of it."""
    folder = tmp_path_factory.mktemp("shared")
    for name, estimator in zip(("detector", "imputer", "model"), here, strict=True):
        estimator.save(folder / name)
    GAPS.to_parquet(folder / "gaps.parquet")
    lowerbound.compress(here[2], BITS, folder / "bits.lb")
    (folder / "unfitted").write_bytes(pickle.dumps((SMALL, BITS)))
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "1"}
    subprocess.run([sys.executable, "-c", THERE, folder], check=True, env=environment)
    return folder


def test_a_detector_gives_the_same_scores(here, folder):
    np.testing.assert_array_equal(np.load(folder / "scores.npy"), here[0].score_samples(GAPS))


def test_an_imputer_fills_the_same(here, folder):
    expected = here[1].set_output(transform="pandas").transform(GAPS)
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "filled.parquet"), expected, check_exact=True)


def test_a_compressed_file_has_the_same_rows(folder):
    np.testing.assert_array_equal(np.load(folder / "bits.npy"), BITS)


def test_an_estimator_sent_there_is_fitted_the_same_and_comes_back(here, folder):
    """As joblib sends them."""
    again = pickle.loads((folder / "fitted").read_bytes())
    np.testing.assert_array_equal(again.transform(BITS), here[2].transform(BITS))
