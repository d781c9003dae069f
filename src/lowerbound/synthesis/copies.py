"""Copies: drawn rows beside those that the model was fitted to, and beside held-out rows, which are none."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lowerbound.data.table_code import TableCode
from lowerbound.synthesis.likeness import Area, some_of

COMPARED = 2000  # rows whose distances are taken
SAME = 1e-6


@dataclass(frozen=True)
class Copies:
    """Distances of rows to the nearest row that the model was fitted to, and what log p tells of membership.

    Attributes
    ----------
    drawn, held_out : float
        The share of rows that are equal to a fitted one.
    nearer : float
        The share of drawn rows that are nearer to a fitted row than half of the held-out rows are. ½ for rows that are
        as near as new ones; more if the model repeats what it has seen.
    nearer_standard_error : float
    membership : Area
        How well log p tells fitted from held-out rows; ½ if not at all.
    """

    drawn: float
    held_out: float
    nearer: float
    nearer_standard_error: float
    membership: Area

    def to_dict(self) -> dict[str, Any]:
        """A record of JSON."""
        return asdict(self)


def copies(
    fitted: Any, held_out: Any, drawn: Any, log_p: np.ndarray, log_p_held_out: np.ndarray, seed: int = 0
) -> Copies:
    """Compare drawn and held-out rows with fitted ones.

    Parameters
    ----------
    fitted, held_out, drawn : DataFrame
    log_p, log_p_held_out : ndarray
        Of some fitted and of some held-out rows, in nats.
    seed : int
        Of the rows that are compared, where there are more than 2,000.
    """
    from sklearn.neighbors import NearestNeighbors

    code = TableCode(fitted)

    def places(rows: Any) -> np.ndarray:
        """Rows as points, two random ones being √2 apart in each column; gaps are at the mean."""
        return np.nan_to_num(code.encode(rows)) * np.sqrt(code.importance)

    nearest = NearestNeighbors(n_neighbors=1).fit(places(fitted))
    of_drawn, of_new = (
        nearest.kneighbors(places(some_of(rows, COMPARED, seed)))[0][:, 0] for rows in (drawn, held_out)
    )
    usual = np.median(of_new)
    nearer = (of_drawn < usual).mean() + 0.5 * (of_drawn == usual).mean()
    error = np.sqrt(0.25 / len(of_drawn) + 0.25 / len(of_new))
    y = np.repeat([True, False], [len(log_p), len(log_p_held_out)])
    membership = Area.of(y, np.concatenate([log_p, log_p_held_out]))
    of_drawn_same, of_new_same = (float((d < SAME).mean()) for d in (of_drawn, of_new))
    return Copies(of_drawn_same, of_new_same, float(nearer), float(error), membership)
