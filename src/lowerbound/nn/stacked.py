"""M autoencoders of equal shape that are trained together: M small matrix products become one batched product.

The members are the first dimension of everything that depends on a member: z is (M, B, D), a draw from each, and
p(x|z) has parameters (M, B, *event). All members read the same x.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from lowerbound.distributions.gaussians import DiagonalGaussian
from lowerbound.distributions.likelihoods.likelihood import Likelihood, LikelihoodHead
from lowerbound.distributions.noise import Noise
from lowerbound.nn.mlp import MLPDecoder, MLPEncoder


class Linears(nn.Module):
    """M linear layers of one shape: (M, B, n_in) → (M, B, n_out)."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight: nn.Parameter = nn.Parameter(torch.stack([layer.weight.detach().mT for layer in layers]))
        biases = [layer.bias for layer in layers if layer.bias is not None]
        self.bias: nn.Parameter | None
        self.bias = nn.Parameter(torch.stack([bias.detach() for bias in biases])[:, None]) if biases else None

    def forward(self, x: Tensor) -> Tensor:
        """x Wᵀ + b, with each member's W and b."""
        return torch.bmm(x, self.weight) if self.bias is None else torch.baddbmm(self.bias, x, self.weight)

    @torch.no_grad()
    def copy_back(self, layers: Sequence[nn.Linear]) -> None:
        """Copy the weights back to the members."""
        for i, layer in enumerate(layers):
            layer.weight.copy_(self.weight[i].mT)
            if self.bias is not None:
                layer.bias.copy_(self.bias[i, 0])


class StackedNetworks(nn.Module):
    """The members' networks: layers with weights of equal shape are batched, others are applied one by one."""

    def __init__(self, networks: Sequence[nn.Sequential]) -> None:
        super().__init__()
        self.networks: list[list[nn.Module]] = [list(network) for network in networks]
        self.steps: nn.ModuleList = nn.ModuleList(_stacked(layers) for layers in zip(*self.networks, strict=True))

    def forward(self, x: Tensor, added: Tensor | float = 0.0) -> list[Tensor]:
        """The members' outputs, (B, n_out) each, for x (M, B, n_in); ``added`` is added to the first layer's output."""
        first, *others = self.steps
        h = first(x) + added
        for step in others:
            apart = isinstance(step, nn.ModuleList)
            h = [layer(part) for layer, part in zip(step, h, strict=True)] if apart else step(h)
        return list(h)

    def copy_back(self) -> None:
        """Copy the weights back to the members."""
        for step, layers in zip(self.steps, zip(*self.networks, strict=True), strict=True):
            if isinstance(step, Linears):
                step.copy_back(cast(Sequence[nn.Linear], layers))


def _stacked(layers: Sequence[nn.Module]) -> nn.Module:
    if not isinstance(layers[0], nn.Linear):
        return layers[0]  # an activation
    shapes = {layer.weight.shape for layer in layers}
    return Linears(cast(Sequence[nn.Linear], layers)) if len(shapes) == 1 else nn.ModuleList(layers)


@dataclass
class Gaussians(DiagonalGaussian):
    """q(z|x) of every member: ``mean`` and ``log_scale`` are (M, B, D)."""

    def rsample(self, shape: Sequence[int], noise: Noise) -> Tensor:
        """One draw from each member's q, shape (M, B, D)."""
        assert tuple(shape) == (1,)
        return super().rsample((), noise)

    def kl_to_standard_normal(self) -> Tensor:
        """Each member's KL, divided by M so that the sum is the mean over members, shape (B, M)."""
        return super().kl_to_standard_normal().sum(-1).mT / len(self.mean)


class Encoders(nn.Module):
    """x → q(z|x) of every member: their MLP encoders, and one shared head."""

    def __init__(self, networks: Sequence[MLPEncoder], head: Callable[[Tensor], DiagonalGaussian]) -> None:
        super().__init__()
        self.layers: StackedNetworks
        self.head: Callable[[Tensor], DiagonalGaussian]
        self.gaps: Linears | None
        self.layers, self.head, self.gaps = StackedNetworks([network.layers for network in networks]), head, None
        branches = [network.gaps for network in networks]
        self.members: Sequence[nn.Linear]
        if branches[0] is not None:
            self.members, self.gaps = cast(Sequence[nn.Linear], branches), Linears(cast(list, branches))

    def forward(self, seen: Tensor, missing: Tensor | None = None) -> Gaussians:
        """(B, *event) → q(z|x) with parameters (M, B, D)."""
        x, added = self._for_each(seen), 0.0
        if missing is not None and self.gaps is not None:
            added = self.gaps(self._for_each(missing).to(x.dtype))
        q = self.head(torch.stack(self.layers(x, added)))
        return Gaussians(q.mean, q.log_scale)

    def _for_each(self, x: Tensor) -> Tensor:
        return x.flatten(1).expand(len(self.layers.networks), -1, -1)

    def copy_back(self) -> None:
        """Copy the weights back to the members."""
        self.layers.copy_back()
        if self.gaps is not None:
            self.gaps.copy_back(self.members)


@dataclass
class Likelihoods:
    """p(x|z) of every member."""

    members: list[Likelihood]

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of each entry, shape (M, B, *event)."""
        return torch.cat([p.log_prob(x) for p in self.members])


class Decoders(nn.Module):
    """z (M, B, D) → p(x|z) of every member: their MLP decoders and heads."""

    def __init__(self, networks: Sequence[MLPDecoder], heads: Sequence[LikelihoodHead]) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = [network.output_shape for network in networks]
        self.layers: StackedNetworks
        self.heads: nn.ModuleList
        self.layers, self.heads = StackedNetworks([network.layers for network in networks]), nn.ModuleList(heads)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Likelihoods:
        """z (M, B, D) → p(x|z) of every member, or p(x|z, c) for a context (B, C)."""
        if context is not None:
            z = torch.cat([z, context.to(z.dtype).expand(len(z), -1, -1)], -1)
        raw = [h.view(1, -1, *shape) for h, shape in zip(self.layers(z), self.shapes, strict=True)]
        return Likelihoods([head(part) for head, part in zip(self.heads, raw, strict=True)])

    def copy_back(self) -> None:
        """Copy the weights back to the members."""
        self.layers.copy_back()
