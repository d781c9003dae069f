"""``impute``: completed tables, intervals, and the errors of filling."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lowerbound.cli.evaluate import has_gaps
from lowerbound.cli.generate import load, rows_of, spread
from lowerbound.cli.options import (
    DataOptions,
    PathType,
    console_options,
    data_argument,
    data_options,
    force_option,
    run_argument,
    seed_option,
)
from lowerbound.cli.output import Console, Failure, new_file, short
from lowerbound.cli.sequences import takes

if TYPE_CHECKING:
    from lowerbound.data.sources import Dataset
    from lowerbound.imputation.imputer import VAEImputer
    from lowerbound.imputation.validation import ColumnCheck

ENDINGS = (".csv", ".parquet", ".npy", ".npz")
CHECKED = 10_000  # rows taken from streamed data


class FilledFile(PathType):
    """An output file whose ending gives its format."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path, if its ending is known."""
        path = Path(value)
        if path.suffix.lower() not in ENDINGS:
            self.fail(
                f"{value} must end in .csv, .parquet, .npy or (of sequences) .npz, which gives the format", param, ctx
            )
        return path


@click.command(short_help="Fill the gaps of data.")
@run_argument
@data_argument
@click.option("-o", "--output", metavar="FILE", type=FilledFile(), help="A .csv, .parquet or .npy file.")
@data_options
@click.option(
    "--imputations", "n_imputations", type=click.IntRange(1), metavar="M",
    help="Write M completed tables with draws in the gaps, one below the other, numbered in the column imputation. A "
    "saved VAEImputer is fitted to a bootstrap of DATA for each; other models draw all of them as they are.",
)  # fmt: skip
@click.option(
    "--fill", type=click.Choice(["mean", "median", "draw", "mode"]), show_default="mean, or a saved imputer's",
    help="The number in a gap; categories are the most probable, unless drawn.",
)  # fmt: skip
@click.option("--intervals", is_flag=True, help="Add columns with the ends of 90 % intervals: NAME_low, NAME_high.")
@click.option("--check", is_flag=True, help="Hide 10 % of the observed cells, fill them, and show the errors.")
@click.option(
    "--n-importance", type=click.IntRange(1), show_default="1000, or a saved imputer's",
    help="Importance samples for each row.",
)  # fmt: skip
@seed_option("Seed.", show_default="0, or a saved imputer's")
@force_option
@console_options
def impute(
    run: Path, data: str, output: Path | None, options: DataOptions, n_imputations: int | None, fill: str | None,
    intervals: bool, check: bool, n_importance: int | None, random_state: int | None, force: bool, console: Console,
) -> None:  # fmt: skip
    """Fill the gaps of DATA by the model in RUN, or by a saved VAEImputer, given the observed entries of each row.

    Numbers get their expectation, or what --fill says, and categories the most probable one, by importance sampling;
    observed entries are unchanged. Columns left out by --drop and --label are written too.

    \b
      lowerbound impute runs/table table.csv -o filled.csv
      lowerbound impute runs/table table.csv -o five.parquet --imputations 5
      lowerbound impute runs/table table.csv --check
    """
    from lowerbound import VAEImputer
    from lowerbound.cli import series
    from lowerbound.cli.filled_table import write_filled

    _refuse_what_does_not_go_together(output, n_imputations, fill, intervals=intervals, check=check)
    if output is not None:
        new_file(output, force)
    model = load(run, "impute")
    options = options.like_those_of(run)
    dataset = options.read(console)
    if takes(model) == "sequences":
        return series.impute(
            model, dataset, series.output_of(output, fill, n_importance, check=check), fill=fill, intervals=intervals,
            n_imputations=n_imputations, seed=random_state, console=console,
        )  # fmt: skip
    X = rows_of(dataset, model)
    if output is not None and output.suffix.lower() == ".npz":
        raise click.UsageError(
            f"{output}: rows are written to .csv, .parquet or .npy files, and only sequences to .npz"
        )
    if output is not None and not has_gaps(X):
        console.say(f"{dataset.source} has no gaps: its rows are written as they are")
    if isinstance(model, VAEImputer):
        imputer = _of_the_table_alone(model, run)
        _set(imputer, n_importance, random_state, fill)
    else:
        n, seed = n_importance or 1000, random_state or 0
        imputer = VAEImputer(model, n_importance=n, fill=fill or "mean", random_state=seed)
        imputer.fit(rows_of(spread(dataset, 2), model))  # finds the columns; the model is fitted already
        if n_imputations:
            console.say("all tables are drawn by one fitted model: intervals by Rubin's rules will be too narrow")
    if check:
        _check(imputer, _some_of(dataset, model, console), random_state or 0, console)
    if output is not None:
        with console.progress(len(X), "filling") as progress:
            ess = write_filled(
                output, imputer, X, data, n_imputations, intervals=intervals, progress=progress,
                writing=options.writing, id=options.id,
            )  # fmt: skip
        _say(console, output, len(X) * (n_imputations or 1), ess, check=check)


