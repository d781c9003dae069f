"""The table that ``impute`` writes: the user's file with filled gaps, a part of its rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from lowerbound.cli.output import Failure
from lowerbound.cli.row_names import ROW
from lowerbound.data.readers.parquet import as_frame
from lowerbound.data.sources import Source
from lowerbound.data.table_code import missing
from lowerbound.imputation.gaussians import derived
from lowerbound.imputation.multiple import fillers, imputed
from lowerbound.outliers.member import chunks, rows_at_once
from lowerbound.storage.results import write_frames

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from lowerbound.data.readers.csv import CsvTable
    from lowerbound.imputation.imputer import VAEImputer
    from lowerbound.storage.spool import Spool

BOOTSTRAPPED = 50_000  # rows of streamed data from which bootstraps are drawn
SEVERAL = "imputation"  # the column with the number of the completed table
SECONDS = "%Y-%m-%d %H:%M:%S"
FORMATS = ("%Y-%m-%d", SECONDS, f"{SECONDS}.%f", f"{SECONDS}.%f~")  # the last with nanoseconds


@dataclass
class WholeTable:
    """A table with all columns of its file, also those that the model doesn't use.

    Attributes
    ----------
    rows : DataFrame, ParquetTable, or array or Source without names
    text : DataFrame or None
        The cells of a .csv as text.
    formats : dict of str
        The formats of dates that are written as text, by column.
    csv : CsvTable or None
        The .csv, which says how its values are written.
    numbered : bool
        Rows without names get a column with their places.
    """

    rows: Any
    text: pd.DataFrame | None = None
    formats: dict[str, str] = field(default_factory=dict)
    csv: CsvTable | None = None
    numbered: bool = False

    @property
    def schema(self) -> pa.Schema | None:
        """The types of the columns, if the file has types."""
        return getattr(self.rows, "file_schema", None)

    def parts(self, n_rows: int) -> Iterator[tuple[pd.DataFrame, pd.DataFrame | None]]:
        """Yield the rows in order, and their cells as text, ``n_rows`` at a time."""
        import pandas as pd

        if hasattr(self.rows, "frames"):
            yield from ((frame, None) for frame in self.rows.frames(n_rows))
            return
        texts = repeat(None) if self.text is None else chunks(self.text, n_rows)
        first = 0
        for part, text in zip(chunks(self.rows, n_rows), texts, strict=False):
            table = part if hasattr(part, "columns") else pd.DataFrame(part, columns=_names(part))
            if self.numbered:
                table.insert(0, ROW, np.arange(first, first := first + len(part)))
            yield table, text

    def formatted(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with the dates of ``formats`` as text."""
        dates = set(frame.select_dtypes(["datetime", "datetimetz"])) & set(self.formats)
        return frame.assign(**{name: as_text(frame[name], self.formats[name]) for name in dates})

    def written(self, values: pd.Series) -> pd.Series:
        """Values of a column as the text of its file."""
        name = str(values.name)
        if self.csv is not None and name in self.csv.writings:
            return self.csv.writings[name].write(values)
        return as_text(values, self.formats[name]) if name in self.formats else values.astype(str)

    def write(self, path: Path, frames: Iterator[pd.DataFrame], *, more: bool) -> None:
        """Write frames one below the other, a .csv as its file is; with ``more`` columns than this has they are named.

        Parameters
        ----------
        path : Path
        frames : iterator of DataFrame
        more : bool
        """
        how = {}
        if self.csv is not None and path.suffix.lower() == ".csv":
            how = {"sep": self.csv.separator, "decimal": self.csv.decimal, "names": more or self.csv.has_header}
        write_frames(path, map(self.formatted, frames), self.schema, **how)


def whole_table(
    source: str, X: Any, *, as_text: bool, writing: Mapping[str, Any] = MappingProxyType({}), id: str | None = None
) -> WholeTable:
    """The whole table of which X has some columns, read from its file; X itself if it has no names of columns.

    Parameters
    ----------
    source : str
        The file.
    X : array, DataFrame or Source
    as_text : bool
        The table is written as text.
    writing : mapping
        Fields of ``Asked``, for a .csv.
    id : str, optional
        The column that names the rows, whose cells are text.
    """
    from lowerbound.data.readers.csv import CsvTable
    from lowerbound.data.readers.read import read
    from lowerbound.data.readers.writing import Asked

    if getattr(X, "columns", None) is None:
        return WholeTable(X)
    if not source.lower().endswith((".csv", ".csv.gz")):
        return WholeTable(X if isinstance(X, Source) else read(source, stream=True, mixed=True).X)
    # nullable types keep whole numbers and truth values where there are gaps
    csv = CsvTable(Path(source), Path(source).name, Asked(**writing))
    as_written = {} if id is None else {id: "str"}
    has_gaps = dict.fromkeys((c for c in csv.columns if c != id), csv.gaps)
    how = {"dtype_backend": "numpy_nullable", "dtype": as_written, "na_values": has_gaps}
    frame = csv.frame(list(X.columns), mixed=True, **how)
    text = csv.parsed(dtype=str, na_values=dict.fromkeys(X.columns, csv.gaps)) if as_text else None
    return WholeTable(frame, text, csv=csv)


