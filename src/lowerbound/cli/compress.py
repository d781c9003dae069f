"""``compress`` and ``decompress``: rows as a file of as many bytes as −log p(x) has, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lowerbound.cli.context import given_of, given_option
from lowerbound.cli.generate import OutputFile, done, load, rows_of
from lowerbound.cli.options import (
    DataOptions,
    console_options,
    data_argument,
    data_options,
    force_option,
    run_argument,
)
from lowerbound.cli.output import Console, Failure, new_file, table

if TYPE_CHECKING:
    import pandas as pd

    from lowerbound.compression.files import Compressed

ROWS = (".npy", ".csv", ".parquet")
ESTIMATED = 10_000  # rows of streamed data that an estimate reads


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
    """Write all rows of DATA to a file by the model in RUN, without loss.

    The file has as many bits as −log p of the rows; `lowerbound decompress` reads it with the same model.
    """
    from lowerbound.compression import files

    if (output is None) != estimate:
        raise click.UsageError("say where to write with -o FILE, or --estimate to write nothing")
    if output is not None:
        new_file(output, force)
    model = load(run, "compress")
    options = replace(options, given=given)
    dataset = options.like_those_of(run).read(console)
    X, model = rows_of(dataset, model), given_of(model, dataset, given)
    if output is None:
        console.result(*_estimated(model, X, decimals, with_model=with_model))
        return
    file = files.compress(model, X, output, decimals=decimals, with_model=with_model, verify=verify)
    console.result(record_of(file), _text(file))
    words = () if with_model else (run,)
    console.suggest("decompress", *words, output, "-o", output.with_suffix(".csv"))


def record_of(file: Compressed) -> dict[str, Any]:
    """A file as a record of JSON."""
    return {
        "output": str(file.path), "rows": file.n_rows, "bytes": file.n_bytes, "model_bytes": file.model_bytes,
        "half_precision": file.half_precision, "bits_per_row": file.bits_per_row, "bits_per_dim": file.bits_per_dim,
        "bound": file.bound, "overhead": file.overhead,
    }  # fmt: skip


def _text(file: Compressed) -> str:
    rows = {
        "file": f"{file.path} ({file.n_bytes:,} bytes)",
        "rows": f"{file.n_rows:,}",
        "bits a row": f"{file.bits_per_row:,.2f}, {file.bits_per_dim:.4f} a dimension",
        "bound": f"{file.bound / 8:,.0f} bytes; the file has {file.overhead:.2%} more",
    }
    if file.model_bytes:
        weights = "half" if file.half_precision else "single"
        rows["model"] = f"{file.model_bytes:,} bytes of the file, weights in {weights} precision"
    return table(rows)


def _estimated(model: Any, X: Any, decimals: int | None, *, with_model: bool) -> tuple[dict[str, Any], str]:
    """The bytes that the model and others take, as a record and as a table."""
    import numpy as np

    from lowerbound.compression.files import estimate
    from lowerbound.compression.others import sizes
    from lowerbound.data.sources import Source

    n_rows = len(X)
    if isinstance(X, Source):
        some = X.spread(ESTIMATED).X
        X = some if X.is_mixed else X.as_array(some)
    bits, model_bytes = estimate(model, X, decimals=decimals, with_model=with_model)
    schema = model.schema_
    plain = X if hasattr(X, "columns") else schema.to_event(np.asarray(X))
    others = sizes(plain, schema.event_shape if schema.is_image else ())
    factor = n_rows / len(X)
    found = {"this model": bits / 8 * factor + model_bytes, **{name: n * factor for name, n in others.items()}}
    per_dim = 8 / (n_rows * max(1, schema.n_dimensions))
    text = {name: f"{n:>14,.0f} bytes  {n * per_dim:.4f} bits a dimension" for name, n in found.items()}
    if model_bytes:
        text["this model"] += f", {model_bytes:,} bytes of them the model itself"
    record = {"rows": n_rows, "rows_looked_at": len(X), "model_bytes": model_bytes, "bytes": found}
    return record, table(text)


@click.command(short_help="Read compressed data again.")
@click.argument("run", metavar="[RUN]", type=click.Path(path_type=Path), required=False)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path), required=False)
@click.option("-o", "--output", metavar="DATA", required=True, type=OutputFile(ROWS), help="A .npy, .csv or .parquet.")
@click.option("--block", metavar="K", type=click.IntRange(0), help="Read block K alone, counted from 0.")
@click.option("--skip-damaged", is_flag=True, help="Leave damaged blocks out, and say which.")
@force_option
@console_options
def decompress(
    run: Path | None, file: Path | None, output: Path, block: int | None, skip_damaged: bool, force: bool,
    console: Console,
) -> None:  # fmt: skip
    """Read the rows of FILE, which `lowerbound compress` wrote with the model in RUN.

    Without RUN the model is taken from the file, if it is there (compress --with-model).
    """
    from lowerbound.loading import reading

    if file is None:
        run, file = None, run
    if file is None:
        raise click.UsageError("say which file is to be read")
    new_file(output, force)
    model = None if run is None else load(run, "compress")
    if getattr(model, "context_", None) is not None:
        raise Failure(f"{run} holds a model that is given a context: read {file} in Python with model.given(context)")
    with reading(file, model) as opened:
        if block is not None and block >= len(opened):
            raise Failure(f"{file} has {len(opened)} blocks, counted from 0: there is no block {block}")
        blocks = list(range(len(opened))) if block is None else [block]
        blocks = opened.intact(blocks) if skip_damaged else blocks
        if not blocks:
            raise Failure(f"no block of {file} can be read")
        n_rows = sum(opened.reader.places[i][1] for i in blocks)
        _write(output, opened.rows(blocks), n_rows)
    done(console, output, (n_rows,))


def _write(path: Path, parts: Iterator[Any], n_rows: int) -> None:
    """Write the rows of the blocks, one after another."""
    import numpy as np

    from lowerbound.data.frames import as_pandas
    from lowerbound.data.gaps import nan_in_gaps
    from lowerbound.storage.results import write_frames, write_parts

    first = next(parts)
    parts = chain([first], parts)
    if path.suffix.lower() == ".npy":
        write_parts(path, ((np.asarray(nan_in_gaps(rows)), {}) for rows in parts), [], n_rows)
    else:
        write_frames(path, (_frame(as_pandas(rows)) for rows in parts))


def _frame(rows: Any) -> pd.DataFrame:
    """Rows as a frame, with columns x0, x1, … where they have no names."""
    import pandas as pd

    from lowerbound.data.gaps import nan_in_gaps

    if hasattr(rows, "columns"):
        return rows
    flat = nan_in_gaps(rows).reshape(len(rows), -1)
    return pd.DataFrame(flat, columns=[f"x{i}" for i in range(flat.shape[1])])
