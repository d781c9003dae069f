"""A mean over rows with its standard error, and the conversion of nats to bits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A mean over rows with its standard error.

    Parameters
    ----------
    value : float
        The mean, in nats a row.
    standard_error : float
        In nats a row; NaN for a single row.
    kind : {"exact", "lower", "upper", "estimate"}
        Whether ``value`` is, in expectation, the quantity itself, a lower or an upper bound of it, or near it.
    n_rows : int
        The number of rows.
    n_importance : int, optional
        K, importance samples a row; None if there were none.
    ess : float, optional
        Mean effective sample size of the importance weights, at most K; None if there were none.
    """

    ROW: ClassVar[str] = "row"

    value: float
    standard_error: float
    kind: Literal["exact", "lower", "upper", "estimate"]
    n_rows: int
    n_importance: int | None = None
    ess: float | None = None

    def __str__(self) -> str:
        sign = {"exact": "=", "lower": "≥", "upper": "≤", "estimate": "≈"}[self.kind]
        return f"{sign} {plus_minus(self.value, self.standard_error)} nats ({self._rows})"

    @property
    def _rows(self) -> str:
        """The number of rows in words."""
        return f"1 {self.ROW}, so no standard error" if self.n_rows == 1 else f"{self.n_rows} {self.ROW}s"

    def to_dict(self) -> dict[str, float | str]:
        """The fields that are not None, for JSON; ``mean`` is the value."""
        record = asdict(self)
        return {"mean": record.pop("value"), **{k: v for k, v in record.items() if v is not None}}


def plus_minus(mean: float, error: float, separator: str = "") -> str:
    """``-1234.567 ± 0.019``: the error with two significant digits, the mean to the same place.

    Parameters
    ----------
    mean, error : float
        The mean has two decimals where the error is 0 or not finite, and stands alone where there is none (NaN).
    separator : {"", ","}
        Of thousands.
    """
    decimals = max(0, 1 - math.floor(math.log10(error))) if 0 < error < math.inf else 2
    if math.isnan(error):
        return f"{mean:{separator}.{decimals}f}"
    return f"{mean:{separator}.{decimals}f} ± {error:{separator}.{decimals}f}"


def mean_over_rows(
    rows: Tensor, kind: Literal["exact", "lower", "upper", "estimate"], n_importance: int | None = None,
    ess: float | None = None,
) -> Estimate:  # fmt: skip
    """Mean of one number a row, with its standard error s/√n (NaN for a single row)."""
    rows = rows.double()
    error = rows.std().item() / math.sqrt(len(rows)) if len(rows) > 1 else math.nan
    return Estimate(rows.mean().item(), error, kind, len(rows), n_importance, ess)


def pooled(estimates: Sequence[Estimate]) -> Estimate:
    """The mean over all rows, from the means over parts of them."""
    if len(estimates) == 1:
        return estimates[0]
    n = sum(part.n_rows for part in estimates)
    mean, ess = (sum(part.n_rows / n * value(part) for part in estimates) for value in (_value, _ess))
    # Σ(x − m)² = Σ_parts s² n (n − 1) + n (m_part − m)², with the standard error s of a part's mean
    squares = (
        (part.standard_error**2 * part.n_rows * (part.n_rows - 1) if part.n_rows > 1 else 0.0)
        + part.n_rows * (part.value - mean) ** 2
        for part in estimates
    )
    error = math.sqrt(sum(squares) / (n - 1) / n)
    first = estimates[0]
    return Estimate(mean, error, first.kind, n, first.n_importance, None if first.ess is None else ess)


def _value(estimate: Estimate) -> float:
    return estimate.value


def _ess(estimate: Estimate) -> float:
    return estimate.ess or 0.0


def bits_per_dim(nats: float, n_dimensions: int) -> float:
    """The code length −log₂ p(x) for each dimension.

    Parameters
    ----------
    nats : float
        log p(x) of a row, in nats.
    n_dimensions : int
        The number of dimensions of a row, such as the pixels of an image times its channels.

    Returns
    -------
    float
        Bits a dimension: −nats/(n_dimensions log 2).
    """
    return -nats / (math.log(2) * n_dimensions)