class Filling:
    """Rows whose gaps are filled, a part of the rows at a time.

    Parameters
    ----------
    imputer : VAEImputer
    X : array, DataFrame or Source, shape (n, *row)
    n_rows : int
        Rows in a part.
    progress : callable
        Called with the number of rows that were filled.
    """

    def __init__(self, imputer: VAEImputer, X: Any, n_rows: int, progress: Callable[[float], Any]) -> None:
        self.imputer: VAEImputer
        self.n_rows: int
        self.progress: Callable[[float], Any]
        self.imputer, self.X, self.n_rows, self.progress = imputer, X, n_rows, progress
        self.weights: list[tuple[float, int]] = []  # mean effective number of importance samples, number of rows

    @property
    def ess(self) -> float | None:
        """The mean effective number of importance samples of a row; None if nothing was sampled."""
        return sum(e * n for e, n in self.weights) / sum(n for _, n in self.weights) if self.weights else None

    def parts(self) -> Iterator[Any]:
        """Yield the rows with their gaps."""
        return chunks(self.X, self.n_rows)

    def expected(self) -> Iterator[Any]:
        """Yield every part with its gaps filled."""
        for part, rows in enumerate(self.parts()):
            yield self.filled(rows, part)
            self.progress(len(rows))

    def beside(self, whole: WholeTable) -> Iterator[tuple[Any, tuple[pd.DataFrame, pd.DataFrame | None]]]:
        """Yield every part with its gaps, and the same rows of the whole table."""
        for rows, table in zip(self.parts(), whole.parts(self.n_rows), strict=True):
            yield rows, table
            self.progress(len(rows))

    def filled(self, rows: Any, part: int) -> Any:
        """One part with what the imputer's ``fill`` says in the gaps; draws of different parts are independent."""
        if not missing(rows).any():
            return self.imputer.transform(rows)
        if self.imputer.fill == "draw":
            filled = self.imputer.sample_imputations(rows, 1, self.seed_of(part), refit=False)[0]
        else:
            filled = self.imputer.transform(rows)
        ess = getattr(self.imputer, "ess_", None)
        if ess is not None:
            self.weights.append((ess, len(rows)))
        return filled

    def models(self, m: int) -> list[Any]:
        """The models that draw m completed tables: one for each, or one for all."""
        X = self.X.spread(BOOTSTRAPPED).X if isinstance(self.X, Source) else self.X
        return fillers(self.imputer, self.imputer._check(X), m, self.imputer.seed_)

    def seed_of(self, part: int) -> int:
        """The seed of a part, different for each."""
        return self.imputer.seed_ if part == 0 else derived(self.imputer.seed_, part)

    def columns_with_gaps(self) -> np.ndarray:
        """True for columns with gaps, shape (columns,)."""
        return np.any([missing(rows).any(0) for rows in self.parts()], axis=0)


def write_filled(
    path: Path, imputer: VAEImputer, X: Any, source: str, n_imputations: int | None, *, intervals: bool,
    progress: Callable[[float], Any] = lambda n: None, writing: Mapping[str, Any] = MappingProxyType({}),
    id: str | None = None,
) -> float | None:  # fmt: skip
    """Write the filled table or array as it is computed; return the mean effective number of importance samples."""
    from lowerbound.estimators.tables import has_text
    from lowerbound.storage.results import write_parts
    from lowerbound.storage.spool import Spool

    filling = Filling(imputer, X, rows_at_once((n_imputations or 1, *X.shape[1:])), progress)
    if path.suffix.lower() == ".npy":
        if has_text(X):
            raise Failure(f"{path}: columns of several kinds make no array: give a name that ends in .csv or .parquet")
        dtype = X.dtype if isinstance(X, Source) else np.asarray(X).dtype
        dtype = np.dtype(np.float64) if dtype.kind == "O" else dtype  # truth values with gaps beside numbers
        write_parts(path, ((rows.astype(dtype, copy=False), {}) for rows in filling.expected()), [], len(X))
        return filling.ess
    if len(X.shape) > 2:
        raise Failure(f"{path}: images don't go into a table: give a name that ends in .npy")
    whole = whole_table(source, X, as_text=path.suffix.lower() == ".csv", writing=writing, id=id)
    if path.suffix.lower() == ".csv":
        whole.formats = _date_formats(filling, whole)
    if n_imputations is None:
        frames = _with_ends(filling, whole) if intervals else _completed(filling, whole)
        whole.write(path, frames, more=intervals)
        return filling.ess
    whole.numbered = getattr(X, "columns", None) is None
    with Spool(path.parent) as spool:
        whole.write(path, _several(filling, whole, n_imputations, spool), more=True)
    return filling.ess


