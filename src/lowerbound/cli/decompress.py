"""``decompress``: what a compressed file holds, as a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lowerbound.cli import sequence_files
from lowerbound.cli.context import given_of, given_option
from lowerbound.cli.generate import OutputFile, done, load
from lowerbound.cli.options import DataOptions, console_options, force_option
from lowerbound.cli.output import Console, Failure, new_file
from lowerbound.cli.run import data_of
from lowerbound.cli.sequence_files import OF_TEXTS, SEQUENCE, check_ending, write_sequences
from lowerbound.cli.sequences import context_for, takes
from lowerbound.cli.texts import write_records

if TYPE_CHECKING:
    import pandas as pd

    from lowerbound.compression.files import Reading

OF_ROWS, OF_SEQUENCES = (".npy", ".csv", ".parquet"), (".npz", ".csv", ".parquet")
OUTPUT = OutputFile(tuple(dict.fromkeys((*OF_ROWS, *OF_SEQUENCES, *OF_TEXTS))))


@click.command(short_help="Read compressed data again.")
@click.argument("run", metavar="[RUN]", type=click.Path(path_type=Path), required=False)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path), required=False)
@click.option(
    "-o", "--output", metavar="DATA", required=True, type=OUTPUT,
    help="A .npy, .csv or .parquet; of sequences .npz for .npy; of texts .txt or .jsonl too.",
)  # fmt: skip
@click.option("--block", metavar="K", type=click.IntRange(0), help="Read block K alone, counted from 0.")
@click.option(
    "--context", metavar="DATA", type=click.Path(path_type=Path),
    help="A file with what the model was given when the data were compressed, row by row: the array or column "
    "--given NAME, or the contexts of a .jsonl.",
)  # fmt: skip
@given_option
@click.option("--skip-damaged", is_flag=True, help="Leave damaged blocks out, and say which.")
@force_option
@console_options
def decompress(
    run: Path | None, file: Path | None, output: Path, block: int | None, context: Path | None, given: str | None,
    skip_damaged: bool, force: bool, console: Console,
) -> None:  # fmt: skip
    """Read the data of FILE, which `lowerbound compress` wrote with the model in RUN.

    Without RUN the model is taken from the file, if it is there (compress --with-model).
    """
    from lowerbound.compression.sequences import SequencesCode
    from lowerbound.compression.texts import TextsCode
    from lowerbound.loading import reading

    if file is None:
        run, file = None, run
    if file is None:
        raise click.UsageError("say which file is to be read")
    new_file(output, force)
    model = None if run is None else load(run, "compress")
    if run is not None:
        model = _given(model, run, context, given)
    elif context or given:
        raise click.UsageError("--context is for a model in RUN: say which")
    with reading(file, model) as opened:
        if block is not None and block >= len(opened):
            raise Failure(f"{file} has {len(opened)} blocks, counted from 0: there is no block {block}")
        blocks = list(range(len(opened))) if block is None else [block]
        blocks = opened.intact(blocks) if skip_damaged else blocks
        if not blocks:
            raise Failure(f"no block of {file} can be read")
        if isinstance(opened.codec.rows, TextsCode):
            _write_texts(output, opened, blocks, console)
        elif isinstance(opened.codec.rows, SequencesCode):
            _write_sequences(output, opened, blocks, {} if run is None else data_of(run), console)
        else:
            check_ending(output, OF_ROWS)
            n_rows = sum(opened.reader.places[i][1] for i in blocks)
            _write(output, opened.rows(blocks), n_rows)
            done(console, output, (n_rows,))


def _given(model: Any, run: Path, source: Path | None, name: str | None) -> Any:
    """The model given the context in a file; itself, if it isn't given any."""
    if getattr(model, "context_", None) is None:
        if source is not None or name is not None:
            raise Failure(f"the model in {run} isn't given a context: leave --context and --given out")
        return model
    if source is None:
        raise Failure(f"{run} holds a model that is given a context: say which file has it, --context DATA")
    dataset = DataOptions(str(source), given=name).like_those_of(run).read()
    if takes(model) == "rows":
        return given_of(model, dataset, name)
    return model.given(context_for(model, dataset))


def _write_texts(path: Path, opened: Reading, blocks: Sequence[int], console: Console) -> None:
    """Write texts, or the bytes of a text file."""
    from lowerbound.storage.atomic import write_atomically

    found = opened.codec.rows.join(list(opened.rows(blocks)))
    if isinstance(found, bytes):
        if path.suffix.lower() != ".txt":
            raise click.UsageError(f"{path} must end in .txt: what was compressed is a text file")
        write_atomically(path, lambda temporary: temporary.write_bytes(found))
        return console.say(f"wrote {path} ({len(found):,} bytes)")
    check_ending(path, OF_TEXTS)
    write_records(path, [{"text": text} for text in found])
    console.say(f"wrote {path} ({len(found):,} texts)")


def _write_sequences(
    path: Path, opened: Reading, blocks: Sequence[int], kept: dict[str, Any], console: Console
) -> None:  # fmt: skip
    """Write sequences; ``kept`` is what the run says of its data."""
    from lowerbound.data.gaps import nan_in_gaps

    check_ending(path, OF_SEQUENCES)
    found = opened.codec.rows.join(list(opened.rows(blocks)))
    each = [x if hasattr(x, "columns") else nan_in_gaps(x) for x in found]
    names = list(getattr(each[0], "columns", [f"x{i}" for i in range(each[0].shape[1])]))
    ids, id = getattr(found, "ids", None), kept.get("id") or SEQUENCE
    write_sequences(path, each, names, kept.get("bits"), ids, id)
    sequence_files.done(console, path, [len(x) for x in each])


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
