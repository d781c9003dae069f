"""Self-masking: a model of the mask of missing entries, together with a model of the entries.

If p(missing) depends on the missing value itself, the observed entries alone are biased (incomes that are withheld
because they are high). not-MIWAE (Ipsen, Mattei & Frellsen, 2021, arXiv:2006.12871) therefore scores the
mask s too: log p(x_o, s) = log ∫∫ p(x_o, x_m|z) p(s|x_o, x_m) p(z) dx_m dz.

Here the probability that an entry is missing depends on its own value and on observed ones, by a probit where the
paper has a logit. Given z, entries are normal, so that the integral over x_m has a closed form and no x_m has to be
drawn. Were the own value the only one, whatever else hides an entry (values that are missing at random) would be taken
for its doing.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lowerbound.core import Batch
from lowerbound.distributions.gaussians import LOG_2PI
from lowerbound.distributions.likelihoods.likelihood import AveragedByMean, event_sum
from lowerbound.distributions.likelihoods.normal import Normal
from lowerbound.distributions.noise import Noise

STARTING_STEPS = 300


@dataclass
class SelectedNormal(AveragedByMean):
    """p(x|missing) ∝ N(x; μ, σ²) Φ(ax + b): normal entries, given that they are missing.

    With η ~ N(0, 1) an entry is missing if ax + b + η > 0. Density, mean and draws are functions of
    t = (aμ + b)/c with c² = 1 + a²σ² (extended skew-normal: Azzalini, 1985).

    Attributes
    ----------
    normal : Normal
        N(μ, σ²) of every entry, (S, B, *event).
    slope, offset : Tensor, shape (*event) and (*event) or (B, *event)
        a and b.
    """

    normal: Normal
    slope: Tensor
    offset: Tensor

    @property
    def width(self) -> Tensor:
        """c, the standard deviation of ax + η."""
        return (1 + (self.slope * self.normal.scale).square()).sqrt()

    @property
    def t(self) -> Tensor:
        """t, with p(missing) = Φ(t)."""
        return (self.slope * self.normal.mean + self.offset) / self.width

    @property
    def log_p_missing(self) -> Tensor:
        """log ∫ N(x; μ, σ²) Φ(ax + b) dx = log Φ(t), (S, B, *event)."""
        return torch.special.log_ndtr(self.t)

    def log_prob(self, x: Tensor) -> Tensor:
        """log N(x; μ, σ²) + log Φ(ax + b) − log Φ(t), (S, B, *event)."""
        return self.normal.log_prob(x) + torch.special.log_ndtr(self.slope * x + self.offset) - self.log_p_missing

    @property
    def mean(self) -> Tensor:
        """μ + (aσ²/c) φ(t)/Φ(t)."""
        ratio = torch.exp(-0.5 * self.t.square() - 0.5 * LOG_2PI - self.log_p_missing)
        return self.normal.mean + self.slope * self.normal.scale.square() / self.width * ratio

    def sample(self, noise: Noise) -> Tensor:
        """x = μ + σ(ρw + √(1 − ρ²)ξ) with ρ = aσ/c, w ~ N(0, 1) above −t, and ξ ~ N(0, 1)."""
        t, shape = self.t.double(), self.t.shape
        u = noise.uniform(shape, self.t).double().clamp_min(torch.finfo(torch.float32).tiny)
        w = -torch.special.ndtri((u * torch.special.ndtr(t)).clamp_min(1e-300)).to(self.t.dtype)
        rho = self.slope * self.normal.scale / self.width
        free = noise.normal(shape, self.t)
        return self.normal.mean + self.normal.scale * (rho * w + (1 - rho.square()).clamp_min(0).sqrt() * free)


class SelfMasking(nn.Module):
    """p(x_j missing | x) = Φ(a_j x_j + b_j + c_j·x_o), for entries that are normal given z.

    x_o are the observed entries among those that are missing less often than x_j, and 0 for the others: with this order
    p(s|x) = Π_j p(s_j | x_j, x_o before j) is a distribution of s. a and c have the prior N(0, 1), in standardized
    units.

    Parameters
    ----------
    event_shape : sequence of int
    """

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__()
        n = math.prod(event_shape)
        self.slope: nn.Parameter = nn.Parameter(torch.zeros(tuple(event_shape)))
        self.offset: nn.Parameter = nn.Parameter(torch.zeros(tuple(event_shape)))
        self.cross_slopes: nn.Parameter = nn.Parameter(torch.zeros(n, n))
        self.before: Tensor
        self.n_rows: Tensor
        self.register_buffer("before", torch.zeros(n, n, dtype=torch.bool))
        self.register_buffer("n_rows", torch.tensor(math.inf))
        self.register_load_state_dict_pre_hook(_without_others)

    def start(self, batch: Batch, n_rows: int) -> None:
        """Start where the entries of some of ``n_rows`` rows are linear functions of each other, with normal errors.

        From there a gradient finds the way to other p(x|z); from a = c = 0 it takes long to tell the effects of x_j
        and x_o from each other.
        """
        if batch.missing is None:
            return
        rate = batch.missing.float().mean(0)
        place = rate.flatten().argsort(stable=True).argsort()
        with torch.no_grad():
            self.offset.copy_(torch.special.ndtri(rate.clamp(1e-3, 1 - 1e-3)))
            self.before.copy_(place < place.unsqueeze(1))
            self.n_rows.fill_(n_rows)
            for own, fitted in zip(self.parameters(), beside_regressions(self, batch).parameters(), strict=True):
                if fitted.isfinite().all():
                    own.copy_(fitted)

    def penalty(self) -> Tensor:
        """−log p(a, c)/n, up to a constant."""
        return (self.slope.square().sum() + self.cross_slopes.square().sum()) / (2 * self.n_rows)

    def offsets(self, batch: Batch) -> Tensor:
        """b_j + c_j·x_o of every row, shape (B, *event)."""
        c = self.cross_slopes * self.before
        return self.offset + (batch.seen.flatten(1) @ c.mT).view(batch.x.shape)

    def among_missing(self, batch: Batch, p: Normal) -> SelectedNormal:
        """p(x_m|z, s, x_o)."""
        return SelectedNormal(p, self.slope, self.offsets(batch))

    def log_prob(self, batch: Batch, p: Normal) -> Tensor:
        """log p(s|x_o, z) with the missing entries integrated out, in nats, shape (S, B)."""
        selected = self.among_missing(batch, p)
        shown = torch.special.log_ndtr(-(self.slope * batch.seen + selected.offset)).expand_as(p.mean)
        log_p = event_sum(shown, batch.mask, batch.complete)
        if batch.missing is None:
            return log_p
        return log_p + event_sum(selected.log_p_missing, batch.missing)


def beside_regressions(masks: SelfMasking, batch: Batch) -> SelfMasking:
    """The most probable a, b and c if x_j ~ N(α_j + β_j·x_o, σ_j²), in float64 (for one column: Heckman, 1979)."""
    masks, batch = copy.deepcopy(masks).double(), replace(batch, x=batch.seen.double())
    shape, n = batch.x.shape, batch.x[0].numel()
    masks.n_rows.fill_(len(batch.x))
    intercept, slopes, log_scale = (masks.slope.new_zeros(s, requires_grad=True) for s in ((n,), (n, n), (n,)))
    others = 1 - torch.eye(n, dtype=torch.float64, device=slopes.device)
    weights = [*masks.parameters(), intercept, slopes, log_scale]
    optimizer = torch.optim.LBFGS(weights, max_iter=STARTING_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        mean = intercept + batch.x.flatten(1) @ (slopes * others).mT
        p = Normal(mean.view(1, *shape), log_scale.exp().view(shape[1:]))
        log_p = event_sum(p.log_prob(batch.x), batch.mask, batch.complete) + masks.log_prob(batch, p)
        found = masks.penalty() + slopes.square().sum() / (2 * len(batch.x)) - log_p.mean()
        found.backward()
        return found

    with torch.enable_grad():
        optimizer.step(loss)
    return masks


def _without_others(module: SelfMasking, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Let models be read that were saved before others' values counted."""
    for name in ("cross_slopes", "before", "n_rows"):
        state.setdefault(f"{prefix}{name}", getattr(module, name).detach())
