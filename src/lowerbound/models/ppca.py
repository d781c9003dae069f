"""Linear-Gaussian models: z ~ N(0, I), x = Wz + μ + ε with ε ~ N(0, Ψ).

With Ψ = σ²I this is probabilistic principal component analysis (Tipping & Bishop, 1999), with a diagonal Ψ factor
analysis (Rubin & Thayer, 1982). The posterior and log p(x) are exact, and the likelihood is maximized in closed form
(PPCA) or by EM (both), also with missing entries. No matrix here is F × F except the sample covariance of
``spectrum``, and that only if there are more rows than features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from lowerbound.core import Batch, ElementwiseModel
from lowerbound.distributions.gaussians import FullGaussian, StandardNormal
from lowerbound.distributions.likelihoods.normal import Normal
from lowerbound.distributions.noise import Noise
from lowerbound.models.patterns import distinct_rows


class Spectrum(NamedTuple):
    """Mean and principal axes of rows: S = Σ_i λ_i u_i u_iᵀ with the divisor n.

    ``mean`` (F,); ``variances`` λ (r,), decreasing; ``axes`` u (F, r); r is the smaller of F and n − 1.
    """

    mean: Tensor
    variances: Tensor
    axes: Tensor


class LinearSums(NamedTuple):
    """Sums over rows that EM needs; ẑ = (z, 1), r = x − μ of the observed entries.

    ``n_rows`` (), ``log_p`` (), ``observed`` (F,) the number of entries, ``squares`` Σ r² (F,), ``cross`` Σ r E[ẑ]
    (F, D + 1), ``codes`` Σ E[ẑẑᵀ] (D + 1, D + 1) over all rows, and ``seen`` the same for each feature over the rows in
    which it is observed, (F, D + 1, D + 1), or (1, D + 1, D + 1) if all are observed.
    """

    n_rows: Tensor
    log_p: Tensor
    observed: Tensor
    squares: Tensor
    cross: Tensor
    codes: Tensor
    seen: Tensor


class LinearGaussian(ElementwiseModel):
    """p(x|z) = N(x; Wz + μ, Ψ).

    ``mean`` μ (F,), ``weights`` W (F, D) and ``log_scale`` (1,) or (F,) are a module's parameters, in float64, which
    gradients can fit too.

    Parameters
    ----------
    event_shape : tuple of int
        F features in all.
    latent_dim : int
        D.
    noise : {"shared", "feature"}
        Ψ = σ²I, or one σ² for each feature.
    min_scale : Tensor, shape (1,) or (F,), optional
        Lower bound of σ in EM: the density would grow to infinity at a feature that the others determine exactly.
    log_unit : Tensor, shape (*event), optional
        log of the user's units in one unit of x.
    """

    def __init__(
        self, event_shape: Sequence[int], latent_dim: int, noise: Literal["shared", "feature"] = "shared",
        min_scale: Tensor | None = None, log_unit: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.event_shape: tuple[int, ...]
        self.latent_dim: int
        self.event_shape, self.latent_dim = tuple(event_shape), latent_dim
        n_features = math.prod(event_shape)
        self.mean: Tensor = nn.Parameter(torch.zeros(n_features, dtype=torch.float64))
        self.weights: nn.Parameter = nn.Parameter(torch.zeros(n_features, latent_dim, dtype=torch.float64))
        self.log_scale: nn.Parameter
        self.log_scale = nn.Parameter(torch.zeros(1 if noise == "shared" else n_features, dtype=torch.float64))
        self.min_scale: Tensor | None
        self.register_buffer("min_scale", min_scale, persistent=False)
        self.register_buffer("log_unit", log_unit)

    def prior(self) -> StandardNormal:
        """N(0, I)."""
        return StandardNormal(self.latent_dim, self.weights)

    def likelihood(self, z: Tensor) -> Normal:
        """N(Wz + μ, Ψ) for z of shape (S, B, D)."""
        mean = (z @ self.weights.T + self.mean).unflatten(-1, self.event_shape)
        return Normal(mean, self._scale().reshape(self.event_shape))

    def posterior(self, batch: Batch, noise: Noise | None = None) -> FullGaussian:
        """p(z|x) = N(M⁻¹WᵀΨ⁻¹(x − μ), M⁻¹) with M = I + WᵀΨ⁻¹W, over the observed features of each row.

        Tipping & Bishop, 1999, section 3.1.
        """
        mask = batch.mask.flatten(1)
        r = torch.where(mask, batch.x.flatten(1) - self.mean, 0.0)
        precision = self._scale().pow(-2)  # the diagonal of Ψ⁻¹
        patterns, which = _patterns(mask)
        seen = torch.where(patterns, precision, 0.0)
        identity = torch.eye(self.latent_dim, dtype=r.dtype, device=r.device)
        if len(patterns) > self.latent_dim:  # one product of matrices instead of one for each set of entries
            squares = (self.weights.unsqueeze(-1) * self.weights.unsqueeze(-2)).flatten(1)  # W_jᵀW_j, (F, D²)
            M = identity + (seen @ squares).unflatten(1, identity.shape)
        else:
            M = identity + (self.weights.mT * seen.unsqueeze(-2)) @ self.weights
        L = _inverse_factor(M)  # M⁻¹ = LLᵀ
        scale_tril = L.expand(len(r), -1, -1) if which is None else L[which]
        mean = scale_tril @ (scale_tril.mT @ ((r * precision) @ self.weights).unsqueeze(-1))
        return FullGaussian(mean.squeeze(-1), scale_tril)

    knows_log_prob = True

    def log_prob(self, batch: Batch) -> Tensor:
        """log p(x) = log p(x, z) − log p(z|x) by Bayes' rule, for any z, here E[z|x]; shape (B,)."""
        return self._log_prob(batch, self.posterior(batch))

    def _log_prob(self, batch: Batch, q: FullGaussian) -> Tensor:
        """``log_prob`` of rows whose posterior is known."""
        return self.log_joint(batch, q.mean.unsqueeze(0)).squeeze(0) - q.log_peak()

    def conditional_mean(self, batch: Batch) -> Tensor:
        """x with E[x|x_o] = W E[z|x_o] + μ in the gaps, shape (B, *event)."""
        mean = self.likelihood(self.posterior(batch).mean.unsqueeze(0)).mean[0]
        return torch.where(batch.mask, batch.x, mean.to(batch.x.dtype))

    def conditional_moments(self, batch: Batch, places: Tensor) -> tuple[Tensor, Tensor]:
        """``conditional_mean``, and Var[x_j|x_o] = W_j Var[z|x_o] W_jᵀ + Ψ_j of the missing ones among ``places``."""
        q = self.posterior(batch)
        mean = self.likelihood(q.mean.unsqueeze(0)).mean[0]
        variance = (self.weights[places] @ q.scale_tril).square().sum(-1) + self._scale()[places].square()
        return torch.where(batch.mask, batch.x, mean.to(batch.x.dtype)), variance

    def conditional_sample(self, batch: Batch, n: int, noise: Noise) -> Tensor:
        """x with draws in the gaps: z ~ p(z|x_o), then the missing entries from p(x|z), shape (n, B, *event)."""
        x = self.likelihood(self.posterior(batch).rsample((n,), noise)).sample(noise)
        return torch.where(batch.mask, batch.x, x.to(batch.x.dtype))

    # exact EM

    @torch.no_grad()
    def start(self, spectrum: Spectrum, generator: torch.Generator) -> None:
        """Start EM from a random W, with half of the variance in Wz and half in ε on average."""
        variance = spectrum.variances.sum() / len(self.mean)
        random = torch.randn(self.weights.shape, generator=generator, dtype=self.weights.dtype)
        self.mean.copy_(spectrum.mean)
        self.weights.copy_(random * (0.5 * variance / self.latent_dim).sqrt())
        self.log_scale.fill_(0.5 * (0.5 * variance).log())

    def expect(self, batch: Batch) -> LinearSums:
        """The E-step: sums of E[z] and E[zzᵀ] of every row under its posterior."""
        x, mask, q = batch.x.flatten(1), batch.mask.flatten(1), self.posterior(batch)
        r = torch.where(mask, x - self.mean, 0.0)
        z = torch.cat([q.mean, torch.ones_like(q.mean[:, :1])], 1)  # ẑ = (z, 1)
        second = z.unsqueeze(-1) * z.unsqueeze(-2)
        second[:, :-1, :-1] += q.scale_tril @ q.scale_tril.mT
        codes = second.sum(0)
        observed = mask.to(r.dtype)
        seen = codes[None] if mask.all() else (observed.T @ second.flatten(1)).unflatten(1, codes.shape)
        n_rows, log_p = torch.tensor(len(x), device=x.device), self._log_prob(batch, q).sum()
        return LinearSums(n_rows, log_p, observed.sum(0), r.square().sum(0), r.T @ z, codes, seen)

    def maximize(self, sums: LinearSums) -> None:
        """The M-step: each feature is regressed on ẑ over the rows in which it is observed (Ilin & Raiko, 2010).

        Then p(z) is fitted as N(a, R), by the moments of the codes, and a and R are absorbed into μ and W
        (parameter-expanded EM: Liu, Rubin & Wu, 1998). This takes far fewer steps; the likelihood still never falls.
        """
        slopes = _solve(sums.seen, sums.cross, sums.observed)  # (W, δμ)_j = (Σ E[ẑẑᵀ])⁻¹ Σ r_j E[ẑ]
        W, shift = slopes[:, :-1], slopes[:, -1]
        residual = (sums.squares - (slopes * sums.cross).sum(1)).clamp_min(0)  # Σ E[(r_j − W_j z − δμ_j)²]
        self.log_scale.copy_(self._best_scale(residual, sums.observed).log())
        a = sums.codes[:-1, -1] / sums.n_rows  # mean of E[z]
        R = sums.codes[:-1, :-1] / sums.n_rows - torch.outer(a, a)
        self.mean += shift + W @ a
        self.weights.copy_(W @ torch.linalg.cholesky(R))

    def _best_scale(self, residual: Tensor, observed: Tensor) -> Tensor:
        """σ² = Σ residual / Σ observed entries, of all features or of each; σ = 1 if no entry is observed."""
        if len(self.log_scale) == 1:
            residual, observed = residual.sum(0, keepdim=True), observed.sum(0, keepdim=True)
        scale = torch.where(observed > 0, residual / observed.clamp_min(1), 1.0).sqrt()
        return scale if self.min_scale is None else scale.maximum(self.min_scale)

    def log_prior(self) -> Tensor:
        """0: the parameters have no prior."""
        return self.weights.new_zeros(())

    # closed forms

    @torch.no_grad()
    def maximum_likelihood(self, spectrum: Spectrum) -> None:
        """PPCA in closed form: σ² is the mean of the discarded variances, W = U(Λ − σ²I)^½.

        Tipping & Bishop, 1999, section 3.2.
        """
        n_features, D = self.weights.shape
        variance = spectrum.variances[D:].sum() / (n_features - D)
        if self.min_scale is not None:
            variance = torch.maximum(variance, self.min_scale.square().mean())
        kept = (spectrum.variances[:D] - variance).clamp_min(0)
        self.mean.copy_(spectrum.mean)
        self.weights.copy_(spectrum.axes[:, :D] * kept.sqrt())
        self.log_scale.fill_(0.5 * variance.log())

    @torch.no_grad()
    def rotate(self) -> None:
        """Rotate z so that WᵀΨ⁻¹W is diagonal and decreasing: p(x) is unchanged, and z has independent entries given x.

        The largest entry of each column of W is positive.
        """
        whitened = self.weights / self._scale().unsqueeze(1)
        axes = torch.linalg.svd(whitened, full_matrices=False).Vh.mT
        W = self.weights @ axes
        largest = W.gather(0, W.abs().argmax(0, keepdim=True))
        self.weights.copy_(W * torch.where(largest < 0, -1.0, 1.0))

    def _scale(self) -> Tensor:
        """The diagonal of Ψ^½, shape (F,)."""
        return self.log_scale.exp().expand(len(self.mean))


