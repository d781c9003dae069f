"""``synthesize``: a table like another one, and how good it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lowerbound.cli.context import column_and_word, value_of
from lowerbound.cli.generate import OutputFile
from lowerbound.cli.options import DataOptions, console_options, data_options, force_option, seed_option
from lowerbound.cli.output import Console, Failure, new_file, plus_minus, table

if TYPE_CHECKING:
    import pandas as pd

    from lowerbound.synthesis.quality import Quality
    from lowerbound.synthesis.synthesize import Synthetic


@click.command(short_help="Draw a table like another one.")
@click.argument("data", metavar="TABLE")
@click.option(
    "-o", "--output", metavar="FILE", required=True, type=OutputFile((".csv", ".parquet")), help="A .csv or .parquet."
)
@click.option("-n", "--n-rows", metavar="N", type=click.IntRange(1), help="Rows to draw.  [as many as TABLE has]")
@click.option("--target", metavar="COLUMN", help="Report what the drawn rows teach of this column.")
@click.option("--given", metavar="COLUMN=VALUE", multiple=True, help="The value of a column; can be repeated.")
@click.option(
    "--where", metavar="CONDITION", multiple=True,
    help="What every row has to meet, such as 'start <= end'; can be repeated. A column of numbers with "
    "'total == price * n' is computed.",
)  # fmt: skip
@click.option(
    "--unique", metavar="COLUMN", multiple=True,
    help="No two rows have the same value of it; can be repeated. If it names the rows of TABLE, the new rows get new "
    "names.",
)  # fmt: skip
@click.option("--keep-gaps", is_flag=True, help="Draw where values are missing, too.")
@click.option("--max-epochs", metavar="N", type=click.IntRange(1), help="Of the fit.  [by the size of TABLE]")
@click.option("--check/--no-check", default=True, show_default=True, help="Hold out a tenth of TABLE and compare.")
@click.option("--save", "save_to", metavar="FOLDER", type=click.Path(path_type=Path), help="Keep the fitted model.")
@data_options
@seed_option("Seed.", default=0, show_default=True)
@force_option
@console_options
def synthesize(
    data: str, options: DataOptions, output: Path, n_rows: int | None, target: str | None, given: tuple[str, ...],
    where: tuple[str, ...], unique: tuple[str, ...], keep_gaps: bool, max_epochs: int | None, check: bool,
    save_to: Path | None, random_state: int, force: bool, console: Console,
) -> None:  # fmt: skip
    """Fit a VAE to TABLE and draw rows like its own: the same columns, types and levels.

    The report compares the drawn rows with rows of TABLE that the model has not seen, and says whether they are copies.

    \b
      lowerbound synthesize people.csv -o drawn.csv --target income
      lowerbound synthesize stays.csv -o new-stays.csv --where 'start <= end' --unique id --keep-gaps
    """
    from lowerbound.storage.results import write_frames
    from lowerbound.synthesis import synthesize as synthesis
    from lowerbound.training.progress import ProgressWatch

    for path in (output, save_to):
        if path is not None:
            new_file(path, force)
    rows = _frame(replace(options, stream=False), console)
    made = synthesis.synthesize(
        rows, n_rows, target=target, given=_values(given, rows), where=where, unique=unique, keep_gaps=keep_gaps,
        max_epochs=max_epochs, check=check, random_state=random_state, watch=None if console.quiet else ProgressWatch(),
    )  # fmt: skip
    write_frames(output, iter([made.rows]))
    if save_to is not None:
        made.model.save(save_to)
    console.result(record_of(made, output), text(made))
    console.say(f"wrote {output} ({len(made.rows):,} rows)")


def _frame(options: DataOptions, console: Console) -> pd.DataFrame:
    """The table; fails if the data are none."""
    rows: Any = options.read(console).X
    if not hasattr(rows, "columns"):
        raise Failure(f"{options.source} is no table: synthesize takes a .csv or a .parquet")
    return rows


def _values(given: tuple[str, ...], rows: pd.DataFrame) -> dict[str, Any]:
    """``COLUMN=VALUE`` as values of the columns' types."""
    found = {}
    for assigned in given:
        name, value = column_and_word(assigned, "the table", list(rows.columns))
        known = {str(each): each for each in rows[name].dropna().unique()}
        if rows[name].dtype.kind not in "iuf" and value not in known:
            raise Failure(f"--given {name}={value}: no row of the table has this value")
        found[name] = known[value] if value in known else value_of(None, name, value)
    return found


def record_of(made: Synthetic, output: Path) -> dict[str, Any]:
    """The result as a record of JSON."""
    quality = None if made.quality is None else made.quality.to_dict()
    return {"output": str(output), "rows": len(made.rows), "met": made.met, "quality": quality}


def text(made: Synthetic) -> str:
    """The report."""
    found = {"rows": f"{len(made.rows):,}"}
    if made.met < 1:
        found["conditions"] = f"{made.met:.1%} of the rows drawn met them"
    return table(found if made.quality is None else found | _text(made.quality))


def _text(quality: Quality) -> dict[str, str]:
    worst = sorted(quality.shapes, key=lambda name: quality.shapes[name])[:3]
    area, copies = quality.told_apart, quality.copies
    found = {
        "columns": f"{quality.shape:.3f} like the table's, held-out rows {quality.shape_of_real:.3f}; the least: "
        + ", ".join(f"{name} {quality.shapes[name]:.3f}" for name in worst),
        "pairs": f"{quality.trend:.3f} like the table's, held-out rows {quality.trend_of_real:.3f}",
        "told apart": f"{plus_minus(area.value, area.standard_error)} by boosted trees (AUROC; 0.5: not at all), "
        f"a detection score of {quality.detection:.3f}",
    }
    if quality.learning is not None:
        each = quality.learning
        found["teaches"] = (
            f"{each.target} with {each.measure} {each.from_drawn:.3f}, real rows {each.from_real:.3f} (held-out rows)"
        )
    found["copies"] = (
        f"{copies.drawn:.1%} equal a row of the table, of held-out rows {copies.held_out:.1%}; "
        f"{copies.nearer:.0%} ± {copies.nearer_standard_error:.0%} are nearer to one than half of the held-out rows "
        "(50%: no copies)"
    )
    member = copies.membership
    found["membership"] = (
        f"{plus_minus(member.value, member.standard_error)} by log p (AUROC of fitted rows beside others; 0.5: none)"
    )
    return found | {"held out": f"{quality.n_held_out:,} rows"}
