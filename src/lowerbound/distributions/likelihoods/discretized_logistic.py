"""The discretized logistic distribution, and mixtures of it, for the grey levels of 8-bit images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lowerbound.distributions.likelihoods.categorical import gumbel
from lowerbound.distributions.likelihoods.kind import Facts, Features, LikelihoodKind
from lowerbound.distributions.likelihoods.likelihood import AveragedByMean, LikelihoodHead
from lowerbound.distributions.likelihoods.scale import LocationScaleHead, Scale, deviations
from lowerbound.distributions.noise import Noise

N_GREY_LEVELS = 256  # of an 8-bit image
MOST_ENTRIES = 2**12  # whose sums over grey levels are held at once


@dataclass
class DiscretizedLogistic(AveragedByMean):
    """Independent entries with grey levels 0, …, 255: the mass that a logistic density puts on each grey level's bin.

    ``mean_parameter`` μ and ``scale`` s live on the scale where the 256 grey levels run from −1 to 1; the outermost
    bins are extended to infinity, so that the 256 probabilities sum to 1 (Kingma et al., 2016,
    arXiv:1606.04934, section 6.2; Salimans et al., 2017, arXiv:1701.05517, eq. 2).
    """

    mean_parameter: Tensor
    scale: Tensor

    BIN = 2 / (N_GREY_LEVELS - 1)

    @staticmethod
    def center(x: Tensor) -> Tensor:
        """Levels 0…255 to the interval [−1, 1]."""
        return x * DiscretizedLogistic.BIN - 1

    @property
    def mean(self) -> Tensor:
        """E[x|z] = Σ_{k=1}^{255} P(x ≥ k), in grey levels."""
        first, scale = torch.broadcast_tensors(self.mean_parameter, self.scale)
        edges = (torch.arange(N_GREY_LEVELS - 1, dtype=first.dtype, device=first.device) + 0.5) * self.BIN - 1
        parts = zip(*(each.reshape(-1).split(MOST_ENTRIES) for each in (first, scale)), strict=True)
        means = [torch.sigmoid((m - edges[:, None]) / s).sum(0) for m, s in parts]
        return torch.cat(means).reshape(first.shape)

    def log_prob(self, x: Tensor) -> Tensor:
        """log[σ(a) − σ(b)] = log σ(a) + log σ(−b) + log(1 − e^{b−a}), a and b the edges of the bin of x."""
        centered = (self.center(x) - self.mean_parameter) / self.scale
        half = 0.5 * self.BIN / self.scale
        lowest, highest = x <= 0, x >= N_GREY_LEVELS - 1
        below_upper_edge = torch.where(highest, 0.0, F.logsigmoid(centered + half))
        above_lower_edge = torch.where(lowest, 0.0, F.logsigmoid(half - centered))
        both = torch.where(lowest | highest, 0.0, torch.log(-torch.expm1(-2 * half)))
        return below_upper_edge + above_lower_edge + both

    def sample(self, noise: Noise) -> Tensor:
        """μ + s·logit(u), rounded to the nearest grey level."""
        u = noise.uniform(self.mean_parameter.shape, self.mean_parameter)
        value = self.mean_parameter + self.scale * torch.logit(u, eps=torch.finfo(u.dtype).tiny)
        return ((value + 1) / self.BIN).round().clamp(0, N_GREY_LEVELS - 1)

    def cumulative(self, x: Tensor) -> Tensor:
        """σ of the upper edge of the bin of x; 0 below the lowest, 1 from the highest on."""
        edge = torch.sigmoid((self.center(x.floor() + 0.5) - self.mean_parameter) / self.scale)
        return torch.where(x < 0, 0.0, torch.where(x < N_GREY_LEVELS - 1, edge, 1.0))


@dataclass
class DiscretizedLogisticMixture(AveragedByMean):
    """Independent entries with grey levels 0, …, 255: Σ_k π_k of discretized logistics (Salimans et al., 2017, eq. 2).

    ``components`` has parameters of shape ``(S, B, K, *event)``, and so has ``log_weight`` = log π.
    """

    components: DiscretizedLogistic
    log_weight: Tensor

    @property
    def mean(self) -> Tensor:
        """E[x|z] in grey levels."""
        return (self.log_weight.exp() * self.components.mean).sum(2)

    def log_prob(self, x: Tensor) -> Tensor:
        """log Σ_k π_k P_k(x); x is (B, *event)."""
        return (self.log_weight + self.components.log_prob(x.unsqueeze(1))).logsumexp(2)

    def sample(self, noise: Noise) -> Tensor:
        """A component for each entry, and a grey level of it."""
        chosen = (self.log_weight + gumbel(self.log_weight, noise)).argmax(2, keepdim=True)
        return self.components.sample(noise).gather(2, chosen).squeeze(2)

    def cumulative(self, x: Tensor) -> Tensor:
        """Σ_k π_k P_k(X ≤ x)."""
        return (self.log_weight.softmax(2) * self.components.cumulative(x.unsqueeze(1))).sum(2)


LOGISTIC_FLOOR = DiscretizedLogistic.BIN / 8  # narrower than this, a grey level's bin holds all the mass


class DiscretizedLogisticHead(LocationScaleHead):
    """256 grey levels for every entry."""

    family = DiscretizedLogistic


class DiscretizedLogisticMixtureHead(LikelihoodHead):
    """256 grey levels for every entry, from K logistics: their locations, scales and logits, P = 3K.

    Parameters
    ----------
    scale : Scale
        Of each component, given by the decoder.
    spread : Tensor, shape (*event)
        At first the components lie side by side over so much on both sides of the first parameter, which is filled
        with the mean of the data.
    n_components : int
        K.
    """

    def __init__(self, scale: Scale, spread: Tensor, n_components: int) -> None:
        super().__init__()
        self.scale: Scale
        self.n_parameters: int
        self.scale, self.n_parameters = scale, 3 * n_components
        self.offset: Tensor
        places = torch.linspace(-1, 1, n_components).view(-1, *[1] * spread.ndim)
        self.register_buffer("offset", places * spread)

    def forward(self, raw: Tensor) -> DiscretizedLogisticMixture:
        """(S, B, 3K, *event) → p(x|z)."""
        location, scale, logits = raw.chunk(3, 2)
        center, others = location[:, :, :1], location[:, :, 1:]
        offset = self.offset.reshape(*self.offset.shape, *[1] * (location.ndim - 2 - self.offset.ndim))
        location = center + offset + torch.cat([torch.zeros_like(center), others], 2)
        return DiscretizedLogisticMixture(DiscretizedLogistic(location, self.scale(scale)), logits.log_softmax(2))


class DiscretizedLogisticKind(LikelihoodKind):
    """``likelihood="discretized_logistic"``: 8-bit grey levels, from −1 to 1 in the model's units."""

    name: ClassVar[str]
    data: ClassVar[str]
    in_words: ClassVar[str]
    name, data, in_words = "discretized_logistic", "grey_levels", "8-bit grey levels"
    has_scale = has_components = True

    def suits(self, facts: Facts, dtype: np.dtype) -> bool:
        """Bytes."""
        return dtype == np.uint8

    def refusal(self, facts: Facts, dtype: np.dtype, n_categories: int) -> str | None:
        """Fractions, and numbers that no byte holds."""
        if not facts.whole.all():
            found = "describes whole numbers, but X has fractions"
        elif facts.lowest < 0 or facts.highest >= N_GREY_LEVELS:
            found = f"describes the values 0 to 255, but X has values from {facts.lowest:g} to {facts.highest:g}"
        else:
            return None
        return f"likelihood='discretized_logistic' {found}: use likelihood='gaussian'"

    def count_categories(self, facts: Facts) -> int:
        """All that a byte can hold, seen or not."""
        return N_GREY_LEVELS

    def highest(self, n_categories: int) -> float:
        """255."""
        return N_GREY_LEVELS - 1.0

    def in_model_units(self, mean: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """On the scale where the 256 grey levels run from −1 to 1."""
        half = (N_GREY_LEVELS - 1) / 2
        return mean / half - 1, spread / half

    def view(self, x: Tensor) -> Tensor:
        """On the same scale."""
        return DiscretizedLogistic.center(x)

    def _head(
        self, features: Features, scale: str | float, min_scale: float, n_components: int, per_entry: bool
    ) -> LikelihoodHead:
        s = _scale(features, "decoder" if scale == "auto" else scale, per_entry)
        if n_components == 1:
            return DiscretizedLogisticHead(s)
        return DiscretizedLogisticMixtureHead(s, deviations(features, per_entry=per_entry).float(), n_components)


def _scale(features: Features, scale: str | float, per_entry: bool) -> Scale:
    """s in the model's units; a number is a standard deviation πs/√3 of so many grey levels."""
    if scale == "unit":
        raise ValueError(
            "scale='unit' is for the Gaussian; for likelihood='discretized_logistic' "
            "give a number of grey levels, or 'shared', 'feature' or 'decoder'"
        )
    floor = torch.tensor(LOGISTIC_FLOOR)
    if not isinstance(scale, str):
        return Scale("fixed", torch.tensor(scale * DiscretizedLogistic.BIN * math.sqrt(3) / math.pi), floor)
    spread = deviations(features, per_entry=per_entry) * math.sqrt(3) / math.pi  # a logistic has sd πs/√3
    initial = (spread.mean() if scale == "shared" else spread).clamp_min(0.02)
    return Scale("decoder" if scale == "decoder" else "learned", initial, floor)


KIND = DiscretizedLogisticKind()