def _of_the_table_alone(imputer: Any, run: Path) -> VAEImputer:
    """Make a saved imputer return the columns of the table, and no indicators."""
    left_out = imputer.n_features_in_ - len(imputer._kept)
    if left_out:
        raise Failure(f"{run} left out {left_out} column(s) without values: fit it with keep_empty_features=True")
    imputer.indicator_ = None
    return imputer


def _set(imputer: VAEImputer, n_importance: int | None, random_state: int | None, fill: str | None) -> None:
    """Replace saved parameters by those that were given."""
    from lowerbound.imputation.fillers import OfValues, WithErrors
    from lowerbound.imputation.network import EstimatorFiller

    if random_state is not None:
        imputer.random_state = imputer.seed_ = random_state
    if fill is not None:
        imputer.fill = fill
    if n_importance is not None:
        imputer.n_importance = n_importance
        for filler in getattr(imputer._filler, "fillers", [imputer._filler]):
            while isinstance(filler, OfValues | WithErrors):
                filler = filler.filler
            if isinstance(filler, EstimatorFiller):
                filler.n_importance = n_importance


def _some_of(dataset: Dataset, model: Any, console: Console) -> Any:
    """All rows if they are in memory, else rows at equal distances."""
    from lowerbound.data.sources import Source

    if not isinstance(dataset.X, Source):
        return rows_of(dataset, model)
    some = spread(dataset, CHECKED)
    console.say(f"checked on {len(some.X):,} rows from all over the data")
    return rows_of(some, model)


def _refuse_what_does_not_go_together(
    output: Path | None, n_imputations: int | None, fill: str | None, *, intervals: bool, check: bool
) -> None:
    if output is None and not check:
        raise click.UsageError("no output is given: name a file with -o, or ask for --check")
    if n_imputations is not None and intervals:
        raise click.UsageError("--imputations and --intervals can't be combined: give one of them")
    if n_imputations is not None and fill is not None:
        raise click.UsageError("--imputations are draws, so --fill has no meaning beside them: give one of them")
    if output is not None and output.suffix.lower() == ".npy" and (n_imputations or intervals):
        raise click.UsageError(
            f"{output}: several tables and intervals need columns with names: write a .csv or .parquet"
        )


def _check(imputer: VAEImputer, X: Any, seed: int, console: Console) -> None:
    from dataclasses import asdict

    from lowerbound.imputation.validation import check_filling

    checks, beside = check_filling(imputer, X, seed)
    record = {"hidden": 0.1, "level": 0.9, "columns": [asdict(c) for c in checks], "gaussian_error": beside}
    console.result(record, _as_table(checks))
    ours = [c.error for c in checks if c.kind == "number"]
    if beside is not None and ours:
        mean = (sum(e * e for e in ours) / len(ours)) ** 0.5
        better = "the Gaussian is better: VAEImputer() without an estimator stacks both" if beside < mean else "worse"
        console.say(f"a full Gaussian fitted to the same cells: error {short(beside)} beside {short(mean)} ({better})")


def _as_table(checks: list[ColumnCheck]) -> str:
    width = max(6, *(len(c.name) for c in checks))
    lines = [f"{'column':<{width}}  {'cells':>6}  {'error':>7}  {'in 90 %':>7}"]
    for c in checks:
        inside = "" if c.coverage is None else f"{100 * c.coverage:.0f} %"
        error = f"{c.error:.3f}" if c.kind == "number" else f"{100 * c.error:.0f} %"
        lines.append(f"{c.name:<{width}}  {c.n_cells:>6}  {error:>7}  {inside:>7}")
    return "\n".join([*lines, "error: root mean square in standard deviations; of categories, part that is wrong"])


def _say(console: Console, path: Path, n_rows: int, ess: float | None, *, check: bool) -> None:
    if console.as_json and not check:
        console.result({"output": str(path), "n_rows": n_rows, "ess": ess}, "")
    else:
        sampled = "" if ess is None else f", {short(ess)} effective importance samples a row"
        console.say(f"wrote {path} ({n_rows:,} rows{sampled})")
