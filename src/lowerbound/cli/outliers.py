"""``outliers``: a ranking of rows by their outlier scores, with explanations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import click

from lowerbound.cli.context import context_of, given_of, given_option
from lowerbound.cli.converted import at_hand
from lowerbound.cli.generate import OutputFile, blocks_of, load, rows_of, shown
from lowerbound.cli.options import (
    READING,
    DataOptions,
    console_options,
    data_argument,
    data_options,
    force_option,
    run_argument,
)
from lowerbound.cli.output import Console, Failure, new_file, short
from lowerbound.cli.row_names import RowNames
from lowerbound.cli.run import data_of
from lowerbound.cli.sequences import takes
from lowerbound.parameters.tables import CLIMBING, SCORES

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from lowerbound.data.context import RowsGiven
    from lowerbound.data.sources import Dataset
    from lowerbound.outliers.density import DensityRanks
    from lowerbound.outliers.detector import VAEOutlierDetector
    from lowerbound.storage.spool import Ranking

Ranks: TypeAlias = "VAEOutlierDetector | DensityRanks"

NOTABLE = 1.0  # nats above a feature's typical surprise, from which it is named as a reason
SURE = 50  # effective samples from which a range is more than rough
SHOWN = 48  # images on a contact sheet
LEAST_USUAL, USUAL, USUAL_ENTRIES = 200, 10_000, 2**21  # rows that others are compared with, and their entries


@click.command(short_help="Rank rows by how unusual they are, and say why.")
@run_argument
@data_argument
@click.option("-o", "--output", metavar="FILE", required=True, type=click.Path(path_type=Path), help="A .csv file.")
@click.option("--explain", is_flag=True, help="Add a sentence for each row: its surprising values, and those expected.")
@click.option(
    "--plot", is_flag=True, help="Write a .png of that name too: scores, or the most unusual images with heat maps."
)
@click.option(
    "--criterion", type=click.Choice(["auto", *SCORES]), default="auto", show_default=True,
    help="Score; auto: combined for tables, relative_regret for images, regret where they are continuous.",
)  # fmt: skip
@click.option("--reference", metavar="DATA", help="Usual rows to compare with; the run's training data if not given.")
@click.option(
    "--steps",
    metavar="FILE",
    type=OutputFile((".csv", ".parquet")),
    help="Of sequences: write log p of every step too.",
)
@data_options
@given_option
@force_option
@console_options
def outliers(
    run: Path, data: str, output: Path, explain: bool, plot: bool, criterion: str, reference: str | None,
    steps: Path | None, options: DataOptions, given: str | None, force: bool, console: Console,
) -> None:  # fmt: skip
    """Rank the rows of DATA by how unusual they are for the model in RUN, the most unusual first.

    The output has each row's place in DATA (from 0), its score (higher is more unusual), and the fraction of the
    training rows with a lower score. To find outliers in its own training data, train a model with
    --trim-fraction 0.1 --input-dropout 0.5 --no-early-stopping, so that it doesn't learn them, or --model detector,
    which does so by itself. Models that are neither a vae nor a detector rank rows by log p(x). Sequences are ranked by
    the share of usual ones that are as improbable at the same length.
    """
    from lowerbound import VAE, VAEOutlierDetector
    from lowerbound.cli import series
    from lowerbound.outliers.density import DensityRanks
    from lowerbound.outliers.member import AT_ONCE, rows_at_once
    from lowerbound.storage.atomic import write_atomically
    from lowerbound.storage.results import write_csv
    from lowerbound.storage.spool import Ranking

    if output.suffix.lower() != ".csv":
        raise Failure(f"{output} must end in .csv")
    for path in [output, *([output.with_suffix(".png")] if plot else []), *([steps] if steps else [])]:
        new_file(path, force)
    model = load(run, "outliers")
    options = replace(options, given=given)
    options = options.like_those_of(run)
    dataset = options.read(console)
    if takes(model) == "sequences":
        if plot or criterion != "auto":
            raise click.UsageError("--plot and --criterion are for models of rows: sequences are ranked by log p(x)")
        usual = _reference(run, reference, options, console).read(console)
        return series.outliers(model, dataset, usual, output, explain=explain, steps=steps, console=console)
    if steps is not None:
        raise click.UsageError(f"--steps is for models of sequences, and {run} holds one of rows: leave it out")
    given_of(model, dataset, given)
    if isinstance(model, VAEOutlierDetector):
        detector, model = _as_it_is(model, run, criterion, reference), model.estimators_[0]
    else:
        reference_rows = _reference(run, reference, options, console).read(console)
        usual, n_usual = _some_of(reference_rows, model, given)
        of_all = "" if n_usual == len(reference_rows.X) else f" of {len(reference_rows.X):,}, from all over"
        console.say(f"comparing with {n_usual:,} usual rows{of_all}")
        if not isinstance(model, VAE):
            _refuse_more_than_log_p(model, criterion, explain=explain)
        with console.progress(1, "comparing") as progress:
            if isinstance(model, VAE):
                detector = VAEOutlierDetector(model, criterion=criterion, random_state=0)
                detector.fit(usual.X, context=usual.context, progress=progress)
            else:
                detector = DensityRanks(model, usual.X, progress)
    X, names = rows_of(dataset, model), RowNames.of(options, dataset, ("score", "quantile", *SCORES))
    with Ranking(output.parent, by="score") as ranking:
        with console.progress(len(X), "scoring") as progress:
            n_rows = AT_ONCE if model.schema_.is_image or detector.criterion_ in CLIMBING else rows_at_once(X.shape[1:])
            for block, labels in shown(blocks_of(dataset, model, n_rows), progress):
                of_block = cast("VAEOutlierDetector", detector).given(labels) if given else detector
                label = given or options.label or "label"
                ranking.add(_described(of_block, block, len(ranking), labels, label, explain, names))
        write_atomically(output, lambda temporary: write_csv(temporary, ranking.blocks(), "%.6g"))
        name = None if names.ids is None else names.ids.name
        _report(console, next(ranking.blocks()).head(), name, ranking.scores, detector, output)
        if plot:
            _plot(detector, X, dataset.labels if given else None, ranking, output.with_suffix(".png"))


def _some_of(reference: Dataset, model: Any, given: str | None) -> tuple[RowsGiven, int]:
    """The usual rows with their context; of many, so many from all over that quantiles are known well."""
    from lowerbound.data.context import RowsGiven
    from lowerbound.outliers.member import few

    X = rows_of(reference, model)
    n_rows = min(len(X), max(LEAST_USUAL, min(USUAL, USUAL_ENTRIES // math.prod(X.shape[1:]))))
    context = context_of(reference, given)
    if context is None:
        return RowsGiven(few(X, n_rows, 0), None), n_rows
    return few(RowsGiven(X, context), n_rows, 0), n_rows


def _refuse_more_than_log_p(model: Any, criterion: str, *, explain: bool) -> None:
    """Fail if something is asked for that only a VAE has."""
    if criterion not in ("auto", "log_p") or explain:
        what = "--explain" if explain else f"--criterion {criterion}"
        raise Failure(f"{what} needs a vae or a detector: a {type(model).__name__} ranks rows by log p(x) alone")


def _as_it_is(detector: VAEOutlierDetector, run: Path, criterion: str, reference: str | None) -> VAEOutlierDetector:
    """A saved detector, whose score and usual rows can't be changed."""
    if reference is not None or criterion not in ("auto", detector.criterion_):
        raise Failure(
            f"{run} holds a detector that was fitted with criterion={detector.criterion_!r} and its own usual rows: "
            f"leave --criterion and --reference out"
        )
    return detector


