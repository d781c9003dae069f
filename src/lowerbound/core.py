"""The names through which everything composes: Batch, Model, Posterior, Draw, Objective.

A model supplies the prior p(z) and the conditional p(x|z); a posterior supplies q(z|x); an objective turns a draw of
both into a loss. Models and posteriors never know each other: they meet in ``Model.draw``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from lowerbound.distributions.likelihoods.likelihood import Likelihood, event_sum
from lowerbound.distributions.noise import Noise
from lowerbound.parallel import WHOLE, Share


@dataclass(frozen=True)
class Batch:
    """Some rows of the data.

    Attributes
    ----------
    x : Tensor, shape (B, *event)
        The values, in the units that the model works in.
    mask : Tensor of bool, shape (B, *event)
        True where an entry is observed and counted in the density.
    index : Tensor of int64, shape (B,)
        The rows' places in the data set.
    share : Share
        Which rows these are of the batch that one step is taken with, where several processes train.
    complete : bool
        Whether every entry is known to be observed, so that nobody has to look at the mask.
    missing : Tensor of bool, shape (B, *event), or None
        True where an entry that would count was not observed; None where the data have no gaps.
    """

    x: Tensor
    mask: Tensor
    index: Tensor
    share: Share = WHOLE
    complete: bool = False
    missing: Tensor | None = None

    @property
    def seen(self) -> Tensor:
        """The entries that are observed, and zeros elsewhere."""
        return self.x if self.complete else torch.where(self.mask, self.x, 0.0)

    def with_hidden(self, hidden: Tensor) -> Batch:
        """The same rows with some entries not observed; ``hidden`` is broadcastable to (B, *event)."""
        missing = self.mask & hidden if self.missing is None else self.missing | (self.mask & hidden)
        return replace(self, mask=self.mask & ~hidden, complete=False, missing=missing)


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

    def forward(self, batch: Batch, noise: Noise | None = None) -> LatentDistribution:
        """q(z|x) for the rows of a batch."""
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

    Attributes
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


class Model(nn.Module):
    """A latent-variable model p(x, z) = p(z) p(x|z).

    A subclass supplies ``prior`` and p(x|z): ``log_px``, ``mean_x`` and ``draw_x``, and for imputation and outlier
    scores ``log_px_by_entry``, ``log_px_and_missing`` and ``draw_missing``. ``ElementwiseModel`` supplies them all from
    one distribution for every entry.

    Attributes
    ----------
    log_unit : Tensor, shape (*event), or None
        log of the user's units in one unit of x; None where x is discrete.
    """

    log_unit: Tensor | None

    def prior(self) -> Prior:
        """p(z)."""
        raise NotImplementedError(f"{type(self).__name__} does not define its prior")

    def log_px(self, batch: Batch, z: Tensor) -> Tensor:
        """log p(x|z) of the observed entries, in nats and the user's units; z is (S, B, D), the result (S, B)."""
        raise NotImplementedError(f"{type(self).__name__} does not define log p(x|z)")

    def log_px_by_entry(self, batch: Batch, z: Tensor) -> Tensor:
        """log p of every entry given z, in nats and the model's units, shape (S, B, *event)."""
        raise NotImplementedError(f"{type(self).__name__} does not define the log p of single entries")

    def mean_x(self, z: Tensor) -> Tensor:
        """E[x|z] for z of shape (S, B, D), shape (S, B, *event); of categories the most probable one."""
        raise NotImplementedError(f"{type(self).__name__} does not define E[x|z]")

    def draw_x(self, z: Tensor, noise: Noise) -> Tensor:
        """One draw of x for every z, shape (S, B, *event)."""
        raise NotImplementedError(f"{type(self).__name__} does not define how to draw from p(x|z)")

    def log_px_and_missing(self, batch: Batch, z: Tensor) -> tuple[Tensor, Likelihood]:
        """log p(x_o|z), shape (S, B), and p(x_m|x_o, z) of the missing entries, by one pass over z."""
        raise NotImplementedError(f"{type(self).__name__} does not define p(x_m|x_o, z)")

    def draw_missing(self, batch: Batch, z: Tensor, noise: Noise) -> Tensor:
        """One draw of x_m ~ p(x_m|x_o, z) for every z, shape (S, B, *event); observed entries hold anything."""
        raise NotImplementedError(f"{type(self).__name__} does not define how to draw from p(x_m|x_o, z)")

    def log_joint(self, batch: Batch, z: Tensor) -> Tensor:
        """log p(x, z) = log p(x|z) + log p(z), shape (S, B)."""
        return self.log_px(batch, z) + self.prior().log_prob(z)

    def log_prob(self, batch: Batch) -> Tensor:
        """log p(x) of the observed entries, in nats and the user's units, shape (B,); few models know it."""
        raise NotImplementedError(f"{type(self).__name__} can't integrate its latent variables out")

    def draw(self, batch: Batch, posterior: Infer, objective: Objective, noise: Noise) -> Draw:
        """Draw ``objective.samples`` latent vectors for every row from the posterior and score x under each."""
        q = posterior(batch, noise)
        z = q.rsample((objective.samples,), noise)
        if objective.gradient == "score":
            z = z.detach()
        density = q.detach() if objective.gradient == "fixed_density" else q
        return Draw(z, self.log_px(batch, z), q.prior or self.prior(), q, density, batch.share)


