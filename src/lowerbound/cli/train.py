"""``lowerbound train``: from a file of data to a folder with a fitted model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from lowerbound.cli.config import Config, model_of, read_toml, resolve
from lowerbound.cli.context import given_option
from lowerbound.cli.model_flags import ModelCommand, given_flags, named
from lowerbound.cli.models import MODELS
from lowerbound.cli.options import DataOptions, console_options, data_options, force_option
from lowerbound.cli.output import Console, Failure
from lowerbound.cli.processes import meeting, n_processes, refuse_several, take_part
from lowerbound.cli.run import Run
from lowerbound.parameters.parameter import plain

FREE_ON_RESUME = ("device",)  # parameters that may change when a run is continued


@click.command(cls=ModelCommand, short_help="Fit a model to data.")
@click.argument("data", metavar="[DATA]", required=False)
@click.option("-o", "--output", metavar="RUN", type=click.Path(path_type=Path), help="Folder for the run.")
@click.option("--model", type=click.Choice(list(MODELS)), help="The model to fit.  [vae]")
@click.option(
    "-c", "--config", "file", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Read parameters (and data) from a TOML file, such as the config.toml of a run.",
)  # fmt: skip
@click.option(
    "-s", "--set", "assignments", metavar="KEY=VALUE", multiple=True, help="Set a parameter; can be repeated."
)
@data_options
@given_option
@click.option("--resume", is_flag=True, help="Continue from the last checkpoint of RUN, if there is one.")
@click.option(
    "--checkpoint-seconds", type=click.FloatRange(0), default=5.0, show_default=True, metavar="SECONDS",
    help="Least time between checkpoints, which a killed process may lose.",
)  # fmt: skip
@click.option("--log", type=click.Choice(["tensorboard"]), help="Write the history for TensorBoard too.")
@click.option(
    "--batch-size-per-device", type=click.IntRange(1), metavar="INT",
    help="Rows in a step for each process; --batch-size counts those of all together.",
)  # fmt: skip
@force_option
@click.option("--dry-run", is_flag=True, help="Show what would be trained, and one batch; write nothing.")
@click.option("-v", "--verbose", is_flag=True, help="Show the networks and every parameter.")
@console_options
@click.pass_context
def train(
    context: click.Context, output: Path | None, model: str | None, file: Path | None, assignments: tuple[str, ...],
    resume: bool, checkpoint_seconds: float, log: str | None, batch_size_per_device: int | None, force: bool,
    dry_run: bool, verbose: bool, console: Console, options: DataOptions, **others: Any,
) -> None:  # fmt: skip
    """Fit a model to DATA: a file, a folder of images, or the built-in "digits".

    The parameters are those of the --model; --help-all shows all of them. A parameter's flag overrides -s, which
    overrides the file of -c. Ctrl-C saves a checkpoint and stops; --resume continues, with bit-identical results.

    \b
      lowerbound train digits -o runs/digits
      lowerbound train table.csv --drop id --label class -o runs/table --latent-dim 4
      lowerbound train table.csv -o runs/vamp --prior vamp --prior.n-components 50 --lr 0.002
      lowerbound train table.csv -o runs/mixture --model mixture --n-components 8
      lowerbound train faces.npz --key x_train -o runs/faces --dry-run
      lowerbound train -o runs/faces --resume
    """
    data = {**vars(options), "given": others["given"]}

    flags = given_flags(context)
    if batch_size_per_device is not None:
        if "batch_size" in flags:
            raise click.UsageError("--batch-size counts the rows of all processes together: give one of them")
        flags["batch_size"] = batch_size_per_device * n_processes()

    def asked(path: Path | None) -> Config:
        return resolve(data, flags, assignments, path, model)

    arguments = context.find_root().obj
    in_steps = MODELS[named(context)].in_steps
    if not in_steps:
        _refuse_steps(context)
    if dry_run:
        refuse_several("--dry-run")
        _try(asked(file), console, verbose=verbose)
        return console.suggest(*(word for word in arguments if word != "--dry-run"), *(() if output else ("-o", "RUN")))
    if output is None:
        raise click.UsageError("no output is given: name a folder for the run with -o")
    if resume and force:
        raise click.UsageError("--resume continues a run and --force overwrites it: give one of them")
    with meeting() as is_first:
        if not is_first:
            return take_part()
        run = Run(output)
        with run.locked():
            if resume and run.config.exists():
                _check_model(named(context), model_of(read_toml(run.config), run.config), run)
                if not in_steps and run.has_model:
                    from lowerbound.cli.fitting import check_data

                    check_data(continued(asked(file or run.config), run), run)
                    return console.say(f"{run.folder} is finished: there is nothing to resume")
            config, resume = _begun(run, asked, file, resume=resume, force=force)
            if not in_steps:
                from lowerbound.cli.fitting_once import fit_once

                return fit_once(run, config, arguments, console, verbose=verbose)
            from lowerbound.cli.fitting import fit_run

            fit_run(
                run, config, arguments, console, resume=resume, verbose=verbose, log=log,
                checkpoint_seconds=checkpoint_seconds,
            )  # fmt: skip


def _refuse_steps(context: click.Context) -> None:
    """Raise a usage error for options that only models have that are trained in steps."""
    model = named(context)
    refuse_several(f"--model {model}")
    for name in ("log", "checkpoint_seconds", "batch_size_per_device"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            able = ", ".join(name for name, each in MODELS.items() if each.in_steps)
            raise click.UsageError(f"--{name.replace('_', '-')} is for models that are trained in steps ({able})")


def _try(config: Config, console: Console, *, verbose: bool) -> None:
    """Show what would be fitted, and for models that are trained in steps the loss of one batch."""
    if MODELS[config.model].in_steps:
        from lowerbound.cli.fitting import try_one_batch

        return try_one_batch(config, console, verbose=verbose)
    from lowerbound.cli.fitting_once import dry_run

    dry_run(config, console)


def _check_model(asked: str, own: str, run: Run) -> None:
    if asked != own:
        raise Failure(f"{run.folder} is a run of a {own}, not of a {asked}: name another folder, or add --force")


def _begun(
    run: Run, asked: Callable[[Path | None], Config], file: Path | None, *, resume: bool, force: bool
) -> tuple[Config, bool]:
    """The configuration to train, and True if there is a checkpoint to continue from."""
    own = run.config if resume and run.config.exists() else None
    if resume and run.has_checkpoint:
        return continued(asked(file or own), run), True
    run.check_free(force or (resume and not run.has_model))
    return asked(file or own), False


def continued(asked: Config, run: Run) -> Config:
    """The configuration of a run that is continued; fails if other parameters were given."""
    own = resolve({}, {}, (), run.config, None)
    _check_model(asked.model, own.model, run)
    table = MODELS[own.model].table
    free = FREE_ON_RESUME
    if "max_epochs" in table and "optimizer" in table:
        part = table["optimizer"].part(own.parameters["optimizer"])
        free = (*free, "max_epochs") if part.schedule == "constant" else free
    for name, value in asked.asked.items():
        before = own.parameters[name]
        if name not in free and table[name].part(value) != table[name].part(before):
            raise Failure(
                f"--resume continues with the parameters of {run.config}, where {name} is {plain(before)!r}, "
                f"not {plain(value)!r}: leave it out, or train anew with --force"
            )
    new = {name: asked.asked[name] for name in free if name in asked.asked}
    return replace(own, data=asked.data, parameters=own.parameters | new)
