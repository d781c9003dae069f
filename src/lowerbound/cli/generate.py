"""``generate``: draws as a picture, an array, a table or text; and what commands that use a model share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from lowerbound.cli.context import column_and_word, one_context, value_of, words_given
from lowerbound.cli.drawing import check_rows_fit, draw, share_of_noise
from lowerbound.cli.models import TAKEN, refusal
from lowerbound.cli.options import (
    PathType,
    console_options,
    force_option,
    run_argument,
    seed_option,
)
from lowerbound.cli.output import Console, Failure, new_file
from lowerbound.cli.sequence_files import OF_ROWS, check_ending
from lowerbound.cli.sequences import kind_of, takes

if TYPE_CHECKING:
    import numpy as np

    from lowerbound.data.sources import Dataset
    from lowerbound.estimators.density import DensityEstimator

ENDINGS = (".png", ".npy", ".csv", ".parquet")
N_DRAWN, N_SHOWN = 64, 10  # draws that are written, and texts that are shown
OF_KIND = {  # options of ``generate`` for models of rows, of sequences and of text
    "rows": ("mean", "given"),
    "sequences": ("prompt", "steps", "row", "prompt_steps", "key"),
    "text": ("prompt", "given", "distinct", "temperature", "top_p"),
}
NOISY = 0.1  # part of the variance of drawn pixels that is noise given z, from which the means are worth a look

Block: TypeAlias = "tuple[Any, np.ndarray | None]"  # rows and their labels


class OutputFile(PathType):
    """An output file whose ending gives its format."""

    name = "file"

    def __init__(self, endings: tuple[str, ...] = ENDINGS) -> None:
        self.endings: tuple[str, ...] = endings

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path, if its ending is known."""
        path = Path(value)
        if path.suffix.lower() not in self.endings:
            *most, last = self.endings
            known = f"{', '.join(most)} or {last}" if most else last
            self.fail(f"{value} must end in {known}, which gives the format", param, ctx)
        return path


def _output(type: click.ParamType, of_sequences: str = "") -> Callable[..., Any]:
    help = f"A .png, .npy, .csv or .parquet file{of_sequences}."
    return click.option("-o", "--output", metavar="FILE", required=True, type=type, help=help)


output_option = _output(OutputFile())
any_output_option = _output(click.Path(path_type=Path), "; of sequences .npz for .npy; of texts .txt or .jsonl too")


@click.command(short_help="Draw new rows, sequences or texts from a model.")
@run_argument
@click.option("-n", "--n-samples", "n_rows", type=click.IntRange(1), help="How many.  [64; of texts that are shown 10]")
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path),
    help="A .png, .npy, .csv or .parquet file; of sequences .npz for .npy; of texts .txt, .jsonl, .csv or .parquet. "
    "Texts are shown without it.",
)  # fmt: skip
@click.option("--mean", is_flag=True, help="Give the mean E[x|z] instead of a draw from p(x|z).")
@click.option(
    "--given",
    metavar="COLUMN=VALUE",
    multiple=True,
    help="The value of a column, or of the model's context; can be repeated. Of a dialogue: what was said before.",
)
@click.option("--prompt", metavar="FILE|TEXT", help="Continue a sequence of a file like the training data, or a text.")
@click.option("--steps", metavar="T", type=click.IntRange(1), help="Of sequences: how many steps to draw.")
@click.option("--row", metavar="I", type=click.IntRange(0), help="The sequence of --prompt, from 0.  [0]")
@click.option("--prompt-steps", metavar="T", type=click.IntRange(1), help="Of it, the steps to continue.  [all]")
@click.option("--key", metavar="NAME", help="Array of an .npz file of --prompt.")
@click.option("--distinct", is_flag=True, help="Of texts: draw until all differ, and give each with its probability.")
@click.option("--temperature", type=click.FloatRange(0), help="Of texts: logits of tokens are divided by it.  [1]")
@click.option(
    "--top-p", type=click.FloatRange(0, 1, min_open=True),
    help="Of texts: draw from the most probable tokens that have this much probability together.  [1]",
)  # fmt: skip
@seed_option("Seed; the run's own if not given.")
@force_option
@console_options
def generate(
    run: Path, n_rows: int | None, output: Path | None, random_state: int | None, force: bool, console: Console,
    **of_kinds: Any,
) -> None:  # fmt: skip
    """Draw new rows from the model in RUN: z from the prior, then x given z.

    With --given, z is drawn given the values of these columns, by importance sampling. A model that was trained with
    --given NAME needs --given NAME=VALUE. Sequences are drawn step by step; of a continuation what follows is written.

    \b
      lowerbound generate runs/table -n 1000 -o samples.csv
      lowerbound generate runs/songs --prompt songs.npz --key test --row 3 --steps 40 -o continued.png
      lowerbound generate runs/names --prompt em --distinct
    """
    from lowerbound.cli import sequence_draws, texts

    if output is not None:
        new_file(output, force)
    model = load(run, "generate")
    how = _only_of(takes(model), of_kinds, run)
    if takes(model) == "text":
        n = n_rows or (N_SHOWN if output is None else N_DRAWN)
        return texts.generate(run, model, n, output, texts.HowToWrite.of(**how), random_state, console)
    if output is None:
        raise click.UsageError("no output is given: name a file with -o")
    n_rows = n_rows or N_DRAWN
    if takes(model) == "sequences":
        asked = sequence_draws.Continuation(**how)
        return sequence_draws.generate(run, model, n_rows, output, asked, random_state, console)
    check_ending(output, OF_ROWS)
    _generate_rows(run, model, n_rows, output, random_state, console, **how)


