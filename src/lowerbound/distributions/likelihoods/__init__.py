"""Distributions over data, one file each: p(x|z) of an entry, its network head, and the data that it describes.

Their parameters have shape ``(S, B, *event)``, and ``log_prob`` keeps that shape until ``event_sum``. Which file is
which likelihood's is a row of ``parameters.likelihoods``.
"""

from lowerbound.distributions.likelihoods.bernoulli import Bernoulli, BernoulliHead
from lowerbound.distributions.likelihoods.categorical import Categorical, CategoricalHead
from lowerbound.distributions.likelihoods.discretized_logistic import (
    LOGISTIC_FLOOR,
    N_GREY_LEVELS,
    DiscretizedLogistic,
    DiscretizedLogisticHead,
    DiscretizedLogisticMixture,
    DiscretizedLogisticMixtureHead,
)
from lowerbound.distributions.likelihoods.kind import Features, LikelihoodError, LikelihoodKind
from lowerbound.distributions.likelihoods.likelihood import (
    AveragedByMean,
    CodedLikelihood,
    Likelihood,
    LikelihoodHead,
    event_sum,
)
from lowerbound.distributions.likelihoods.normal import Normal, NormalHead
from lowerbound.distributions.likelihoods.scale import Scale

__all__ = [
    "LOGISTIC_FLOOR",
    "N_GREY_LEVELS",
    "AveragedByMean",
    "Bernoulli",
    "BernoulliHead",
    "Categorical",
    "CategoricalHead",
    "CodedLikelihood",
    "DiscretizedLogistic",
    "DiscretizedLogisticHead",
    "DiscretizedLogisticMixture",
    "DiscretizedLogisticMixtureHead",
    "Features",
    "Likelihood",
    "LikelihoodError",
    "LikelihoodHead",
    "LikelihoodKind",
    "Normal",
    "NormalHead",
    "Scale",
    "event_sum",
]
