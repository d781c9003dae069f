"""From the schema of the steps of sequences to a recurrent model and its posterior."""

from __future__ import annotations

import math

import torch
from torch import nn

from lowerbound.assembly.vae import (
    choose_inputs,
    choose_likelihood_head,
    log_unit_of,
    objective_of,
    output_bias,
    output_shape,
)
from lowerbound.assembly.whole_sequence import reading_sequence
from lowerbound.core import NoPosterior, Objective, Posterior
from lowerbound.data.columns.coding import numbers_of_atoms
from lowerbound.data.schema import Schema
from lowerbound.distributions.likelihoods.bernoulli import BernoulliHead
from lowerbound.distributions.likelihoods.likelihood import LikelihoodHead
from lowerbound.inference.objectives import trimmed
from lowerbound.inference.residual import ResidualPosterior
from lowerbound.inference.smoothing import SmoothingPosterior
from lowerbound.models.masked import MaskedModel
from lowerbound.models.priors.context import ContextPrior
from lowerbound.models.sequence import SequenceModel, by_step
from lowerbound.models.state_space import StateSpaceModel
from lowerbound.models.vae import Decoder, Encoder, LatentModel
from lowerbound.models.whole_sequence import WholeSequenceModel
from lowerbound.nn.columns import ColumnsHead
from lowerbound.nn.heads import GaussianHead
from lowerbound.nn.last import LastValues, WithLast, WithoutEnd
from lowerbound.nn.masked import MaskedMLP
from lowerbound.nn.mlp import MLPDecoder, MLPEncoder
from lowerbound.nn.sequence import BackwardGRU, PastGRU, SequenceReader, goes_on
from lowerbound.nn.transition import Transition
from lowerbound.parameters.likelihoods import Likelihood
from lowerbound.parameters.parts import ELBO, IWAE, SampledELBO

ACTIVATION = "silu"
UNITS_A_COLUMN = 4  # hidden units of a masked network


def assemble_recurrent(
    schema: Schema, likelihood: Likelihood | str, latent_dim: int, hidden_size: int, mean_length: float | None,
    dropout: float, generator: torch.Generator, *, latents: str = "steps", chain: bool = False,
    head: str = "independent", reads_last: bool = True,
) -> tuple[SequenceModel, Posterior]:  # fmt: skip
    """The model p(x, z) of sequences and q(z_t|d_t, x_t), or q(z|x), with weights from ``generator``.

    Parameters
    ----------
    schema : Schema
        Of the steps.
    likelihood : Likelihood or str
        p(x_t|d_t, z_t): a part, or "auto".
    latent_dim : int
        D of each step, or of each sequence; 0 for the same decoder without z.
    hidden_size : int
        H of the recurrence, and hidden units of the networks of a step.
    mean_length : float or None
        Mean number of steps, where the model is to say where sequences end; None where the length is given.
    dropout : float
        Share of the numbers of h_t that is set to 0 in training, and half that share of those that are read of x_<t.
    generator : torch.Generator
    latents : {"steps", "sequence"}
        A z at every step, or one of the whole sequence.
    chain : bool
        z_t also depends on z_{t−1}.
    head : {"independent", "masked"}
        The columns of a step are independent given d_t and z_t, or each depends on those before it.
    reads_last : bool
        d_t has the last values of the columns; not in models of 0 and 1 that were saved by earlier versions.
    """
    D, H = latent_dim, hidden_size
    inputs = choose_inputs(schema)
    n_inputs = inputs(torch.zeros(2, *schema.event_shape)).flatten(1).shape[1]
    n_gaps = schema.event_shape[0] if schema.gaps else 0
    last = _last_values(schema) if reads_last else LastValues()
    past = PastGRU(inputs, n_inputs, H, generator, n_gaps, last)
    C, n_unread = past.hidden_size, len(last.categories)
    R = C - n_unread  # that p(z|d_t) and q read of d_t: if they read last categories, z is soon of no use
    likelihood_head = choose_likelihood_head(schema, likelihood)
    shape, P = output_shape(schema, likelihood_head), likelihood_head.n_parameters
    decoder = MLPDecoder(D + C, shape, P, (H,), ACTIVATION, generator)
    with torch.no_grad():
        decoder.bias.copy_(output_bias(schema, likelihood_head))
    of_step = latents == "steps"
    prior = ContextPrior(R, D, (H,), generator) if D and of_step and not chain else None
    network = _with_last(decoder, last, P * math.prod(shape), likelihood_head, schema) if last.n_values else decoder
    step = LatentModel(Decoder(network, likelihood_head), D, log_unit_of(schema), prior, n_context=C)
    step = step if head == "independent" else _masked(schema, step, generator)
    ends = None if mean_length is None else goes_on(C, math.log(max(mean_length - 1, 0.01)))
    if chain:
        model = StateSpaceModel(past, step, Transition(R, D, H, generator), ends, dropout)
        backward = BackwardGRU(n_inputs + n_gaps + R, H, generator)
        return model, SmoothingPosterior(inputs, backward, Transition(H, D, H, generator), n_gaps)
    if not of_step:
        reader = SequenceReader(inputs, n_inputs, H, generator, n_gaps)
        return WholeSequenceModel(past, step, ends, dropout), reading_sequence(reader, D, generator)
    model = SequenceModel(past, step, ends, dropout)
    if not D:
        return model, NoPosterior()
    network = MLPEncoder((n_inputs + R,), 2 * D, (H,), ACTIVATION, generator, n_gaps)
    network = WithoutEnd(network, n_unread) if n_unread else network
    return model, ResidualPosterior(Encoder(inputs, network, GaussianHead(D, "diagonal")), step.prior_of)


