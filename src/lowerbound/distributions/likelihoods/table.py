"""The likelihoods by the user's words for them."""

from __future__ import annotations

from functools import cache
from importlib import import_module

import numpy as np

from lowerbound.distributions.likelihoods.kind import Facts, LikelihoodKind
from lowerbound.parameters.likelihoods import LIKELIHOODS


@cache
def kind_of(name: str) -> LikelihoodKind:
    """The likelihood of this name, from its own file."""
    return import_module(f"lowerbound.distributions.likelihoods.{LIKELIHOODS[name].file}").KIND


def choose(facts: Facts, dtype: np.dtype) -> LikelihoodKind:
    """The likelihood of "auto": the first of the table that suits the data."""
    return next(kind for kind in map(kind_of, LIKELIHOODS) if kind.suits(facts, dtype))
