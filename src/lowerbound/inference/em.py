"""Exact EM: q(z|x) is the posterior itself, so that the bound is tight and its maximum is in closed form.

A model that can be fitted by EM has two methods. ``expect(batch)`` returns sums over rows, under the posterior at the
present parameters; ``maximize(sums)`` moves the parameters to the maximum of the expected log p(x, z), which depends on
the rows through these sums alone. log p(x) never falls from one step to the next (Dempster, Laird & Rubin, 1977,
theorem 1; Neal & Hinton, 1998, for the view as coordinate ascent on the lower bound).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import add
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from lowerbound.core import Batch

Sums = TypeVar("Sums", bound=tuple[Tensor, ...])
Batches = Callable[[], Iterable[Batch]]


class Maximizable(Protocol):
    """A model that exact EM can fit; its sums have at least the fields ``n_rows`` and ``log_p``."""

    def expect(self, batch: Batch) -> Any: ...  # noqa: D102
    def maximize(self, sums: Any) -> None: ...  # noqa: D102
    def log_prior(self) -> Tensor:
        """The log-density of the parameters if they have a prior, else 0; ``maximize`` includes it."""
        ...


@dataclass
class Ascent:
    """The history of an EM fit.

    Attributes
    ----------
    objective : list of float
        (log p(X | θ) + log p(θ))/n, in nats a row, before each M-step, and at the end if the fit converged.
    n_iter : int
        M-steps made.
    converged : bool
        The last steps gained less than ``tol``.
    """

    objective: list[float]
    n_iter: int
    converged: bool


def total(statistics: Callable[[Batch], Sums], batches: Iterable[Batch]) -> Sums:
    """The sums over all batches, field by field."""
    parts = iter(batches)
    sums = statistics(next(parts))
    for batch in parts:
        sums = _plus(sums, statistics(batch))
    return sums


def _plus(a: Any, b: Any) -> Any:
    return type(a)(*map(add, a, b))


@torch.no_grad()
def fit(
    model: Maximizable, batches: Batches, tol: float, max_iter: int, patience: int = 1,
    watch: Callable[[int, float], None] = lambda n_iter, objective: None,
) -> Ascent:  # fmt: skip
    """Alternate E-steps and M-steps until the objective gains less than ``tol``.

    Parameters
    ----------
    model : Maximizable
        Starts from its present parameters.
    batches : callable
        Returns all rows once, in batches; called for every E-step.
    tol : float
        The least gain of the objective, in nats a row.
    max_iter : int
        M-steps at most.
    patience : int
        Steps in a row that gain less than ``tol`` over the best before, after which the fit ends; more than 1 if
        ``batches`` returns other rows at every call, so that the objective is noisy.
    watch : callable
        Called with the number of M-steps made and the objective.
    """
    objective: list[float] = []
    for n_iter in range(max_iter):
        sums = total(model.expect, batches())
        objective.append(((sums.log_p + model.log_prior()) / sums.n_rows).item())
        watch(n_iter, objective[-1])
        if n_iter >= patience and max(objective[-patience:]) < max(objective[:-patience]) + tol:
            return Ascent(objective, n_iter, True)
        model.maximize(sums)
    return Ascent(objective, max_iter, False)
