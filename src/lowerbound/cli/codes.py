"""``reconstruct`` and ``encode``: reconstructions and codes as a picture, an array or a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lowerbound.cli.context import given_of, given_option
from lowerbound.cli.drawing import check_rows_fit, draw_pairs, write_map
from lowerbound.cli.generate import (
    Block,
    any_output_option,
    blocks_of,
    done,
    load,
    names_of,
    rows_of,
    shown,
    spread,
)
from lowerbound.cli.models import refusal
from lowerbound.cli.options import (
    DataOptions,
    console_options,
    data_argument,
    data_options,
    force_option,
    run_argument,
)
from lowerbound.cli.output import Console, new_file
from lowerbound.cli.row_names import RowNames
from lowerbound.cli.sequence_files import OF_ROWS, check_ending
from lowerbound.cli.sequences import takes

if TYPE_CHECKING:
    from lowerbound.storage.results import Part

MAPPED = 20_000  # points in a map of streamed data
SHOWN = 20  # rows in a picture of reconstructions


@click.command(short_help="Reconstruct data.")
@run_argument
@data_argument
@any_output_option
@data_options
@given_option
@click.option(
    "-n", "n_rows", type=click.IntRange(1), default=SHOWN, show_default=True, help="Rows in a picture, from all over."
)
@force_option
@console_options
def reconstruct(
    run: Path, data: str, output: Path, options: DataOptions, given: str | None, n_rows: int,
    force: bool, console: Console,
) -> None:  # fmt: skip
    """Reconstruct every row of DATA by the model in RUN: E[x|z] at its posterior mean z.

    Of sequences, what is expected of every step given z and the steps before it.

    A .png shows originals above their reconstructions.
    """
    from lowerbound.cli import sequence_draws, texts
    from lowerbound.storage.results import write_parts

    new_file(output, force)
    model = load(run, "reconstruct")
    options = replace(options, given=given)
    if takes(model) == "sequences":
        return sequence_draws.reconstruct(model, options.like_those_of(run).read(console), output, console)
    if takes(model) == "text":
        return texts.reconstruct(model, options.like_those_of(run).read(console), output, console)
    check_ending(output, OF_ROWS)
    check_rows_fit(model, output)
    dataset = options.like_those_of(run).read(console)
    if output.suffix.lower() == ".png":
        if n_rows < len(dataset.X):
            console.say(f"showing {n_rows} of {len(dataset.X):,} rows, from all over; -n shows more")
        few = spread(dataset, n_rows)
        X = rows_of(few, model)
        shape = (rows := given_of(model, few, given).reconstruct(X)).shape
        draw_pairs(output, model, rows, X)
    else:
        with console.progress(len(dataset.X), "reconstructing") as progress:
            one = given_of(model, dataset, given)
            parts = ((one.reconstruct(X), {}) for X, _ in shown(blocks_of(dataset, model), progress))
            shape = write_parts(output, parts, names_of(model), len(dataset.X))
    done(console, output, shape)
    console.suggest("encode", run, *options.words(), "-o", run / ("map.png" if model.latent_dim_ > 1 else "codes.csv"))


@click.command(short_help="Give the codes of data, or a map of them.")
@run_argument
@data_argument
@any_output_option
@data_options
@given_option
@force_option
@console_options
def encode(
    run: Path, data: str, output: Path, options: DataOptions, given: str | None, force: bool,
    console: Console,
) -> None:  # fmt: skip
    """Give the code of every row of DATA, or of every step of its sequences: the mean of its posterior q(z|x).

    A model with one z for each sequence gives one code for each.

    A .png is a map of two latent variables (those with the largest KL, if there are more), colored by label.
    """
    from lowerbound.cli import sequence_draws, texts
    from lowerbound.data.sources import Source
    from lowerbound.storage.results import write_parts

    new_file(output, force)
    model = load(run, "encode")
    options = replace(options, given=given)
    dataset = (as_there := options.like_those_of(run)).read(console)
    if takes(model) == "sequences":
        return sequence_draws.encode(model, dataset, output, console)
    if takes(model) == "text":
        return texts.encode(model, dataset, output, console)
    check_ending(output, OF_ROWS)
    if output.suffix.lower() == ".png":
        dataset = spread(dataset, MAPPED) if isinstance(dataset.X, Source) else dataset
        X = rows_of(dataset, model)
        one = given_of(model, dataset, given)
        shape = (codes := one.transform(X)).shape
        write_map(output, one, X, codes, dataset, given or options.label or "")
    else:
        named = options.label or "label"
        with console.progress(len(dataset.X), "encoding") as progress:
            blocks = shown(blocks_of(dataset, model), progress)
            one = given_of(model, dataset, given)
            codes_of = list(model.get_feature_names_out())
            taken = codes_of if dataset.labels is None else [*codes_of, named]
            parts = _named(RowNames.of(as_there, dataset, taken), one, blocks, named)
            shape = write_parts(output, parts, codes_of, len(dataset.X))
    done(console, output, shape)
    if refusal(type(model).__name__, "evaluate") is None:
        console.suggest("evaluate", run, *options.words())


def _named(names: RowNames, model: Any, blocks: Iterable[Block], label: str) -> Iterator[Part]:
    """Yield the codes of each block with the names and the labels of its rows."""
    first = 0
    for X, labels in blocks:
        codes = model.transform(X)
        yield codes, names.columns(first, first := first + len(codes)) | ({} if labels is None else {label: labels})
