"""Likeness of the rows of two tables: column by column, pair by pair, and to a classifier that tells them apart.

The first two are the scores that the field reports (Patki, Wedge & Veeramachaneni, 2016; SDMetrics); independent
columns reach nearly 1 in the first. The third asks for everything at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from lowerbound.data.table_code import column_numbers

MOST_CATEGORIES = 250  # that the trees know
BINS = 10  # of numbers, beside categories
FOLDS = 3
MOST_PAIRS = 1000


@dataclass(frozen=True)
class Area:
    """An area under a ROC curve with its standard error over the rows (DeLong, DeLong & Clarke-Pearson, 1988)."""

    value: float
    standard_error: float

    @classmethod
    def of(cls, y: np.ndarray, score: np.ndarray) -> Area:
        """The area of scores that should be higher where y is true, (n,)."""
        return cls.of_placements(*placements(y, score))

    @classmethod
    def of_placements(cls, of_positives: np.ndarray, of_negatives: np.ndarray) -> Area:
        """The area of ``placements``, or of differences of two such."""
        variance = sum(v.var(ddof=1) / len(v) for v in (of_positives, of_negatives))
        return cls(float(of_positives.mean()), float(np.sqrt(variance)))


def placements(y: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each positive the part of the negatives below it, for each negative that of the positives above it."""
    rank, positives, negatives = rankdata(score), rankdata(score[y]), rankdata(score[~y])
    return (rank[y] - positives) / len(negatives), 1 - (rank[~y] - negatives) / len(positives)


def some_of(rows: Any, n: int, seed: int) -> Any:
    """So many rows at most, drawn at random and in their order."""
    if len(rows) <= n:
        return rows
    return rows.iloc[np.sort(np.random.default_rng(seed).permutation(len(rows))[:n])]


def shapes(real: Any, drawn: Any) -> dict[str, float]:
    """For each column 1 − the greatest distance of the distribution functions, or of the probabilities of sets."""
    return {str(name): _shape(real[name], drawn[name]) for name in real}


def _shape(real: Any, drawn: Any) -> float:
    a, b = column_numbers(real), column_numbers(drawn)
    if np.isnan(a).all():
        p, q = (column.dropna().astype(str).value_counts(normalize=True) for column in (real, drawn))
        return float(1 - 0.5 * p.subtract(q, fill_value=0).abs().sum())
    a, b = np.sort(a[~np.isnan(a)]), np.sort(b[~np.isnan(b)])
    if not len(a) or not len(b):
        return float(len(a) == len(b))
    at = np.concatenate([a, b])
    up_to = (np.searchsorted(v, at, side="right") / len(v) for v in (a, b))
    return float(1 - np.abs(np.subtract(*up_to)).max())


def trends(real: Any, drawn: Any, seed: int = 0) -> float:
    """The mean over pairs of columns of 1 − half the difference of correlations, or of the probabilities of sets.

    Pairs with a category are compared by their tables of counts, numbers in ten bins of equal width. Of more than a
    thousand pairs so many are taken.
    """
    numbers = {name: column_numbers(real[name]) for name in real}
    measured = {name for name, v in numbers.items() if not np.isnan(v).all()}
    codes = {name: _coded(real[name], drawn[name], numbered=name in measured) for name in real}
    pairs = list(combinations(real, 2))
    if len(pairs) > MOST_PAIRS:
        chosen = np.random.default_rng(seed).choice(len(pairs), MOST_PAIRS, replace=False)
        pairs = [pairs[i] for i in np.sort(chosen)]
    found = []
    for a, b in pairs:
        if a in measured and b in measured:
            correlations = [_correlation(frame[a], frame[b]) for frame in (real, drawn)]
            found.append(1 - abs(correlations[0] - correlations[1]) / 2)
        else:
            tables = [_counts(codes[a][i], codes[b][i]) for i in (0, 1)]
            found.append(float(1 - 0.5 * tables[0].subtract(tables[1], fill_value=0).abs().sum()))
    return float(np.mean(found)) if found else 1.0


def _correlation(a: Any, b: Any) -> float:
    x, y = column_numbers(a), column_numbers(b)
    known = ~np.isnan(x) & ~np.isnan(y)
    if known.sum() < 2 or not x[known].std() or not y[known].std():
        return 0.0
    return float(np.corrcoef(x[known], y[known])[0, 1])


def _coded(real: Any, drawn: Any, *, numbered: bool) -> tuple[np.ndarray, np.ndarray]:
    """Categories, or bins of numbers, as words; gaps are a word."""
    if not numbered:
        return real.astype(str).to_numpy(), drawn.astype(str).to_numpy()
    a, b = column_numbers(real), column_numbers(drawn)
    edges = np.linspace(np.nanmin(a), np.nanmax(a), BINS + 1)[1:-1]
    return tuple(np.where(np.isnan(v), -1, np.digitize(v, edges)) for v in (a, b))  # type: ignore[return-value]


def _counts(a: np.ndarray, b: np.ndarray) -> Any:
    return pd.DataFrame({"a": a, "b": b}).value_counts(normalize=True)


def told_apart(real: Any, drawn: Any, seed: int = 0) -> Area:
    """The area under the curve of a gradient boosting that tells drawn rows from as many real ones, cross-validated.

    ½ if it can't. The published score is 1 − (2 max(½, area) − 1).
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    n = min(len(real), len(drawn))
    both = pd.concat([some_of(frame, n, seed) for frame in (real, drawn)], ignore_index=True)
    X = features(both, both)
    y = np.repeat([0, 1], n)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    p: Any = cross_val_predict(boosting(seed), X, y, cv=folds, method="predict_proba")
    return Area.of(y == 1, p[:, 1])


def boosting(seed: int, *, of_numbers: bool = False):
    """Gradient boosting of trees: a classifier, or a regression of numbers."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingRegressor if of_numbers else HistGradientBoostingClassifier
    return kind(categorical_features="from_dtype", random_state=seed)


def features(rows: Any, like: Any) -> Any:
    """Rows as trees read them: numbers, and words as categories, the most frequent ones of ``like``."""
    found = {}
    for name in rows:
        v = column_numbers(rows[name])
        if np.isnan(column_numbers(like[name])).all():
            known = like[name].dropna().astype(str).value_counts().index[:MOST_CATEGORIES]
            words = rows[name].astype(str).where(rows[name].notna())
            found[name] = pd.Categorical(words.where(words.isin(known)), categories=sorted(known))
        else:
            found[name] = v
    return pd.DataFrame(found)
