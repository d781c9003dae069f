"""The classical autoencoder: plain, sparse, denoising. The VAE's limit without variance and without a prior."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from lowerbound.assembly.vae import assemble, choose_latent_dim
from lowerbound.core import Objective, Posterior
from lowerbound.estimators.gradient import GradientEstimator
from lowerbound.evaluation.bound import elbo_terms
from lowerbound.inference import autoencoding
from lowerbound.parameters.tables import AUTOENCODER_PARAMETERS
from lowerbound.tasks import generate, represent


class Autoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, GradientEstimator):
    """Encode x as a point z, decode it, minimize −log p(x|z): no variance, no prior, hence no p(x).

    The same networks and likelihoods as ``VAE``, trained by the same loop. It represents and reconstructs; it has no
    density and can't draw new rows, because nothing says where codes lie.

    Parameters
    ----------
    latent_dim, network, hidden_layer_sizes, activation, likelihood, min_scale, standardize, image_shape, layout,
    binarize
        As in ``VAE``.
    scale : {"unit", "feature", ...} or float
        σ of p(x|z); "unit", the default for real values, makes the loss half the squared error.
    penalty : {None, "l1", "kl"}
        The sparse autoencoder: Σ|z_j|, or Σ KL(ρ ‖ mean of σ(z_j)) over the batch with ρ = 0.05.
    penalty_weight : float
    noise : {None, "hide", "normal"}
        The denoising autoencoder: what the encoder sees in training has entries set to zero, or normal noise added,
        in the units that the model works in.
    noise_level : float
        The share of entries hidden, or the noise's standard deviation.
    max_epochs, batch_size, lr, lr_schedule, weight_decay, early_stopping, validation_fraction, n_iter_no_change,
    tol, warm_start, random_state, device, verbose
        As in ``VAE``.

    Attributes
    ----------
    model_ : LatentModel
        Holds p(x|z).
    posterior_ : Point
        The encoder.
    history_ : list of dict
        As in ``VAE``; ``elbo`` and ``kl`` are None, for there is no bound.

    References
    ----------
    Hinton & Salakhutdinov, 2006; Vincent et al., 2008.
    """

    PARAMETERS = AUTOENCODER_PARAMETERS
    GAPS = "nowhere"
    FITTED = (*GradientEstimator.FITTED, "latent_dim_")
    SPARSITY = 0.05

    def __init__(
        self, latent_dim="auto", *, network="auto", hidden_layer_sizes=(200, 200), activation="silu", likelihood="auto",
        scale="auto", min_scale=0.01, standardize="auto", image_shape=None, layout="auto", binarize=None, penalty=None,
        penalty_weight=0.1, noise=None, noise_level=0.3, max_epochs="auto", batch_size="auto", lr=1e-3,
        lr_schedule="cosine", weight_decay=0.0, early_stopping=True, validation_fraction=0.1, n_iter_no_change=20,
        tol=0.0, warm_start=False, random_state=None, device="auto", verbose=0,
    ):  # fmt: skip
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
        self.model_, amortized = assemble(self.schema_, parameters, self.latent_dim_, generator)
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

    def transform(self, X) -> np.ndarray:
        """Codes, shape (n, D)."""
        return represent.encode(self.fitted_.exactly().on(X), full=False)[0].cpu().numpy()

    def inverse_transform(self, Z) -> np.ndarray:
        """E[x|z] for codes (n, D), in the user's units and shape."""
        check_is_fitted(self)
        z = torch.from_numpy(np.atleast_2d(np.asarray(Z, np.float64))).float().to(self._device())
        return self.schema_.restore(generate.decode(self.model_, z), expected=True)

    def reconstruct(self, X) -> np.ndarray:
        """E[x|z] at the code of every row."""
        return self.inverse_transform(self.transform(X))

    def sample(self, n_samples: int = 1, mean: bool = False, random_state=None) -> np.ndarray:
        """Refused: nothing says where codes lie."""
        raise TypeError("an Autoencoder has no distribution of codes to draw from: use VAE")

    def score_samples(self, X) -> np.ndarray:
        """log p(x|z) at the code of every row, in nats and the user's units: a reconstruction score, not log p(x)."""
        return elbo_terms(self.fitted_.exactly().on(X)).reconstruction.numpy()

    def score(self, X, y=None) -> float:
        """Mean of ``score_samples``, in nats a row."""
        return float(self.score_samples(X).mean())
