"""Detectors that learn from a stream: one pass a call, compared with a sample of all rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from lowerbound import VAEOutlierDetector, load
from lowerbound.outliers import stream
from lowerbound.outliers.stream import Stream

PART = 300


def mixture(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    loadings = np.random.default_rng(0).normal(size=(2, 5))
    return rng.normal(size=(n, 2)) @ loadings + 0.3 * rng.normal(size=(n, 5))


def learned(X: np.ndarray, **parameters) -> VAEOutlierDetector:
    detector = VAEOutlierDetector(random_state=0, **parameters)
    for part in np.split(X, range(PART, len(X), PART)):
        detector.partial_fit(part)
    return detector


class Case(NamedTuple):
    X: np.ndarray
    detector: VAEOutlierDetector


@pytest.fixture(scope="module")
def case() -> Case:
    X = mixture(6 * PART, 1)
    return Case(X, learned(X, n_estimators=1, contamination=0.1))


def test_scores_rank_as_after_fit(case):
    rng = np.random.default_rng(2)
    new = np.concatenate([mixture(300, 3), 2 * rng.normal(size=(60, 5))])
    fitted = VAEOutlierDetector(n_estimators=1, random_state=0).fit(case.X)
    assert spearmanr(case.detector.score_samples(new), fitted.score_samples(new))[0] > 0.9
    is_normal = np.arange(len(new)) < 300
    found, wanted = (roc_auc_score(is_normal, each.score_samples(new)) for each in (case.detector, fitted))
    assert found > wanted - 0.03


def test_the_threshold_is_that_of_the_rows_kept(case):
    kept = case.detector._stream.rows
    assert len(kept) == stream.ROWS_KEPT == len(case.detector.training_scores_)
    assert np.mean(case.detector.predict(kept) == -1) == pytest.approx(0.1, abs=2e-3)
    assert np.mean(case.detector.predict(mixture(1000, 4)) == -1) == pytest.approx(0.1, abs=0.05)


def test_the_rows_kept_are_a_uniform_sample(monkeypatch):
    monkeypatch.setattr(stream, "ROWS_KEPT", 20)
    counts = np.zeros(100)
    for seed in range(500):
        kept = Stream.begun(np.arange(30)[:, None], seed)
        for first in range(30, 100, 35):
            kept = kept.continued(np.arange(first, first + 35)[:, None])
        assert kept.n_seen == 100
        assert len(np.unique(kept.rows)) == 20
        counts[kept.rows.ravel()] += 1
    assert np.square((counts - 100) / 80**0.5).mean() == pytest.approx(1, abs=0.6)  # variance 500 · 0.2 · 0.8


def test_the_same_seed_gives_the_same():
    X = mixture(200, 5)
    first, second = (learned(X, n_estimators=1).score_samples(X[:50]) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("frame", [False, True])
def test_a_saved_detector_goes_on(frame, tmp_path):
    X = mixture(300, 6)
    X[0, 1] = np.nan
    X = pd.DataFrame(X, columns=list("abcde")) if frame else X
    detector = VAEOutlierDetector(n_estimators=1).partial_fit(X[:200])
    detector.save(tmp_path / "detector")
    again = load(tmp_path / "detector")
    np.testing.assert_array_equal(again.score_samples(X), detector.score_samples(X))
    for each in (again, detector):
        each.partial_fit(X[200:])
        assert each._stream.n_seen == 300
    np.testing.assert_array_equal(again._stream.rows, detector._stream.rows)
    np.testing.assert_array_equal(again.estimators_[0].schema_.counted, detector.estimators_[0].schema_.counted)
    assert again.predict(X).shape == (300,)


def test_later_calls_keep_the_schema(case):
    with pytest.raises(ValueError, match="features"):
        case.detector.partial_fit(case.X[:, :4])


def test_what_a_stream_cannot_be_is_said(case):
    X = mixture(40, 0)
    fitted = VAEOutlierDetector(n_steps=2, n_estimators=1).fit(X)
    for detector, rows, message in (
        (VAEOutlierDetector(case.detector.estimators_[0]), X, "change the fitted estimator"),
        (VAEOutlierDetector(calibration_fraction=0.2), X, "holds no rows out"),
        (fitted, X, "begin with partial_fit"),
        (VAEOutlierDetector(), pd.DataFrame({"a": ["x", "y"] * 20}), "numbers alone"),
    ):
        with pytest.raises(ValueError, match=message):
            detector.partial_fit(rows)
