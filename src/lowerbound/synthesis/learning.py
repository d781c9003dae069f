"""The worth of drawn rows for learning: one column is learned from them, and from real rows, and predicted for others.

Train on synthetic, test on real (Esteban, Hyland & Rätsch, 2017, arXiv:1706.02633).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from lowerbound.data.table_code import column_numbers
from lowerbound.synthesis.likeness import MOST_CATEGORIES, boosting, features, some_of


@dataclass(frozen=True)
class Learning:
    """The quality with which one column is predicted from the others, for held-out rows.

    Attributes
    ----------
    target : str
    measure : str
        "AUROC", of several classes the mean over them, each against the others; "R²" of numbers.
    from_drawn, from_real : float
        By gradient boosting of drawn rows, and of as many real ones.
    """

    target: str
    measure: str
    from_drawn: float
    from_real: float

    def to_dict(self) -> dict[str, Any]:
        """A record of JSON."""
        return asdict(self)


def learning(fitted: Any, held_out: Any, drawn: Any, target: str, seed: int = 0) -> Learning | None:
    """Learn a column from drawn and from real rows; None if the held-out rows have one class alone.

    Parameters
    ----------
    fitted, held_out, drawn : DataFrame
    target : str
        A number with more than ten values is regressed, all else is a class.
    seed : int
    """
    of_numbers = not np.isnan(column_numbers(fitted[target])).all() and fitted[target].nunique() > 10
    known = fitted[target].dropna()
    classes = [] if of_numbers else list(known.astype(str).value_counts().index[:MOST_CATEGORIES])
    n, tested = min(len(fitted), len(drawn)), held_out[held_out[target].notna()]
    found = []
    for rows in (some_of(each, n, seed) for each in (drawn, fitted)):
        y = _labels(rows[target], classes)
        rows, y = rows[y.notna()], y[y.notna()]
        if not of_numbers and y.nunique() < 2:
            return None
        model = boosting(seed, of_numbers=of_numbers).fit(_without(rows, target, fitted), y)
        X = _without(tested, target, fitted)
        score = _explained(model, X, tested[target]) if of_numbers else _area(model, X, tested[target], classes)
        if score is None:
            return None
        found.append(score)
    return Learning(target, "R²" if of_numbers else "AUROC", *found)


def _labels(column: Any, classes: list[str]) -> Any:
    """Numbers, or classes as words, where there are some; gaps where a class is none of these or has one row alone."""
    if not classes:
        return pd.Series(column_numbers(column), column.index)
    words = column.astype(str).where(column.notna())
    return words.where(words.isin(classes) & (words.map(words.value_counts()) > 1))


def _without(rows: Any, target: str, like: Any) -> Any:
    return features(rows.drop(columns=target), like.drop(columns=target))


def _explained(model: Any, X: Any, y: Any) -> float | None:
    from sklearn.metrics import r2_score

    return float(r2_score(column_numbers(y), model.predict(X))) if len(y) > 1 else None


def _area(model: Any, X: Any, y: Any, classes: list[str]) -> float | None:
    """The mean over the classes; ½ of one that the rows it was learned from don't have."""
    from sklearn.metrics import roc_auc_score

    p, words = dict(zip(model.classes_, model.predict_proba(X).T, strict=True)), y.astype(str).to_numpy()
    tested = [each for each in classes if 0 < (words == each).sum() < len(words)]
    areas = [roc_auc_score(words == each, p.get(each, np.zeros(len(words)))) for each in tested]
    return float(np.mean(areas)) if areas else None
