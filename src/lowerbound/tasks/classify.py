"""The class of a row under a model that is given it: p(c|x) ∝ p(x|c) p(c), by Bayes' rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from lowerbound.data.batches import RowsInMemory
from lowerbound.evaluation.bound import importance_weighted
from lowerbound.evaluation.evaluation import Evaluation

FEW = 8  # samples of each class at first
FAR = 20.0  # nats below the most probable class, and more: a probability below 2·10⁻⁹


@dataclass(frozen=True)
class ClassProbabilities:
    """p(c|x) of every row.

    Attributes
    ----------
    probability : ndarray, shape (n, K)
    standard_error : ndarray, shape (n, K)
        Of the estimate by importance sampling.
    """

    probability: np.ndarray
    standard_error: np.ndarray


def class_probabilities(each: Sequence[Evaluation], log_prior: np.ndarray, n_importance: int) -> ClassProbabilities:
    """p(c|x), log p(x|c) estimated by importance sampling.

    Its error is that of the logarithms L_k to first order, whose variance is 1/ESS − 1/n: ∂p_k/∂L_j = p_k (δ_kj − p_j).
    A few samples tell which classes come into question; the others, e²⁰ times less probable, get no more of them.

    Parameters
    ----------
    each : sequence of Evaluation
        The model given each of K classes, on the same rows.
    log_prior : ndarray, shape (K,)
        log p(c).
    n_importance : int
        Samples of q(z|x, c) for each row and class.
    """
    parts = [_probabilities(part, log_prior, n_importance) for part in zip(*(on.parts() for on in each), strict=True)]
    return ClassProbabilities(*(np.concatenate(found) for found in zip(*parts, strict=True)))


def _probabilities(
    each: Sequence[Evaluation], log_prior: np.ndarray, n_importance: int
) -> tuple[np.ndarray, np.ndarray]:
    """p(c|x) and its standard error, of rows in memory."""
    log_p, variance = _estimated(each, min(FEW, n_importance), log_prior)
    is_near = log_p > log_p.max(1, keepdims=True) - FAR
    is_near &= (is_near.sum(1, keepdims=True) > 1) & (n_importance > FEW)
    for k, rows in enumerate(is_near.T):
        if rows.any():
            part = each[k].rows
            assert isinstance(part, RowsInMemory)
            some = replace(each[k], rows=part.subset(torch.from_numpy(rows.nonzero()[0])))
            log_p[rows, k, None], variance[rows, k, None] = _estimated([some], n_importance, log_prior[k])
    p = np.exp(log_p - log_p.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    others = (p**2 * variance).sum(1, keepdims=True) - p**2 * variance
    return p, p * np.sqrt((1 - p) ** 2 * variance + others)


def _estimated(each: Sequence[Evaluation], n: int, log_prior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log p(x|c) p(c) from n samples, and the variance of its estimate; (N, K) each."""
    found = [importance_weighted(on, n) for on in each]
    log_p = np.stack([log_p.numpy() for log_p, _ in found], 1) + log_prior
    return log_p, np.stack([1 / ess.numpy() - 1 / n for _, ess in found], 1).clip(0)
