"""The generative model of the variational autoencoder: z ~ N(0, I) or a learned prior, x ~ p(x | network of z).

It is an infinite mixture whose components' parameters are a network of z (Kingma & Welling, 2014, arXiv:1312.6114;
Rezende et al., 2014, arXiv:1401.4082). The encoder, the network of q(z|x), is here too, because it is a conditional
like the decoder.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from lowerbound.core import LatentDistribution, Missingness, Prior
from lowerbound.distributions.gaussians import StandardNormal
from lowerbound.distributions.likelihoods.likelihood import Likelihood, LikelihoodHead
from lowerbound.models.conditional import ConditionalModel
from lowerbound.models.missingness import SelfMasking
from lowerbound.nn.initialization import branch, linear
from lowerbound.precision import in_single


class Encoder(nn.Module):
    """x → q(z|x): the inputs, the network and the head.

    Parameters
    ----------
    inputs : Module
        ``(x, mask)`` → what the network sees of x.
    network : Module
        ``seen``, or ``(seen, missing)`` where the data have gaps → features, one tensor or several.
    head : callable
        The features → q(z|x).
    """

    def __init__(self, inputs: nn.Module, network: nn.Module, head: Callable[..., LatentDistribution]) -> None:
        super().__init__()
        self.inputs: nn.Module
        self.network: nn.Module
        self.head: Callable[..., LatentDistribution]
        self.inputs, self.network, self.head = inputs, network, head

    def forward(
        self, x: Tensor, mask: Tensor | None = None, missing: Tensor | None = None, context: Tensor | None = None
    ) -> LatentDistribution:
        """(B, *event) → q(z|x), or q(z|x, c) for a context (B, C)."""
        return self.head(*self.features(x, mask, missing, context))

    def features(
        self, x: Tensor, mask: Tensor | None = None, missing: Tensor | None = None, context: Tensor | None = None
    ) -> list[Tensor]:
        """The network's features of x, with zeros where ``mask`` is False; ``missing`` enters by a separate branch.

        A context is further inputs: channels of one value each, for images.
        """
        seen = self.inputs(x, mask)
        if context is not None:
            seen = beside(seen, context)
        features = self.network(seen) if missing is None else self.network(seen, missing)
        return features if isinstance(features, list) else [features]


class Decoder(nn.Module):
    """z → p(x|z): the network and the head."""

    def __init__(self, network: nn.Module, head: LikelihoodHead) -> None:
        super().__init__()
        self.network: nn.Module
        self.head: LikelihoodHead
        self.network, self.head = network, head

    def forward(self, z: Tensor, context: Tensor | None = None) -> Likelihood:
        """(S, B, D) → p(x|z), or p(x|z, c) for a context (B, C), with parameters of shape (S, B, *event)."""
        if context is not None:
            z = torch.cat([z, context.to(z.dtype).expand(len(z), -1, -1)], -1)
        return self.head(in_single(self.network(z.flatten(0, 1))).unflatten(0, z.shape[:2]))


def beside(seen: Tensor, context: Tensor) -> Tensor:
    """A network's inputs (B, F), or (B, C', H, W) for images, and the context (B, C) as more of them."""
    context = context.to(seen.dtype)
    if seen.ndim == 4:
        return torch.cat([seen, context[..., None, None].expand(-1, -1, *seen.shape[2:])], 1)
    return torch.cat([seen.flatten(1), context], 1)


class LatentModel(ConditionalModel):
    """One level of latent variables.

    Parameters
    ----------
    decoder : Decoder
    latent_dim : int
        D.
    log_unit : Tensor, shape (*event), optional
        log of the user's units in one unit of x: with standardized data, the log standard deviations. This is the
        log-Jacobian, as densities are reported in the user's units. None if x is discrete.
    learned_prior : Module, optional
        Returns p(z) when called without arguments; N(0, I) by default.
    missingness : SelfMasking, optional
        p(s|x) of the mask s. It enters log p(x|z), which is then log p(x_o, s|z).
    n_context : int
        C, numbers of a context that the decoder reads beside z; 0 for a model that isn't given any.
    """

    def __init__(
        self, decoder: Decoder, latent_dim: int, log_unit: Tensor | None = None,
        learned_prior: nn.Module | None = None, missingness: SelfMasking | None = None, n_context: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(n_context)
        self.decoder: Decoder
        self.latent_dim: int
        self.learned_prior: nn.Module | None
        self.decoder, self.latent_dim, self.learned_prior = decoder, latent_dim, learned_prior
        self.missingness: Missingness | None = missingness
        self._like: Tensor
        self.register_buffer("log_unit", log_unit)
        self.register_buffer("_like", torch.empty(0), persistent=False)

    def prior(self) -> Prior:
        """N(0, I), or the learned one, p(z|c) where it reads the context."""
        if self.learned_prior is None:
            return StandardNormal(self.latent_dim, self._like)
        reads_context = getattr(self.learned_prior, "reads_context", False)
        return self.learned_prior(self.needed_context()) if reads_context else self.learned_prior()

    def likelihood(self, z: Tensor) -> Likelihood:
        """p(x|z) for z of shape (S, B, D)."""
        return self.decoder(z, self.needed_context())


class OwnEncoder(nn.Module):
    """A user's module with a linear layer that maps its features to the width that the head needs.

    The module is copied; it takes ``(B, *event)`` and returns features ``(B, h)`` of any width. With ``n_gaps``,
    indicators of missing entries (B, n_gaps) are added to the features by a linear layer without bias.
    """

    def __init__(
        self, module: nn.Module, example: Tensor, n_features_out: int, generator: torch.Generator, n_gaps: int = 0
    ) -> None:
        super().__init__()
        self.module: nn.Module = copy.deepcopy(module)
        with torch.no_grad():
            features = self.module.eval()(example)
        if not isinstance(features, Tensor) or features.ndim < 2 or len(features) != len(example):
            shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(
                f"the encoder must return features of shape (batch, ...), one row for each of its input's; "
                f"for input of shape {tuple(example.shape)} it returned {shape}"
            )
        self.gaps: nn.Module | None
        self.gaps = branch(skip_init(nn.Linear, n_gaps, n_features_out, bias=False)) if n_gaps else None
        self.layer: nn.Linear = linear(features[0].numel(), n_features_out, generator)

    def forward(self, x: Tensor, missing: Tensor | None = None) -> Tensor:
        """(B, *event) → (B, n_features_out)."""
        features = self.layer(self.module(x).flatten(1))
        if missing is None or self.gaps is None:
            return features
        return features + self.gaps(missing.flatten(1).to(x.dtype))


class OwnDecoder(nn.Module):
    """A user's module from ``(N, D)`` to P numbers for every entry, plus a bias that starts from the data."""

    def __init__(self, module: nn.Module, latent_dim: int, event_shape: Sequence[int], n_parameters: int) -> None:
        super().__init__()
        self.module: nn.Module = copy.deepcopy(module)
        self.output_shape: tuple[int, ...] = (n_parameters, *event_shape)
        self.bias: nn.Parameter = nn.Parameter(torch.zeros(self.output_shape))
        with torch.no_grad():
            output = self.module.eval()(torch.zeros(2, latent_dim))
        if output.shape[1:].numel() != self.bias.numel() or len(output) != 2:
            wanted = event_shape if n_parameters == 1 else self.output_shape
            raise ValueError(
                f"the decoder must return (batch, {', '.join(map(str, wanted))}): {n_parameters} parameter(s) for "
                f"every entry of x; for z of shape (2, {latent_dim}) it returned {tuple(output.shape)}"
            )

    def forward(self, z: Tensor) -> Tensor:
        """(N, D) → (N, P, *event)."""
        return self.module(z).reshape(-1, *self.output_shape) + self.bias
