"""Fitting of a run whose model is fitted in one go: no epochs, no checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lowerbound.cli.config import Config, make
from lowerbound.cli.context import context_of
from lowerbound.cli.fitting import describe, known_by, pinned, read_once, suggest_next
from lowerbound.cli.generate import spread
from lowerbound.cli.models import MODELS, QUIET
from lowerbound.cli.output import Console, Failure, listing, plus_minus, short, table
from lowerbound.cli.run import Run, environment, fingerprint
from lowerbound.cli.sequences import check_kind
from lowerbound.data.sources import Dataset
from lowerbound.estimators.density import DensityEstimator
from lowerbound.imputation.imputer import VAEImputer
from lowerbound.outliers.detector import VAEOutlierDetector
from lowerbound.parameters.parameter import plain

SCORED = 10_000  # training rows that are scored to report the fit


def fit_once(run: Run, config: Config, arguments: Sequence[str], console: Console, *, verbose: bool) -> None:
    """Fit, write the folder of the run, and report.

    Parameters
    ----------
    run : Run
    config : Config
    arguments : sequence of str
        The command line, for the record.
    console : Console
    verbose : bool
        Show every parameter.
    """
    config, _, dataset = read_once(run, pinned(config), console, **_as_needed(config))
    console.say(describe(dataset))
    model = _made(config, console)
    chosen = _chosen(model, dataset)
    record = environment(arguments, config.parameters["random_state"], known_by(dataset, config))
    run.begin(config.to_toml(chosen), record)
    if verbose:
        console.say(config.to_toml({}))
    console.say(f"fitting {MODELS[config.model].class_name}{': ' * bool(chosen)}{listing(chosen)}")
    context = context_of(dataset, config.data.given)
    model.fit(dataset.X, **({} if context is None else {"context": context}))
    model.save(run.model)
    console.say(f"{_found(model, dataset)}; saved {run.model}")
    suggest_next(console, run, model, config)


def _as_needed(config: Config) -> dict[str, bool]:
    """The way of reading: all rows, for models that can't read them as they need them."""
    if config.data.given is not None and config.model != "detector":
        kinds = "a vae or a detector can"
        raise Failure(f"--given {config.data.given}: a model of kind {config.model} can't be given a context: {kinds}")
    if config.model == "detector":
        return {}
    if config.data.stream:
        raise Failure(f"--model {config.model} needs all rows in memory: leave --stream out")
    return {"stream": False}


def _made(config: Config, console: Console) -> Any:
    """The estimator, which tells of its progress unless the console is quiet."""
    has_progress = QUIET in MODELS[config.model].parameters
    return make(config, **({QUIET: int(not console.quiet)} if has_progress else {}))


def _chosen(model: Any, dataset: Dataset) -> dict[str, Any]:
    """The choices for "auto" that the data make."""
    if not isinstance(model, DensityEstimator):
        return {}
    schema = model.describe(dataset.X)
    return {"layout": schema.layout, "likelihood": schema.likelihood}


def _found(model: Any, dataset: Dataset) -> str:
    """The result of the fit in a sentence."""
    if isinstance(model, VAEImputer):
        return "weights " + listing({each["name"]: short(each["weight"]) for each in model.report_})
    if isinstance(model, VAEOutlierDetector):
        return f"{len(model.estimators_)} autoencoder(s), criterion {model.criterion_}"
    found = model.log_likelihood(spread(dataset, SCORED).X)
    return f"log p(x) {plus_minus(found.value, found.standard_error)} nats a row on the training rows"


def dry_run(config: Config, console: Console) -> None:
    """Show what would be fitted; nothing is fitted or written."""
    config = pinned(config)
    dataset = replace(config.data, **_as_needed(config)).read(console)
    check_kind(dataset, config.model)
    model = _made(config, Console(quiet=True))
    chosen = _chosen(model, dataset)
    record = {"model": config.model, "data": fingerprint(dataset), "chosen": chosen}
    record["parameters"] = plain(config.parameters)
    text = table({"data": describe(dataset), **({"chosen": listing(chosen)} if chosen else {})})
    console.result(record, f"{config.to_toml({})}\n{text}")
