"""Rubin's rules: one estimate with its standard error from those of m completed tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


@dataclass(frozen=True)
class PooledEstimate:
    """An estimate from m completed tables; every field but ``n_tables`` has the shape of one table's estimate.

    Parameters
    ----------
    value : float or ndarray
        The mean of the m estimates.
    standard_error : float or ndarray
        √T with the total variance T = W + (1 + 1/m) B.
    within, between : float or ndarray
        W, the mean of the m variances, and B, the variance of the m estimates.
    df : float or ndarray
        Degrees of freedom of Student's t for (value − truth)/standard_error; infinite if all estimates are equal.
    missing_fraction : float or ndarray
        (1 + 1/m) B/T, the part of the variance that is there because values are missing.
    n_tables : int
        m.
    """

    value: Any
    standard_error: Any
    within: Any
    between: Any
    df: Any
    missing_fraction: Any
    n_tables: int

    def interval(self, level: float = 0.95) -> tuple[Any, Any]:
        """The ends of the confidence interval value ± t standard_error."""
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, got {level:g}")
        half = stats.t.ppf((1 + level) / 2, self.df) * self.standard_error
        return self.value - half, self.value + half


def pool(estimates: ArrayLike, variances: ArrayLike, *, complete_df: float | None = None) -> PooledEstimate:
    """Pool the estimates of an analysis that was done on each of m completed tables, by Rubin's rules.

    Parameters
    ----------
    estimates : array-like, shape (m, *shape)
        One for each table: a mean, a vector of coefficients.
    variances : array-like, shape (m, *shape)
        The squared standard errors of these, as the analysis of a table without gaps has them.
    complete_df : float, optional
        The degrees of freedom that the analysis would have without gaps, such as n − 1 for a mean and n − p for p
        coefficients: with them, the degrees of freedom are those of Barnard & Rubin (1999), which never exceed these.
        Without, those of Rubin (1987), for large tables.

    Returns
    -------
    PooledEstimate
        Its ``interval`` is right if the tables were drawn as ``VAEImputer.sample_imputations`` does it.

    Raises
    ------
    ValueError
        If there are fewer than two tables, the shapes differ, a number isn't finite or a variance is negative.

    References
    ----------
    Rubin, 1987, Multiple Imputation for Nonresponse in Surveys, section 3.1. Barnard & Rubin, 1999, Biometrika 86:948.

    Examples
    --------
    >>> from lowerbound import pool
    >>> pooled = pool([1.0, 1.2, 1.1], [0.04, 0.05, 0.045], complete_df=49)
    >>> print(f"{pooled.value:.2f} ± {pooled.standard_error:.3f}")
    1.10 ± 0.242
    """
    q, u = np.asarray(estimates, float), np.asarray(variances, float)
    _check(q, u, complete_df)
    m = len(q)
    between, within = q.var(0, ddof=1), u.mean(0)
    total = within + (1 + 1 / m) * between
    part = np.divide((1 + 1 / m) * between, total, out=np.zeros_like(total), where=total > 0)
    with np.errstate(divide="ignore"):
        one_over_df = part**2 / (m - 1)
        if complete_df is not None and np.isfinite(complete_df):
            one_over_df += (complete_df + 3) / (complete_df * (complete_df + 1) * (1 - part))
        df = 1 / one_over_df
    value, error = q.mean(0), np.sqrt(total)
    return PooledEstimate(value[()], error[()], within[()], between[()], df[()], part[()], m)


def _check(q: np.ndarray, u: np.ndarray, complete_df: float | None) -> None:
    if q.shape != u.shape:
        raise ValueError(f"estimates and variances must have one shape, got {q.shape} and {u.shape}")
    if q.ndim == 0 or len(q) < 2:
        raise ValueError("Rubin's rules need the estimates of at least 2 tables, along the first axis")
    if not (np.isfinite(q).all() and np.isfinite(u).all() and (u >= 0).all()):
        raise ValueError("estimates and variances must be finite, and variances, squared standard errors, not negative")
    if complete_df is not None and not complete_df > 0:
        raise ValueError(f"complete_df must be above 0, got {complete_df:g}")
