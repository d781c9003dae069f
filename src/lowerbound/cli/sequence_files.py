"""Files of sequences that commands write: arrays with lengths, and tables with a row for each step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lowerbound.cli.output import Console, Failure

if TYPE_CHECKING:
    import pandas as pd

TABLES = (".csv", ".parquet")
OF_ROWS, OF_SEQUENCES = (".png", ".npy", *TABLES), (".png", ".npz", *TABLES)
OF_TEXTS, OF_CODES = (".txt", ".jsonl", *TABLES), (".npy", *TABLES)
SEQUENCE, STEP = "sequence", "step"  # columns of a table of steps


def check_ending(path: Path, endings: Sequence[str]) -> None:
    """Refuse a file whose ending gives no format."""
    *first, last = endings
    if path.suffix.lower() not in endings:
        raise click.UsageError(f"{path} must end in {', '.join(first)} or {last}, which gives the format")


def write_sequences(
    path: Path, each: Sequence[Any], names: Sequence[str], bits: int | None = None, ids: Any = None, id: str = SEQUENCE
) -> None:
    """Write one array (T, F) for each sequence to a file.

    Parameters
    ----------
    path : Path
        Ends in ``.npz``, which gets ``x`` (ΣT, F) and ``x_len``; or in ``.csv`` or ``.parquet``, with the columns
        ``sequence`` and ``step``, as in ``table_of``.
    each : sequence of array or DataFrame
    names : sequence of str
        Names of the columns.
    bits : int, optional
        The steps of an ``.npz`` are packed as were those of the data.
    ids, id : array, str
        As in ``table_of``.
    """
    import numpy as np
    from pandas.api.types import is_numeric_dtype

    from lowerbound.storage.atomic import write_atomically
    from lowerbound.storage.results import write_frames

    lengths = [len(x) for x in each]
    if path.suffix.lower() == ".npz":
        if hasattr(each[0], "columns") and not all(map(is_numeric_dtype, each[0].dtypes)):
            raise Failure(f"{path}: columns of several kinds make no array: give a name that ends in .csv or .parquet")
        steps = np.concatenate(each)
        steps = steps if bits is None else np.packbits(steps.astype(np.uint8), axis=1)
        lengths = np.array(lengths)
        return write_atomically(path, lambda temporary: np.savez_compressed(temporary, x=steps, x_len=lengths))
    write_frames(path, [table_of(each, names, ids, id)])


def table_of(each: Sequence[Any], names: Sequence[str], ids: Any = None, id: str = SEQUENCE) -> pd.DataFrame:
    """A table with a row for each step, behind a column that says of which sequence and one that says when.

    Parameters
    ----------
    each : sequence of array or DataFrame, shape (T, F) each
        The index of frames, if it has a name, says when; else steps are counted from 0.
    names : sequence of str
        Names of the columns.
    ids : array, optional
        Names of the sequences, which are counted from 0 without.
    id : str
        The name of their column.
    """
    import numpy as np
    import pandas as pd

    lengths = [len(x) for x in each]
    table = pd.concat([pd.DataFrame(x, columns=list(names)) for x in each])
    time = table.index.name
    when = table.index if time is not None else np.concatenate([np.arange(length) for length in lengths])
    table = table.reset_index(drop=True)
    table.insert(0, id, np.repeat(np.arange(len(each)) if ids is None else ids, lengths))
    table.insert(1, STEP if time is None else time, when)
    return table


def done(console: Console, path: Path, lengths: Sequence[int], unit: str = "steps") -> None:
    """Report the file that was written."""
    if console.as_json:
        console.result({"output": str(path), "sequences": len(lengths), unit: sum(lengths)}, "")
    else:
        console.say(f"wrote {path} ({len(lengths):,} sequences, {sum(lengths):,} {unit})")
