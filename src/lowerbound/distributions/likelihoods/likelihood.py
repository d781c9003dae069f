"""The interface of a likelihood: the distribution itself, and the head that makes it from a network's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from lowerbound.distributions.noise import Noise


def event_sum(log_prob: Tensor, mask: Tensor, complete: bool = False) -> Tensor:
    """Sum a log-density over the observed entries of each event.

    Parameters
    ----------
    log_prob : Tensor, shape (*, B, *event)
        Log-density of every entry, in nats.
    mask : Tensor of bool, shape (B, *event)
        True where an entry is observed.
    complete : bool
        The mask is known to be True everywhere: a pass over all entries, and its gradient, are saved.

    Returns
    -------
    Tensor, shape (*, B); (*) where ``log_prob`` is the same for all rows and the mask complete
    """
    event_dims = tuple(range(1 - mask.ndim, 0))
    return (log_prob if complete else torch.where(mask, log_prob, 0.0)).sum(event_dims)


class Likelihood(Protocol):
    """p(x|z) for every entry of x, as a decoder returns it."""

    @property
    def mean(self) -> Tensor:
        """E[x|z], shape (S, B, *event)."""
        ...

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of each entry, in nats, shape (S, B, *event)."""
        ...

    def sample(self, noise: Noise) -> Tensor:
        """One draw of x for every z, shape (S, B, *event)."""
        ...

    def averages(self) -> list[Tensor]:
        """Quantities that can be averaged over z, (S, B, …) each: means of numbers, probabilities of categories."""
        ...

    def from_averages(self, averages: Sequence[Tensor]) -> Tensor:
        """Rows of averages over z, which have lost their first dimension: shape (B, *event)."""
        ...


class CodedLikelihood(Likelihood, Protocol):
    """A likelihood whose entries a coder can write."""

    def cumulative(self, x: Tensor) -> Tensor:
        """P(X ≤ x) of every entry, shape (S, B, *event), for any x (B, *event), values that X can't have included."""
        ...


class AveragedByMean:
    """Numbers, whose expectation under a mixture over z is the average of their means."""

    def averages(self: Likelihood) -> list[Tensor]:
        """E[x|z]."""
        return [self.mean]

    def from_averages(self, averages: Sequence[Tensor]) -> Tensor:
        """The average itself."""
        (mean,) = averages
        return mean


class LikelihoodHead(nn.Module):
    """Raw parameters ``(S, B, P, *event)`` to p(x|z)."""

    n_parameters: int
    parameter_shape: tuple[int, ...] | None = None  # in place of the event's, where entries have unequal numbers

    @property
    def start(self) -> Tensor | None:
        """The start of the parameters, of shape ``parameter_shape``; None where `LikelihoodKind.start` gives it."""
        return None

    def forward(self, raw: Tensor) -> Likelihood:
        """(S, B, P, *event) → p(x|z)."""
        raise NotImplementedError(f"{type(self).__name__} does not say how parameters become a distribution")
