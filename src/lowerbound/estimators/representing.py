"""What a fitted variational autoencoder does with codes: rows to z, and z to rows."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from lowerbound.estimators.scoring import Scoring
from lowerbound.tasks import generate, represent


class Representing(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Scoring):
    """Rows to codes, and codes to rows."""

    covariance: str

    @property
    def _n_features_out(self) -> int:
        return self.latent_dim_

    def transform(self, X) -> np.ndarray:
        """Posterior means, shape (n, D); deterministic."""
        return self.encode(X)[0]

    def encode(self, X, draw: bool = False, n_draws: int = 1, random_state=None):
        """q(z|x) of every row.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        draw : bool
            Return draws of z, shape (n, D), or (n, n_draws, D) if ``n_draws`` > 1.
        n_draws : int
        random_state : int, optional
            For the draws; the estimator's if None.

        Returns
        -------
        mean : ndarray, shape (n, D)
        scale : ndarray, shape (n, D), or the Cholesky factor (n, D, D) of a full covariance
        """
        _, posterior, rows, noise = self._exactly(X)
        if draw:
            own_noise = self._fresh_noise(random_state, "encode")
            codes = represent.draw_codes(posterior, rows, own_noise, n_draws).cpu().numpy()
            return codes[:, 0] if n_draws == 1 else codes
        mean, scale = represent.encode(posterior, rows, noise, full=self.covariance == "full")
        return mean.cpu().numpy(), scale.cpu().numpy()

    def inverse_transform(self, Z) -> np.ndarray:
        """E[x|z] for codes ``Z`` (n, D), in the user's units and shape (categories: the most probable one)."""
        return self.decode(Z)

    def decode(self, Z, draw: bool = False, n_draws: int = 1, random_state=None) -> np.ndarray:
        """x for every code.

        Parameters
        ----------
        Z : array-like, shape (n, D) or (D,)
        draw : bool
            Draws from p(x|z) instead of its mean E[x|z].
        n_draws : int
            Several different x for one z.
        random_state : int, optional
            For the draws; the estimator's if None.

        Returns
        -------
        ndarray, shape (n, *row), or (n, n_draws, *row) if ``n_draws`` > 1
        """
        check_is_fitted(self)
        Z = np.asarray(Z, np.float64)
        if Z.shape[-1:] != (self.latent_dim_,) or Z.ndim > 2:
            raise ValueError(f"codes have shape (n, {self.latent_dim_}), got {Z.shape}")
        z = torch.from_numpy(np.atleast_2d(Z)).float().to(self._device())
        noise = self._fresh_noise(random_state, "decode") if draw else None
        x = generate.decode(self.model_, z.repeat_interleave(n_draws, 0), noise)
        rows = self.schema_.restore(x, expected=not draw)
        return rows if n_draws == 1 else rows.reshape(-1, n_draws, *rows.shape[1:])

    def reconstruct(self, X) -> np.ndarray:
        """E[x|z] at the posterior mean z of every row."""
        return self.decode(self.transform(X))

    def traverse(self, start, dimension: int, values) -> np.ndarray:
        """E[x|z] as one latent variable takes each of ``values`` and the others stay.

        Parameters
        ----------
        start : array-like
            One row of data (*row), or one code (D,).
        dimension : int
            From 0 to D − 1.
        values : array-like, shape (m,)

        Returns
        -------
        ndarray, shape (m, *row)
        """
        check_is_fitted(self)
        if not 0 <= dimension < self.latent_dim_:
            raise ValueError(f"dimension must be from 0 to {self.latent_dim_ - 1}, got {dimension}")
        start = np.asarray(start)
        is_code = start.shape == (self.latent_dim_,) and start.shape != self.schema_.row_shape
        code = start if is_code else self.transform(start.reshape(1, *self.schema_.row_shape))[0]
        codes = np.repeat(code[None].astype(np.float64), len(values), 0)
        codes[:, dimension] = values
        return self.decode(codes)