def spectrum(x: Tensor) -> Spectrum:
    """Mean, variances (divisor n) and principal axes of the rows of ``x`` (n, F).

    They come from the covariance (F, F), or, if there are fewer rows than features, from the rows' inner products
    (n, n): if XXᵀv = nλv, then Xᵀv/√(nλ) is an eigenvector of XᵀX/n.
    """
    n, n_features = x.shape
    mean = x.mean(0)
    centered = x - mean
    rank = min(n_features, n - 1)
    if n > n_features:
        variances, axes = torch.linalg.eigh(centered.T @ centered / n)
    else:
        variances, v = torch.linalg.eigh(centered @ centered.T / n)
        axes = nn.functional.normalize(centered.T @ v, dim=0)
    return Spectrum(mean, variances[-rank:].flip(0).clamp_min(0), axes[:, -rank:].flip(1))


def sigma_points(spectrum: Spectrum) -> Tensor:
    """Rows μ ± √(rλ_i) u_i, shape (2r, F), with the mean and covariance of the spectrum.

    A Gaussian's mean log-likelihood, and every mean in EM, depends on complete rows through these two alone. So EM over
    the 2r points makes the same steps as over all rows.
    """
    steps = spectrum.axes * (len(spectrum.variances) * spectrum.variances).sqrt()
    return torch.cat([spectrum.mean + steps.T, spectrum.mean - steps.T])


