"""``lowerbound compare``: every model of p(x) on the user's data."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lowerbound.cli import sequence_compare
from lowerbound.cli.generate import spread
from lowerbound.cli.options import (
    DataOptions,
    axes_options,
    console_options,
    data_options,
    force_option,
    seed_option,
)
from lowerbound.cli.output import Console, Failure, new_file, plus_minus, short
from lowerbound.cli.sequences import kind_of
from lowerbound.parameters.parameter import suggestion

if TYPE_CHECKING:
    import numpy as np

    from lowerbound.comparison.comparison import Result
    from lowerbound.comparison.split import Case
    from lowerbound.data.sources import Dataset

COMPARED = 50_000  # rows of data that are streamed
MODELS = ("factorized", "mixture", "pixel_rnn", "rbm", "ppca", "autoencoder", "vae")
SIGNS = {"exact": "=", "lower": "≥", "upper": "≤", "estimate": "≈"}
R = TypeVar("R")
HEADS = ("model", "log p(x)", "bits/dim", "parameters", "fit, s", "1,000 draws, s")
LEGEND = (
    "(log p(x), mean over the rows held out, in nats, ± one standard error; = exact, ≥ a lower bound, "
    "≤ an upper bound in expectation)"
)
UNITS = {
    "binary": "log-probabilities of 0 and 1",
    "grey_levels": "log-probabilities of 8-bit grey levels; densities by uniform dequantization, a lower bound",
    "real": "log-densities in the data's units",
    "mixed": "log-probabilities of categories and log-densities of numbers in the data's units",
}


def _models(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(word.strip() for word in value.split(",") if word.strip()))
    known = (*MODELS, *sequence_compare.MODELS)
    for name in names:
        if name not in known:
            raise click.BadParameter(f"there is no model {name!r}{suggestion(name, list(known))}: {', '.join(known)}")
    if value and not names:
        raise click.BadParameter(f"name one or more of {', '.join(known)}")
    return names


@click.command(short_help="Fit every model to data and compare them.")
@click.argument("data", metavar="DATA")
@data_options
@click.option(
    "--models", metavar="NAME,…", default="", callback=_models,
    help=f"Which of {', '.join(MODELS)}; of sequences and texts {', '.join(sequence_compare.MODELS)}. "
    f"[all that take such data]",
)  # fmt: skip
@click.option(
    "--budget", metavar="MINUTES", type=click.FloatRange(0, min_open=True), default=5.0, show_default=True,
    help="Time for fitting all of them, about; fewer passes, then fewer rows, keep to it.",
)  # fmt: skip
@click.option(
    "--binarize", type=click.Choice(["sample", "threshold", "mean"]),
    help="Make the data 0 or 1: redrawn from grey values, or cut at ½ or at the feature's mean.",
)  # fmt: skip
@axes_options
@seed_option("Seed.", default=0, show_default=True)
@click.option(
    "-o", "--output", metavar="FILE.png", type=click.Path(path_type=Path), help="A picture of draws, side by side."
)
@force_option
@console_options
def compare(
    data: str, options: DataOptions,
    models: tuple[str, ...], budget: float, binarize: str | None, image_shape: tuple[int, ...] | None, layout: str,
    random_state: int, output: Path | None, force: bool, console: Console,
) -> None:  # fmt: skip
    """Fit models of p(x), from simple to flexible, to most rows of DATA and score all on the same others.

    All numbers are on one base measure: probabilities of 0/1 data, of grey levels and of words, or densities in the
    data's units. A model that has no such number says why. Of data that are streamed, 50,000 rows from all over are
    taken. Of sequences and texts the same decoder is fitted with latent variables and without, and it is said what
    they bring.

    \b
      lowerbound compare digits --binarize sample --budget 2 -o draws.png
      lowerbound compare table.csv --label class --models factorized,mixture,ppca,vae
      lowerbound compare names.txt --budget 2
    """
    _check_output(output, force=force)
    dataset = options.read(console)
    how = {"binarize": binarize, "budget_minutes": budget, "random_state": random_state}
    if kind_of(dataset.X) != "rows":
        _refuse_options_of_rows(binarize, image_shape, layout, output)
        _compare_sequences(dataset, models, how, console)
    else:
        _compare_rows(dataset, models, how, image_shape, layout, output, console)


def _refuse_options_of_rows(
    binarize: str | None, image_shape: tuple[int, ...] | None, layout: str, output: Path | None
) -> None:
    asked = {"--binarize": binarize, "--image-shape": image_shape, "--layout": None if layout == "auto" else layout}
    for flag, value in {**asked, "-o": output}.items():
        if value is not None:
            raise click.UsageError(f"{flag} is for rows, and the data are sequences or texts: leave it out")


def _compare_sequences(dataset: Dataset, names: tuple[str, ...], how: dict[str, Any], console: Console) -> None:
    from lowerbound.comparison.sequences import compare_sequences

    case = sequence_compare.case_of(dataset, how["random_state"])
    names = sequence_compare.chosen_of(names, case.kind)
    sequence_compare.announce(dataset, case, console)
    fits = compare_sequences(case, names, seconds=60 * how["budget_minutes"], say=console.say)
    results, interrupted = _until_interrupted(fits)
    record = {"source": dataset.source, **how, **sequence_compare.record_of(case, results)}
    said = "\n".join(
        [text(results, sequence_compare.lines_of(case, results)), *sequence_compare.said_below(record, case)]
    )
    console.result(record, f"{said}\n{LEGEND.replace('rows', f'{case.unit}s')}")
    _end(results, interrupted=interrupted)


def _compare_rows(
    dataset: Dataset, models: tuple[str, ...], how: dict[str, Any], image_shape: tuple[int, ...] | None, layout: str,
    output: Path | None, console: Console,
) -> None:  # fmt: skip
    from lowerbound.comparison.comparison import compare_models
    from lowerbound.comparison.split import split
    from lowerbound.estimators.tables import has_text

    for name in models:
        if name not in MODELS:
            raise Failure(f"{name} takes sequences or texts, and the data are rows: {', '.join(MODELS)} take them")
    models, binarize, random_state = models or MODELS, how["binarize"], how["random_state"]
    dataset = _rows_at_hand(dataset, console)
    columns = list(map(str, getattr(dataset.X, "columns", [])))
    X = dataset.X if has_text(dataset.X) else _numbers(dataset.X)
    try:
        case = split(X, binarize=binarize, seed=random_state, image_shape=image_shape, layout=layout)
    except ValueError as error:
        raise Failure(str(error)) from error
    columns = columns or [f"x{i}" for i in range(math.prod(case.schema.event_shape))]
    if output is not None:
        from lowerbound.pictures.side_by_side import check_drawable

        if case.schema.columns is not None:
            raise Failure(f"{output}: a picture needs columns of numbers alone: leave -o out")
        check_drawable(case.schema)
    console.say(f"{dataset.source}: {_rows(case)}; {UNITS[case.kind]}")
    results, interrupted = _until_interrupted(
        compare_models(case, models, seconds=60 * how["budget_minutes"], say=console.say)
    )
    record = {
        "source": dataset.source, "kind": case.kind, **how,
        "rows": {"fitted": len(case.train), "scored": len(case.test)},
        "models": [result.to_dict() for result in results],
    }  # fmt: skip
    lines = [HEADS, *(_cells(result) for result in results if result.log_p is not None)]
    console.result(record, f"{text(results, lines)}\n{LEGEND}")
    if output is not None:
        _picture(results, case, columns, output, console)
    _end(results, interrupted=interrupted)


def _end(results: list[Any], *, interrupted: bool) -> None:
    if interrupted:
        raise KeyboardInterrupt
    if all(result.failed for result in results):
        sys.exit(1)


def _until_interrupted(models: Iterator[R]) -> tuple[list[R], bool]:
    """The results that there are after the last model, or at Ctrl-C, and True for the latter."""
    results: list[R] = []
    try:
        for result in models:
            results.append(result)  # noqa: PERF402 (what there is before the interruption stays)
    except KeyboardInterrupt:
        if not results:
            raise
        return results, True
    return results, False


def _check_output(output: Path | None, *, force: bool) -> None:
    if output is None:
        return
    if output.suffix.lower() != ".png":
        raise click.UsageError(f"{output}: the picture is a .png")
    new_file(output, force)


def _rows_at_hand(dataset: Dataset, console: Console) -> Dataset:
    """In memory, where most models need them: all of data that are there, of others as many as time allows to fit."""
    from lowerbound.data.sources import IN_MEMORY, Source

    X = dataset.X
    if not isinstance(X, Source):
        return dataset
    n_rows = max(2, min(COMPARED, IN_MEMORY // X.row_bytes))
    if n_rows < len(X):
        console.say(f"compared on {n_rows:,} of the {len(X):,} rows, from all over the data")
    return spread(dataset, n_rows)


def _numbers(X: Any) -> np.ndarray:
    """An array; truth values among numbers are numbers."""
    import numpy as np

    numbers = np.asarray(X)
    return numbers.astype(np.float64) if numbers.dtype == object else numbers


def _rows(case: Case) -> str:
    return f"{len(case.train):,} rows to fit, {len(case.test):,} others to score"


def _picture(results: list[Result], case: Case, columns: list[str], path: Path, console: Console) -> None:
    from lowerbound.pictures.pictures import save_map
    from lowerbound.pictures.side_by_side import side_by_side

    drawn: dict[str, np.ndarray] = {r.title: r.samples for r in results if r.samples is not None}
    if case.binarize:  # zeros and ones come back in the units of the grey values
        drawn = {name: (rows > 0).astype("uint8") for name, rows in drawn.items()}
    save_map(side_by_side({"data held out": case.test, **drawn}, case.schema, columns), path)
    console.say(f"wrote {path}")


def text(results: Sequence[Result], lines: list[tuple[str, ...]]) -> str:
    """The table of the heads and the cells of each model, and below it what is to be said of single models."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = [
        "  ".join(w.ljust(n) if i < 2 else w.rjust(n) for i, (w, n) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]
    shown = iter(table[1:])
    body = [next(shown) if r.log_p is not None else _reason(r, widths[0]) for r in results]
    notes = [f"{result.title}: {note}" for result in results for note in result.notes]
    return "\n".join(line.rstrip() for line in [table[0], *body, *([""] if notes else []), *notes])


def _reason(result: Result, width: int) -> str:
    return f"{result.title.ljust(width)}  {'failed' if result.failed else 'not applicable'}: {result.reason}"


def _cells(result: Result) -> tuple[str, ...]:
    log_p: Any = result.log_p
    bits = "" if result.bits_per_dim is None else short(result.bits_per_dim)
    return (
        result.title, f"{SIGNS[log_p.kind]} {plus_minus(log_p.value, log_p.standard_error)}", bits,
        f"{result.n_parameters:,}", _seconds(result.fit_seconds), _seconds(result.sample_seconds),
    )  # fmt: skip


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3f}" if seconds < 1 else f"{seconds:.1f}"
