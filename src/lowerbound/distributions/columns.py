"""p(x) of rows whose entries are of several kinds: categories, whole numbers, reals with and without atoms.

Each entry of x is one number: the place of a category, or (g(v) − location)/unit of a number v, with g the identity or
the logarithm. Densities are those of v, in the user's units: probabilities of categories and counts, densities of
reals, and where a real column has atoms, both with respect to the sum of the counting measure on these and Lebesgue's.
So their product is one joint density, whatever model it comes from.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from lowerbound.distributions.atoms import FIRST, is_atom, place_of
from lowerbound.distributions.gaussians import LOG_2PI
from lowerbound.distributions.likelihoods.categorical import Categorical
from lowerbound.distributions.likelihoods.likelihood import Likelihood
from lowerbound.distributions.noise import Noise
from lowerbound.distributions.scaling import Scaling
from lowerbound.distributions.tails import lognormal_mean, normal_mean, student_below, student_mean
from lowerbound.distributions.unseen import is_unseen, log_part

FAR, STEPS = 14.0, 48  # beyond ±14 the logistic density has a probability of 2·10⁻⁶


@dataclass
class Categories:
    """n columns of categories 0, 1, …: a softmax over the common ones and, as one more, all rare ones together.

    The probability of the rare is divided evenly among them, so that those of all categories sum to 1.

    Attributes
    ----------
    logits : Tensor, shape (S, B, n, K)
        −inf beyond a column's own.
    n_common, n_rare : Tensor of int64, shape (n,)
    values : Tensor, shape (n, K)
        The numbers that categories in order stand for, rising; NaN in columns whose categories aren't numbers.
    """

    logits: Tensor
    n_common: Tensor
    n_rare: Tensor
    values: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of the category, shape (S, B, n)."""
        is_rare = x >= self.n_common
        together = Categorical(self.logits).log_prob(torch.minimum(x, self.n_common.to(x.dtype)).clamp_min(0))
        return together - torch.where(is_rare & (self.n_rare > 0), self.n_rare.clamp_min(1).to(x.dtype).log(), 0.0)

    @property
    def mean(self) -> Tensor:
        """The mode; of numbers the mean, as a place between categories."""
        rare = torch.arange(self.logits.shape[-1], device=self.logits.device) == self.n_common[:, None]
        each = torch.where(rare, self.logits - self.n_rare.clamp_min(1).log()[:, None], self.logits)
        mode = each.argmax(-1).to(self.logits.dtype)  # of the rare ones, which are together, each
        are_numbers = ~self.values[:, 0].isnan()
        values = self.values.nan_to_num()
        p = self.logits.softmax(-1)
        last = torch.isfinite(self.values).sum(-1).clamp_min(1) - 1
        mean = (p * values).sum(-1)
        order = torch.where(torch.isfinite(self.values), self.values, torch.inf).contiguous()
        flat = mean.movedim(-1, 0).flatten(1).contiguous()
        below = (torch.searchsorted(order, flat, right=True) - 1).clamp_min(0)
        below = torch.minimum(below, (last - 1).clamp_min(0)[:, None])
        start = values.gather(1, below)
        step = values.gather(1, torch.minimum(below + 1, last[:, None])) - start
        place = below + torch.where(step > 0, (flat - start) / torch.where(step > 0, step, 1.0), 0.0)
        place = torch.minimum(place.clamp_min(0), last[:, None].to(place.dtype))
        return torch.where(are_numbers, place.unflatten(1, mean.shape[:-1]).movedim(0, -1).to(mode.dtype), mode)

    def sample(self, noise: Noise) -> Tensor:
        """A category; of the rare ones any."""
        category = Categorical(self.logits).sample(noise)
        n_rare = self.n_rare.to(category.dtype)
        any_rare = self.n_common + (noise.uniform(category.shape, category) * n_rare).floor().clamp_max(n_rare - 1)
        return torch.where((category >= self.n_common) & (self.n_rare > 0), any_rare, category)

    def cumulative(self, place: Tensor) -> Tensor:
        """P of the categories up to a place, shape (S, B, n)."""
        sums, p_rare = self._sums
        last = torch.minimum(place, self.n_common - 1).clamp_min(0).long().expand(p_rare.shape).unsqueeze(-1)
        part = (place - self.n_common + 1).clamp_min(0).minimum(self.n_rare) / self.n_rare.clamp_min(1)
        common = torch.where(self.n_common > 0, sums.gather(-1, last).squeeze(-1), 0.0)
        return torch.where(place < 0, 0.0, common + part * p_rare)

    @cached_property
    def _sums(self) -> tuple[Tensor, Tensor]:
        """Sums of the probabilities up to each category, (S, B, n, K), and that of all rare ones, (S, B, n)."""
        p = self.logits.softmax(-1)
        rare = self.n_common.clamp_max(p.shape[-1] - 1).expand(p.shape[:-1]).unsqueeze(-1)
        return p.cumsum(-1), p.gather(-1, rare).squeeze(-1)

    def averages(self) -> list[Tensor]:
        """Probabilities of the common categories and of all rare ones together, (S, B, n, K)."""
        return [self.logits.softmax(-1)]

    def from_averages(self, averages: Sequence[Tensor]) -> Tensor:
        """``mean`` with these probabilities."""
        (p,) = averages
        return replace(self, logits=p.log().unsqueeze(0)).mean[0]


