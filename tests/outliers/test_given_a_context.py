"""Rows that are unusual given their context."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lowerbound import MLP, VAE, VAEOutlierDetector, load
from lowerbound.data.context import ContextSchema, RowsGiven

N = 400
pytestmark = pytest.mark.filterwarnings("ignore:the posterior has collapsed")  # the context says all


def rows_and_context() -> tuple[np.ndarray, np.ndarray]:
    """Heights of children and of adults: each is usual, but not everybody's; the last ten are in the wrong group."""
    rng = np.random.default_rng(0)
    c = np.where(rng.random(N) < 0.5, "child", "adult")
    center = np.where(c == "child", -2.0, 2.0)[:, None]
    X = center + 0.5 * rng.normal(size=(N, 3))
    c[-10:] = np.where(c[-10:] == "child", "adult", "child")
    return X, c


@pytest.mark.parametrize("estimator", [None, VAE(1, network=MLP((16,)), max_epochs=15)], ids=["default", "own"])
def test_rows_of_the_wrong_context_are_found(estimator, tmp_path):
    X, c = rows_and_context()
    detector = VAEOutlierDetector(estimator, n_estimators=2, random_state=0).fit(X, context=c).given(c)
    worst = np.argsort(detector.score_samples(X))[:10]
    assert len(set(worst) & set(range(N - 10, N))) >= 8
    plain = VAEOutlierDetector(estimator, n_estimators=2, random_state=0).fit(X)
    assert len(set(np.argsort(plain.score_samples(X))[:10]) & set(range(N - 10, N))) <= 3
    reasons = detector.given(c[-2:]).explain(X[-2:], 1)
    assert (np.sign(reasons["expected"]) == np.where(c[-2:] == "child", -1, 1)).all()
    detector.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.given(c).score_samples(X), detector.score_samples(X))
    with pytest.raises(ValueError, match="use given"):
        loaded.score_samples(X)


@pytest.mark.parametrize("kind", [list, np.array, pd.Series], ids=["list", "array", "series"])
def test_some_rows_of_a_context_without_a_name(kind):
    schema = ContextSchema.infer(pd.Series(["child", "adult", "adult"], name="group"))
    some = RowsGiven(np.zeros((3, 1)), kind(["child", "adult", "adult"])).take(np.array([2, 0]))
    np.testing.assert_array_equal(schema.encode(some.context, 2), schema.encode(["adult", "child"], 2))


def test_a_fitted_vae_and_held_out_rows():
    X, c = rows_and_context()
    frame = pd.DataFrame({"group": c})
    vae = VAE(1, network=MLP((16,)), max_epochs=20, random_state=0).fit(X, context=frame)
    detector = VAEOutlierDetector(vae, calibration_fraction=0.2, random_state=0).fit(X, context=frame)
    p = detector.given(frame).p_values(X)
    assert p[-10:].mean() < p[:-10].mean()
    labels = VAEOutlierDetector(vae, contamination=0.05).fit_predict(X, context=frame)
    assert (labels[-10:] == -1).mean() > 0.7
