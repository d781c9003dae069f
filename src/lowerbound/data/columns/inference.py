"""The kinds and scales of a table's columns, found from all rows block by block: the same in memory and from files.

A first pass counts values; a second, over real numbers and counts alone, takes the moments that determine their scale.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lowerbound.data.checks import DataError, listed
from lowerbound.data.columns.counts import Moments, Tally
from lowerbound.data.columns.decimals import FINEST, as_stored, fewest_decimals, grid, written_with
from lowerbound.data.columns.schema import CATEGORY_KINDS, ColumnSchema, columns_given, plain
from lowerbound.data.columns.tails import never_seen
from lowerbound.data.columns.values import as_numbers, measure_of, type_word
from lowerbound.data.gaps import nan_in_gaps
from lowerbound.data.sources import Source
from lowerbound.data.statistics import BLOCK_VALUES
from lowerbound.storage.records import shown

if TYPE_CHECKING:
    import pandas as pd

MOST_CATEGORIES = 256  # with a probability of their own
MOST_DISTINCT = 2**18  # categories of a column; more are taken for names of rows
MOST_COUNTED = 2**14  # numbers; atoms are far more frequent than the others
MOST_ATOMS = 255
FEW_OTHERS, PART_OF_OTHERS = 20, 0.05  # numbers beside the atoms that have no scale of their own
LEAST_SHARE = 0.02  # of all atoms together
MOST_VALUES = 32  # of numbers with fractions that are described as categories
ROWS_A_CATEGORY = 20  # at least, for numbers to be described as categories
ROWS_BESIDE_FIRST = 5  # a category besides the most frequent one, where that stands out
FEWEST = 3  # rows of a category with a probability of its own
SHARE, TIMES = 0.1, 3  # a value with such a share, and so many times as often as any other, stands out
WIDEST_COUNT = 10**5  # float32 tells whole numbers in such a range apart
SKEWED, HEAVY = 1.0, 1.0  # skewness and excess kurtosis above which a logarithm, and Student's t, are used
LOPSIDED, FLAT = 0.5, -0.5  # skewness above which, and excess kurtosis below which, a mixture is used
OF_NUMBERS = ("log", "heavy_tails", "n_components", "atoms", "quantiles")  # what can be asked of these alone
COMPONENTS, ROWS_A_COMPONENT = 5, 100  # of such a mixture at most, and the least rows of each
BLOCK_ROWS = 2**16


def infer_columns(X: Any, asked: Any = None) -> tuple[ColumnSchema, ...]:
    """Infer the schema of every column.

    Parameters
    ----------
    X : DataFrame, array or Source, shape (n, columns)
    asked : mapping, sequence or str, optional
        The user's description of columns: kinds or fields by name, a sequence of ``ColumnSchema``, or the name of a
        JSON file with either.

    Raises
    ------
    ValueError
        If ``asked`` names an unknown column, or doesn't fit its values.
    """
    return tuple(summary.schema() for summary in summarize_columns(X, asked))


def summarize_columns(X: Any, asked: Any = None) -> list[ColumnSummary]:
    """Count and measure the values of every column."""
    given, summaries = columns_given(asked), []
    for frame in _frames(X):
        summaries = summaries or _summaries(frame, given)
        for j, summary in enumerate(summaries):
            summary.count(frame.iloc[:, j].dropna())
    real = [j for j, summary in enumerate(summaries) if isinstance(summary, Numbers) and summary.needs_moments()]
    if real:
        for frame in _frames(X, real):
            for i, j in enumerate(real):
                summaries[j].measure(frame.iloc[:, i].dropna())
    return summaries


def framed(X: Any) -> pd.DataFrame:
    """A frame itself; an array as a frame with columns x0, x1, …"""
    import pandas as pd

    if hasattr(X, "dtypes") and hasattr(X, "columns"):
        return X
    X = np.asarray(nan_in_gaps(X))
    if X.ndim != 2:
        raise ValueError(f"columns are for tables (rows, columns), and X has shape {X.shape}")
    return pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])])


def _frames(X: Any, chosen: list[int] | None = None) -> Iterator[pd.DataFrame]:
    """Yield blocks of rows, whose size depends on the number of columns alone; with ``chosen``, some columns only."""
    n_rows = max(1, min(BLOCK_ROWS, BLOCK_VALUES // max(1, X.shape[1])))
    if isinstance(X, Source):
        if chosen is not None and X.columns is not None:
            X, chosen = X.select([X.columns[j] for j in chosen]), None
        parts = (framed(block.X) for block in X.blocks(n_rows))
    else:
        whole = framed(X)
        parts = (whole.iloc[i : i + n_rows] for i in range(0, max(1, len(whole)), n_rows))  # one part if X is empty
    yield from parts if chosen is None else (part.iloc[:, chosen] for part in parts)


def _summaries(frame: pd.DataFrame, given: dict[str, dict[str, Any]]) -> list[ColumnSummary]:
    names = list(map(str, frame.columns))
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ValueError(f"columns names {shown(unknown[0])}, but the table has: {listed(names)}")
    return [_summary(name, frame.iloc[:, j], given.get(name, {})) for j, name in enumerate(names)]


def _summary(name: str, column: Any, given: dict[str, Any]) -> ColumnSummary:
    kind, word = given.get("kind"), type_word(column)
    measure = measure_of(word)
    if measure == "date" and kind in (None, "date"):
        return Numbers(name, word, given, are_dates=True)
    if measure not in ("date", "category"):
        return Numbers(name, word, given)
    if kind not in (None, *CATEGORY_KINDS):
        raise ValueError(f"column {name!r} holds {column.dtype} values, which can't be {kind!r}: use 'categorical'")
    return Words(name, word, given)


class ColumnSummary(ABC):
    """The observed values of a column in summary.

    Attributes
    ----------
    n : int
        Values that aren't missing.
    """

    def __init__(self, name: str, dtype: str, given: dict[str, Any]) -> None:
        self.name: str
        self.dtype: str
        self.given: dict[str, Any]
        self.n: int
        self.name, self.dtype, self.given, self.n = name, dtype, given, 0

    @abstractmethod
    def count(self, seen: Any) -> None:
        """Count the values of more rows, without missing ones."""

    @abstractmethod
    def measure(self, seen: Any) -> None:
        """Add the same values in the second pass, if ``needs_moments``."""

    @property
    @abstractmethod
    def n_distinct(self) -> int | None:
        """Different values; None if there are too many to be counted."""

    @abstractmethod
    def schema(self) -> ColumnSchema:
        """The schema of the column."""

    def _categories(self, kind: str, categories: list[Any], counts: np.ndarray) -> ColumnSchema:
        """A schema of categories: common ones, each with its own probability, then rare ones, if there are any.

        Values that are in no category, where the user names these, are as if never seen.
        """
        asked = {field: self.given.get(field) for field in OF_NUMBERS}
        of_numbers = [field for field, value in asked.items() if value is True or (value and value != 1)]
        if of_numbers and self.given.get("kind") in (None, *CATEGORY_KINDS):
            raise ValueError(
                f"column {self.name!r} is {kind}, and {of_numbers[0]} is of real numbers: "
                f"leave it out, or say kind='continuous'"
            )
        unseen = never_seen(int((counts == 1).sum()) + self.n - int(counts.sum()), self.n) if self.n else 0.0
        if not categories:
            categories, counts = [None], np.ones(1, np.int64)  # nothing was ever observed
        n_common = len(categories)
        if kind == "categorical":
            order = np.argsort(-counts, kind="stable")
            categories, counts = [categories[i] for i in order], counts[order]
            n_common = min(int((counts >= FEWEST).sum()), MOST_CATEGORIES - 1)
            n_common = n_common if len(categories) - n_common > 1 else len(categories)
        elif len(categories) > MOST_CATEGORIES:
            raise ValueError(
                f"column {self.name!r} has {len(categories):,} categories; at most {MOST_CATEGORIES} can be in order"
            )
        mass = [*counts[:n_common], *([counts[n_common:].sum()] if n_common < len(categories) else [])]
        frequencies = tuple((np.array(mass) + 0.5) / (counts.sum() + 0.5 * len(mass)))
        return ColumnSchema(
            self.name, kind, self.dtype, tuple(categories), n_common, tuple(map(float, frequencies)),
            unseen=unseen,
        )  # fmt: skip

    def _check_distinct(self, n: int) -> None:
        if n > MOST_DISTINCT:
            raise DataError(
                f"column {self.name!r} has more than {MOST_DISTINCT:,} different values, which are no categories; "
                f"leave it out with drop."
            )


class Words(ColumnSummary):
    """Text, categories and truth values."""

    def __init__(self, name: str, dtype: str, given: dict[str, Any]) -> None:
        super().__init__(name, dtype, given)
        self.n: int
        self.counts: Counter[Any] = Counter()
        self.is_ordered: bool = False

    def count(self, seen: Any) -> None:
        """Count each category."""
        self.n += len(seen)
        self.is_ordered = bool(getattr(getattr(seen, "cat", None), "ordered", False))
        for category, count in seen.value_counts(sort=False).items():  # all categories, in their order
            self.counts[plain(category)] += int(count)
        self._check_distinct(len(self.counts))

    def measure(self, seen: Any) -> None:
        """Do nothing: counts are enough."""

    @property
    def n_distinct(self) -> int:
        """Different values."""
        return sum(count > 0 for count in self.counts.values())

    def schema(self) -> ColumnSchema:
        """Categories, the most frequent first and ties by name, unless they are ordered."""
        categories = [plain(category) for category in self.given.get("categories") or self.counts]
        if not self.is_ordered and not self.given.get("categories"):
            categories = sorted(categories, key=lambda category: (-self.counts[category], str(category)))
        named = "ordinal" if self.is_ordered else "binary" if len(categories) <= 2 else "categorical"
        counts = np.array([self.counts.get(category, 0) for category in categories], np.int64)
        return self._categories(self.given.get("kind") or named, categories, counts)


class Numbers(ColumnSummary):
    """Numbers, and dates as days since 1970."""

    def __init__(self, name: str, dtype: str, given: dict[str, Any], *, are_dates: bool = False) -> None:
        super().__init__(name, dtype, given)
        self.n: int
        self.are_dates: bool = are_dates
        self.low: float
        self.high: float
        self.low, self.high = math.inf, -math.inf
        self.is_whole: bool = True
        self.n_written: np.ndarray = np.zeros(FINEST + 1, np.int64)  # by ``written_with``
        self.tally: Tally = Tally.empty(MOST_DISTINCT if given.get("kind") in CATEGORY_KINDS else MOST_COUNTED)
        self.moments: Moments
        self.log_moments: Moments
        self.moments, self.log_moments = Moments(), Moments()
        self.atoms: np.ndarray
        self.n_at_atoms: np.ndarray

    def count(self, seen: Any) -> None:
        """Count each value, and update the range, signs, fractions and decimals."""
        v = self._values(seen)
        if np.isinf(v).any():
            raise DataError(f"column {self.name!r} has infinite values; replace them or drop the rows.")
        if not len(v):
            return
        self.n += len(v)
        self.low, self.high = min(self.low, float(v.min())), max(self.high, float(v.max()))
        self.is_whole = self.is_whole and bool((v == np.round(v)).all())
        self.n_written += written_with(v, self.dtype)
        self.tally.add(v)
        if self.given.get("kind") in CATEGORY_KINDS and not self.tally.is_complete:
            self._check_distinct(MOST_DISTINCT + 1)

    def _values(self, seen: Any) -> np.ndarray:
        v = as_numbers(seen, self.dtype)
        return v[~np.isnan(v)]  # of types that know missing values as well as NaN

    @property
    def n_distinct(self) -> int | None:
        """Different values; None if there are too many to be counted."""
        return len(self.tally.values) if self.tally.is_complete else None

    @property
    def decimals(self) -> int | None:
        """The fewest that nearly all are written with, None if these are more than 6."""
        return fewest_decimals(self.n_written, self.n)

    def needs_moments(self) -> bool:
        """True if the kind or scale of the column needs moments as well as counts."""
        self.atoms = self._atoms()
        self.kind: str = self._kind()
        self.shift: float = 1.0 if self.kind == "count" else 0.0
        self.scale: float = 2.0 ** math.floor(math.log2(max(abs(self.low), abs(self.high), 1e-300))) if self.n else 1.0
        if self.kind not in ("real", "continuous", "positive"):
            if self.given.get("atoms"):
                raise ValueError(f"column {self.name!r} can't have atoms: it is {self.kind!r}, not 'continuous'")
            self.atoms = np.zeros(0)
        n_others = self.n - int(self.tally.counts[np.isin(self.tally.values, self.atoms)].sum())
        self.others_have_scale: bool = n_others >= max(FEW_OTHERS, PART_OF_OTHERS * self.n) or len(self.atoms) < 2
        self.n_at_atoms = np.zeros(len(self.atoms), np.int64)
        return self.kind not in CATEGORY_KINDS and self.n > 0

    def _kind(self) -> str:
        """The kind as far as counts tell; "real" numbers may be continuous or positive."""
        if self.given.get("kind") or self.are_dates:
            return self.given.get("kind") or "date"
        n_categories = math.inf if self.n_distinct is None else self.n_distinct
        if n_categories <= 2:
            return "binary"
        enough = self.n >= ROWS_A_CATEGORY * n_categories
        if self._first_stands_out():
            enough = enough and self.n - self.tally.counts.max() >= ROWS_BESIDE_FIRST * (n_categories - 1)
        is_whole = self.decimals == 0
        if enough and n_categories <= (MOST_CATEGORIES if is_whole else MOST_VALUES):
            return "ordinal"
        if len(self.atoms) == n_categories:
            return "ordinal"
        is_narrow = self.high - self.low <= WIDEST_COUNT and max(abs(self.low), abs(self.high)) <= 10 * WIDEST_COUNT
        return "count" if self.is_whole and is_narrow and not len(self.atoms) else "real"

    def _atoms(self) -> np.ndarray:
        """The values that stand out, rising; the most frequent if there are too many."""
        if "atoms" in self.given:
            return as_stored(np.array(self.given["atoms"], np.float64), self.dtype)
        values, counts = self.tally.values, self.tally.counts
        stand = self.tally.standing_out(self.n, grid(self.tally.values, self.decimals))
        if self._first_stands_out():
            stand[counts.argmax()] = True
        if not stand.any() or counts[stand].sum() < LEAST_SHARE * self.n:
            return np.zeros(0)
        most = np.argsort(-counts[stand], kind="stable")[:MOST_ATOMS]
        return np.sort(values[stand][most])

    def _first_stands_out(self) -> bool:
        """True if the most frequent value makes up a good part of all, and is far more frequent than any other."""
        return self.tally.first_stands_out(max(SHARE * self.n, FEWEST), TIMES)

    def measure(self, seen: Any) -> None:
        """Add the moments of all values but the atoms; of all where nearly all are atoms."""
        v = self._values(seen)
        at_atom = np.isin(v, self.atoms)
        self.n_at_atoms += np.bincount(np.searchsorted(self.atoms, v[at_atom]), minlength=len(self.atoms))
        rest = v[~at_atom] if self.others_have_scale else v
        self.moments += Moments.of(rest / self.scale)  # by a power of two, which is exact: fourth powers stay finite
        if len(rest) and self.moments.low * self.scale + self.shift > 0:
            self.log_moments += Moments.of(np.log(rest + self.shift))

    def schema(self) -> ColumnSchema:
        """Categories, or numbers and their scale."""
        rest = self.moments
        if self.kind in CATEGORY_KINDS:
            return self._categories(self.kind, [plain(category) for category in self.tally.values], self.tally.counts)
        if not rest.n:
            categories = [plain(np.float64(self.low))] if self.n else []
            return self._categories("ordinal", categories, np.array([self.n] * len(categories), np.int64))
        low, is_skewed = rest.low * self.scale, self._is_skewed()
        by_scores = bool(self.given.get("quantiles"))
        is_positive = low > 0 and is_skewed and not by_scores
        kind = ("positive" if is_positive else "continuous") if self.kind == "real" else self.kind
        if by_scores and kind == "count":
            raise ValueError(f"column {self.name!r} is one of counts, which can't have normal scores")
        if kind == "positive" and low <= 0:
            raise ValueError(f"column {self.name!r} can't be 'positive': it goes down to {low:g}")
        if kind == "count" and not self.is_whole:
            raise ValueError(f"column {self.name!r} can't be 'count': it has fractions")
        skewed_counts = kind == "count" and self.low >= 0 and is_skewed
        log = bool(self.given.get("log", (kind == "positive" or skewed_counts) and not by_scores))
        if log and self.log_moments.n < rest.n:
            raise ValueError(f"column {self.name!r} can't have a logarithm: it goes down to {low:g}")
        g, scale = (self.log_moments, 1.0) if log else (rest, self.scale)
        location, unit = g.mean * scale, g.spread * scale
        location, unit = (0.0, 1.0) if by_scores else (location, unit)
        unit = unit if unit > 1e-12 * max(abs(location), 1e-300) else 1.0
        heavy = bool(self.given.get("heavy_tails", kind != "count" and g.kurtosis > HEAVY and not by_scores))
        several = kind != "count" and not by_scores and (abs(g.skewness) > LOPSIDED or g.kurtosis < FLAT)
        enough = max(1, min(COMPONENTS, rest.n // ROWS_A_COMPONENT))
        n_components = self.given.get("n_components", enough if several else 1)
        if n_components not in range(1, 2 if kind == "count" else MOST_CATEGORIES + 1):
            allowed = "a count has 1" if kind == "count" else f"1 to {MOST_CATEGORIES}"
            raise ValueError(f"column {self.name!r} can't have n_components={n_components!r}: {allowed}")
        return ColumnSchema(
            self.name, kind, self.dtype, location=location, unit=unit, log=log, shift=self.shift, heavy_tails=heavy,
            n_components=n_components, quantiles=tuple(self.given.get("quantiles", ())),
            scores=tuple(self.given.get("scores", ())),
            atoms=tuple(self.atoms.tolist()), atom_shares=tuple((self.n_at_atoms / self.n).tolist()),
            low=self.low, high=self.high, decimals=self.decimals, unseen=never_seen(0, self.n) if log else 0.0,
        )  # fmt: skip

    def _is_skewed(self) -> bool:
        """True if all values but 0 have a logarithm and are less skewed after it."""
        all_have_one = self.log_moments.n == self.moments.n and bool((self.atoms >= 0).all())
        return all_have_one and self.moments.skewness > max(SKEWED, self.log_moments.skewness)
