"""The candidates for an imputer's stack, fitted one after the other to a table with hidden cells.

Those that can't win aren't fitted: more components are tried until they make it worse, another shrinkage with the best
number of components alone, and all but the Gaussian only on scores or only on values, whichever suits the Gaussian
better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from lowerbound.data.normal_scores import Scale
from lowerbound.data.table_code import TableCode
from lowerbound.imputation.fillers import Marginal, OfValues, expected_values
from lowerbound.imputation.gaussians import (
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

GAUSSIAN, PLAIN, OF_VALUES = "gaussian", "mean or mode", " of values"  # names of candidates
HELD_OUT = 0.1  # part of the observed cells
FEWEST_ROWS = 50  # fewer are too few to compare candidates, and the Gaussian is taken
MOST_ROWS = 2000  # on which candidates are compared
ROWS_A_COMPONENT = 20
COMPONENTS = (4, 16, 48)
SHRINKAGES = (0.25, 1.5)  # imaginary rows of each component for each column
WORSE = 1.02  # numbers of components are tried until the error is so many times the least
MOST_WORK = 1e8  # components times rows times columns³ in a step of EM, on the rows of the comparison
MAX_MIXED = 24  # columns of a matrix with indicators to which mixtures of Gaussians are fitted as well


@dataclass
class Candidate:
    """A candidate for the stack.

    ``filler`` is fitted to the trial's rows without the hidden cells, and ``refit()`` fits it again to all cells;
    ``predicted`` are its values for the hidden cells and ``error`` their mean squared error, with 1 for predicting the
    mean; ``weight`` is its mean weight in the stack.
    """

    name: str
    filler: Filler
    refit: Callable[[], Filler]
    predicted: np.ndarray
    error: float
    weight: float = 0.0

    @property
    def is_gaussian(self) -> bool:
        """True for the Gaussian, of scores or of values."""
        return self.name in (GAUSSIAN, GAUSSIAN + OF_VALUES)

    @property
    def is_plain(self) -> bool:
        """True for the mean of each column."""
        return self.name == PLAIN


@dataclass
class Trial:
    """A coded table of which cells are hidden.

    Parameters
    ----------
    whole : ndarray, shape (n, P)
        The coded table.
    code : TableCode
    seed : int
    """

    whole: np.ndarray
    code: TableCode
    seed: int
    Z: np.ndarray = field(init=False)  # (m, P): all rows, or a sample
    owner: np.ndarray = field(init=False)  # (P,): the table's column of each column of Z, hidden together
    hidden: np.ndarray = field(init=False)  # (m, P)
    is_number: np.ndarray = field(init=False)  # (columns of the table with a place in Z,)

    def __post_init__(self) -> None:
        n, rng = len(self.whole), stream(self.seed, "hidden")
        some = np.sort(stream(self.seed, "trial").permutation(n)[:MOST_ROWS]) if n > MOST_ROWS else slice(None)
        self.Z = self.whole[some]
        _, first, self.owner = np.unique(self.code.owner, return_index=True, return_inverse=True)  # without gaps
        self.is_number = self.code.raw.blocks[first] < 0
        seen = ~np.isnan(self.Z[:, first])
        cells = seen & (rng.random(seen.shape) < HELD_OUT)
        cells &= seen.sum(0) - cells.sum(0) >= 2  # every column keeps two observed cells
        self.hidden = cells[:, self.owner]

    @property
    def scale(self) -> Scale:
        """From the models' matrix to values."""
        return self.code.scale

    @cached_property
    def rest(self) -> np.ndarray:
        """Z without the hidden cells."""
        return np.where(self.hidden, np.nan, self.Z)

    @cached_property
    def target(self) -> np.ndarray:
        """The hidden values, standardized."""
        V = self.Z.copy()
        for j, scores in self.scale.scores.items():
            V[:, j] = scores.of_observed(V[:, j])
        return V[self.hidden]

    def of_hidden(self, of_places: np.ndarray) -> np.ndarray:
        """The value for each hidden cell of Z, from values for its columns (P,)."""
        return np.broadcast_to(of_places, self.Z.shape)[self.hidden]

    def predict(self, filler: Filler) -> tuple[np.ndarray, float]:
        """A filler's values for the hidden cells, and their mean squared error."""
        predicted = expected_values(filler, self.rest, self.scale)[self.hidden]
        squares = (predicted - self.target) ** 2
        return predicted, float(np.average(squares, weights=self.of_hidden(self.code.importance)))

    def candidate(self, name: str, filler: Filler, refit: Callable[[], Filler]) -> Candidate:
        """A candidate, judged by the hidden cells."""
        return Candidate(name, filler, refit, *self.predict(filler))