class ScaledNumbers(ABC):
    """Columns of numbers v, of which the averages are averages of v and not of x."""

    scaling: Scaling

    @property
    @abstractmethod
    def expectation(self) -> Tensor:
        """E[v|z], shape (S, B, n)."""

    @property
    def mean(self) -> Tensor:
        """x of E[v|z], shape (S, B, n)."""
        return self.scaling.standardize(self.expectation)

    def averages(self) -> list[Tensor]:
        """E[v|z]."""
        return [self.expectation]

    def from_averages(self, averages: Sequence[Tensor]) -> Tensor:
        """x of the average."""
        (v,) = averages
        return self.scaling.standardize(v)


def _simpson(k: int) -> float:
    """The weight of a place in Simpson's rule."""
    return 1 / 3 if k in (0, STEPS) else 4 / 3 if k % 2 else 2 / 3


@dataclass
class WholeNumbers(ScaledNumbers):
    """n columns of whole numbers: the mass that a logistic density of x puts on the bin [v − ½, v + ½].

    The bin of the lowest number goes down to −∞, that of every other is as wide as it is, so that the probabilities of
    all whole numbers from the lowest up sum to 1.

    Attributes
    ----------
    location, scale : Tensor, shape (S, B, n)
        Of the logistic density.
    scaling : Scaling
    lowest : Tensor, shape (n,)
        −inf where any number can be.
    """

    location: Tensor
    scale: Tensor
    scaling: Scaling
    lowest: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        """log[σ(b) − σ(a)] = log σ(b) + log σ(−a) + log(1 − e^{a−b}), a and b the edges of the bin."""
        v = self.scaling.restore(x).round()
        low, high = (self.scaling.standardize(v + half) for half in (-0.5, 0.5))
        is_lowest = v <= self.lowest
        b, a = (high - self.location) / self.scale, (low - self.location) / self.scale
        width = (self.scaling.bin_width(v) / self.scale).clamp_min(1e-12)
        inside = F.logsigmoid(-a) + torch.log(-torch.expm1(-width))
        log_p = F.logsigmoid(b) + torch.where(is_lowest, 0.0, inside)
        return torch.where(v < self.lowest, -torch.inf, log_p).to(x.dtype)

    def cumulative(self, v: Tensor) -> Tensor:
        """P(V ≤ v), shape (S, B, n)."""
        below = torch.sigmoid((self.scaling.standardize(v.floor() + 0.5) - self.location) / self.scale)
        return torch.where(v < self.lowest, 0.0, below)

    @property
    def expectation(self) -> Tensor:
        """Σ v p(v) of numbers confined to the range, without which the sum may have no limit.

        E[y] of the logistic y by Simpson's rule, and E[round(y) − y] with y uniform in each of its steps.
        """
        first, last = (self._standard(end) for end in (torch.maximum(self.scaling.low, self.lowest), self.scaling.high))
        h = (last - first) / STEPS
        y, p = self._unrounded(first), first.sigmoid()
        total = y * p + _simpson(0) * h * p * (1 - p) * y
        for k in range(1, STEPS + 1):
            before, p_before = y, p
            t = first + k * h
            y, p = self._unrounded(t), t.sigmoid()
            total = total + _simpson(k) * h * p * (1 - p) * y + (p - p_before) * _rounding(before, y)
        return total + y * (1 - p)

    def _standard(self, v: Tensor) -> Tensor:
        """The place t of a number in the standard logistic density, as far as that matters."""
        return ((self.scaling.standardize(v) - self.location) / self.scale).clamp(-FAR, FAR)

    def _unrounded(self, t: Tensor) -> Tensor:
        """The inverse of ``_standard``, confined to the range."""
        v = self.scaling.restore(self.location + self.scale * t)
        return self.scaling.confined(torch.maximum(v, self.lowest))

    def sample(self, noise: Noise) -> Tensor:
        """A draw of the logistic density, rounded."""
        u = noise.uniform(self.location.shape, self.location)
        x = self.location + self.scale * torch.logit(u, eps=torch.finfo(u.dtype).tiny)
        return self.scaling.standardize(torch.maximum(self.scaling.restore(x).round(), self.lowest))


