"""``impute``, ``forecast`` and ``outliers`` for sequences of numbers and of columns of several kinds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lowerbound.cli.generate import load
from lowerbound.cli.options import (
    DataOptions,
    console_options,
    data_argument,
    data_options,
    force_option,
    run_argument,
    seed_option,
)
from lowerbound.cli.output import Console, new_file, short
from lowerbound.cli.sequence_draws import id_name, names_of, with_times
from lowerbound.cli.sequence_files import OF_SEQUENCES, SEQUENCE, TABLES, check_ending, done, table_of, write_sequences
from lowerbound.cli.sequences import sequences_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from lowerbound.data.sequences import Sequences
    from lowerbound.data.sources import Dataset
    from lowerbound.sequences.recurrent import RecurrentVAE

N_DRAWS = 50  # of each gap
INTERVAL = 0.9
QUANTILES = (0.1, 0.5, 0.9)
NAMED = 10  # unusual steps that are explained


def impute(
    model: RecurrentVAE, dataset: Dataset, output: Path, *, fill: str | None, intervals: bool,
    n_imputations: int | None, seed: int | None, console: Console,
) -> None:  # fmt: skip
    """Fill the gaps of sequences, and write them as one table, or as several with draws in the gaps."""
    import pandas as pd

    from lowerbound.storage.results import write_frames

    check_ending(output, OF_SEQUENCES[1:])
    sequences = _held(sequences_of(dataset, model), console)
    filled = model.impute(sequences, n_imputations or N_DRAWS, random_state=seed)
    if n_imputations is not None:
        tables = [_table(each, dataset, model) for each in filled.draws()]
        for i, table in enumerate(tables):
            table.insert(0, "imputation", i)
        write_frames(output, [pd.concat(tables, ignore_index=True)])
    elif output.suffix.lower() == ".npz":
        write_sequences(output, filled.median() if fill == "median" else filled.mean(), names_of(model))
    else:
        table = _table(filled.median() if fill == "median" else filled.mean(), dataset, model)
        for end, part in zip(("low", "high"), filled.interval(INTERVAL) if intervals else (), strict=False):
            ends = _table(part, dataset, model)[names_of(model)]
            table = table.join(ends.add_suffix(f"_{end}"))
        write_frames(output, [table])
    done(console, output, sequences.lengths.tolist())
    ess = filled.ess[filled.ess == filled.ess]
    if len(ess):
        console.say(f"at the hardest gap {short(float(ess.min()))} of the particles of each draw count")


@click.command(short_help="Say what follows on each sequence, by quantiles.")
@run_argument
@data_argument
@click.option("--steps", metavar="T", type=click.IntRange(1), required=True, help="How many steps.")
@click.option("-o", "--output", metavar="FILE", required=True, type=click.Path(path_type=Path),
              help="A .csv or .parquet file, or a .png.")  # fmt: skip
@click.option(
    "--quantiles", metavar="Q,…", default=",".join(map(str, QUANTILES)), show_default=True,
    help="Of the draws, between 0 and 1; a picture shows the first, the middle and the last.",
)  # fmt: skip
@click.option(
    "-n", "--n-samples", type=click.IntRange(1), default=200, show_default=True, help="Draws of each sequence."
)
@data_options
@seed_option("Seed; the run's own if not given.")
@force_option
@console_options
def forecast(
    run: Path, data: str, steps: int, output: Path, quantiles: str, n_samples: int, options: DataOptions,
    random_state: int | None, force: bool, console: Console,
) -> None:  # fmt: skip
    """Draw what follows on each sequence of DATA by the model in RUN, and write quantiles of every step."""
    check_ending(output, (".png", *TABLES))
    new_file(output, force)
    model = load(run, "forecast")
    dataset = options.like_those_of(run).read(console)
    sequences, asked = _held(sequences_of(dataset, model), console), _quantiles(quantiles)
    found = model.forecast(sequences, steps, asked, n_draws=n_samples, random_state=random_state)
    if output.suffix.lower() == ".png":
        from lowerbound.pictures.sequences import save_forecasts

        middle = found[len(found) // 2]
        save_forecasts(list(sequences), found[0], middle, found[-1], output, names_of(model))
    else:
        _write_forecasts(output, found, asked, dataset, model)
    done(console, output, [steps] * len(sequences))


def _held(sequences: Sequences, console: Console) -> Sequences:
    """Sequences in memory."""
    import numpy as np

    if not sequences.is_streamed:
        return sequences
    console.say(f"reading all {len(sequences.steps):,} steps into memory, which this needs")
    return sequences.subset(np.arange(len(sequences)))


def _quantiles(words: str) -> list[float]:
    try:
        found = [float(word) for word in words.split(",")]
    except ValueError as error:
        raise click.UsageError(f"--quantiles {words}: write numbers such as 0.1,0.5,0.9") from error
    if not all(0 <= q <= 1 for q in found):
        raise click.UsageError(f"--quantiles {words}: they lie between 0 and 1")
    return sorted(found)


def _write_forecasts(path: Path, found: list[list[Any]], asked: list[float], dataset: Dataset, model: Any) -> None:
    """Write a table with a column for each quantile of each column."""
    import pandas as pd

    from lowerbound.storage.results import write_frames

    names, tables = names_of(model), [_table(each, dataset, model) for each in found]
    of_each = {f"{name}_{q:g}": each[name] for name in names for q, each in zip(asked, tables, strict=True)}
    write_frames(path, [pd.concat([tables[0].drop(columns=names), pd.DataFrame(of_each)], axis=1)])


def _table(each: Sequence[Any], dataset: Dataset, model: Any) -> pd.DataFrame:
    """A table with a row for each step, behind the columns that say of which sequence and when."""
    X: Any = dataset.X
    return table_of(each, names_of(model), X.ids, id_name(dataset))


def outliers(
    model: RecurrentVAE, dataset: Dataset, reference: Dataset, output: Path, *, explain: bool, steps: Path | None,
    console: Console,
) -> None:  # fmt: skip
    """Rank sequences by the share of usual ones that are as improbable at equal lengths; mark steps."""
    import numpy as np
    import pandas as pd

    from lowerbound.storage.results import write_frames

    X, usual = sequences_of(dataset, model), sequences_of(reference, model)
    least = short(1 / (1 + len(usual)))
    console.say(f"comparing with {len(usual):,} usual sequences at equal lengths: no p-value is below {least}")
    scores = model.score_steps(X)
    log_p = np.array([each.sum() for each in scores])
    p_values = model.p_values(X, usual)
    table = pd.DataFrame({SEQUENCE: np.arange(len(X)), "steps": X.lengths, "log_p": log_p, "p_value": p_values})
    if X.ids is not None:
        table.insert(1, id_name(dataset), X.ids)
    order = np.lexsort((log_p / X.lengths, p_values))
    table = table.iloc[order]
    if explain:
        table["explanation"] = [_sentence(model, X, i) for i in order]
    write_frames(output, [table])
    if steps is not None:
        write_frames(steps, [_steps_table(scores, dataset)])
        console.say(f"wrote {steps} ({len(X.steps):,} steps)")
    _report(console, table, id_name(dataset), output)


def _steps_table(scores: list[np.ndarray], dataset: Dataset) -> pd.DataFrame:
    """log p(x_t | x_<t) of every step."""
    X: Any = dataset.X
    return table_of(with_times(scores, ["log_p"], X), ["log_p"], X.ids, id_name(dataset))


def _sentence(model: RecurrentVAE, X: Any, i: int) -> str:
    """The most unusual steps of a sequence, and what surprises there."""
    one = type(X).of([list(X)[i]])
    found = model.explain(one, n_steps=3, n_columns=1)
    clauses = [
        f"step {r['step']}: {r['column']} is {_word(r['value'])} where {_word(r['expected'])} "
        f"({_word(r['low'])} to {_word(r['high'])}) is expected"
        for r in found.to_dict("records")
    ]
    return "; ".join(clauses)


def _word(value: Any) -> str:
    return short(float(value)) if isinstance(value, (int, float)) else str(value)


def _report(console: Console, table: pd.DataFrame, name_of: str, path: Path) -> None:
    """Report the first few sequences."""
    first = table.head().to_dict("records")
    record = {"output": str(path), "sequences": len(table), "first": [r[SEQUENCE] for r in first]}
    lines = ["the most unusual at their length:"]
    for r in first:
        name = f" ({r[name_of]})" if name_of in r and name_of != SEQUENCE else ""
        reason = f": {r['explanation']}" if "explanation" in r else ""
        per_step = short(r["log_p"] / r["steps"])
        lines.append(
            f"  sequence {r[SEQUENCE]}{name}, {r['steps']:,} steps, p-value {short(r['p_value'])}, {per_step} nats a "
            f"step{reason}"
        )
    console.result(record, "\n".join(lines))
    console.say(f"wrote {path} ({len(table):,} sequences)")


def output_of(output: Path | None, fill: str | None, n_importance: int | None, *, check: bool) -> Path:
    """The output of ``impute``; raises a usage error for what is for rows alone."""
    if check or n_importance is not None or fill in ("draw", "mode") or output is None:
        raise click.UsageError(
            "--check, --n-importance, --fill draw and --fill mode are for models of rows: gaps of sequences are filled "
            "with --fill mean or median, or with draws by --imputations"
        )
    return output