def _patterns(mask: Tensor) -> tuple[Tensor, Tensor | None]:
    """The distinct rows of the mask, and the number of each row's (None if all rows have the same)."""
    if (mask == mask[:1]).all():
        return mask[:1], None
    return distinct_rows(mask)


def _inverse_factor(M: Tensor) -> Tensor:
    """The lower triangular L with LLᵀ = M⁻¹: with the order of rows and columns reversed, M = CCᵀ gives C⁻ᵀC⁻¹."""
    C = torch.linalg.cholesky(M.flip(-1, -2))
    identity = torch.eye(M.shape[-1], dtype=M.dtype, device=M.device).expand_as(M)
    return torch.linalg.solve_triangular(C, identity, upper=False).mT.flip(-1, -2)


def _solve(seen: Tensor, cross: Tensor, count: Tensor) -> Tensor:
    """W̃_j = seen_j⁻¹ cross_j for every feature, shape (F, D + 1); 0 for one that was never observed."""
    if len(seen) == 1:
        return torch.linalg.solve(seen[0], cross.T).T
    never = torch.eye(seen.shape[-1], dtype=seen.dtype, device=seen.device) * (count == 0).view(-1, 1, 1)
    return torch.linalg.solve(seen + never, cross.unsqueeze(-1)).squeeze(-1)
