"""The choice of fillers and their weights, by their errors on observed cells that are hidden from them.

A tenth of the observed cells is hidden. Every candidate is fitted to the rest and predicts them; the weights of the
stack are those with the least squared error there (stacking: Wolpert, 1992; Breiman, 1996), column by column. Then all
candidates with weight are fitted again, to all observed cells. A candidate that isn't better than the Gaussian gets no
weight.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from lowerbound.data.table_code import Raw
from lowerbound.imputation.gaussians import (
    FIT_ELEMENTS,
    MAX_FULL,
    CategoryFiller,
    ExactFiller,
    FewValues,
    Filler,
    fit_gaussian,
    fit_location,
    fit_mixture,
    stream,
)
from lowerbound.imputation.stacking import Stack, column_weights

HELD_OUT = 0.1  # part of the observed cells
FEWEST_ROWS = 50  # fewer are too few to compare candidates, and the Gaussian is taken
ROWS_A_COMPONENT = 20
COMPONENTS = (4, 16, 48)
SHRINKAGES = (0.25, 1.5)  # imaginary rows of each component for each column
MOST_WORK = 5e8  # components times rows times columns³ in a step of EM
MAX_MIXED = 24  # columns of a matrix with indicators to which mixtures of Gaussians are fitted as well
WORSE = 1.02  # numbers of components are tried until the error is so many times the least


@dataclass
class Candidate:
    """A candidate for the stack.

    ``refit()`` fits it again, to all of the trial's cells, from its present parameters; ``error`` is its mean squared
    error on the hidden cells, with 1 for predicting the mean, and ``weight`` its mean weight in the stack.
    """

    name: str
    refit: Callable[[], Filler]
    predicted: np.ndarray
    error: float
    weight: float = 0.0


@dataclass
class Trial:
    """A coded table with hidden cells.

    Parameters
    ----------
    Z : ndarray, shape (n, P)
        The coded table.
    owner : ndarray, shape (P,)
        The table's column of each column of Z; those of one column are hidden together.
    importance : ndarray, shape (P,)
        The weights of squared errors in each column of Z.
    seed : int
    raw : Raw
        The columns that are indicators.
    """

    Z: np.ndarray
    owner: np.ndarray
    importance: np.ndarray
    seed: int
    raw: Raw
    hidden: np.ndarray = field(init=False)  # (n, P)
    is_number: np.ndarray = field(init=False)  # (columns of the table with a place in Z,)

    def __post_init__(self) -> None:
        rng = stream(self.seed, "hidden")
        _, first, self.owner = np.unique(self.owner, return_index=True, return_inverse=True)  # from 0, without gaps
        self.is_number = self.raw.blocks[first] < 0
        cells = ~np.isnan(self.Z[:, first]) & (rng.random((len(self.Z), len(first))) < HELD_OUT)
        cells &= (~np.isnan(self.Z[:, first])).sum(0) - cells.sum(0) >= 2  # every column keeps two observed cells
        self.hidden = cells[:, self.owner]

    @cached_property
    def rest(self) -> np.ndarray:
        """Z without the hidden cells."""
        return np.where(self.hidden, np.nan, self.Z)

    @cached_property
    def gaussian(self) -> ExactFiller:
        """The Gaussian, fitted to the rest."""
        return fit_gaussian(self.rest, self.seed)

    @cached_property
    def whole(self) -> ExactFiller:
        """The Gaussian, fitted to all of Z, starting from ``gaussian``."""
        return fit_gaussian(self.Z, self.seed, self.gaussian)

    def of_hidden(self, of_places: np.ndarray) -> np.ndarray:
        """The value for each hidden cell of Z, from values for its columns (P,)."""
        return np.broadcast_to(of_places, self.Z.shape)[self.hidden]

    def predict(self, filler: Filler) -> tuple[np.ndarray, float]:
        """A filler's predictions of the hidden cells, and its mean squared error."""
        predicted = filler.mean(self.rest)[self.hidden]
        return predicted, float(
            np.average((predicted - self.Z[self.hidden]) ** 2, weights=self.of_hidden(self.importance))
        )


Network = Callable[[Trial], Candidate | None]