class Missingness(Protocol):
    """p(s|x) of which entries are missing.

    ``start`` takes the rates at which entries are missing, (*event); ``log_prob`` is log p(s|x_o, z) with the missing
    entries integrated out under p = p(x|z), in nats, (S, B); ``among_missing`` is p(x_m|z, s).
    """

    def start(self, rate: Tensor, /) -> None: ...  # noqa: D102
    def log_prob(self, batch: Batch, p: Any, /) -> Tensor: ...  # noqa: D102
    def among_missing(self, p: Any, /) -> Likelihood: ...  # noqa: D102


class ElementwiseModel(Model):
    """A model whose entries are independent given z; a subclass supplies ``prior`` and ``likelihood``.

    Attributes
    ----------
    missingness : Missingness or None
        It enters log p(x|z), which is then log p(x_o, s|z).
    """

    missingness: Missingness | None

    def __init__(self) -> None:
        super().__init__()
        self.missingness = None

    def likelihood(self, z: Tensor) -> Likelihood:
        """p(x|z), one distribution for every entry, for z of shape (S, B, D)."""
        raise NotImplementedError(f"{type(self).__name__} does not define its likelihood")

    def log_px(self, batch: Batch, z: Tensor) -> Tensor:
        """log p(x_o|z), or log p(x_o, s|z), in nats and the user's units, shape (S, B)."""
        return self.log_px_under(batch, self.likelihood(z))

    def log_px_under(self, batch: Batch, p: Likelihood) -> Tensor:
        """``log_px`` where p = p(x|z) is at hand, shape (S, B)."""
        log_px = event_sum(p.log_prob(batch.x), batch.mask, batch.complete)
        if self.log_unit is not None:  # |dx̃/dx| = 1/unit for every observed entry
            log_px = log_px - event_sum(self.log_unit, batch.mask, batch.complete)
        return log_px if self.missingness is None else log_px + self.missingness.log_prob(batch, p)

    def log_px_by_entry(self, batch: Batch, z: Tensor) -> Tensor:
        """log p of every entry given z, in nats and the model's units, shape (S, B, *event)."""
        return self.likelihood(z).log_prob(batch.x)

    def mean_x(self, z: Tensor) -> Tensor:
        """E[x|z], shape (S, B, *event)."""
        return self.likelihood(z).mean

    def draw_x(self, z: Tensor, noise: Noise) -> Tensor:
        """One draw of x for every z, shape (S, B, *event)."""
        return self.likelihood(z).sample(noise)

    def log_px_and_missing(self, batch: Batch, z: Tensor) -> tuple[Tensor, Likelihood]:
        """log p(x_o|z), and p(x_m|z): given z, missing entries are independent of the observed ones."""
        p = self.likelihood(z)
        return self.log_px_under(batch, p), self._missing(p)

    def draw_missing(self, batch: Batch, z: Tensor, noise: Noise) -> Tensor:
        """One draw of x_m ~ p(x_m|z) for every z, shape (S, B, *event)."""
        return self._missing(self.likelihood(z)).sample(noise)

    def _missing(self, p: Likelihood) -> Likelihood:
        return p if self.missingness is None else self.missingness.among_missing(p)


class NoLatents:
    """Prior and posterior of a model without latent variables: a vector of no numbers, log-density 0, KL 0."""

    prior = None

    def __init__(self, n_rows: int, like: Tensor) -> None:
        self.mean: Tensor = like.new_zeros(n_rows, 0)
        self.scale: Tensor = self.mean
        self.scale_tril: Tensor = like.new_zeros(n_rows, 0, 0)

    def log_prob(self, z: Tensor) -> Tensor:
        """0 for every row, shape (S, B)."""
        return z.new_zeros(z.shape[:-1])

    def rsample(self, shape: Sequence[int], noise: Noise) -> Tensor:
        """Shape (*shape, B, 0)."""
        return self.mean.expand(*shape, *self.mean.shape)

    def kl_to_standard_normal(self) -> Tensor:
        """No groups, shape (B, 0)."""
        return self.mean

    def kl_from(self, q: NoLatents) -> Tensor:
        """No groups, shape (B, 0)."""
        return self.mean

    def detach(self) -> NoLatents:
        """Itself: it has no parameters."""
        return self


class ExplicitModel(Model):
    """A model without latent variables: it supplies log p(x) itself, so every bound becomes the exact likelihood."""

    def log_prob(self, batch: Batch) -> Tensor:
        """log p(x) of the observed entries, in nats and the user's units, shape (B,)."""
        raise NotImplementedError(f"{type(self).__name__} does not define its density")

    def sample(self, n: int, noise: Noise, *, mean: bool = False) -> Tensor:
        """``n`` draws of x, or its mean n times, shape (n, *event)."""
        raise NotImplementedError(f"{type(self).__name__} does not define how to draw from it")

    def draw(self, batch: Batch, posterior: Infer, objective: Objective, noise: Noise) -> Draw:
        """The exact log p(x), with latent terms of zero."""
        log_px = self.log_prob(batch)
        nothing = NoLatents(len(log_px), log_px)
        return Draw(nothing.rsample((1,), noise), log_px[None], nothing, nothing, nothing, batch.share)


class NoPosterior(Posterior):
    """The posterior of a model without latent variables: a distribution over no numbers."""

    def forward(self, batch: Batch, noise: Noise | None = None) -> NoLatents:
        """A distribution over no numbers for every row."""
        return NoLatents(len(batch.x), batch.x)
