"""The normal distribution, for real values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lowerbound.distributions.gaussians import LOG_2PI
from lowerbound.distributions.likelihoods.kind import Facts, Features, LikelihoodKind
from lowerbound.distributions.likelihoods.likelihood import AveragedByMean, LikelihoodHead
from lowerbound.distributions.likelihoods.scale import LocationScaleHead, Scale, deviations
from lowerbound.distributions.noise import Noise


@dataclass
class Normal(AveragedByMean):
    """Independent normal entries: N(x; μ, σ²)."""

    mean: Tensor
    scale: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        """−½((x − μ)/σ)² − log σ − ½ log 2π."""
        return -0.5 * ((x - self.mean) / self.scale).square() - self.scale.log() - 0.5 * LOG_2PI

    def sample(self, noise: Noise) -> Tensor:
        """μ + σε."""
        return self.mean + self.scale * noise.normal(self.mean.shape, self.mean)

    def cumulative(self, x: Tensor) -> Tensor:
        """Φ((x − μ)/σ)."""
        return torch.special.ndtr((x - self.mean) / self.scale)


class NormalHead(LocationScaleHead):
    """N(x; μ, σ²) for every entry."""

    family = Normal


class NormalKind(LikelihoodKind):
    """``likelihood="gaussian"``: real values."""

    name: ClassVar[str]
    data: ClassVar[str]
    in_words: ClassVar[str]
    name, data, in_words = "gaussian", "real", "real values"
    is_discrete = False
    can_standardize = takes_all = has_scale = True

    def suits(self, facts: Facts, dtype: np.dtype) -> bool:
        """Always: it is the last of the table."""
        return True

    def refusal(self, facts: Facts, dtype: np.dtype, n_categories: int) -> None:
        """Nothing is refused."""

    def _head(
        self, features: Features, scale: str | float, min_scale: float, n_components: int, per_entry: bool
    ) -> LikelihoodHead:
        return NormalHead(_scale(features, "feature" if scale == "auto" else scale, min_scale, per_entry))


def _scale(features: Features, scale: str | float, min_scale: float, per_entry: bool) -> Scale:
    """σ in the model's units; a number is in the user's."""
    if scale == "unit":
        return Scale("fixed", torch.ones(()), torch.zeros(()))
    if not isinstance(scale, str):
        return Scale("fixed", torch.from_numpy(scale / features.unit).float(), torch.zeros(()))
    spread = deviations(features, per_entry=per_entry)
    initial = spread[torch.from_numpy(features.counted)].mean() if scale == "shared" else spread.float()
    return Scale("decoder" if scale == "decoder" else "learned", initial, min_scale * initial)


KIND = NormalKind()
