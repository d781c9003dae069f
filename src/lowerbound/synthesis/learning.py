"""The worth of drawn rows for learning: one column is learned from them, and from real rows, and predicted for others.

Train on synthetic, test on real (Esteban, Hyland & Rätsch, 2017, arXiv:1706.02633).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lowerbound.data.table_code import column_numbers
from lowerbound.synthesis.likeness import MOST_CATEGORIES, boosting, features


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
    measure = _explained if of_numbers else _area
    found = []
    for rows in (drawn, fitted):
        model = boosting(seed, of_numbers=of_numbers)
        known = rows[rows[target].notna()]
        y: Any = column_numbers(known[target]) if of_numbers else known[target].astype(str)
        if not of_numbers and y.nunique() < 2:
            return None
        model.fit(_without(known, target, fitted), y)
        tested = held_out[held_out[target].notna()]
        score = measure(model, _without(tested, target, fitted), tested[target])
        if score is None:
            return None
        found.append(score)
    return Learning(target, "R²" if of_numbers else "AUROC", *found)


def _without(rows: Any, target: str, like: Any) -> Any:
    return features(rows.drop(columns=target), like.drop(columns=target))


def _explained(model: Any, X: Any, y: Any) -> float | None:
    from sklearn.metrics import r2_score

    return float(r2_score(column_numbers(y), model.predict(X))) if len(y) > 1 else None


def _area(model: Any, X: Any, y: Any) -> float | None:
    from sklearn.metrics import roc_auc_score

    p, words = model.predict_proba(X), y.astype(str).to_numpy()
    areas = [
        roc_auc_score(words == each, p[:, i])
        for i, each in enumerate(model.classes_[:MOST_CATEGORIES])
        if 0 < (words == each).sum() < len(words)
    ]
    return float(np.mean(areas)) if areas else None
