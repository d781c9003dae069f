"""The flags that commands share; those of a model's parameters are in ``flags``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lowerbound.cli.output import Console
from lowerbound.cli.run import data_of

if TYPE_CHECKING:
    from lowerbound.data.readers.images import ImageFolder
    from lowerbound.data.sources import Dataset

    PathType = click.ParamType[Path]
    ValueType = click.ParamType[Any]
else:
    PathType = ValueType = click.ParamType  # takes no type argument in older versions of click


WRITING = ("decimal", "thousands", "date_format", "missing", "header")
OF_IMAGES = ("resize", "crop", "mode")
OF_SEQUENCES = ("time", "every", "lengths", "bits", "turns", "speaker")
KEPT = ("time", "every", "bits", "turns", "speaker")  # of the data of a run, for others of that format
READING = ("key", "drop", "label", "id", "stream", *WRITING, *OF_IMAGES, *OF_SEQUENCES)
QUIETLY = Console(quiet=True)


@dataclass(frozen=True)
class DataOptions:
    """The data of a command, and the columns or arrays to read.

    Attributes
    ----------
    source : str
        A file, a folder of images, or ``digits``.
    key : str or None
        The array of an .npz file.
    drop : tuple of str
        Columns of a table to leave out.
    label : str or None
        The column, or the array, with a label for each row.
    id : str or None
        The column of a table that names the rows, and is no feature.
    stream : bool or None
        Read rows when they are used; None does so if they take much memory.
    given : str or None
        The column, or the array, that a model is given; it is then the label.
    decimal, thousands, date_format, missing, header
        As in ``read``, for .csv files.
    resize, crop, mode
        As in ``read``, for folders of images.
    time, every, lengths, bits, turns, speaker
        As in ``read``, for sequences and dialogues.
    """

    source: str
    key: str | None = None
    drop: tuple[str, ...] = ()
    label: str | None = None
    id: str | None = None
    stream: bool | None = None
    given: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    date_format: str | None = None
    missing: tuple[str, ...] = ()
    header: bool | None = None
    resize: str | None = None
    crop: str | None = None
    mode: str | None = None
    time: str | None = None
    every: str | None = None
    lengths: str | None = None
    bits: int | None = None
    turns: int | None = None
    speaker: str | None = None

    def read(self, console: Console = QUIETLY, *, mixed: bool = True, notes: bool = True) -> Dataset:
        """Read the data; raises ``DataError``.

        Parameters
        ----------
        console : Console
            Shows a bar while images are read.
        mixed : bool
            Columns may be text and dates.
        notes : bool
            Say what is changed by the conversion of images.
        """
        if self.given and self.label:
            raise click.UsageError("--given is the label of the rows too: leave --label out")
        stream = False if self.given and self.stream is None else self.stream
        images = self.images()
        if images is None:
            return self._read(stream, mixed=mixed)
        from lowerbound.cli.images import in_memory

        for note in images.notes if notes else ():
            console.say(note)
        return in_memory(images, stream, console)

    def images(self) -> ImageFolder | None:
        """The images of a folder, which are not decoded yet; None for other data."""
        from lowerbound.data.readers.images import ImageFolder
        from lowerbound.data.readers.read import holds_images

        found = self._read(stream=True, mixed=False).X if holds_images(self.source) else None
        assert found is None or isinstance(found, ImageFolder)
        return found

    def _read(self, stream: bool | None, *, mixed: bool) -> Dataset:
        from lowerbound.data.readers.read import read

        others = {name: getattr(self, name) for name in (*WRITING, *OF_IMAGES, *OF_SEQUENCES)}
        return read(
            self.source, key=self.key, drop=self.drop, label=self.given or self.label, id=self.id, stream=stream,
            mixed=mixed, **others,
        )  # fmt: skip

    def like_those_of(self, run: Path) -> DataOptions:
        """The same, with rows named, images converted and sequences read as those of a run were, unless it is said."""
        from lowerbound.data.readers.read import holds_images, options_of

        kept = data_of(run)
        if holds_images(self.source):
            return replace(self, **{name: getattr(self, name) or kept.get(name) for name in OF_IMAGES})
        names = [name for name in KEPT if name in options_of(self.source)]
        same = replace(self, **{name: getattr(self, name) or kept.get(name) for name in names})
        return same if self.id is not None else same.named_by(kept.get("id"))

    def named_by(self, column: str | None) -> DataOptions:
        """The same, with rows that a column names, if it is one of the table."""
        from lowerbound.data.readers.read import has_column

        is_there = column is not None and has_column(self.source, column, header=self.header)
        return replace(self, id=column if is_there else None)

    @property
    def writing(self) -> dict[str, Any]:
        """The flags on the writing of values in a .csv file that were given."""
        return {name: getattr(self, name) for name in WRITING if getattr(self, name) not in (None, ())}

    def words(self) -> list[str]:
        """The options as words of a command line."""
        named = [("--key", self.key), *(("--drop", column) for column in self.drop), ("--label", self.label)]
        named += [("--id", self.id)]
        named += [("--given", self.given), ("--decimal", self.decimal), ("--thousands", self.thousands)]
        named += [("--date-format", self.date_format), ("--missing", ",".join(self.missing) or None)]
        named += [(f"--{name}", getattr(self, name)) for name in (*OF_IMAGES, *OF_SEQUENCES)]
        words = [word for flag, value in named if value is not None for word in (flag, str(value))]
        words += {None: [], True: ["--stream"], False: ["--no-stream"]}[self.stream]
        return [self.source, *words, *{None: [], True: ["--header"], False: ["--no-header"]}[self.header]]


def data_options(command: Callable) -> Callable:
    """Add the flags of reading data to a command, which gets them as its ``options``, a ``DataOptions``."""

    @wraps(command)
    def with_options(*args: Any, **others: Any) -> Any:
        read = {name: others.pop(name) for name in READING}
        return command(*args, options=DataOptions(others.get("data") or "", **read), **others)

    for option in (
        click.option("--speaker", metavar="NAME", help="Whose turns of dialogues in a .jsonl are responses.  [all]"),
        click.option(
            "--turns", metavar="N", type=click.IntRange(0),
            help="Turns of a dialogue before a response that are its context, at most.  [all]",
        ),
        click.option(
            "--bits", metavar="N", type=click.IntRange(1),
            help="Rows of an .npz are N bits, packed by numpy.packbits(…, axis=1).",
        ),
        click.option(
            "--lengths", metavar="NAME",
            help="Array of an .npz with the steps of each sequence, or none.  [that called KEY_len, if there is one]",
        ),
        click.option(
            "--every", metavar="SPAN", help="Put steps on a grid of this distance, such as 5min; what lacks is a gap."
        ),
        click.option(
            "--time", metavar="COLUMN",
            help="Column of a table that says when: rows are then steps of sequences, which --id tells apart. Parts of "
            "a date are named together: year,month,day,hour.",
        ),
        click.option(
            "--mode", type=click.Choice(["gray", "rgb"]),
            help="Read a folder of images in gray, or in color.  [in color if any has]",
        ),
        click.option(
            "--crop", type=click.Choice(["center", "none"]),
            help="Cut images to the shape of --resize around their center, or stretch them.  [center]",
        ),
        click.option(
            "--resize", metavar="SIDE|WxH", help="Bring a folder of images to one size in pixels, such as 64 or 64x48."
        ),
        click.option(
            "--header/--no-header", default=None,
            help="The first line of a .csv names the columns, or is a row.  [asked where it isn't clear]",
        ),
        click.option(
            "--missing", metavar="WORD,…", default="", callback=_words,
            help="Values of a .csv that stand for gaps, besides empty ones and NA, such as ?,-,None.",
        ),
        click.option(
            "--date-format", metavar="FORMAT", help="Dates in a .csv, such as %d/%m/%Y.  [recognized if it is clear]"
        ),
        click.option(
            "--thousands", metavar="MARK", type=click.Choice([".", ",", " ", "'"]),
            help="Mark between thousands in a .csv.  [recognized if it is clear]",
        ),
        click.option(
            "--decimal", metavar="MARK", type=click.Choice([".", ","]),
            help="Mark of decimals in a .csv.  [recognized if it is clear]",
        ),
        click.option(
            "--stream/--no-stream",
            default=None,
            help="Read rows when they are used, or load them all.  [stream what takes more than 256 MiB]",
        ),
        click.option(
            "--id", metavar="COLUMN",
            help="Column of a table that names the rows, or their sequences: results have it, the model leaves it out.",
        ),
        click.option("--label", metavar="NAME", help="Column, or array of an .npz, with a label for each row."),
        click.option("--drop", metavar="COLUMN", multiple=True, help="Leave this column out; can be repeated."),
        click.option("--key", metavar="NAME", help="Array of an .npz file, or field of a .jsonl."),
    ):  # fmt: skip
        with_options = option(with_options)
    return with_options


def _words(context: click.Context, option: click.Parameter, value: str) -> tuple[str, ...]:
    """``?,-`` as words."""
    return tuple(word for word in value.split(",") if word)


def _sizes(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """``28,28`` as numbers."""
    if value is None:
        return None
    try:
        return tuple(int(word) for word in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"write the sizes as H,W or H,W,C, got {value!r}") from error


def axes_options(command: Callable) -> Callable:
    """Add ``--image-shape`` and ``--layout`` to a command that has no flags of a model."""
    for option in (
        click.option(
            "--layout",
            type=click.Choice(["auto", "image", "channels_first", "features"]),
            default="auto",
            show_default=True,
            help="Axes of rows: image is height,width or height,width,channels.",
        ),
        click.option("--image-shape", metavar="H,W[,C]", callback=_sizes, help="Sizes of images given as flat rows."),
    ):
        command = option(command)
    return command


def console_options(command: Callable) -> Callable:
    """Add ``--json`` and ``-q`` to a command, which gets them as its ``console``."""

    @click.option("--json", "as_json", is_flag=True, help="Give the results as JSON on stdout.")
    @click.option("-q", "--quiet", is_flag=True, help="Print only results, warnings and errors.")
    @wraps(command)
    def with_console(*args: Any, as_json: bool, quiet: bool, **others: Any) -> Any:
        return command(*args, console=Console(quiet=quiet, as_json=as_json), **others)

    return with_console


def seed_option(help: str, **others: Any) -> Callable:
    """``--random-state``, of which ``--seed`` is another name."""
    return click.option("--random-state", "--seed", metavar="SEED", type=click.IntRange(0), help=help, **others)


run_argument: Callable[..., Any] = click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
data_argument: Callable[..., Any] = click.argument("data", metavar="DATA")
force_option: Callable[..., Any] = click.option("--force", is_flag=True, help="Overwrite existing files.")
