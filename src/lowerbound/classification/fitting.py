"""The fit of a VAE given a class to rows some of which have no label."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from lowerbound.assembly.vae import choose_encoder, choose_inputs
from lowerbound.core import Batch, Draw, Objective, ObjectiveState
from lowerbound.data.batches import RowsInMemory
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.estimators.arguments import Data
from lowerbound.estimators.vae import VAE
from lowerbound.evaluation.evaluation import EVALUATION_BATCH, evaluating
from lowerbound.models.classes import (
    ClassDraw,
    ClassModel,
    ClassPosterior,
    LogSoftmax,
    class_indicators,
    log_class,
)
from lowerbound.models.vae import Encoder, LatentModel
from lowerbound.training.fit import run
from lowerbound.training.state import Training

LABELED_ROWS = 100  # of a step, whose classes q(c|x) is told


def fit_with_labels(vae: VAE, X: Data, labels: Any, log_prior: np.ndarray, weight: float) -> Encoder:
    """Fit a VAE given the class, and q(c|x) with it.

    The loss of a row is −ELBO, in which the class of a row without label is summed out, and ``weight`` times the mean
    of −log q(c|x) over rows with a label (Kingma et al., 2014, arXiv:1406.5298, eq. 9).

    Parameters
    ----------
    vae : VAE
    X : array-like, shape (n, *row)
    labels : Series, shape (n,)
        The classes; None for rows without.
    log_prior : ndarray, shape (K,)
        log p(c), in the order of the VAE's categories.
    weight : float
        α.

    Returns
    -------
    Encoder
        x → log q(c|x).
    """
    begun = vae.begin_fit(X, labels)
    before, rows = begun.training, cast(RowsInMemory, begun.rows)
    log_p = torch.from_numpy(log_prior).float()
    classifier = new_classifier(vae, len(log_p))
    labeled = with_label(rows)
    if not len(labeled):
        raise ValueError("all rows with a label were held out: set early_stopping=False, or give more labels")

    def some(noise: Noise) -> Batch:
        u = noise.uniform((1, min(LABELED_ROWS, len(labeled))), log_p)[0]
        chosen = (u * len(labeled)).long()
        return labeled.batch(chosen, chosen, noise)

    posterior = ClassPosterior(classifier, before.posterior, log_p, some, len(labeled) / len(rows))
    training = Training(
        ClassModel(cast(LatentModel, vae.model_), log_p), posterior, with_label_loss(before.objective, weight),
        before.settings, before.seed, before.device,
    )  # fmt: skip
    run(training, rows, begun.validation, verbose=bool(vae.verbose))
    for some_rows in (rows, cast(RowsInMemory | None, begun.validation)):
        if some_rows is not None:
            noise = Noise(make_generator(vae.seed_, "classes", before.device))
            give_classes(some_rows, classifier, log_p, noise)
    vae.finish_fit(begun._replace(training=training))
    return classifier


def new_classifier(vae: VAE, n_classes: int) -> Encoder:
    """The network of q(c|x), of the kind that the encoder of q(z|x, c) is."""
    schema, generator = vae.schema_, make_generator(vae.seed_, "classifier")
    inputs = choose_inputs(schema)
    seen = inputs(torch.zeros(2, *schema.event_shape))
    network = choose_encoder(schema, vae.asked(), seen, n_classes, generator)
    return Encoder(inputs, network, cast(Any, LogSoftmax()))


def with_label(rows: RowsInMemory) -> RowsInMemory:
    """The rows whose class is known."""
    assert rows.context is not None
    return rows.subset(rows.context[:, :-1].any(1).nonzero()[:, 0].to(rows.raw.device))


def with_label_loss(objective: Objective, weight: float) -> Objective:
    """An objective, and ``weight`` times the loss of labels."""

    def loss(draw: Draw, state: ObjectiveState) -> Tensor:
        assert isinstance(draw, ClassDraw)
        return objective.loss(draw, state) + weight * draw.label_loss

    return replace(objective, loss=loss)


def give_classes(rows: RowsInMemory, classifier: Encoder, log_prior: Tensor, noise: Noise) -> None:
    """Let the context of rows without a label be their most probable class."""
    assert rows.context is not None
    found = []
    with evaluating(classifier):
        for batch in rows.batches(EVALUATION_BATCH, noise):
            label = class_indicators(batch)
            log_q = log_class(classifier, batch, log_prior)
            found.append(torch.where(label.any(1, keepdim=True), label, log_q).argmax(1))
    n_numbers, context = rows.context.shape[1], rows.context
    rows.context = torch.eye(n_numbers, dtype=context.dtype, device=context.device)[torch.cat(found)]
