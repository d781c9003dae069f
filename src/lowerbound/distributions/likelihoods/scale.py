"""Scales of likelihoods that have one: fixed, learned, or given by the decoder for every z."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowerbound.distributions.likelihoods.kind import Features
from lowerbound.distributions.likelihoods.likelihood import Likelihood, LikelihoodHead


class Scale(nn.Module):
    """σ of a likelihood: fixed, learned, or given by the decoder for every z.

    Every learned σ is ``floor + softplus(·)``: were it free to go to zero, two equal columns would send the
    density to infinity.

    Parameters
    ----------
    kind : {"fixed", "learned", "decoder"}
    initial : Tensor, shape () or (*event)
        The fixed σ, or where the learned one starts, in the units that the model works in. A learned σ has this
        shape: one for all features, or one for each.
    floor : Tensor, broadcastable to ``initial``
        The lower bound of a learned σ, in the same units.
    """

    def __init__(self, kind: str, initial: Tensor, floor: Tensor) -> None:
        super().__init__()
        self.kind = kind
        self.fixed: Tensor
        self.floor: Tensor
        self.start: Tensor
        if kind == "fixed":
            self.register_buffer("fixed", initial)
            return
        self.register_buffer("floor", floor)
        start = inverse_softplus((initial - floor).clamp_min(1e-6))
        self.raw: nn.Parameter
        if kind == "learned":
            self.raw = nn.Parameter(start)
        else:
            self.register_buffer("start", start)

    def forward(self, raw: Tensor | None) -> Tensor:
        """σ, broadcastable to (S, B, *event); ``raw`` (S, B, *event) is the decoder's output for it."""
        if self.kind == "fixed":
            return self.fixed
        return self.floor + F.softplus(self.raw if raw is None else self.start + raw)


def inverse_softplus(y: Tensor) -> Tensor:
    """x with log(1 + eˣ) = y."""
    return y + torch.log(-torch.expm1(-y))


def deviations(features: Features, *, per_entry: bool) -> Tensor:
    """Standard deviations of the features in the model's units, (*event), or their mean, in double precision, ()."""
    if per_entry:
        return torch.from_numpy(features.spread).float()
    return torch.tensor(features.spread.mean(), dtype=torch.float64)


class LocationScaleHead(LikelihoodHead):
    """A location for every entry, and a σ that is fixed, learned, or a second parameter from the decoder."""

    family: type

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self.scale = scale
        self.n_parameters = 2 if scale.kind == "decoder" else 1

    def forward(self, raw: Tensor) -> Likelihood:
        """Location and scale to a density for every entry."""
        location = raw.select(2, 0)
        scale = self.scale(raw.select(2, 1) if self.n_parameters == 2 else None)
        return self.family(location, scale)
