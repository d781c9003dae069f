"""The Bernoulli distribution, for 0/1 data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lowerbound.distributions.likelihoods.kind import PROBABILITY_LIMIT, Facts, Features, LikelihoodKind
from lowerbound.distributions.likelihoods.likelihood import AveragedByMean, LikelihoodHead
from lowerbound.distributions.noise import Noise


@dataclass
class Bernoulli(AveragedByMean):
    """Independent binary entries: P(x = 1) = σ(logits)."""

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """P(x = 1)."""
        return self.logits.sigmoid()

    def log_prob(self, x: Tensor) -> Tensor:
        """x·logits − log(1 + exp(logits))."""
        return x * self.logits - F.softplus(self.logits)

    def sample(self, noise: Noise) -> Tensor:
        """1[u < σ(logits)]."""
        return (noise.uniform(self.logits.shape, self.logits) < self.mean).to(self.logits.dtype)

    def cumulative(self, x: Tensor) -> Tensor:
        """0 below 0, P(x = 0) = σ(−logits) below 1, then 1."""
        return torch.where(x < 0, 0.0, torch.where(x < 1, (-self.logits).sigmoid(), 1.0))


class BernoulliHead(LikelihoodHead):
    """One logit for every entry."""

    n_parameters = 1

    def forward(self, raw: Tensor) -> Bernoulli:
        """Logits to probabilities of a one."""
        return Bernoulli(raw.squeeze(2))


class BernoulliKind(LikelihoodKind):
    """``likelihood="bernoulli"``: 0/1 data."""

    name: ClassVar[str]
    data: ClassVar[str]
    in_words: ClassVar[str]
    name, data, in_words = "bernoulli", "binary", "only 0 and 1"

    def suits(self, facts: Facts, dtype: np.dtype) -> bool:
        """Zeros and ones, of whatever type."""
        return bool(facts.binary.all())

    def refusal(self, facts: Facts, dtype: np.dtype, n_categories: int) -> str | None:
        """Other values than 0 and 1."""
        if facts.binary.all():
            return None
        other = "'discretized_logistic'" if dtype == np.uint8 else "'gaussian'"
        return (
            f"likelihood='bernoulli' describes 0/1 data, but X has values from {facts.lowest:g} to "
            f"{facts.highest:g}: use likelihood={other}, or binarize='sample' (of an RBM, elsewhere of "
            f"BernoulliLikelihood) to redraw grey values as 0 or 1"
        )

    def highest(self, n_categories: int) -> float:
        """1."""
        return 1.0

    def _start(self, features: Features) -> Tensor:
        """Logits of the means."""
        return torch.from_numpy(features.mean)[None].clamp(PROBABILITY_LIMIT, 1 - PROBABILITY_LIMIT).logit()

    def _head(
        self, features: Features, scale: str | float, min_scale: float, n_components: int, per_entry: bool
    ) -> LikelihoodHead:
        return BernoulliHead()


KIND = BernoulliKind()
