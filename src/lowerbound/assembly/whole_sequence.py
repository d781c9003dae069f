"""One z of a whole sequence or text: a posterior of it, and a bound that keeps it in use."""

from __future__ import annotations

import math

import torch

from lowerbound.inference.reading import ReadingSequence
from lowerbound.nn.heads import GaussianHead
from lowerbound.nn.initialization import linear
from lowerbound.nn.sequence import SequenceReader
from lowerbound.parameters.parts import ELBO

FREE_NATS = 5.0  # of all latent variables of a whole sequence or text together
WARMUP = 0.2  # of the steps
LOG_SCALE_AT_START = -2.0  # of q: z tells the decoder of the whole before the KL term has a weight


def bound_in_use(latent_dim: int, n_steps: int) -> ELBO:
    """The bound for one z of a whole sequence or text: its KL term rises over a fifth of the steps, five nats are free.

    The plain bound for ``latent_dim=0``: without such a z.
    """
    if not latent_dim:
        return ELBO()
    return ELBO(warmup_steps=math.ceil(WARMUP * n_steps), free_bits=FREE_NATS / latent_dim)


def reading_sequence(reader: SequenceReader, latent_dim: int, generator: torch.Generator) -> ReadingSequence:
    """q(z|x) of what a network reads of a sequence; narrow at first."""
    head = GaussianHead(latent_dim, "diagonal")
    layer = linear(reader.n_features, head.n_features, generator)
    with torch.no_grad():
        layer.bias[latent_dim:] = LOG_SCALE_AT_START
    return ReadingSequence(reader, layer, head)