def _described(
    detector: Ranks,
    X: Any,
    first: int,
    labels: np.ndarray | None,
    label: str,
    explain: bool,
    names: RowNames,
) -> pd.DataFrame:
    """The output table: every row's place, name, label and scores, and, with ``explain``, a sentence."""
    table = detector.table(X)
    before = names.columns(first, first + len(table)) | ({} if labels is None else {label: labels})
    for place, (name, values) in enumerate(before.items()):
        table.insert(place, name, values)
    return table.assign(explanation=sentences(detector, X)) if explain else table


def _reference(run: Path, reference: str | None, options: DataOptions, console: Console) -> DataOptions:
    """The usual rows: those asked for, else the run's training data, else the rows of DATA."""
    from lowerbound.cli.config import read_file

    stream = False if options.stream is False else None
    if reference is not None:
        return replace(options, source=reference, stream=stream).named_by(options.id or data_of(run).get("id"))
    try:
        record = read_file(run / "config.toml").get("data", {})
    except Failure:
        record = {}
    source = record.get("source", "")
    if source != "digits" and not (source and Path(source).exists()):
        console.say("the training data of the run are missing: quantiles are among the rows of DATA")
        return options
    kept: dict[str, Any] = {name: record[name] for name in (*READING, "given") if name in record}
    lists: dict[str, Any] = {name: tuple(kept.get(name, ())) for name in ("drop", "missing")}
    return at_hand(run, DataOptions(**kept | lists | {"source": source, "stream": stream}))


