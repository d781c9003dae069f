"""The fields of a schema from a saved model, checked: nothing in a file is taken for granted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from lowerbound.data.columns.schema import from_record
from lowerbound.parameters.likelihoods import LIKELIHOODS
from lowerbound.storage.records import conforming, shown

WORDS = {
    "likelihood": (*LIKELIHOODS, "columns"),
    "layout": ("features", "image", "columns"),
    "binarize": (None, "sample", "threshold", "mean"),
    "container": ("pandas", "polars", "pyarrow"),
}
STATISTICS = ("location", "unit", "mean", "spread")


def schema_fields(kind: type, metadata: Any, arrays: Mapping[str, Tensor], names: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a ``Schema``.

    Parameters
    ----------
    kind : type
        The class.
    metadata : mapping
        What JSON holds of them.
    arrays : mapping of Tensor
        The others.
    names : tuple of str
        Their names.

    Raises
    ------
    ValueError
        If they are no schema's.
    """
    if not isinstance(metadata, Mapping):
        raise ValueError(f"the schema must be a record of fields, got {shown(metadata)}")
    record: dict[str, Any] = {**metadata, **{name: arrays[name].numpy() for name in names}}
    if isinstance(record.get("columns"), (list, tuple)):
        record["columns"] = tuple(map(from_record, record["columns"]))
    fields = conforming(kind, {"layout": _layout_before(record), **record}, "the schema")
    for name, words in WORDS.items():
        if fields.get(name, words[0]) not in words:
            raise ValueError(
                f"the schema has {name}={shown(fields[name])}, which is none of {', '.join(map(str, words))}"
            )
    _check_shapes(fields)
    _check_arrays(fields)
    return fields


def _layout_before(record: Mapping[str, Any]) -> str:
    """The layout of a record that was written before it was in it."""
    is_image = isinstance(record.get("event_shape"), (list, tuple)) and len(record["event_shape"]) == 3
    return "columns" if record.get("columns") is not None else "image" if is_image else "features"


def _check_shapes(fields: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` unless the shapes of rows and of events, layout and columns go together."""
    row, event, layout = fields["row_shape"], fields["event_shape"], fields["layout"]
    if min(event, default=0) < 1 or min(row, default=1) < 1 or math.prod(row) != math.prod(event):
        raise ValueError(f"the schema has rows of shape {shown(row)}, which are no events of shape {shown(event)}")
    columns, n_axes = fields.get("columns"), 3 if layout == "image" else 1
    if len(event) != n_axes or (fields["channels_last"] and layout != "image"):
        raise ValueError(f"the schema has events of shape {shown(event)}, which are not of the layout {layout!r}")
    if len({columns is not None, layout == "columns", fields["likelihood"] == "columns"}) > 1:
        raise ValueError("the schema says in one place that there are columns of several kinds, and not in another")
    if columns is not None and len(columns) != event[0]:
        raise ValueError(f"the schema has {len(columns)} columns, and events of shape {event}")


def _check_arrays(fields: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` unless the arrays have the event's shape and values that are possible."""
    event, frequencies = fields["event_shape"], fields["frequencies"]
    wrong = [name for name in STATISTICS if fields[name].shape not in (event, (0,)) or fields[name].dtype.kind != "f"]
    wrong += ["counted"] if fields["counted"].shape != event or fields["counted"].dtype != bool else []
    wrong += ["frequencies"] if frequencies.size and frequencies.shape != (fields["n_categories"], *event) else []
    wrong += ["unit"] if not (fields["unit"] > 0).all() else []
    if wrong:
        raise ValueError(f"the schema's {wrong[0]} doesn't fit events of shape {shown(event)}")
    if np.dtype(fields["dtype"]).kind not in "biuf" or fields["grey_levels"] < 1 or fields["n_categories"] < 0:
        raise ValueError("the schema has a dtype, grey_levels or n_categories that no data can have")
