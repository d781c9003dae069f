"""From a schema and the estimator's parameters to a model and its posterior."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lowerbound.assembly.columns import column_inputs, columns_head
from lowerbound.core import Posterior
from lowerbound.data.batches import Rows
from lowerbound.data.schema import Schema
from lowerbound.distributions.likelihoods import N_GREY_LEVELS, DiscretizedLogistic
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.inference.mcmc import Chains
from lowerbound.inference.posteriors import Amortized, MeanField, Refined, Shared, StartAtPrior
from lowerbound.models.missingness import SelfMasking
from lowerbound.models.priors import FlowPrior, MixturePrior, VampPrior
from lowerbound.models.vae import Decoder, Encoder, LatentModel, OwnDecoder, OwnEncoder
from lowerbound.nn.columns import ColumnsHead
from lowerbound.nn.conv import ConvDecoder, ConvEncoder
from lowerbound.nn.flows import FlowHead
from lowerbound.nn.heads import (
    BernoulliHead,
    CategoricalHead,
    DiscretizedLogisticHead,
    DiscretizedLogisticMixtureHead,
    GaussianHead,
    LikelihoodHead,
    NormalHead,
    Scale,
)
from lowerbound.nn.inputs import Center, OneHot, Standardized, Values
from lowerbound.nn.mlp import MLPDecoder, MLPEncoder

CONV_MIN_SIDE = 16
LOGISTIC_FLOOR = DiscretizedLogistic.BIN / 8  # narrower than this, a grey level's bin holds all the mass


def assemble(
    schema: Schema, parameters: dict, latent_dim: int, generator: torch.Generator
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


def choose_posterior_head(parameters: dict, latent_dim: int, generator: torch.Generator) -> GaussianHead | FlowHead:
    """What the encoder's features mean."""
    covariance, prior = parameters["covariance"], parameters.get("prior", "normal")
    if parameters.get("posterior", "gaussian") == "gaussian":
        return GaussianHead(latent_dim, covariance)
    if covariance != "diagonal":
        raise ValueError(f"posterior='flow' bends a Gaussian with a diagonal covariance, not covariance={covariance!r}")
    if prior == "vamp":
        raise ValueError("prior='vamp' is made of Gaussians: with posterior='flow' use prior='mixture' or 'flow'")
    return FlowHead(latent_dim, generator)


def choose_inputs(schema: Schema) -> nn.Module:
    """What a network sees of x."""
    if schema.columns is not None:
        return column_inputs(schema.columns)
    views: dict[str, nn.Module] = {"categorical": OneHot(schema.n_categories), "discretized_logistic": Center()}
    return views.get(schema.likelihood, Standardized() if schema.is_standardized else Values())


def output_shape(schema: Schema, head: LikelihoodHead) -> tuple[int, ...]:
    """Of the decoder's numbers, of which there are ``head.n_parameters`` arrays."""
    return schema.event_shape if head.parameter_shape is None else head.parameter_shape


def output_bias(schema: Schema, head: LikelihoodHead) -> Tensor:
    """Where they start: at what the features are like without regard to each other."""
    return head.start[None] if isinstance(head, ColumnsHead) else schema.output_bias(head.n_parameters)


def log_unit_of(schema: Schema) -> Tensor | None:
    """log of the user's units in one unit of x, shape (*event); None where x is discrete."""
    return torch.from_numpy(np.log(schema.unit)).float() if schema.likelihood == "gaussian" else None


def _prior(
    schema: Schema, parameters: dict, latent_dim: int, encoder: Encoder, generator: torch.Generator
) -> nn.Module | None:
    """A learned prior; None for N(0, I)."""
    kind, n_components = parameters.get("prior", "normal"), parameters.get("n_prior_components", 0)
    if kind == "normal":
        return None
    if kind == "mixture":
        return MixturePrior(n_components, latent_dim, generator)
    if kind == "flow":
        return FlowPrior(latent_dim, generator)
    if schema.likelihood in ("categorical", "columns") or parameters["covariance"] == "full":
        what = "covariance='full'" if parameters["covariance"] == "full" else "categories"
        raise ValueError(f"prior='vamp' can't be used with {what}: use prior='mixture'")
    highest = {"bernoulli": 1.0, "discretized_logistic": N_GREY_LEVELS - 1.0}.get(schema.likelihood)
    return VampPrior(encoder.forward, (n_components, *schema.event_shape), generator, highest)


