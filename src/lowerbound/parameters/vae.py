"""The parameters of the variational autoencoder: the allowed values of each, and one line of help; loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lowerbound.parameters.likelihoods import LIKELIHOODS, ColumnLikelihoods
from lowerbound.parameters.parameter import Parameter
from lowerbound.parameters.parts import (
    ELBO,
    IWAE,
    MCEM,
    MLP,
    Adam,
    Amortized,
    Conv,
    EarlyStopping,
    FlowPosterior,
    Ladder,
    MeanField,
    SampledELBO,
    Shared,
)
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
            "latent variables; auto: from 2 to 256, by the data; several numbers: a chain of levels",
            ("auto",),
            int,
            1,
            or_many=True,
            parts=(Ladder,),
        ),
        Parameter(
            "network",
            "auto",
            "kind of network; auto: conv for images of 16×16 and more",
            ("auto",),
            or_object=_is_pair_of_modules,
            parts=(Conv, MLP),
        ),
        Parameter(
            "likelihood",
            "auto",
            "p(x|z); auto: by type and values of the data",
            ("auto",),
            parts=(*LIKELIHOODS.values(), ColumnLikelihoods),
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
        Parameter(
            "posterior",
            "amortized",
            "q(z|x): a Gaussian or a flow from an encoder, parameters of each row, one q, or Markov chains",
            parts=(FlowPosterior, MeanField, Shared, MCEM, Amortized),
        ),
        Parameter(
            "prior",
            "normal",
            "p(z): standard normal, or learned: a mixture, one of the encoder's q at pseudo-inputs, or a flow",
            parts=PRIORS,
        ),
        Parameter(
            "objective",
            "elbo",
            "bound to raise: KL in closed form, KL from the draws, or importance-weighted over n_samples draws",
            parts=(ELBO, SampledELBO, IWAE),
        ),
        Parameter("optimizer", "adam", "the steps of training", parts=(Adam,)),
        Parameter(
            "early_stopping",
            True,
            "hold out rows, stop when their bound no longer rises, keep the best weights",
            (True, False),
            yes=EarlyStopping,
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
