"""Latent variables in order: what a map, paths and bars need of a model, whatever its data are."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from lowerbound.distributions.gaussians import StandardNormal
from lowerbound.estimators.autoencoder import Autoencoder
from lowerbound.estimators.fitted import Fitted
from lowerbound.evaluation.bound import ACTIVE_VARIANCE


class Coded:
    """A fitted model with the codes of some data.

    Attributes
    ----------
    model : estimator
    codes : ndarray, shape (n, D)
        Posterior means.
    kl : ndarray, shape (D,), or None
        The mean KL of each latent variable in nats; None where it isn't known of each.
    """

    model: Any
    codes: Any
    kl: Any

    @property
    def latent_dim(self) -> int:
        """D; 0 for a model without latent variables."""
        raise NotImplementedError(f"{type(self).__name__} doesn't say how many latent variables there are")

    @property
    def has_rows(self) -> bool:
        """There are data."""
        raise NotImplementedError(f"{type(self).__name__} doesn't say whether there are data")

    @property
    def first_context(self) -> Any:
        """The context of codes of which none is said; None for a model that isn't given any."""
        raise NotImplementedError(f"{type(self).__name__} doesn't say what its model is given")

    @cached_property
    def fitted(self) -> Fitted:
        """The model as its uses take it."""
        return self.model.fitted_

    @cached_property
    def has_standard_prior(self) -> bool:
        """p(z) is N(0, I)."""
        if isinstance(self.model, Autoencoder):
            return False
        context = self.first_context
        fitted = self.fitted if context is None else self.fitted.given(context)
        try:
            prior = fitted.model.given(fitted.coded_context(1)).prior()
        except NotImplementedError:
            return False
        return isinstance(prior, StandardNormal)

    @cached_property
    def variances(self) -> np.ndarray:
        """The variance of the posterior mean of each latent variable, (D,)."""
        return self.codes.var(0) if self.has_rows else np.ones(self.latent_dim)

    @cached_property
    def active(self) -> np.ndarray:
        """Latent variables whose posterior mean varies, (D,) of bool."""
        return self.variances > ACTIVE_VARIANCE

    @cached_property
    def order(self) -> np.ndarray:
        """The latent variables, active ones before collapsed ones, and of each the one that tells most first."""
        telling = self.variances if self.kl is None else self.kl
        return np.lexsort((-telling, ~self.active))