def _missingness(schema: Schema, parameters: dict) -> SelfMasking | None:
    """Which entries hide themselves."""
    if parameters.get("missingness") is None:
        return None
    if schema.likelihood != "gaussian":
        raise ValueError(f"missingness is for real values (likelihood='gaussian'), and these are {schema.likelihood!r}")
    if not schema.gaps:
        raise ValueError("missingness is a model of what is missing, and nothing is: leave missingness=None")
    return SelfMasking(schema.event_shape)


def start_from_rows(model: LatentModel, rows: Rows, n_components: int, seed: int, noise: Noise) -> None:
    """Let pseudo-inputs begin as rows of the data, and a model of the mask with how often entries are missing."""
    if isinstance(model.learned_prior, VampPrior):
        few = rows.few(100 * n_components)
        some = few.subset(torch.randperm(len(few), generator=make_generator(seed, "pseudo-inputs"))[:n_components])
        model.learned_prior.start_from(next(some.batches(len(some), noise)).x.cpu())
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
    if isinstance(model.learned_prior, VampPrior):
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
    """What ``"auto"`` stands for."""
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
    schema: Schema, parameters: dict, seen: Tensor, posterior_head: GaussianHead | FlowHead,
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
    """Of the many indicators of a column one is 1: weights for so many inputs would all but lose the row, and q(z|x).

    With bounds of ±1/√columns instead of ±1/√inputs, as much of a row arrives as of so many standardized numbers.
    """
    if schema.columns is None:
        return
    assert isinstance(first, nn.Linear)
    with torch.no_grad():
        first.weight *= math.sqrt(first.in_features / len(schema.columns))


def choose_likelihood_head(schema: Schema, parameters: dict) -> LikelihoodHead:
    """What the decoder's numbers for an entry mean."""
    scale, n_logistics = parameters["scale"], parameters.get("n_logistics", 1)
    if n_logistics > 1 and (schema.likelihood != "discretized_logistic" or scale not in ("auto", "decoder")):
        raise ValueError(
            f"n_logistics={n_logistics} is for bytes with a scale from the decoder (likelihood='discretized_logistic', "
            f"scale='auto'); here likelihood={schema.likelihood!r} and scale={scale!r}"
        )
    if schema.columns is not None:
        return columns_head(schema.columns, scale, parameters["min_scale"])
    if schema.likelihood in ("bernoulli", "categorical"):
        if scale != "auto":
            raise ValueError(f"likelihood={schema.likelihood!r} has no scale; leave scale='auto'")
        return BernoulliHead() if schema.likelihood == "bernoulli" else CategoricalHead(schema.n_categories)
    if schema.likelihood == "gaussian":
        return NormalHead(_normal_scale(schema, "feature" if scale == "auto" else scale, parameters["min_scale"]))
    scale_of_logistic = _logistic_scale(schema, "decoder" if scale == "auto" else scale)
    if n_logistics > 1:
        return DiscretizedLogisticMixtureHead(scale_of_logistic, torch.from_numpy(schema.spread).float(), n_logistics)
    return DiscretizedLogisticHead(scale_of_logistic)


def _normal_scale(schema: Schema, scale: str | float, min_scale: float) -> Scale:
    """σ in the model's units; a number is in the user's."""
    spread = torch.from_numpy(schema.spread).float()
    if scale == "unit":
        return Scale("fixed", torch.ones(()), torch.zeros(()))
    if not isinstance(scale, str):
        return Scale("fixed", torch.from_numpy(scale / schema.unit).float(), torch.zeros(()))
    initial = spread[torch.from_numpy(schema.counted)].mean() if scale == "shared" else spread
    return Scale("decoder" if scale == "decoder" else "learned", initial, min_scale * initial)


def _logistic_scale(schema: Schema, scale: str | float) -> Scale:
    """s on the scale where the 256 grey levels run from −1 to 1; a number is a standard deviation πs/√3 of them."""
    if scale == "unit":
        raise ValueError(
            "scale='unit' is for the Gaussian; for likelihood='discretized_logistic' "
            "give a number of grey levels, or 'shared', 'feature' or 'decoder'"
        )
    floor = torch.tensor(LOGISTIC_FLOOR)
    if not isinstance(scale, str):
        return Scale("fixed", torch.tensor(scale * DiscretizedLogistic.BIN * math.sqrt(3) / math.pi), floor)
    spread = torch.from_numpy(schema.spread).float() * math.sqrt(3) / math.pi  # a logistic has sd πs/√3
    initial = spread.mean() if scale == "shared" else spread
    return Scale("decoder" if scale == "decoder" else "learned", initial.clamp_min(0.02), floor)
