"""From a schema and the estimator's parameters to a model with several levels of latent variables."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn

from lowerbound.assembly.vae import (
    choose_inputs,
    choose_latent_dim,
    choose_likelihood_head,
    choose_network,
    let_rows_reach,
    log_unit_of,
    output_bias,
    output_shape,
)
from lowerbound.data.schema import Schema
from lowerbound.inference.posteriors import Amortized
from lowerbound.models.hierarchical import ChainHead, ChainPrior, Ladder, Lowest
from lowerbound.models.vae import Decoder, Encoder, LatentModel
from lowerbound.nn.heads import GaussianHead
from lowerbound.nn.hierarchical import CHANNELS, ladder
from lowerbound.nn.mlp import MLPDecoder, MLPEncoder, mlp

LATENT_CHANNELS = 8  # of each place of a level, unless said otherwise
FIXED: dict[str, str | None] = {
    "covariance": "diagonal",
    "posterior": "gaussian",
    "inference": "amortized",
    "prior": "normal",
    "missingness": None,
}


def assemble_levels(
    schema: Schema, parameters: dict[str, Any], generator: torch.Generator
) -> tuple[Ladder | LatentModel, Amortized]:
    """A ladder, or a chain where ``latent_dim`` is several numbers; the model and its posterior.

    Raises
    ------
    ValueError
        If a parameter has no meaning for several levels.
    """
    for name, value in FIXED.items():
        if parameters[name] != value:
            raise ValueError(f"{name}={parameters[name]!r} is for one level of latent variables: leave {value!r}")
    if not isinstance(parameters["network"], str):
        raise ValueError("several levels make their own networks: leave network='auto', or choose 'mlp' or 'conv'")
    network = choose_network(schema, parameters["network"])
    if not isinstance(parameters["latent_dim"], (tuple, list)):
        return _ladder(schema, parameters, generator, is_image=network == "conv")
    if parameters["levels"] not in (1, len(parameters["latent_dim"])):
        raise ValueError(
            f"latent_dim={tuple(parameters['latent_dim'])} makes a chain of {len(parameters['latent_dim'])} levels: "
            f"leave levels=1, or give one number for a ladder"
        )
    if network == "conv" and parameters["network"] == "conv":
        raise ValueError("a chain of levels (several numbers in latent_dim) is made of MLPs: use network='mlp'")
    return _chain(schema, parameters, generator)


def _ladder(
    schema: Schema, parameters: dict[str, Any], generator: torch.Generator, *, is_image: bool
) -> tuple[Ladder, Amortized]:
    inputs, head = choose_inputs(schema), choose_likelihood_head(schema, parameters)
    seen_shape = inputs(torch.zeros(1, *schema.event_shape)).shape[1:]
    asked = parameters["latent_dim"]
    n_latent = LATENT_CHANNELS if is_image and asked == "auto" else choose_latent_dim(schema, asked)
    width = CHANNELS[0] if is_image else (*parameters["hidden_layer_sizes"], 200)[0]
    up, levels, output = ladder(
        seen_shape, output_shape(schema, head), head.n_parameters, parameters["levels"], n_latent, width, generator,
        is_image=is_image,
    )  # fmt: skip
    let_rows_reach(up.stem[1], schema)  # type: ignore[index]
    with torch.no_grad():
        output.bias.copy_(output_bias(schema, head))
    model = Ladder(levels, output, head, log_unit_of(schema))
    return model, Amortized(Encoder(inputs, up, model.posterior))


def _chain(schema: Schema, parameters: dict[str, Any], generator: torch.Generator) -> tuple[LatentModel, Amortized]:
    """Between x and z_1 the hidden layers as they are; from level to level half as wide."""
    inputs, head = choose_inputs(schema), choose_likelihood_head(schema, parameters)
    sizes, hidden = tuple(parameters["latent_dim"]), tuple(parameters["hidden_layer_sizes"])
    activation = parameters["activation"]

    def link(n_in: int, n_out: int, level: int, *, up: bool) -> nn.Sequential:
        between = tuple(max(1, h // 2**level) for h in hidden)
        gaussian = GaussianHead(n_out, "diagonal")
        widths = [n_in, *(between if up else between[::-1]), gaussian.n_features]
        return nn.Sequential(*mlp(widths, activation, generator), gaussian)

    first = GaussianHead(sizes[0], "diagonal")
    seen = inputs(torch.zeros(1, *schema.event_shape))
    encoder = MLPEncoder(seen.shape[1:], first.n_features, hidden, activation, generator)
    decoder = MLPDecoder(sizes[0], output_shape(schema, head), head.n_parameters, hidden[::-1], activation, generator)
    let_rows_reach(encoder.layers[0], schema)
    with torch.no_grad():
        decoder.bias.copy_(output_bias(schema, head))
    steps = list(enumerate(pairwise(sizes), 1))
    up = [link(below, above, level, up=True) for level, (below, above) in steps]
    down = [link(above, below, level, up=False) for level, (below, above) in steps[::-1]]
    model = LatentModel(
        Decoder(Lowest(decoder, sizes[0]), head), sum(sizes), log_unit_of(schema), ChainPrior(down, sizes)
    )
    return model, Amortized(Encoder(inputs, encoder, ChainHead(first, up, sizes)), model.prior)
