"""Tables with gaps as one matrix of standardized numbers, and back.

A number becomes (x − mean)/sd of what was observed, a category one standardized indicator for each of its values, and
a date its days. So means and squared errors have a meaning in every column: the mean of an indicator is a probability.
Models are fitted to these values, but for skewed and heavy-tailed numbers to their normal scores.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from lowerbound.data.columns import values as of_type
from lowerbound.data.columns.counts import Moments
from lowerbound.data.columns.decimals import has_decimals
from lowerbound.data.columns.inference import HEAVY, SKEWED
from lowerbound.data.columns.values import as_numbers, as_values, measure_of, type_word
from lowerbound.data.gaps import naming_words
from lowerbound.data.normal_scores import FARTHEST, NormalScores, Scale

MAX_CATEGORIES = 50  # of a column; rarer ones share one indicator, so that no column takes all the memory
OTHER = "(other categories)"
KINDS = {"number": "numbers", "category": "categories", "date": "dates"}
FREQUENT = 0.05  # share of one value


@dataclass(frozen=True)
class Column:
    """One column of the table and its place in the matrix.

    Attributes
    ----------
    kind : {"number", "category", "date"}
    dtype : str
        A word of ``columns.values``.
    categories : list
        The categories with an indicator, most frequent first.
    places : slice
        The column's columns in the matrix.
    mean, spread : ndarray
        Mean and standard deviation of these before standardizing; a deviation of 0 is stored as 1.
    importance : ndarray
        Weights of squared errors in these, which add up to 1: an indicator's share of the variance.
    low, high : float or None
        The ends of the support as far as they are known: of whole numbers, of scores, where an end is a frequent value,
        and 0 of numbers that aren't below (half the least if none is 0) or above.
    decimals : int or None
        The decimals of the numbers or days, if these are few.
    scores : NormalScores or None
        Of the standardized values, if models are fitted to them.
    folds_low, folds_high : bool
        No value is frequent at that end: draws beyond it are folded back, so that none is frequent there.
    """

    kind: str
    dtype: str
    categories: list[Any]
    places: slice
    mean: np.ndarray
    spread: np.ndarray
    importance: np.ndarray
    low: float | None = None
    high: float | None = None
    decimals: int | None = None
    scores: NormalScores | None = None
    folds_low: bool = False
    folds_high: bool = False

    def decode(self, z: np.ndarray) -> Any:
        """Expectations (n, width) as values of the column's type; the most probable category for categories."""
        values = z * self.spread + self.mean
        if self.kind == "category":
            return np.asarray(self.categories, object)[values[:, : len(self.categories)].argmax(1)]
        return self.of_numbers(self._within(values[:, 0]))

    def of_numbers(self, v: np.ndarray) -> pd.Series:
        """Numbers, days since 1970 or seconds as values of the column's type."""
        return as_values(v, self.dtype)

    def numbers(self, z: np.ndarray) -> np.ndarray:
        """Draws (*, width) as numbers, days or seconds that the column can have; NaN for categories."""
        if self.kind == "category":
            return np.full(z.shape[:-1], np.nan)
        v = z[..., 0] * self.spread[0] + self.mean[0]
        return self._within(v if self.decimals is None else np.round(v, self.decimals))

    def _within(self, v: np.ndarray) -> np.ndarray:
        """Numbers in the support, in which expectations are already."""
        if self.folds_low and self.low is not None:
            v = np.maximum(v, 2 * self.low - v)
        if self.folds_high and self.high is not None:
            v = np.minimum(v, 2 * self.high - v)
        return v if self.low is None and self.high is None else np.clip(v, self.low, self.high)


@dataclass
class Raw:
    """The mean and scale of indicators, and the categorical column of each column of the matrix (−1: a number)."""

    blocks: np.ndarray
    mean: np.ndarray
    spread: np.ndarray

    def raw(self, Z: np.ndarray) -> np.ndarray:
        """The matrix with indicators as 0 and 1, numbers unchanged."""
        return np.where(self.blocks < 0, Z, np.rint(Z * self.spread + self.mean))

    def standardized(self, raw: np.ndarray) -> np.ndarray:
        """The inverse of ``raw``."""
        return np.where(self.blocks < 0, raw, (raw - self.mean) / self.spread)


