"""Tables of the estimators' parameters: the allowed values of each, and one line of help.

An estimator checks its values with its table; the command line makes its flags from it. Importing this loads no torch.
"""

from __future__ import annotations

from dataclasses import replace

from lowerbound.parameters.likelihoods import LIKELIHOODS, BernoulliLikelihood
from lowerbound.parameters.parameter import Parameter
from lowerbound.parameters.parts import GaussianNoise, KLPenalty, L1Penalty, MaskingNoise
from lowerbound.parameters.tokens import BPE
from lowerbound.parameters.vae import VAE_PARAMETERS


def _table(*parameters: Parameter | str) -> dict[str, Parameter]:
    """A table of parameters: its own, and by name those it shares with ``VAE``."""
    rows = (VAE_PARAMETERS[p] if isinstance(p, str) else p for p in parameters)
    return {row.name: row for row in rows}


FACTORIZED_PARAMETERS = _table(
    Parameter(
        "likelihood",
        "auto",
        "p of each feature; auto: by type and values of the data, bytes as 256 levels",
        ("auto", "gaussian", "categorical"),
        parts=(BernoulliLikelihood,),
    ),
    "columns",
    "image_shape",
    "layout",
    Parameter("smoothing", 0.1, "imaginary observations of each level", (), float, 0, open_low=True),
    "random_state",
)

MIXTURE_PARAMETERS = _table(
    Parameter("n_components", 5, "components of the mixture", (), int, 1),
    Parameter(
        "likelihood",
        "auto",
        "p of a component; auto: by type and values of the data",
        ("auto", "gaussian"),
        parts=(BernoulliLikelihood,),
    ),
    Parameter(
        "covariance",
        "full",
        "covariance of a Gaussian component",
        ("full", "tied", "diagonal", "isotropic"),
    ),
    "image_shape",
    "layout",
    Parameter("reg_covar", 1e-6, "added to the standardized variances of Gaussian components", (), float, 0),
    Parameter("smoothing", 1.0, "imaginary average rows in each Bernoulli component", (), float, 0, open_low=True),
    Parameter("tol", 1e-3, "EM stops when a step gains fewer nats a row", (), float, 0),
    Parameter("max_iter", 200, "EM steps at most", (), int, 1),
    Parameter("n_init", 1, "starts of EM, of which the best is kept", (), int, 1),
    "random_state",
    "device",
    Parameter("verbose", 0, "1: one line for each EM step", (), int, 0),
)

FACTOR_ANALYSIS_PARAMETERS = _table(
    Parameter(
        "latent_dim",
        "auto",
        "latent variables; auto: by the features, the rows and their spectrum",
        ("auto",),
        int,
        1,
    ),
    "image_shape",
    "layout",
    Parameter(
        "min_scale", 1e-3, "lower bound of σ, as a part of the standard deviation", (), float, 0, 1, open_low=True
    ),
    Parameter("tol", 1e-5, "EM stops when a step gains fewer nats a row", (), float, 0),
    Parameter("max_iter", 5000, "EM steps at most", (), int, 1),
    "random_state",
)

PPCA_PARAMETERS = _table(
    FACTOR_ANALYSIS_PARAMETERS["latent_dim"],
    Parameter("method", "closed_form", "method of maximizing the likelihood", ("closed_form", "em")),
    Parameter(
        "standardize",
        "auto",
        "standardize features; auto: those of tables, not pixels of images",
        ("auto", True, False),
    ),
    "image_shape",
    "layout",
    *(FACTOR_ANALYSIS_PARAMETERS[name] for name in ("min_scale", "tol", "max_iter", "random_state")),
)

GAUSSIAN_PARAMETERS = _table(
    Parameter("shrinkage", 1.0, "imaginary rows of independent features", (), float, 0),
    "image_shape",
    "layout",
    FACTOR_ANALYSIS_PARAMETERS["tol"],
    Parameter("max_iter", 1000, "EM steps at most", (), int, 1),
    "random_state",
)

