"""``impute``: a table without gaps, several of them, intervals, and how good the filling is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lowerbound.cli.options import (
    DataOptions,
    console_options,
    data_argument,
    data_options,
    force_option,
    run_argument,
)
from lowerbound.cli.output import Console, Failure, new_file, short
from lowerbound.cli.use import load, rows_of

if TYPE_CHECKING:
    import pandas as pd

    from lowerbound.estimators.checking import ColumnCheck
    from lowerbound.estimators.imputer import VAEImputer

ENDINGS = (".csv", ".parquet", ".npy")
TABLES = (".csv", ".parquet")


class FilledFile(click.ParamType):
    """A file whose ending says what is written."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path, if its ending is known."""
        path = Path(value)
        if path.suffix.lower() not in ENDINGS:
            self.fail(f"{value} must end in .csv, .parquet or .npy, which says what is written", param, ctx)
        return path


@click.command(short_help="Fill the gaps of data.")
@run_argument
@data_argument
@click.option("-o", "--output", metavar="FILE", type=FilledFile(), help="A .csv, .parquet or .npy file.")
@data_options
@click.option(
    "--imputations", "n_imputations", type=click.IntRange(1), metavar="M",
    help="Write M completed tables with draws in the gaps, one below the other, numbered in the column imputation.",
)  # fmt: skip
@click.option("--intervals", is_flag=True, help="Add columns with the ends of 90 % intervals: NAME_low, NAME_high.")
@click.option("--check", is_flag=True, help="Hide 10 % of the observed cells, fill them, and show the errors.")
@click.option(
    "--n-importance", type=click.IntRange(1), default=1000, show_default=True, help="Importance samples for each row."
)
@click.option("--random-state", type=click.IntRange(0), default=0, show_default=True, help="Seed.")
@force_option
@console_options
def impute(
    run: Path, data: str, output: Path | None, key: str | None, drop: tuple[str, ...], label: str | None,
    stream: bool | None, n_imputations: int | None, intervals: bool, check: bool, n_importance: int,
    random_state: int, force: bool, console: Console,
) -> None:  # fmt: skip
    """Fill the gaps of DATA with what RUN says of them, given the observed entries of the row.

    Numbers get their expectation, categories the most probable level, both by importance sampling; what is
    observed stays as it is. Columns left out by --drop and --label are written too.

    \b
      lowerbound impute runs/table table.csv -o filled.csv
      lowerbound impute runs/table table.csv -o five.parquet --imputations 5
      lowerbound impute runs/table table.csv --check
    """
    from lowerbound import VAEImputer

    _refuse_what_does_not_go_together(output, n_imputations, intervals=intervals, check=check, stream=stream)
    if output is not None:
        new_file(output, force)
    model = load(run)
    options = DataOptions(data, key, drop, label, stream=False)
    X = rows_of(options.read(), model)
    imputer = VAEImputer(model, n_importance=n_importance, random_state=random_state).fit(X)
    if check:
        _check(imputer, X, random_state, console)
    if output is not None:
        n_rows = _write(output, imputer, X, options, n_imputations, intervals=intervals)
        _say(console, output, n_rows, imputer, check=check)


def _refuse_what_does_not_go_together(
    output: Path | None, n_imputations: int | None, *, intervals: bool, check: bool, stream: bool | None
) -> None:
    if output is None and not check:
        raise click.UsageError("where shall the filled table be? Give a file with -o, or ask for --check")
    if n_imputations is not None and intervals:
        raise click.UsageError(
            "--imputations shows what isn't known by draws and --intervals by ends: give one of them"
        )
    if output is not None and output.suffix.lower() == ".npy" and (n_imputations or intervals):
        raise click.UsageError(
            f"{output}: several tables and intervals need columns with names: write a .csv or .parquet"
        )
    if stream:
        raise click.UsageError("impute reads all rows at once: leave --stream out")


def _write(
    path: Path, imputer: VAEImputer, X: Any, options: DataOptions, n_imputations: int | None, *, intervals: bool
) -> int:
    """The filled table, and how many rows it has."""
    import numpy as np
    import pandas as pd

    from lowerbound.data.storage import write_atomically

    if path.suffix.lower() == ".npy":
        filled = imputer.transform(X)
        write_atomically(path, lambda temporary: np.save(temporary, filled))
        return len(filled)
    if len(X.shape) > 2:
        raise Failure(f"{path}: images don't go into a table: give a name that ends in .npy")
    whole = _whole_table(options, X)
    text = _text(options, whole) if path.suffix.lower() == ".csv" else None
    names = [name for name in whole if not hasattr(X, "columns") or name in set(X.columns)]
    if n_imputations is None:
        table = _placed(whole, text, names, imputer.transform(X))
        table = _with_ends(table, whole, names, imputer.impute_interval(X)) if intervals else table
    else:
        drawn = imputer.sample_imputations(X, n_imputations)
        tables = [_placed(whole, text, names, np.asarray(one)) for one in drawn]
        table = pd.concat([one.assign(imputation=i + 1) for i, one in enumerate(tables)], ignore_index=True)
    if path.suffix.lower() == ".csv":
        write_atomically(path, lambda temporary: table.to_csv(temporary, index=False))
    else:
        write_atomically(path, lambda temporary: table.to_parquet(temporary, index=False))
    return len(table)


