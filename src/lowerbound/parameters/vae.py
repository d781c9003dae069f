"""The parameters of the variational autoencoder: the allowed values of each, and one line of help; loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lowerbound.parameters.likelihoods import LIKELIHOODS
from lowerbound.parameters.parameter import Parameter
from lowerbound.parameters.priors import PRIORS


def _is_generator(value: Any) -> bool:
    """A numpy RandomState or Generator."""
    return hasattr(value, "randint") or hasattr(value, "integers")


def _is_pair_of_modules(value: Any) -> bool:
    """An encoder and a decoder."""
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(hasattr(m, "state_dict") for m in value)


def _is_description(value: Any) -> bool:
    """Columns by name, or one after another."""
    return isinstance(value, (Mapping, Sequence)) and not isinstance(value, str)


VAE_PARAMETERS: dict[str, Parameter] = {
    p.name: p
    for p in (
        Parameter(
            "latent_dim",
            "auto",
            "latent variables; auto: half the features, from 2 to 32; several numbers: a chain of levels",
            ("auto",),
            int,
            1,
            or_many=True,
        ),
        Parameter("levels", 1, "levels of latent variables; 2 and more: a ladder", (), int, 1),
        Parameter(
            "network",
            "auto",
            "kind of network; auto: conv for images of 16×16 and more",
            ("auto", "mlp", "conv"),
            or_object=_is_pair_of_modules,
        ),
        Parameter(
            "hidden_layer_sizes",
            (200, 200),
            "hidden units of the MLP encoder; the decoder's are reversed",
            (),
            int,
            1,
            many=True,
        ),
        Parameter("activation", "silu", "activation of the MLP", ("silu", "relu", "tanh", "gelu", "elu", "softplus")),
        Parameter(
            "likelihood",
            "auto",
            "p(x|z); auto: by type and values of the data",
            ("auto", *LIKELIHOODS),
        ),
        Parameter(
            "columns",
            None,
            "columns of several kinds: auto, or a JSON file that says of what kind they are; text columns need no flag",
            (None, "auto"),
            any_word=True,
            or_object=_is_description,
        ),
        Parameter(
            "scale",
            "auto",
            "σ of p(x|z): 1, a number in your units, learned (one, or one a feature), or from the decoder",
            ("auto", "unit", "shared", "feature", "decoder"),
            float,
            0,
            open_low=True,
        ),
        Parameter(
            "min_scale",
            0.01,
            "lower bound of a learned σ, as a part of the feature's standard deviation",
            (),
            float,
            0,
            1,
            open_low=True,
        ),
        Parameter("n_logistics", 1, "discretized logistics mixed for each byte", (), int, 1),
        Parameter("standardize", "auto", "standardize real-valued features", ("auto", True, False)),
        Parameter(
            "image_shape",
            None,
            "of images given as flat rows: height,width or height,width,channels or channels,height,width (planar)",
            (None,),
            int,
            1,
            many=True,
        ),
        Parameter(
            "layout",
            "auto",
            "axes of rows: image is height,width or height,width,channels; channels_first is channels,height,width",
            ("auto", "image", "channels_first", "features"),
        ),
        Parameter("covariance", "diagonal", "covariance of q(z|x)", ("diagonal", "isotropic", "full")),
        Parameter("posterior", "gaussian", "q(z|x): a Gaussian, or a flow from one", ("gaussian", "flow")),
        Parameter(
            "prior",
            "normal",
            "p(z): standard normal, or learned: a mixture, one of the encoder's q at pseudo-inputs, or a flow",
            tuple(PRIORS),
        ),
        Parameter("n_prior_components", 100, "components of a learned prior", (), int, 1),
        Parameter(
            "binarize",
            None,
            "make grey values 0 or 1: redrawn for every batch, or cut at one half",
            (None, "sample", "threshold"),
        ),
        Parameter(
            "inference",
            "amortized",
            "source of q(z|x): encoder, encoder and gradient steps, parameters of each row, one q, Markov chains",
            ("amortized", "refined", "mean_field", "shared", "mcem"),
        ),
        Parameter("n_refinement_steps", 100, "gradient steps on a row's own bound", (), int, 0),
        Parameter(
            "objective",
            "elbo",
            "bound to raise: KL in closed form, KL from the draws, or importance-weighted over n_samples draws",
            ("elbo", "elbo_sampled", "iwae"),
        ),
        Parameter(
            "gradient",
            "pathwise",
            "estimator of the gradient; stl also with elbo_sampled, vimco and dreg with iwae alone",
            ("pathwise", "score", "vimco", "stl", "dreg"),
        ),
        Parameter("n_samples", 1, "latent draws for each row and step", (), int, 1),
        Parameter("kl_weight", 1.0, "weight of the KL term; 1 is the lower bound", (), float, 0),
        Parameter("kl_warmup_steps", 0, "steps over which the weight rises from 0", (), int, 0),
        Parameter("free_bits", 0.0, "nats of each latent variable's KL that are not penalized", (), float, 0),
        Parameter(
            "trim_fraction", 0.0, "share of each batch, its rows of highest loss, that is left out", (), float, 0, 0.5
        ),
        Parameter(
            "missingness",
            None,
            "model of the mask; self_masking: the chance that an entry is missing depends on its own value",
            (None, "self_masking"),
        ),
        Parameter(
            "input_dropout", 0.0, "largest share of entries hidden from the encoder in training", (), float, 0, 1
        ),
        Parameter(
            "max_epochs",
            "auto",
            "passes over the data at most; auto: about 10,000 steps, from 30 to 500 passes",
            ("auto",),
            int,
            1,
        ),
        Parameter(
            "batch_size", "auto", "rows in a step, of all processes together; auto: from 16 to 128", ("auto",), int, 1
        ),
        Parameter("lr", 1e-3, "highest learning rate of Adam", (), float, 0, open_low=True),
        Parameter(
            "lr_schedule",
            "cosine",
            "learning rate over the steps: up and down to zero, or constant",
            ("cosine", "constant"),
        ),
        Parameter("weight_decay", 0.0, "decoupled weight decay", (), float, 0),
        Parameter(
            "compile", False, "make one compiled graph of a training step: slow start, faster steps", (True, False)
        ),
        Parameter(
            "precision",
            "float32",
            "precision of matrix products in training; tf32 is for GPUs",
            ("float32", "tf32", "bfloat16"),
        ),
        Parameter("ema", 0.0, "decay of the moving average of the weights; 0: no average", (), float, 0, 0.99999),
        Parameter(
            "max_gradient_norm",
            None,
            "longer gradients are shortened to it, extreme ones skipped",
            (None,),
            float,
            0,
            open_low=True,
        ),
        Parameter(
            "early_stopping",
            True,
            "hold out rows, stop when their bound no longer rises, keep the best weights",
            (True, False),
        ),
        Parameter("validation_fraction", 0.1, "share of rows held out to stop early", (), float, 0, 0.9, open_low=True),
        Parameter("n_iter_no_change", 20, "epochs without a better validation bound before stopping", (), int, 1),
        Parameter("tol", 0.0, "least rise of the validation bound that counts, in nats a row", (), float, 0),
        Parameter("warm_start", False, "continue from the weights of the last fit", (True, False)),
        Parameter(
            "random_state",
            None,
            "seed: the same seed gives the same result",
            (None,),
            int,
            0,
            2**63 - 1,
            or_object=_is_generator,
        ),
        Parameter(
            "device",
            "auto",
            "cpu, cuda, cuda:1, …; auto: a GPU if there is one",
            ("auto",),
            any_word=True,
            or_object=lambda value: type(value).__name__ == "device",
        ),
        Parameter("verbose", 0, "1: a progress bar; 2: also what was chosen", (), int, 0),
    )
}
