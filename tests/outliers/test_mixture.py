"""The mixture of Gaussians among the detector's scores."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal
from sklearn.datasets import make_blobs
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score

from lowerbound import VAEOutlierDetector, load
from lowerbound.outliers.mixture import NumbersMixture

rng = np.random.default_rng(0)
QUICK = {"n_estimators": 1, "n_steps": 5, "random_state": 0}


def clusters(n_normal: int, n_outliers: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three clusters with outliers all over."""
    centers = np.array([[3.0, 3.0], [-3.0, -3.0], [3.0, -3.0]])
    normal, _ = make_blobs(n_normal, centers=centers, cluster_std=0.5, random_state=seed)
    scattered = np.random.default_rng(seed).uniform(-6, 6, (n_outliers, 2))
    return np.concatenate([normal, scattered]), np.repeat([0, 1], [n_normal, n_outliers])


@pytest.mark.parametrize(("n_normal", "n_outliers"), [(135, 15), (200, 25)])
def test_scattered_outliers_of_small_tables_with_clusters_come_first(n_normal, n_outliers):
    X, y = clusters(n_normal, n_outliers)
    ours = average_precision_score(y, -VAEOutlierDetector(random_state=0).fit(X).score_samples(X))
    forest = average_precision_score(y, -IsolationForest(random_state=0).fit(X).score_samples(X))
    assert ours > forest - 0.05
    assert ours > 0.85


def test_one_gaussian_has_the_density_of_a_shrunken_covariance():
    X = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 3)) + 7
    detector = VAEOutlierDetector(criterion="mixture", novelty=True, **QUICK).fit(X)
    assert detector._mixture.model.n_components == 1
    Z = (X - X.mean(0)) / X.std(0)
    covariance = np.cov(Z.T, bias=True)
    shrunk = (300 * covariance + 3 * np.eye(3)) / 303  # towards independent columns, and towards this in turn
    expected = multivariate_normal(np.zeros(3), (300 * covariance + 3 * shrunk) / 303).logpdf(Z)
    np.testing.assert_allclose(detector.score_samples(X), expected, atol=1e-3)


def test_rows_of_low_density_and_small_groups_are_not_learned():
    X = np.concatenate([rng.normal(size=(300, 2)), [8, 8] + 0.1 * rng.normal(size=(8, 2))])
    for novelty in (False, True):
        scores = VAEOutlierDetector(criterion="mixture", novelty=novelty, **QUICK).fit(X).score_samples(X)
        assert (scores[-8:].max() < scores[:-8].min()) is not novelty


def test_a_gap_counts_as_typical_and_a_row_of_gaps_is_usual():
    X = rng.normal(size=(400, 1)) @ np.ones((1, 4)) + 0.3 * rng.normal(size=(400, 4))
    X[rng.random(X.shape) < 0.1] = np.nan
    X[:2] = np.nan
    detector = VAEOutlierDetector(criterion="mixture", **QUICK).fit(X)
    full = X[(~np.isnan(X)).all(1)]
    usual = detector.score_samples(full)
    for n_hidden in (1, 2, 4):
        gaps = full.copy()
        gaps[:, :n_hidden] = np.nan
        assert abs(detector.score_samples(gaps).mean() - usual.mean()) < 0.3 * usual.std()


def test_only_the_numbers_of_a_table_count():
    a = rng.normal(size=80)
    frame = pd.DataFrame({"word": rng.choice(["a", "b"], 80), "x": a, "same": 1.0, "y": a + 0.1 * rng.normal(size=80)})
    detector = VAEOutlierDetector(criterion="mixture", **QUICK).fit(frame)
    assert detector._mixture.places.tolist() == [1, 3]
    other = frame.assign(word="a")
    np.testing.assert_array_equal(detector.score_samples(other), detector.score_samples(frame))


@pytest.mark.parametrize("X", [(rng.random((60, 5)) < 0.5).astype(float), rng.normal(size=(10, 3))])
def test_without_numbers_or_rows_it_is_left_out_and_refused_by_name(X):
    detector = VAEOutlierDetector(**QUICK).fit(X)
    assert "mixture" not in detector.table(X)
    with pytest.raises(ValueError, match="20 rows or more"):
        detector.scores(X, ["mixture"])


def test_given_a_context_it_is_left_out():
    X, context = rng.normal(size=(60, 3)), rng.integers(0, 2, 60)
    detector = VAEOutlierDetector(**QUICK).fit(X, context=context)
    assert "mixture" not in detector.given(context).scores(X)


def test_it_is_saved(tmp_path):
    X, _ = clusters(135, 15)
    detector = VAEOutlierDetector(**QUICK).fit(X)
    detector.save(tmp_path / "detector")
    again = load(tmp_path / "detector")
    assert isinstance(again._mixture, NumbersMixture)
    np.testing.assert_array_equal(again.scores(X), detector.scores(X))