def _rounding(a: Tensor, b: Tensor) -> Tensor:
    """E[round(y) − y] for y uniform between a and b, whose distances to the nearest whole numbers are α and β."""
    alpha, beta = a - a.round(), b - b.round()
    across = (alpha.square() - beta.square()) / (2 * torch.where(b > a, b - a, 1.0))
    return torch.where(a.round() == b.round(), -0.5 * (alpha + beta), across)


@dataclass
class Reals(ScaledNumbers):
    """n columns of real numbers: atoms, and for all others a mixture of K normal or Student-t densities of x.

    Attributes
    ----------
    location, scale : Tensor, shape (S, B, n, K)
        Of x.
    log_weight : Tensor, shape (S, B, n, K)
        Of the components; log of what sums to 1.
    df : Tensor, broadcastable to (S, B, n), or None
        Degrees of freedom ν > 2 of Student's t; None for normal densities.
    atom_logits : Tensor, shape (S, B, n, M)
        Of the probabilities of the atoms, beside a logit of 0 of all other numbers; −inf where there is no atom.
    atoms : Tensor, shape (n, M)
        Their values, in the user's units; anything where there is none.
    scaling : Scaling
    """

    location: Tensor
    scale: Tensor
    log_weight: Tensor
    df: Tensor | None
    atom_logits: Tensor
    atoms: Tensor
    scaling: Scaling

    def log_prob(self, x: Tensor) -> Tensor:
        """log π_k at the k-th atom; log(1 − Σ π) + log p(v) elsewhere."""
        log_pi, others = self._log_shares()
        place, v = place_of(x), torch.where(is_atom(x), 0.0, x)
        log_p = self._log_density(v) + self.scaling.log_jacobian(v).to(v.dtype) + others
        k = place.long().clamp_max(log_pi.shape[-1] - 1).expand(log_p.shape).unsqueeze(-1)
        at_atom = torch.where(place < log_pi.shape[-1], log_pi.gather(-1, k).squeeze(-1), -torch.inf)
        return torch.where(is_atom(x), at_atom, log_p)

    def _log_shares(self) -> tuple[Tensor, Tensor]:
        """log π of the atoms, (S, B, n, M), and log(1 − Σ π), (S, B, n)."""
        total = F.pad(self.atom_logits, (0, 1)).logsumexp(-1)
        return self.atom_logits - total.unsqueeze(-1), -total

    def _log_density(self, x: Tensor) -> Tensor:
        """log Σ_k w_k p_k(x)."""
        squared = ((x.unsqueeze(-1) - self.location) / self.scale).square()
        if self.df is None:
            log_p = -0.5 * squared - self.scale.log() - 0.5 * LOG_2PI
        else:
            df = self.df.unsqueeze(-1)
            half = 0.5 * (df + 1)
            constant = torch.lgamma(half) - torch.lgamma(0.5 * df) - 0.5 * torch.log(df * math.pi)
            log_p = constant - self.scale.log() - half * torch.log1p(squared / df)
        return (self.log_weight + log_p).logsumexp(-1)

    def cumulative(self, v: Tensor) -> Tensor:
        """P(V ≤ v) = Σ π 1[a ≤ v] + (1 − Σ π) Σ_k w_k F_k(x(v)), shape (S, B, n)."""
        t = (self.scaling.standardize(v).unsqueeze(-1) - self.location) / self.scale
        below = torch.special.ndtr(t) if self.df is None else student_below(self.df.unsqueeze(-1), t)
        log_pi, others = self._log_shares()
        of_atoms = torch.where(v.unsqueeze(-1) >= self.atoms, log_pi.exp(), 0.0).sum(-1)
        return of_atoms + others.exp() * (self.log_weight.softmax(-1) * below).sum(-1)

    @property
    def expectation(self) -> Tensor:
        """Σ π a + (1 − Σ π) Σ_k w_k E_k[v]; under a logarithm of v confined to the range, as Student's t needs it."""
        log_pi, others = self._log_shares()
        of_others = (self.log_weight.exp() * self._means().movedim(0, -1)).sum(-1)
        return (log_pi.exp() * self.atoms).sum(-1) + others.exp() * of_others

    def _means(self) -> Tensor:
        """E_k[v] of the components, shape (K, S, B, n)."""
        s, location, scale = self.scaling, self.location.movedim(-1, 0), self.scale.movedim(-1, 0)
        if s.quantiles is not None:
            return self._mean_of(lambda t: s.confined(s.restore(location + scale * t)))
        if not s.log.any():
            return s.restore(location)
        if self.df is None:
            m, sd = location * s.unit + s.location, scale * s.unit
            of_log = lognormal_mean(m, sd, s.low + s.shift, s.high + s.shift) - s.shift
        else:
            of_log = student_mean(lambda t: s.confined(s.restore(location + scale * t)), self.df)
        return torch.where(s.log, of_log, s.restore(location))

    def _mean_of(self, f: Callable[[float], Tensor]) -> Tensor:
        """E[f(t)] under the standard density of the components."""
        return normal_mean(f) if self.df is None else student_mean(f, self.df)

    def sample(self, noise: Noise) -> Tensor:
        """A draw; Student's t by √(ν(u^{−2/ν} − 1)) cos 2πw (Bailey, 1994)."""
        location, scale = self._component(noise)
        if self.df is None:
            standard = noise.normal(location.shape, location)
        else:
            u = noise.uniform(location.shape, location).clamp_min(1e-12)
            w = noise.uniform(location.shape, location)
            standard = (self.df * torch.expm1(-2 / self.df * u.log())).sqrt() * torch.cos(2 * math.pi * w)
        below = self._log_shares()[0].exp().cumsum(-1)
        k = (noise.uniform(location.shape, location).unsqueeze(-1) >= below).sum(-1)  # of atoms, or M
        return torch.where(k < below.shape[-1], FIRST - k.to(location.dtype), location + scale * standard)

    def _component(self, noise: Noise) -> tuple[Tensor, Tensor]:
        """Location and scale, (S, B, n) each, of a component drawn by its weight."""
        if self.log_weight.shape[-1] == 1:
            return self.location[..., 0], self.scale[..., 0]
        k = Categorical(self.log_weight).sample(noise).long().unsqueeze(-1)
        return self.location.gather(-1, k)[..., 0], self.scale.gather(-1, k)[..., 0]


