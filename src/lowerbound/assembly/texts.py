"""From the schema of texts to a model and its posterior."""

from __future__ import annotations

import torch

from lowerbound.assembly.whole_sequence import LOG_SCALE_AT_START
from lowerbound.core import NoPosterior, Posterior
from lowerbound.data.context import ContextSchema
from lowerbound.data.texts import TextContext, TextSchema
from lowerbound.inference.posteriors import Amortized
from lowerbound.inference.reading import ReadingContext
from lowerbound.inference.residual import ResidualPosterior
from lowerbound.models.priors.context import ContextPrior
from lowerbound.models.texts import TextModel, start_from_frequencies
from lowerbound.models.vae import Encoder
from lowerbound.nn.heads import GaussianHead
from lowerbound.nn.initialization import linear
from lowerbound.nn.tokens import TokenDecoder, TokenReader


def assemble_texts(
    schema: TextSchema, context: ContextSchema | TextContext | None, latent_dim: int, hidden_size: int,
    token_dropout: float, generator: torch.Generator,
) -> tuple[TextModel, Posterior]:  # fmt: skip
    """The model p(x, z) of texts and q(z|x), with weights from ``generator``.

    Parameters
    ----------
    schema : TextSchema
    context : ContextSchema, TextContext or None
        What the model is given.
    latent_dim : int
        D; 0 for the same decoder without z.
    hidden_size : int
        H of the decoder; those that read texts and contexts have half as many.
    token_dropout : float
        As in ``TextModel``.
    generator : torch.Generator
    """
    D, H, vocabulary = latent_dim, hidden_size, schema.vocabulary
    K = vocabulary.n_tokens
    reader, n_context = None, 0
    if isinstance(context, TextContext):
        reader = token_reader(context.vocabulary.n_tokens, H, generator)
        n_context = reader.n_features
    elif context is not None:
        n_context = context.n_numbers
    decoder = TokenDecoder(K, D + n_context, embedding_size(K, H), H, generator)
    start_from_frequencies(decoder, torch.from_numpy(schema.frequencies).log())
    prior = ContextPrior(n_context, D, (), generator) if D and n_context else None
    log_known, log_unknown = vocabulary.log_known, vocabulary.log_unknown
    model = TextModel(decoder, D, K, log_known, log_unknown, reader, prior, token_dropout)
    if not D:
        return model, NoPosterior()
    inputs, head = token_reader(K, H, generator), GaussianHead(D, "diagonal")
    last = linear(inputs.n_features + n_context, head.n_features, generator)
    with torch.no_grad():
        last.bias[D:] = LOG_SCALE_AT_START
    encoder = Encoder(inputs, last, head)
    posterior = Amortized(encoder) if prior is None else ResidualPosterior(encoder, model.prior_of)
    return model, ReadingContext(posterior, model.read)


def token_reader(n_tokens: int, hidden_size: int, generator: torch.Generator) -> TokenReader:
    """A reader of tokens, the end and unknown tokens, with as many features as the decoder has hidden units."""
    n_units = max(1, hidden_size // 2)
    return TokenReader(n_tokens + 2, embedding_size(n_tokens, hidden_size), n_units, generator)


def embedding_size(n_tokens: int, hidden_size: int) -> int:
    """The size of an embedding: as many numbers as there are tokens, or half the hidden units."""
    return min(n_tokens + 2, max(1, hidden_size // 2))
