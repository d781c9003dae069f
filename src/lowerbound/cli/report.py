"""``report``: one HTML file of what there is to see of a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lowerbound.cli.context import context_schema, given_option
from lowerbound.cli.generate import OutputFile, load, rows_of
from lowerbound.cli.options import DataOptions, console_options, data_options, force_option, run_argument
from lowerbound.cli.output import Console, Failure, new_file
from lowerbound.cli.sequences import context_for, sequences_of, takes

if TYPE_CHECKING:
    from lowerbound.report.subject import Run


@click.command(short_help="Write one HTML file of what there is to see of a model.")
@run_argument
@click.argument("data", metavar="[DATA]", required=False)
@click.option("-o", "--output", metavar="FILE", required=True, type=OutputFile((".html",)), help="A .html file.")
@click.option("--no-data", is_flag=True, help="Leave the rows of DATA out of the file.")
@click.option(
    "--n-importance", metavar="K", type=click.IntRange(1), default=300, show_default=True,
    help="Samples a row for log p(x).",
)  # fmt: skip
@data_options
@given_option
@force_option
@console_options
def report(
    run: Path, data: str | None, output: Path, no_data: bool, n_importance: int, options: DataOptions,
    given: str | None, force: bool, console: Console,
) -> None:  # fmt: skip
    """Write a report on the model in RUN, with rows of DATA: one file that opens from disk and needs no network.

    It has new rows, a map of the codes, reconstructions, traversals, the most unusual rows with reasons, missing values
    filled, the curves of training, and log p(x) with its standard error. It holds rows of DATA, unless --no-data.

    \b
      lowerbound report runs/digits digits -o report.html
    """
    from lowerbound.report.page import write_report

    new_file(output, force)
    model = load(run, "report")
    X, labels, words = rows_to_show(model, run, replace(options, given=given), data, console)
    console.say("looking at the model")
    size = write_report(
        model, output, X, labels, run=run_of(run), with_rows=not no_data, n_importance=n_importance, **words
    )
    embedded = X is not None and not no_data
    if console.as_json:
        return console.result({"output": str(output), "bytes": size, "embeds_rows": embedded}, "")
    holds = "it holds rows of the data" if embedded else "it holds no rows of the data"
    console.say(f"wrote {output} ({size / 1e6:.1f} MB; {holds})")


def rows_to_show(
    model: Any, run: Path, options: DataOptions, data: str | None, console: Console
) -> tuple[Any, Any, dict[str, Any]]:
    """Rows of data for a page, their labels, and the names of both; fails if a context is missing."""
    if takes(model) != "rows":
        return _sequences_to_show(model, run, options, data, console)
    schema = context_schema(model)
    if schema is not None and (data is None or options.given is None):
        raise Failure(
            f"the model is given {', '.join(schema.names)}: name DATA and the column or array that has it, --given NAME"
        )
    if schema is None and options.given is not None:
        raise Failure(f"--given {options.given}: the model was trained without a context, so leave it out")
    if data is None:
        if options.words() != [""]:
            raise click.UsageError("the options of reading need DATA")
        return None, None, {}
    dataset = options.like_those_of(run).read(console)
    first = getattr(model, "estimators_", [model])[0]
    words: dict[str, Any] = {"source": dataset.source, "label": options.given or options.label or "label"}
    return rows_of(dataset, first), dataset.labels, words


def _sequences_to_show(
    model: Any, run: Path, options: DataOptions, data: str | None, console: Console
) -> tuple[Any, Any, dict[str, Any]]:
    """Sequences or texts for a page, and the context of texts; fails if that is missing."""
    if options.given is not None:
        raise Failure(f"--given {options.given}: that is for models of rows; texts bring what was said before them")
    if data is None:
        return None, None, {}
    dataset = options.like_those_of(run).read(console)
    return sequences_of(dataset, model), context_for(model, dataset), {"source": dataset.source}


def run_of(folder: Path) -> Run:
    """The training of a run, as its folder tells; of another folder its name alone."""
    from lowerbound.cli import run as runs
    from lowerbound.report.subject import Run

    place = runs.Run(folder if (folder / "config.toml").exists() or not folder.parent.name else folder.parent)
    if not place.config.exists() or folder not in (place.folder, place.model):
        return Run(str(folder))
    record = place.read_environment()
    return Run(
        str(folder), place.read_history(), place.config.read_text(encoding="utf-8", errors="replace"),
        str(record.get("command", "")), {str(k): str(v) for k, v in dict(record.get("versions", {})).items()},
    )  # fmt: skip
