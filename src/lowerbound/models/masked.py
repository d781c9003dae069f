"""Binary columns that depend on each other given z: p(x|z) = Π_i p(x_i | x_<i, z), by a masked network.

Given the past of a sequence by a recurrence, this is RNN-NADE (Boulanger-Lewandowski et al., 2012, arXiv:1206.6392)
with a masked network in place of NADE; with latent variables there is a z for each step as well.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lowerbound.core import Batch, Prior
from lowerbound.distributions.gaussians import StandardNormal
from lowerbound.distributions.likelihoods.bernoulli import Bernoulli
from lowerbound.distributions.likelihoods.likelihood import event_sum
from lowerbound.distributions.noise import Noise
from lowerbound.models.conditional import ConditionalModel
from lowerbound.models.vae import Decoder
from lowerbound.nn.masked import MaskedMLP


class MaskedModel(ConditionalModel):
    """p(x|z, c) = Π_i Bernoulli(x_i; σ(ℓ_i(z, c) + m_i(x_<i, z, c))), with ℓ a decoder's logits.

    All columns of a row have to be observed. It has no ``likelihood``: a draw takes a step for each column.

    Parameters
    ----------
    decoder : Decoder
        (z, c) → Bernoulli with logits ℓ.
    network : MaskedMLP
        (x, (z, c)) → m.
    counted : Tensor of bool, shape (F,)
        False for constant columns, which are in no density and read as 0.
    latent_dim : int
        D.
    learned_prior : Module, optional
        p(z|c); N(0, I) by default.
    n_context : int
        C.
    """

    log_unit = None

    def __init__(
        self, decoder: Decoder, network: MaskedMLP, counted: Tensor, latent_dim: int,
        learned_prior: nn.Module | None = None, n_context: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(n_context)
        self.decoder: Decoder
        self.network: MaskedMLP
        self.decoder, self.network = decoder, network
        self.latent_dim: int = latent_dim
        self.learned_prior: nn.Module | None = learned_prior
        self.counted: Tensor
        self.register_buffer("counted", counted, persistent=False)  # saved with the schema

    def prior(self) -> Prior:
        """p(z|c), or N(0, I)."""
        if self.learned_prior is None:
            return StandardNormal(self.latent_dim, self.network.output.weight.new_empty(0))
        return self.learned_prior(self.needed_context())

    def log_px(self, batch: Batch, z: Tensor) -> Tensor:
        """log p(x|z), shape (S, B), in nats.

        Parameters
        ----------
        batch : Batch
            B rows.
        z : Tensor, shape (S, B, D)

        Raises
        ------
        ValueError
            If a column of a row is missing: the columns after it depend on it.
        """
        if batch.missing is not None and batch.missing.any():
            raise ValueError("columns that depend on each other have to be observed: fill gaps, or head='independent'")
        p = Bernoulli(self.given(batch.context).logits(batch.seen, z))
        return event_sum(p.log_prob(batch.seen), batch.mask, batch.complete)

    def logits(self, x: Tensor, z: Tensor) -> Tensor:
        """The logits of every column given those before it: x (…, B, F) and z (S, B, D) to (S, B, F)."""
        p = self.decoder(z, self.needed_context())
        assert isinstance(p, Bernoulli)
        return p.logits + self.network(x, self._beside(z))

    def draw_x(self, z: Tensor, noise: Noise) -> Tensor:
        """Draw one x for every z (S, B, D), column after column, shape (S, B, F)."""
        x = z.new_zeros(*z.shape[:2], len(self.counted))
        uniform = noise.uniform(x.shape, x)
        for column, logit in self.unroll(x, z):
            x[..., column] = (uniform[..., column] < logit.sigmoid()).to(x.dtype)
        return x

    def unroll(self, x: Tensor, z: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield every column that isn't constant and its logits (S, B), in order, for z (S, B, D).

        Column i of ``x`` (…, B, F) is read only after its logits were yielded, so that the caller can write it before.
        """
        p = self.decoder(z, self.needed_context())
        assert isinstance(p, Bernoulli)
        for i, logit in self.network.unroll(x, self._beside(z), self.counted.nonzero()[:, 0].tolist()):
            yield i, p.logits[..., i] + logit

    def _beside(self, z: Tensor) -> Tensor:
        context = self.needed_context()
        return z if context is None else torch.cat([z, context.to(z.dtype).expand(len(z), -1, -1)], -1)