class View:
    """The matrix that some candidates are fitted to: scores, or values."""

    def __init__(self, trial: Trial, *, of_values: bool = False) -> None:
        self.trial, self.name, self.of_values = trial, OF_VALUES * of_values, of_values

    def seen(self, Z: np.ndarray) -> np.ndarray:
        """The matrix in this view."""
        return self.trial.scale.bounded(Z) if self.of_values else Z

    def of(self, filler: Filler) -> Filler:
        """A filler of scores, from one of this view."""
        return OfValues(filler, self.trial.scale) if self.of_values else filler

    @cached_property
    def rest(self) -> np.ndarray:
        """The trial's rows without the hidden cells."""
        return self.seen(self.trial.rest)

    @cached_property
    def whole(self) -> np.ndarray:
        """All rows with all cells."""
        return self.seen(self.trial.whole)

    @cached_property
    def gaussian(self) -> ExactFiller:
        """The Gaussian, fitted to the rest."""
        return fit_gaussian(self.rest, self.trial.seed)

    @cached_property
    def whole_gaussian(self) -> ExactFiller:
        """The Gaussian, fitted to all cells, starting from ``gaussian``."""
        return fit_gaussian(self.whole, self.trial.seed, self.gaussian)

    def candidate(self, name: str, filler: Filler, refit: Callable[[], Filler]) -> Candidate:
        """A candidate, judged by the hidden cells."""
        return self.trial.candidate(name + self.name, self.of(filler), lambda: self.of(refit()))

    def of_gaussian(self) -> Candidate:
        """The Gaussian as a candidate."""
        return self.candidate(GAUSSIAN, self.gaussian, lambda: self.whole_gaussian)


def of_columns(trial: Trial) -> Candidate:
    """The mean of each column, or its most frequent category."""
    return trial.candidate(PLAIN, Marginal.of(trial.rest), lambda: Marginal.of(trial.whole))


def of_mixtures(view: View) -> Iterator[Candidate]:
    """Gaussians of numbers as categories, location models and mixtures, as far as they suit the table."""
    trial = view.trial
    n_numbers, width = int(trial.is_number.sum()), trial.Z.shape[1]
    if not trial.is_number.all() and 0 < n_numbers <= MAX_FULL:
        numbers = view.rest[:, trial.code.raw.blocks < 0]
        yield from _best_components(lambda K, times: _location(view, K, times * n_numbers), numbers)
    if width <= (MAX_FULL if trial.is_number.all() else MAX_MIXED):
        yield from _best_components(lambda K, times: _mixture(view, K, times * width), view.rest)


def with_categories(view: View) -> Iterator[Candidate]:
    """The Gaussian with indicators of the values of numbers that have few."""
    seed, few = view.trial.seed, FewValues.of(view.rest, np.flatnonzero(view.trial.code.raw.blocks < 0))
    if len(few.places) and not view.trial.is_number.all():
        gaussian = fit_gaussian(few.widened(view.rest), seed)

        def refit() -> CategoryFiller:
            return CategoryFiller(few, fit_gaussian(few.widened(view.whole), seed, gaussian))

        yield view.candidate("gaussian of numbers as categories", CategoryFiller(few, gaussian), refit)


def _best_components(fitted: Callable[[int, float], Candidate], Z: np.ndarray) -> Iterator[Candidate]:
    """Candidates with more and more components while the error falls, and the best again with more shrinkage."""
    least, best = np.inf, 0
    for K in COMPONENTS:
        if len(Z) < K * ROWS_A_COMPONENT or K * len(Z) * Z.shape[1] ** 3 > MOST_WORK:
            break
        candidate = fitted(K, SHRINKAGES[0])
        yield candidate
        if candidate.error > WORSE * least:
            break
        if candidate.error < least:
            least, best = candidate.error, K
    if best:
        yield fitted(best, SHRINKAGES[1])


def _mixture(view: View, K: int, shrinkage: float) -> Candidate:
    seed = view.trial.seed
    filler = fit_mixture(view.rest, view.gaussian, K, shrinkage, seed)

    def refit() -> ExactFiller:
        return fit_mixture(view.whole, view.whole_gaussian, K, shrinkage, seed, start=filler.model)  # type: ignore[arg-type]

    return view.candidate(f"mixture of {K} (shrinkage {shrinkage:g})", filler, refit)


def _location(view: View, K: int, shrinkage: float) -> Candidate:
    """Components of Gaussian numbers and independent categories."""
    seed, raw = view.trial.seed, view.trial.code.raw
    filler = fit_location(view.rest, raw, view.gaussian, K, shrinkage, seed)

    def refit() -> ExactFiller:
        return fit_location(view.whole, raw, view.whole_gaussian, K, shrinkage, seed, start=filler.model)  # type: ignore[arg-type]

    return view.candidate(f"location model of {K} (shrinkage {shrinkage:g})", filler, refit)
