"""The Poisson distribution, for counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lowerbound.distributions.likelihoods.kind import Facts, Features, LikelihoodKind
from lowerbound.distributions.likelihoods.likelihood import AveragedByMean, LikelihoodHead
from lowerbound.distributions.noise import Noise

LOWEST_MEAN = 1e-3  # at the start
HIGHEST_LOG = 20.0  # of a mean


@dataclass
class Poisson(AveragedByMean):
    """Independent counts: P(x) = λˣ e^{−λ}/x!, ``log_mean`` = log λ."""

    log_mean: Tensor

    @property
    def mean(self) -> Tensor:
        """λ."""
        return self.log_mean.exp()

    def log_prob(self, x: Tensor) -> Tensor:
        """x log λ − λ − log x!."""
        return x * self.log_mean - self.mean - torch.lgamma(x + 1)

    def sample(self, noise: Noise) -> Tensor:
        """The least x with P(X ≤ x) > u, bit by bit; P(X < x) is the incomplete gamma function Γ(x, λ)/Γ(x)."""
        mean = self.mean.double()
        u, x = noise.uniform(mean.shape, mean), torch.zeros_like(mean)
        for bit in reversed(range(30)):
            more = x + 2**bit
            x = torch.where(torch.special.gammaincc(more, mean) <= u, more, x)
        return x.to(self.log_mean.dtype)

    def log_masses(self, values: Tensor) -> Tensor:
        """Of the counts ``values``."""
        return Poisson(self.log_mean.unsqueeze(-1)).log_prob(values)


class PoissonHead(LikelihoodHead):
    """One number for every entry: the logarithm of its mean."""

    n_parameters = 1

    def forward(self, raw: Tensor) -> Poisson:
        """(S, B, 1, *event) → p(x|z)."""
        return Poisson(raw.squeeze(2).clamp_max(HIGHEST_LOG))


class PoissonKind(LikelihoodKind):
    """``likelihood="poisson"``: counts 0, 1, 2, …."""

    name, data, in_words = "poisson", "counts", "counts"

    def refusal(self, facts: Facts, dtype: np.dtype, n_categories: int) -> str | None:
        """Fractions and negative numbers."""
        if facts.whole.all() and not facts.lowest < 0:
            return None
        found = f"values from {facts.lowest:g} to {facts.highest:g}" if facts.whole.all() else "fractions"
        return f"likelihood='poisson' describes counts 0, 1, 2, …, but X has {found}: use likelihood='gaussian'"

    def storage(self, n_categories: int) -> type[np.generic]:
        """Counts have no highest."""
        return np.int32

    def view(self, x: Tensor) -> Tensor:
        """log(1 + x)."""
        return x.clamp_min(0).log1p()

    def _start(self, features: Features) -> Tensor:
        """Logarithms of the means."""
        return torch.from_numpy(features.mean)[None].clamp_min(LOWEST_MEAN).log()

    def _head(
        self, features: Features, scale: str | float, min_scale: float, n_components: int, per_entry: bool
    ) -> LikelihoodHead:
        return PoissonHead()


KIND = PoissonKind()
