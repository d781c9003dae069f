"""Densities of the columns of a table given a code: p(x_j|z) on a grid, for small pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lowerbound.core import ElementwiseModel
from lowerbound.data.batches import RowsInMemory
from lowerbound.distributions.atoms import is_atom
from lowerbound.distributions.unseen import is_unseen
from lowerbound.evaluation.evaluation import evaluating
from lowerbound.report.rows import flat, is_number, word
from lowerbound.report.subject import Subject

POINTS = 61
ROWS = 1000  # that say where the grid of a column ends


def densities(subject: Subject, z: np.ndarray, context: Any = None) -> list[dict[str, Any] | None]:
    """p(x_j|z) of each column of numbers, None for others, in the user's units."""
    fitted = subject.fitted.given(subject.first_context if context is None else context)
    model = fitted.model
    if not isinstance(model, ElementwiseModel) or not subject.has_rows:
        return []
    ends = _ends(subject)
    grid = ends[0] + torch.linspace(0, 1, POINTS, dtype=ends.dtype)[:, None] * (ends[1] - ends[0])  # (G, F)
    codes = torch.as_tensor(z, dtype=fitted.dtype).expand(1, POINTS, -1)
    with evaluating(model):
        given = model.given(fitted.coded_context(POINTS))
        log_p = given.likelihood(codes.to(fitted.device)).log_prob(grid.to(fitted.device))[0]
        p = (log_p if model.log_unit is None else log_p - model.log_unit).exp().cpu().numpy()
    columns = zip(*flat(fitted.schema.restore(grid, expected=True)), strict=True)
    return [_column(list(x), p[:, j]) for j, x in enumerate(columns)]


def _column(x: list[Any], p: np.ndarray) -> dict[str, Any] | None:
    if not all(map(is_number, x)) or not x[-1] > x[0] or not np.isfinite(p).all():
        return None
    rounded = [[float(f"{value:.5g}") for value in values] for values in (x, p.tolist())]
    return {"x": rounded[0], "p": rounded[1], "low": word(x[0]), "high": word(x[-1])}


def _ends(subject: Subject) -> torch.Tensor:
    """The 0.5 % and 99.5 % quantiles of each column in the model's units, (2, F), without atoms and gaps."""
    rows = subject.fitted_to(few := subject.few(ROWS)).rows(subject.at(few))
    assert isinstance(rows, RowsInMemory)
    x = rows.raw.double().clone()
    x[is_atom(x) | is_unseen(x)] = torch.nan
    if rows.observed is not None:
        x[~rows.observed] = torch.nan
    low, high = np.nanquantile(x.numpy(), [0.005, 0.995], axis=0)
    return torch.from_numpy(np.nan_to_num(np.stack([low, high]))).to(subject.fitted.dtype)
