"""The most unusual rows, with the reasons, and rows with values wiped out, filled several times."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lowerbound.core import NoPosterior
from lowerbound.data.gaps import nan_in_gaps
from lowerbound.estimators.vae import VAE
from lowerbound.outliers.density import DensityRanks
from lowerbound.outliers.detector import VAEOutlierDetector
from lowerbound.report.quality import labels_of
from lowerbound.report.rows import as_png, flat, word
from lowerbound.report.subject import Subject
from lowerbound.tasks import conditional

MEANINGS = {
    "relative_regret": "the part of −ELBO that a q(z) of the row’s own would save (relative regret)",
    "regret": "how many nats better a q(z) of the row’s own is (likelihood regret)",
    "combined": "KL to the codes of other rows, reconstruction, surprise and a mixture’s −log p(x), together, in "
    "interquartile ranges",
    "log_p": "−log p(x), in nats", "elbo": "−ELBO, in nats", "kl": "KL(q(z|x) ‖ p(z)), in nats",
}  # fmt: skip
NOTABLE = 1.0  # nats above a feature's typical surprise, from which it is named as a reason
IMAGES_RANKED, ROWS_RANKED = 400, 2000  # a row's own bound is climbed for images, which takes long


def detector_of(subject: Subject, rows: np.ndarray) -> Any:
    """The detector of the subject, or one that compares with the rows themselves."""
    if subject.detector is not None:
        return subject.detector
    X = subject.at(rows)
    context = subject.labels[rows] if subject.is_given and subject.labels is not None else None
    if isinstance(subject.model, VAE):
        return VAEOutlierDetector(subject.model, random_state=0).fit(X, context=context)
    return DensityRanks(subject.model, X)


def outliers(subject: Subject, n: int, most: int | None = None, side: int = 64) -> dict[str, Any]:
    """The most unusual of some rows, the most unusual first, with the reasons.

    Parameters
    ----------
    n : int
        Rows that are shown.
    most : int, optional
        Rows that are ranked.
    """
    most = most or (IMAGES_RANKED if subject.display.is_image else ROWS_RANKED)
    rows = subject.few(most)
    detector = detector_of(subject, rows)
    given = _given(subject, detector, rows)
    scores = -np.asarray(given.score_samples(subject.at(rows)) if isinstance(detector, VAEOutlierDetector)
                         else detector.estimators_[0].score_samples(subject.at(rows)))  # fmt: skip
    order = np.argsort(-scores, kind="stable")[:n]
    top = rows[order]
    found: dict[str, Any] = {
        "meaning": MEANINGS.get(detector.criterion_, detector.criterion_),
        "n_ranked": len(rows), "n_rows": subject.n_rows, "columns": subject.names,
        "threshold": float(-detector.offset_), "n_beyond": int((scores > -detector.offset_).sum()),
        "compared": "the rows that the detector was fitted to" if subject.detector is not None else "these rows",
    }  # fmt: skip
    parts: dict[str, list[Any]] = {
        "row": subject.places[top].tolist(), "score": [float(f"{scores[i]:.4g}") for i in order],
        "label": labels_of(subject, top),
        "shown": subject.display.smaller(side).show(subject.at(top), given=True),
        "reasons": reasons(subject, _given(subject, detector, top), top, side),
        "p_value": p_values(_given(subject, detector, top), subject.at(top)),
    }  # fmt: skip
    found["rows"] = [dict(zip(parts, each, strict=True)) for each in zip(*parts.values(), strict=True)]
    return found


def _given(subject: Subject, detector: Any, rows: np.ndarray) -> Any:
    """The detector given the context of some rows."""
    if not (subject.is_given and subject.labels is not None and isinstance(detector, VAEOutlierDetector)):
        return detector
    return detector.given(subject.labels[rows])


def p_values(detector: Any, X: Any) -> list[float | None]:
    """p-values where the detector is calibrated."""
    if not hasattr(detector, "calibration_scores_"):
        return [None] * len(X)
    return [round(float(p), 5) for p in detector.p_values(X)]


def reasons(subject: Subject, detector: Any, rows: np.ndarray, side: int = 64) -> list[Any]:
    """The surprising values of each row of a table, with what is expected of them; of images maps of surprise."""
    if not isinstance(detector, VAEOutlierDetector):
        return [None] * len(rows)
    found = detector.explain(subject.at(rows), least=NOTABLE)
    if isinstance(found, np.ndarray):
        brightest = np.maximum(found.max((1, 2), keepdims=True), NOTABLE)  # a scale for each image
        heat = np.rint(255 * (1 - np.clip(found / brightest, 0, 1))).astype(np.uint8)
        return [as_png(subject.display.smaller(side).reduced(each)) for each in heat]
    said: list[list[dict[str, Any]]] = [[] for _ in rows]
    for r in found.to_dict("records"):
        if word(r["value"]) != word(r["expected"]):
            said[r["row"]].append({name: word(r[name]) for name in ("feature", "value", "expected", "low", "high")})
    return said


def can_fill(subject: Subject) -> bool:
    """The model knows, or can sample, missing values given the observed ones."""
    fitted = subject.fitted
    return isinstance(fitted.model, conditional.Completable) or not isinstance(fitted.posterior, NoPosterior)


def filled(
    subject: Subject, X: Any, hidden: np.ndarray, n_draws: int, context: Any = None, *, n_importance: int = 200,
    seed: int | None = None,
) -> tuple[list[Any], Any]:  # fmt: skip
    """Several fillings of rows in which some values are hidden, and their expectation.

    Parameters
    ----------
    X : array-like or DataFrame, shape (n, *row)
    hidden : ndarray of bool, shape (n, *row)
    n_draws : int
    context : array-like, optional
    n_importance : int
    seed : int, optional
        Of the draws.
    """
    fitted = subject.fitted.given(context) if subject.is_given else subject.fitted
    on = fitted.on(with_gaps(X, hidden), "gaps" if seed is None else f"gaps {seed}")
    x, _ = conditional.drawn(on, n_draws, n_importance)
    expected, _ = conditional.expected(on, n_importance)
    draws = [fitted.schema.restore(each, expected=False) for each in x]
    return draws, fitted.schema.restore(expected, expected=True)


def with_gaps(X: Any, hidden: np.ndarray) -> Any:
    """Rows with values wiped out."""
    if isinstance(X, pd.DataFrame):
        nullable = X.astype({name: "float64" for name in X.columns if X[name].dtype.kind in "iu"})
        nullable = nullable.astype({name: object for name in X.columns if X[name].dtype.kind == "b"})
        return nullable.mask(hidden)
    gaps = hidden | np.ma.getmaskarray(X)
    return np.ma.masked_array(np.ma.getdata(X), gaps)


def hidden_at_random(subject: Subject, n: int) -> np.ndarray:
    """The lower half of each of n images, or a third of the columns of each row, (n, *row)."""
    shape = subject.fitted.schema.row_shape
    if subject.display.is_image:
        event = np.zeros((n, *subject.fitted.schema.event_shape), bool)
        event[:, :, subject.fitted.schema.event_shape[1] // 2 :] = True
        return subject.fitted.schema.to_rows(event)
    rng = np.random.default_rng(0)
    n_columns = int(np.prod(shape))
    k = min(max(1, n_columns // 3), 4)
    each = np.argsort(rng.random((n, n_columns)), 1) < k
    return each.reshape(n, *shape)


def gaps(subject: Subject, n: int = 6, n_draws: int = 5, side: int = 64) -> dict[str, Any]:
    """A few rows with values hidden, and what the model puts in their place."""
    rows = subject.few(n)
    return gaps_of(subject, rows, hidden_at_random(subject, len(rows)), n_draws, side)


def gaps_of(
    subject: Subject, rows: np.ndarray, hidden: np.ndarray, n_draws: int, side: int = 64, seed: int | None = None
) -> dict[str, Any]:
    """Some rows with values hidden, (n, *row) of bool, and what the model puts in their place."""
    X = subject.at(rows)
    context = subject.labels[rows] if subject.is_given and subject.labels is not None else None
    draws, expected = filled(subject, X, hidden, n_draws, context, seed=seed)
    display = subject.display.smaller(side)
    if not display.is_image:
        return {"rows": _cells(subject, rows, X, hidden, draws, expected), "columns": subject.names}
    seen = display.pixels(X, given=True)
    where = np.asarray(np.moveaxis(subject.fitted.schema.to_event(hidden), 1, -1).any(-1))
    parts = {
        "row": subject.places[rows].tolist(), "label": labels_of(subject, rows),
        "input": display.show(X, given=True),
        "seen": [as_png(display.reduced(with_hidden_marked(*each))) for each in zip(seen, where, strict=True)],
        "mean": display.show(expected), "draws": list(zip(*map(display.show, draws), strict=True)),
    }  # fmt: skip
    return {"rows": [dict(zip(parts, each, strict=True)) for each in zip(*parts.values(), strict=True)]}


def with_hidden_marked(image: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """An image with a light hatching over what is hidden."""
    image = image if image.ndim == 3 else image[..., None].repeat(3, -1)
    lines = np.add.outer(np.arange(hidden.shape[0]), np.arange(hidden.shape[1])) % 4 == 0
    hatched = np.where(lines[..., None], [150, 165, 190], [222, 228, 238])
    return np.where(hidden[..., None], hatched, image).astype(np.uint8)


def _cells(
    subject: Subject, rows: np.ndarray, X: Any, hidden: np.ndarray, draws: list[Any], expected: Any
) -> list[dict[str, Any]]:
    """For each row of a table its hidden cells: what was there, the expectation and the fillings."""
    true, mean, each = flat(nan_in_gaps(X)), flat(expected), [flat(draw) for draw in draws]
    found = []
    for i, row in enumerate(rows):
        cells = [{"column": subject.names[j], "true": word(true[i][j]), "mean": word(mean[i][j]),
                  "draws": [word(draw[i][j]) for draw in each]}
                 for j in np.flatnonzero(hidden[i].ravel()).tolist()]  # fmt: skip
        found.append({"row": int(subject.places[row]), "label": labels_of(subject, rows)[i], "cells": cells})
    return found
