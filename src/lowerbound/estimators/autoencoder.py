"""The classical autoencoder: plain, sparse, denoising. The VAE's limit without variance and without a prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from lowerbound.assembly.vae import assemble, choose_latent_dim
from lowerbound.core import Objective, Posterior
from lowerbound.estimators.arguments import Data, Seed
from lowerbound.estimators.density import Gaps
from lowerbound.estimators.gradient import GradientEstimator
from lowerbound.evaluation.bound import elbo_terms
from lowerbound.inference import autoencoding
from lowerbound.models.vae import LatentModel
from lowerbound.parameters.tables import AUTOENCODER_PARAMETERS
from lowerbound.tasks import generate, represent


class Autoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, GradientEstimator):
    """Encode x as a point z, decode it, minimize −log p(x|z): no variance, no prior, hence no p(x).

    The same networks and likelihoods as ``VAE``, trained by the same loop. It represents and reconstructs; it has no
    density and can't draw new rows, because nothing says where codes lie.

    Parameters
    ----------
    latent_dim : int or "auto"
        As in ``VAE``, and so are the others without a description.
    network : {"auto", "mlp", "conv"} or (encoder, decoder)
    hidden_layer_sizes : tuple of int
    activation : {"silu", "relu", "tanh", "gelu", "elu", "softplus"}
    likelihood : {"auto", "gaussian", "bernoulli", "categorical", "discretized_logistic"}
    scale : {"unit", "feature", ...} or float
        σ of p(x|z); "unit", the default for real values, makes the loss half the squared error.
    min_scale : float
    standardize : bool or "auto"
    image_shape : tuple of int, optional
    layout : {"auto", "image", "channels_first", "features"}
    binarize : {None, "sample", "threshold"}
    penalty : {None, "l1", "kl"}
        The sparse autoencoder: Σ|z_j|, or Σ KL(ρ ‖ mean of σ(z_j)) over the batch with ρ = 0.05.
    penalty_weight : float
        Factor of the penalty in the loss.
    noise : {None, "hide", "normal"}
        The denoising autoencoder: what the encoder sees in training has entries set to zero, or normal noise added,
        in the units that the model works in.
    noise_level : float
        The share of entries hidden, or the noise's standard deviation.
    max_epochs, batch_size : int or "auto"
    lr : float
    lr_schedule : {"cosine", "constant"}
    weight_decay : float
    early_stopping : bool
    validation_fraction, n_iter_no_change, tol : float, int, float
    warm_start : bool
    random_state : int, RandomState or None
    device : str
    verbose : int

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
        self, latent_dim: int | str = "auto", *, network: str | tuple[nn.Module, nn.Module] = "auto",
        hidden_layer_sizes: Sequence[int] = (200, 200), activation: str = "silu", likelihood: str = "auto",
        scale: str | float = "auto", min_scale: float = 0.01, standardize: bool | str = "auto",
        image_shape: tuple[int, ...] | None = None, layout: str = "auto", binarize: str | None = None,
        penalty: str | None = None, penalty_weight: float = 0.1, noise: str | None = None, noise_level: float = 0.3,
        max_epochs: int | str = "auto", batch_size: int | str = "auto", lr: float = 1e-3, lr_schedule: str = "cosine",
        weight_decay: float = 0.0, early_stopping: bool = True, validation_fraction: float = 0.1,
        n_iter_no_change: int = 20, tol: float = 0.0, warm_start: bool = False, random_state: Seed = None,
        device: str = "auto", verbose: int = 0,
    ) -> None:  # fmt: skip
        self.latent_dim = latent_dim
        self.network = network
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.likelihood = likelihood
        self.scale = scale
        self.min_scale = min_scale
        self.standardize = standardize
        self.image_shape = image_shape
        self.layout = layout
        self.binarize = binarize
        self.penalty = penalty
        self.penalty_weight = penalty_weight
        self.noise = noise
        self.noise_level = noise_level
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def _assemble(self, generator: torch.Generator) -> None:
        self.latent_dim_ = choose_latent_dim(self.schema_, self.latent_dim)
        real = self.schema_.likelihood == "gaussian"
        scale = "unit" if self.scale == "auto" and real else self.scale
        parameters = self.get_params(deep=False) | {"scale": scale, "covariance": "isotropic"}
        model, amortized = assemble(self.schema_, parameters, self.latent_dim_, generator)
        self.model_ = model  # pyright: ignore[reportIncompatibleVariableOverride]
        self.posterior_ = autoencoding.Point(amortized.encoder, self._corruption())

    def _corruption(self):
        if self.noise is None:
            return None
        return (autoencoding.hide if self.noise == "hide" else autoencoding.jitter)(self.noise_level)

    def _posterior(self) -> Posterior:
        return self.posterior_

    def _objective(self) -> Objective:
        penalties = {None: None, "l1": autoencoding.l1, "kl": autoencoding.sparsity(self.SPARSITY)}
        return autoencoding.reconstruction(penalties[self.penalty], self.penalty_weight)

    @property
    def _n_features_out(self) -> int:
        return self.latent_dim_

    def transform(self, X: Data) -> np.ndarray:
        """Codes, shape (n, D)."""
        return represent.encode(self.fitted_.exactly().on(X), full=False)[0].cpu().numpy()

    def inverse_transform(self, Z: ArrayLike) -> np.ndarray:
        """E[x|z] for codes (n, D), in the user's units and shape."""
        check_is_fitted(self)
        z = torch.from_numpy(np.atleast_2d(np.asarray(Z, np.float64))).float().to(self._device())
        return self.schema_.restore(generate.decode(self.model_, z), expected=True)

    def reconstruct(self, X: Data) -> np.ndarray:
        """E[x|z] at the code of every row."""
        return self.inverse_transform(self.transform(X))

    def sample(self, n_samples: int = 1, mean: bool = False, random_state: Seed = None) -> np.ndarray:
        """Refused: nothing says where codes lie.

        Parameters
        ----------
        n_samples, mean, random_state : optional
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
