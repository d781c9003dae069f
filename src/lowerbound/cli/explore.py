"""``explore``: a page on this machine to look at a model, live."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lowerbound.cli import run as runs
from lowerbound.cli.context import given_option
from lowerbound.cli.generate import load
from lowerbound.cli.models import MODELS
from lowerbound.cli.options import DataOptions, console_options, data_options, run_argument
from lowerbound.cli.output import Console, Failure
from lowerbound.cli.report import rows_to_show, run_of
from lowerbound.cli.sequences import unit

if TYPE_CHECKING:
    from lowerbound.web.answers import Answers


@click.command(short_help="Open a page on this machine to look at a model, live.")
@run_argument
@click.argument("data", metavar="[DATA]", required=False)
@click.option("--no-browser", is_flag=True, help="Print the address, and leave it to you to open it.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the page.  [a free one]")
@data_options
@given_option
@console_options
def explore(
    run: Path, data: str | None, no_browser: bool, port: int, options: DataOptions, given: str | None, console: Console
) -> None:
    """Open a page to look at the model in RUN with rows of DATA: codes, samples, reconstructions, outliers, gaps.

    It is served on 127.0.0.1 until Ctrl-C, to whoever has the address that is printed. It needs the extra ui.

    \b
      lowerbound explore runs/digits digits
    """
    # threads that wait asleep leave the processor to the browser; read when torch is imported
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from lowerbound.web.server import Page, check_extra, open_in_browser

    try:
        check_extra()
    except ImportError as error:
        raise Failure(str(error)) from error

    def service() -> Answers:
        from lowerbound.report.subjects import subject_of
        from lowerbound.web.services import service_of

        model = load(run, "report")
        X, labels, words = rows_to_show(model, run, replace(options, given=given), data, console)
        subject = subject_of(model, X, labels, run=run_of(run), **words)
        return service_of(subject, lambda: run_of(run).history)

    def begin() -> Answers:
        place = runs.Run(run)
        if place.has_model or not place.is_begun:
            return service()
        from lowerbound.web.services import Waiting

        console.say(f"{run} has no model yet: the page shows how it trains, and the model when it is there")
        return Waiting(str(run), lambda: place.has_model, service, _one(run), lambda: run_of(run).history)

    try:
        page = Page(begin, port)
    except OSError as error:
        raise Failure(error.strerror or str(error)) from error
    console.result({"url": page.url}, page.url)
    if not no_browser:
        open_in_browser(page.url)
    try:
        page.wait()
    finally:
        page.close()


def _one(run: Path) -> str:
    """The word for one of the data of a run, by its configuration."""
    from lowerbound.cli.config import model_of
    from lowerbound.storage.opening import read_toml

    if not runs.Run(run).config.exists():
        return "row"
    return unit(MODELS[model_of(read_toml(run / "config.toml"), run)].takes)
