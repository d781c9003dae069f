"""``lowerbound data check``: a summary of the data as they are read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lowerbound.cli.models import MODELS
from lowerbound.cli.options import DataOptions, axes_options, console_options, data_argument, data_options
from lowerbound.cli.output import Console, Failure, command_line, short, table
from lowerbound.cli.sequences import describe as describe_sequences
from lowerbound.cli.sequences import in_words, kind_of

if TYPE_CHECKING:
    import numpy as np

    from lowerbound.data.sources import Dataset, Source
    from lowerbound.data.statistics import Statistics

MOST_COLUMNS = 40  # shown; JSON has them all
MOST_LABELS = 12
WINDOW = 200  # steps of the parts into which one long sequence is cut
IMAGE, FEATURES = "image (", "features"  # the start of a layout, where it is no question


@click.group()
def data() -> None:
    """Check data before training."""


@data.command()
@data_argument
@data_options
@axes_options
@console_options
def check(
    data: str, options: DataOptions,
    image_shape: tuple[int, ...] | None, layout: str, console: Console,
) -> None:  # fmt: skip
    """Show the shape, type and columns of DATA, and the likelihood and layout that "auto" chooses."""
    dataset = _read(options, console)
    if kind_of(dataset.X) != "rows":
        return _check_sequences(dataset, options, console)
    if len(dataset.X) < 2:
        raise Failure(f"{dataset.source} has 1 row: a model needs at least 2")
    record: dict[str, Any] = describe(dataset, image_shape, layout) | {"notes": list(dataset.notes)} | _named(dataset)
    console.result(record, _text(record, options))
    if not record.get("layout", FEATURES).startswith((IMAGE, FEATURES)):
        return
    axes = [*(("--image-shape", ",".join(map(str, image_shape))) if image_shape else ())]
    axes += ["--layout", layout] if layout != "auto" else []
    axes += ["--binarize", "threshold"] if record.get("binary") else []
    console.suggest("train", *options.words(), *axes, "-o", f"runs/{Path(data).name.split('.')[0]}")


def _check_sequences(dataset: Dataset, options: DataOptions, console: Console) -> None:
    """Describe sequences or text, and suggest a model of them."""
    record: dict[str, Any] = describe_sequences(dataset) | {"notes": list(dataset.notes)}
    packed = record.get("dtype") == "uint8" and record["maximum"] > 1 and options.bits is None
    hints = [f"if a byte of these holds 8 bits (numpy.packbits), add --bits {8 * record['columns']}"] if packed else []
    console.result(record, "\n".join([table(in_words(record)), *dataset.notes, *hints]))
    able = [name for name, each in MODELS.items() if each.takes == kind_of(dataset.X)]
    if able:
        name = f"runs/{Path(options.source).name.split('.')[0]}"
        window = ["--window", str(min(WINDOW, max(2, record["steps"] // 10)))] if record["sequences"] == 1 else []
        console.suggest("train", *options.words(), "--model", able[0], *window, "-o", name)


def _read(options: DataOptions, console: Console) -> Dataset:
    """The data; images of several sizes are refused with the flags that would do."""
    from lowerbound.data.readers.images import ImageSizeError

    try:
        return options.read(console, notes=False)
    except ImageSizeError as error:
        words = replace(options, resize=str(error.resize)).words()
        raise Failure(f"{error}\nnext: {command_line('data', 'check', *words)}") from error


def describe(dataset: Dataset, image_shape: tuple[int, ...] | None = None, layout: str = "auto") -> dict[str, Any]:
    """The record that ``data check`` shows; the axes of rows as a model takes them."""
    import numpy as np

    from lowerbound.data.sources import Source
    from lowerbound.data.statistics import Statistics, measure, row_blocks

    if isinstance(dataset.X, Source):
        source = dataset.X
        return _describe_mixed(dataset) if source.is_mixed else _describe_source(source, image_shape, layout)
    columns = getattr(dataset.X, "columns", None)
    if columns is not None and np.asarray(dataset.X[:1]).dtype.kind not in "biuf":
        return _describe_mixed(dataset)
    X = np.asarray(dataset.X)
    seen = measure(Statistics.of, row_blocks(X))
    record = _describe_numbers(dataset.source, X.dtype, seen, columns, _layout(X, image_shape, layout))
    record["labels"] = None if dataset.labels is None else _describe_labels(dataset.labels)
    if columns is not None:
        record["columns"] = [_describe_column(str(name), np.asarray(dataset.X[name])) for name in columns]
    return record


def _named(dataset: Dataset) -> dict[str, Any]:
    """The column that names the rows, and how many names there are where they are in memory."""
    import pandas as pd

    from lowerbound.data.sources import Source

    if dataset.ids is None:
        return {}
    n = None if isinstance(dataset.X, Source) else len(pd.unique(pd.Series(dataset.ids.read(0, len(dataset.X)))))
    return {"id": {"column": dataset.ids.name, "distinct": n}}


def _names(record: dict[str, Any]) -> dict[str, str]:
    """The names of the rows in words."""
    if "id" not in record:
        return {}
    column, n = record["id"]["column"], record["id"]["distinct"]
    return {"named by": column if n in (None, record["rows"]) else f"{column}, which repeats: {n:,} different"}


def _describe_numbers(
    name: str, dtype: np.dtype, seen: Statistics, columns: Sequence[str] | None, layout: str
) -> dict[str, Any]:
    """The range, gaps and likelihood of numbers, all columns together."""
    import numpy as np

    from lowerbound.data.likelihoods import choose, has_bytes, has_ends_alone

    low, high = np.ravel(seen.extent.low), np.ravel(seen.extent.high)
    constant = np.flatnonzero(~(low < high)).tolist()  # or without any value
    is_binary = has_bytes(dtype, seen.extent) and seen.extent.highest > 1 and has_ends_alone(seen.mean, seen.spread)
    return {
        "source": name,
        "rows": seen.n_rows,
        "shape": list(seen.count.shape),
        "dtype": dtype.name,
        "missing": int((seen.n_rows - seen.count).sum()),
        "minimum": seen.extent.lowest.item(),
        "maximum": seen.extent.highest.item(),
        "likelihood": choose(seen.extent, dtype, None, images=layout.startswith(IMAGE)),
        "constant": constant if columns is None else [str(columns[i]) for i in constant],
        "layout": layout,
        "binary": is_binary,
    }


def _layout(X: Any, image_shape: tuple[int, ...] | None, layout: str) -> str:
    """The layout that is asked for or recognized, or the question that "auto" asks."""
    from lowerbound.data.layout import arrange, possible_images

    try:
        found = arrange(X, image_shape, layout)
    except ValueError as question:
        return str(question)
    if found.layout == "features":
        shape = possible_images(X)
        hint = "" if shape is None else f" (if they are images: --image-shape {','.join(map(str, shape))})"
        return f"{FEATURES}{hint}"
    n_axes = len(image_shape or X.shape[1:])
    return f"{IMAGE}{'H, W, C' if found.channels_last else 'H, W' if n_axes == 2 else 'C, H, W'})"


def _describe_mixed(dataset: Dataset) -> dict[str, Any]:
    """The record of a table with columns of several kinds."""
    from lowerbound.data.columns.inference import summarize_columns
    from lowerbound.data.sources import Source

    X: Any = dataset.X
    summaries = summarize_columns(X)
    if isinstance(X, Source):
        labels = _count_labels(X.select(list(X.columns or ())[:1]))
    else:
        labels = None if dataset.labels is None else _describe_labels(dataset.labels)
    return {
        "source": dataset.source,
        "rows": len(X),
        "shape": [len(summaries)],
        "missing": sum(len(X) - summary.n for summary in summaries),
        "likelihood": "columns",
        "labels": labels,
        "constant": [summary.name for summary in summaries if summary.n_distinct in (0, 1)],
        "columns": [
            {**asdict(schema), "description": schema.describe(), "missing": len(X) - n, "distinct": n_distinct}
            for schema, n, n_distinct in ((summary.schema(), summary.n, summary.n_distinct) for summary in summaries)
        ],
    }


def _count_labels(source: Source) -> dict[str, int] | None:
    from collections import Counter

    labels: Counter[str] = Counter()
    for block in source.blocks():
        labels.update(map(str, [] if block.labels is None else block.labels.tolist()))
    return dict(sorted(labels.items())) or None


def _text_of_mixed(record: dict[str, Any]) -> str:
    rows = {
        "data": record["source"],
        "rows": f"{record['rows']:,}",
        "missing": _missing(record),
        "constant": _constant(record),
        "labels": "none" if record["labels"] is None else _labels(record["labels"]),
        "likelihood": "one for each column",
    } | _names(record)
    lines = [["column", "type", "kind", "distinct", "missing"]]
    for column in record["columns"]:
        numbers = ["many" if column[name] is None else f"{column[name]:,}" for name in ("distinct", "missing")]
        lines.append([column["name"], column["dtype"], column["description"], *numbers])
    return "\n\n".join([table(rows), *_recognized(record), _aligned(lines, 3)])


def _recognized(record: dict[str, Any], *, images: bool = False) -> list[str]:
    """A paragraph on what was recognized in the values of a file, or changed; none if there is nothing to say."""
    of_table = "recognized, as every value of the column fits (flags overrule it):"
    lines = ["how the images are read:" if images else of_table, *record.get("notes", ())]
    return ["\n  ".join(lines)] if len(lines) > 1 else []


def _describe_source(source: Source, *axes: Any) -> dict[str, Any]:
    """The record of a source, in one pass and without the number of distinct values."""
    from collections import Counter

    from lowerbound.data.statistics import Statistics, measure, row_blocks

    labels: Counter[str] = Counter()

    def arrays() -> Iterator[np.ndarray]:
        for block in source.blocks():
            if block.labels is not None:
                labels.update(map(str, block.labels.tolist()))
            yield from row_blocks(source.as_array(block.X))

    seen = measure(Statistics.of, arrays())
    record = _describe_numbers(source.name, source.dtype, seen, source.columns, _layout(source, *axes))
    record["labels"] = dict(sorted(labels.items())) or None
    if source.columns is not None:
        record["columns"] = _describe_columns(source.columns, source.dtype, seen)
    return record


def _describe_columns(columns: Sequence[str], dtype: np.dtype, seen: Statistics) -> list[dict[str, Any]]:
    """The record of each column, by statistics of one pass."""
    arrays = {
        "minimum": seen.extent.low, "mean": seen.mean, "maximum": seen.extent.high,
        "standard_deviation": seen.spread, "missing": seen.n_rows - seen.count,
    }  # fmt: skip
    values = {name: array.tolist() for name, array in arrays.items()}
    return [
        {"name": name, "dtype": dtype.name, **{k: v[i] for k, v in values.items()}, "distinct": None}
        for i, name in enumerate(columns)
    ]


def _describe_labels(labels: np.ndarray) -> dict[str, int]:
    import numpy as np

    return {str(name): int(count) for name, count in zip(*np.unique(labels, return_counts=True), strict=True)}


def _describe_column(name: str, values: np.ndarray) -> dict[str, Any]:

    dtype, n_rows, values = values.dtype.name, len(values), values[values == values]
    if not len(values):
        return {"name": name, "dtype": dtype, "missing": n_rows, "distinct": 0}
    return {
        "name": name,
        "dtype": dtype,
        "missing": n_rows - len(values),
        "minimum": values.min().item(),
        "mean": values.mean().item(),
        "maximum": values.max().item(),
        "standard_deviation": values.std().item(),
        "distinct": len(set(values.tolist())),
    }


def _text(record: dict[str, Any], options: DataOptions) -> str:
    if record["likelihood"] == "columns":
        return _text_of_mixed(record)
    from lowerbound.data.readers.read import holds_images

    shape = " × ".join(map(str, record["shape"])) or "one value"
    rows = {
        "data": record["source"],
        "rows": f"{record['rows']:,}",
        "shape of a row": f"{shape}, {record['dtype']}",
        "layout": record["layout"],
        "range": f"{short(record['minimum'])} to {short(record['maximum'])}",
        "missing": _missing(record),
        "constant": _constant(record),
        "labels": "none" if record["labels"] is None else _labels(record["labels"]),
        "likelihood": f'{record["likelihood"]} (what "auto" chooses)',
    } | _names(record)
    if record["binary"]:
        rows["range"] = "only 0 and 255: binary, so --binarize threshold reads them as 0 and 1"
    columns = [_columns(record["columns"])] if "columns" in record else []
    return "\n\n".join([table(rows), *_recognized(record, images=holds_images(options.source)), *columns])


def _missing(record: dict[str, Any]) -> str:
    """The number and the share of missing entries."""
    n_entries = record["rows"] * math.prod(record["shape"])
    return f"{record['missing']:,} ({record['missing'] / n_entries:.1%})" if record["missing"] else "none"


def _constant(record: dict[str, Any]) -> str:
    """The names of constant columns; for arrays their number."""
    names = record["constant"]
    if not names:
        return "none"
    if "columns" not in record:
        return f"{len(names):,} of the {math.prod(record['shape']):,} entries of a row"
    more = f" and {len(names) - MOST_LABELS} more" if len(names) > MOST_LABELS else ""
    return f"{len(names)}: {', '.join(map(str, names[:MOST_LABELS]))}{more}"


def _labels(counts: dict[str, int]) -> str:
    if len(counts) > MOST_LABELS:
        return f"{len(counts):,} different"
    return ", ".join(f"{name} ({count:,})" for name, count in counts.items())


def _columns(columns: list[dict[str, Any]]) -> str:
    """A table with one line for each column."""
    numbers = ("minimum", "mean", "maximum", "standard_deviation")
    lines = [["column", "type", "minimum", "mean", "maximum", "sd", "distinct", "missing"]]
    for column in columns[:MOST_COLUMNS]:
        values = [short(float(column[name])) if name in column else "" for name in numbers]
        distinct = "" if column["distinct"] is None else f"{column['distinct']:,}"
        lines.append([column["name"], column["dtype"], *values, distinct, f"{column['missing']:,}"])
    hidden = len(columns) - MOST_COLUMNS
    return "\n".join([_aligned(lines, 2), *([f"… and {hidden} more (--json shows all)"] if hidden > 0 else [])])


def _aligned(lines: list[list[str]], n_left: int) -> str:
    """Lines of words in columns, the first ``n_left`` aligned to the left, others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = (
        "  ".join(_pad(word, width, i < n_left) for i, (word, width) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )
    return "\n".join(aligned)


def _pad(word: str, width: int, left: bool) -> str:
    return word.ljust(width) if left else word.rjust(width)
