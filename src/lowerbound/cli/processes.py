"""Training in several processes that torchrun started: only the first writes the folder and messages."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from lowerbound.cli.config import Config
from lowerbound.cli.context import context_of
from lowerbound.cli.output import Failure
from lowerbound.cli.signals import handled

if TYPE_CHECKING:
    from torch import Tensor

Checkpoint: TypeAlias = "tuple[dict[str, Tensor], dict[str, Any]]"


def n_processes() -> int:
    """The number of processes that ``torchrun`` started."""
    if "RANK" not in os.environ:  # the common case, without importing torch
        return 1
    from lowerbound.parallel import n_started

    return n_started()


def refuse_several(what: str) -> None:
    """Raise a usage error, in the first process only, if ``torchrun`` started several."""
    if n_processes() > 1:
        if os.environ["RANK"] != "0":
            click.get_current_context().exit(2)
        raise click.UsageError(f"{what} works in one process: start it without torchrun")


@contextmanager
def meeting() -> Iterator[bool]:
    """Join the other processes; yield True in the first. Fails with a sentence if another one is lost."""
    if n_processes() == 1:
        yield True
        return
    from lowerbound.parallel import LostProcessError, join

    try:
        with join() as processes:
            yield processes.is_first
    except LostProcessError as error:
        raise Failure(str(error)) from error


def tell(config: Config | None, checkpoint: Checkpoint | None = None) -> None:
    """Send the configuration and checkpoint to the other processes; None if there is nothing to train."""
    from lowerbound.parallel import current
    from lowerbound.storage.atomic import to_bytes

    processes = current()
    if processes.size > 1:
        processes.from_first(b"" if config is None else config.to_json().encode())
        processes.from_first(b"" if checkpoint is None else to_bytes(*checkpoint))


def take_part() -> None:
    """Train as a process other than the first: on its share of the rows, without output."""
    from lowerbound.cli.config import make
    from lowerbound.parallel import current
    from lowerbound.storage.atomic import from_bytes
    from lowerbound.training.state import TrainingError
    from lowerbound.training.watch import Watch

    context = click.get_current_context()
    try:
        text, content = (current().from_first(b"") for _ in range(2))
    except RuntimeError:  # the first process has ended with a message
        context.exit(1)
    if not text:
        return
    config = Config.from_json(text.decode())
    with _leaving_signals_to_the_first(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dataset = config.data.read()
        known = context_of(dataset, config.data.given)
        try:
            make(config).fit(dataset.X, context=known, watch=Watch(), resume=from_bytes(content) if content else None)
        except TrainingError:  # the same in all processes
            context.exit(1)


@contextmanager
def _leaving_signals_to_the_first() -> Iterator[None]:
    """Ignore the first Ctrl-C or SIGTERM, after which the first process stops all; a second one interrupts."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    with handled(ask):
        yield
