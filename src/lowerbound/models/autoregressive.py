"""Autoregressive models, p(x) = Π_j p(x_j | x_<j): an exact density, and one step for every feature of a draw.

Features are read in raster order: an image's rows from the top, each from left to right, the channels of a pixel one
after another (van den Oord et al., 2016, arXiv:1601.06759, eqs. 1 and 2); a table's columns in their order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from lowerbound.core import Batch, ExplicitModel
from lowerbound.distributions.likelihoods.likelihood import Likelihood, LikelihoodHead, event_sum
from lowerbound.distributions.noise import Noise
from lowerbound.nn.recurrent import RasterGRU

PASS_NUMBERS = 2**23  # hidden units, entries times H, computed together: bounds memory


def to_grid(x: Tensor, *, is_image: bool) -> Tensor:
    """(B, C, H, W) → (B, H, W·C), channels innermost; (B, F) → (B, 1, F)."""
    return x.movedim(1, -1).flatten(2) if is_image else x.unsqueeze(1)


def from_grid(x: Tensor, n_channels: int | None) -> Tensor:
    """The inverse of ``to_grid``: (B, R, L) → (B, C, H, W), or (B, F) if there is no number of channels C."""
    return x.squeeze(1) if n_channels is None else x.unflatten(2, (-1, n_channels)).movedim(-1, 1)


class Autoregressive(ExplicitModel):
    """log p(x) = Σ_j log p(x_j | x_<j).

    The missing entries of a row must be its last ones: leaving out their factors integrates them out, so that the
    density of the others is exact.

    Parameters
    ----------
    network : RasterGRU
        Its output for an entry depends on the entries before it only.
    head : LikelihoodHead
        The parameters of an entry → p(x_j | x_<j); the same for all entries.
    counted : Tensor of bool, shape (*event)
        False for constant features, which are not in the density and read as 0.
    log_unit : Tensor, shape (*event), optional
        log of the user's units in one unit of x; None when x is discrete.
    is_image : bool
        Events are (C, H, W), not (F,).
    """

    def __init__(
        self, network: RasterGRU, head: LikelihoodHead, counted: Tensor, log_unit: Tensor | None = None, *,
        is_image: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.network: RasterGRU
        self.head: LikelihoodHead
        self.is_image: bool
        self.network, self.head, self.is_image = network, head, is_image
        self.counted: Tensor
        self.register_buffer("counted", counted, persistent=False)  # saved with the schema
        self.register_buffer("log_unit", log_unit)

    def log_prob(self, batch: Batch) -> Tensor:
        """log p(x) of the observed entries, in nats and the user's units, shape (B,).

        Raises
        ------
        ValueError
            If an entry is observed after one that is missing.
        """
        self._check_order(batch.mask)
        x, mask = self.grid(torch.where(batch.mask, batch.x, 0.0)), self.grid(batch.mask)
        n_rows = max(1, PASS_NUMBERS // (math.prod(x.shape[1:]) * self.network.hidden_size))
        parts = zip(x.split(n_rows), mask.split(n_rows), strict=True)
        log_p = torch.cat([event_sum(self.conditionals(x).log_prob(x), mask)[0] for x, mask in parts])
        return log_p if self.log_unit is None else log_p - event_sum(self.log_unit, batch.mask)

    def conditionals(self, x: Tensor) -> Likelihood:
        """p(x_j | x_<j) of every entry of the grid ``x`` (B, R, L), with parameters of shape (1, B, R, L)."""
        return self.head(self.network(x).movedim(-1, 1)[None])

    def unroll(self, x: Tensor) -> Iterator[tuple[int, int, Likelihood]]:
        """Yield (r, l, p(x_{r,l} | entries before)) in raster order, with parameters of shape (1, B, 1).

        Entry (r, l) of the grid ``x`` (B, R, L) is read only after its distribution was yielded.
        """
        return ((r, l, self.head(raw[None, :, :, None])) for r, l, raw in self.network.unroll(x))

    def place(self, r: int, l: int) -> tuple[int, ...]:
        """The place in the event of an entry of the grid."""
        n_channels = self.counted.shape[0]
        return (l % n_channels, r, l // n_channels) if self.is_image else (l,)

    @torch.no_grad()
    def complete(self, batch: Batch, noise: Noise, *, mean: bool = False) -> Tensor:
        """x with its missing last entries drawn from p(x_j | x_<j), one after the other, shape (B, *event).

        With ``mean=True`` they are the means E[x_j | x_<j], each given the entries *drawn* before it: such rows have
        the same mean as draws, and a smaller variance.

        Raises
        ------
        ValueError
            If an entry is observed after one that is missing.
        """
        self._check_order(batch.mask)
        x, missing = self.grid(torch.where(batch.mask, batch.x, 0.0)), self.grid(~batch.mask & self.counted)
        shown = x.clone()
        for r, l, p in self.unroll(x):
            x[:, r, l] = torch.where(missing[:, r, l], p.sample(noise)[0, :, 0], x[:, r, l])
            shown[:, r, l] = torch.where(missing[:, r, l], p.mean[0, :, 0], x[:, r, l]) if mean else x[:, r, l]
        return from_grid(shown, self.counted.shape[0] if self.is_image else None)

    def sample(self, n: int, noise: Noise, *, mean: bool = False) -> Tensor:
        """Draw ``n`` rows, entry by entry, shape (n, *event)."""
        nothing = self.network.bias.new_zeros(n, *self.counted.shape)
        return self.complete(
            Batch(nothing, torch.zeros_like(nothing, dtype=torch.bool), torch.arange(n)), noise, mean=mean
        )

    def grid(self, x: Tensor) -> Tensor:
        """Events (B, *event) as the grids that the network reads, (B, R, L)."""
        return to_grid(x, is_image=self.is_image)

    def _check_order(self, mask: Tensor) -> None:
        missing = self.grid(~mask & self.counted).flatten(1)
        if (self.grid(mask).flatten(1) & (missing.cumsum(1) > 0)).any():
            raise ValueError(
                "an entry is observed after one that is missing (NaN): features are read in order (images row by row "
                "from the top), so only the last ones of a row may be missing"
            )
