"""Which fillers to trust, and how much: judged on observed cells that are hidden from them.

A tenth of the observed cells is hidden. Every candidate is fitted to the rest and predicts them; the weights of the
blend are those with the least squared error there (stacking: Wolpert, 1992; Breiman, 1996). Then all that have weight
are fitted once more, to all observed cells. What can't beat the Gaussian gets no weight.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lowerbound.data.encoding import Raw
from lowerbound.estimators.fillers import (
    FIT_ELEMENTS,
    MAX_FULL,
    Blend,
    ExactFiller,
    Filler,
    cautious,
    fit_gaussian,
    fit_location,
    fit_mixture,
    stack,
    stream,
)

HELD_OUT = 0.1  # part of the observed cells
FEWEST_ROWS = 50  # with fewer there is nothing to judge by, and the Gaussian is taken
ROWS_A_COMPONENT = 20
COMPONENTS = (4, 16, 48)
SHRINKAGES = (0.25, 1.5)  # imaginary rows of each component for each column
MOST_WORK = 5e8  # components times rows times columns³ in a step of EM
WORSE = 1.02  # a ladder of components ends where the error is so many times the least


@dataclass
class Candidate:
    """One that is judged.

    ``refit(Z)`` fits it again, from where it is; ``error`` is its mean squared error on the hidden cells, with 1 for
    predicting the mean, and ``weight`` its part of the blend.
    """

    name: str
    refit: Callable[[np.ndarray], Filler]
    predicted: np.ndarray
    error: float
    weight: float = 0.0


@dataclass
class Trial:
    """Cells that are hidden, and what is known of them.

    Parameters
    ----------
    Z : ndarray, shape (n, P)
        The coded table.
    owner : ndarray, shape (P,)
        Which column of the table each column of Z belongs to: they are hidden together.
    importance : ndarray, shape (P,)
    seed : int
    raw : Raw
        Which columns are indicators.
    """

    Z: np.ndarray
    owner: np.ndarray
    importance: np.ndarray
    seed: int
    raw: Raw
    hidden: np.ndarray = field(init=False)  # (n, P)

    def __post_init__(self) -> None:
        rng = stream(self.seed, "hidden")
        first = np.searchsorted(self.owner, np.unique(self.owner))
        cells = ~np.isnan(self.Z[:, first]) & (rng.random((len(self.Z), len(first))) < HELD_OUT)
        cells &= (~np.isnan(self.Z[:, first])).sum(0) - cells.sum(0) >= 2  # no column may lose all it has
        self.hidden = cells[:, np.searchsorted(np.unique(self.owner), self.owner)]

    @property
    def rest(self) -> np.ndarray:
        """Z without the hidden cells."""
        return np.where(self.hidden, np.nan, self.Z)

    @property
    def weights(self) -> np.ndarray:
        """Importance of each hidden cell of Z."""
        return np.broadcast_to(self.importance, self.Z.shape)[self.hidden]

    def predict(self, filler: Filler) -> tuple[np.ndarray, float]:
        """What a filler puts in the hidden cells, and its mean squared error."""
        predicted = filler.mean(self.rest)[self.hidden]
        return predicted, float(np.average((predicted - self.Z[self.hidden]) ** 2, weights=self.weights))


Network = Callable[[Trial], Candidate | None]


def choose(
    Z: np.ndarray, owner: np.ndarray, importance: np.ndarray, raw: Raw, seed: int, network: Network | None, *,
    mixtures: bool = True, verbose: int = 0,
) -> tuple[Blend, list[dict[str, Any]]]:  # fmt: skip
    """The blend of the candidates that earn weight, fitted to all of Z; and a record of each candidate."""
    trial = Trial(Z, owner, importance, seed, raw)
    if len(Z) < FEWEST_ROWS or not trial.hidden.any():
        return Blend([fit_gaussian(Z, seed)], np.ones(1)), [{"name": "gaussian", "error": None, "weight": 1.0}]
    judged: list[Candidate] = []
    for candidate in _candidates(trial, network, mixtures):
        judged.append(candidate)
        if verbose:
            print(f"{candidate.name}: squared error {candidate.error:.4f} on hidden cells", file=sys.stderr)
    predicted = np.stack([c.predicted for c in judged])
    weights = cautious(stack(predicted, Z[trial.hidden], trial.weights), predicted, Z[trial.hidden], trial.weights)
    for candidate, weight in zip(judged, weights, strict=True):
        candidate.weight = float(weight)
    kept = [c for c in judged if c.weight > 0]
    blend = Blend([c.refit(Z) for c in kept], np.array([c.weight for c in kept]))
    if verbose:
        print("blend: " + ", ".join(f"{c.weight:.2f} {c.name}" for c in kept), file=sys.stderr)
    return blend, [{"name": c.name, "error": c.error, "weight": c.weight} for c in judged]


def _candidates(trial: Trial, network: Network | None, mixtures: bool) -> Iterator[Candidate]:
    gaussian = fit_gaussian(trial.rest, trial.seed)
    yield Candidate("gaussian", lambda Z: fit_gaussian(Z, trial.seed), *trial.predict(gaussian))
    is_number = trial.raw.blocks < 0
    if mixtures and not is_number.all() and 0 < is_number.sum() <= MAX_FULL:
        yield from _locations(trial, gaussian)
    elif mixtures and is_number.all() and trial.Z.shape[1] <= MAX_FULL:
        for shrinkage in SHRINKAGES:
            yield from _ladder(trial, gaussian, shrinkage * trial.Z.shape[1])
    candidate = None if network is None else network(trial)
    if candidate is not None:
        yield candidate


def _ladder(trial: Trial, gaussian: ExactFiller, shrinkage: float) -> Iterator[Candidate]:
    """Mixtures of more and more Gaussians, until the error rises."""
    least = np.inf
    for K in COMPONENTS:
        if len(trial.Z) < K * ROWS_A_COMPONENT or K * _work(trial.Z) > MOST_WORK:
            return
        filler = fit_mixture(trial.rest, gaussian, K, shrinkage, trial.seed)

        def refit(Z: np.ndarray, filler: ExactFiller = filler, K: int = K) -> ExactFiller:
            return fit_mixture(Z, fit_gaussian(Z, trial.seed), K, shrinkage, trial.seed, start=filler.model)  # type: ignore[arg-type]

        candidate = Candidate(f"mixture of {K} (shrinkage {shrinkage:g})", refit, *trial.predict(filler))
        yield candidate
        if candidate.error > WORSE * least:
            return
        least = min(least, candidate.error)


def _locations(trial: Trial, gaussian: ExactFiller) -> Iterator[Candidate]:
    """Components of Gaussian numbers and independent categories."""
    n_numbers = int((trial.raw.blocks < 0).sum())
    for shrinkage in SHRINKAGES:
        for K in COMPONENTS:
            if len(trial.Z) < K * ROWS_A_COMPONENT or K * _work(trial.Z[:, trial.raw.blocks < 0]) > MOST_WORK:
                break
            alpha = shrinkage * n_numbers
            filler = fit_location(trial.rest, trial.raw, gaussian, K, alpha, trial.seed)

            def refit(Z: np.ndarray, filler: ExactFiller = filler, K: int = K, alpha: float = alpha) -> ExactFiller:
                whole = fit_gaussian(Z, trial.seed)
                return fit_location(Z, trial.raw, whole, K, alpha, trial.seed, start=filler.model)  # type: ignore[arg-type]

            yield Candidate(f"location model of {K} (shrinkage {alpha:g})", refit, *trial.predict(filler))


def _work(Z: np.ndarray) -> float:
    """Rows that EM is given, times what a covariance of all columns costs each."""
    return min(len(Z) * Z.shape[1] ** 3, FIT_ELEMENTS)
