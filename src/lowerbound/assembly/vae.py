"""From a schema and the parts that are asked for to a model, its posterior and its objective."""

from __future__ import annotations

import importlib
import math

import numpy as np
import torch
from torch import Tensor, nn

from lowerbound.assembly.asked import Asked
from lowerbound.assembly.columns import column_inputs, columns_head
from lowerbound.core import Model, Objective, Posterior
from lowerbound.data.batches import Rows
from lowerbound.data.schema import Schema
from lowerbound.distributions.likelihoods.likelihood import LikelihoodHead
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.inference.mcmc import Chains, complete_data
from lowerbound.inference.mode import Laplace
from lowerbound.inference.objectives import elbo, elbo_sampled, iwae, trimmed
from lowerbound.inference.posteriors import Amortized, MaskedInput, MeanField, Refined, Shared, StartAtPrior
from lowerbound.models.missingness import SelfMasking
from lowerbound.models.priors.prior import LearnedPrior, PriorRequest
from lowerbound.models.vae import Decoder, Encoder, LatentModel, OwnDecoder, OwnEncoder, beside
from lowerbound.nn.conv import ConvDecoder, ConvEncoder
from lowerbound.nn.flows import FlowHead
from lowerbound.nn.heads import GaussianHead
from lowerbound.nn.inputs import OneHot, Standardized, Values
from lowerbound.nn.mlp import MLPDecoder, MLPEncoder
from lowerbound.parameters import parts
from lowerbound.parameters.likelihoods import LIKELIHOODS, ColumnLikelihoods, Likelihood

CONV_MIN_SIDE = 16
SEARCH_ROUNDS = 4  # of the search for a row's own q(z|x); most rows need one


def assemble(
    schema: Schema, asked: Asked, latent_dim: int, generator: torch.Generator, n_context: int = 0
) -> tuple[LatentModel, Amortized]:
    """The model p(x, z) and the amortized posterior q(z|x), with weights from ``generator``.

    Parameters
    ----------
    schema : Schema
    asked : Asked
        The parts that the model is made from, for one level of latent variables.
    latent_dim : int
        D.
    generator : torch.Generator
    n_context : int
        C, numbers of a context that all conditionals are given; 0 for none.

    Raises
    ------
    ValueError
        If a part doesn't fit the data, or a module of the user's returns the wrong shape.
    """
    inputs = choose_inputs(schema)
    posterior_head = choose_posterior_head(asked, latent_dim, generator)
    likelihood_head = choose_likelihood_head(schema, asked.likelihood)
    seen = seen_with_context(inputs, schema, n_context)
    encoder, decoder = _networks(schema, asked, seen, posterior_head, likelihood_head, generator, n_context)
    _start_at_unit_scale(encoder, posterior_head)
    bias: Tensor = decoder.bias  # type: ignore[assignment]
    with torch.no_grad():
        bias.copy_(output_bias(schema, likelihood_head))
    own_encoder = Encoder(inputs, encoder, posterior_head)
    prior = _prior(schema, asked, latent_dim, own_encoder, generator, n_context)
    missingness = _missingness(schema, asked)
    model = LatentModel(
        Decoder(decoder, likelihood_head), latent_dim, log_unit_of(schema), prior, missingness, n_context
    )
    is_standard = prior is None and isinstance(posterior_head, GaussianHead)
    return model, Amortized(own_encoder, None if is_standard else model.prior_of)


def choose_posterior_head(asked: Asked, latent_dim: int, generator: torch.Generator) -> GaussianHead | FlowHead:
    """The head that turns the encoder's features into q(z|x)."""
    if isinstance(asked.posterior, parts.FlowPosterior):
        return FlowHead(latent_dim, generator)
    return GaussianHead(latent_dim, asked.covariance)


def choose_inputs(schema: Schema) -> nn.Module:
    """The view of x that a network reads."""
    if schema.columns is not None:
        return column_inputs(schema.columns)
    if schema.kind.is_nominal:
        return OneHot(schema.n_categories)
    return Standardized() if schema.is_standardized else Values(schema.kind.view)


def seen_with_context(inputs: nn.Module, schema: Schema, n_context: int) -> Tensor:
    """An example of what the encoder's network reads: the inputs of two rows, and a context of C numbers."""
    seen = inputs(torch.zeros(2, *schema.event_shape))
    return beside(seen, torch.zeros(2, n_context)) if n_context else seen


def output_shape(schema: Schema, head: LikelihoodHead) -> tuple[int, ...]:
    """The shape of one of the ``head.n_parameters`` arrays that the decoder gives for a row."""
    return schema.event_shape if head.parameter_shape is None else head.parameter_shape


def output_bias(schema: Schema, head: LikelihoodHead) -> Tensor:
    """The start of the decoder's parameters: the distribution of each feature without regard to the others."""
    return schema.output_bias(head.n_parameters) if head.start is None else head.start[None]