def sentences(detector: Ranks, X: Any) -> list[str]:
    """A sentence for each row with its surprising values, or with the most surprising place of an image."""
    import numpy as np

    from lowerbound.data.table_code import missing

    reasons = detector.explain(X, least=NOTABLE)
    if isinstance(reasons, np.ndarray):
        places = np.argmax(reasons.reshape(len(reasons), -1), axis=1)
        return [f"most surprising at line {p // reasons.shape[2]}, column {p % reasons.shape[2]}" for p in places]
    empty = np.all(missing(X), axis=1).tolist()
    said = ["none of its values is known" if e else "no single value stands out" for e in empty]
    clauses: dict[int, list[str]] = {}
    for r in reasons.to_dict("records"):
        if not _is_expected(r):
            clauses.setdefault(r["row"], []).append(_clause(r))
    for row, words in clauses.items():
        said[row] = "; ".join(words)
    return said


def _is_expected(reason: Mapping) -> bool:
    """True for a value that is what is expected of it: it surprises beside another that is absurd."""
    value, expected = reason["value"], reason["expected"]
    return isinstance(value, type(expected)) and bool(value == expected)


def _clause(reason: Mapping) -> str:
    low, high = reason["low"], reason["high"]
    roughly = "roughly " if reason["ess"] < SURE else ""
    between = "" if low != low else f" ({roughly}{_about(low)} to {_about(high)})"  # categories have no range
    return f"{reason['feature']} is {_word(reason['value'])} where {_about(reason['expected'])}{between} is expected"


def _word(value: Any) -> str:
    """A value as in the data."""
    if not isinstance(value, float):
        return _day(value)
    import numpy as np

    if value.is_integer() and abs(value) < 1e15:
        return f"{value:.0f}".replace("-", "−")
    with np.errstate(over="ignore"):  # a float32 is shown with its own digits
        single = np.float32(value)
    return (str(single) if float(single) == value else f"{value:.15g}").replace("-", "−")


def _about(value: Any) -> str:
    """A number with four significant digits, and all digits before the point."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return _day(value)
    return (f"{value:.0f}" if 1e3 <= abs(value) < 1e15 else f"{value:.4g}").replace("-", "−")


def _day(value: Any) -> str:
    """A word unchanged; a time at midnight as its day."""
    return str(value).removesuffix(" 00:00:00")


def _plot(detector: Any, X: Any, context: np.ndarray | None, ranking: Ranking, path: Path) -> None:
    import numpy as np

    from lowerbound.outliers.member import take
    from lowerbound.pictures.pictures import above_one_another, as_images, pixel_range, save_grid, save_map, to_pixels

    schema = detector.estimators_[0].schema_
    if not schema.is_image or detector.criterion_ == "log_p":
        return save_map(_histogram(detector, ranking.scores), path)
    worst = take(X, ranking.order[:SHOWN])
    if context is not None:
        detector = detector.given(context[ranking.order[:SHOWN]])
    images = as_images(schema, worst)
    heat = np.asarray(detector.explain(worst))
    pictures = to_pixels(images, *pixel_range(schema, images))
    brightest = np.maximum(heat.max((1, 2), keepdims=True), NOTABLE)  # a scale for each image
    maps = to_pixels(heat / brightest, 0.0, 1.0)
    maps = maps if pictures.ndim == 3 else maps[..., None].repeat(3, -1)
    columns = min(len(images), 12)
    save_grid(above_one_another(pictures, maps, columns), path, columns, group=2, captions=("input", "surprise"))


def _histogram(detector: Ranks, scores: np.ndarray) -> Any:
    """Histograms of the scores of these rows and of the training rows, and the threshold of ``predict``."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    usual = -detector.training_scores_
    edges = np.histogram_bin_edges(np.concatenate([scores, usual]), 60).tolist()
    axes.hist(usual, edges, density=True, color="#c0c0c0", label="training rows")
    axes.hist(scores, edges, density=True, histtype="step", color="#3b6ea8", label="rows of DATA")
    axes.axvline(-detector.offset_, color="#b0413e", linewidth=1, label="called outliers beyond")
    axes.set(xlabel=f"score ({detector.criterion_}; higher is more unusual)", ylabel="density")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def _report(
    console: Console, top: pd.DataFrame, name: str | None, scores: np.ndarray, detector: Ranks, path: Path
) -> None:
    """Report the number of rows beyond the threshold, and the first few."""
    beyond = int((scores > -detector.offset_).sum())
    record = {"output": str(path), "rows": len(scores), "outliers": beyond, "first": top["row"].tolist()}
    lines = [f"{beyond:,} of {len(scores):,} rows lie beyond the fence of the training rows' scores; first:"]
    for r in top.to_dict("records"):
        reason = f": {r['explanation']}" if "explanation" in r else ""
        row = f"row {r['row']}" if name is None else f"row {r['row']} ({r[name]})"
        above = f"above {r['quantile']:.1%} of the training rows{reason}"
        lines.append(f"  {row}, score {short(r['score'])}, {above}")
    if console.as_json:
        return console.result(record, "")
    console.result(record, "\n".join(lines))
    console.say(f"wrote {path} ({len(scores):,} rows)")
