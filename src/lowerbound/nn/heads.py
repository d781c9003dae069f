"""Heads: what a network returns becomes a distribution.

A latent head turns ``(B, n_features)`` into q(z|x). A likelihood head turns ``(S, B, P, *event)``, P raw
parameters for every entry, into p(x|z).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowerbound.distributions.gaussians import DiagonalGaussian, FullGaussian
from lowerbound.distributions.likelihoods import (
    Bernoulli,
    Categorical,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    Likelihood,
    Normal,
)
from lowerbound.precision import in_single

LOG_SCALE_LIMIT = 10.0  # σ(x) of the posterior stays within e^±10


class GaussianHead(nn.Module):
    """Features to q(z|x) = N(μ, Σ) with Σ isotropic, diagonal or full (by its Cholesky factor).

    Parameters
    ----------
    latent_dim : int
        D.
    covariance : {"isotropic", "diagonal", "full"}
        The network gives one log σ, D of them, or those and the D(D−1)/2 entries of L below its diagonal.
    """

    def __init__(self, latent_dim: int, covariance: str) -> None:
        super().__init__()
        self.latent_dim, self.covariance = latent_dim, covariance
        below_diagonal = latent_dim * (latent_dim - 1) // 2
        n_scale = {"isotropic": 1, "diagonal": latent_dim, "full": latent_dim + below_diagonal}[covariance]
        self.n_features = latent_dim + n_scale

    def forward(self, features: Tensor) -> DiagonalGaussian | FullGaussian:
        """(*, B, n_features) → q(z|x); a full covariance for (B, n_features) only."""
        mean, scale = in_single(features).tensor_split([self.latent_dim], dim=-1)
        if self.covariance != "full":
            return DiagonalGaussian(mean, scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT))
        log_diagonal, below = scale.tensor_split([self.latent_dim], dim=1)
        diagonal = log_diagonal.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT).exp()
        row, column = torch.tril_indices(self.latent_dim, self.latent_dim, -1, device=below.device)
        scale_tril = torch.diag_embed(diagonal)
        scale_tril[:, row, column] = below
        return FullGaussian(mean, scale_tril)


class LikelihoodHead(nn.Module):
    """Raw parameters ``(S, B, P, *event)`` to p(x|z)."""

    n_parameters: int
    parameter_shape: tuple[int, ...] | None = None  # in place of the event's, where entries have unequal numbers

    def forward(self, raw: Tensor) -> Likelihood:
        """(S, B, P, *event) → p(x|z)."""
        raise NotImplementedError(f"{type(self).__name__} does not say how parameters become a distribution")


class BernoulliHead(LikelihoodHead):
    """One logit for every entry."""

    n_parameters = 1

    def forward(self, raw: Tensor) -> Bernoulli:
        """Logits to probabilities of a one."""
        return Bernoulli(raw.squeeze(2))


class CategoricalHead(LikelihoodHead):
    """K logits for every entry."""

    def __init__(self, n_categories: int) -> None:
        super().__init__()
        self.n_parameters = n_categories

    def forward(self, raw: Tensor) -> Categorical:
        """Logits to probabilities of the categories."""
        return Categorical(raw.movedim(2, -1))


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
        if kind == "learned":
            self.raw = nn.Parameter(start)
        else:
            self.register_buffer("start", start)

    def forward(self, raw: Tensor | None) -> Tensor:
        """σ, broadcastable to (S, B, *event); ``raw`` (S, B, *event) is what the decoder says of it."""
        if self.kind == "fixed":
            return self.fixed
        return self.floor + F.softplus(self.raw if raw is None else self.start + raw)


def inverse_softplus(y: Tensor) -> Tensor:
    """x with log(1 + eˣ) = y."""
    return y + torch.log(-torch.expm1(-y))


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


class NormalHead(LocationScaleHead):
    """N(x; μ, σ²) for every entry."""

    family = Normal


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
        self.scale, self.n_parameters = scale, 3 * n_components
        self.offset: Tensor
        places = torch.linspace(-1, 1, n_components).view(-1, *[1] * spread.ndim)
        self.register_buffer("offset", places * spread)

    def forward(self, raw: Tensor) -> DiscretizedLogisticMixture:
        """(S, B, 3K, *event) → p(x|z)."""
        location, scale, logits = raw.chunk(3, 2)
        center, others = location[:, :, :1], location[:, :, 1:]
        location = center + self.offset + torch.cat([torch.zeros_like(center), others], 2)
        return DiscretizedLogisticMixture(DiscretizedLogistic(location, self.scale(scale)), logits.log_softmax(2))