def _whole_table(options: DataOptions, X: Any) -> pd.DataFrame:
    """The table as it is in its file, with the columns that the model doesn't know; dates as the model reads them."""
    import pandas as pd

    ending = Path(options.source).suffix.lower()
    if hasattr(X, "columns") and ending == ".csv":  # nullable: gaps don't turn whole numbers and truth values to others
        frame = pd.read_csv(options.source, dtype_backend="numpy_nullable")
    elif hasattr(X, "columns") and ending == ".parquet":
        frame = pd.read_parquet(options.source)
    else:
        frame = None
    if frame is None or len(frame) != len(X) or not set(X.columns) <= set(frame.columns):
        return X.copy() if hasattr(X, "columns") else pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
    dates = X.select_dtypes("datetime").dtypes
    return frame.assign(**{name: pd.to_datetime(frame[name]).astype(dates[name]) for name in dates.index})


def _text(options: DataOptions, whole: pd.DataFrame) -> pd.DataFrame | None:
    """The cells of a .csv as they are written there, None of other files."""
    import pandas as pd

    if Path(options.source).suffix.lower() != ".csv":
        return None
    text = pd.read_csv(options.source, dtype=str)
    return text if len(text) == len(whole) and list(text) == list(whole) else None


def _placed(whole: pd.DataFrame, text: pd.DataFrame | None, names: list[str], filled: Any) -> pd.DataFrame:
    """The whole table with the filled entries where it has gaps; what was written stays as it was written."""
    import numpy as np
    import pandas as pd

    from lowerbound.estimators.imputer import with_values

    parts = {}
    for name, values in zip(names, np.asarray(filled, object).T, strict=True):
        rows = np.flatnonzero(whole[name].isna() & ~pd.isna(values))
        part = with_values(whole[name], rows, values[rows])  # pyright: ignore[reportArgumentType]
        parts[name] = part if text is None else text[name].where(text[name].notna() | part.isna(), part.astype(str))
    return (whole if text is None else text).assign(**parts)


def _with_ends(table: pd.DataFrame, whole: pd.DataFrame, names: list[str], ends: Any) -> pd.DataFrame:
    """Two columns more for each that had gaps."""
    import numpy as np

    columns = {}
    for j, name in enumerate(names):
        if bool(whole[name].isna().to_numpy().any()):
            columns |= {
                f"{name}_{which}": np.asarray(end)[:, j] for which, end in zip(("low", "high"), ends, strict=True)
            }
    return table.assign(**columns)


def _check(imputer: VAEImputer, X: Any, seed: int, console: Console) -> None:
    from dataclasses import asdict

    from lowerbound.estimators.checking import check_filling

    checks, beside = check_filling(imputer, X, seed)
    record = {"hidden": 0.1, "level": 0.9, "columns": [asdict(c) for c in checks], "gaussian_error": beside}
    console.result(record, _as_table(checks))
    ours = [c.error for c in checks if c.kind == "number"]
    if beside is not None and ours:
        mean = (sum(e * e for e in ours) / len(ours)) ** 0.5
        better = "the Gaussian is better: VAEImputer() without an estimator blends both" if beside < mean else "worse"
        console.say(f"a full Gaussian fitted to the same cells: error {short(beside)} beside {short(mean)} ({better})")


def _as_table(checks: list[ColumnCheck]) -> str:
    width = max(6, *(len(c.name) for c in checks))
    lines = [f"{'column':<{width}}  {'cells':>6}  {'error':>7}  {'in 90 %':>7}"]
    for c in checks:
        inside = "" if c.coverage is None else f"{100 * c.coverage:.0f} %"
        error = f"{c.error:.3f}" if c.kind == "number" else f"{100 * c.error:.0f} %"
        lines.append(f"{c.name:<{width}}  {c.n_cells:>6}  {error:>7}  {inside:>7}")
    return "\n".join([*lines, "error: root mean square in standard deviations; of categories, part that is wrong"])


def _say(console: Console, path: Path, n_rows: int, imputer: VAEImputer, *, check: bool) -> None:
    ess = getattr(imputer, "ess_", None)
    if console.as_json and not check:
        console.result({"output": str(path), "n_rows": n_rows, "ess": ess}, "")
    else:
        sampled = "" if ess is None else f", {short(ess)} effective importance samples a row"
        console.say(f"wrote {path} ({n_rows:,} rows{sampled})")
