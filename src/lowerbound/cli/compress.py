"""``compress``: rows, sequences and texts as a file of as many bytes as −log p(x) has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lowerbound.cli.context import given_of, given_option, words_given
from lowerbound.cli.generate import load, rows_of
from lowerbound.cli.options import (
    DataOptions,
    console_options,
    data_argument,
    data_options,
    force_option,
    run_argument,
)
from lowerbound.cli.output import Console, Failure, new_file, table
from lowerbound.cli.row_names import RowNames
from lowerbound.cli.sequences import context_for, sequences_of, takes

if TYPE_CHECKING:
    from lowerbound.compression.files import Compressed
    from lowerbound.data.sources import Dataset

ESTIMATED = 10_000  # rows of streamed data that an estimate reads
UNITS = {"rows": ("row", "dimension"), "sequences": ("sequence", "dimension"), "text": ("text", "byte")}


@click.command(short_help="Compress data without loss.")
@run_argument
@data_argument
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="The file, such as x.lb.")
@click.option("--estimate", is_flag=True, help="Write nothing: show what it would take, and what others take.")
@click.option("--with-model", is_flag=True, help="Put the model into the file, which is then all that is needed.")
@click.option(
    "--decimals", metavar="N", type=click.IntRange(0, 15), help="The decimals to which real values are given."
)
@click.option("--verify/--no-verify", default=True, show_default=True, help="Read every block again while writing.")
@data_options
@given_option
@force_option
@console_options
def compress(
    run: Path, data: str, output: Path | None, estimate: bool, with_model: bool, decimals: int | None, verify: bool,
    options: DataOptions, given: str | None, force: bool, console: Console,
) -> None:  # fmt: skip
    """Write all rows, sequences or texts of DATA to a file by the model in RUN, without loss.

    The file has as many bits as −log p of the data; `lowerbound decompress` reads it with the same model. A text file
    comes back byte for byte.
    """
    from lowerbound.compression import files

    if (output is None) != estimate:
        raise click.UsageError("say where to write with -o FILE, or --estimate to write nothing")
    if output is not None:
        new_file(output, force)
    model = load(run, "compress")
    options = replace(options, given=given)
    dataset = options.like_those_of(run).read(console)
    X, model = _given(model, dataset, data, given)
    if output is None:
        console.result(*_estimated(model, X, decimals, with_model=with_model))
        return
    kind = takes(model)
    if kind == "rows":
        _say_what_is_left_out(options, dataset, console)
    file = files.compress(model, X, output, decimals=decimals, with_model=with_model, verify=verify)
    console.result(record_of(file), _text(file, *UNITS[kind]))
    of_steps = ".csv" if hasattr(getattr(X, "steps", None), "columns") else ".npz"
    ending = {"rows": ".csv", "sequences": of_steps, "text": ".txt" if isinstance(X, Path) else ".jsonl"}[kind]
    again = output.with_suffix(ending)
    again = output.with_name(f"{output.stem}-again{ending}") if again.exists() else again
    is_given = getattr(model, "context_", None) is not None
    known = ("--context", data, *words_given(given)) if is_given else ()
    console.suggest("decompress", *(() if with_model and not is_given else (run,)), output, *known, "-o", again)


def _say_what_is_left_out(options: DataOptions, dataset: Dataset, console: Console) -> None:
    """Say that names of rows and labels, which the model doesn't know, aren't in the file."""
    ids = RowNames.of(options, dataset, ()).ids
    found = [] if ids is None else [f"the names of the rows ({ids.name})"]
    found += [] if dataset.labels is None else ["the labels"]
    if found:
        console.say(f"not in the file: {' and '.join(found)}; keep them, the rows come back in the same order")


def _given(model: Any, dataset: Dataset, data: str, given: str | None) -> tuple[Any, Any]:
    """The data as the model takes them, with the model given their context; of a .txt file its path."""
    if takes(model) == "rows":
        return rows_of(dataset, model), given_of(model, dataset, given)
    if given is not None:
        raise Failure(f"--given {given} is for rows, and the model takes {takes(model)}: leave it out")
    X = sequences_of(dataset, model)
    context = context_for(model, dataset)
    path = Path(data)
    return path if path.suffix.lower() == ".txt" else X, model if context is None else model.given(context)


def record_of(file: Compressed) -> dict[str, Any]:
    """A file as a record of JSON."""
    return {
        "output": str(file.path), "rows": file.n_rows, "bytes": file.n_bytes, "model_bytes": file.model_bytes,
        "half_precision": file.half_precision, "bits_per_row": file.bits_per_row, "bits_per_dim": file.bits_per_dim,
        "bound": file.bound, "overhead": file.overhead,
    }  # fmt: skip


def _text(file: Compressed, unit: str, part: str) -> str:
    rows = {
        "file": f"{file.path} ({file.n_bytes:,} bytes)",
        f"{unit}s": f"{file.n_rows:,}",
        f"bits a {unit}": f"{file.bits_per_row:,.2f}, {file.bits_per_dim:.4f} a {part}",
        "bound": f"{file.bound / 8:,.0f} bytes; the file has {_more(file.overhead)}",
    }
    if file.model_bytes:
        weights = "half" if file.half_precision else "single"
        rows["model"] = f"{file.model_bytes:,} bytes of the file, weights in {weights} precision"
    return table(rows)


def _more(overhead: float) -> str:
    return f"{abs(overhead):.2%} {'less' if overhead < 0 else 'more'}"


def _estimated(model: Any, X: Any, decimals: int | None, *, with_model: bool) -> tuple[dict[str, Any], str]:
    """The bytes that the model and others take, as a record and as a table."""
    from lowerbound.compression.files import estimate
    from lowerbound.compression.others import sizes
    from lowerbound.data.sources import Source

    n_rows = 0 if isinstance(X, Path) else len(X)
    if isinstance(X, Source):
        some = X.spread(ESTIMATED).X
        X = some if X.is_mixed else X.as_array(some)
    n_looked_at = 0 if isinstance(X, Path) else len(X)
    bits, model_bytes = estimate(model, X, decimals=decimals, with_model=with_model)
    plain, event_shape, n_numbers = _plain(model, X)
    factor = n_rows / n_looked_at if n_looked_at else 1.0
    found = {"this model": bits / 8 * factor + model_bytes}
    found |= {name: n * factor for name, n in sizes(plain, event_shape).items()}
    per_part, part = 8 / (factor * max(1, n_numbers)), UNITS[takes(model)][1]
    text = {name: f"{n:>14,.0f} bytes  {n * per_part:.4f} bits a {part}" for name, n in found.items()}
    if model_bytes:
        text["this model"] += f", {model_bytes:,} bytes of them the model itself"
    looked_at = {"rows": n_rows, "rows_looked_at": n_looked_at} if n_rows else {}
    return {**looked_at, "model_bytes": model_bytes, "bytes": found}, table(text)


def _plain(model: Any, X: Any) -> tuple[Any, tuple[int, ...], int]:
    """The data as other compressors get them, the shape of images, and how many numbers they are."""
    import numpy as np

    from lowerbound.data.gaps import nan_in_gaps

    schema, kind = model.schema_, takes(model)
    if kind == "text":
        content = X.read_bytes() if isinstance(X, Path) else "".join(f"{text}\n" for text in X).encode()
        return content, (), len(content)
    if kind == "sequences":
        X = X.steps
    n_numbers = len(X) * schema.n_dimensions
    if hasattr(X, "columns"):
        return X, (), n_numbers
    if kind == "sequences":
        return nan_in_gaps(X), (), n_numbers
    return schema.to_event(np.asarray(X)), schema.event_shape if schema.is_image else (), n_numbers