def _last_values(schema: Schema) -> LastValues:
    """The columns whose last values tell of the next ones: all but grey levels and numbers that aren't standardized."""
    columns = schema.columns or ()
    if not columns and schema.likelihood in ("bernoulli", "categorical"):
        counted = schema.counted.nonzero()[0].tolist()
        K = max(2, schema.n_categories)
        return LastValues(categories=counted, n_shown=[K] * len(counted), all_seen=True)
    numbers = (schema.in_deviations & schema.counted).nonzero()[0].tolist()
    categories = [i for i, column in enumerate(columns) if column.has_categories]
    n_shown = [columns[i].n_common + (columns[i].n_rare > 0) for i in categories]
    return LastValues(numbers, numbers_of_atoms(columns, numbers), categories, n_shown)


def _with_last(decoder: nn.Module, last: LastValues, n_outputs: int, head: LikelihoodHead, schema: Schema) -> WithLast:
    """A decoder whose output is also told by the last values."""
    columns, places, F = list(schema.columns or ()), last.categories.tolist(), schema.event_shape[0]
    if isinstance(head, ColumnsHead):
        logits = [head.logits[i] for i in places]
    elif isinstance(head, BernoulliHead):  # the only logit is that of 1
        logits = [{1: i} for i in places]
    else:
        logits = [{k: k * F + i for k in range(head.n_parameters)} for i in places]
    return WithLast(decoder, last, n_outputs, logits, [bool(columns) and columns[i].kind == "ordinal" for i in places])


def _masked(schema: Schema, step: LatentModel, generator: torch.Generator) -> MaskedModel:
    """The same model of a step with columns that depend on those before them."""
    if not isinstance(step.decoder.head, BernoulliHead):
        raise ValueError("columns that depend on each other are 0 or 1: leave head='independent'")
    if schema.gaps:
        raise ValueError("columns that depend on each other have to be observed: fill the gaps, or head='independent'")
    n_columns, n_context = schema.event_shape[0], step.latent_dim + step.n_context
    network = MaskedMLP(n_columns, n_context, max(step.n_context, UNITS_A_COLUMN * n_columns), generator)
    counted = torch.from_numpy(schema.counted)
    return MaskedModel(step.decoder, network, counted, step.latent_dim, step.learned_prior, step.n_context)


def objective_of_steps(part: ELBO | SampledELBO | IWAE) -> Objective:
    """The loss of sequences, that of their steps added up; importance weights are those of each step."""
    share = part.trim_fraction
    return trimmed(by_step(objective_of(part.replaced(trim_fraction=0.0))), share)
