"""The training rows and the held-out rows of a comparison: one split for all models."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowerbound.data.columns.inference import infer_columns
from lowerbound.data.gaps import mask_gaps
from lowerbound.data.schema import Schema, infer_schema
from lowerbound.estimators.tables import has_text
from lowerbound.parameters.likelihoods import BernoulliLikelihood

STEPS, FEWEST_EPOCHS, MOST_EPOCHS = 10_000, 30, 300  # of a fit by gradients, if there is enough time


@dataclass(frozen=True)
class Case:
    """The training rows and the held-out rows, the same for all models.

    Attributes
    ----------
    train, test : ndarray, shape (n, *row), or DataFrame
        With ``binarize="sample"`` the training rows keep their grey values, and the held-out rows are 0 or 1.
    schema : Schema
        The schema of the rows; all models of a table of several kinds use the same kinds of columns.
    binarize : {None, "sample"}
        Models redraw grey values as 0 or 1.
    seed : int
    image_shape, layout
        As of the models: the axes of a row.
    n_importance : int
        Importance samples of a row, for the VAE.
    """

    train: Any
    test: Any
    schema: Schema
    binarize: str | None
    seed: int
    n_importance: int = 500
    image_shape: tuple[int, ...] | None = None
    layout: str = "auto"

    @property
    def axes(self) -> dict[str, Any]:
        """The parameters of a model that say what the axes of a row are."""
        return {"image_shape": self.image_shape, "layout": self.layout}

    @property
    def likelihood(self) -> str | BernoulliLikelihood:
        """The parameter of a model that makes grey values 0 or 1 if that is asked for."""
        return "auto" if self.binarize is None else BernoulliLikelihood(self.binarize)

    @property
    def kind(self) -> str:
        """``binary``, ``grey_levels`` (8 bits), ``real``, or ``mixed``: columns of several kinds."""
        return "mixed" if self.schema.columns is not None else self.schema.kind.data

    @property
    def batch_size(self) -> Any:
        """Rows in a step of models that are fitted by gradients."""
        return min(128, max(16, 2 ** round(math.log2(len(self.train) / 16))))

    @property
    def n_epochs(self) -> int:
        """Passes over the rows for about ``STEPS`` steps."""
        return min(MOST_EPOCHS, max(FEWEST_EPOCHS, STEPS // math.ceil(len(self.train) / self.batch_size)))


def split(
    X: Any, *, binarize: str | None = None, seed: int = 0, held_out: float = 0.2, most_scored: int = 2000,
    image_shape: tuple[int, ...] | None = None, layout: str = "auto",
) -> Case:  # fmt: skip
    """Split the rows once, and binarize the held-out rows once.

    Parameters
    ----------
    X : ndarray, shape (n, *row), or DataFrame with columns of several kinds
    binarize : {None, "sample", "threshold", "mean"}
        Grey values become 0 or 1: redrawn in fitting and drawn once for scoring, or cut, at ½ or at the feature's mean.
    seed : int
    image_shape, layout
        As of the models: the axes of a row.
    held_out : float
        The fraction of held-out rows.
    most_scored : int
        The largest number of held-out rows that are scored.

    Raises
    ------
    ValueError
        If there are too few rows, or ``binarize`` needs grey values and X has none.
    """
    n_held_out = round(held_out * len(X))
    if n_held_out < 2 or len(X) - n_held_out < 8:
        raise ValueError(f"{len(X)} rows are too few to fit models and hold rows out to score them: 10 are needed")
    order = np.random.default_rng([seed, 0]).permutation(len(X))
    fitted, scored = order[n_held_out:], order[:n_held_out][:most_scored]
    train, test = (X.iloc[fitted], X.iloc[scored]) if has_text(X) else (mask_gaps(X)[fitted], mask_gaps(X)[scored])
    return case_of(train, test, binarize=binarize, seed=seed, image_shape=image_shape, layout=layout)


def case_of(
    train: Any, test: Any, *, binarize: str | None = None, seed: int = 0, image_shape: tuple[int, ...] | None = None,
    layout: str = "auto",
) -> Case:  # fmt: skip
    """``split`` for rows that are split already."""
    if has_text(train):
        if binarize is not None:
            raise ValueError("binarize needs numbers, and the table has columns of other kinds: leave it out")
        return Case(
            train, test, Schema.of_columns(infer_columns(train), gaps=bool(train.isna().any(axis=None))), None, seed
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # every model warns of constant features itself
        axes: dict[str, Any] = {"image_shape": image_shape, "layout": layout}
        schema = infer_schema(train, binarize=binarize, **axes)
        if binarize is None:
            return Case(train, test, schema, None, seed, **axes)
        schema.check(test)
        scored = _zeros_and_ones(schema, test, seed)
        if binarize == "sample":
            return Case(train, scored, schema, "sample", seed, **axes)
        fitted = _zeros_and_ones(schema, train, seed)
        return Case(fitted, scored, infer_schema(fitted, **axes), None, seed, **axes)


def _zeros_and_ones(schema: Schema, X: np.ndarray, seed: int) -> np.ndarray:
    if schema.binarize == "mean":
        return schema.to_rows((schema.to_event(X) > schema.location).astype(np.uint8))
    level = np.random.default_rng([seed, 1]).random(X.shape, np.float32) if schema.binarize == "sample" else 0.5
    is_one = level * schema.grey_levels < X if schema.binarize == "sample" else level * schema.grey_levels <= X
    return is_one.astype(np.uint8)