class TableCode:
    """The code of a table, made from the rows of ``fit``.

    Parameters
    ----------
    X : ndarray or DataFrame
        Columns without any value become zeros in the matrix.
    """

    def __init__(self, X: Any) -> None:
        self.columns: list[Column] = []
        first = 0
        for values in columns_of(X):
            column = _describe(values, first)
            self.columns.append(column)
            first = column.places.stop
        self.width = first

    @classmethod
    def of(cls, columns: list[Column]) -> TableCode:
        """The code with these columns."""
        code = cls(np.zeros((0, 0)))
        code.columns = columns
        code.width = columns[-1].places.stop if columns else 0
        return code

    @property
    def importance(self) -> np.ndarray:
        """The weight of squared errors in each column of the matrix, shape (width,)."""
        return np.concatenate([column.importance for column in self.columns])

    @property
    def owner(self) -> np.ndarray:
        """The table's column of each column of the matrix, shape (width,)."""
        return np.repeat(np.arange(len(self.columns)), [len(column.mean) for column in self.columns])

    @property
    def raw(self) -> Raw:
        """The columns of the matrix that are indicators, with their means and scales."""
        is_category = np.repeat([c.kind == "category" for c in self.columns], [len(c.mean) for c in self.columns])
        places = np.unique(self.owner[is_category], return_inverse=True)[1]
        blocks = np.full(self.width, -1)
        blocks[is_category] = places
        mean, spread = (np.concatenate([getattr(c, name) for c in self.columns]) for name in ("mean", "spread"))
        return Raw(blocks, mean, spread)

    @cached_property
    def scale(self) -> Scale:
        """Standardized values as models see them, and back."""
        scores = {column.places.start: column.scores for column in self.columns if column.scores is not None}
        farthest = np.where(self.raw.blocks < 0, FARTHEST, np.inf)
        low, high = np.full((2, self.width), [[-np.inf], [np.inf]])
        for column in self.columns:
            if column.kind != "category":
                j, mean, spread = column.places.start, column.mean[0], column.spread[0]
                low[j] = -np.inf if column.low is None else (column.low - mean) / spread
                high[j] = np.inf if column.high is None else (column.high - mean) / spread
        return Scale(scores, farthest, low, high)

    def encode(self, X: Any) -> np.ndarray:
        """The matrix (n, width) for models, NaN where nothing was observed or the category was never seen."""
        return self.scale.to_scores(self.values(X))

    def values(self, X: Any) -> np.ndarray:
        """The matrix (n, width) of standardized values; NaN as in ``encode``."""
        parts = [_encode(column, values) for column, values in zip(self.columns, columns_of(X), strict=True)]
        return np.concatenate(parts, axis=1)

    def check(self, X: pd.DataFrame) -> None:
        """Refuse rows whose columns have other kinds than in the fit.

        Raises
        ------
        ValueError
        """
        numbers = []
        for name, column, values in zip(X, self.columns, columns_of(X), strict=True):
            kind = "same" if of_type.missing(values).all() else _kind(values)
            if kind not in ("same", column.kind) and "date" in (kind, column.kind):
                raise ValueError(f"column {str(name)!r} has {KINDS[kind]}, but had {KINDS[column.kind]} in fit")
            if column.kind == "number" and measure_of(column.dtype) == "number":
                numbers.append(values)
        with naming_words(X.iloc[:, [measure_of(column.dtype) == "number" for column in self.columns]]):
            for values in numbers:
                np.asarray(values.dropna(), np.float64)

    def probabilities(self, Z: np.ndarray, column: Column) -> np.ndarray:
        """Expectations of indicators as probabilities, (*, categories)."""
        p = Z[..., column.places] * column.spread + column.mean
        p = np.clip(p[..., : len(column.categories)], 1e-6, None)
        return p / p.sum(-1, keepdims=True)

    def draw_categories(self, Z: np.ndarray, expected: np.ndarray, column: Any, rng: np.random.Generator) -> np.ndarray:
        """The drawn categories; a rare one, which has no name, is replaced by a draw from the named ones."""
        indicators = Z[:, column.places] * column.spread + column.mean
        is_named = (indicators[:, : len(column.categories)] > 0.5).any(1, keepdims=True)
        p = np.where(is_named, self.probabilities(Z, column), self.probabilities(expected, column))
        cumulative = p.cumsum(1)
        place = (rng.random((len(Z), 1)) > cumulative).sum(1).clip(max=len(column.categories) - 1)
        return np.asarray(column.categories, object)[place]


