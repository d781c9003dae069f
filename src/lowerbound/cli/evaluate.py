"""``lowerbound evaluate``: the scores of a model on data, or the difference of two models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lowerbound.cli import sequence_evaluate
from lowerbound.cli.context import given_of, given_option, words_given
from lowerbound.cli.generate import OutputFile
from lowerbound.cli.options import DataOptions, console_options, data_options, force_option
from lowerbound.cli.output import Console, Failure, information, nats, new_file, plus_minus, short, table, write_error
from lowerbound.cli.row_names import RowNames
from lowerbound.cli.scoring import Method, Partial, row_parts, score, score_rows
from lowerbound.cli.sequences import takes

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from lowerbound.data.sources import Dataset
    from lowerbound.estimators.density import DensityEstimator
    from lowerbound.estimators.vae import VAE

ELBO_SAMPLES = 16
N_IMPORTANCE = 5000  # samples of a row
SIGNS = {"exact": "", "lower": "≥ ", "upper": "≤ ", "estimate": "≈ "}
ROW_SCORES = ("log_p", "log_p_1", "log_p_2", "difference")  # of one model, and of two
WRITTEN_AT_ONCE = 50_000
BINARIZATION_SEED = 0  # two models are compared on the same zeros and ones


@click.command(short_help="Score data under one model, or under two.")
@click.argument("paths", nargs=-1, required=True, metavar="RUN [RUN] DATA")
@data_options
@given_option
@click.option(
    "--n-importance", metavar="K", type=click.IntRange(1),
    show_default=f"{N_IMPORTANCE} a row, {sequence_evaluate.N_IMPORTANCE}",
    help="Samples for log p(x).",
)  # fmt: skip
@click.option(
    "--method", type=click.Choice(["importance", "naive", "ais"]), default="importance", show_default=True,
    help="Estimate log p(x) by samples of q(z|x), by samples of the prior, or by annealing from q(z|x).",
)  # fmt: skip
@click.option(
    "--n-temperatures", metavar="T", type=click.IntRange(1), default=500, show_default=True, help="Of annealing."
)
@click.option(
    "--n-chains", metavar="C", type=click.IntRange(1), default=8, show_default=True,
    help="Chains of annealing for each row.",
)  # fmt: skip
@click.option(
    "--bidirectional-bounds", metavar="N", type=click.IntRange(2), default=None,
    help="Check annealing: bound log p(x) from both sides, on N rows drawn from the model.",
)  # fmt: skip
@click.option(
    "--inference-gap", metavar="N", type=click.IntRange(2), default=None,
    help="Split log p(x) − ELBO on the first N rows into approximation gap and amortization gap.",
)  # fmt: skip
@click.option(
    "--rows", "rows_file", metavar="FILE", type=OutputFile((".csv", ".parquet")),
    help="Write log p(x) of every row or sequence: a .csv or .parquet file.",
)  # fmt: skip
@force_option
@console_options
@click.pass_context
def evaluate(
    context: click.Context, paths: tuple[str, ...], options: DataOptions,
    given: str | None, n_importance: int | None, method: str, n_temperatures: int, n_chains: int,
    bidirectional_bounds: int | None, inference_gap: int | None, rows_file: Path | None, force: bool, console: Console,
) -> None:  # fmt: skip
    """Score DATA under the model in RUN: lower bound, log p(x), and KL of the latent variables.

    With two RUNs, the difference of their log p(x) on the same rows. All numbers are means over rows in nats, ± one
    standard error, of sequences also a step; --rows writes log p(x) of each row, of two RUNs both and their difference.
    Every method bounds log p(x) from below, more tightly for larger K, or T and C. An interrupted estimate of rows
    continues when the same command is given again.
    """
    *runs, source = paths
    if not 1 <= len(runs) <= 2:
        raise click.UsageError("name one or two runs, then the data: evaluate RUN [RUN] DATA")
    if len(set(runs)) < len(runs):
        raise click.UsageError("the two runs are the same")
    from lowerbound.cli.generate import load

    if rows_file is not None:
        new_file(rows_file, force)
    options = replace(options, source=source, given=given)
    models = {run: load(Path(run), "evaluate") for run in runs}
    dataset = (as_there := options.like_those_of(Path(runs[0]))).read(console)
    _warn_if_trained_on(dataset, runs)
    if any(takes(model) != "rows" for model in models.values()):
        return sequence_evaluate.evaluate(context, models, dataset, n_importance, rows_file, console)
    names = RowNames.of(as_there, dataset, ROW_SCORES)
    models = {run: given_of(model, dataset, given) for run, model in models.items()}
    how, kept = Method(method, n_importance or N_IMPORTANCE, n_temperatures, n_chains), list[Partial]()
    by_row: dict[str, np.ndarray] | None = {} if rows_file else None
    if len(runs) == 1:
        record = account(models[runs[0]], dataset, how, console, Path(runs[0]), kept, by_row)
        record |= _closer_look(models[runs[0]], dataset, how, bidirectional_bounds, inference_gap)
        _show(console, record, _text(record, options), kept, by_row, names, rows_file)
        ending = "png" if models[runs[0]].schema_.is_image else "csv"
        return console.suggest(
            "generate", runs[0], *words_given(given, "=VALUE"), "-o", Path(runs[0]) / f"samples.{ending}"
        )
    record = compare(models, dataset, how, console, kept, by_row)
    _show(console, record, _text_of_two(record, options), kept, by_row, names, rows_file)
    console.suggest("evaluate", record["better"] or runs[0], *options.words())


def _show(
    console: Console, record: dict[str, Any], text: str, kept: list[Partial], by_row: dict[str, np.ndarray] | None,
    names: RowNames, path: Path | None,
) -> None:  # fmt: skip
    """Show the result, and write that of every row; what was kept of it for a continuation is then deleted."""
    console.result(record, text)
    if path is not None and by_row is not None:
        from lowerbound.storage.results import write_frames

        n_rows = len(next(iter(by_row.values())))
        write_frames(path, _frames(by_row, names, n_rows))
        console.say(f"wrote {path} ({n_rows:,} rows)")
    for partial in kept:
        partial.remove()


def _frames(by_row: dict[str, np.ndarray], names: RowNames, n_rows: int) -> Iterator[pd.DataFrame]:
    """Yield the scores of the rows beside their names, a part at a time."""
    import pandas as pd

    for first in range(0, n_rows, WRITTEN_AT_ONCE):
        last = min(first + WRITTEN_AT_ONCE, n_rows)
        yield pd.DataFrame({**names.columns(first, last), **{name: nats[first:last] for name, nats in by_row.items()}})


def account(
    model: DensityEstimator, dataset: Dataset, method: Method, console: Console, run: Path | None = None,
    kept: list[Partial] | None = None, by_row: dict[str, np.ndarray] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The record of ``evaluate RUN DATA``; ``by_row`` gets log p(x) of every row."""
    from lowerbound.cli.generate import rows_of
    from lowerbound.estimators.vae import VAE
    from lowerbound.evaluation.estimate import bits_per_dim

    X = rows_of(dataset, model)
    bound = _account_of_bound(model, X) if isinstance(model, VAE) else {}
    if by_row is None:
        log_p = score(model, X, method, console, run, kept)
    else:
        log_p, by_row["log_p"] = score_rows(model, X, method, console, run=run, kept=kept)
    by = {"method": method.method} if bound else {}
    record = {"n": len(X), "log_likelihood": {**log_p.to_dict(), **by}, **bound}
    if model.schema_.is_discrete and not has_gaps(X):  # with gaps, rows have fewer dimensions
        record["bits_per_dim"] = bits_per_dim(log_p.value, model.schema_.n_dimensions)
    return record


