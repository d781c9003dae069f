"""Frames of polars and pyarrow: in as frames of pandas with Arrow's types, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

CONTAINERS = ("pandas", "polars", "pyarrow")


def container_of(X: Any) -> str:
    """The library of a frame; "pandas" for all that is none of polars or pyarrow."""
    library = type(X).__module__.partition(".")[0]
    return library if library in CONTAINERS and hasattr(X, "__arrow_c_stream__") else "pandas"


def is_frame(X: Any) -> bool:
    """True for a frame of pandas."""
    return hasattr(X, "dtypes") and hasattr(X, "columns")


def as_pandas(X: Any) -> Any:
    """A frame of polars or a table of pyarrow as a frame of pandas; anything else unchanged.

    Columns keep Arrow's types, but dictionaries are categories; NaN is missing.
    """
    if container_of(X) == "pandas":
        return X
    import pandas as pd
    import pyarrow as pa

    table = _plain(pa.table(X))
    unchanged = (pa.types.is_dictionary, pa.types.is_null)
    return table.to_pandas(types_mapper=lambda kind: None if any(t(kind) for t in unchanged) else pd.ArrowDtype(kind))


def _plain(table: pa.Table) -> pa.Table:
    """The same with text that pandas can work on, and nulls in place of NaN."""
    import pyarrow as pa
    import pyarrow.compute

    compute: Any = pyarrow.compute
    for j, field in enumerate(table.schema):
        column = table.column(j)
        if pa.types.is_string_view(field.type):
            column = column.cast(pa.large_string())
        elif pa.types.is_dictionary(field.type) and pa.types.is_string_view(field.type.value_type):
            column = column.cast(pa.dictionary(pa.int32(), pa.large_string(), field.type.ordered))
        elif pa.types.is_floating(field.type):
            column = compute.if_else(compute.is_nan(column), pa.scalar(None, field.type), column)
        table = table.set_column(j, field.name, column)
    return table


def in_container(frame: pd.DataFrame, container: str) -> Any:
    """A frame of pandas as one of another library, without its index; ordered categories are an Enum of polars."""
    if container == "pandas":
        return frame
    import pandas as pd
    import pyarrow as pa

    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    if container == "pyarrow":
        return table
    import polars as pl  # pyright: ignore[reportMissingImports]

    ordered = [name for name, dtype in frame.dtypes.items() if isinstance(dtype, pd.CategoricalDtype) and dtype.ordered]
    enums = {name: pl.Enum(list(map(str, frame[name].cat.categories))) for name in ordered}
    return pl.from_arrow(table).cast(enums)  # pyright: ignore[reportArgumentType]
