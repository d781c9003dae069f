"""A ladder of levels of latent variables: p(z) = Π_l p(z_l | levels above), p(x|z) at the bottom.

p and q share one path from the top down: q(z|x) = Π_l q(z_l | levels above, x) (Sønderby et al., 2016,
arXiv:1602.02282; Kingma et al., 2016, arXiv:1606.04934).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from lowerbound.core import Batch, Draw, Infer, Objective
from lowerbound.distributions.gaussians import DiagonalGaussian
from lowerbound.distributions.likelihoods.likelihood import Likelihood, LikelihoodHead
from lowerbound.distributions.noise import Noise
from lowerbound.models.conditional import ConditionalModel
from lowerbound.nn.hierarchical import Level

LevelDraw = Callable[[DiagonalGaussian, DiagonalGaussian], Tensor]


@dataclass
class Descent:
    """One top-down pass through a ladder.

    Attributes
    ----------
    z : Tensor, shape (*lead, D)
        The latent variables of all levels, the top one first.
    h : Tensor, shape (N, width, *grid)
        The features at the bottom, N = Π lead.
    prior, posterior : list of DiagonalGaussian
        p and q of every level, given the z above; parameters of shape (*lead, D_l).
    """

    z: Tensor
    h: Tensor
    prior: list[DiagonalGaussian]
    posterior: list[DiagonalGaussian]

    def log_prob(self, levels: Sequence[DiagonalGaussian]) -> Tensor:
        """Σ_l log-density of z_l, shape ``lead``."""
        parts = self.z.split([level.mean.shape[-1] for level in levels], -1)
        terms = [level.log_prob(part) for level, part in zip(levels, parts, strict=True)]
        return torch.stack(terms).sum(0)

    def kl(self) -> Tensor:
        """KL(q_l ‖ p_l) of every level, given the z above, shape (*lead, L)."""
        return torch.stack([_kl(q, p) for q, p in zip(self.posterior, self.prior, strict=True)], -1)


def _kl(q: DiagonalGaussian, p: DiagonalGaussian) -> Tensor:
    """Σ_j ½[σ_q²/σ_p² + (μ_q − μ_p)²/σ_p² − 1] − log σ_q/σ_p."""
    log_ratio = q.log_scale - p.log_scale
    shift = (q.mean - p.mean) * torch.exp(-p.log_scale)
    return (0.5 * (torch.expm1(2 * log_ratio) + shift.square()) - log_ratio).sum(-1)


class Levels:
    """p(z) of a ladder, or q(z|x) with ``seen``: one top-down pass scores and decodes a z.

    Parameters
    ----------
    ladder : Ladder
    seen : list of Tensor, optional
        The bottom-up features of x for every level, the top one first, ``(B, width, *grid)`` each.
    last : Descent, optional
        The last pass, which is reused for the same z.
    known : Tensor of bool, shape (B,), optional
        False for rows without any observed entry, for which q is p; all True by default.
    """

    prior = None

    def __init__(
        self, ladder: Ladder, seen: list[Tensor] | None = None, last: Descent | None = None,
        known: Tensor | None = None,
    ) -> None:  # fmt: skip
        self.ladder: Ladder
        self.seen: list[Tensor] | None
        self.known: Tensor | None
        self.ladder, self.seen, self.last, self.known = ladder, seen, last, known

    def prior_where(self, unknown: Tensor) -> Levels:
        """q, and p for the rows where ``unknown`` (B,) is True."""
        return Levels(self.ladder, self.seen, known=~unknown)

    def given(self, context: Tensor | None) -> Levels:
        """The same given a context of the rows, (B, C)."""
        return Levels(self.ladder.given(context), self.seen, known=self.known)

    def log_prob(self, z: Tensor) -> Tensor:
        """Σ_l log p(z_l | above), or that of q, shape (S, B)."""
        way = self._down(z)
        return way.log_prob(way.prior if self.seen is None else way.posterior)

    def rsample(self, shape: Sequence[int], noise: Noise) -> Tensor:
        """Draws from p, ``(*shape, D)``, or from q, ``(*shape, B, D)``."""
        rows = () if self.seen is None else (len(self.seen[0]),)
        self.last = self.ladder.descend(
            (*shape, *rows), self.seen, draw=lambda p, q: q.rsample((), noise), known=self.known
        )
        return self.last.z

    def kl_from(self, q: Levels) -> Tensor:
        """KL(q ‖ p) of every level, the mean over q's last draws, shape (B, L)."""
        assert q.last is not None
        return q.last.kl().mean(0)

    def kl_to_standard_normal(self) -> Tensor:
        """Raise ``TypeError``: the prior of a ladder is not N(0, I)."""
        raise TypeError("the posterior of a ladder belongs to the ladder's own prior")

    @cached_property
    def at_mean(self) -> Descent:
        """The pass down with every level's mean, given the means above."""
        assert self.seen is not None
        return self.ladder.descend((1, len(self.seen[0])), self.seen, known=self.known)

    @property
    def mean(self) -> Tensor:
        """Every level's mean, given the means above, shape (B, D)."""
        return self.at_mean.z[0]

    @property
    def scale(self) -> Tensor:
        """Every level's σ, given the means above, shape (B, D)."""
        return torch.cat([level.scale for level in self.at_mean.posterior], -1)[0]

    @property
    def scale_tril(self) -> Tensor:
        """diag σ, shape (B, D, D)."""
        return torch.diag_embed(self.scale)

    def detach(self) -> Levels:
        """Raise ``ValueError``: a level's parameters depend on the z above."""
        raise ValueError(PATHWISE_ONLY)

    def upper(self, n_levels: int) -> Levels:
        """q at the top ``n_levels`` levels, and p, given these, at the levels below."""
        assert self.seen is not None
        return Levels(self.ladder, self.seen[:n_levels], known=self.known)

    def _down(self, z: Tensor) -> Descent:
        if self.last is None or self.last.z is not z:
            self.last = self.ladder.descend(tuple(z.shape[:-1]), self.seen, z, known=self.known)
        return self.last