def has_gaps(X: Any) -> bool:
    """True if a value of the rows is missing."""
    from lowerbound.data.sources import Source
    from lowerbound.data.table_code import missing

    return any(missing(rows).any() for rows in (X if isinstance(X, Source) else [X]))


def _account_of_bound(vae: VAE, X: Any) -> dict[str, Any]:
    """The lower bound and its parts."""
    summary = vae.summary(X, ELBO_SAMPLES)
    kl, information = summary.kl.tolist(), vae.mutual_information(X)
    of_each = len(kl) >= vae.latent_dim_  # else one KL for all (a learned prior), or one a level
    record = {
        "elbo": summary.elbo.to_dict(),
        "reconstruction": summary.reconstruction,
        "kl": sum(kl),
        "kl_standard_error": summary.total_kl.standard_error,
        "kl_kind": summary.total_kl.kind,
        "latent_dim": vae.latent_dim_,
        "active_units": summary.active_units,
        "kl_per_dimension": kl[: vae.latent_dim_] if of_each else None,
        "kl_per_level": None if of_each or len(kl) == 1 else kl,
        "mutual_information": information.to_dict(),
        "bits": vars(summary.bits) if vae.schema_.is_discrete else None,
        "total_correlation": kl[-1] if len(kl) > vae.latent_dim_ else None,
    }
    return {name: value for name, value in record.items() if value is not None}


