"""The context that a model is given: what can be chosen of it, and the one that was chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lowerbound.data.columns.schema import ColumnSchema
from lowerbound.data.context import ContextSchema, as_frame
from lowerbound.data.texts import TextContext
from lowerbound.report.rows import is_number, word

LONGEST_TEXT = 20_000  # characters
MOST_CLASSES = 1000  # that can be chosen from


def fields(schema: ContextSchema | TextContext | None, example: Any) -> list[dict[str, Any]]:
    """The parts of a context that can be chosen: a class, a number or a text, each with the value of an example."""
    if schema is None:
        return []
    if isinstance(schema, TextContext):
        return [{"name": "text", "kind": "text", "value": str(np.ravel(example)[0]) if np.size(example) else ""}]
    frame = as_frame(example)
    return [_field(column, frame.iloc[0, j]) for j, column in enumerate(schema.columns)]


def _field(column: ColumnSchema, value: Any) -> dict[str, Any]:
    if column.has_categories:
        classes = [word(category) or "" for category in classes_of(column)[:MOST_CLASSES]]
        here = word(value)
        return {"name": column.name, "kind": "classes", "classes": classes,
                "value": classes.index(here) if here in classes else 0}  # fmt: skip
    if is_number(value):
        return {"name": column.name, "kind": "number", "value": float(value) if np.isfinite(value) else 0.0}
    return {"name": column.name, "kind": "fixed", "value": word(value)}


def classes_of(column: ColumnSchema) -> list[Any]:
    """The categories in order."""
    if column.kind == "ordinal":
        return list(column.categories)
    if all(map(is_number, column.categories)):
        return sorted(column.categories)
    return sorted(column.categories, key=str)


def chosen(schema: ContextSchema | TextContext, values: list[Any], example: Any) -> Any:
    """The context of one row: for each field the place of a class, a number or a text.

    Raises
    ------
    ValueError
        If a value is none of its field.
    """
    if len(values) != len(schema.names):
        raise ValueError(f"the model is given {', '.join(schema.names)}: one value for each")
    if isinstance(schema, TextContext):
        if not isinstance(values[0], str) or len(values[0]) > LONGEST_TEXT:
            raise ValueError(f"the context is a text of at most {LONGEST_TEXT:,} characters")
        return [values[0]]
    frame = as_frame(example).iloc[:1]
    row = {column.name: [_value(column, value, frame.iloc[0, j])]
           for j, (column, value) in enumerate(zip(schema.columns, values, strict=True))}  # fmt: skip
    return pd.DataFrame(row)


def _value(column: ColumnSchema, value: Any, example: Any) -> Any:
    if column.has_categories:
        classes = classes_of(column)
        if type(value) is not int or not 0 <= value < len(classes):
            raise ValueError(f"{column.name} is one of {len(classes)} classes, by its place")
        return classes[value]
    if not is_number(example):
        return example
    if not is_number(value) or not np.isfinite(value):
        raise ValueError(f"{column.name} is a number")
    return float(value)
