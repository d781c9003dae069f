"""From a schema and the parts that are asked for to a model with several levels of latent variables."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from lowerbound.assembly.asked import Asked
from lowerbound.assembly.vae import (
    choose_inputs,
    choose_latent_dim,
    choose_likelihood_head,
    choose_network,
    let_rows_reach,
    log_unit_of,
    output_bias,
    output_shape,
    seen_with_context,
)
from lowerbound.data.schema import Schema
from lowerbound.inference.posteriors import Amortized
from lowerbound.models.chain import ChainHead, ChainPrior, Lowest
from lowerbound.models.ladder import Ladder
from lowerbound.models.vae import Decoder, Encoder, LatentModel
from lowerbound.nn.heads import GaussianHead
from lowerbound.nn.hierarchical import CHANNELS, ladder
from lowerbound.nn.mlp import MLPDecoder, MLPEncoder, mlp
from lowerbound.parameters import parts

LATENT_CHANNELS = 8  # of each place of a level, unless said otherwise
WIDTH = 200  # hidden units of a level, likewise


def assemble_levels(
    schema: Schema, asked: Asked, generator: torch.Generator, n_context: int = 0
) -> tuple[Ladder | LatentModel, Amortized]:
    """A ladder, or a chain where ``latent_dim`` is several numbers; the model and its posterior.

    Parameters
    ----------
    schema : Schema
    asked : Asked
    generator : torch.Generator
        Draws the weights.
    n_context : int
        C, numbers of a context that the model is given; 0 for none.

    Raises
    ------
    ValueError
        If a part doesn't fit the data.
    """
    network = choose_network(schema, asked.network)
    if isinstance(asked.latent_dim, parts.Ladder):
        return _ladder(schema, asked.latent_dim, asked, generator, n_context, is_image=isinstance(network, parts.Conv))
    return _chain(schema, asked, network if isinstance(network, parts.MLP) else parts.MLP(), generator, n_context)


def _ladder(
    schema: Schema, part: parts.Ladder, asked: Asked, generator: torch.Generator, n_context: int, *, is_image: bool
) -> tuple[Ladder, Amortized]:
    inputs, head = choose_inputs(schema), choose_likelihood_head(schema, asked.likelihood)
    seen_shape = seen_with_context(inputs, schema, n_context).shape[1:]
    is_grid = is_image and part.latent_dim == "auto"
    n_latent = LATENT_CHANNELS if is_grid else choose_latent_dim(schema, part.latent_dim)
    width = (CHANNELS[0] if is_image else WIDTH) if isinstance(part.width, str) else part.width
    up, levels, output = ladder(
        seen_shape, output_shape(schema, head), head.n_parameters, part.n_levels, n_latent, width, generator,
        is_image=is_image,
    )  # fmt: skip
    let_rows_reach(up.stem[1], schema)  # type: ignore[index]
    with torch.no_grad():
        output.bias.copy_(output_bias(schema, head))
    model = Ladder(levels, output, head, log_unit_of(schema), n_context)
    return model, Amortized(Encoder(inputs, up, model.posterior))


def _chain(
    schema: Schema, asked: Asked, network: parts.MLP, generator: torch.Generator, n_context: int
) -> tuple[LatentModel, Amortized]:
    """Between x and z_1 the hidden layers as they are; from level to level half as wide."""
    inputs, head = choose_inputs(schema), choose_likelihood_head(schema, asked.likelihood)
    assert isinstance(asked.latent_dim, tuple)
    sizes, hidden, activation = asked.latent_dim, network.hidden_layer_sizes, network.activation

    def link(n_in: int, n_out: int, level: int, *, up: bool) -> nn.Sequential:
        between = tuple(max(1, h // 2**level) for h in hidden)
        gaussian = GaussianHead(n_out, "diagonal")
        widths = [n_in, *(between if up else between[::-1]), gaussian.n_features]
        return nn.Sequential(*mlp(widths, activation, generator), gaussian)

    first = GaussianHead(sizes[0], "diagonal")
    seen = seen_with_context(inputs, schema, n_context)
    encoder = MLPEncoder(seen.shape[1:], first.n_features, hidden, activation, generator)
    shape, n_inputs = output_shape(schema, head), sizes[0] + n_context
    decoder = MLPDecoder(n_inputs, shape, head.n_parameters, hidden[::-1], activation, generator)
    let_rows_reach(encoder.layers[0], schema)
    with torch.no_grad():
        decoder.bias.copy_(output_bias(schema, head))
    steps = list(enumerate(pairwise(sizes), 1))
    up = [link(below, above, level, up=True) for level, (below, above) in steps]
    down = [link(above, below, level, up=False) for level, (below, above) in steps[::-1]]
    model = LatentModel(
        Decoder(Lowest(decoder, sizes), head), sum(sizes), log_unit_of(schema), ChainPrior(down, sizes),
        n_context=n_context,
    )  # fmt: skip
    return model, Amortized(Encoder(inputs, encoder, ChainHead(first, up, sizes)), model.prior_of)
