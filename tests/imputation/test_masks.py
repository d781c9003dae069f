"""Masks that benchmarks hide cells by: their rate, and what they depend on."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from imputation_published import as_numbers, hide
from masks import MECHANISMS, hidden_cells, probabilities

N, RATE = 4000, 0.2
X = np.random.default_rng(0).normal(size=(N, 10)) * np.arange(1, 11) + 100


def dependence(X: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """|correlation| of each column with what is hidden in each other one, (F, F)."""
    x, h = X - X.mean(0), hidden - hidden.mean(0)
    return np.abs(x.T @ h) / len(X) / np.outer(x.std(0), np.maximum(h.std(0), 1e-9))


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_rate_is_that_asked_for(mechanism):
    rates = hidden_cells(X, mechanism, RATE, np.random.default_rng(1)).mean(0)
    assert (rates == 0).sum() == (3 if mechanism == "mar" else 0)
    np.testing.assert_allclose(rates[rates > 0], RATE, atol=0.03)


def test_the_expected_rate_is_exact():
    of_each = probabilities(X[:, :3], 7, RATE, np.random.default_rng(2))
    np.testing.assert_allclose(of_each.mean(0), RATE, atol=1e-9)


def test_mcar_depends_on_nothing():
    hidden = hidden_cells(X, "mcar", RATE, np.random.default_rng(3))
    assert dependence(X, hidden).max() < 0.07


def test_mar_depends_on_columns_that_are_never_hidden():
    hidden = hidden_cells(X, "mar", RATE, np.random.default_rng(4))
    found, observed = dependence(X, hidden), ~hidden.any(0)
    assert found[observed][:, ~observed].max(0).min() > 0.15
    assert found[~observed].max() < 0.07


def test_mnar_depends_on_columns_that_are_hidden_too():
    hidden = hidden_cells(X, "mnar", RATE, np.random.default_rng(4))
    inputs = ~hidden_cells(X, "mar", RATE, np.random.default_rng(4)).any(0)
    found = dependence(X, hidden)
    assert hidden.any(0).all()
    assert found[inputs][:, ~inputs].max(0).min() > 0.15
    assert found[:, inputs].max() < 0.07


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_outcome_is_never_hidden(mechanism):
    rows = pd.DataFrame(X[:200, :4], columns=list("abcd")).assign(a=["x", "y"] * 100)
    left, hidden = hide(rows, "b", 0, mechanism)
    assert not hidden[:, 1].any()
    assert not hidden[:, [0, 2, 3]].all(1).any()
    assert len(left) == len(hidden)


def test_the_published_masks_are_as_they_were():
    rows = pd.DataFrame(X[:50, :4], columns=list("abcd"))
    wanted = np.random.default_rng(7).random((50, 4)) < 0.2
    wanted[:, 3] = False
    np.testing.assert_array_equal(hide(rows, "d", 7)[1], wanted[~wanted[:, :3].all(1)])


def test_words_are_inputs_by_their_places():
    coded = as_numbers(pd.DataFrame({"a": ["z", "b", "z"], "b": [0.5, 1, 2]}))
    np.testing.assert_array_equal(coded, [[1, 0.5], [0, 1], [1, 2]])
