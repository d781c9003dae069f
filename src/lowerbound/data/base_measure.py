"""The base measures of p(x): two models can be compared where theirs are the same, entry by entry."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lowerbound.data.columns.schema import ColumnSchema
from lowerbound.data.schema import Schema


class BaseMeasure(NamedTuple):
    """The base measure of one entry, on which its log p depends.

    Attributes
    ----------
    words : str
        To follow "log p(x)".
    values : object
        What is counted, where it is a probability: levels or whole numbers; the atoms of a density.
    """

    words: str
    values: Any = None


LEFT_OUT = BaseMeasure("leaves it out")  # it is constant, or was never observed
DENSITY = BaseMeasure("is a density")


def base_measures(schema: Schema) -> list[BaseMeasure]:
    """The base measure of each entry of a row, in the order of the user's axes."""
    counted = schema.to_rows(schema.counted[None])[0].ravel()
    if schema.columns is not None:
        every = [_of_column(column) for column in schema.columns]
    elif schema.is_discrete:
        every = _of_levels(schema)
    else:
        every = [DENSITY] * len(counted)
    return [each if is_counted else LEFT_OUT for each, is_counted in zip(every, counted, strict=True)]


def _of_column(column: ColumnSchema) -> BaseMeasure:
    if column.has_categories:
        return _of_categories(column.categories) if len(column.categories) > 1 else LEFT_OUT
    if column.kind == "count":
        return BaseMeasure("is a probability of whole numbers")
    if not column.atoms:
        return DENSITY
    which = f"a probability at {column.atoms[0]:g}" if len(column.atoms) == 1 else f"{len(column.atoms)} probabilities"
    return BaseMeasure(f"is a density with {which}", column.atoms)


def _of_categories(categories: Any) -> BaseMeasure:
    return BaseMeasure(f"is a probability of {len(categories)} categories", frozenset(categories))


def _of_levels(schema: Schema) -> list[BaseMeasure]:
    """The base measures of 0/1 data, bytes and categories, and of grey values made 0 or 1, with the cut."""
    n = int(np.prod(schema.row_shape))
    if schema.binarize is None:
        return [_of_categories(range(int(schema.kind.highest(schema.n_categories) or 0) + 1))] * n
    words = f"is a probability of 0 and 1, made by binarize={schema.binarize!r}"  # and the cut
    cuts = schema.to_rows(schema.location[None])[0].ravel() if schema.binarize == "mean" else np.zeros(n)
    return [BaseMeasure(words, cut) for cut in cuts.tolist()]
