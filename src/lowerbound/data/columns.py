"""Tables whose columns are of several kinds: what each column is, and the way between a frame and the model's numbers.

What is understood of a column is a `ColumnSchema`, which is saved as JSON with the model and can be edited: kinds are
"continuous", "positive" (continuous after a logarithm), "count", "binary", "categorical", "ordinal" and "date".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowerbound.data.dataset import DataError, listed

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("continuous", "positive", "count", "binary", "categorical", "ordinal", "date")
LEVEL_KINDS = ("binary", "categorical", "ordinal")
MOST_LEVELS = 256  # with a probability of their own
ROWS_A_LEVEL = 20  # at least, for numbers to be described as levels
FEWEST = 3  # rows of a category with a probability of its own
MASS_SHARE = 0.1  # of one value among real ones, from which on it is a point mass
WIDEST_COUNT = 10**5  # float32 tells whole numbers in such a range apart
SKEWED, HEAVY = 1.0, 1.0  # skewness and excess kurtosis above which there is a logarithm, and Student's t
DAY = np.timedelta64(1, "D") / np.timedelta64(1, "ns")


@dataclass(frozen=True)
class ColumnSchema:
    """What a column is.

    Attributes
    ----------
    name, kind, dtype : str
        ``dtype`` is the user's.
    levels : tuple
        Of binary, categorical and ordinal columns; in order, or the common ones first.
    n_common : int
        Levels with a probability of their own; the others share one.
    frequencies : tuple of float
        Of the common levels and, last, of the rare together.
    location, unit : float
        Numbers enter the model as (g(v) − location)/unit, dates as days since 1970.
    log : bool
        g is log(v + shift), else the identity.
    heavy_tails : bool
        Student's t instead of the normal density.
    mass, mass_share : float or None
        A real value that is taken with a probability of its own, and how often.
    low, high : float
        The range of the values seen, to which draws are confined.
    decimals : int or None
        To which draws are rounded.
    """

    name: str
    kind: str
    dtype: str
    levels: tuple = ()
    n_common: int = 0
    frequencies: tuple[float, ...] = ()
    location: float = 0.0
    unit: float = 1.0
    log: bool = False
    shift: float = 0.0
    heavy_tails: bool = False
    mass: float | None = None
    mass_share: float = 0.0
    low: float | None = None
    high: float | None = None
    decimals: int | None = None

    @property
    def has_levels(self) -> bool:
        """It is described by probabilities of levels."""
        return self.kind in LEVEL_KINDS

    @property
    def n_rare(self) -> int:
        """Levels that share one probability."""
        return len(self.levels) - self.n_common

    @property
    def are_numbers(self) -> bool:
        """The levels are numbers in order, so that they have a mean."""
        return self.kind in ("binary", "ordinal") and all(_is_number(level) for level in self.levels)

    def describe(self) -> str:
        """In a few words."""
        if self.has_levels:
            rare = f", {self.n_rare} of them rare" if self.n_rare else ""
            return f"{self.kind}, {len(self.levels)} level{'s' * (len(self.levels) != 1)}{rare}"
        notes = ["logarithmic"] * (self.log and self.kind != "positive") + ["heavy tails"] * self.heavy_tails
        notes += [f"{self.mass_share:.0%} are {self.mass:g}"] if self.mass is not None else []
        return ", ".join([self.kind, *notes])


def _is_number(level: Any) -> bool:
    return isinstance(level, (int, float)) and not isinstance(level, bool) and np.isfinite(level)


# what columns are


def infer_columns(frame: pd.DataFrame, asked: Any = None) -> tuple[ColumnSchema, ...]:
    """Look at every column once.

    Parameters
    ----------
    frame : pd.DataFrame
    asked : mapping, sequence or str, optional
        What the user says of columns: kinds or fields by name, a sequence of ``ColumnSchema``, or the name of a JSON
        file with either.

    Raises
    ------
    ValueError
        If what is asked names no column, or doesn't fit it.
    """
    told = _told(asked)
    unknown = [name for name in told if name not in map(str, frame.columns)]
    if unknown:
        raise ValueError(f"columns names {unknown[0]!r}, but the table has: {listed(list(map(str, frame.columns)))}")
    return tuple(_infer(str(name), frame[name], told.get(str(name), {})) for name in frame.columns)


def _told(asked: Any) -> dict[str, dict]:
    if isinstance(asked, (str, Path)):
        try:
            asked = json.loads(Path(asked).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{asked} is no JSON file that describes columns ({error}).") from error
        asked = asked.get("columns", asked) if isinstance(asked, dict) else asked  # as ``data check --json`` says it
    if asked is None:
        return {}
    if not isinstance(asked, Mapping):
        asked = {(c.name if isinstance(c, ColumnSchema) else c["name"]): c for c in asked}
    known = {field.name for field in fields(ColumnSchema)}
    told = {}
    for name, what in asked.items():
        record = {"kind": what} if isinstance(what, str) else asdict(what) if isinstance(what, ColumnSchema) else what
        wrong = [key for key in record if key not in (*known, "description", "missing", "distinct")]
        if wrong:
            raise ValueError(f"column {name!r} has no {wrong[0]!r}: it has {', '.join(sorted(known))}")
        if "kind" in record and record["kind"] not in KINDS:
            raise ValueError(f"column {name!r} can't be {record['kind']!r}: kinds are {', '.join(KINDS)}")
        told[str(name)] = dict(record)
    return told


def _infer(name: str, column: Any, told: dict) -> ColumnSchema:
    import pandas as pd

    seen = column.dropna()
    kind, dtype = told.get("kind"), str(column.dtype)
    if pd.api.types.is_datetime64_any_dtype(column.dtype) and kind in (None, "date"):
        return _numbers(name, "date", dtype, days(seen), told)
    is_text = not pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype)
    if is_text:
        if kind not in (None, *LEVEL_KINDS):
            raise ValueError(f"column {name!r} holds {dtype} values, which can't be {kind!r}: use 'categorical'")
        return _text_levels(name, dtype, column, seen, told)
    v = seen.to_numpy(np.float64)
    if np.isinf(v).any():
        raise DataError(f"column {name!r} has infinite values; replace them or drop the rows.")
    kind = kind or _kind_of_numbers(v)
    if kind in LEVEL_KINDS:
        levels, counts = np.unique(v, return_counts=True)
        return _levels(name, kind, dtype, [plain(level) for level in levels], counts, told)
    return _numbers(name, kind, dtype, v, told)


def _text_levels(name: str, dtype: str, column: Any, seen: Any, told: dict) -> ColumnSchema:
    counted = seen.value_counts()
    ordered = getattr(getattr(column, "cat", None), "ordered", False)
    levels = [plain(level) for level in counted.index]
    if told.get("levels"):
        levels = [plain(level) for level in told["levels"]]
    elif ordered:
        levels = [plain(level) for level in column.cat.categories]
    counts = np.array([int(counted.get(level, 0)) for level in levels], np.int64)
    if not ordered and not told.get("levels"):  # the most common first, ties in alphabetic order
        order = sorted(range(len(levels)), key=lambda i: (-counts[i], str(levels[i])))
        levels, counts = [levels[i] for i in order], counts[order]
    kind = told.get("kind") or ("ordinal" if ordered else "binary" if len(levels) <= 2 else "categorical")
    return _levels(name, kind, dtype, levels, counts, told)


def _levels(name: str, kind: str, dtype: str, levels: list, counts: np.ndarray, told: dict) -> ColumnSchema:
    """Common levels first where some are rare; each common one has a probability of its own."""
    if not levels:
        levels, counts = [None], np.ones(1, np.int64)  # nothing was ever observed
    n_common = len(levels)
    if kind == "categorical":
        order = np.argsort(-counts, kind="stable")
        levels, counts = [levels[i] for i in order], counts[order]
        n_common = min(int((counts >= FEWEST).sum()), MOST_LEVELS - 1)
        n_common = n_common if len(levels) - n_common > 1 else len(levels)
    elif len(levels) > MOST_LEVELS:
        raise ValueError(f"column {name!r} has {len(levels):,} levels; at most {MOST_LEVELS} can be in order")
    mass = [*counts[:n_common], *([counts[n_common:].sum()] if n_common < len(levels) else [])]
    frequencies = tuple((np.array(mass) + 0.5) / (counts.sum() + 0.5 * len(mass)))
    return ColumnSchema(name, kind, dtype, tuple(levels), n_common, tuple(map(float, frequencies)))


def _kind_of_numbers(v: np.ndarray) -> str:
    levels = np.unique(v)
    if len(levels) <= 2:
        return "binary"
    whole = (v == np.round(v)).all()
    if len(levels) <= (MOST_LEVELS if whole else 32) and len(v) >= ROWS_A_LEVEL * len(levels):
        return "ordinal"
    if whole and levels[-1] - levels[0] <= WIDEST_COUNT and np.abs(levels).max() <= 10 * WIDEST_COUNT:
        return "count"
    _, rest, _ = _without_mass(v)
    return "positive" if rest.min() > 0 and _skewness(rest) > max(SKEWED, _skewness(np.log(rest))) else "continuous"


def _numbers(name: str, kind: str, dtype: str, v: np.ndarray, told: dict) -> ColumnSchema:
    if not len(v):
        return _levels(name, "ordinal", dtype, [], np.zeros(0, np.int64), told)
    mass, rest, share = _without_mass(v) if kind in ("continuous", "positive") else (None, v, 0.0)
    if "mass" in told:
        mass = told["mass"]
        rest, share = (v, 0.0) if mass is None else (v[v != mass], float((v == mass).mean()))
    if not len(rest):
        return _levels(name, "ordinal", dtype, [plain(v[0])], np.array([len(v)]), told)
    if kind == "positive" and rest.min() <= 0:
        raise ValueError(f"column {name!r} can't be 'positive': it goes down to {rest.min():g}")
    if kind == "count" and (v != np.round(v)).any():
        raise ValueError(f"column {name!r} can't be 'count': it has fractions")
    shift = 1.0 if kind == "count" else 0.0
    skewed_counts = kind == "count" and v.min() >= 0 and _skewness(v) > max(SKEWED, _skewness(np.log1p(v)))
    log = bool(told.get("log", kind == "positive" or skewed_counts))
    g = np.log(rest + shift) if log else rest
    location, unit = float(g.mean()), float(g.std())
    unit = unit if unit > 1e-12 * max(abs(location), 1e-300) else 1.0
    heavy = bool(told.get("heavy_tails", kind != "count" and _kurtosis(g) > HEAVY))
    return ColumnSchema(
        name, kind, dtype, location=location, unit=unit, log=log, shift=shift, heavy_tails=heavy,
        mass=None if mass is None else float(mass), mass_share=share, low=float(v.min()), high=float(v.max()),
        decimals=_decimals(v),
    )  # fmt: skip


def _without_mass(v: np.ndarray) -> tuple[float | None, np.ndarray, float]:
    """The value that stands out, the others, and how often it is taken."""
    values, counts = np.unique(v, return_counts=True)
    most = counts.argmax()
    share = float(counts[most] / len(v))
    others = np.delete(counts, most)
    if share < MASS_SHARE or counts[most] < FEWEST or (len(others) and counts[most] < 3 * others.max()):
        return None, v, 0.0
    return float(values[most]), v[v != values[most]], share


def _decimals(v: np.ndarray) -> int | None:
    """The fewest that all values can be written with, up to 6."""
    return next((d for d in range(7) if np.allclose(np.round(v, d), v, rtol=1e-12, atol=0)), None)


def _skewness(v: np.ndarray) -> float:
    return float((((v - v.mean()) / (v.std() or 1.0)) ** 3).mean())


def _kurtosis(v: np.ndarray) -> float:
    return float((((v - v.mean()) / (v.std() or 1.0)) ** 4).mean() - 3)


def plain(level: Any) -> Any:
    """As JSON can hold it; whole numbers as such."""
    level = level.item() if isinstance(level, np.generic) else level
    return level if isinstance(level, (str, bool, int, float, type(None))) else str(level)


def days(column: Any) -> np.ndarray:
    """Days since 1970, in universal time."""
    import pandas as pd

    stamps = pd.to_datetime(column, utc=True).dt.tz_localize(None)
    return stamps.to_numpy().astype("datetime64[ns]").astype(np.int64) / DAY


def from_record(record: dict) -> ColumnSchema:
    """The inverse of ``asdict``, as JSON gives it back."""
    known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
    return ColumnSchema(**known)