def _only_of(kind: str, of_kinds: dict[str, Any], run: Path) -> dict[str, Any]:
    """The options of models of one kind; fails if others were given."""
    given = [name for name, value in of_kinds.items() if value not in (None, False, ()) and name not in OF_KIND[kind]]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        able = " and of ".join(other for other, names in OF_KIND.items() if given[0] in names)
        raise click.UsageError(f"{flags}: that is for models of {able}, and {run} holds one of {kind}: leave it out")
    return {name: of_kinds[name] for name in OF_KIND[kind]}


def _generate_rows(
    run: Path, model: Any, n_rows: int, output: Path, random_state: int | None, console: Console, *, mean: bool,
    given: tuple[str, ...],
) -> None:  # fmt: skip
    from lowerbound.storage.results import write_parts

    check_rows_fit(model, output)
    context = getattr(model, "context_", None)
    if context is not None:
        model = model.given(one_context(context.columns, given))
    if given and context is None:
        rows = _sample_given(model, given, n_rows, mean=mean, random_state=random_state)
    else:
        rows = model.sample(n_rows, mean=mean, random_state=random_state)
    if output.suffix.lower() == ".png":
        draw(output, model, rows)
    else:
        write_parts(output, [(rows, {})], names_of(model), len(rows))
    done(console, output, rows.shape)
    if output.suffix.lower() == ".png":
        _suggest_pictures(console, run, model, output, rows, given, n_rows=n_rows, mean=mean, seed=random_state)
    console.suggest("evaluate", run, "DATA", *words_given(None if context is None else context.names[0]))


def _suggest_pictures(
    console: Console, run: Path, model: Any, output: Path, rows: np.ndarray, given: tuple[str, ...], *, n_rows: int,
    mean: bool, seed: int | None,
) -> None:  # fmt: skip
    """Suggest the means of draws that are noise, and a traversal."""
    words = tuple(word for each in given for word in ("--given", each))
    share = 0.0 if mean else share_of_noise(rows, model.sample(n_rows, mean=True, random_state=seed))
    if share > NOISY:
        console.say(f"{share:.0%} of the variance of these pixels is noise of p(x|z): --mean leaves it out")
        same = ("-n", str(n_rows), *(() if seed is None else ("--seed", str(seed))))
        console.suggest("generate", run, *same, *words, "--mean", "-o", output.with_stem(f"{output.stem}-mean"))
    if refusal(type(model).__name__, "traverse") is None:
        console.suggest("traverse", run, *words, "-o", run / "traversal.png")


def _sample_given(model: Any, given: tuple[str, ...], n_rows: int, *, mean: bool, random_state: int | None) -> Any:
    """Draw rows given the values of some columns, by filling gaps in all others."""
    import numpy as np
    import pandas as pd

    from lowerbound import VAEImputer

    if mean:
        raise click.UsageError("--given draws rows; leave --mean out")
    names = names_of(model)
    columns = {column.name: column for column in getattr(model, "columns_", None) or ()}
    row: dict[str, Any] = dict.fromkeys(names, np.nan)
    for assigned in given:
        name, word = column_and_word(assigned, "the model", names)
        row[name] = value_of(columns.get(name), name, word)
    table = pd.DataFrame(row, index=range(n_rows), columns=names)
    X = table if hasattr(model, "feature_names_in_") else table.to_numpy().reshape(n_rows, *model.schema_.row_shape)
    seed = getattr(model, "seed_", None) if random_state is None else random_state
    drawn = VAEImputer(model, random_state=seed).fit(X).sample_imputations(X, 1)[0]
    return drawn if getattr(model, "columns_", None) else np.asarray(drawn)