def missing(X: Any) -> np.ndarray:
    """True where the table has no value, shape (n, columns)."""
    if not isinstance(X, pd.DataFrame):
        return pd.isna(X)
    gaps = [of_type.missing(values) for values in columns_of(X)]
    return np.stack(gaps, 1) if gaps else np.zeros(X.shape, bool)


def column_numbers(values: Any) -> np.ndarray:
    """A column's numbers, or the days of its dates, shape (n,); NaN if it is a column of categories."""
    word = type_word(values)
    return np.full(len(values), np.nan) if measure_of(word) == "category" else as_numbers(values, word)


def columns_of(X: Any) -> list[Any]:
    """The series of a DataFrame, or the columns of an array."""
    return [X.iloc[:, j] for j in range(X.shape[1])] if isinstance(X, pd.DataFrame) else list(np.asarray(X).T)


def _describe(values: Any, first: int) -> Column:
    kind, word, categories = _kind(values), type_word(values), []
    if kind == "category":
        counts = pd.Series(values).value_counts()
        categories = [
            category for category, count in counts.items() if count > 0
        ]  # without categories of the type that no row has
        rare = len(categories) > MAX_CATEGORIES
        categories = categories[: MAX_CATEGORIES - 1] if rare else categories
        raw = _indicators(values, categories, rare)
    else:
        raw = as_numbers(values, word)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column without any value
        mean, spread = np.nan_to_num(np.nanmean(raw, 0)), np.nan_to_num(np.nanstd(raw, 0))
    share = spread**2 / (spread**2).sum() if (spread > 0).any() else np.full(len(spread), 1 / max(1, len(spread)))
    scale = np.where(spread > 1e-12 * np.abs(mean), spread, 1.0)
    support = {} if kind == "category" else _support(raw[:, 0], kind)
    if kind == "number":
        support |= _scores(raw[:, 0], mean[0], scale[0])
    return Column(kind, word, categories, slice(first, first + raw.shape[1]), mean, scale, share, **support)


def _support(v: np.ndarray, kind: str) -> dict[str, Any]:
    """The decimals of numbers and days, and the ends of their range where these are frequent, or of whole numbers."""
    v = v[~np.isnan(v)]
    if not len(v):
        return {}
    decimals = next((d for d in range(7) if has_decimals(v, d)), None)
    are_whole = kind == "number" and decimals == 0  # dates go on
    low, high = (float(end) if are_whole or (v == end).mean() >= FREQUENT else None for end in (v.min(), v.max()))
    folds_low = kind == "number" and low is None and bool(v.min() >= 0)
    folds_high = kind == "number" and high is None and bool(v.max() <= 0)
    low, high = (float(v.min()) / 2 if folds_low else low), (float(v.max()) / 2 if folds_high else high)
    return {"low": low, "high": high, "decimals": decimals, "folds_low": folds_low, "folds_high": folds_high}


def _scores(v: np.ndarray, mean: float, spread: float) -> dict[str, Any]:
    """The normal scores of skewed and heavy-tailed numbers, which the ends of their range confine."""
    v = v[~np.isnan(v)]
    moments = Moments.of((v - mean) / spread)
    if len(np.unique(v)) <= 2:
        return {}
    chance = 3 * np.sqrt(
        6 / len(v)
    )  # three standard errors of the skewness of normal values; of the kurtosis, the half
    if abs(moments.skewness) <= max(SKEWED, chance) and moments.kurtosis <= max(HEAVY, 2 * chance):
        return {}
    return {"scores": NormalScores.of((v - mean) / spread), "low": float(v.min()), "high": float(v.max())}


def _kind(values: Any) -> str:
    measure = measure_of(type_word(values))
    return measure if measure in KINDS else "number"


def _encode(column: Column, values: Any) -> np.ndarray:
    if column.kind == "category":
        raw = _indicators(values, column.categories, len(column.mean) > len(column.categories))
    else:
        raw = as_numbers(values, column.dtype)[:, None]
    return (raw - column.mean) / column.spread


def _indicators(values: Any, categories: list[Any], rare: bool) -> np.ndarray:
    """Indicators (n, width): 1 for the row's category; NaN if it is missing, or unknown and no category is rare."""
    place = pd.Index(categories, dtype=object).get_indexer(pd.Index(np.asarray(values, object), dtype=object))
    gaps = np.asarray(pd.isna(values))
    width = len(categories) + rare
    place = np.where((place < 0) & ~gaps & rare, len(categories), np.where(gaps, -1, place))
    raw = (place[:, None] == np.arange(width)).astype(np.float64)
    raw[place < 0] = np.nan
    return raw
