"""The command line. ``--help`` needs neither torch nor scikit-learn: commands import them when they run."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from lowerbound import __version__
from lowerbound.cli.chat import chat
from lowerbound.cli.codes import encode, reconstruct
from lowerbound.cli.compare import compare
from lowerbound.cli.compress import compress
from lowerbound.cli.data import data
from lowerbound.cli.decompress import decompress
from lowerbound.cli.evaluate import evaluate
from lowerbound.cli.explore import explore
from lowerbound.cli.generate import generate
from lowerbound.cli.impute import impute
from lowerbound.cli.outliers import outliers
from lowerbound.cli.output import INTERRUPTED, Failure, write_error
from lowerbound.cli.processes import refuse_several
from lowerbound.cli.report import report
from lowerbound.cli.series import forecast
from lowerbound.cli.signals import handled, interrupt
from lowerbound.cli.synthesize import synthesize
from lowerbound.cli.train import train
from lowerbound.cli.traverse import interpolate, traverse
from lowerbound.cli.upgrade import config


class Program(click.Group):
    """The group of commands; exit codes are 0, 1 for a failure, 2 for wrong usage, 130 if interrupted."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line, and keep it for the record of a run."""
        ctx.obj = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; expected errors become one sentence."""
        with _warnings_in_a_line(), handled(interrupt, (signal.SIGTERM,)):
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                write_error("interrupted")
                ctx.exit(INTERRUPTED)
            except BrokenPipeError:  # the reader of stdout has ended; click exits quietly
                raise
            except (ValueError, OSError, MemoryError) as error:
                raise Failure(_sentence(error)) from error
            except RuntimeError as error:
                if "memory" not in str(error).lower():
                    raise
                raise Failure(_sentence(MemoryError())) from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and refuse several processes for all but training."""
        name, command, rest = super().resolve_command(ctx, args)
        if name != "train":
            refuse_several(f"lowerbound {name}")
        return name, command, rest

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order of their use."""
        return list(self.commands)


def _sentence(error: Exception) -> str:
    """The message of an exception, on one line."""
    if isinstance(error, MemoryError):
        return "there is not enough memory: take fewer rows, a smaller batch or a smaller network"
    if isinstance(error, OSError) and error.strerror:
        where = f" {error.filename}" if error.filename else ""
        return f"can't read or write{where}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Show each warning to users once, without its line of code."""
    said = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        plain = warnings.showwarning

        def show(message, category, *where: Any, **more: Any) -> None:
            if not issubclass(category, UserWarning):
                return plain(message, category, *where, **more)
            if str(message) not in said:
                said.add(str(message))
                write_error(f"warning: {message}")

        warnings.showwarning = show
        yield


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="lowerbound")
def main() -> None:
    """Fit variational autoencoders to data, and use them.

    \b
      lowerbound data check table.csv --label class
      lowerbound train table.csv --label class -o runs/table
      lowerbound evaluate runs/table test.csv --label class
      lowerbound generate runs/table -n 1000 -o samples.csv
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without σ shows a question mark  # type: ignore[union-attr]


_ON_A_RUN = (
    generate,
    chat,
    reconstruct,
    encode,
    traverse,
    interpolate,
    impute,
    forecast,
    outliers,
    evaluate,
    compare,
    report,
)
for _command in (data, train, *_ON_A_RUN, explore, compress, decompress, synthesize, config):
    main.add_command(_command)
