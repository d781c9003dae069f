"""The head of an encoder: what a network returns becomes q(z|x). Those of decoders are with their likelihoods."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lowerbound.distributions.gaussians import DiagonalGaussian, FullGaussian
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
        self.latent_dim: int
        self.covariance: str
        self.latent_dim, self.covariance = latent_dim, covariance
        below_diagonal = latent_dim * (latent_dim - 1) // 2
        n_scale = {"isotropic": 1, "diagonal": latent_dim, "full": latent_dim + below_diagonal}[covariance]
        self.n_features: int = latent_dim + n_scale

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