def _completed(filling: Filling, whole: WholeTable) -> Iterator[pd.DataFrame]:
    """Yield the table with its gaps filled."""
    for part, (rows, table) in enumerate(filling.beside(whole)):
        yield _placed(table, rows, filling.filled(rows, part), whole)


def _with_ends(filling: Filling, whole: WholeTable) -> Iterator[pd.DataFrame]:
    """Yield the completed table with the ends of intervals, in two more columns for each column with gaps."""
    chosen = np.flatnonzero(filling.columns_with_gaps())
    for part, (rows, table) in enumerate(filling.beside(whole)):
        ends = filling.imputer.impute_interval(rows, random_state=filling.seed_of(part))
        completed = _placed(table, rows, filling.filled(rows, part), whole)
        columns = {}
        for j in chosen:
            for which, end in zip(("low", "high"), ends, strict=True):
                columns[f"{_names(rows)[j]}_{which}"] = np.asarray(end)[:, j]
        yield completed.assign(**columns)


def _several(filling: Filling, whole: WholeTable, m: int, spool: Spool) -> Iterator[pd.DataFrame]:
    """Yield completed tables with draws, one below the other: written part by part to a spool, read table by table."""
    places, models = [], filling.models(m)
    for part, (rows, table) in enumerate(filling.beside(whole)):
        drawn = imputed(filling.imputer, filling.imputer._check(rows), models, m, filling.seed_of(part))
        places.append(
            [spool.put(_placed(table, rows, one, whole).assign(**{SEVERAL: i + 1})) for i, one in enumerate(drawn)]
        )
    for of_one in zip(*places, strict=True):
        yield from (as_frame(spool.get(place)) for place in of_one)


def _placed(
    table: tuple[pd.DataFrame, pd.DataFrame | None], X: Any, filled: Any, of: WholeTable
) -> pd.DataFrame:  # fmt: skip
    """The whole table with its gaps filled; other cells of a .csv keep their text."""
    import pandas as pd

    from lowerbound.data.filling import with_values

    whole, text = _dated(table[0], X), table[1]
    parts = {}
    for name, values in zip(_names(X), np.asarray(filled, object).T, strict=True):
        rows = np.flatnonzero(whole[name].isna() & ~pd.isna(values))
        part = with_values(whole[name], rows, values[rows])  # pyright: ignore[reportArgumentType]
        if text is not None:
            cells = text[name].to_numpy(object, copy=True)
            cells[rows] = of.written(part.iloc[rows])
            part = pd.Series(cells, part.index)
        parts[name] = part
    return (whole if text is None else text).assign(**parts)


def _dated(whole: pd.DataFrame, X: Any) -> pd.DataFrame:
    """The whole table with dates that are text in the file as dates."""
    import pandas as pd

    if not hasattr(X, "select_dtypes"):
        return whole
    dates = X.select_dtypes(["datetime", "datetimetz"]).dtypes
    read = {
        name: pd.to_datetime(whole[name], utc=getattr(dtype, "tz", None) is not None) for name, dtype in dates.items()
    }
    return whole.assign(**{name: read[name].astype(dtype) for name, dtype in dates.items()})


def _date_formats(filling: Filling, whole: WholeTable) -> dict[str, str]:
    """The shortest format that fits all dates of each column, so that all parts have the same."""
    finest: dict[str, int] = {}
    for X, (rows, _) in zip(filling.parts(), whole.parts(filling.n_rows), strict=True):
        dates = _dated(rows, X).select_dtypes(["datetime", "datetimetz"])
        if not len(dates.columns):
            return {}
        for name in dates:
            finest[name] = max(finest.get(name, 0), _resolution(dates[name]))
    return {name: FORMATS[place] for name, place in finest.items()}


def _resolution(dates: Any) -> int:
    """The index of the shortest of ``FORMATS`` that fits the dates exactly."""
    clock = dates.dropna().dt.tz_localize(None).to_numpy()
    units = ("D", "s", "us")
    fits = next((i for i, unit in enumerate(units) if (clock.astype(f"datetime64[{unit}]") == clock).all()), 3)
    return max(fits, 1 if dates.dt.tz is not None else 0)


def as_text(dates: Any, how: str) -> pd.Series:
    """Dates in one of ``FORMATS``, with their offsets from universal time if they have a time zone."""
    nanoseconds = dates.dt.nanosecond.map("{:03.0f}".format) if how == FORMATS[-1] else ""
    offsets = dates.dt.strftime("%z").str.replace(r"(\d\d)$", r":\1", regex=True) if dates.dt.tz is not None else ""
    return dates.dt.strftime(how.removesuffix("~")) + nanoseconds + offsets


def _names(X: Any) -> list[str]:
    """The names of the columns, in their order."""
    return list(X.columns) if hasattr(X, "columns") else [f"x{i}" for i in range(X.shape[1])]
