"""Refusal of comparisons between the densities of different things."""

from __future__ import annotations

from collections.abc import Sequence

from lowerbound.core import ElementwiseModel
from lowerbound.data.base_measure import base_measures
from lowerbound.data.schema import Schema
from lowerbound.estimators.density import DensityEstimator

NAMED = 5  # values that are shown of a set


def why_incomparable(a: DensityEstimator, b: DensityEstimator, names: tuple[str, str]) -> str | None:
    """The reason why a difference of log p(x) of two models would mean nothing; None where it has a meaning.

    Parameters
    ----------
    a, b : DensityEstimator
    names : (str, str)
        Of the models, for the sentence.
    """
    if models_the_mask(a) != models_the_mask(b):
        first, other = names if models_the_mask(a) else names[::-1]
        return f"log p(x) of {first} is of which values are missing too, and that of {other} is not"
    return why_different(a.schema_, b.schema_, names, getattr(a, "feature_names_in_", None))


def models_the_mask(estimator: DensityEstimator) -> bool:
    """True if its log p(x) is of which values are missing too."""
    model = estimator.model_
    return isinstance(model, ElementwiseModel) and model.missingness is not None


def why_different(a: Schema, b: Schema, names: tuple[str, str], columns: Sequence[str] | None = None) -> str | None:
    """The first difference of the base measures of p(x), in a sentence; None if there is none.

    Parameters
    ----------
    a, b : Schema
    names : (str, str)
        Of the models.
    columns : sequence of str, optional
        Names of the entries of a row.
    """
    if a.row_shape != b.row_shape:
        return f"rows of {names[0]} have shape {a.row_shape}, and of {names[1]} {b.row_shape}"
    pairs = list(zip(base_measures(a), base_measures(b), strict=True))
    different = [j for j, (of_a, of_b) in enumerate(pairs) if of_a != of_b]
    if not different:
        return None
    of_a, of_b = pairs[different[0]]
    more = f" (and {len(different) - 1} more)" if len(different) > 1 else ""
    where = _name(a if a.columns else b, different[0], columns)
    if isinstance(of_a.values, frozenset) and isinstance(of_b.values, frozenset):
        own = [f"{name} alone knows {_some(own)}" for name, own in _own(names, of_a.values, of_b.values)]
        return f"they have different categories in {where}{more}: {' and '.join(own)}"
    return f"in {where}{more} log p(x) of {names[0]} {of_a.words}, and that of {names[1]} {of_b.words}"


def _name(schema: Schema, j: int, columns: Sequence[str] | None) -> str:
    if schema.columns is not None:
        return f"column {schema.columns[j].name!r}"
    return f"feature {j}" if columns is None else f"column {str(columns[j])!r}"


def _own(names: tuple[str, str], of_a: frozenset, of_b: frozenset) -> list[tuple[str, frozenset]]:
    return [(name, own) for name, own in zip(names, (of_a - of_b, of_b - of_a), strict=True) if own]


def _some(values: frozenset) -> str:
    first = sorted(map(repr, values))
    return ", ".join(first[:NAMED]) + (f" and {len(first) - NAMED} more" if len(first) > NAMED else "")
