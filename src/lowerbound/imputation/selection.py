"""The choice of fillers and their weights, by their errors on observed cells that are hidden from them.

A tenth of the observed cells is hidden. Every candidate is fitted to the rest and predicts them; the weights of the
stack are those with the least squared error there (stacking: Wolpert, 1992; Breiman, 1996), column by column. Then all
candidates with weight are fitted again, to all observed cells. A candidate that isn't better than the Gaussian gets no
weight, and a column in which nothing is better than its mean or most frequent category is filled with that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lowerbound.data.table_code import TableCode
from lowerbound.imputation.budget import Budget
from lowerbound.imputation.candidates import (
    FEWEST_ROWS,
    Candidate,
    Trial,
    View,
    of_columns,
    of_mixtures,
    with_categories,
)
from lowerbound.imputation.gaussians import Filler, fit_gaussian
from lowerbound.imputation.stacking import Stack, column_weights
from lowerbound.warning import warn

LEAST_MEAN = 0.03  # weight over all columns, below which a candidate isn't worth its time

Network = Callable[[View, list[Candidate], Budget], Candidate | None]


def choose(
    Z: np.ndarray, code: TableCode, seed: int, network: Network | None, budget: Budget, *,
    mixtures: bool = True, verbose: int = 0,
) -> tuple[Stack, list[dict[str, Any]]]:  # fmt: skip
    """The stack of the candidates with weight, fitted to all of Z; and a record of each candidate."""
    trial = Trial(Z, code, seed)
    if len(Z) < FEWEST_ROWS or not trial.hidden.any():
        only = {"name": "gaussian", "error": None, "weight": 1.0}
        return Stack([fit_gaussian(Z, seed)], np.ones((1, code.width)), code.raw, code.scale), [only]
    judged = _judged(trial, network, budget, mixtures=mixtures, verbose=verbose)
    weights = _weights(judged, trial)
    kept = [c for c in judged if c.weight > 0]
    stack = Stack(_refitted(kept, budget), weights[weights.any(1)][:, trial.owner], code.raw, code.scale)
    if verbose:
        print("blend: " + ", ".join(f"{c.weight:.2f} {c.name}" for c in kept), file=sys.stderr)
    return stack, [{"name": c.name, "error": c.error, "weight": c.weight} for c in judged]


def _judged(trial: Trial, network: Network | None, budget: Budget, *, mixtures: bool, verbose: int) -> list[Candidate]:
    """All candidates, or those that there was time for; the better Gaussian is the first."""
    judged: list[Candidate] = []
    try:
        for candidate in _candidates(trial, network, budget, judged, mixtures=mixtures):
            judged.append(candidate)
            if verbose:
                print(f"{candidate.name}: squared error {candidate.error:.4f} on hidden cells", file=sys.stderr)
            budget.begin(f"imputer: fitted {candidate.name}")
            if budget.is_over:
                break
        if budget.is_over:
            _warn_stopped("the time is over", judged)
    except KeyboardInterrupt:
        if not judged:
            raise
        _warn_stopped("interrupted", judged)
    best = min((c for c in judged if c.is_gaussian), key=lambda c: c.error)
    return [best, *(c for c in judged if c is not best)]


def _candidates(
    trial: Trial, network: Network | None, budget: Budget, judged: list[Candidate], *, mixtures: bool
) -> Iterator[Candidate]:
    """The candidates, each of which is judged before the next is fitted."""
    views = [View(trial)] + [View(trial, of_values=True)] * bool(trial.scale.scores)
    for view in views:
        yield view.of_gaussian()
    base = views[int(np.argmin([gaussian.error for gaussian in judged]))]
    if network is not None or mixtures:
        yield of_columns(trial)
    yield from with_categories(base)
    if mixtures:
        yield from of_mixtures(base)
    candidate = None if network is None else network(base, judged, budget)
    if candidate is not None:
        yield candidate


def _warn_stopped(why: str, judged: list[Candidate]) -> None:
    names = ", ".join(candidate.name for candidate in judged)
    warn(f"{why}: the imputer is made of what was fitted so far ({names})")


def _weights(judged: list[Candidate], trial: Trial) -> np.ndarray:
    """Weights (C, columns) of the candidates; those with little weight in all are left out, and the rest weighted."""
    of_hidden, row = trial.of_hidden, np.nonzero(trial.hidden)[0]
    plain = next((i for i, c in enumerate(judged) if c.is_plain), None)
    weights = np.zeros((len(judged), len(trial.is_number)))
    kept = list(range(len(judged)))
    for _ in range(2):
        found = column_weights(
            np.stack([judged[i].predicted for i in kept]), trial.target, of_hidden(trial.code.importance), row,
            of_hidden(trial.owner), trial.is_number, None if plain is None else kept.index(plain),
        )  # fmt: skip
        weights = np.zeros_like(weights)
        weights[kept] = found
        kept = [i for i in kept if i in (0, plain) or weights[i].mean() >= LEAST_MEAN]
    for candidate, weight in zip(judged, weights.mean(1), strict=True):
        candidate.weight = float(weight)
    return weights


def _refitted(kept: list[Candidate], budget: Budget) -> list[Filler]:
    """The candidates fitted to all cells, or as they are if there is no time."""
    fillers: list[Filler] = []
    for candidate in kept:
        budget.begin(f"imputer: fitting {candidate.name} to all cells")
        try:
            fillers.append(candidate.filler if budget.is_over else candidate.refit())
        except KeyboardInterrupt:
            budget.until = 0.0
            _warn_stopped("interrupted", kept)
            fillers.append(candidate.filler)
    return fillers
