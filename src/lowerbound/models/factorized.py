"""Independent features, p(x) = Π_j p_j(x_j): the baseline for all other models.

Each model has the sums over rows that its maximum-likelihood fit needs (``statistics``), and the fit in closed form
(``maximize``). Missing entries are left out of sums and densities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lowerbound.core import Batch, ExplicitModel
from lowerbound.distributions.columns import Columns
from lowerbound.distributions.likelihoods.bernoulli import Bernoulli
from lowerbound.distributions.likelihoods.categorical import Categorical
from lowerbound.distributions.likelihoods.likelihood import Likelihood, event_sum
from lowerbound.distributions.likelihoods.normal import Normal
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.nn.columns import CategoryBlock, ColumnsHead


class Moments(NamedTuple):
    """Sums over rows, each of shape (*event): entries observed, their values, the squares."""

    observed: Tensor
    total: Tensor
    squares: Tensor


class CategoryCounts(NamedTuple):
    """The count of each of K categories, shape (K, *event)."""

    seen: Tensor


def moments(batch: Batch) -> Moments:
    """The moments of the observed entries."""
    x = torch.where(batch.mask, batch.x, 0.0)
    return Moments(batch.mask.sum(0).to(x.dtype), x.sum(0), x.square().sum(0))


class Independent(ExplicitModel):
    """Independent features: the conditional of a missing entry is its marginal."""

    def likelihood(self, n: int) -> Likelihood:
        """The distribution of n rows, with parameters of shape (1, n, *event)."""
        raise NotImplementedError(f"{type(self).__name__} does not define the distribution of its entries")

    def conditional_mean(self, batch: Batch) -> Tensor:
        """x with E[x_j], or the most frequent category, in the gaps, shape (B, *event)."""
        mean = self.sample(len(batch.x), Noise(make_generator(0, "unused")), mean=True)
        return torch.where(batch.mask, batch.x, mean.to(batch.x.dtype))

    def conditional_sample(self, batch: Batch, n: int, noise: Noise) -> Tensor:
        """x with x_j ~ p_j in the gaps, shape (n, B, *event)."""
        x = self.sample(n * len(batch.x), noise).view(n, *batch.x.shape)
        return torch.where(batch.mask, batch.x, x.to(batch.x.dtype))


class IndependentNormal(Independent):
    """p(x) = Π_j N(x_j; μ_j, σ_j²).

    Parameters
    ----------
    event_shape : tuple of int
    log_unit : Tensor, shape (*event), optional
        log of the user's units in one unit of x.
    """

    statistics: Callable[[Batch], Moments] = staticmethod(moments)

    def __init__(self, event_shape: Sequence[int], log_unit: Tensor | None = None) -> None:
        super().__init__()
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(*event_shape, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(*event_shape, dtype=torch.float64))
        self.register_buffer("log_unit", log_unit)

    def maximize(self, sums: Moments) -> None:
        """μ = Σx/n, σ² = Σx²/n − μ²; σ = 1 for features that are constant or never observed."""
        n = sums.observed.clamp_min(1)
        mean = sums.total / n
        variance = sums.squares / n - mean.square()
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(variance > 0, variance, 1.0).sqrt())

    def likelihood(self, n: int) -> Normal:
        """N(x_j; μ_j, σ_j²)."""
        return Normal(self.mean.expand(1, n, *self.mean.shape), self.scale)

    def log_prob(self, batch: Batch) -> Tensor:
        """Σ_j log N(x_j; μ_j, σ_j²), shape (B,)."""
        log_p = event_sum(Normal(self.mean, self.scale).log_prob(batch.x), batch.mask)
        return log_p if self.log_unit is None else log_p - event_sum(self.log_unit, batch.mask)

    def sample(self, n: int, noise: Noise, *, mean: bool = False) -> Tensor:
        """``n`` draws, or μ ``n`` times, shape (n, *event)."""
        center = self.mean.expand(n, *self.mean.shape)
        return center if mean else Normal(center, self.scale).sample(noise)


class IndependentBernoulli(Independent):
    """p(x) = Π_j θ_j^{x_j} (1 − θ_j)^{1 − x_j}.

    ``statistics`` takes grey values too, as expectations of x: the sums are linear in x.

    Parameters
    ----------
    event_shape : tuple of int
    smoothing : float
        α > 0 imaginary observations of either value: θ = (Σx + α)/(n + 2α), so that an unseen value is improbable, not
        impossible.
    """

    statistics: Callable[[Batch], Moments] = staticmethod(moments)

    def __init__(self, event_shape: Sequence[int], smoothing: float = 0.1) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.logits: Tensor
        self.log_unit: Tensor | None = None
        self.register_buffer("logits", torch.zeros(*event_shape, dtype=torch.float64))

    def maximize(self, sums: Moments) -> None:
        """Logit θ = log (Σx + α) − log (n − Σx + α)."""
        ones, zeros = sums.total, sums.observed - sums.total
        self.logits.copy_((ones + self.smoothing).log() - (zeros + self.smoothing).log())

    def likelihood(self, n: int) -> Bernoulli:
        """θ_j."""
        return Bernoulli(self.logits.expand(1, n, *self.logits.shape))

    def log_prob(self, batch: Batch) -> Tensor:
        """Σ_j x_j log θ_j + (1 − x_j) log (1 − θ_j), shape (B,)."""
        return event_sum(Bernoulli(self.logits).log_prob(batch.x), batch.mask)

    def sample(self, n: int, noise: Noise, *, mean: bool = False) -> Tensor:
        """``n`` draws, or θ ``n`` times, shape (n, *event)."""
        p = Bernoulli(self.logits.expand(n, *self.logits.shape))
        return p.mean if mean else p.sample(noise)


class IndependentCategorical(Independent):
    """p(x) = Π_j π_{j, x_j}: a histogram over the categories 0, …, K − 1 for each feature.

    Parameters
    ----------
    event_shape : tuple of int
    n_categories : int
        K.
    smoothing : float
        α > 0 imaginary observations of every category: π_jk = (n_jk + α)/(n_j + αK).
    """

    def __init__(self, event_shape: Sequence[int], n_categories: int, smoothing: float = 0.1) -> None:
        super().__init__()
        self.n_categories: int
        self.smoothing: float
        self.n_categories, self.smoothing = n_categories, smoothing
        self.log_probability: Tensor
        self.log_unit: Tensor | None = None
        uniform = torch.full((n_categories, *event_shape), -math.log(n_categories), dtype=torch.float64)
        self.register_buffer("log_probability", uniform)

    def statistics(self, batch: Batch) -> CategoryCounts:
        """Count the categories of the observed entries."""
        x, mask = batch.x.flatten(1).long(), batch.mask.flatten(1)
        n_features = x.shape[1]
        place = x * n_features + torch.arange(n_features, device=x.device)  # a number for each (category, feature)
        seen = torch.bincount(place[mask], minlength=self.n_categories * n_features)
        return CategoryCounts(seen.view(self.log_probability.shape).to(self.log_probability.dtype))

    def maximize(self, counts: CategoryCounts) -> None:
        """π_jk = (n_jk + α)/(n_j + αK)."""
        n, alpha = counts.seen, self.smoothing
        self.log_probability.copy_((n + alpha).log() - (n.sum(0) + alpha * self.n_categories).log())

    def likelihood(self, n: int) -> Categorical:
        """π_j."""
        logits = self.log_probability.movedim(0, -1)
        return Categorical(logits.expand(1, n, *logits.shape))

    def log_prob(self, batch: Batch) -> Tensor:
        """Σ_j log π_{j, x_j}, shape (B,)."""
        return event_sum(self.log_probability.gather(0, batch.x.long()), batch.mask)

    def sample(self, n: int, noise: Noise, *, mean: bool = False) -> Tensor:
        """``n`` draws by inverting the cumulative histogram, or the modes ``n`` times, shape (n, *event)."""
        event_shape = self.log_probability.shape[1:]
        if mean:
            return self.log_probability.argmax(0).to(self.log_probability.dtype).expand(n, *event_shape)
        cumulative = self.log_probability.flatten(1).T.exp().cumsum(1).contiguous()  # (F, K)
        u = noise.uniform((n, len(cumulative)), cumulative).T.contiguous() * cumulative[:, -1:]
        categories = torch.searchsorted(cumulative, u, right=True).clamp_max(self.n_categories - 1)
        return categories.T.reshape(n, *event_shape).to(cumulative.dtype)


class IndependentColumns(Independent):
    """p(x) = Π_j p_j(x_j) with a density of each column's kind: a decoder's likelihood with the same parameters for
    every row.

    Parameters
    ----------
    head : ColumnsHead
        Turns a vector of numbers into the columns' distributions.
    """

    def __init__(self, head: ColumnsHead) -> None:
        super().__init__()
        self.head: ColumnsHead
        self.log_unit: Tensor | None
        self.head, self.log_unit = head, None
        self.raw: nn.Parameter = nn.Parameter(head.start.view(1, 1, 1, -1).clone())
        self.moves: Tensor = torch.ones_like(self.raw)
        for block in head.blocks:
            if isinstance(block, CategoryBlock):  # fixed at smoothed frequencies, so that no category is impossible
                self.moves[..., block.index] = 0
        self.double()

    def likelihood(self, n: int) -> Columns:
        """p_j of the columns."""
        return self.head(self.raw.expand(1, n, 1, -1))

    def climb(self, batches: Callable[[], Iterable[Batch]], max_iter: int = 200) -> None:
        """Maximize the likelihood of the observed entries by L-BFGS; categories keep their smoothed frequencies."""
        optimizer = torch.optim.LBFGS(
            self.parameters(), max_iter=max_iter, tolerance_grad=1e-9, tolerance_change=1e-13,
            line_search_fn="strong_wolfe",
        )  # fmt: skip

        def loss() -> Tensor:
            optimizer.zero_grad()
            total, n = self.raw.new_zeros(()), 0
            for batch in batches():
                part = -self.log_prob(batch).sum()
                part.backward()
                total, n = total + part.detach(), n + len(batch.x)
            for parameter in self.parameters():
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad / n
            assert self.raw.grad is not None
            self.raw.grad *= self.moves.to(self.raw)
            return total / n

        optimizer.step(loss)  # type: ignore[arg-type]

    def log_prob(self, batch: Batch) -> Tensor:
        """Σ_j log p_j(x_j), shape (B,)."""
        return event_sum(self.likelihood(len(batch.x)).log_prob(batch.x[None]), batch.mask)[0]

    def sample(self, n: int, noise: Noise, *, mean: bool = False) -> Tensor:
        """``n`` draws, or the means of numbers and modes of categories ``n`` times, shape (n, F)."""
        p = self.likelihood(n)
        return (p.mean if mean else p.sample(noise))[0]
