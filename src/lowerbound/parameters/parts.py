"""Parts of estimators but for likelihoods and priors, which have files of their own. Importing it loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from lowerbound.parameters.parameter import Part, option

# latent variables


@dataclass(frozen=True, repr=False)
class Ladder(Part):
    """Levels of latent variables that are inferred from the top down, along the path that generates.

    Sønderby et al., 2016, arXiv:1602.02282. The KL term and free bits are then of each level.

    Parameters
    ----------
    n_levels : int
    latent_dim : int or "auto"
        Latent variables of each level, at each place for the grids of images; "auto": as in
        ``VAE``, and 8 at each place of a grid.
    width : int or "auto"
        Hidden units of a level, or channels of the largest grid; "auto" takes 200 units and 32 channels.
    """

    kind = "ladder"
    n_levels: int = option(2, "levels", (), int, 2)
    latent_dim: int | str = option("auto", "latent variables of a level, at each place of a grid", ("auto",), int, 1)
    width: int | str = option("auto", "hidden units of a level, or channels of the largest grid", ("auto",), int, 1)


# networks


@dataclass(frozen=True, repr=False)
class MLP(Part):
    """Multilayer perceptrons.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int
        Hidden units of the encoder; the decoder's are reversed. ``()`` makes both linear. In a chain of levels they
        are halved from level to level.
    activation : {"silu", "relu", "tanh", "gelu", "elu", "softplus"}
    """

    kind = "mlp"
    hidden_layer_sizes: tuple[int, ...] = option(
        (200, 200), "hidden units of the encoder; the decoder's are reversed", (), int, 1, many=True
    )
    activation: str = option(
        "silu", "activation of the hidden units", ("silu", "relu", "tanh", "gelu", "elu", "softplus")
    )

    def _check(self) -> None:
        if not self.hidden_layer_sizes and "activation" in self.changed():
            raise ValueError(f"MLP: without hidden units there is no activation={self.activation!r}: leave it 'silu'")


@dataclass(frozen=True, repr=False)
class Conv(Part):
    """Convolutional networks, for images."""

    kind = "conv"


# the posterior q(z|x)


def _input_dropout() -> float:
    return option(0.0, "largest share of entries hidden from the encoder in training", (), float, 0, 1)


def _n_refinement_steps() -> int:
    return option(0, "gradient steps on each row's own bound, after the encoder", (), int, 0)


@dataclass(frozen=True, repr=False)
class Amortized(Part):
    """q(z|x), a Gaussian whose parameters are an encoder's.

    Parameters
    ----------
    covariance : {"diagonal", "isotropic", "full"}
    input_dropout : float
        Largest part of a row's entries that is hidden from the encoder in training (a denoising VAE).
    n_refinement_steps : int
        After the encoder so many steps of Adam on each row's own bound (semi-amortized: Kim et al., 2018,
        arXiv:1802.02550).
    """

    kind = "amortized"
    covariance: str = option("diagonal", "covariance of q(z|x)", ("diagonal", "isotropic", "full"))
    input_dropout: float = _input_dropout()
    n_refinement_steps: int = _n_refinement_steps()


@dataclass(frozen=True, repr=False)
class FlowPosterior(Part):
    """q(z|x), a diagonal Gaussian from an encoder that a coupling flow bends; it needs the extra ``flows``.

    Rezende & Mohamed, 2015, arXiv:1505.05770. The KL is then estimated from the draws.

    Parameters
    ----------
    input_dropout, n_refinement_steps
        As for ``Amortized``.
    """

    kind = "flow"
    input_dropout: float = _input_dropout()
    n_refinement_steps: int = _n_refinement_steps()


@dataclass(frozen=True, repr=False)
class MeanField(Part):
    """q(z|x_i) = N(m_i, diag(s_i²)) with numbers m_i, s_i of every row's own, and no encoder.

    Parameters
    ----------
    n_steps : int
        Outside of training every row, fitted or not, gets its numbers by a search: so many steps at most to the mode
        of p(z|x), then Adam on the row's bound while it rises, twice as many steps at most.
    """

    kind = "mean_field"
    n_steps: int = option(100, "steps of the search for the mode of a row's p(z|x), at most", (), int, 0)


@dataclass(frozen=True, repr=False)
class Shared(Part):
    """One q(z) for all rows."""

    kind = "shared"


@dataclass(frozen=True, repr=False)
class MCEM(Part):
    """A Markov chain of z for every row, and no bound: Monte-Carlo EM (Wei & Tanner, 1990).

    Parameters
    ----------
    n_steps : int
        Outside of training every row, fitted or not, gets a Gaussian by a search: so many steps at most to the mode of
        p(z|x), then Adam on the row's bound while it rises, twice as many steps at most.
    """

    kind = "mcem"
    n_steps: int = option(100, "steps of the search for the mode of a row's p(z|x), at most", (), int, 0)


# the objective


def _n_samples(default: int) -> int:
    return option(default, "latent draws for each row and step", (), int, 1)


def _trim_fraction() -> float:
    return option(0.0, "share of each batch, its rows of highest loss, that is left out", (), float, 0, 0.5)


def _kl_weight() -> float:
    return option(1.0, "weight of the KL term; 1 is the lower bound", (), float, 0)


def _warmup_steps() -> int:
    return option(0, "steps over which the weight of the KL term rises from 0", (), int, 0)


@dataclass(frozen=True, repr=False)
class ELBO(Part):
    """The evidence lower bound, its KL in closed form where there is one, else estimated from the draws.

    Parameters
    ----------
    kl_weight : float
        Weight of the KL term (Higgins et al., 2017); 1 is the lower bound.
    warmup_steps : int
        Steps over which that weight rises from 0 (Bowman et al., 2016).
    free_bits : float
        Nats for each latent variable that the KL term leaves free (Kingma et al., 2016).
    gradient : {"pathwise", "score"}
        Reparameterization; or the score function, with the row's other draws as baseline (a running mean if there are
        none).
    n_samples : int
        Draws of z for each row and step.
    trim_fraction : float
        Part of each batch, its rows of highest loss, that isn't learned: for data with outliers among them.
    """

    kind = "elbo"
    kl_weight: float = _kl_weight()
    warmup_steps: int = _warmup_steps()
    free_bits: float = option(0.0, "nats of each latent variable's KL that are not penalized", (), float, 0)
    gradient: str = option("pathwise", "estimator of the gradient", ("pathwise", "score"))
    n_samples: int = _n_samples(1)
    trim_fraction: float = _trim_fraction()

    def _check(self) -> None:
        if self.kl_weight == 0 and (self.warmup_steps or self.free_bits):
            raise ValueError("ELBO: with kl_weight=0 there is no KL term for warmup_steps or free_bits: leave them 0")


@dataclass(frozen=True, repr=False)
class SampledELBO(Part):
    """The evidence lower bound, all of it estimated from the draws.

    Parameters
    ----------
    kl_weight, warmup_steps
        As for ``ELBO``.
    gradient : {"pathwise", "score", "stl"}
        As for ``ELBO``, or sticking the landing (Roeder et al., 2017).
    n_samples, trim_fraction
        As for ``ELBO``.
    """

    kind = "elbo_sampled"
    kl_weight: float = _kl_weight()
    warmup_steps: int = _warmup_steps()
    gradient: str = option(
        "pathwise", "estimator of the gradient; stl: sticking the landing", ("pathwise", "score", "stl")
    )
    n_samples: int = _n_samples(1)
    trim_fraction: float = _trim_fraction()

    def _check(self) -> None:
        if self.kl_weight == 0 and self.warmup_steps:
            raise ValueError("SampledELBO: with kl_weight=0 there is no KL term for warmup_steps: leave it 0")


@dataclass(frozen=True, repr=False)
class IWAE(Part):
    """The importance-weighted bound over ``n_samples`` draws (Burda et al., 2016, arXiv:1509.00519).

    Parameters
    ----------
    n_samples : int
        K, draws of z for each row and step.
    gradient : {"pathwise", "score", "vimco", "stl", "dreg"}
        Reparameterization; the score function, with the row's other draws as baseline; VIMCO (Mnih & Rezende, 2016);
        sticking the landing, biased with more than one draw; doubly reparameterized (Tucker et al., 2018).
        ``lowerbound.diagnostics.gradient_variance`` compares them.
    trim_fraction : float
        As for ``ELBO``.
    """

    kind = "iwae"
    n_samples: int = _n_samples(5)
    gradient: str = option(
        "pathwise",
        "estimator of the gradient: pathwise, score function, VIMCO, sticking the landing, doubly reparameterized",
        ("pathwise", "score", "vimco", "stl", "dreg"),
    )
    trim_fraction: float = _trim_fraction()

    def _check(self) -> None:
        if self.gradient == "vimco" and self.n_samples < 2:
            raise ValueError("IWAE: gradient='vimco' compares a row's draws: use n_samples=2 or more")


# training


@dataclass(frozen=True, repr=False)
class Adam(Part):
    """Steps of AdamW (Loshchilov & Hutter, 2019).

    Parameters
    ----------
    lr : float or "auto"
        Highest learning rate; "auto" is 0.001, and 0.004 for a ``PixelRNN`` or a ``SequenceVAE``.
    schedule : {"cosine", "constant"}
        "cosine" rises for 5 % of the steps and falls to zero at ``max_epochs``.
    weight_decay : float
        Decoupled.
    ema : float
        Decay of a moving average of the weights, which is what is validated, kept and saved (0.999 averages over about
        1,000 steps); 0 keeps the weights of the last or the best epoch.
    max_gradient_norm : float, optional
        Longer gradients are shortened to it, and a step along an absurd one (not finite, or ten times the usual norm)
        is not taken.
    precision : {"float32", "tf32", "bfloat16"}
        Of the products of the networks in a step; everything else, and every score, is in float32. "tf32" is for
        GPUs; "bfloat16" is faster there and on CPUs that multiply in it (AVX512-BF16, AMX), and rounds to 8 bits.
    compile : bool
        Make one compiled graph of a step (``torch.compile``): the first step takes half a minute, and needs a C++
        compiler on a CPU; the others take less time, by a tenth to a half.
    """

    kind = "adam"
    lr: float | str = option(
        "auto",
        "highest learning rate; auto: 0.001, and 0.004 for pixel-rnn",
        ("auto",),
        float,
        0,
        open_low=True,
    )
    schedule: str = option(
        "cosine", "learning rate over the steps: up and down to zero, or constant", ("cosine", "constant")
    )
    weight_decay: float = option(0.0, "decoupled weight decay", (), float, 0)
    ema: float = option(0.0, "decay of the moving average of the weights; 0: no average", (), float, 0, 0.99999)
    max_gradient_norm: float | None = option(
        None, "longer gradients are shortened to it, extreme ones skipped", (None,), float, 0, open_low=True
    )
    precision: str = option(
        "float32",
        "precision of matrix products in training; tf32 is for GPUs",
        ("float32", "tf32", "bfloat16"),
    )
    compile: bool = option(False, "make one compiled graph of a training step: slow start, faster steps", (True, False))


@dataclass(frozen=True, repr=False)
class EarlyStopping(Part):
    """Hold out rows, stop when their bound no longer rises, and keep the weights of the best epoch.

    Parameters
    ----------
    fraction : float
        Share of the rows that is held out.
    patience : int
        Epochs without a better bound before stopping.
    tol : float
        Least rise of the bound that counts, in nats a row.
    """

    kind = "early_stopping"
    fraction: float = option(0.1, "share of rows held out to stop early", (), float, 0, 0.9, open_low=True)
    patience: int = option(20, "epochs without a better validation bound before stopping", (), int, 1)
    tol: float = option(0.0, "least rise of the validation bound that counts, in nats a row", (), float, 0)


# of the classical autoencoder


@dataclass(frozen=True, repr=False)
class L1Penalty(Part):
    """Sparse codes: λ Σ_j |z_j|.

    Parameters
    ----------
    weight : float
        λ.
    """

    kind = "l1"
    weight: float = option(0.1, "weight of the penalty", (), float, 0)


@dataclass(frozen=True, repr=False)
class KLPenalty(Part):
    """Sparse codes: λ Σ_j KL(ρ ‖ mean of σ(z_j) over the batch), ρ = 0.05.

    Parameters
    ----------
    weight : float
        λ.
    """

    kind = "kl"
    weight: float = option(0.1, "weight of the penalty", (), float, 0)


@dataclass(frozen=True, repr=False)
class MaskingNoise(Part):
    """The denoising autoencoder: entries that the encoder sees are set to zero in training (Vincent et al., 2008).

    Parameters
    ----------
    fraction : float
        The share of the entries.
    """

    kind = "masking"
    fraction: float = option(0.3, "share of entries set to zero", (), float, 0, 1)


@dataclass(frozen=True, repr=False)
class GaussianNoise(Part):
    """The denoising autoencoder: normal noise is added to what the encoder sees in training.

    Parameters
    ----------
    scale : float
        Its standard deviation, in the units that the model works in.
    """

    kind = "gaussian"
    scale: float = option(0.3, "standard deviation of the noise", (), float, 0)
