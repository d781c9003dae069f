"""The prior, the posterior, a scored draw of z from them, and the objective that turns it into a loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from lowerbound.core.batch import Batch
from lowerbound.distributions.noise import Noise
from lowerbound.parallel import WHOLE, Share


class once:
    """A property that is computed once, when it is first asked for; ``cached_property`` has a lock, no graph can."""

    def __init__(self, compute: Callable[[Any], Tensor]) -> None:
        self.compute: Callable[[Any], Tensor] = compute
        self.__doc__ = compute.__doc__

    def __get__(self, owner: Any, kind: type | None = None) -> Tensor:
        value = self.compute(owner)
        setattr(owner, self.compute.__name__, value)
        return value


class Prior(Protocol):
    """p(z): ``log_prob(z)`` is ``(S, B)``, ``rsample(shape, noise)`` is ``(*shape, D)``.

    ``kl_from(q)`` is KL(q ‖ p) in groups, ``(B, G)``, or None where it has no closed form.
    """

    def log_prob(self, z: Tensor) -> Tensor: ...  # noqa: D102
    def rsample(self, shape: Sequence[int], noise: Noise) -> Tensor: ...  # noqa: D102
    def kl_from(self, q: Any, /) -> Tensor | None: ...  # noqa: D102


class LatentDistribution(Protocol):
    """q(z|x) for the rows of a batch.

    ``kl_to_standard_normal`` is the KL in G groups, ``(B, G)``, or None where it has no closed form. ``prior`` is the
    p(z) that q was made with, where it is p(z) for some rows; else None.
    """

    @property
    def prior(self) -> Prior | None: ...  # noqa: D102
    @property
    def mean(self) -> Tensor: ...  # noqa: D102
    @property
    def scale(self) -> Tensor: ...  # noqa: D102
    @property
    def scale_tril(self) -> Tensor: ...  # noqa: D102
    def log_prob(self, z: Tensor) -> Tensor: ...  # noqa: D102
    def rsample(self, shape: Sequence[int], noise: Noise) -> Tensor: ...  # noqa: D102
    def kl_to_standard_normal(self) -> Tensor | None: ...  # noqa: D102
    def detach(self) -> LatentDistribution: ...  # noqa: D102


class Infer(Protocol):
    """Called with a batch (and noise, for posteriors that are drawn), returns q(z|x) for its rows."""

    def __call__(self, batch: Batch, noise: Noise | None = None, /) -> LatentDistribution: ...  # noqa: D102


class Posterior(nn.Module):
    """q(z|x) with parameters φ; a subclass supplies ``forward``.

    Attributes
    ----------
    keeps_rows : bool
        It holds something for every training row, found by ``batch.index``; then one process has to train it.
    """

    keeps_rows = False

    def __init__(self) -> None:
        super().__init__()

    def forward(self, batch: Batch, noise: Noise | None = None) -> LatentDistribution:
        """q(z|x) for the rows of a batch.

        Parameters
        ----------
        batch : Batch
            B rows; a row of which nothing is observed should get the prior.
        noise : Noise, optional
            The random numbers, for a posterior that is itself drawn.

        Returns
        -------
        LatentDistribution
            Its draws have shape (S, B, D).
        """
        raise NotImplementedError(f"{type(self).__name__} does not define q(z|x)")

    def for_new_rows(self) -> Posterior:
        """q(z|x) for rows that were not fitted: itself, unless it keeps something for every training row."""
        return self

    def findings(self) -> dict[str, float]:
        """Numbers to report at the end of training, by name."""
        return {}

    def row_parameters(self) -> list[nn.Parameter]:
        """Parameters that belong to single rows, whose gradients are sparse."""
        return []


@dataclass
class Draw:
    """A draw of z for the rows of a batch, scored; a term is computed when an objective asks for it.

    Attributes
    ----------
    z : Tensor, shape (S, B, D)
    log_px : Tensor, shape (S, B)
        log p(x|z), in nats a row.
    """

    z: Tensor
    log_px: Tensor
    prior: Prior
    posterior: LatentDistribution
    density: LatentDistribution  # the posterior that scores z: the same, or one whose parameters are held fixed
    share: Share = WHOLE  # of the batch; ``share.mean`` is the mean over all its rows

    @once
    def log_pz(self) -> Tensor:
        """log p(z), shape (S, B)."""
        return self.prior.log_prob(self.z)

    @once
    def log_qz(self) -> Tensor:
        """log q(z|x), shape (S, B)."""
        return self.density.log_prob(self.z)

    @property
    def samples_kl(self) -> bool:
        """KL(q(z|x) ‖ p(z)) has no closed form, so that ``kl`` is an estimate, which may be negative."""
        return self.prior.kl_from(self.posterior) is None

    @once
    def kl(self) -> Tensor:
        """KL(q(z|x) ‖ p(z)) in groups, shape (B, G); the mean over the draws, in one group, without a closed form."""
        closed_form = self.prior.kl_from(self.posterior)
        return (self.log_qz - self.log_pz).mean(0).unsqueeze(-1) if closed_form is None else closed_form

    @property
    def log_w(self) -> Tensor:
        """The log importance weight log p(x, z) − log q(z|x), shape (S, B)."""
        return self.log_px + self.log_pz - self.log_qz


@dataclass
class ObjectiveState:
    """The part of an objective that changes in training and is saved with a checkpoint, as JSON.

    Attributes
    ----------
    step : int
        Steps taken.
    baseline : float or None
        Running mean of the learning signal, for score-function gradients; None before the first step.
    """

    step: int = 0
    baseline: float | None = None


@dataclass(frozen=True)
class Objective:
    """A loss and the way its draws must be made, bound together.

    Parameters
    ----------
    loss : callable
        ``(Draw, ObjectiveState) → (B,)``: the loss of every row, in nats.
    samples : int
        S, how many z are drawn for each row.
    gradient : {"pathwise", "score", "fixed_density"}
        How the encoder's gradient reaches the loss: through z = g(φ, ε); through log q(z|x) alone, z being held
        fixed; or through z alone, the parameters of log q being held fixed.
    warmup_steps : int
        Steps during which the loss is not yet what it is going to be.
    """

    loss: Callable[[Draw, ObjectiveState], Tensor]
    samples: int = 1
    gradient: Literal["pathwise", "score", "fixed_density"] = "pathwise"
    warmup_steps: int = 0