CANDIDATES = ("gaussian", "mixture", "network")  # of an imputer

IMPUTER_PARAMETERS = _table(
    Parameter("models", CANDIDATES, "candidates; the Gaussian is always one", each=CANDIDATES),
    Parameter(
        "n_importance",
        "auto",
        "importance samples for each row; auto: 1000 for an estimator, 100 for the network of the stack",
        ("auto",),
        int,
        1,
    ),
    Parameter("n_imputations", 20, "completed tables", (), int, 1),
    Parameter("fill", "mean", "the number in a gap", ("mean", "median", "draw", "mode")),
    Parameter("add_indicator", False, "append an indicator of gaps for each column that had some", (True, False)),
    Parameter("keep_empty_features", False, "fill columns without any value with 0", (True, False)),
    Parameter("max_seconds", None, "the fit is made of what was fitted by then", (None,), float, 0, open_low=True),
    "random_state",
    Parameter("verbose", 0, "1: errors on hidden cells, and the weights of the stack", (), int, 0),
)

CLIMBING = ("regret", "relative_regret")  # outlier scores that maximize each row's own bound
SCORES = (
    "kl", "aggregate_kl", "reconstruction", "elbo", "log_p", "surprise", "mixture",
    *CLIMBING, "level_ratio", "combined",
)  # fmt: skip

DETECTOR_PARAMETERS = _table(
    Parameter("criterion", "auto", "what makes a row an outlier", ("auto", *SCORES)),
    Parameter("contamination", "auto", "part of the rows called outliers", ("auto",), float, 0, 0.5, open_low=True),
    Parameter("novelty", False, "the training rows are clean", (True, False)),
    Parameter(
        "trim_fraction",
        "auto",
        "part of each batch that isn't learned; auto: 0.1, 0 with novelty",
        ("auto",),
        float,
        0,
        0.5,
    ),
    Parameter("n_estimators", "auto", "autoencoders; auto: 3 for tables, 1 for images", ("auto",), int, 1),
    Parameter("n_steps", "auto", "steps of training of each; auto: 400, 2,000 for images", ("auto",), int, 1),
    Parameter("calibration_fraction", 0.0, "part of the rows held out for p-values", (), float, 0, 0.9),
    *("layout", "random_state", "device", "verbose"),
)

CLASSIFIER_PARAMETERS = _table(
    Parameter("label_weight", 10.0, "weight of −log q(c|x) of the labels beside the bound of a row", (), float, 0),
    "random_state",
)

PIXEL_RNN_PARAMETERS = _table(
    Parameter("hidden_size", 64, "hidden units of each recurrent layer", (), int, 1),
    Parameter(
        "likelihood",
        "auto",
        "p of a feature given those before it; auto: by type and values of the data",
        ("auto",),
        parts=tuple(LIKELIHOODS.values()),
    ),
    *("image_shape", "layout", "optimizer", "early_stopping", "max_epochs", "batch_size"),
    *("warm_start", "random_state", "device", "verbose"),
)

AUTO_OBJECTIVE = replace(
    VAE_PARAMETERS["objective"],
    default="auto",
    choices=("auto", *VAE_PARAMETERS["objective"].choices),
    help="bound to raise; auto: elbo; with one z of the whole its KL term rises over a fifth of the steps, 5 nats free",
)

RECURRENT_VAE_PARAMETERS = _table(
    Parameter(
        "latent_dim", 32, "latent variables of each step or sequence; 0: the same decoder without them", (), int, 0
    ),
    Parameter("hidden_size", 128, "hidden units of the recurrence, and of the networks of a step", (), int, 1),
    replace(VAE_PARAMETERS["likelihood"], help="p of an entry of a step; auto: by type and values of the data"),
    "columns",
    Parameter(
        "head",
        "independent",
        "columns of a step given its past and z; masked: each also depends on those before it",
        ("independent", "masked"),
    ),
    Parameter("latents", "steps", "a z at every step, or one of the whole sequence", ("steps", "sequence")),
    Parameter("chain", False, "z of a step also depends on that of the step before", (True, False)),
    Parameter("dropout", 0.2, "share of the hidden units that is set to 0 in training", (), float, 0, 0.9),
    Parameter("length", "given", "log p(x | T), or log p of x and of where it ends", ("given", "end")),
    Parameter("window", None, "steps that longer sequences are cut into for training; none: whole", (None,), int, 2),
    AUTO_OBJECTIVE,
    *("optimizer", "early_stopping", "max_epochs", "batch_size"),
    *("warm_start", "random_state", "device", "verbose"),
)

