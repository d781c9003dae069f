"""Several small autoencoders fitted to the same rows in the time of little more than one."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import _num_samples

from lowerbound.data.context import RowsGiven
from lowerbound.data.schema import Schema
from lowerbound.estimators.arguments import Data
from lowerbound.estimators.latent import CollapsedPosteriorWarning
from lowerbound.estimators.vae import VAE
from lowerbound.inference.objectives import of_members
from lowerbound.inference.posteriors import Amortized, MaskedInput
from lowerbound.models.vae import Decoder, Encoder, LatentModel
from lowerbound.nn.heads import GaussianHead
from lowerbound.nn.mlp import MLPDecoder, MLPEncoder
from lowerbound.nn.stacked import Decoders, Encoders
from lowerbound.outliers.criteria import trimmed
from lowerbound.outliers.member import few, fitted_to
from lowerbound.parameters import parts
from lowerbound.parameters.likelihoods import LIKELIHOODS, ColumnLikelihoods, Likelihood
from lowerbound.training.fit import run
from lowerbound.training.state import Training


def fitted_members(detector: Any, X: Data | RowsGiven, seed: int) -> list[VAE]:
    """The autoencoders of a detector: a fitted one that it was given, else some that are fitted to the rows.

    Parameters
    ----------
    detector : VAEOutlierDetector
        Its parameters say how many, and of what kind.
    X : array-like, Source or RowsGiven, shape (n, *row)
    seed : int
    """
    given = detector.estimator
    if given is not None and hasattr(given, "model_"):
        return [given]
    members, schema = untrained(detector, X, seed)
    if given is None:  # more rows would be more steps
        X = few(X, max(2, _n_steps(detector, schema) * int(members[0].batch_size)), seed)
    with warnings.catch_warnings():
        if given is None:  # a short training may leave the codes unused; the surprise remains
            warnings.simplefilter("ignore", CollapsedPosteriorWarning)
        if given is None and not schema.is_image:
            fit_together(members, X)
        else:
            for member in members:
                fitted_to(member, X)
    return members


def untrained(detector: Any, X: Data | RowsGiven, seed: int) -> tuple[list[VAE], Schema]:
    """The autoencoders of a detector for rows like ``X`` before they are fitted, with what a row is."""
    schema = _describe(detector, X)
    n = (1 if schema.is_image else 3) if detector.n_estimators == "auto" else int(detector.n_estimators)
    kinds = [detector.estimator]
    if detector.estimator is None:
        kinds = _own_kinds(detector, schema, _num_samples(X), _n_steps(detector, schema))
    members = [cast(VAE, clone(kinds[i % len(kinds)])) for i in range(n)]
    for member, state in zip(members, np.random.SeedSequence(seed).generate_state(n).tolist(), strict=True):
        member.set_params(random_state=state)
    return members, schema


def _n_steps(detector: Any, schema: Schema) -> int:
    """Steps of training of each default autoencoder."""
    return (2000 if schema.is_image else 400) if detector.n_steps == "auto" else int(detector.n_steps)


def _describe(detector: Any, X: Data | RowsGiven) -> Schema:
    """The schema of the rows, without warnings, which ``fit`` gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind = VAE(layout=detector.layout) if detector.estimator is None else detector.estimator
        return kind.describe(X.X if isinstance(X, RowsGiven) else X)


def _own_kinds(detector: Any, schema: Schema, n_rows: int, n_steps: int) -> list[VAE]:
    """The default autoencoders."""
    common = {name: getattr(detector, name) for name in ("layout", "device", "verbose")}
    common |= {"objective": parts.ELBO(trim_fraction=trimmed(detector))}
    return templates(schema, n_rows, n_steps, **common)


def fit_together(members: Sequence[VAE], X: Data | RowsGiven) -> None:
    """Fit all members to the rows of ``X``, as each would be alone, but with the same batches and hidden entries.

    They are plain ones, a multilayer perceptron each way, and differ in their seeds and in σ of p(x|z) alone; the
    first one's other parameters hold for all. Their ``history_`` is that of the mean over members.
    """
    rows, context = (X.X, X.context) if isinstance(X, RowsGiven) else (X, None)
    begun = [member.begin_fit(rows, context) for member in members]
    first, asked = begun[0], members[0].asked()
    model, posterior, stacks = side_by_side(members)
    training = Training(
        model, MaskedInput(posterior, asked.input_dropout) if asked.input_dropout else posterior,
        of_members(asked.objective.trim_fraction), first.training.settings, first.training.seed, first.training.device,
    )  # fmt: skip
    run(training, first.rows, verbose=bool(members[0].verbose))
    for stack in stacks:
        stack.copy_back()
    for member, own in zip(members, begun, strict=True):
        member.finish_fit(own._replace(training=training))


def side_by_side(members: Sequence[VAE]) -> tuple[LatentModel, Amortized, tuple[Encoders, Decoders]]:
    """A model and a posterior that hold those of all members; what has their weights hands them back."""
    encoders = [cast(Encoder, member.posterior_.encoder) for member in members]
    decoders = [cast(Decoder, cast(LatentModel, member.model_).decoder) for member in members]
    networks = [cast(MLPEncoder, encoder.network) for encoder in encoders]
    q = Encoders(networks, cast(GaussianHead, encoders[0].head))
    p = Decoders([cast(MLPDecoder, decoder.network) for decoder in decoders], [decoder.head for decoder in decoders])
    first = cast(LatentModel, members[0].model_)
    model = LatentModel(cast(Decoder, p), members[0].latent_dim_, first.log_unit, n_context=first.n_context)
    return model, Amortized(Encoder(encoders[0].inputs, q, _as_it_is)), (q, p)


def _as_it_is(q):
    return q


def templates(schema: Schema, n_rows: int, n_steps: int, **common: Any) -> list[VAE]:
    """Autoencoders for rows whose outliers are not to be learned, with some parameters in common.

    Parameters
    ----------
    schema : Schema
        Of the rows.
    n_rows, n_steps : int
        Rows, and steps of training.
    """
    batch_size = max(1, min(n_rows, 128, max(16, n_rows // 4)))
    common |= {"batch_size": batch_size, "max_epochs": max(1, round(n_steps * batch_size / max(1, n_rows)))}
    common |= {"optimizer": parts.Adam(5e-3), "early_stopping": False}
    if schema.is_image:
        return [VAE(**common)]
    common |= {"network": parts.MLP((64, 64)), "posterior": parts.Amortized(input_dropout=0.5)}
    return [VAE(likelihood=_likelihood(schema.likelihood, scale), **common) for scale in ("auto", "decoder", "auto")]


def _likelihood(name: str, scale: str) -> Likelihood | str:
    """p(x|z) with a scale, where it has one, that is not too small."""
    kind = {**LIKELIHOODS, "columns": ColumnLikelihoods}[name]
    wanted = {"scale": scale, "min_scale": 0.05}
    return kind(**{field: value for field, value in wanted.items() if field in kind.options()})
