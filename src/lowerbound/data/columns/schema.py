"""The description of each column of a table with columns of several kinds.

A `ColumnSchema` is saved as JSON with the model and can be edited. Kinds are "continuous", "positive" (continuous
after a logarithm), "count", "binary", "categorical", "ordinal" and "date".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lowerbound.data.checks import DataError
from lowerbound.data.columns.values import measure_of
from lowerbound.distributions.atoms import MOST
from lowerbound.storage.opening import read_json
from lowerbound.storage.records import conforming, shown

KINDS = ("continuous", "positive", "count", "binary", "categorical", "ordinal", "date")
CATEGORY_KINDS = ("binary", "categorical", "ordinal")
NOT_READ = ("description", "missing", "distinct")  # of what ``data check --json`` says of a column


@dataclass(frozen=True)
class ColumnSchema:
    """The kind of a column, and its scale or categories.

    Attributes
    ----------
    name, kind, dtype : str
        ``dtype`` is the user's, a word of ``columns.values``.
    categories : tuple
        The categories of binary, categorical and ordinal columns; in order, or the common ones first.
    n_common : int
        Categories with a probability of their own; the others share one.
    frequencies : tuple of float
        Frequencies of the common categories and, last, of the rare together.
    location, unit : float
        Numbers enter the model as (g(v) − location)/unit, dates as days since 1970, durations as seconds.
    log : bool
        g is log(v + shift), else the identity.
    quantiles, scores : tuple of float
        Rising numbers and their normal scores, between which g is linear, in place of the identity: any density becomes
        nearly N(0, 1). None by default.
    heavy_tails : bool
        Student's t instead of the normal density.
    n_components : int
        Components of the mixture density of continuous, positive and date columns.
    atoms, atom_shares : tuple of float
        Real values, rising, that are met far more often than those around them, and their shares of all values: they
        have probabilities of their own, and the density is that of the others.
    low, high : float
        The range of the values seen, to which draws are confined.
    decimals : int or None
        The decimals to which draws are rounded.
    unseen : float
        The probability of a value that wasn't seen, and that the column has no other place for. If it is 0, as in
        models of earlier versions, such a value counts as not observed.
    """

    name: str
    kind: str
    dtype: str
    categories: tuple[Any, ...] = ()
    n_common: int = 0
    frequencies: tuple[float, ...] = ()
    location: float = 0.0
    unit: float = 1.0
    log: bool = False
    shift: float = 0.0
    quantiles: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    heavy_tails: bool = False
    n_components: int = 1
    atoms: tuple[float, ...] = ()
    atom_shares: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None
    decimals: int | None = None
    unseen: float = 0.0

    @property
    def has_categories(self) -> bool:
        """True for a column of categories."""
        return self.kind in CATEGORY_KINDS

    @property
    def n_rare(self) -> int:
        """Categories that share one probability."""
        return len(self.categories) - self.n_common

    @property
    def are_numbers(self) -> bool:
        """True if the categories are numbers in order, so that they have a mean."""
        return self.kind in ("binary", "ordinal") and all(_is_number(category) for category in self.categories)

    @property
    def center(self) -> float:
        """The number whose entry is 0."""
        if self.quantiles:
            return float(np.interp(self.location, self.scores, self.quantiles))
        return float(np.exp(min(self.location, 40.0))) - self.shift if self.log else self.location

    def describe(self) -> str:
        """The column in a few words."""
        if self.has_categories:
            rare = f", {self.n_rare} of them rare" if self.n_rare else ""
            return f"{self.kind}, {len(self.categories)} categor{'y' if len(self.categories) == 1 else 'ies'}{rare}"
        notes = ["logarithmic"] * (self.log and self.kind != "positive") + ["heavy tails"] * self.heavy_tails
        notes += ["by normal scores"] if self.quantiles else []
        notes += [f"{self.n_components} components"] if self.n_components > 1 else []
        which = f"{self.atoms[0]:g}" if len(self.atoms) == 1 else f"{len(self.atoms)} frequent values"
        notes += [f"{sum(self.atom_shares):.0%} are {which}"] if self.atoms else []
        notes += ["in seconds"] if measure_of(self.dtype) in ("duration", "time") else []
        return ", ".join([self.kind, *notes])


def _is_number(category: Any) -> bool:
    return isinstance(category, (int, float)) and not isinstance(category, bool) and np.isfinite(category)


def columns_given(asked: Any) -> dict[str, dict[str, Any]]:
    """The user's description of columns as fields of ``ColumnSchema``, by the columns' names."""
    if isinstance(asked, (str, Path)):
        content = read_json(Path(asked), DataError)
        known = content.get("columns", content) if isinstance(content, dict) else content  # of ``data check --json``
        if not isinstance(known, (dict, list)):
            raise DataError(f"{asked} doesn't describe columns: it holds {shown(known)}, and no columns by name")
        asked = known
    if asked is None:
        return {}
    return {str(name): _given(str(name), what) for name, what in _by_name(asked)}


def _by_name(asked: Any) -> Iterable[tuple[Any, Any]]:
    """Columns with their names, which may be among their fields."""
    if isinstance(asked, Mapping):
        return asked.items()
    nameless = [c for c in asked if not isinstance(c, ColumnSchema) and not (isinstance(c, Mapping) and "name" in c)]
    if nameless:
        raise ValueError(f"columns has {shown(nameless[0])} in it: a column needs a record with its name and kind")
    return [(c.name if isinstance(c, ColumnSchema) else c["name"], c) for c in asked]


def _given(name: str, what: Any) -> dict[str, Any]:
    """The description of one column as fields of ``ColumnSchema``."""
    record = {"kind": what} if isinstance(what, str) else asdict(what) if isinstance(what, ColumnSchema) else what
    if isinstance(record, Mapping):
        record = _with_atoms({key: value for key, value in record.items() if key not in NOT_READ})
    known = conforming(ColumnSchema, record, f"column {shown(name)}", partly=True)
    if "kind" in known and known["kind"] not in KINDS:
        raise ValueError(f"column {name!r} can't be {shown(known['kind'])}: kinds are {', '.join(KINDS)}")
    atoms = known.get("atoms", ())
    if not all(np.diff(atoms) > 0) or len(atoms) > MOST:
        raise ValueError(f"column {name!r} has atoms={shown(atoms)}, which must rise, and be at most {MOST}")
    quantiles, scores = known.get("quantiles", ()), known.get("scores", ())
    if len(quantiles) != len(scores) or len(quantiles) == 1 or not (np.diff([quantiles, scores]) > 0).all():
        raise ValueError(f"column {name!r} needs as many scores as quantiles, two or more, and both must rise")
    if quantiles and (known.get("log") or known.get("kind") in (*CATEGORY_KINDS, "count", "positive")):
        raise ValueError(f"column {name!r} can't have normal scores: they are of real numbers, without a logarithm")
    if not known.get("unit", 1) > 0:
        raise ValueError(f"column {name!r} has unit={known['unit']}, which must be above 0")
    return known


def _with_atoms(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """A record of before columns had several atoms, converted: there was one point mass, or None."""
    if "mass" not in record:
        return record
    new = {key: value for key, value in record.items() if key not in ("mass", "mass_share")}
    mass = record["mass"]
    return {
        **new,
        "atoms": [] if mass is None else [mass],
        "atom_shares": [record.get("mass_share", 0.0)] * (mass is not None),
    }


def plain(category: Any) -> Any:
    """A category in a type of JSON."""
    category = category.item() if isinstance(category, np.generic) else category
    return category if isinstance(category, (str, bool, int, float, type(None))) else str(category)


def from_record(record: Any) -> ColumnSchema:
    """The inverse of ``asdict``, as JSON gives it back; raises ``ValueError``."""
    record = _with_atoms(record) if isinstance(record, Mapping) else record
    column = ColumnSchema(**conforming(ColumnSchema, record, "a column of the model"))
    n, n_common = len(column.categories), column.n_common
    _given(column.name, column)
    if column.has_categories and not (0 <= n_common <= n and len(column.frequencies) == n_common + (n > n_common) > 0):
        raise ValueError(f"column {column.name!r} has {n} categories, of which {n_common} can't be the common ones")
    if len(column.atoms) != len(column.atom_shares) or not all(np.diff(column.atoms) > 0) or len(column.atoms) > MOST:
        raise ValueError(f"column {column.name!r} has atoms that are not rising, each with a share, at most {MOST}")
    measure_of(column.dtype)
    return column
