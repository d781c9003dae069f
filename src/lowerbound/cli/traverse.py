"""``traverse`` and ``interpolate``: E[x|z] on paths through the latent space, as a picture, an array or a table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lowerbound.cli.context import context_schema, one_context
from lowerbound.cli.drawing import check_rows_fit, draw
from lowerbound.cli.generate import (
    ENDINGS,
    OutputFile,
    done,
    load,
    names_of,
    output_option,
    rows_of,
)
from lowerbound.cli.options import DataOptions, console_options, data_argument, data_options, force_option, run_argument
from lowerbound.cli.output import Console, Failure, new_file
from lowerbound.cli.run import data_of

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

STEPS = 9
FARTHEST = 2.0  # standard deviations of the prior

context_option = click.option(
    "--given", metavar="NAME=VALUE", multiple=True, help="The model's context; can be repeated."
)


def steps_option(default: int) -> Any:
    """``--steps``."""
    return click.option(
        "--steps", metavar="M", type=click.IntRange(2), default=default, show_default=True, help="Codes on a path."
    )


@click.command(short_help="Show what each latent variable does.")
@run_argument
@click.argument("data", metavar="[DATA]", required=False)
@output_option
@click.option(
    "--row", metavar="I", type=click.IntRange(0), help="The row of DATA, from 0, whose code is the start.  [0]"
)
@steps_option(STEPS)
@click.option(
    "-n", "n_shown", type=click.IntRange(1), default=10, show_default=True, help="Latent variables in a picture."
)
@context_option
@data_options
@force_option
@console_options
def traverse(
    run: Path, data: str | None, output: Path, row: int | None, steps: int, n_shown: int, given: tuple[str, ...],
    options: DataOptions, force: bool, console: Console,
) -> None:  # fmt: skip
    """Show E[x|z] as one latent variable runs through the prior and the others stay, for each of them.

    The others stay in the middle of the prior, or at the code of a row of DATA. A picture has the variables that
    change it most, one below the other; other files have all, with the columns latent and deviation.

    \b
      lowerbound traverse runs/digits -o traversal.png
      lowerbound traverse runs/digits digits --row 7 -o of-row-7.png
    """
    import torch

    from lowerbound.tasks.traverse import along_each

    new_file(output, force)
    model = _given(load(run, "traverse"), given)
    check_rows_fit(model, output)
    deviations = torch.linspace(-FARTHEST, FARTHEST, steps, dtype=torch.float64)
    if data is None:
        _refuse_options_of_data(row, options)
        start, values = _of_prior(model, deviations)
    else:
        X = rows_of(dataset := options.like_those_of(run).read(console), model)
        start, values = _of_data(model, X, row or 0, deviations, dataset.source)
    codes = along_each(start, values)
    rows = model.inverse_transform(codes.flatten(0, 1).numpy())
    headings = [f"{t:+.1f}" if t else "0" for t in deviations.tolist()]
    if output.suffix.lower() == ".png":
        rows = rows.reshape(len(start), steps, *model.schema_.row_shape)
        chosen = _most_telling(rows, n_shown)
        captions = [f"latent variable {i}" for i in chosen]
        draw(output, model, rows[chosen].reshape(-1, *rows.shape[2:]), steps, captions, headings)
        console.say("the latent variables that change the picture most, from low to high, in deviations of the prior")
    else:
        latent, deviation = torch.arange(len(start)).repeat_interleave(steps), deviations.repeat(len(start))
        _write(output, model, rows, {"latent": latent.numpy(), "deviation": deviation.numpy()})
    done(console, output, rows.shape)
    source = data or data_of(run).get("source", "DATA")
    console.suggest("outliers", run, *replace(options, source=source).words(), "-o", run / "outliers.csv")


@click.command(short_help="Show the way from one row to another.")
@run_argument
@data_argument
@click.option(
    "--between", metavar="I J", type=(click.IntRange(0), click.IntRange(0)), required=True,
    help="Two rows of DATA, counted from 0.",
)  # fmt: skip
@click.option(
    "-o", "--output", metavar="FILE", required=True, type=OutputFile((*ENDINGS, ".gif")),
    help="A .png, .gif, .npy, .csv or .parquet file.",
)  # fmt: skip
@steps_option(10)
@context_option
@data_options
@force_option
@console_options
def interpolate(
    run: Path, data: str, between: tuple[int, int], output: Path, steps: int, given: tuple[str, ...],
    options: DataOptions, force: bool, console: Console,
) -> None:  # fmt: skip
    """Show E[x|z] on the straight line between the codes of two rows of DATA.

    A .png has the two rows themselves at its ends; a .gif goes there and back.

    \b
      lowerbound interpolate runs/digits digits --between 3 17 -o path.png
    """
    import numpy as np
    import torch

    from lowerbound.tasks.traverse import between as line

    new_file(output, force)
    model = _given(load(run, "interpolate"), given)
    check_rows_fit(model, output)
    dataset = options.like_those_of(run).read(console)
    ends = _rows(rows_of(dataset, model), between, dataset.source)
    first, last = torch.from_numpy(np.asarray(model.transform(ends), np.float64))
    codes = line(first, last, steps)
    rows = model.inverse_transform(codes.numpy())
    if output.suffix.lower() == ".png":
        names = [f"row {i}" for i in between]
        draw(output, model, rows, steps + 2, headings=[names[0], *_shares(steps), names[1]], ends=ends)
    elif output.suffix.lower() == ".gif":
        _animate(output, model, rows)
    else:
        _write(output, model, rows, {"share": np.linspace(0, 1, steps)})
    done(console, output, rows.shape)


def _given(model: Any, words: tuple[str, ...]) -> Any:
    """The model given the context in words; fails if there is one too many or too few."""
    schema = context_schema(model)
    if schema is None and words:
        raise Failure(f"--given {words[0]}: the model was trained without a context, so leave it out")
    return model if schema is None else model.given(one_context(schema.columns, words))


def _refuse_options_of_data(row: int | None, options: DataOptions) -> None:
    """Raise a usage error for options that say how DATA are read where there are none."""
    if row is not None or options.words() != [""]:
        raise click.UsageError("--row and the options of reading need DATA: traverse RUN DATA")


def _of_prior(model: Any, deviations: Tensor) -> tuple[Tensor, Tensor]:
    """The middle of the prior, (D,), and values of each latent variable, (m, D)."""
    import torch

    from lowerbound.tasks.traverse import prior_quantiles

    if not hasattr(model, "score_samples"):
        raise Failure(f"a {type(model).__name__} has no prior: name DATA, whose codes say how far to go")
    fitted, with_middle = model.fitted_, torch.cat([torch.zeros(1, dtype=deviations.dtype), deviations])
    found = prior_quantiles(fitted.model, with_middle, fitted.noise("traverse"), fitted.coded_context(1))
    return found[0], found[1:]


def _of_data(model: Any, X: Any, row: int, deviations: Tensor, source: str) -> tuple[Tensor, Tensor]:
    """The code of a row, and values of each latent variable: of the prior, or of the codes where there is no prior."""
    import numpy as np
    import torch

    start = torch.from_numpy(np.asarray(model.transform(_rows(X, (row,), source))[0], np.float64))
    if hasattr(model, "score_samples"):
        return start, _of_prior(model, deviations)[1]
    codes = torch.from_numpy(np.asarray(model.transform(X), np.float64))
    return start, codes.mean(0) + deviations[:, None] * codes.std(0)


def _rows(X: Any, places: tuple[int, ...], source: str) -> Any:
    """Single rows of data."""
    from lowerbound.data.sources import Source

    beyond = [place for place in places if place >= len(X)]
    if beyond:
        raise Failure(f"{source} has the rows 0 to {len(X) - 1:,}: there is no row {beyond[0]:,}")
    if isinstance(X, Source):
        return X.take(places).X
    return X.iloc[list(places)] if hasattr(X, "iloc") else X[list(places)]


def _most_telling(rows: np.ndarray, n_shown: int) -> list[int]:
    """The latent variables whose paths (D, m, *row) change x most, by the mean variance on them."""
    change = rows.reshape(*rows.shape[:2], -1).var(1).mean(1)
    return (-change).argsort(kind="stable")[:n_shown].tolist()


def _shares(steps: int) -> list[str]:
    return [f"{i / (steps - 1):.2f}" for i in range(steps)]


def _write(path: Path, model: Any, rows: Any, columns: dict[str, np.ndarray]) -> None:
    """Write an array, or a table with further columns."""
    from lowerbound.storage.results import write_parts

    more = {} if path.suffix.lower() == ".npy" else columns
    write_parts(path, [(rows, more)], names_of(model), len(rows))


def _animate(path: Path, model: Any, rows: np.ndarray) -> None:
    """Write the rows, there and back, as an animated .gif."""
    import numpy as np

    from lowerbound.pictures.pictures import as_images, pixel_range, save_animation, to_pixels

    images = as_images(model.schema_, rows)
    pixels = to_pixels(images, *pixel_range(model.schema_, images))
    save_animation(np.concatenate([pixels, pixels[-2:0:-1]]), path)
