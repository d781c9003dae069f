"""The variational autoencoder as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from lowerbound.assembly.hierarchy import assemble_levels
from lowerbound.assembly.vae import assemble, choose_latent_dim, choose_posterior, start_from_rows, training_posterior
from lowerbound.core import Objective, Posterior
from lowerbound.data.batches import Rows
from lowerbound.estimators.arguments import Columns, Seed
from lowerbound.estimators.latent import LatentEstimator
from lowerbound.estimators.tables import MixedColumns
from lowerbound.inference.mcmc import complete_data
from lowerbound.inference.objectives import make_objective, trimmed
from lowerbound.inference.posteriors import MaskedInput
from lowerbound.models.hierarchical import Ladder
from lowerbound.models.vae import LatentModel
from lowerbound.parameters.vae import VAE_PARAMETERS


class VAE(MixedColumns, LatentEstimator):
    r"""Variational autoencoder: p(x) = ∫ p(x|z) N(z; 0, I) dz, with p(x|z) and q(z|x) networks.

    Fits arrays of any number of dimensions: tables ``(n, features)``, images ``(n, H, W)`` or ``(n, H, W, C)``, and
    DataFrames of numbers. All log-densities are natural logarithms (nats), for one row, in the user's units.

    Parameters
    ----------
    latent_dim : int, "auto" or tuple of int
        Latent variables D; "auto" takes half the number of features, from 2 to 32. Several numbers make a chain of
        levels of so many latent variables each, from the data up, inferred from level to level (Burda et al., 2016):
        the hidden units of ``hidden_layer_sizes`` are halved from level to level.
    levels : int
        2 and more make a ladder: levels of ``latent_dim`` latent variables each (at each place, for the grids of
        images; "auto" takes 8), inferred from the top down along the path that generates (Sønderby et al., 2016). The
        KL term and ``free_bits`` are then of each level.
    network : {"auto", "mlp", "conv"} or (encoder, decoder)
        "auto" takes convolutions for images of 16×16 and more. A pair of ``torch.nn.Module`` is copied: the
        encoder maps ``(B, *event)`` to features ``(B, h)`` of any width h, the decoder ``(N, D)`` to
        ``(N, *event)`` (``(N, P, *event)`` where the likelihood needs P parameters an entry). Images reach them as
        ``(B, C, H, W)``.
    hidden_layer_sizes : tuple of int
        Hidden units of the MLP encoder; the decoder's are reversed. ``()`` makes both linear.
    activation : {"silu", "relu", "tanh", "gelu", "elu", "softplus"}
        Of the MLP.
    likelihood : {"auto", "gaussian", "bernoulli", "categorical", "discretized_logistic"}
        p(x|z). "auto": Bernoulli for 0/1 data, discretized logistic over 256 grey levels for uint8, else Gaussian.
    columns : {None, "auto"}, mapping, sequence or str
        How a table of several kinds is described: each column by a density or by probabilities of its own
        (``ColumnSchema``). None does so for DataFrames with text, categories or dates, "auto" for every table. A
        mapping from names to kinds (or to fields of the schema), a sequence of schemas, or the name of a JSON file
        with either, says what isn't to be inferred. σ is then a network of z unless ``scale="feature"``.
    scale : {"auto", "unit", "shared", "feature", "decoder"} or float
        σ of p(x|z). "unit" is 1 in the units that the model works in (a standard deviation where features are
        standardized); a number is in the user's units (grey levels, for the discretized logistic); the others are
        learned: one, one for each feature, or a network of z. "auto": "feature" for the Gaussian, "decoder" for the
        discretized logistic.
    min_scale : float
        Lower bound of a learned σ of the Gaussian, as a part of the feature's standard deviation; without one, two
        equal columns would send the density to infinity.
    n_logistics : int
        Discretized logistics that are mixed for each byte.
    standardize : bool or "auto"
        Standardize real-valued features inside; log p(x) stays in the user's units. "auto" is True.
    image_shape : tuple of int, optional
        (H, W), (H, W, C) or (C, H, W), for images given as flat rows.
    layout : {"auto", "image", "channels_first", "features"}
        The axes of a row (or of ``image_shape``, for flat rows). "image": (H, W) or (H, W, C). "channels_first":
        (C, H, W); flat rows are then planar, one channel after another. "features": no image, whatever the shape.
        "auto" takes a last axis of 1, 3 or 4 for channels, else a first axis of 1 or 3, and (H, W) for an image if the
        values are grey levels or vary smoothly; what could be something else is refused with a question.
    covariance : {"diagonal", "isotropic", "full"}
        Of q(z|x).
    posterior : {"gaussian", "flow"}
        q(z|x): a Gaussian, or one with a diagonal covariance that a coupling flow bends (Rezende & Mohamed, 2015); then
        the KL is estimated from the draws. Flows need ``pip install 'lowerbound[flows]'``.
    prior : {"normal", "mixture", "vamp", "flow"}
        p(z): N(0, I), a mixture of ``n_prior_components`` Gaussians that is learned, VampPrior, the mixture of the
        encoder's q(z|u) over so many pseudo-inputs u that are learned, starting from rows of data (Tomczak & Welling,
        2018), or a coupling flow. With a learned prior the KL is estimated from the draws.
    n_prior_components : int
        Of a learned prior.
    binarize : {None, "sample", "threshold"}
        Grey values (uint8, or real in [0, 1]) become 0 or 1: redrawn as Bernoulli for every minibatch, or cut at ½.
    inference : {"amortized", "refined", "mean_field", "shared", "mcem"}
        Where q(z|x) comes from: an encoder; the encoder and then a climb of each row's own bound; numbers m and s of
        every row's own, with no encoder; one q for all rows; or a Markov chain for every row (Monte-Carlo EM). Rows
        that were not fitted get theirs by a climb from the prior under "mean_field" and "mcem".
    n_refinement_steps : int
        Steps of that climb.
    objective : {"elbo", "elbo_sampled", "iwae"}
        The bound that is raised: the ELBO with its KL in closed form or estimated from the draws, or the
        importance-weighted bound over ``n_samples`` draws (Burda et al., 2016).
    gradient : {"pathwise", "score", "vimco", "stl", "dreg"}
        The estimator of its gradient: reparameterization; the score function, with the row's other draws as baseline
        (a running mean if there are none); VIMCO ("iwae" with 2 draws or more); sticking the landing ("elbo_sampled";
        biased for "iwae" with more than one draw); doubly reparameterized ("iwae").
        ``lowerbound.diagnostics.gradient_variance`` compares them.
    n_samples : int
        Draws of z for each row and step.
    kl_weight : float
        Weight of the KL term; 1 is the lower bound.
    kl_warmup_steps : int
        Steps over which that weight rises from 0.
    free_bits : float
        Nats for each latent variable that the KL term leaves free.
    trim_fraction : float
        Part of each batch, its rows of highest loss, that isn't learned: for data with outliers among them.
    missingness : {None, "self_masking"}
        "self_masking" fits which real values are missing too, each by its own value: P(missing) = Φ(ax + b) (not-MIWAE:
        Ipsen et al., 2021). All log-densities are then of the observed entries and of which they are.
    input_dropout : float
        Largest part of a row's entries that is hidden from the encoder in training (a denoising VAE).
    max_epochs : int or "auto"
        "auto": about 10,000 steps, from 30 to 500 epochs.
    batch_size : int or "auto"
        "auto": from 16 to 128 with the number of rows.
    lr : float
        Highest learning rate of AdamW.
    lr_schedule : {"cosine", "constant"}
        "cosine" rises for 5 % of the steps and falls to zero at ``max_epochs``.
    weight_decay : float
        Decoupled (Loshchilov & Hutter, 2019).
    ema : float
        Decay of a moving average of the weights, which is what is validated, kept and saved (0.999 averages over about
        1,000 steps); 0 keeps the weights of the last or the best epoch.
    max_gradient_norm : float, optional
        Longer gradients are shortened to it, and a step along an absurd one (not finite, or ten times the usual norm)
        is not taken.
    compile : bool
        Make one compiled graph of a training step (``torch.compile``): the first step takes half a minute, and needs a
        C++ compiler on a CPU; the others take less time, by a tenth to a half.
    precision : {"float32", "tf32", "bfloat16"}
        Of the products of the networks in a training step; everything else, and every score, is in float32. "tf32" is
        for GPUs; "bfloat16" is faster there and on CPUs that multiply in it (AVX512-BF16, AMX), and rounds to 8 bits.
    early_stopping : bool
        Hold out ``validation_fraction`` of the rows; stop after ``n_iter_no_change`` epochs in which their bound did
        not rise by ``tol`` nats, and keep the weights of the best epoch.
    validation_fraction, n_iter_no_change, tol : float, int, float
        See ``early_stopping``.
    warm_start : bool
        ``fit`` continues from the weights there are.
    random_state : int, RandomState or None
        With the same seed, the same result. Nothing global is touched.
    device : str
        "auto" takes a GPU if there is one.
    verbose : int
        1 shows progress on stderr, 2 also what "auto" chose.

    Attributes
    ----------
    model_ : LatentModel
        p(z) and p(x|z).
    posterior_ : Amortized
        q(z|x).
    schema_ : Schema
        What the rows are; ``schema_.likelihood`` is the one in use.
    history_ : list of dict
        One record an epoch: ``epoch, step, elbo, reconstruction, kl, validation_elbo, n_skipped, seconds``; nats
        a row. ``n_skipped`` counts steps without a finite loss or gradient, which are skipped.
    n_active_units_ : int
        Latent variables whose posterior mean varies over the data (variance > 0.01).
    acceptance_ : float
        Part of the moves of the Markov chains that were accepted, at the end of a fit with ``inference="mcem"``.
    latent_dim_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray of str
    seed_ : int
        What ``random_state`` stood for.

    References
    ----------
    Kingma & Welling, 2014, arXiv:1312.6114. Rezende, Mohamed & Wierstra, 2014, arXiv:1401.4082.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from lowerbound import VAE
    >>> vae = VAE(latent_dim=2, random_state=0).fit(load_iris().data)
    >>> vae.transform(load_iris().data).shape
    (150, 2)
    """

    def __init__(
        self, latent_dim: int | str | Sequence[int] = "auto", *, levels: int = 1,
        network: str | tuple[nn.Module, nn.Module] = "auto", hidden_layer_sizes: Sequence[int] = (200, 200),
        activation: str = "silu", likelihood: str = "auto", columns: Columns = None, scale: str | float = "auto",
        min_scale: float = 0.01, n_logistics: int = 1, standardize: bool | str = "auto",
        image_shape: tuple[int, ...] | None = None, layout: str = "auto", covariance: str = "diagonal",
        posterior: str = "gaussian", prior: str = "normal", n_prior_components: int = 100, binarize: str | None = None,
        inference: str = "amortized", n_refinement_steps: int = 100, objective: str = "elbo",
        gradient: str = "pathwise", n_samples: int = 1, kl_weight: float = 1.0, kl_warmup_steps: int = 0,
        free_bits: float = 0.0, trim_fraction: float = 0.0, missingness: str | None = None, input_dropout: float = 0.0,
        max_epochs: int | str = "auto", batch_size: int | str = "auto", lr: float = 1e-3, lr_schedule: str = "cosine",
        weight_decay: float = 0.0, ema: float = 0.0, max_gradient_norm: float | None = None, compile: bool = False,
        precision: str = "float32", early_stopping: bool = True, validation_fraction: float = 0.1,
        n_iter_no_change: int = 20, tol: float = 0.0, warm_start: bool = False, random_state: Seed = None,
        device: str = "auto", verbose: int = 0,
    ) -> None:  # fmt: skip
        self.latent_dim = latent_dim
        self.levels = levels
        self.network = network
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.likelihood = likelihood
        self.columns = columns
        self.scale = scale
        self.min_scale = min_scale
        self.n_logistics = n_logistics
        self.standardize = standardize
        self.image_shape = image_shape
        self.layout = layout
        self.covariance = covariance
        self.posterior = posterior
        self.prior = prior
        self.n_prior_components = n_prior_components
        self.binarize = binarize
        self.inference = inference
        self.n_refinement_steps = n_refinement_steps
        self.objective = objective
        self.gradient = gradient
        self.n_samples = n_samples
        self.kl_weight = kl_weight
        self.kl_warmup_steps = kl_warmup_steps
        self.free_bits = free_bits
        self.trim_fraction = trim_fraction
        self.missingness = missingness
        self.input_dropout = input_dropout
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.weight_decay = weight_decay
        self.ema = ema
        self.max_gradient_norm = max_gradient_norm
        self.compile = compile
        self.precision = precision
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    PARAMETERS = VAE_PARAMETERS

    model_: LatentModel | Ladder
    posterior_: Posterior
    latent_dim_: int

    def _assemble(self, generator: torch.Generator) -> None:
        if self._has_levels:
            self.model_, self.posterior_ = assemble_levels(self.schema_, self.get_params(deep=False), generator)
            self.latent_dim_ = self.model_.latent_dim
            return
        self.latent_dim_ = choose_latent_dim(self.schema_, cast("int | str", self.latent_dim))
        model, amortized = assemble(self.schema_, self.get_params(deep=False), self.latent_dim_, generator)
        self.model_ = model  # pyright: ignore[reportIncompatibleVariableOverride]
        self.posterior_ = choose_posterior(self.inference, model, amortized, self.n_refinement_steps)

    @property
    def _has_levels(self) -> bool:
        return self.levels > 1 or isinstance(self.latent_dim, (tuple, list))

    def _fewest_active(self) -> float:
        """One q for all rows has no active units; a level may stay empty."""
        if self.inference == "shared":
            return 0
        return 1 if self._has_levels else max(1, 0.1 * self.latent_dim_)

    def _objective(self) -> Objective:
        if self.inference == "mcem":
            if (self.objective, self.gradient, self.n_samples) != ("elbo", "pathwise", 1):
                raise ValueError(
                    "inference='mcem' has no encoder and no bound: leave objective, gradient and n_samples as they are"
                )
            return complete_data()
        for what, is_sampled in (
            ("several levels", isinstance(self.latent_dim, (tuple, list))),
            (f"prior={self.prior!r}", self.prior != "normal"),
            (f"posterior={self.posterior!r}", self.posterior != "gaussian"),
        ):
            if is_sampled:
                self._check_sampled_kl(what)
        objective = make_objective(
            self.objective, self.gradient, self.n_samples, self.kl_weight, self.kl_warmup_steps, self.free_bits
        )
        return trimmed(objective, self.trim_fraction)

    def _check_sampled_kl(self, what: str) -> None:
        """Raise where a KL that has no closed form can't do what is asked."""
        if self.free_bits > 0:
            raise ValueError(f"free_bits needs the KL of each latent variable, which {what} can't give: set it to 0")
        if (self.objective, self.gradient) == ("elbo", "score"):
            raise ValueError(
                f"objective='elbo' with gradient='score' needs the KL in closed form, which {what} can't give: "
                f"use objective='elbo_sampled'"
            )

    def _begin(self, rows: Rows) -> None:
        if isinstance(self.model_, LatentModel):
            start_from_rows(self.model_, rows, self.seed_, self._fitting().noise("pseudo-inputs"))

    def _check_partial_fit(self) -> None:
        if self.inference in ("mean_field", "mcem"):
            raise ValueError(
                f"inference={self.inference!r} keeps numbers for every row, so it has to see all rows in one fit: "
                f"use fit, or inference='amortized'"
            )

    def _training_posterior(self, n_rows: int) -> Posterior:
        posterior = self.posterior_
        if isinstance(self.model_, LatentModel):
            posterior = training_posterior(self.inference, self.model_, self.posterior_, n_rows)
        if self.input_dropout and self.inference not in ("amortized", "refined"):
            raise ValueError(
                f"input_dropout hides entries from an encoder, which inference={self.inference!r} has not: set it to 0"
            )
        return MaskedInput(posterior, self.input_dropout) if self.input_dropout else posterior
