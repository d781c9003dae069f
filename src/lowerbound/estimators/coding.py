"""Codes of the rows under a model with latent variables, and the way back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, cast, overload

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin
from sklearn.utils.validation import check_is_fitted

from lowerbound.estimators.arguments import Data, RowsToCodes
from lowerbound.estimators.gradient import GradientEstimator
from lowerbound.parameters.seed import RandomState
from lowerbound.tasks import generate, represent


class CodingEstimator(ClassNamePrefixFeaturesOutMixin, RowsToCodes, GradientEstimator):
    """A model with latent variables: rows to codes, and codes to rows.

    Where it was fitted given a context, ``context`` says it, or ``given`` does so for all methods.
    """

    latent_dim_: int

    def _has_full_covariance(self) -> bool:
        """q(z|x) is a Gaussian with a full covariance."""
        return False

    @property
    def _n_features_out(self) -> int:
        return self.latent_dim_

    def transform(self, X: Data, *, context: Any = None) -> np.ndarray:
        """Posterior means, shape (n, D); deterministic.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        context : array, series or DataFrame, optional
            As for ``given``.
        """
        return self._given_to(context).encode(X)[0]

    @overload
    def encode(
        self, X: Data, draw: Literal[False] = False, n_draws: int = 1, random_state: RandomState = None
    ) -> tuple[np.ndarray, np.ndarray]: ...

    @overload
    def encode(
        self, X: Data, draw: Literal[True], n_draws: int = 1, random_state: RandomState = None
    ) -> np.ndarray: ...

    @overload
    def encode(
        self, X: Data, draw: bool, n_draws: int = 1, random_state: RandomState = None
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]: ...

    def encode(
        self, X: Data, draw: bool = False, n_draws: int = 1, random_state: RandomState = None
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """q(z|x) of every row.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        draw : bool
            Return draws of z, shape (n, D), or (n, n_draws, D) if ``n_draws`` > 1.
        n_draws : int
            Draws for each row.
        random_state : int, RandomState or Generator, optional
            For the draws; the estimator's if None.

        Returns
        -------
        mean : ndarray, shape (n, D)
        scale : ndarray, shape (n, D), or the Cholesky factor (n, D, D) of a full covariance
        """
        on = self.fitted_.exactly().on(X)
        if draw:
            drawn = replace(on, noise=self._fresh_noise(random_state, "encode"))
            codes = represent.draw_codes(drawn, n_draws).cpu().numpy()
            return codes[:, 0] if n_draws == 1 else codes
        mean, scale = represent.encode(on, full=self._has_full_covariance())
        return mean.cpu().numpy(), scale.cpu().numpy()

    def inverse_transform(self, Z: ArrayLike) -> np.ndarray:
        """E[x|z] for codes ``Z`` (n, D), in the user's units and shape (categories: the most probable one)."""
        return self.decode(Z)

    def decode(
        self, Z: ArrayLike, draw: bool = False, n_draws: int = 1, random_state: RandomState = None, *,
        context: Any = None,
    ) -> np.ndarray:  # fmt: skip
        """x for every code.

        Parameters
        ----------
        Z : array-like, shape (n, D) or (D,)
        draw : bool
            Draws from p(x|z) instead of its mean E[x|z].
        n_draws : int
            Several different x for one z.
        random_state : int, RandomState or Generator, optional
            For the draws; the estimator's if None.
        context : array, series or DataFrame, optional
            As for ``given``.

        Returns
        -------
        ndarray, shape (n, *row), or (n, n_draws, *row) if ``n_draws`` > 1
        """
        check_is_fitted(self)
        codes = np.array(Z, np.float64)
        if codes.shape[-1:] != (self.latent_dim_,) or codes.ndim > 2:
            raise ValueError(f"codes have shape (n, {self.latent_dim_}), got {codes.shape}")
        z = torch.from_numpy(np.atleast_2d(codes)).float().to(self._device())
        noise = self._fresh_noise(random_state, "decode") if draw else None
        c = self._given_to(context)._fitting().coded_context(len(z))
        each = None if c is None else c.repeat_interleave(n_draws, 0)
        x = generate.decode(self.model_, z.repeat_interleave(n_draws, 0), noise, each)
        rows = self.schema_.restore(x, expected=not draw)
        return rows if n_draws == 1 else rows.reshape(-1, n_draws, *rows.shape[1:])

    def reconstruct(self, X: Data, *, context: Any = None) -> np.ndarray:
        """E[x|z] at the posterior mean z of every row.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        context : array, series or DataFrame, optional
            As for ``given``.
        """
        given = self._given_to(context)
        rows: Any = given.decode(given.encode(X)[0])
        return cast(Any, rows).set_axis(X.index) if isinstance(X, pd.DataFrame) and hasattr(rows, "columns") else rows

    def traverse(self, start: ArrayLike, dimension: int, values: ArrayLike, *, context: Any = None) -> np.ndarray:
        """E[x|z] as one latent variable takes each of ``values`` and the others stay.

        Parameters
        ----------
        start : array-like
            One row of data (*row), or one code (D,).
        dimension : int
            From 0 to D − 1.
        values : array-like, shape (m,)
        context : array, series or DataFrame, optional
            As for ``given``.

        Returns
        -------
        ndarray, shape (m, *row)
        """
        check_is_fitted(self)
        if not 0 <= dimension < self.latent_dim_:
            raise ValueError(f"dimension must be from 0 to {self.latent_dim_ - 1}, got {dimension}")
        first = np.asarray(start)
        is_code = first.shape == (self.latent_dim_,) and first.shape != self.schema_.row_shape
        if not is_code and first.shape not in (self.schema_.row_shape, (1, *self.schema_.row_shape)):
            raise ValueError(
                f"start is one row of shape {self.schema_.row_shape}, or one code of {self.latent_dim_} numbers, got "
                f"an array of shape {first.shape}"
            )
        given = self._given_to(context)
        code = first if is_code else given.transform(first.reshape(1, *self.schema_.row_shape))[0]
        codes = np.repeat(code[None].astype(np.float64), len(np.asarray(values)), 0)
        codes[:, dimension] = values
        return given.decode(codes)
