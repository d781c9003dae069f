"""The properties of a likelihood before there is a network: the data it describes, and its start from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from lowerbound.distributions.likelihoods.likelihood import LikelihoodHead

PROBABILITY_LIMIT = 1e-3  # at the start no probability is closer to 0 or 1


class LikelihoodError(ValueError):
    """The likelihood can't describe the data; the message names one that can."""

    def after_fit(self) -> LikelihoodError:
        """The error of a fitted model, whose likelihood can't be another: without the advice."""
        reason, _, _ = str(self).rpartition(": ")
        return LikelihoodError(f"{reason}; the model was fitted to such data, so give others like them")


def no_components(n: int, name: str, scale: str | float) -> str:
    """The message where ``n_components`` has no meaning."""
    return (
        f"n_components={n} is for bytes with a scale from the decoder (likelihood='discretized_logistic', "
        f"scale='auto'); here likelihood={name!r} and scale={scale!r}"
    )


class Facts(Protocol):
    """The range and type of the values of some data."""

    @property
    def lowest(self) -> float: ...  # noqa: D102
    @property
    def highest(self) -> float: ...  # noqa: D102
    @property
    def binary(self) -> np.ndarray: ...  # noqa: D102  # of bool: every value of a feature is 0 or 1
    @property
    def whole(self) -> np.ndarray: ...  # noqa: D102  # of bool: every value is a whole number


class Features(Protocol):
    """The features of the data that a model is made for; arrays have the event's shape.

    ``mean`` and ``spread`` (standard deviation) are in the model's units, ``unit`` is one of these in the user's;
    ``counted`` is True for features that are in the density; ``n_categories`` (K) and ``frequencies`` (K, *event) are
    those of categories.
    """

    @property
    def event_shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def mean(self) -> np.ndarray: ...  # noqa: D102
    @property
    def spread(self) -> np.ndarray: ...  # noqa: D102
    @property
    def unit(self) -> np.ndarray: ...  # noqa: D102
    @property
    def counted(self) -> np.ndarray: ...  # noqa: D102
    @property
    def n_categories(self) -> int: ...  # noqa: D102
    @property
    def frequencies(self) -> np.ndarray: ...  # noqa: D102


class LikelihoodKind(ABC):
    """A likelihood as everyone else knows it. It has no state; a file of this folder has one, named ``KIND``.

    Attributes
    ----------
    name : str
        The user's word for it.
    data : str
        A word for the data that it describes, by which `compare` chooses its models.
    in_words : str
        The same, to follow "X has".
    is_discrete : bool
        ``log_prob`` is a log-probability, not a density: it can be read in bits, and no unit of x changes it.
    is_nominal : bool
        Values are categories without an order: a network sees indicators, and there is no mean.
    can_standardize : bool
        Real values enter the model with mean 0 and standard deviation 1.
    takes_all : bool
        No data are refused.
    has_scale, has_components : bool
        The parameters ``scale`` and ``n_components`` have a meaning.
    """

    name: ClassVar[str]
    data: ClassVar[str]
    in_words: ClassVar[str]
    is_discrete: ClassVar[bool] = True
    is_nominal: ClassVar[bool] = False
    can_standardize: ClassVar[bool] = False
    takes_all: ClassVar[bool] = False
    has_scale: ClassVar[bool] = False
    has_components: ClassVar[bool] = False

    # the data

    def suits(self, facts: Facts, dtype: np.dtype) -> bool:
        """True if "auto" takes it for data of this type, unless a likelihood before it in the table suits them."""
        return False

    @abstractmethod
    def refusal(self, facts: Facts, dtype: np.dtype, n_categories: int) -> str | None:
        """Why such data can't be described, and what could describe them; None if they can."""

    def check(self, facts: Facts, dtype: np.dtype, n_categories: int) -> None:
        """Raise ``LikelihoodError`` if such data can't be described."""
        reason = self.refusal(facts, dtype, n_categories)
        if reason is not None:
            raise LikelihoodError(reason)

    def count_categories(self, facts: Facts) -> int:
        """K, the values being 0, …, K − 1; 0 where their number isn't known."""
        return 0

    def storage(self, n_categories: int) -> type[np.generic]:
        """The type in which discrete values are kept in memory."""
        return np.uint8 if n_categories <= 256 else np.int16

    def highest(self, n_categories: int) -> float | None:
        """The highest value that there can be, where they lie between 0 and it; None where there is no such."""
        return None

    # the network

    def in_model_units(self, mean: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the features, (*event) each, in the units of the head's location."""
        return mean, spread

    def view(self, x: Tensor) -> Tensor:
        """Values on a scale that suits a network, same shape; categories are seen as indicators instead."""
        return x

    def start(self, features: Features, n_parameters: int) -> Tensor:
        """The start of the decoder's P raw parameters, (P, *event): the features' own distributions."""
        bias = torch.zeros(n_parameters, *features.event_shape, dtype=torch.float64)
        first = self._start(features)
        bias[: len(first)] = first
        return bias.nan_to_num().float()

    def _start(self, features: Features) -> Tensor:
        """The first of them, the others being 0; NaN where nothing was observed. The location, unless it says more."""
        return torch.from_numpy(features.mean)[None]

    def head(
        self, features: Features, *, scale: str | float = "auto", min_scale: float = 0.01, n_components: int = 1,
        per_entry: bool = True,
    ) -> LikelihoodHead:  # fmt: skip
        """The head that turns the decoder's numbers for an entry into a distribution.

        Parameters
        ----------
        features : Features
        scale : {"auto", "unit", "shared", "feature", "decoder"} or float
            Where σ comes from; a number is in the user's units.
        min_scale : float
            Lower bound of a learned σ, as a part of the feature's standard deviation.
        n_components : int
            Densities that are mixed for each entry.
        per_entry : bool
            A scale from the decoder starts at the deviation of each feature; else at one for all.

        Raises
        ------
        ValueError
            If an option has no meaning here.
        """
        if n_components > 1 and not (self.has_components and scale in ("auto", "decoder")):
            raise ValueError(no_components(n_components, self.name, scale))
        if scale != "auto" and not self.has_scale:
            raise ValueError(f"likelihood={self.name!r} has no scale; leave scale='auto'")
        return self._head(features, scale, min_scale, n_components, per_entry)

    @abstractmethod
    def _head(
        self, features: Features, scale: str | float, min_scale: float, n_components: int, per_entry: bool
    ) -> LikelihoodHead:
        """``head``, of options that have a meaning."""