def _closer_look(
    model: DensityEstimator,
    dataset: Dataset,
    method: Method,
    bidirectional_bounds: int | None,
    inference_gap: int | None,
) -> dict[str, Any]:
    """The bidirectional bounds and the inference gap, if asked for."""
    from lowerbound.cli.generate import rows_of
    from lowerbound.estimators.vae import VAE

    if (bidirectional_bounds or inference_gap) and not isinstance(model, VAE):
        raise Failure(
            f"--bidirectional-bounds and --inference-gap are for a VAE: {type(model).__name__} knows its log p(x)"
        )
    record: dict[str, Any] = {}
    if bidirectional_bounds and isinstance(model, VAE):
        found = model.bidirectional_bounds(
            bidirectional_bounds, n_temperatures=method.n_temperatures, n_chains=method.n_chains
        )
        record["bidirectional_bounds"] = {name: part.to_dict() for name, part in vars(found).items()}
    if inference_gap and isinstance(model, VAE):
        rows = rows_of(dataset, model)
        try:
            parts = model.inference_gap(next(row_parts(rows, inference_gap))[1])
        except ValueError as error:
            raise Failure(str(error)) from error
        record["inference_gap"] = {name: part.to_dict() for name, part in vars(parts).items()}
    return record


def compare(
    models: dict[str, DensityEstimator], dataset: Dataset, method: Method, console: Console,
    kept: list[Partial] | None = None, by_row: dict[str, np.ndarray] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The paired difference of two models: log p(x) of the same rows under both, of which ``by_row`` gets all."""
    import torch

    from lowerbound.cli.generate import rows_of
    from lowerbound.evaluation.estimate import mean_over_rows

    first, second = models
    _check_comparable(models)
    (mean_of_a, rows_of_a), (mean_of_b, rows_of_b) = (
        score_rows(model, _binarized(rows_of(dataset, model), model), method, console, run, Path(run), kept)
        for run, model in models.items()
    )
    if by_row is not None:
        by_row |= dict(zip(ROW_SCORES[1:], (rows_of_a, rows_of_b, rows_of_a - rows_of_b), strict=True))
    difference = mean_over_rows(torch.from_numpy(rows_of_a - rows_of_b), "estimate")
    return {
        "n": len(dataset.X),
        "runs": [first, second],
        "log_likelihood": [mean_of_a.to_dict(), mean_of_b.to_dict()],
        "difference": difference.to_dict(),
        "better": _better(difference.value, difference.standard_error, first, second),
    }


def _better(difference: float, error: float, first: str, second: str) -> str | None:
    """The run that is better by more than two standard errors."""
    if not abs(difference) > 2 * error:
        return None
    return first if difference > 0 else second


def _check_comparable(models: dict[str, DensityEstimator]) -> None:
    """Refuse models whose log p(x) have different base measures."""
    from lowerbound.comparison.comparable import why_incomparable

    a, b = models
    why = why_incomparable(models[a], models[b], (a, b))
    if why is not None:
        raise Failure(f"the two models can't be compared: {why}")


def _binarized(X: Any, model: DensityEstimator) -> Any:
    """Grey values binarized once, so that both models score the same rows."""
    from lowerbound.data.binarized import binarized

    schema = model.schema_
    if schema.binarize != "sample":
        return X
    return binarized(X, schema.grey_levels, schema.dtype, BINARIZATION_SEED)


def _warn_if_trained_on(dataset: Dataset, runs: list[str]) -> None:
    """Warn if the rows are those that a model was fitted to."""
    from lowerbound.cli.run import Run, fingerprint

    known = {run: Run(Path(run)).read_environment().get("data", {}).get("sha256") for run in runs}
    if not any(known.values()):
        return
    digest = fingerprint(dataset)["sha256"]
    for run, trained_on in known.items():
        if trained_on == digest:
            write_error(f"warning: {run} was trained on these rows, so its scores are too high")


def _text(record: dict[str, Any], options: DataOptions) -> str:
    log_p = record["log_likelihood"]
    rows = {"data": f"{options.source}, {record['n']:,} rows"}
    rows["log p(x)"] = f"{SIGNS[log_p['kind']]}{_estimate(log_p)}  ({_how(log_p)})"
    if "bits_per_dim" in record:
        rows["bits/dim"] = short(record["bits_per_dim"])
    if "elbo" in record:
        rows |= _text_of_bound(record)
    rows |= _text_of_closer_look(record)
    return f"{table(rows)}\n(means over rows, in nats, ± one standard error)"


def _text_of_bound(record: dict[str, Any]) -> dict[str, str]:
    active = f"({record['active_units']} of {record['latent_dim']} latent variables are active)"
    rows = {
        "ELBO": _estimate(record["elbo"]),
        "reconstruction": nats(record["reconstruction"]),
        "KL": f"{SIGNS[record['kl_kind']]}{plus_minus(record['kl'], record['kl_standard_error'])}  {active}",
    }
    if record["kl_kind"] == "estimate":
        rows["KL"] += ", estimated from draws of z"
    if "kl_per_dimension" in record:
        rows["KL, sorted"] = " ".join(f"{part:.2f}" for part in sorted(record["kl_per_dimension"], reverse=True))
    if "kl_per_level" in record:
        rows["KL, top down"] = " ".join(f"{part:.2f}" for part in record["kl_per_level"])
    if "total_correlation" in record:
        rows["correlation"] = f"{nats(record['total_correlation'])} of the KL is total correlation"
    if "mutual_information" in record:
        found = record["mutual_information"]
        rows["I(x; z|c)" if found.get("n_importance") else "I(x; z)"] = information(found, _estimate(found))
    if "bits" in record:
        bits = {name: short(value) for name, value in record["bits"].items()}
        rows["bits a row"] = (
            f"{bits['total']} = {bits['z']} for z + {bits['x']} for x given z − {bits['back']} got back"
        )
    return rows


def _text_of_closer_look(record: dict[str, Any]) -> dict[str, str]:
    rows = {}
    if "inference_gap" in record:
        parts = {name: _estimate(part) for name, part in record["inference_gap"].items()}
        rows["inference gap"] = (
            f"{parts['total']} = approximation {parts['approximation']} + amortization {parts['amortization']}"
        )
    if "bidirectional_bounds" in record:
        parts = {name: _estimate(part) for name, part in record["bidirectional_bounds"].items()}
        rows["bounds"] = f"{parts['lower']} ≤ log p(x) ≤ {parts['upper']} on rows drawn from the model"
    return rows


def _how(log_likelihood: dict[str, Any]) -> str:
    """The method of log p(x) in words."""
    if log_likelihood["kind"] == "upper":
        return "an upper bound in expectation: log Z is estimated by annealed importance sampling"
    if "n_importance" not in log_likelihood:
        return "exact"
    what = {"importance": "importance samples", "naive": "draws of the prior", "ais": "annealed chains"}
    kind = what[log_likelihood.get("method", "importance")]
    return f"{log_likelihood['n_importance']:,} {kind}, {log_likelihood['ess']:.0f} effective"


def _estimate(record: dict[str, Any]) -> str:
    return plus_minus(record["mean"], record["standard_error"])


def _text_of_two(record: dict[str, Any], options: DataOptions) -> str:
    first, second = record["runs"]
    verdict = f"{record['better']} is better" if record["better"] else "no clear difference"
    rows = {
        "data": f"{options.source}, {record['n']:,} rows",
        **{run: _estimate(log_p) for run, log_p in zip(record["runs"], record["log_likelihood"], strict=True)},
        "difference": f"{_estimate(record['difference'])}  ({first} − {second}: {verdict})",
    }
    return f"{table(rows)}\n(log p(x), means over rows, in nats, ± one standard error; the difference is paired)"
