"""The class of a row under a model that is given it: p(c|x) ∝ p(x|c) p(c), by Bayes' rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lowerbound.evaluation.bound import importance_weighted
from lowerbound.evaluation.evaluation import Evaluation


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

    Parameters
    ----------
    each : sequence of Evaluation
        The model given each of K classes, on the same rows.
    log_prior : ndarray, shape (K,)
        log p(c).
    n_importance : int
        Samples of q(z|x, c) for each row and class.
    """
    found = [importance_weighted(on, n_importance) for on in each]
    log_p = np.stack([log_p.numpy() for log_p, _ in found], 1) + log_prior
    variance = np.stack([1 / ess.numpy() - 1 / n_importance for _, ess in found], 1).clip(0)
    p = np.exp(log_p - log_p.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    others = (p**2 * variance).sum(1, keepdims=True) - p**2 * variance
    return ClassProbabilities(p, p * np.sqrt((1 - p) ** 2 * variance + others))
