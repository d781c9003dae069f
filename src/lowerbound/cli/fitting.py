"""Training of a run, and the dry run of one batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from torch import nn

import lowerbound
from lowerbound.assembly.vae import choose_network
from lowerbound.cli.config import Config, make
from lowerbound.cli.context import context_of, fingerprint_of, words_given
from lowerbound.cli.converted import converted
from lowerbound.cli.flags import word_of
from lowerbound.cli.hints import hints
from lowerbound.cli.models import MODELS
from lowerbound.cli.output import INTERRUPTED, Console, Failure, listing, nats, table
from lowerbound.cli.processes import Checkpoint, tell
from lowerbound.cli.run import Run, environment, fingerprint
from lowerbound.cli.sequences import check_kind, in_a_line, kind_of, takes, unit
from lowerbound.cli.tensorboard import TensorBoardWatch
from lowerbound.cli.watch import RunWatch
from lowerbound.data.batches import Rows
from lowerbound.data.readers.read import is_digits
from lowerbound.data.sources import Dataset, Source
from lowerbound.estimators.autoencoder import Autoencoder
from lowerbound.estimators.gradient import GradientEstimator
from lowerbound.estimators.vae import VAE
from lowerbound.parameters.parameter import Part, plain
from lowerbound.parameters.seed import seed_from
from lowerbound.training.progress import about
from lowerbound.training.state import Training, TrainingError
from lowerbound.training.watch import Watch


def fit_run(
    run: Run, config: Config, arguments: Sequence[str], console: Console, *, resume: bool, verbose: bool,
    checkpoint_seconds: float, log: str | None = None,
) -> None:  # fmt: skip
    """Train, write the folder of the run, and report.

    Parameters
    ----------
    run : Run
    config : Config
    arguments : sequence of str
        The command line, for the record.
    console : Console
    resume : bool
        Continue from the checkpoint, which must exist.
    verbose : bool
        Show the networks and every parameter.
    checkpoint_seconds : float
        The least time between two checkpoints.
    log : {"tensorboard"}, optional
        A further format of the history.
    """
    board = TensorBoardWatch(run.folder / "tensorboard") if log else None
    checkpoints = run.checkpoints(checkpoint_seconds)
    state = checkpoints.load() if resume else None
    finished = None if state is None else _finished(state[1], run, config)
    if finished is not None:
        tell(None)
        check_data(config, run)
        console.say(f"{run.folder} is finished, after epoch {finished.n_iter_}: there is nothing to resume")
        return suggest_next(console, run, finished, config)
    config, there, dataset = read_once(run, pinned(config), console)
    tell(there, state)
    if isinstance(dataset.X, Source):
        config = replace(config, data=replace(config.data, stream=True))
    data = known_by(dataset, config)
    console.say(describe(dataset))
    if state is not None:
        _check_same(data, run)
    model = make(config)

    def begin(training: Training, rows: Rows, held_out: Rows | None) -> None:
        record, choices = environment(arguments, training.seed, data), chosen(model, training)
        if state is None:
            run.begin(config.to_toml(choices), record)
        else:
            progress = training.progress
            run.begin_again(config.to_toml(choices), progress.epoch, progress.objective.step, record, progress.history)
            console.say(f"continuing after {_place(training)}")
        console.say(f"{_split(rows, held_out, model)}\n{listing(choices)}")
        for hint in hints(model.schema_, dataset.X) if takes(model) == "rows" else dataset.notes:
            console.say(hint)
        if verbose:
            console.say(f"{config.to_toml({})}\n{training.modules}")

    watch = RunWatch(run, checkpoints, begin, console, board)
    _fit(model, dataset, config.data.given, watch, state)
    _conclude(model, watch, config)


def read_once(run: Run, config: Config, console: Console, **others: Any) -> tuple[Config, Config, Dataset]:
    """The configuration to be kept, that by which the data are read (images from an array), and the data."""
    data, there = converted(run.folder, config.data, console)
    dataset = replace(there, **others).read(console)
    check_kind(dataset, config.model)
    if there is not data:
        dataset = replace(dataset, source=Path(data.source).name)
    return replace(config, data=data), replace(config, data=there), dataset


def _conclude(model: GradientEstimator, watch: RunWatch, config: Config) -> None:
    """Save the model, report, and suggest the next command."""
    training, run, console = watch.training, watch.run, watch.console
    if training.progress.epoch:
        report(watch, model)
        model.save(run.model)
        console.say(f"saved {run.model}")
    if watch.asked_to_stop and not training.is_done:
        console.say(f"stopped after {_place(training)} of {training.settings.max_epochs}; to continue:")
        suggest_resuming(console, run)
        click.get_current_context().exit(INTERRUPTED)
    suggest_next(console, run, model, config)


def _fit(
    model: GradientEstimator, dataset: Dataset, given: str | None, watch: RunWatch, state: Checkpoint | None
) -> None:
    try:
        with watch.listening():
            model.fit(dataset.X, context=context_of(dataset, given), watch=watch, resume=state)
    except TrainingError as error:
        if watch.training.progress.best_epoch:
            model.save(watch.run.model)
        raise Failure(str(error)) from error
    except (KeyboardInterrupt, OSError):
        if watch.checkpoints.saved:
            suggest_resuming(watch.console, watch.run)
        raise


def pinned(config: Config) -> Config:
    """The configuration with a seed and an absolute path, so that the run can be repeated from it."""
    seed = seed_from(config.parameters["random_state"])
    path = Path(config.data.source)
    is_there = path.exists() and not is_digits(config.data.source)
    data = replace(config.data, source=str(path.absolute())) if is_there else config.data
    return replace(config, data=data, parameters={**config.parameters, "random_state": seed})


def _finished(checkpoint: dict[str, Any], run: Run, config: Config) -> GradientEstimator | None:
    """The model of a run that has trained its last epoch; None for others."""
    progress, asked = checkpoint["progress"], config.parameters["max_epochs"]
    last = checkpoint["settings"]["max_epochs"] if asked == "auto" else asked
    is_over = progress["stopped"] or progress["epoch"] >= last
    model = lowerbound.load(run.folder) if is_over and run.has_model else None
    return model if model is not None and model.n_iter_ == progress["epoch"] else None


def _place(training: Training) -> str:
    """The progress of training in words."""
    progress = training.progress
    if not progress.n_batches:
        return f"epoch {progress.epoch}"
    batches = "1 batch" if progress.n_batches == 1 else f"{progress.n_batches:,} batches"
    return f"{batches} of epoch {progress.epoch + 1}"


def known_by(dataset: Dataset, config: Config) -> dict[str, Any]:
    """The record of data and of the context by which they are known again."""
    return fingerprint(dataset) | fingerprint_of(context_of(dataset, config.data.given))


def check_data(config: Config, run: Run) -> None:
    """Refuse other data than those of a finished run; where they are no longer there, nothing else was asked for."""
    if is_digits(config.data.source) or Path(config.data.source).exists():
        _check_same(known_by(config.data.read(), config), run)


def _check_same(data: dict[str, Any], run: Run) -> None:
    before = run.read_environment().get("data", {})
    differing = [name for name in ("sha256", "files", "changed") if before.get(name, data.get(name)) != data.get(name)]
    if differing == ["changed"]:
        raise Failure(
            f"the files of {data['name']} were changed after {run.folder} was begun: --resume needs the same "
            f"(if they hold the same rows, give them back the times that they had)"
        )
    if differing:
        raise Failure(
            f"{run.folder} was trained on other data ({before.get('name')} of shape {tuple(before.get('shape', ()))}) "
            f"than {data['name']} of shape {tuple(data['shape'])}: --resume needs the same"
        )
    if before.get("given") != data.get("given"):
        raise Failure(f"{run.folder} was trained given another context: --resume needs the same --given")


def chosen(model: GradientEstimator, training: Training) -> dict[str, Any]:
    """The choices for every "auto"."""
    codes = {}
    if isinstance(model, VAE | Autoencoder):
        is_own = isinstance(model.network, (tuple, list))
        network = (
            "own" if is_own else choose_network(model.schema_, model.PARAMETERS["network"].part(model.network)).kind
        )
        codes = {"network": network, "latent_dim": model.latent_dim_}
    return {
        "layout": model.schema_.layout,
        "likelihood": model.schema_.likelihood,
        **codes,
        "batch_size": training.settings.batch_size,
        "max_epochs": training.settings.max_epochs,
        "device": str(training.device),
    }


def describe(dataset: Dataset) -> str:
    """The data in one line."""
    if kind_of(dataset.X) != "rows":
        return in_a_line(dataset)
    n_rows, *row = dataset.X.shape
    names = getattr(dataset.X, "columns", None)
    what = f"{row[0]} columns" if names is not None else f"shape {' × '.join(map(str, row)) or '1'}"
    return f"{dataset.source}: {n_rows:,} rows of {what}"


def _split(rows: Rows, held_out: Rows | None, model: GradientEstimator) -> str:
    return f"{len(rows):,} {unit(takes(model))}s to train on, {len(held_out or ()):,} held out"


def report(watch: RunWatch, model: GradientEstimator) -> None:
    """Report the held-out bound, and the active units."""
    console, progress, one = watch.console, watch.training.progress, unit(takes(model))
    bound, column = _bound(model)
    record = progress.history[progress.best_epoch - 1]
    if math.isfinite(progress.best):
        elbo = record["validation_elbo"]
        best = nats(progress.best if elbo is None else elbo)
        ended = f"{progress.epoch}{', then stopped early' if progress.stopped else ''}"
        console.say(f"held-out {bound} {best} nats a {one} in epoch {progress.best_epoch}, the best of {ended}")
    else:
        last = nats(record[column])
        console.say(
            f"{bound} {last} nats a {one} in epoch {progress.epoch}, on the training {one}s: none were held out"
        )
    if isinstance(model, VAE):
        console.say(f"{model.n_active_units_} of {model.latent_dim_} latent variables are active")


def _bound(model: GradientEstimator) -> tuple[str, str]:
    """The name of what training raises, and of its column in the history."""
    if isinstance(model, Autoencoder):
        return f"log p(x|z){'' if model.penalty is None else ' less the penalty'}", "reconstruction"
    has_bound = isinstance(model, VAE) or (takes(model) != "rows" and model.get_params()["latent_dim"])
    return ("ELBO" if has_bound else "log p(x)"), "elbo"


def suggest_resuming(console: Console, run: Run) -> None:
    """Suggest the command that continues the run."""
    console.suggest("train", "-o", run.folder, "--resume")


def suggest_next(console: Console, run: Run, model: Any, config: Config) -> None:
    """Suggest a command that uses the model."""
    if hasattr(model, "score_samples") and config.model not in ("autoencoder", "detector"):
        ending = "png" if takes(model) == "rows" and model.schema_.is_image else "csv"
        ending = {"rows": ending, "sequences": "npz", "text": "txt"}[takes(model)]
        given = words_given(config.data.given, "=VALUE")
        return console.suggest("generate", run.folder, *given, "-o", run.folder / f"samples.{ending}")
    command, file = {"imputer": ("impute", "filled.csv"), "detector": ("outliers", "outliers.csv")}.get(
        config.model, ("encode", "codes.csv")
    )
    console.suggest(command, run.folder, *config.data.words(), "-o", run.folder / file)


class _Enough(Exception):
    """The dry run is done."""


class OneBatch(Watch):
    """Stops a fit after one batch, and keeps its loss."""

    def on_start(self, training: Training, data: Rows, validation: Rows | None) -> None:
        """Keep the training and its rows."""
        self.training: Training
        self.rows: Rows
        self.held_out: Rows | None
        self.training, self.rows, self.held_out = training, data, validation

    def on_step(self, training: Training) -> None:
        """Stop after the first step."""
        self.n_rows: int = training.progress.n_rows
        self.reconstruction: float
        self.kl: float
        self.reconstruction, self.kl = training.epoch_totals.means()
        raise _Enough


def try_one_batch(config: Config, console: Console, *, verbose: bool) -> None:
    """Show what would be trained, and the loss of one batch; nothing is written."""
    config = pinned(config)
    dataset = config.data.read(console)
    check_kind(dataset, config.model)
    model, watch = make(config), OneBatch()
    with suppress(_Enough):
        model.fit(dataset.X, context=context_of(dataset, config.data.given), watch=watch)
    choices, table_of = chosen(model, watch.training), MODELS[config.model].table
    z = [watch.training.objective.samples, watch.n_rows, choices.get("latent_dim", 0)]
    x = [watch.n_rows, *model.schema_.event_shape]
    parts = {name: table_of[name].part(value) for name, value in config.parameters.items()}
    record = {
        "model": config.model,
        "data": fingerprint(dataset),
        "parameters": plain(config.parameters),
        "parts": {name: part.plain() for name, part in parts.items() if isinstance(part, Part)},
        "chosen": choices,
        "rows": {"training": len(watch.rows), "held_out": len(watch.held_out or ())},
        "shapes": {"x": x, "z": z} if z[-1] else {"x": x},
        "n_parameters": _sizes(model),
        "batch": {"elbo": watch.reconstruction - watch.kl, "reconstruction": watch.reconstruction, "kl": watch.kl},
    }
    if verbose:
        console.say(str(watch.training.modules))
    console.result(record, f"{config.to_toml({})}\n{_summary(record, describe(dataset), watch, model)}")


def _summary(record: dict[str, Any], data: str, watch: OneBatch, model: GradientEstimator) -> str:
    shapes = {name: tuple(shape) for name, shape in record["shapes"].items()}
    weights = {name: f"{size:,}" for name, size in record["n_parameters"].items()}
    return table(
        {
            "data": data,
            "rows": _split(watch.rows, watch.held_out, model),
            "chosen": listing(record["chosen"]),
            **{name: _in_words(part) for name, part in record["parts"].items()},
            "shapes": listing(shapes),
            "weights": listing(weights),
            "one batch": _of_one_batch(record["batch"], unit(takes(model)), is_bound=_bound(model)[0] == "ELBO"),
        }
    )


def _in_words(part: dict[str, Any]) -> str:
    """A part by its word and its fields: ``vamp: n_components 100``."""
    fields = listing({name: word_of(value) for name, value in part.items() if name != "kind"})
    return f"{word_of(part['kind'])}: {fields}" if fields else word_of(part["kind"])


def _of_one_batch(batch: dict[str, float], one: str, *, is_bound: bool) -> str:
    parts = {name: nats(value) for name, value in batch.items()}
    if not math.isfinite(batch["kl"]):
        return f"log p(x|z) {parts['reconstruction']} nats a {one}, untrained"
    if not is_bound:
        return f"log p(x) {parts['elbo']} nats a {one}, untrained"
    kl = f"{about(batch['kl'])}{parts['kl']}"
    return f"ELBO {parts['elbo']} = {parts['reconstruction']} − KL {kl} nats a {one}, untrained"


def _sizes(model: GradientEstimator) -> dict[str, int]:
    """The numbers of weights."""
    names = {"posterior": "encoder", "model": "decoder"} if hasattr(model, "posterior_") else {"model": "model"}
    return {names[name]: _size(module) for name, module in reversed(model._modules().items())}


def _size(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