def log_unit_of(schema: Schema) -> Tensor | None:
    """log of the user's units in one unit of x, shape (*event); None where x is discrete."""
    if schema.columns is not None or schema.is_discrete:  # columns have the user's units in their densities
        return None
    return torch.from_numpy(np.log(schema.unit)).float()


def _prior(
    schema: Schema, asked: Asked, latent_dim: int, encoder: Encoder, generator: torch.Generator, n_context: int
) -> LearnedPrior | None:
    """A learned prior; None for N(0, I)."""
    if asked.prior.file is None:
        return None
    is_nominal = schema.columns is not None or schema.kind.is_nominal
    request = PriorRequest(
        latent_dim=latent_dim, part=asked.prior, generator=generator,
        encode=encoder.forward, event_shape=schema.event_shape, is_nominal=is_nominal, n_context=n_context,
        highest=None if is_nominal else schema.kind.highest(schema.n_categories),
    )  # fmt: skip
    return importlib.import_module(f"lowerbound.models.priors.{asked.prior.file}").PRIOR.make(request)


def _missingness(schema: Schema, asked: Asked) -> SelfMasking | None:
    """The model of which entries are missing, if one was asked for."""
    if asked.missingness is None:
        return None
    if not schema.gaps:
        raise ValueError("missingness is a model of what is missing, and nothing is: leave missingness=None")
    return SelfMasking(schema.event_shape)


def start_from_rows(model: LatentModel, rows: Rows, seed: int, noise: Noise) -> None:
    """Let pseudo-inputs begin as rows of the data, and a model of the mask with how often entries are missing."""
    prior = model.learned_prior
    if isinstance(prior, LearnedPrior) and prior.n_starting_rows:
        few, n = rows.few(100 * prior.n_starting_rows), prior.n_starting_rows
        some = few.subset(torch.randperm(len(few), generator=make_generator(seed, "pseudo-inputs"))[:n])
        prior.start_from(next(some.batches(len(some), noise)).x.cpu())
    if model.missingness is not None:
        few = rows.few(2**12)
        model.missingness.start(next(few.batches(len(few), noise)), len(rows))


def choose_posterior(asked: Asked, model: LatentModel, amortized: Amortized) -> Posterior:
    """q(z|x) for rows that were not fitted: the encoder's, one for all, or one that is searched for each row."""
    part = asked.posterior
    if isinstance(part, (parts.Amortized, parts.FlowPosterior)):
        n_steps = part.n_refinement_steps
        return Refined(amortized, model.draw, n_steps) if n_steps else amortized
    if isinstance(part, parts.Shared):
        return Shared(model.latent_dim)
    return searched(model, part.n_steps)


def searched(model: LatentModel, n_steps: int) -> Refined:
    """The q(z|x) of each row's own, a diagonal Gaussian, that an ascent of its bound finds, without an encoder.

    Parameters
    ----------
    model : LatentModel
    n_steps : int
        Of the search for the mode of p(z|x), at most, and half of the steps of Adam from there, at most.
    """
    at_prior = StartAtPrior(model.latent_dim, None if model.learned_prior is None else model.prior_of)
    start = Laplace(at_prior, model.log_joint, model.prior_of, n_steps)
    return Refined(start, model.draw, math.ceil(2 * n_steps / SEARCH_ROUNDS), n_rounds=SEARCH_ROUNDS)


def training_posterior(asked: Asked, model: Model, posterior: Posterior, n_rows: int) -> Posterior:
    """q(z|x) for the rows that are fitted, some of which have numbers or a chain of their own."""
    if isinstance(asked.posterior, parts.MeanField):
        assert isinstance(model, LatentModel)
        return MeanField(n_rows, model.latent_dim, posterior)
    if isinstance(asked.posterior, parts.MCEM):
        assert isinstance(model, LatentModel)
        return Chains(n_rows, model.latent_dim, model.log_joint, posterior)
    return MaskedInput(posterior, asked.input_dropout) if asked.input_dropout else posterior


def choose_objective(asked: Asked) -> Objective:
    """The loss, the number of samples and the gradient estimator."""
    part = asked.objective
    if isinstance(asked.posterior, parts.MCEM):
        return complete_data()
    if isinstance(part, parts.IWAE):
        return trimmed(iwae(part.n_samples, part.gradient), part.trim_fraction)
    weight = (part.n_samples, part.kl_weight, part.warmup_steps)
    if isinstance(part, parts.SampledELBO):
        return trimmed(elbo_sampled(*weight, part.gradient), part.trim_fraction)
    return trimmed(elbo(*weight, part.free_bits, part.gradient), part.trim_fraction)


