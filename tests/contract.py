"""What every estimator that knows its log p(x) promises, for its test file to ask."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import estimator_checks_generator

from lowerbound import load
from lowerbound.evaluation.estimate import Estimate


def checks(estimator) -> list:
    """scikit-learn's, as parameters of a test; none is expected to fail."""
    without_labels = pytest.mark.filterwarnings("ignore:y is not used")
    return [
        pytest.param(one, check, id=getattr(check, "func", check).__name__, marks=without_labels)
        for one, check in estimator_checks_generator(estimator)
        if getattr(check, "func", check).__name__ != "check_array_api_input"  # needs SCIPY_ARRAY_API
    ]


def assert_the_table_is_the_signature(kind: type, table: dict) -> None:
    signature = inspect.signature(kind).parameters
    assert {name: p.default for name, p in signature.items()} == {name: p.default for name, p in table.items()}


def assert_verbs(estimator, X: np.ndarray) -> None:
    """Shapes, types, the kind of the estimate, and rows scored alone as among others."""
    scores, estimate = estimator.score_samples(X), estimator.log_likelihood(X)
    assert (scores.shape, scores.dtype) == ((len(X),), np.float64)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(estimator.score_samples(X[::-1])[::-1], scores, rtol=0, atol=1e-9)
    np.testing.assert_allclose(estimator.score_samples(X[5:6]), scores[5:6], rtol=0, atol=1e-9)
    assert estimator.score(X) == pytest.approx(scores.mean())
    assert isinstance(estimate, Estimate)
    assert (estimate.kind, estimate.n_rows) == ("exact", len(X))
    if estimator.schema_.binarize != "sample":  # there rows share their noise in one and not in the other
        assert estimate.value == pytest.approx(scores.mean(), abs=1e-9)
        assert estimate.standard_error == pytest.approx(scores.std(ddof=1) / len(X) ** 0.5)
    drawn = estimator.sample(4)
    assert (drawn.shape, drawn.dtype) == ((4, *X.shape[1:]), X.dtype)
    np.testing.assert_array_equal(estimator.sample(4), drawn)
    assert not np.array_equal(estimator.sample(4, random_state=8), drawn)
    assert estimator.sample(2, mean=True).shape == (2, *X.shape[1:])


def assert_kept(estimator, X: np.ndarray, folder: Path) -> None:
    """What is saved comes back the same, parameters and all."""
    estimator.save(folder)
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}
    loaded = load(folder)
    assert type(loaded) is type(estimator)
    asked = {k: v for k, v in estimator.get_params().items() if k != "device"}
    assert {k: v for k, v in loaded.get_params().items() if k != "device"} == asked
    for name in estimator.FITTED:
        assert getattr(loaded, name) == getattr(estimator, name)
    np.testing.assert_allclose(loaded.score_samples(X), estimator.score_samples(X), rtol=1e-13)
    np.testing.assert_allclose(loaded.sample(5), estimator.sample(5), rtol=1e-13)
    json.loads((folder / "model.json").read_text())


def assert_units(estimator, X: np.ndarray, *, atol: float) -> None:
    """log p(x) falls by log 1000 for each column measured in thousandths, wherever zero is put."""
    meters = clone(estimator).fit(X).score_samples(X)
    other = 1000 * X + 5
    shift = X.shape[1] * np.log(1000)
    np.testing.assert_allclose(clone(estimator).fit(other).score_samples(other), meters - shift, rtol=0, atol=atol)


def assert_constant_columns_stay_apart(estimator, X: np.ndarray) -> None:
    """A column of one value changes no score and comes back in every draw."""
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
    wider = frame.copy()
    wider.insert(1, "always", 7.25)
    with pytest.warns(UserWarning, match=r"1 constant feature\(s\) kept out of the density: always"):
        fitted = clone(estimator).fit(wider)
    assert list(fitted.feature_names_in_) == list(wider.columns)
    without = clone(estimator).fit(frame)
    np.testing.assert_allclose(fitted.score_samples(wider), without.score_samples(frame), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(fitted.score_samples(wider.assign(always=0.0)), fitted.score_samples(wider))
    assert (fitted.sample(50)[:, 1] == 7.25).all()
    assert (fitted.sample(2, mean=True)[:, 1] == 7.25).all()


def assert_same_seed_same_result(estimator, X: np.ndarray) -> None:
    first, second = (clone(estimator).set_params(random_state=3).fit(X) for _ in range(2))
    np.testing.assert_array_equal(first.score_samples(X), second.score_samples(X))
    np.testing.assert_array_equal(first.sample(5), second.sample(5))
    free = clone(estimator).set_params(random_state=None)
    assert not np.array_equal(free.fit(X).sample(5), free.fit(X).sample(5))
