"""From a schema and the estimator's parameters to a model and its posterior."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lowerbound.assembly.columns import column_inputs, columns_head
from lowerbound.core import Posterior
from lowerbound.data.batches import Rows
from lowerbound.data.schema import Schema
from lowerbound.distributions.likelihoods.kind import no_components
from lowerbound.distributions.likelihoods.likelihood import LikelihoodHead
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.inference.mcmc import Chains
from lowerbound.inference.posteriors import Amortized, MeanField, Refined, Shared, StartAtPrior
from lowerbound.models.missingness import SelfMasking
from lowerbound.models.priors.prior import LearnedPrior, PriorRequest
from lowerbound.models.vae import Decoder, Encoder, LatentModel, OwnDecoder, OwnEncoder
from lowerbound.nn.conv import ConvDecoder, ConvEncoder
from lowerbound.nn.flows import FlowHead
from lowerbound.nn.heads import GaussianHead
from lowerbound.nn.inputs import OneHot, Standardized, Values
from lowerbound.nn.mlp import MLPDecoder, MLPEncoder
from lowerbound.parameters.priors import PRIORS

CONV_MIN_SIDE = 16


def assemble(
    schema: Schema, parameters: dict[str, Any], latent_dim: int, generator: torch.Generator
) -> tuple[LatentModel, Amortized]:
    """The model p(x, z) and the amortized posterior q(z|x), with weights from ``generator``.

    Parameters
    ----------
    schema : Schema
    parameters : dict
        The estimator's, by name.
    latent_dim : int
        D.
    generator : torch.Generator

    Raises
    ------
    ValueError
        If a parameter doesn't fit the data, or a module of the user's returns the wrong shape.
    """
    inputs = choose_inputs(schema)
    posterior_head = choose_posterior_head(parameters, latent_dim, generator)
    likelihood_head = choose_likelihood_head(schema, parameters)
    seen = inputs(torch.zeros(2, *schema.event_shape))
    encoder, decoder = _networks(schema, parameters, seen, posterior_head, likelihood_head, generator)
    _start_at_unit_scale(encoder, posterior_head)
    if isinstance(encoder, MLPEncoder):
        let_rows_reach(encoder.layers[0], schema)
    bias: Tensor = decoder.bias  # type: ignore[assignment]
    with torch.no_grad():
        bias.copy_(output_bias(schema, likelihood_head))
    own_encoder = Encoder(inputs, encoder, posterior_head)
    prior = _prior(schema, parameters, latent_dim, own_encoder, generator)
    missingness = _missingness(schema, parameters)
    model = LatentModel(Decoder(decoder, likelihood_head), latent_dim, log_unit_of(schema), prior, missingness)
    is_standard = prior is None and isinstance(posterior_head, GaussianHead)
    return model, Amortized(own_encoder, None if is_standard else model.prior)


def choose_posterior_head(
    parameters: dict[str, Any], latent_dim: int, generator: torch.Generator
) -> GaussianHead | FlowHead:
    """The head that turns the encoder's features into q(z|x)."""
    covariance = parameters["covariance"]
    if parameters.get("posterior", "gaussian") == "gaussian":
        return GaussianHead(latent_dim, covariance)
    if covariance != "diagonal":
        raise ValueError(f"posterior='flow' bends a Gaussian with a diagonal covariance, not covariance={covariance!r}")
    return FlowHead(latent_dim, generator)


def choose_inputs(schema: Schema) -> nn.Module:
    """The view of x that a network reads."""
    if schema.columns is not None:
        return column_inputs(schema.columns)
    if schema.kind.is_nominal:
        return OneHot(schema.n_categories)
    return Standardized() if schema.is_standardized else Values(schema.kind.view)


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
    schema: Schema, parameters: dict[str, Any], latent_dim: int, encoder: Encoder, generator: torch.Generator
) -> LearnedPrior | None:
    """A learned prior; None for N(0, I)."""
    file = PRIORS[parameters.get("prior", "normal")]
    if file is None:
        return None
    is_nominal = schema.columns is not None or schema.kind.is_nominal
    asked = PriorRequest(
        latent_dim=latent_dim, n_components=parameters["n_prior_components"], generator=generator,
        encode=encoder.forward, covariance=parameters["covariance"], posterior=parameters["posterior"],
        event_shape=schema.event_shape, is_nominal=is_nominal,
        highest=None if is_nominal else schema.kind.highest(schema.n_categories),
    )  # fmt: skip
    return importlib.import_module(f"lowerbound.models.priors.{file}").PRIOR.make(asked)


def _missingness(schema: Schema, parameters: dict[str, Any]) -> SelfMasking | None:
    """The model of which entries are missing, if one was asked for."""
    if parameters.get("missingness") is None:
        return None
    if schema.likelihood != "gaussian":
        raise ValueError(f"missingness is for real values (likelihood='gaussian'), and these are {schema.likelihood!r}")
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
        missing = next(few.batches(len(few), noise)).missing
        if missing is not None:
            model.missingness.start(missing.float().mean(0))


