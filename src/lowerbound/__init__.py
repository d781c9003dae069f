"""Practical variational autoencoders: generate, find outliers, fill gaps, represent."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lowerbound import diagnostics
    from lowerbound.classification.classifier import VAEClassifier
    from lowerbound.compression.bits_back import NotCodableError
    from lowerbound.compression.container import CompressedFileError
    from lowerbound.compression.files import Compressed, compress
    from lowerbound.core import Batch, ElementwiseModel, ExplicitModel, Model, Objective, Posterior
    from lowerbound.data.checks import DataError
    from lowerbound.data.columns.coding import UnseenCategoryWarning
    from lowerbound.data.far import FarFromFittedWarning
    from lowerbound.data.readers.read import read, stream
    from lowerbound.data.schema import ConstantFeatureWarning
    from lowerbound.data.sequences import Sequences
    from lowerbound.data.sources import Dataset
    from lowerbound.data.texts import dialogue_pairs
    from lowerbound.distributions.likelihoods.kind import LikelihoodError
    from lowerbound.estimators.autoencoder import Autoencoder
    from lowerbound.estimators.factorized import Factorized
    from lowerbound.estimators.fitted import Fitted
    from lowerbound.estimators.gaussian import Gaussian
    from lowerbound.estimators.gradient import WorseThanIndependentWarning
    from lowerbound.estimators.latent import CollapsedPosteriorWarning
    from lowerbound.estimators.mixture import Mixture
    from lowerbound.estimators.pixel_rnn import PixelRNN
    from lowerbound.estimators.ppca import PPCA, FactorAnalysis
    from lowerbound.estimators.rbm import RBM, AnnealingWarning
    from lowerbound.estimators.vae import VAE
    from lowerbound.evaluation.annealing import UnreliableEstimateWarning
    from lowerbound.evaluation.estimate import Estimate, bits_per_dim
    from lowerbound.imputation.imputer import VAEImputer
    from lowerbound.imputation.pooling import PooledEstimate, pool
    from lowerbound.loading import decompress, load
    from lowerbound.outliers.detector import VAEOutlierDetector
    from lowerbound.outliers.pyod import PyODDetector
    from lowerbound.parameters.likelihoods import (
        BernoulliLikelihood,
        CategoricalLikelihood,
        ColumnLikelihoods,
        DiscretizedLogistic,
        GaussianLikelihood,
    )
    from lowerbound.parameters.parts import (
        ELBO,
        IWAE,
        MCEM,
        MLP,
        Adam,
        Amortized,
        Conv,
        EarlyStopping,
        FlowPosterior,
        GaussianNoise,
        KLPenalty,
        L1Penalty,
        Ladder,
        MaskingNoise,
        MeanField,
        SampledELBO,
        Shared,
    )
    from lowerbound.parameters.priors import (
        ContextPrior,
        FlowPrior,
        MixturePrior,
        NormalPrior,
        VampPrior,
    )
    from lowerbound.parameters.tokens import BPE
    from lowerbound.sequences.recurrent import RecurrentVAE
    from lowerbound.sequences.sequence_vae import SequenceVAE
    from lowerbound.sequences.writing import Continuation
    from lowerbound.storage.atomic import SavedFileError
    from lowerbound.synthesis.conditions import ConditionError
    from lowerbound.synthesis.synthesize import Synthetic, synthesize
    from lowerbound.training.fit import fit
    from lowerbound.training.state import TrainingError
    from lowerbound.web.server import explore

__version__ = "0.1.0"

_HOMES = {
    "Batch": "core.batch",
    "ElementwiseModel": "core.model",
    "ExplicitModel": "core.explicit",
    "Fitted": "estimators.fitted",
    "Model": "core.model",
    "Objective": "core.draw",
    "Posterior": "core.draw",
    "fit": "training.fit",
    "VAE": "estimators.vae",
    "VAEClassifier": "classification.classifier",
    "VAEImputer": "imputation.imputer",
    "PooledEstimate": "imputation.pooling",
    "pool": "imputation.pooling",
    "Autoencoder": "estimators.autoencoder",
    "Factorized": "estimators.factorized",
    "Gaussian": "estimators.gaussian",
    "Mixture": "estimators.mixture",
    "PPCA": "estimators.ppca",
    "FactorAnalysis": "estimators.ppca",
    "PixelRNN": "estimators.pixel_rnn",
    "VAEOutlierDetector": "outliers.detector",
    "PyODDetector": "outliers.pyod",
    "RBM": "estimators.rbm",
    "RecurrentVAE": "sequences.recurrent",
    "SequenceVAE": "sequences.sequence_vae",
    "Continuation": "sequences.writing",
    "Sequences": "data.sequences",
    "dialogue_pairs": "data.texts",
    "BPE": "parameters.tokens",
    "AnnealingWarning": "estimators.rbm",
    "CollapsedPosteriorWarning": "estimators.latent",
    "WorseThanIndependentWarning": "estimators.gradient",
    "UnreliableEstimateWarning": "evaluation.annealing",
    "load": "loading",
    "compress": "compression.files",
    "decompress": "loading",
    "Compressed": "compression.files",
    "CompressedFileError": "compression.container",
    "NotCodableError": "compression.bits_back",
    "Estimate": "evaluation.estimate",
    "bits_per_dim": "evaluation.estimate",
    "read": "data.readers.read",
    "stream": "data.readers.read",
    "Dataset": "data.sources",
    "DataError": "data.checks",
    "LikelihoodError": "distributions.likelihoods.kind",
    "ConstantFeatureWarning": "data.schema",
    "FarFromFittedWarning": "data.far",
    "UnseenCategoryWarning": "data.columns.coding",
    "SavedFileError": "storage.atomic",
    "ConditionError": "synthesis.conditions",
    "Synthetic": "synthesis.synthesize",
    "synthesize": "synthesis.synthesize",
    "TrainingError": "training.state",
    "explore": "web.server",
    "Adam": "parameters.parts",
    "Amortized": "parameters.parts",
    "Conv": "parameters.parts",
    "ELBO": "parameters.parts",
    "EarlyStopping": "parameters.parts",
    "FlowPosterior": "parameters.parts",
    "GaussianNoise": "parameters.parts",
    "IWAE": "parameters.parts",
    "KLPenalty": "parameters.parts",
    "L1Penalty": "parameters.parts",
    "Ladder": "parameters.parts",
    "MCEM": "parameters.parts",
    "MLP": "parameters.parts",
    "MaskingNoise": "parameters.parts",
    "MeanField": "parameters.parts",
    "SampledELBO": "parameters.parts",
    "Shared": "parameters.parts",
    "BernoulliLikelihood": "parameters.likelihoods",
    "CategoricalLikelihood": "parameters.likelihoods",
    "ColumnLikelihoods": "parameters.likelihoods",
    "DiscretizedLogistic": "parameters.likelihoods",
    "GaussianLikelihood": "parameters.likelihoods",
    "ContextPrior": "parameters.priors",
    "FlowPrior": "parameters.priors",
    "MixturePrior": "parameters.priors",
    "NormalPrior": "parameters.priors",
    "VampPrior": "parameters.priors",
}

__all__ = [
    "BPE",
    "ELBO",
    "IWAE",
    "MCEM",
    "MLP",
    "PPCA",
    "RBM",
    "VAE",
    "Adam",
    "Amortized",
    "AnnealingWarning",
    "Autoencoder",
    "Batch",
    "BernoulliLikelihood",
    "CategoricalLikelihood",
    "CollapsedPosteriorWarning",
    "ColumnLikelihoods",
    "Compressed",
    "CompressedFileError",
    "ConditionError",
    "ConstantFeatureWarning",
    "ContextPrior",
    "Continuation",
    "Conv",
    "DataError",
    "Dataset",
    "DiscretizedLogistic",
    "EarlyStopping",
    "ElementwiseModel",
    "Estimate",
    "ExplicitModel",
    "FactorAnalysis",
    "Factorized",
    "FarFromFittedWarning",
    "Fitted",
    "FlowPosterior",
    "FlowPrior",
    "Gaussian",
    "GaussianLikelihood",
    "GaussianNoise",
    "KLPenalty",
    "L1Penalty",
    "Ladder",
    "LikelihoodError",
    "MaskingNoise",
    "MeanField",
    "Mixture",
    "MixturePrior",
    "Model",
    "NormalPrior",
    "NotCodableError",
    "Objective",
    "PixelRNN",
    "PooledEstimate",
    "Posterior",
    "PyODDetector",
    "RecurrentVAE",
    "SampledELBO",
    "SavedFileError",
    "SequenceVAE",
    "Sequences",
    "Shared",
    "Synthetic",
    "TrainingError",
    "UnreliableEstimateWarning",
    "UnseenCategoryWarning",
    "VAEClassifier",
    "VAEImputer",
    "VAEOutlierDetector",
    "VampPrior",
    "WorseThanIndependentWarning",
    "bits_per_dim",
    "compress",
    "decompress",
    "diagnostics",
    "dialogue_pairs",
    "explore",
    "fit",
    "load",
    "pool",
    "read",
    "stream",
    "synthesize",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that the command line's help needs no torch."""
    if name == "diagnostics":
        return importlib.import_module("lowerbound.diagnostics")
    if name not in _HOMES:
        raise AttributeError(f"module 'lowerbound' has no attribute {name!r}")
    return getattr(importlib.import_module(f"lowerbound.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
