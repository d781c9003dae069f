"""The classical autoencoder: plain, sparse, denoising. The VAE's limit without variance and without a prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from lowerbound.assembly.asked import Asked
from lowerbound.assembly.vae import assemble, choose_latent_dim
from lowerbound.core import Objective, Posterior
from lowerbound.estimators.arguments import Data, RowsToCodes
from lowerbound.estimators.density import Gaps
from lowerbound.estimators.gradient import GradientEstimator
from lowerbound.evaluation.bound import elbo_terms
from lowerbound.inference import autoencoding
from lowerbound.models.vae import LatentModel
from lowerbound.parameters.likelihoods import GaussianLikelihood, Likelihood
from lowerbound.parameters.parts import (
    MLP,
    Adam,
    Amortized,
    Conv,
    EarlyStopping,
    GaussianNoise,
    KLPenalty,
    L1Penalty,
    MaskingNoise,
)
from lowerbound.parameters.seed import RandomState
from lowerbound.parameters.tables import AUTOENCODER_PARAMETERS
from lowerbound.tasks import generate, represent


class Autoencoder(ClassNamePrefixFeaturesOutMixin, RowsToCodes, GradientEstimator):
    """Encode x as a point z, decode it, minimize −log p(x|z): no variance, no prior, hence no p(x).

    The same networks and likelihoods as ``VAE``, trained by the same loop. It represents and reconstructs; it has no
    density and can't draw new rows, because nothing says where codes lie.

    Parameters
    ----------
    latent_dim : int or "auto"
        Numbers in a code; "auto" is chosen as in ``VAE``.
    network
        As in ``VAE``.
    likelihood
        As in ``VAE``; the σ of real values is 1 by default, which makes the loss half the squared error.
    image_shape, layout
        As in ``VAE``.
    penalty : {None, "l1", "kl"}, L1Penalty or KLPenalty
        The sparse autoencoder.
    noise : {None, "masking", "gaussian"}, MaskingNoise or GaussianNoise
        The denoising autoencoder.
    optimizer, early_stopping, max_epochs, batch_size, warm_start, random_state, device, verbose
        As in ``VAE``.

    Attributes
    ----------
    model_ : LatentModel
        Holds p(x|z).
    posterior_ : Point
        The encoder.
    latent_dim_ : int
    history_ : list of dict
        As in ``VAE``; ``elbo`` and ``kl`` are None, for there is no bound.

    References
    ----------
    Hinton & Salakhutdinov, 2006; Vincent et al., 2008.
    """

    PARAMETERS = AUTOENCODER_PARAMETERS
    GAPS: ClassVar[Gaps] = "nowhere"
    FITTED: ClassVar[tuple[str, ...]] = (*GradientEstimator.FITTED, "latent_dim_")
    SPARSITY: ClassVar[float] = 0.05

    model_: LatentModel
    posterior_: autoencoding.Point
    latent_dim_: int

    def __init__(
        self,
        latent_dim: int | str = "auto",
        *,
        network: str | MLP | Conv | tuple[nn.Module, nn.Module] = "auto",
        likelihood: str | Likelihood = "auto",
        image_shape: Sequence[int] | None = None,
        layout: str = "auto",
        penalty: str | L1Penalty | KLPenalty | None = None,
        noise: str | MaskingNoise | GaussianNoise | None = None,
        optimizer: str | Adam = "adam",
        early_stopping: bool | EarlyStopping = True,
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        warm_start: bool = False,
        random_state: RandomState = None,
        device: str | torch.device = "auto",
        verbose: int = 0,
    ) -> None:
        self.latent_dim = latent_dim
        self.network = network
        self.likelihood = likelihood
        self.image_shape = image_shape
        self.layout = layout
        self.penalty = penalty
        self.noise = noise
        self.optimizer = optimizer
        self.early_stopping = early_stopping
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def _check_parameters(self) -> None:
        super()._check_parameters()
        likelihood = self._part("likelihood")
        if not isinstance(likelihood, GaussianLikelihood):
            return
        if likelihood.missingness is not None:
            raise ValueError("an Autoencoder needs complete data, so missingness can't be honored: leave it None")
        if likelihood.scale == "auto" and "min_scale" in likelihood.changed():
            raise ValueError("min_scale bounds a learned σ, and an Autoencoder's is 1 unless a scale is asked for")

    def _assemble(self, generator: torch.Generator) -> None:
        self.latent_dim_ = choose_latent_dim(self.schema_, self.latent_dim)
        asked = Asked(self.latent_dim_, self._part("network"), self._likelihood(), Amortized("isotropic"))
        model, amortized = assemble(self.schema_, asked, self.latent_dim_, generator)
        self.model_ = model  # pyright: ignore[reportIncompatibleVariableOverride]
        self.posterior_ = autoencoding.Point(amortized.encoder, self._corruption())

    def _likelihood(self) -> Likelihood | str:
        """The one that is asked for, with σ = 1 for real values unless another is."""
        asked = self._part("likelihood")
        if asked == "auto" and self.schema_.likelihood == "gaussian":
            return GaussianLikelihood("unit")
        if isinstance(asked, GaussianLikelihood) and asked.scale == "auto":
            return asked.replaced(scale="unit")
        return asked

    def _kl_weight(self) -> float:
        return 0.0

    def _corruption(self) -> autoencoding.Corruption | None:
        part = self._part("noise")
        if isinstance(part, MaskingNoise):
            return autoencoding.hide(part.fraction)
        return autoencoding.jitter(part.scale) if isinstance(part, GaussianNoise) else None

    def _posterior(self) -> Posterior:
        return self.posterior_

    def _objective(self) -> Objective:
        part = self._part("penalty")
        if part is None:
            return autoencoding.reconstruction()
        penalty = autoencoding.l1 if isinstance(part, L1Penalty) else autoencoding.sparsity(self.SPARSITY)
        return autoencoding.reconstruction(penalty, part.weight)

    @property
    def _n_features_out(self) -> int:
        return self.latent_dim_

    def transform(self, X: Data) -> np.ndarray:
        """Codes, shape (n, D)."""
        return represent.encode(self.fitted_.exactly().on(X), full=False)[0].cpu().numpy()

    def inverse_transform(self, Z: ArrayLike) -> np.ndarray:
        """E[x|z] for codes (n, D), in the user's units and shape."""
        check_is_fitted(self)
        z = torch.from_numpy(np.atleast_2d(np.array(Z, np.float64))).float().to(self._device())
        return self.schema_.restore(generate.decode(self.model_, z), expected=True)

    def reconstruct(self, X: Data) -> np.ndarray:
        """E[x|z] at the code of every row."""
        return self.inverse_transform(self.transform(X))

    def sample(
        self, n_samples: int = 1, mean: bool = False, random_state: RandomState = None, *, context: object = None
    ) -> np.ndarray:
        """Refused: nothing says where codes lie.

        Parameters
        ----------
        n_samples, mean, random_state, context : optional
            As in ``VAE.sample``; not used.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError("an Autoencoder has no distribution of codes to draw from: use VAE")

    def score_samples(self, X: Data) -> np.ndarray:
        """log p(x|z) at the code of every row, in nats and the user's units: a reconstruction score, not log p(x)."""
        return elbo_terms(self.fitted_.exactly().on(X)).reconstruction.numpy()

    def score(self, X: Data, y: object = None) -> float:
        """Mean of ``score_samples``, in nats a row.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        y : ignored
        """
        return float(self.score_samples(X).mean())
