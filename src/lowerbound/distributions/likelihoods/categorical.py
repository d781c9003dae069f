"""The categorical distribution, for categories without an order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lowerbound.distributions.likelihoods.kind import (
    PROBABILITY_LIMIT,
    Facts,
    Features,
    LikelihoodError,
    LikelihoodKind,
)
from lowerbound.distributions.likelihoods.likelihood import LikelihoodHead
from lowerbound.distributions.noise import Noise

MAX_CATEGORIES = 1024


def gumbel(like: Tensor, noise: Noise) -> Tensor:
    """Noise whose sum with logits is highest at category k with the probability of k (Gumbel, 1954)."""
    u = noise.uniform(like.shape, like)
    u = u.clamp_min(torch.finfo(u.dtype).eps / 4)  # u = 0 would be infinite noise
    return -torch.log(-torch.log1p(-u))


@dataclass
class Categorical:
    """Independent entries with categories 0, …, K − 1; ``logits`` carries the K of them in its **last** dimension."""

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """The most probable category: categories have no mean."""
        return self.logits.argmax(-1).to(self.logits.dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        """The logit of the observed category − log Σ exp(logits)."""
        category = x.long().expand(self.logits.shape[:-1]).unsqueeze(-1)
        return self.logits.gather(-1, category).squeeze(-1) - self.logits.logsumexp(-1)

    def sample(self, noise: Noise) -> Tensor:
        """argmax_k (logit_k + Gumbel noise)."""
        return (self.logits + gumbel(self.logits, noise)).argmax(-1).to(self.logits.dtype)

    def averages(self) -> list[Tensor]:
        """The categories' probabilities, (S, B, *event, K)."""
        return [self.logits.softmax(-1)]

    def from_averages(self, averages: Sequence[Tensor]) -> Tensor:
        """The most probable category."""
        (p,) = averages
        return p.argmax(-1)

    def cumulative(self, x: Tensor) -> Tensor:
        """The sum of the probabilities of the categories up to x."""
        sums = self.logits.softmax(-1).cumsum(-1)
        last = sums.shape[-1] - 1
        place = x.clamp(-1, last).floor().long().expand(sums.shape[:-1])
        within = sums.gather(-1, place.clamp_min(0).unsqueeze(-1)).squeeze(-1)
        return torch.where(place < 0, 0.0, torch.where(place < last, within, 1.0))


class CategoricalHead(LikelihoodHead):
    """K logits for every entry."""

    def __init__(self, n_categories: int) -> None:
        super().__init__()
        self.n_parameters = n_categories

    def forward(self, raw: Tensor) -> Categorical:
        """Logits to probabilities of the categories."""
        return Categorical(raw.movedim(2, -1))


class CategoricalKind(LikelihoodKind):
    """``likelihood="categorical"``: the categories 0, …, K − 1."""

    name: ClassVar[str]
    data: ClassVar[str]
    in_words: ClassVar[str]
    name, data, in_words = "categorical", "categories", "categories"
    is_nominal = True

    def refusal(self, facts: Facts, dtype: np.dtype, n_categories: int) -> str | None:
        """Fractions, and categories beyond those that there are."""
        if not facts.whole.all():
            return "likelihood='categorical' describes whole numbers, but X has fractions: use likelihood='gaussian'"
        if not (facts.lowest < 0 or facts.highest >= n_categories):  # not compared where nothing was observed
            return None
        return (
            f"likelihood='categorical' describes the values 0 to {n_categories - 1}, but X has values from "
            f"{facts.lowest:g} to {facts.highest:g}: recode the categories"
        )

    def count_categories(self, facts: Facts) -> int:
        """Categories from 0 to the highest, at least two."""
        n_categories = int(facts.highest) + 1
        if n_categories > MAX_CATEGORIES:
            raise LikelihoodError(
                f"likelihood='categorical' has one probability for each category, and X goes up to {n_categories - 1} "
                f"(at most {MAX_CATEGORIES - 1}): recode the categories as 0, 1, 2, …, or use likelihood='gaussian'"
            )
        return max(n_categories, 2)

    def highest(self, n_categories: int) -> float:
        """K − 1."""
        return n_categories - 1.0

    def in_model_units(self, mean: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """There are none."""
        return mean, np.ones_like(spread)

    def _start(self, features: Features) -> Tensor:
        """Logs of the frequencies."""
        return torch.from_numpy(np.log(np.clip(features.frequencies, PROBABILITY_LIMIT / features.n_categories, 1)))

    def _head(
        self, features: Features, scale: str | float, min_scale: float, n_components: int, per_entry: bool
    ) -> LikelihoodHead:
        return CategoricalHead(features.n_categories)


KIND = CategoricalKind()
