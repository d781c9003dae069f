"""Files of sequences that commands write: arrays with lengths, and tables with a row for each step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lowerbound.cli.output import Console

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

ENDINGS = {"rows": (".png", ".npy", ".csv", ".parquet"), "sequences": (".png", ".npz", ".csv", ".parquet")}
SEQUENCE, STEP = "sequence", "step"  # columns of a table of steps


def check_ending(path: Path, kind: str) -> None:
    """Refuse a file whose ending gives no format for results of this kind."""
    *first, last = ENDINGS[kind]
    if path.suffix.lower() not in ENDINGS[kind]:
        raise click.UsageError(f"{path} must end in {', '.join(first)} or {last}, which gives the format")


def write_sequences(path: Path, each: Sequence[np.ndarray], names: Sequence[str], bits: int | None = None) -> None:
    """Write one array (T, F) for each sequence to a file.

    Parameters
    ----------
    path : Path
        Ends in ``.npz``, which gets ``x`` (ΣT, F) and ``x_len``; or in ``.csv`` or ``.parquet``, with the columns
        ``sequence`` and ``step`` (from 0).
    each : sequence of ndarray
    names : sequence of str
        Names of the columns.
    bits : int, optional
        The steps of an ``.npz`` are packed as were those of the data.
    """
    import numpy as np

    from lowerbound.storage.atomic import write_atomically
    from lowerbound.storage.results import write_frames

    lengths = [len(x) for x in each]
    if path.suffix.lower() == ".npz":
        steps = np.concatenate(each)
        steps = steps if bits is None else np.packbits(steps.astype(np.uint8), axis=1)
        lengths = np.array(lengths)
        return write_atomically(path, lambda temporary: np.savez_compressed(temporary, x=steps, x_len=lengths))
    write_frames(path, [table_of(each, names)])


def table_of(each: Sequence[Any], names: Sequence[str]) -> pd.DataFrame:
    """A table with a row for each step, behind the columns ``sequence`` and ``step``."""
    import numpy as np
    import pandas as pd

    lengths = [len(x) for x in each]
    table = pd.concat([pd.DataFrame(x, columns=list(names)) for x in each], ignore_index=True)
    table.insert(0, SEQUENCE, np.repeat(np.arange(len(each)), lengths))
    table.insert(1, STEP, np.concatenate([np.arange(length) for length in lengths]))
    return table


def done(console: Console, path: Path, lengths: Sequence[int], unit: str = "steps") -> None:
    """Report the file that was written."""
    if console.as_json:
        console.result({"output": str(path), "sequences": len(lengths), unit: sum(lengths)}, "")
    else:
        console.say(f"wrote {path} ({len(lengths):,} sequences, {sum(lengths):,} {unit})")