def choose_network(schema: Schema, network: parts.Conv | parts.MLP | str) -> parts.Conv | parts.MLP:
    """The network that is asked for, or that "auto" stands for."""
    if isinstance(network, parts.Conv) and not schema.is_image:
        raise ValueError(
            f"network='conv' needs images; the rows have shape {schema.row_shape}: "
            f"give image_shape=(height, width), or use network='mlp'"
        )
    if not isinstance(network, str):
        return network
    return parts.Conv() if schema.is_image and min(schema.event_shape[1:]) >= CONV_MIN_SIDE else parts.MLP()


def choose_latent_dim(schema: Schema, latent_dim: int | str) -> int:
    """The number that is asked for; for "auto" half the features, from 2 to 32, or as many directions as there are."""
    if latent_dim != "auto":
        return int(latent_dim)
    return max(2, min(math.ceil(math.prod(schema.event_shape) / 2), max(32, schema.n_directions)))


def _networks(
    schema: Schema, asked: Asked, seen: Tensor, posterior_head: GaussianHead | FlowHead,
    likelihood_head: LikelihoodHead, generator: torch.Generator, n_context: int,
) -> tuple[nn.Module, nn.Module]:  # fmt: skip
    """The encoder's network and the decoder's."""
    encoder = choose_encoder(schema, asked, seen, posterior_head.n_features, generator)
    n_parameters, n_inputs = likelihood_head.n_parameters, posterior_head.latent_dim + n_context
    shape = output_shape(schema, likelihood_head)
    if isinstance(asked.network, (tuple, list)):
        return encoder, OwnDecoder(asked.network[1], n_inputs, shape, n_parameters)
    network = choose_network(schema, asked.network)
    if isinstance(network, parts.Conv):
        channels, height, width = schema.event_shape
        return encoder, ConvDecoder(n_inputs, (channels, height, width), n_parameters, generator=generator)
    hidden, activation = network.hidden_layer_sizes, network.activation
    return encoder, MLPDecoder(n_inputs, shape, n_parameters, hidden[::-1], activation, generator)


def choose_encoder(
    schema: Schema, asked: Asked, seen: Tensor, n_features: int, generator: torch.Generator
) -> nn.Module:
    """The network from what is seen of x (and of a context) to features.

    Parameters
    ----------
    schema : Schema
    asked : Asked
    seen : Tensor
        An example of its input.
    n_features : int
    generator : torch.Generator
        Draws the weights.
    """
    has_gaps = schema.gaps or asked.input_dropout > 0
    n_gaps = math.prod(schema.event_shape) if has_gaps else 0
    if isinstance(asked.network, (tuple, list)):
        return OwnEncoder(asked.network[0], seen, n_features, generator, n_gaps)
    network = choose_network(schema, asked.network)
    if isinstance(network, parts.Conv):
        channels, height, width = schema.event_shape
        shape = (seen.shape[1], height, width)
        return ConvEncoder(shape, n_features, generator=generator, n_gaps=channels * has_gaps)
    hidden, activation = network.hidden_layer_sizes, network.activation
    encoder = MLPEncoder(seen.shape[1:], n_features, hidden, activation, generator, n_gaps)
    let_rows_reach(encoder.layers[0], schema)
    return encoder


def _start_at_unit_scale(encoder: nn.Module, head: GaussianHead | FlowHead) -> None:
    """Let the posterior's scale (the features of a Gaussian after its D means) not depend on x at first: Σ = I."""
    last = [layer for layer in encoder.modules() if isinstance(layer, nn.Linear)][-1]
    gaussian = head.gaussian if isinstance(head, FlowHead) else head
    with torch.no_grad():
        last.weight[gaussian.latent_dim : gaussian.n_features] = 0


def let_rows_reach(first: nn.Module, schema: Schema) -> None:
    """Scale the first layer's weights up for tables with columns of several kinds.

    Many of its inputs are indicators, of which one for each column is 1 and the others are 0: with the usual bounds of
    ±1/√inputs, a row would hardly change the layer's output, nor q(z|x). With ±1/√columns it changes it as much as so
    many standardized numbers would.
    """
    if schema.columns is None:
        return
    assert isinstance(first, nn.Linear)
    with torch.no_grad():
        first.weight *= math.sqrt(first.in_features / len(schema.columns))


def choose_likelihood_head(schema: Schema, likelihood: Likelihood | str) -> LikelihoodHead:
    """The head that turns the decoder's numbers into p(x|z)."""
    if schema.columns is not None:
        part = likelihood if isinstance(likelihood, ColumnLikelihoods) else ColumnLikelihoods()
        return columns_head(schema.columns, part.scale, part.min_scale)
    chosen = LIKELIHOODS[schema.likelihood]() if isinstance(likelihood, str) else likelihood
    return schema.kind.head(schema, **chosen.head_options)