def load(run: Path, command: str) -> Any:
    """The model of a run, or of a saved folder; fails if it can't do what the command asks."""
    import lowerbound

    model = lowerbound.load(run)
    message = refusal(type(model).__name__, command)
    if message:
        raise Failure(f"{run} {message}")
    context = getattr(model, "context_", None)
    if context is not None and command == "impute":
        names = ", ".join(context.names)
        raise Failure(
            f"{run} holds a model that is given {names}, so `lowerbound impute` can't use it; Python can: "
            f"VAEImputer(load({str(run)!r}).given(context))"
        )
    return model


def rows_of(dataset: Dataset, model: DensityEstimator) -> Any:
    """The rows, with the columns of the model in its order.

    Raises
    ------
    Failure
        If columns are missing or too many, or the rows have another shape.
    """
    import numpy as np

    from lowerbound.data.sources import Source

    if kind_of(dataset.X) != "rows":
        raise Failure(
            f"{dataset.source} holds {TAKEN[kind_of(dataset.X)]}, but the model was fitted to {TAKEN['rows']}"
        )
    known = getattr(model, "feature_names_in_", None)
    columns = getattr(dataset.X, "columns", None)
    if known is None or columns is None:
        shape = getattr(model, "row_shape_", None) or model.schema_.row_shape
        if dataset.X.shape[1:] != shape:
            turned = sorted(dataset.X.shape[1:]) == sorted(shape)
            hint = ": the same axes in another order, so rearrange them" if turned else ""
            raise Failure(
                f"{dataset.source} has rows of shape {dataset.X.shape[1:]}, but the model was fitted to {shape}{hint}"
            )
        return dataset.X if isinstance(dataset.X, Source) else np.asarray(dataset.X)
    missing = [str(name) for name in known if name not in columns]
    if missing:
        raise Failure(f"{dataset.source} has no column {missing[0]!r}, which the model was fitted to")
    extra = [str(name) for name in columns if name not in known]
    if extra:
        flags = " ".join(f"--drop {name}" for name in extra[:3])
        raise Failure(f"{dataset.source} has the column {extra[0]!r}, which the model was not fitted to: add {flags}")
    return dataset.X.select(list(known)) if isinstance(dataset.X, Source) else dataset.X[list(known)]


def blocks_of(dataset: Dataset, model: DensityEstimator, n_rows: int | None = None) -> Iterator[Block]:
    """Yield the rows and their labels: all at once, or in blocks for a source or with ``n_rows``."""
    from lowerbound.data.sources import Source

    X, labels = rows_of(dataset, model), dataset.labels
    if isinstance(X, Source):
        yield from ((block.X, block.labels) for block in X.blocks(n_rows))
        return
    for first in range(0, len(X), n_rows or len(X)):
        rows = slice(first, first + (n_rows or len(X)))
        yield X.iloc[rows] if hasattr(X, "iloc") else X[rows], None if labels is None else labels[rows]


def shown(blocks: Iterable[Block], progress: Callable[[float], Any]) -> Iterator[Block]:
    """Yield the same blocks, and report the rows of each once the next one is asked for."""
    for block in blocks:
        yield block
        progress(len(block[0]))


def spread(dataset: Dataset, n_rows: int) -> Dataset:
    """Rows at equal distances, so that data sorted by class give rows of all classes."""
    import numpy as np

    from lowerbound.data.sources import Dataset, Source

    X, labels = dataset.X, dataset.labels
    if isinstance(X, Source):
        return X.spread(n_rows)
    places = np.linspace(0, len(X) - 1, min(len(X), n_rows)).round().astype(int)
    chosen: Any = X.iloc[places] if hasattr(X, "iloc") else X[places]  # type: ignore[attr-defined]
    return Dataset(chosen, None if labels is None else labels[places], dataset.source)


def names_of(model: Any) -> list[str]:
    """The names of the columns of rows."""

    return list(getattr(model, "feature_names_in_", [f"x{i}" for i in range(math.prod(model.schema_.row_shape))]))


def done(console: Console, path: Path, shape: tuple[int, ...]) -> None:
    """Report the file that was written."""
    if console.as_json:
        console.result({"output": str(path), "shape": list(shape)}, "")
    else:
        console.say(f"wrote {path} ({shape[0]:,} rows)")
