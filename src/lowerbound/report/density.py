"""Densities of the columns of a table given a code: p(x_j|z) on a grid, for small pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lowerbound.core import ElementwiseModel
from lowerbound.data.batches import RowsInMemory
from lowerbound.distributions.columns import MASS
from lowerbound.evaluation.evaluation import evaluating
from lowerbound.report.rows import flat, is_number, word
from lowerbound.report.subject import Subject

POINTS = 61
ROWS = 1000  # that say where the grid of a column ends


def densities(subject: Subject, z: np.ndarray) -> list[dict[str, Any] | None]:
    """p(x_j|z) of each column of numbers, None for others; the grid is even in the model's units."""
    fitted = subject.fitted.given(subject.first_context)
    model = fitted.model
    if not isinstance(model, ElementwiseModel) or not subject.has_rows:
        return []
    ends = _ends(subject)
    grid = ends[0] + torch.linspace(0, 1, POINTS, dtype=ends.dtype)[:, None] * (ends[1] - ends[0])  # (G, F)
    codes = torch.as_tensor(z, dtype=fitted.dtype).expand(1, POINTS, -1)
    with evaluating(model):
        given = model.given(fitted.coded_context(POINTS))
        p = given.likelihood(codes.to(fitted.device)).log_prob(grid.to(fitted.device))[0].exp().cpu().numpy()
    rows = flat(fitted.schema.restore(grid, expected=True))
    return [_column(p[:, j], grid[:, j].numpy(), rows[0][j], rows[-1][j]) for j in range(grid.shape[1])]


def _column(p: np.ndarray, x: np.ndarray, low: Any, high: Any) -> dict[str, Any] | None:
    if not (is_number(low) and is_number(high)) or not x[-1] > x[0] or not np.isfinite(p).all():
        return None
    return {"x": x.round(4).tolist(), "p": [float(f"{v:.4g}") for v in p], "low": word(low), "high": word(high)}


def _ends(subject: Subject) -> torch.Tensor:
    """The 0.5 % and 99.5 % quantiles of each column in the model's units, (2, F), without point masses and gaps."""
    rows = subject.fitted_to(few := subject.few(ROWS)).rows(subject.at(few))
    assert isinstance(rows, RowsInMemory)
    x = rows.raw.double().clone()
    x[x == MASS] = torch.nan
    if rows.observed is not None:
        x[~rows.observed] = torch.nan
    low, high = np.nanquantile(x.numpy(), [0.005, 0.995], axis=0)
    return torch.from_numpy(np.nan_to_num(np.stack([low, high]))).to(subject.fitted.dtype)
