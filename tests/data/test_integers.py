"""Draws in integer types: the ends of a type are ends, whatever a float makes of them."""

import numpy as np
import pandas as pd
import pytest

from lowerbound import Factorized, Gaussian
from lowerbound.data.columns.coding import decode
from lowerbound.data.columns.schema import ColumnSchema
from lowerbound.data.filling import with_values
from lowerbound.data.integers import whole

TYPES = ["int8", "uint8", "int16", "uint32", "int64", "uint64", "Int64", "UInt64"]


@pytest.mark.parametrize("dtype", TYPES)
def test_numbers_beyond_the_ends_of_a_type_become_its_ends(dtype):
    limits = np.iinfo(dtype.lower())
    low, high = int(limits.min), int(limits.max)
    found = whole(np.array([-1e30, -np.inf, float(low), 3.4, 4.6, float(high), 1e30, np.inf]), dtype)
    assert found.dtype == dtype.lower()
    assert found.tolist() == [low, low, low, 3, 5, high, high, high]


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_draws_near_the_end_of_a_type_stay_on_its_side(dtype):
    end, rng = int(np.iinfo(dtype).max), np.random.default_rng(0)
    X = np.array(end, dtype) - rng.integers(0, 2**60, (100, 2)).astype(dtype)
    drawn = Gaussian(random_state=0).fit(X).sample(1000)
    assert drawn.dtype == dtype
    assert drawn.min() > end - 2**61
    assert drawn.max() == end
    table = pd.DataFrame(X, columns=["a", "b"]).assign(w=rng.choice(["x", "y"], len(X)))
    table.loc[0, "a"] = end
    a = Factorized(random_state=0).fit(table).sample(1000)["a"]
    assert a.dtype == dtype
    assert a.min() > end - 2**61
    assert a.max() == end


def test_filled_gaps_and_categories_too():
    column = pd.Series([1, None, 2], dtype="UInt8")
    assert with_values(column, np.array([1]), np.array([-3.0])).tolist() == [1, 0, 2]
    assert with_values(column, np.array([1]), np.array([300.0])).tolist() == [1, 255, 2]
    end = 2**63 - 1
    levels = ColumnSchema("k", "ordinal", "int64", (0.0, float(end)), 2, (0.5, 0.5))
    assert decode(np.array([[1.0]]), [levels], expected=False)["k"].tolist() == [end]