def choose_posterior(inference: str, model: LatentModel, amortized: Amortized, n_steps: int) -> Posterior:
    """q(z|x) for rows that were not fitted: the encoder's, one for all, or one that is searched for each row."""
    if inference == "amortized":
        return amortized
    if inference == "refined":
        return Refined(amortized, model.draw, n_steps)
    if isinstance(model.learned_prior, LearnedPrior) and model.learned_prior.needs_encoder:
        raise ValueError(f"prior='vamp' is made of the encoder, which inference={inference!r} has not")
    if model.learned_prior is not None and inference != "mean_field":
        raise ValueError(f"inference={inference!r} needs prior='normal'")
    if isinstance(amortized.encoder.head, FlowHead):
        raise ValueError(f"posterior='flow' needs inference='amortized' or 'refined', not {inference!r}")
    if isinstance(amortized.encoder.head, GaussianHead) and amortized.encoder.head.covariance == "full":
        raise ValueError(f"covariance='full' needs an encoder; with inference={inference!r} use covariance='diagonal'")
    if inference == "shared":
        return Shared(model.latent_dim)
    prior = None if model.learned_prior is None else model.prior
    return Refined(StartAtPrior(model.latent_dim, prior), model.draw, n_steps)


def training_posterior(inference: str, model: LatentModel, posterior: Posterior, n_rows: int) -> Posterior:
    """q(z|x) for the rows that are fitted, some of which have numbers or a chain of their own."""
    if inference == "mean_field":
        return MeanField(n_rows, model.latent_dim, posterior)
    if inference == "mcem":
        return Chains(n_rows, model.latent_dim, model.log_joint, posterior)
    return posterior


def choose_network(schema: Schema, network: str) -> str:
    """The network that ``"auto"`` stands for."""
    if network == "conv" and not schema.is_image:
        raise ValueError(
            f"network='conv' needs images; the rows have shape {schema.row_shape}: "
            f"give image_shape=(height, width), or use network='mlp'"
        )
    if network != "auto":
        return network
    return "conv" if schema.is_image and min(schema.event_shape[1:]) >= CONV_MIN_SIDE else "mlp"


def choose_latent_dim(schema: Schema, latent_dim: int | str) -> int:
    """Half the features, from 2 to 32, when it is ``"auto"``."""
    return min(32, max(2, math.ceil(math.prod(schema.event_shape) / 2))) if latent_dim == "auto" else int(latent_dim)


def _networks(
    schema: Schema, parameters: dict[str, Any], seen: Tensor, posterior_head: GaussianHead | FlowHead,
    likelihood_head: LikelihoodHead, generator: torch.Generator,
) -> tuple[nn.Module, nn.Module]:  # fmt: skip
    network, n_features, n_parameters = (
        parameters["network"],
        posterior_head.n_features,
        likelihood_head.n_parameters,
    )
    latent_dim, shape = posterior_head.latent_dim, output_shape(schema, likelihood_head)
    has_gaps = schema.gaps or bool(parameters.get("input_dropout"))
    n_gaps = math.prod(schema.event_shape) if has_gaps else 0
    if not isinstance(network, str):
        encoder, decoder = network
        own_encoder = OwnEncoder(encoder, seen, n_features, generator, n_gaps)
        return own_encoder, OwnDecoder(decoder, latent_dim, shape, n_parameters)
    if choose_network(schema, network) == "conv":
        channels, height, width = schema.event_shape
        return (
            ConvEncoder((seen.shape[1], height, width), n_features, generator=generator, n_gaps=channels * has_gaps),
            ConvDecoder(latent_dim, (channels, height, width), n_parameters, generator=generator),
        )
    hidden: Sequence[int] = tuple(parameters["hidden_layer_sizes"])
    return (
        MLPEncoder(seen.shape[1:], n_features, hidden, parameters["activation"], generator, n_gaps),
        MLPDecoder(latent_dim, shape, n_parameters, hidden[::-1], parameters["activation"], generator),
    )


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


def choose_likelihood_head(schema: Schema, parameters: dict[str, Any]) -> LikelihoodHead:
    """The head that turns the decoder's numbers into p(x|z)."""
    scale, min_scale, n_logistics = parameters["scale"], parameters["min_scale"], parameters.get("n_logistics", 1)
    if schema.columns is None:
        return schema.kind.head(schema, scale=scale, min_scale=min_scale, n_components=n_logistics)
    if n_logistics > 1:
        raise ValueError(no_components(n_logistics, schema.likelihood, scale))
    return columns_head(schema.columns, scale, min_scale)
