"""``explore``: a page on this machine to look at a model, live."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lowerbound.cli.context import given_option
from lowerbound.cli.generate import load
from lowerbound.cli.options import DataOptions, console_options, data_options, run_argument
from lowerbound.cli.output import Console, Failure
from lowerbound.cli.report import rows_to_show, run_of

if TYPE_CHECKING:
    from lowerbound.web.service import Service


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
    from lowerbound.web.server import Page, check_extra, open_in_browser

    try:
        check_extra()
    except ImportError as error:
        raise Failure(str(error)) from error

    def service() -> Service:
        from lowerbound.report.subject import Subject
        from lowerbound.web.service import Service

        model = load(run, "report")
        X, labels, words = rows_to_show(model, run, replace(options, given=given), data, console)
        subject = Subject.of(model, X, labels, run=run_of(run), **words)
        return Service(subject, lambda: run_of(run).history)

    page = Page(service, port)
    console.result({"url": page.url}, page.url)
    if not no_browser:
        open_in_browser(page.url)
    try:
        page.wait()
    finally:
        page.close()
