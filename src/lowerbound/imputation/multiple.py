"""Multiple imputation: models fitted again for each completed table, as the parameters are uncertain too.

Tables that are all drawn at one fitted parameter lack this part of the variance between them, and Rubin's intervals are
too narrow (Rubin, 1987, section 4.2). A fit to a bootstrap of the rows differs from the fit to the rows as this does
from the truth (Efron, 1994, J. Am. Statist. Assoc. 89:463; Honaker & King, 2010, for EM).
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from tqdm import tqdm

from lowerbound.imputation.budget import PATIENCE
from lowerbound.imputation.gaussians import Filler, derived, stream
from lowerbound.warning import warn


def fillers(imputer: Any, table: Any, m: int, seed: int, refit: bool | str = "auto") -> list[Filler]:
    """One filler for each of m tables, fitted to a bootstrap of the rows of the fit, or the imputer's own for all.

    Parameters
    ----------
    imputer : VAEImputer
    table : ndarray or DataFrame, shape (n, columns)
        Stands for the rows of the fit if the imputer was saved, and doesn't hold them.
    m, seed, refit : int, int, bool or "auto"
        As in ``VAEImputer.sample_imputations``.
    """
    if refit not in (True, False, "auto"):
        raise ValueError(f"refit must be 'auto', True or False, got {refit!r}")
    is_own = imputer.estimator is None or imputer._filler.estimator is not imputer.estimator
    if refit is True and not is_own:
        raise ValueError("refit=True: the estimator was fitted before, and is used unchanged: give it unfitted")
    if not (is_own if refit == "auto" else refit):
        return [imputer._filler]
    rows = imputer._given(table) if imputer._rows is None else imputer._rows
    if len(rows) < (imputer._n_rows or 0):
        warn(
            f"the saved imputer was fitted to {imputer._n_rows} rows, which it doesn't hold: for each table it is "
            f"fitted to a bootstrap of the {len(rows)} rows given. Give the whole table, or refit=False",
        )
    return refitted(imputer._filler, rows, m, seed)


def imputed(imputer: Any, table: Any, fillers: list[Filler], m: int, seed: int) -> list[Any]:
    """Draw m completed tables, as many from each filler.

    Parameters
    ----------
    imputer : VAEImputer
    table : ndarray or DataFrame, shape (n, columns)
    fillers : list of Filler
        m of them, or one.
    m, seed : int
    """
    each, several = m // len(fillers), len(fillers) > 1
    seeds = [derived(seed, i) if several else seed for i in range(len(fillers))]
    drawn = [one for f, s in zip(fillers, seeds, strict=True) for one in imputer._drawn(f, table, each, s)]
    if imputer.estimator is not None:
        found = [filler.ess for filler in fillers]  # pyright: ignore[reportAttributeAccessIssue]
        imputer.ess_ = None if None in found else sum(found) / len(found)
    return drawn


def refitted(filler: Filler, rows: Any, m: int, seed: int) -> list[Filler]:
    """Copies of a filler, m of them, each fitted to a bootstrap of the rows.

    Parameters
    ----------
    filler : Filler
        Its parameters are where the fits start; it isn't changed.
    rows : ndarray or DataFrame, shape (n, columns)
    m, seed : int
    """
    seeds = [derived(seed, i) for i in range(m)]
    with tqdm(seeds, "fitting to bootstraps", delay=PATIENCE, disable=None, leave=False) as bar:
        return [filler.refit(bootstrap(rows, one), one) for one in bar]


def bootstrap(rows: Any, seed: int) -> Any:
    """A bootstrap: as many rows as there are, drawn with replacement."""
    places = stream(seed, "bootstrap").integers(len(rows), size=len(rows))
    return rows.iloc[places].reset_index(drop=True) if isinstance(rows, pd.DataFrame) else rows[places]