SEQUENCE_VAE_PARAMETERS = _table(
    Parameter("latent_dim", 32, "latent variables of a text; 0: the same decoder without them", (), int, 0),
    Parameter("hidden_size", 256, "hidden units of the decoder; encoders have half as many", (), int, 1),
    Parameter(
        "tokens",
        "auto",
        "parts of a text; auto: characters below a megabyte, byte pairs (bpe) of more",
        ("auto", "characters", "bytes"),
        parts=(BPE,),
    ),
    Parameter("token_dropout", 0.0, "share of the tokens that the decoder does not read in training", (), float, 0, 1),
    AUTO_OBJECTIVE,
    *("optimizer", "early_stopping", "max_epochs", "batch_size"),
    *("warm_start", "random_state", "device", "verbose"),
)

RBM_PARAMETERS = _table(
    Parameter("n_hidden", 128, "hidden units", (), int, 1),
    Parameter(
        "binarize",
        None,
        "make values 0 or 1: redrawn for every batch, cut at one half, or cut at each feature's mean",
        (None, "sample", "threshold", "mean"),
    ),
    "image_shape",
    "layout",
    Parameter("method", "pcd", "start of the Gibbs chains: their last states (pcd), or the data (cd)", ("pcd", "cd")),
    Parameter("n_gibbs_steps", 1, "k, Gibbs steps for each gradient step", (), int, 1),
    Parameter(
        "max_epochs", "auto", "passes over the data; auto: about 10,000 steps, from 10 to 200", ("auto",), int, 1
    ),
    Parameter("batch_size", 64, "rows in a step, and persistent chains", (), int, 1),
    Parameter("lr", 0.05, "initial learning rate, which falls linearly to 0", (), float, 0, open_low=True),
    Parameter("momentum", 0.5, "part of the last step that is kept in the next", (), float, 0, 0.999),
    Parameter("weight_decay", 1e-4, "pull of the weights towards 0", (), float, 0),
    Parameter("validation_fraction", 0.0, "part of the rows held out to watch for overfitting", (), float, 0, 0.9),
    Parameter("n_chains", 100, "chains of annealed importance sampling, for log Z", (), int, 2),
    Parameter("n_temperatures", 1000, "temperatures of each, from independent units to the model", (), int, 1),
    Parameter("burn_in", 1000, "Gibbs steps before a draw", (), int, 1),
    "random_state",
    "device",
    Parameter("verbose", 0, "1: one line an epoch", (), int, 0),
)


AUTOENCODER_PARAMETERS = _table(
    replace(
        VAE_PARAMETERS["latent_dim"],
        help="numbers in a code; auto: half the features, from 2 to 32, or by their spectrum up to 256",
        or_many=False,
        parts=(),
    ),
    "network",
    replace(VAE_PARAMETERS["likelihood"], parts=tuple(LIKELIHOODS.values())),
    *("image_shape", "layout"),
    Parameter(
        "penalty", None, "sparse codes: by absolute values, or by mean activity", (None,), parts=(KLPenalty, L1Penalty)
    ),
    Parameter(
        "noise",
        None,
        "denoising: entries hidden from the encoder, or normal noise",
        (None,),
        parts=(GaussianNoise, MaskingNoise),
    ),
    *("optimizer", "early_stopping", "max_epochs", "batch_size", "warm_start", "random_state", "device", "verbose"),
)
