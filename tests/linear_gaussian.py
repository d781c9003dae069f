"""The model whose every quantity is known: z ~ N(0, I), x = Wz + b + σε."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from lowerbound.core import Batch, Posterior
from lowerbound.data.batches import RowsInMemory
from lowerbound.distributions.gaussians import FullGaussian
from lowerbound.distributions.likelihoods.normal import NormalHead
from lowerbound.distributions.likelihoods.scale import Scale
from lowerbound.distributions.noise import make_generator
from lowerbound.inference.posteriors import Amortized
from lowerbound.models.vae import Decoder, Encoder, LatentModel
from lowerbound.nn.heads import GaussianHead
from lowerbound.nn.inputs import Values

D, F = 2, 3
SIGMA = 0.6


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=make_generator(seed, "toy"), dtype=torch.float64)


class _Affine(nn.Module):
    """z → Wz + b with one parameter an entry."""

    def __init__(self, n_in: int, n_out: int, seed: int, unflatten: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.7 * numbers(n_out, n_in, seed=seed))
        self.bias = nn.Parameter(0.3 * numbers(n_out, seed=seed + 1))
        self.unflatten = unflatten

    def forward(self, z: Tensor, missing: Tensor | None = None) -> Tensor:
        out = z @ self.weight.T + self.bias
        return out[:, None] if self.unflatten else out


def model() -> LatentModel:
    """p(x, z) with fixed σ."""
    scale = Scale("fixed", torch.tensor(SIGMA, dtype=torch.float64), torch.zeros(()))
    return LatentModel(Decoder(_Affine(D, F, 10, True), NormalHead(scale)), D).double()


def posterior(covariance: str) -> Amortized:
    """An encoder that is linear, and wrong."""
    head = GaussianHead(D, covariance)
    return Amortized(Encoder(Values(), _Affine(F, head.n_features, 20, False), head))


def parameters(p: LatentModel) -> tuple[Tensor, Tensor]:
    """W (F, D) and b (F,)."""
    network: _Affine = p.decoder.network  # type: ignore[assignment]
    return network.weight, network.bias


def marginal(p: LatentModel) -> MultivariateNormal:
    """p(x) = N(b, WWᵀ + σ²I)."""
    W, b = parameters(p)
    return MultivariateNormal(b, W @ W.T + SIGMA**2 * torch.eye(F, dtype=W.dtype))


class ExactPosterior(Posterior):
    """q(z|x) = N(ΣWᵀ(x − b)/σ², Σ), Σ⁻¹ = I + WᵀW/σ²; or one that is off by ``shift`` and ``widen`` times as wide."""

    def __init__(self, p: LatentModel, shift: float = 0.0, widen: float = 1.0) -> None:
        super().__init__()
        W, b = parameters(p)
        covariance = torch.linalg.inv(torch.eye(D, dtype=W.dtype) + W.T @ W / SIGMA**2)
        self.slope, self.b, self.shift = W @ covariance / SIGMA**2, b, shift
        self.factor = widen * torch.linalg.cholesky(covariance)

    def forward(self, batch: Batch, noise=None) -> FullGaussian:
        mean = (batch.x - self.b) @ self.slope + self.shift
        return FullGaussian(mean, self.factor.expand(len(mean), D, D))


def exact_elbo(p: LatentModel, mean: Tensor, scale_tril: Tensor, x: Tensor) -> Tensor:
    """E_q log p(x|z) − KL(q ‖ N(0, I)) in closed form, shape (B,)."""
    W, b = parameters(p)
    covariance = scale_tril @ scale_tril.mT
    squared = (x - mean @ W.T - b).square().sum(-1) + torch.einsum("fd,bde,fe->b", W, covariance, W)
    log_px = -0.5 * squared / SIGMA**2 - F * (torch.tensor(SIGMA).log() + 0.5 * torch.log(torch.tensor(2 * torch.pi)))
    trace = covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
    log_det = 2 * scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return log_px - 0.5 * (trace + mean.square().sum(-1) - D - log_det)


def rows(x: Tensor) -> RowsInMemory:
    """``x`` as a data set that is used as it is."""
    return RowsInMemory(x, lambda raw, noise: raw, torch.ones(x.shape[1:], dtype=torch.bool), torch.device("cpu"))
