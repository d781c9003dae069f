"""A model given a class that is known of some rows only: the class is one more latent variable, and summed out.

p(x) = Σ_c p(c) ∫ p(z) p(x|z, c) dz, with q(c, z|x) = q(c|x) q(z|x, c): the model M2 of Kingma, Rezende, Mohamed &
Welling, 2014, arXiv:1406.5298, section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from lowerbound.core import Batch, Draw, Infer, Model, Objective, Posterior
from lowerbound.distributions.noise import Noise
from lowerbound.models.vae import Encoder, LatentModel

KEPT_FROM = 0.1  # τ: less probable classes of a row are summed by chance in training


@dataclass
class ClassDraw(Draw):
    """A draw of z under the classes that a row may have; its terms are means over q(c|x), and count c in.

    Attributes
    ----------
    label_loss : Tensor, shape (B,)
        −log q(c|x) of labeled rows, in nats.
    """

    label_loss: Tensor = field(kw_only=True)
    log_pz: Tensor = field(kw_only=True)  # pyright: ignore[reportIncompatibleVariableOverride]
    log_qz: Tensor = field(kw_only=True)  # pyright: ignore[reportIncompatibleVariableOverride]
    kl: Tensor = field(kw_only=True)  # pyright: ignore[reportIncompatibleVariableOverride]


class ClassPosterior(Posterior):
    """q(c, z|x) = q(c|x) q(z|x, c).

    Parameters
    ----------
    classifier : Encoder
        x → log q(c|x), up to a constant, (B, K).
    code : Posterior
        q(z|x, c), for batches whose context is the class.
    log_prior : Tensor, shape (K,)
        log p(c).
    labeled : callable
        Noise → some of the training rows with a label, drawn anew for each step: they may be few among many.
    rate : float
        The part of the training rows that has a label.
    """

    keeps_rows = True  # the labeled ones

    def __init__(
        self, classifier: Encoder, code: Posterior, log_prior: Tensor, labeled: Callable[[Noise], Batch], rate: float
    ) -> None:
        super().__init__()
        self.classifier: Encoder
        self.code: Posterior
        self.labeled: Callable[[Noise], Batch]
        self.rate: float
        self.classifier, self.code, self.labeled, self.rate = classifier, code, labeled, rate
        self.log_prior: Tensor
        self.register_buffer("log_prior", log_prior, persistent=False)

    def forward(self, batch: Batch, noise: Noise | None = None) -> Any:
        """q(z|x, c) for rows whose context is the class."""
        return self.code(batch, noise)

    def log_class(self, batch: Batch) -> Tensor:
        """log q(c|x), (B, K); log p(c) for a row of which nothing is observed."""
        return log_class(self.classifier, batch, self.log_prior)

    def label_loss(self, batch: Batch, log_q: Tensor, noise: Noise) -> Tensor:
        """The mean of −log q(c|x) over labeled rows, estimated: in training from some of all, else from the batch's."""
        if self.training:
            some = self.labeled(noise)
            loss = -(class_indicators(some) * self.log_class(some)).sum(-1).mean()
            return loss.expand(len(batch.x))
        return -(class_indicators(batch) * log_q).sum(-1) / self.rate


class ClassModel(Model):
    """p(c) p(z) p(x|z, c), where the context of a row says its class, or that it isn't known.

    Parameters
    ----------
    model : LatentModel
        p(z) p(x|z, c), given a context of K indicators of the class and one of "not known".
    log_prior : Tensor, shape (K,)
        log p(c).
    """

    def __init__(self, model: LatentModel, log_prior: Tensor) -> None:
        super().__init__()
        self.model: LatentModel
        self.model = model
        self.log_prior: Tensor
        self.register_buffer("log_prior", log_prior, persistent=False)

    def penalty(self) -> Tensor | float:
        """The penalty of the model given a class."""
        return self.model.penalty()

    def draw(self, batch: Batch, posterior: Infer, objective: Objective, noise: Noise) -> Draw:
        """Draw z under the class of each row; where it isn't known under all classes, in training under some."""
        assert isinstance(posterior, ClassPosterior)
        log_q = posterior.log_class(batch)
        label_loss = posterior.label_loss(batch, log_q, noise)
        label = class_indicators(batch)
        known = label.sum(-1, keepdim=True) > 0
        q = torch.where(known, label, log_q.exp())
        log_q = torch.where(known, label.log().clamp_min(torch.finfo(q.dtype).min), log_q)
        weight = some_classes(q, noise) if posterior.training else q
        is_best = torch.zeros_like(q, dtype=torch.bool).scatter(-1, q.argmax(-1, keepdim=True), True)
        rows, classes = (is_best | (weight > 0)).nonzero(as_tuple=True)
        draw = self.model.draw(under_class(batch, rows, classes), posterior, objective, noise)
        weight, log_p = weight[rows, classes], self.log_prior.to(q)

        def mean(each: Tensor) -> Tensor:
            """From (…, pairs of a row and a class) to the mean over q(c|x), (…, B): f_best + Σ_c q_c (f_c − f_best)."""
            of_best = each[..., is_best[rows, classes]]
            return of_best.index_add(-1, rows, weight.to(each) * (each - of_best[..., rows]))

        return ClassDraw(
            draw.z, mean(draw.log_px), draw.prior, draw.posterior, draw.density, batch.share, label_loss=label_loss,
            log_pz=mean(draw.log_pz + log_p[classes]), log_qz=mean(draw.log_qz + log_q[rows, classes]),
            kl=torch.cat([mean(draw.kl.mT).mT, (q * (log_q - log_p)).sum(-1, keepdim=True)], -1),
        )  # fmt: skip


def some_classes(q: Tensor, noise: Noise) -> Tensor:
    """Weights whose expectation is q, most of them 0, so that few classes need be decoded.

    A class has the weight q_c if q_c ≥ τ, and else τ with probability q_c/τ: of a row whose class is clear hardly more
    than one is expected to have a weight, and of any row at most 1/τ.

    Parameters
    ----------
    q : Tensor, shape (B, K)
        q(c|x).
    """
    p = q.detach()
    chance = (p / KEPT_FROM).clamp(torch.finfo(p.dtype).tiny, 1)
    return torch.where(noise.uniform((1, *p.shape), p)[0] < chance, q / chance, 0)


def log_class(classifier: Encoder, batch: Batch, log_prior: Tensor) -> Tensor:
    """log q(c|x) by a network, (B, K); log p(c), (K,), for a row of which nothing is observed."""
    log_q: Any = classifier(batch.x, None if batch.complete else batch.mask, batch.missing)
    if batch.missing is None:
        return log_q
    return torch.where(batch.mask.flatten(1).any(1, keepdim=True), log_q, log_prior.to(log_q))


def class_indicators(batch: Batch) -> Tensor:
    """1 at the class of each row, zeros where it isn't known, (B, K)."""
    assert batch.context is not None
    return batch.context[:, :-1]


def under_class(batch: Batch, rows: Tensor, classes: Tensor) -> Batch:
    """Some rows of a batch, maybe several times, each given a class; shapes (P,)."""
    assert batch.context is not None
    missing = None if batch.missing is None else batch.missing[rows]
    context = torch.eye(batch.context.shape[1], dtype=batch.context.dtype, device=batch.context.device)[classes]
    index = batch.index[rows.to(batch.index.device)]
    return replace(batch, x=batch.x[rows], mask=batch.mask[rows], index=index, missing=missing, context=context)


class LogSoftmax(nn.Module):
    """The head of a classifier."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, K) → log q(c|x)."""
        return features.log_softmax(-1)