@dataclass
class Columns:
    """Independent entries, each column of its own kind.

    Attributes
    ----------
    parts : sequence of (Tensor of int64, Likelihood)
        Columns of one kind, by their places, and what they are distributed like; every column is in one part.
    unseen : Tensor, shape (F,)
        ε, the probability of a value that wasn't seen in the fit. Draws and means are of values that were.
    """

    parts: Sequence[tuple[Tensor, Likelihood]]
    unseen: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of each entry, in nats and the user's units, shape (S, B, F): log(1 − ε) + log p, or log ε + …"""
        never = is_unseen(x)
        seen = torch.where(never, 0.0, x)
        log_p = self._in_place([part.log_prob(seen[..., place]) for place, part in self.parts])
        log_p = log_p + torch.log1p(-self.unseen).to(log_p)
        return torch.where(never, (self.unseen.log() + log_part(x)).to(log_p), log_p)

    def cumulative(self, v: Tensor) -> Tensor:
        """P(V ≤ v) among the values seen in the fit, shape (S, B, F); v (B, F) are the user's numbers, or places."""
        each = [part.cumulative(v[..., place]) for place, part in self.parts]  # pyright: ignore[reportAttributeAccessIssue]
        return self._in_place(each)

    @property
    def mean(self) -> Tensor:
        """The mean of numbers, the mode of categories, shape (S, B, F)."""
        return self._in_place([part.mean for _, part in self.parts])

    def sample(self, noise: Noise) -> Tensor:
        """One draw of each entry, shape (S, B, F)."""
        return self._in_place([part.sample(noise) for _, part in self.parts])

    def averages(self) -> list[Tensor]:
        """The averages of all parts, one after another."""
        return [average for _, part in self.parts for average in part.averages()]

    def from_averages(self, averages: Sequence[Tensor]) -> Tensor:
        """The mean of numbers, the most probable category, shape (B, F)."""
        parts = zip(self.parts, averages, strict=True)  # each has one
        return self._in_place([part.from_averages([average]) for (_, part), average in parts])

    def _in_place(self, parts: list[Tensor]) -> Tensor:
        order = torch.cat([place for place, _ in self.parts]).argsort()
        return torch.cat(parts, -1).index_select(-1, order)
