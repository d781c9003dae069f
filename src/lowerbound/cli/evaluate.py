"""``lowerbound evaluate``: how good a model is on data, or how two models differ."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lowerbound.cli.options import DataOptions, console_options, data_options
from lowerbound.cli.output import Console, Failure, nats, plus_minus, short, table, write_error

if TYPE_CHECKING:
    import numpy as np

    from lowerbound.data.readers import Dataset
    from lowerbound.estimators.base import DensityEstimator
    from lowerbound.estimators.vae import VAE
    from lowerbound.evaluate import Estimate

ELBO_SAMPLES = 16
BINARIZATION_SEED = 0  # two models are compared on the same zeros and ones


@click.command(short_help="Score data under one model, or under two.")
@click.argument("paths", nargs=-1, required=True, metavar="RUN [RUN] DATA")
@data_options
@click.option(
    "--n-importance", metavar="K", type=click.IntRange(1), default=5000, show_default=True,
    help="Importance samples a row for log p(x).",
)  # fmt: skip
@console_options
def evaluate(
    paths: tuple[str, ...], key: str | None, drop: tuple[str, ...], label: str | None, stream: bool | None,
    n_importance: int,
    console: Console,
) -> None:  # fmt: skip
    """Score DATA under the model in RUN: lower bound, log p(x), and what the latent variables hold.

    With two RUNs, the difference of their log p(x) on the same rows. All numbers are means over rows in nats, ±
    one standard error. Importance sampling bounds log p(x) from below, the closer the larger K.
    """
    *runs, source = paths
    if not 1 <= len(runs) <= 2:
        raise click.UsageError("name one or two runs, then the data: evaluate RUN [RUN] DATA")
    if len(set(runs)) < len(runs):
        raise click.UsageError("the two runs are the same")
    from lowerbound.cli.use import load

    options = DataOptions(source, key, drop, label, stream)
    models = {run: load(Path(run)) for run in runs}
    dataset = options.read()
    _warn_if_trained_on(dataset, runs)
    if len(runs) == 1:
        record = account(models[runs[0]], dataset, n_importance, console)
        console.result(record, _text(record, options))
        ending = "png" if models[runs[0]].schema_.is_image else "csv"
        return console.suggest("generate", runs[0], "-o", Path(runs[0]) / f"samples.{ending}")
    record = compare(models, dataset, n_importance, console)
    console.result(record, _text_of_two(record, options))
    console.suggest("evaluate", record["better"] or runs[0], *options.words())


def account(model: DensityEstimator, dataset: Dataset, n_importance: int, console: Console) -> dict[str, Any]:
    """Everything that ``evaluate RUN DATA`` reports."""
    from lowerbound.cli.use import rows_of
    from lowerbound.estimators.vae import VAE
    from lowerbound.evaluate import bits_per_dim

    X = rows_of(dataset, model)
    bound = _account_of_bound(model, X) if isinstance(model, VAE) else {}
    log_p = score(model, X, n_importance, console)
    record = {"n": len(X), "log_likelihood": log_p.to_dict(), **bound}
    if model.schema_.is_discrete:
        record["bits_per_dim"] = bits_per_dim(log_p.value, model.schema_.n_dimensions)
    return record


def _account_of_bound(vae: VAE, X: Any) -> dict[str, Any]:
    """The lower bound and its parts."""
    summary = vae.summary(X, ELBO_SAMPLES)
    kl = summary.kl.tolist()
    record = {
        "elbo": summary.elbo.to_dict(),
        "reconstruction": summary.reconstruction,
        "kl": sum(kl),
        "active_units": summary.active_units,
        "kl_per_dimension": kl[: vae.latent_dim_],
    }
    return {**record, "total_correlation": kl[-1]} if len(kl) > vae.latent_dim_ else record


def score(model: DensityEstimator, X: Any, n_importance: int, console: Console) -> Estimate:
    """The mean of log p(x) over rows; exact where the model knows it."""
    from lowerbound.estimators.vae import VAE

    if not isinstance(model, VAE):
        return model.log_likelihood(X)
    with _progress(len(X), n_importance, console) as progress:
        return model.log_likelihood(X, n_importance, progress)


def score_rows(
    model: DensityEstimator, X: Any, n_importance: int, console: Console, name: str = ""
) -> tuple[Estimate, np.ndarray]:
    """log p(x): its mean over rows, and that of every row; exact where the model knows it."""
    import torch

    from lowerbound.estimators.vae import VAE
    from lowerbound.evaluate import mean_over_rows

    if not isinstance(model, VAE):
        return model.log_likelihood(X), getattr(model, "log_likelihood_rows", model.score_samples)(X)
    with _progress(len(X), n_importance, console, name) as progress:
        rows, ess = model.log_likelihood_rows(X, n_importance, progress)
    return mean_over_rows(torch.from_numpy(rows), "lower", n_importance, float(ess.mean())), rows


def compare(
    models: dict[str, DensityEstimator], dataset: Dataset, n_importance: int, console: Console
) -> dict[str, Any]:
    """The paired difference of two models: log p(x) of the same rows under both."""
    import torch

    from lowerbound.cli.use import rows_of
    from lowerbound.evaluate import mean_over_rows

    first, second = models
    _check_comparable(*models.values())
    (mean_of_a, rows_of_a), (mean_of_b, rows_of_b) = (
        score_rows(model, _binarized(rows_of(dataset, model), model), n_importance, console, run)
        for run, model in models.items()
    )
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


def _check_comparable(a: DensityEstimator, b: DensityEstimator) -> None:
    """Refuse densities of different things: their difference would mean nothing."""
    import numpy as np

    for what, of_a, of_b in (
        ("a probability and the other a density", a.schema_.is_discrete, b.schema_.is_discrete),
        ("on binarized data and the other not", a.schema_.binarize, b.schema_.binarize),
    ):
        if of_a != of_b:
            raise Failure(f"the two models can't be compared: log p(x) of one is {what}")
    if not np.array_equal(a.schema_.counted.ravel(), b.schema_.counted.ravel()):
        raise Failure("the two models can't be compared: they leave different constant columns out of the density")


def _binarized(X: Any, model: DensityEstimator) -> Any:
    """Grey values drawn as 0 or 1 once, so that both models see the same; a frame stays one."""
    import numpy as np

    from lowerbound.data.sources import Source

    schema = model.schema_
    if schema.binarize != "sample":
        return X
    if isinstance(X, Source):
        raise Failure("two models of binarized data are compared on data in memory: give fewer rows, or --no-stream")
    drawn = np.random.default_rng(BINARIZATION_SEED).random(X.shape, np.float32) * schema.grey_levels < X
    rows = (drawn * schema.grey_levels).astype(schema.dtype)
    return np.where(np.isnan(X), np.nan, rows) if np.asarray(X).dtype.kind == "f" and np.isnan(X).any() else rows


def _warn_if_trained_on(dataset: Dataset, runs: list[str]) -> None:
    """Say when the rows are those that a model was fitted to."""
    from lowerbound.cli.run import Run, fingerprint

    known = {run: Run(Path(run)).read_environment().get("data", {}).get("sha256") for run in runs}
    if not any(known.values()):
        return
    digest = fingerprint(dataset)["sha256"]
    for run, trained_on in known.items():
        if trained_on == digest:
            write_error(f"warning: {run} was trained on these rows, so the numbers flatter it")


@contextmanager
def _progress(n_rows: int, n_importance: int, console: Console, name: str = "") -> Iterator[Callable[[float], Any]]:
    """A bar on a terminal; a line elsewhere."""
    from tqdm import tqdm

    what = f"{name}: log p(x)" if name else "log p(x)"
    if console.quiet or not sys.stderr.isatty():
        console.say(f"{what} of {n_rows:,} rows, {n_importance:,} importance samples each")
        yield lambda n: None
        return
    bar = "{desc} {percentage:3.0f}%|{bar}| {remaining} left"
    with tqdm(total=n_rows, desc=what, bar_format=bar, dynamic_ncols=True, leave=False, file=sys.stderr) as shown:
        yield shown.update


def _text(record: dict[str, Any], options: DataOptions) -> str:
    log_p = record["log_likelihood"]
    rows = {"data": f"{options.source}, {record['n']:,} rows"}
    rows["log p(x)"] = f"{_estimate(log_p)}  ({_how(log_p)})"
    if "bits_per_dim" in record:
        rows["bits/dim"] = short(record["bits_per_dim"])
    if "elbo" in record:
        rows |= _text_of_bound(record)
    return f"{table(rows)}\n(means over rows, in nats, ± one standard error)"


def _text_of_bound(record: dict[str, Any]) -> dict[str, str]:
    kl = sorted(record["kl_per_dimension"], reverse=True)
    rows = {
        "ELBO": _estimate(record["elbo"]),
        "reconstruction": nats(record["reconstruction"]),
        "KL": f"{nats(record['kl'])}  ({record['active_units']} of {len(kl)} latent variables are active)",
        "KL, sorted": " ".join(f"{part:.2f}" for part in kl),
    }
    if "total_correlation" in record:
        rows["correlation"] = f"{nats(record['total_correlation'])} of the KL is total correlation"
    return rows


def _how(log_likelihood: dict[str, Any]) -> str:
    """How log p(x) was found."""
    if "n_importance" not in log_likelihood:
        return "exact"
    return f"{log_likelihood['n_importance']:,} importance samples, {log_likelihood['ess']:.0f} effective"


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