def choose(
    Z: np.ndarray, owner: np.ndarray, importance: np.ndarray, raw: Raw, seed: int, network: Network | None, *,
    mixtures: bool = True, verbose: int = 0,
) -> tuple[Stack, list[dict[str, Any]]]:  # fmt: skip
    """The stack of the candidates with weight, fitted to all of Z; and a record of each candidate."""
    trial = Trial(Z, owner, importance, seed, raw)
    if len(Z) < FEWEST_ROWS or not trial.hidden.any():
        return Stack([fit_gaussian(Z, seed)], np.ones((1, 1)), raw), [
            {"name": "gaussian", "error": None, "weight": 1.0}
        ]
    judged: list[Candidate] = []
    for candidate in _candidates(trial, network, mixtures):
        judged.append(candidate)
        if verbose:
            print(f"{candidate.name}: squared error {candidate.error:.4f} on hidden cells", file=sys.stderr)
    predicted, of_hidden = np.stack([c.predicted for c in judged]), trial.of_hidden
    row = np.nonzero(trial.hidden)[0]
    weights = column_weights(
        predicted, Z[trial.hidden], of_hidden(importance), row, of_hidden(trial.owner), trial.is_number
    )
    for candidate, weight in zip(judged, weights.mean(1), strict=True):
        candidate.weight = float(weight)
    kept = [c for c in judged if c.weight > 0]
    stack = Stack([c.refit() for c in kept], weights[weights.any(1)][:, trial.owner], raw)
    if verbose:
        print("blend: " + ", ".join(f"{c.weight:.2f} {c.name}" for c in kept), file=sys.stderr)
    return stack, [{"name": c.name, "error": c.error, "weight": c.weight} for c in judged]


def _candidates(trial: Trial, network: Network | None, mixtures: bool) -> Iterator[Candidate]:
    yield Candidate("gaussian", lambda: trial.whole, *trial.predict(trial.gaussian))
    n_numbers, width = int(trial.is_number.sum()), trial.Z.shape[1]
    if not trial.is_number.all():
        yield from _with_categories(trial)
        if mixtures and 0 < n_numbers <= MAX_FULL:
            yield from _locations(trial)
    if mixtures and width <= (MAX_FULL if trial.is_number.all() else MAX_MIXED):
        for shrinkage in SHRINKAGES:
            yield from _mixtures(trial, shrinkage * width)
    candidate = None if network is None else network(trial)
    if candidate is not None:
        yield candidate


def _with_categories(trial: Trial) -> Iterator[Candidate]:
    """The Gaussian with indicators of the values of numbers that have few."""
    few = FewValues.of(trial.rest, np.flatnonzero(trial.raw.blocks < 0))
    if len(few.places):
        gaussian = fit_gaussian(few.widened(trial.rest), trial.seed)

        def refit() -> CategoryFiller:
            return CategoryFiller(few, fit_gaussian(few.widened(trial.Z), trial.seed, gaussian))

        yield Candidate("gaussian of numbers as categories", refit, *trial.predict(CategoryFiller(few, gaussian)))


def _mixtures(trial: Trial, shrinkage: float) -> Iterator[Candidate]:
    """Mixtures of more and more Gaussians, until the error rises by ``WORSE``."""
    least = np.inf
    for K in COMPONENTS:
        if len(trial.Z) < K * ROWS_A_COMPONENT or K * _work(trial.Z) > MOST_WORK:
            return
        filler = fit_mixture(trial.rest, trial.gaussian, K, shrinkage, trial.seed)

        def refit(filler: ExactFiller = filler, K: int = K) -> ExactFiller:
            return fit_mixture(trial.Z, trial.whole, K, shrinkage, trial.seed, start=filler.model)  # type: ignore[arg-type]

        candidate = Candidate(f"mixture of {K} (shrinkage {shrinkage:g})", refit, *trial.predict(filler))
        yield candidate
        if candidate.error > WORSE * least:
            return
        least = min(least, candidate.error)


def _locations(trial: Trial) -> Iterator[Candidate]:
    """Components of Gaussian numbers and independent categories."""
    for shrinkage in SHRINKAGES:
        for K in COMPONENTS:
            if len(trial.Z) < K * ROWS_A_COMPONENT or K * _work(trial.Z[:, trial.raw.blocks < 0]) > MOST_WORK:
                break
            alpha = shrinkage * int(trial.is_number.sum())
            filler = fit_location(trial.rest, trial.raw, trial.gaussian, K, alpha, trial.seed)

            def refit(filler: ExactFiller = filler, K: int = K, alpha: float = alpha) -> ExactFiller:
                return fit_location(trial.Z, trial.raw, trial.whole, K, alpha, trial.seed, start=filler.model)  # type: ignore[arg-type]

            yield Candidate(f"location model of {K} (shrinkage {alpha:g})", refit, *trial.predict(filler))


def _work(Z: np.ndarray) -> float:
    """Work of a step of EM for one component: rows times columns³."""
    return min(len(Z) * Z.shape[1] ** 3, FIT_ELEMENTS)
