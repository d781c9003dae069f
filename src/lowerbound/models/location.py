"""The location model of numbers and categories, with one discrete latent variable for both.

p(x) = Σ_k π_k N(x_numbers; μ_k, Σ_k) Π_j θ_kj(x_j): given the component, numbers are Gaussian, and categories are
independent of them and of each other (Olkin & Tate, 1961; with latent components: Lawrence & Krzanowski, 1996).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lowerbound.core import Batch, ExplicitModel
from lowerbound.distributions.noise import Noise
from lowerbound.models.gaussian import GaussianSums, MixtureOfGaussians, rows_at_once
from lowerbound.models.mixture import draw_components


class LocationSums(NamedTuple):
    """Sums over rows that EM needs: the sums of the numbers, and ``categories`` Σ r 1[x_j = category], (K, I)."""

    n_rows: Tensor
    log_p: Tensor
    weight: Tensor
    first: Tensor
    second: Tensor
    categories: Tensor


class LocationModel(ExplicitModel):
    """A mixture over rows of numbers and indicators of categories, side by side in one vector.

    EM maximizes the likelihood times a prior: that of ``MixtureOfGaussians``, and one imaginary row for each component
    and categorical column, distributed like all rows.

    Parameters
    ----------
    n_components : int
        K.
    blocks : Tensor of int64, shape (P,)
        −1 for a number; for indicators the number of their categorical column, from 0, ascending.
    frequencies : Tensor, shape (P,)
        The frequency of each category; ignored for numbers.
    shrinkage : float
        α of ``MixtureOfGaussians``.
    """

    log_unit: Tensor | None = None

    def __init__(self, n_components: int, blocks: Tensor, frequencies: Tensor, shrinkage: float) -> None:
        super().__init__()
        self.n_components = n_components
        self.blocks: Tensor
        self.is_number: Tensor
        self.blocks, self.is_number = blocks[blocks >= 0], blocks < 0
        self.n_blocks: int = int(self.blocks.max()) + 1
        self.frequencies: Tensor = frequencies[~self.is_number].clamp_min(1e-6)
        self.numbers: MixtureOfGaussians
        self.numbers = MixtureOfGaussians(n_components, (int(self.is_number.sum()),), shrinkage=shrinkage)
        self.log_theta: Tensor
        self.register_buffer("log_theta", self.frequencies.log().repeat(n_components, 1))

    def _parts(self, batch: Batch) -> tuple[Batch, Tensor]:
        """The numbers, and the indicators with zeros in the gaps."""
        here = self.is_number
        numbers = Batch(batch.x[:, here], batch.mask[:, here], batch.index)
        return numbers, torch.where(batch.mask[:, ~here], batch.x[:, ~here], 0.0)

    def _log_joint(self, log_p_numbers: Tensor, indicators: Tensor) -> Tensor:
        """log π_k + log p(x_o|k), shape (K, B)."""
        return self.numbers.log_weights.unsqueeze(1) + log_p_numbers + self.log_theta @ indicators.T

    def log_prob(self, batch: Batch) -> Tensor:
        """log p of the observed entries, shape (B,)."""
        numbers, indicators = self._parts(batch)
        return self._log_joint(self.numbers.condition(numbers).log_p, indicators).logsumexp(0)

    def conditional_mean(self, batch: Batch) -> Tensor:
        """x with expectations in the gaps, which are probabilities for indicators, shape (B, P)."""
        return self.conditional_moments(batch, torch.zeros(0, dtype=torch.int64))[0]

    def conditional_moments(self, batch: Batch, places: Tensor) -> tuple[Tensor, Tensor]:
        """``conditional_mean``, and Var[x_j|x_o] of the numbers in the columns ``places`` (Q,), shape (B, Q)."""
        numbers = self.is_number.cumsum(0)[places] - 1
        parts = [self._moments_given(part, numbers) for part in self._pieces(batch)]
        mean, variance = map(torch.cat, zip(*parts, strict=True))
        return mean, variance

    def _moments_given(self, batch: Batch, places: Tensor) -> tuple[Tensor, Tensor]:
        numbers, indicators = self._parts(batch)
        given = self.numbers.condition(numbers)
        r = self._log_joint(given.log_p, indicators).softmax(0)
        mean = torch.empty_like(batch.x)
        mean[:, self.is_number] = torch.einsum("kb,kbf->bf", r, given.filled)
        mean[:, ~self.is_number] = r.T @ self.log_theta.exp()
        return torch.where(batch.mask, batch.x, mean), self.numbers.variance(given, r, places)

    def conditional_sample(self, batch: Batch, n: int, noise: Noise) -> Tensor:
        """x with draws in the gaps: k ~ p(k|x_o), then numbers and categories given k, shape (n, B, P)."""
        return torch.cat([self._conditional_sample(part, n, noise) for part in self._pieces(batch, n)], 1)

    def _conditional_sample(self, batch: Batch, n: int, noise: Noise) -> Tensor:
        numbers, indicators = self._parts(batch)
        given = self.numbers.condition(numbers)
        chosen = draw_components(self._log_joint(given.log_p, indicators).softmax(0).T, n, noise)
        x = batch.x.new_empty((n, *batch.x.shape))
        x[..., self.is_number] = self.numbers.sample_from(given, numbers, chosen, noise)
        x[..., ~self.is_number] = self._categories(chosen, noise)
        return torch.where(batch.mask, batch.x, x)

    def _categories(self, chosen: Tensor, noise: Noise) -> Tensor:
        """Indicators of one drawn category for each categorical column, shape (n, B, I)."""
        parts = []
        for j in range(self.n_blocks):
            theta = self.log_theta[:, self.blocks == j].exp()
            category = draw_components(theta[chosen.flatten()], 1, noise)[0]
            parts.append(F.one_hot(category, theta.shape[1]).view(*chosen.shape, -1))
        return torch.cat(parts, -1).to(self.log_theta.dtype)

    def _pieces(self, batch: Batch, n: int = 1) -> list[Batch]:
        rows = rows_at_once(math.ceil(batch.x.shape[1] ** 0.5), self.n_components * n)
        rows = min(rows, rows_at_once(max(1, int(self.is_number.sum())), self.n_components + n))
        split = zip(batch.x.split(rows), batch.mask.split(rows), batch.index.split(rows), strict=True)
        return [Batch(*part) for part in split]

    # exact EM

    def expect(self, batch: Batch) -> LocationSums:
        """The E-step: r = p(k|x_o), and the sums weighted by it."""
        numbers, indicators = self._parts(batch)
        given = self.numbers.condition(numbers)
        log_joint = self._log_joint(given.log_p, indicators)
        log_p = log_joint.logsumexp(0)
        r = (log_joint - log_p).exp()
        return LocationSums(*self.numbers.sums(given, r, log_p), r @ indicators)

    def maximize(self, sums: LocationSums) -> None:
        """The M-step of the numbers, and θ_kj = (Σ r 1[x_j] + frequency)/(Σ r over rows with x_j + 1)."""
        self.numbers.maximize(GaussianSums(*sums[:5]))
        counts = sums.categories + self.frequencies
        seen = counts.new_zeros(len(counts), self.n_blocks).index_add(1, self.blocks, counts)
        self.log_theta.copy_((counts / seen[:, self.blocks]).log())

    def log_prior(self) -> Tensor:
        """The log-prior of the Gaussians plus Σ_kj frequency log θ, up to a constant."""
        return self.numbers.log_prior() + (self.frequencies * self.log_theta).sum()