PATHWISE_ONLY = (
    "several levels of latent variables are fitted by gradient='pathwise': a level's parameters depend on the z above"
)


class Ladder(ConditionalModel):
    """Any number of levels, and one path down that p and q share.

    Parameters
    ----------
    levels : sequence of Level
        The levels, the top one first.
    output : Module
        The features at the bottom → raw parameters ``(N, P, *event)``.
    head : LikelihoodHead
    log_unit : Tensor, shape (*event), optional
        As in ``LatentModel``.
    n_context : int
        C, numbers of a context, which moves the features at the top; 0 for a model that isn't given any.
    """

    def __init__(
        self, levels: Sequence[Level], output: nn.Module, head: LikelihoodHead, log_unit: Tensor | None = None,
        n_context: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(n_context)
        self.levels: nn.ModuleList
        self.output: nn.Module
        self.head: LikelihoodHead
        self.levels, self.output, self.head = nn.ModuleList(levels), output, head
        self.start: nn.Parameter = nn.Parameter(torch.zeros(levels[0].features_shape))
        self.moved: nn.Module | None = None
        if n_context:
            self.moved = skip_init(nn.Linear, n_context, self.start.numel(), bias=False)
            nn.init.zeros_(self.moved.weight)  # type: ignore[arg-type]
        self.sizes: list[int] = [math.prod(level.shape) for level in levels]
        self.latent_dim: int = sum(self.sizes)
        self.register_buffer("log_unit", log_unit)

    def prior(self) -> Levels:
        """p(z) = Π_l p(z_l | levels above)."""
        return Levels(self)

    def posterior(self, *seen: Tensor) -> Levels:
        """q(z|x) = Π_l q(z_l | levels above, x), from the bottom-up features of x."""
        return Levels(self, list(seen))

    def likelihood(self, z: Tensor) -> Likelihood:
        """p(x|z) for z of shape (S, B, D)."""
        return self.decode(self.descend(tuple(z.shape[:-1]), z=z))

    def log_joint(self, batch: Batch, z: Tensor) -> Tensor:
        """log p(x, z), by one top-down pass, shape (S, B)."""
        way = self.given(batch.context).descend(tuple(z.shape[:-1]), z=z)
        return self.log_px_under(batch, self.decode(way)) + way.log_prob(way.prior)

    def draw(self, batch: Batch, posterior: Infer, objective: Objective, noise: Noise) -> Draw:
        """One way down draws z, scores it under p and q, and decodes it."""
        if objective.gradient != "pathwise":
            raise ValueError(PATHWISE_ONLY)
        q = posterior(batch, noise)
        assert isinstance(q, Levels)
        z = q.rsample((objective.samples,), noise)
        assert q.last is not None
        log_px = self.log_px_under(batch, self.decode(q.last))
        return Draw(z, log_px, Levels(q.ladder, last=q.last), q, q, batch.share)

    def descend(
        self, lead: tuple[int, ...], seen: list[Tensor] | None = None, z: Tensor | None = None,
        draw: LevelDraw | None = None, known: Tensor | None = None,
    ) -> Descent:  # fmt: skip
        """Make one top-down pass.

        Parameters
        ----------
        lead : tuple of int
            (S, B), or (n,) for p alone.
        seen : list of Tensor, optional
            The bottom-up features of x for the levels at the top; q is p at levels without them.
        z : Tensor, shape (*lead, D), optional
            The latent variables to be scored; by default each level has what is drawn, or q's mean.
        draw : callable, optional
            From p and q of a level, given the levels above, to its z, (*lead, D_l); q is p where there is no other.
        known : Tensor of bool, shape (B,), optional
            False for rows with q = p at all levels.
        """
        h = self._top().expand(*lead, *self.start.shape).flatten(0, len(lead) - 1)
        given = None if z is None else z.split(self.sizes, -1)
        parts, priors, posteriors = [], [], []
        for i, level in enumerate(self.levels):
            assert isinstance(level, Level)
            h = level.arrive(h)
            p = DiagonalGaussian(*(t.reshape(*lead, -1) for t in level.prior_of(h)))
            q = p if seen is None or i >= len(seen) else _relative(p, *level.step_to_posterior(h, seen[i]), known)
            part = given[i] if given is not None else q.mean if draw is None else draw(p, q)
            h = level.take(h, part.reshape(-1, *level.shape))
            parts.append(part)
            priors.append(p)
            posteriors.append(q)
        return Descent(torch.cat(parts, -1) if z is None else z, h, priors, posteriors)

    def _top(self) -> Tensor:
        """The features above all levels, of shape (*features), or (B, *features) given a context."""
        context = self.needed_context()
        if self.moved is None or context is None:
            return self.start
        return self.start + self.moved(context.to(self.start)).unflatten(-1, self.start.shape)

    def decode(self, way: Descent) -> Likelihood:
        """p(x|z) at the bottom of a pass."""
        return self.head(self.output(way.h).unflatten(0, way.z.shape[:-1]))


def _relative(p: DiagonalGaussian, shift: Tensor, log_ratio: Tensor, known: Tensor | None) -> DiagonalGaussian:
    """μ_q = μ_p + σ_p Δμ and σ_q = σ_p e^Δ, with Δμ = Δ = 0 for rows without any observed entry."""
    shift, log_ratio = (t.reshape(p.mean.shape) for t in (shift, log_ratio))
    if known is not None:
        shift, log_ratio = (torch.where(known.unsqueeze(-1), t, 0.0) for t in (shift, log_ratio))
    return DiagonalGaussian(p.mean + p.log_scale.exp() * shift, p.log_scale + log_ratio)
