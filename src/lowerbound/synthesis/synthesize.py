"""A table like another one: fit, draw, check."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from lowerbound.data.checks import counted, listed
from lowerbound.data.columns.scores import by_normal_scores
from lowerbound.data.columns.values import measure_of, type_word
from lowerbound.data.frames import as_pandas, container_of, in_container
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.estimators.vae import VAE
from lowerbound.parameters.parts import ELBO, MLP, Adam, EarlyStopping
from lowerbound.parameters.seed import RandomState, seed_from
from lowerbound.synthesis.conditions import ConditionError, Conditions
from lowerbound.synthesis.copies import COMPARED
from lowerbound.synthesis.likeness import some_of
from lowerbound.synthesis.quality import Quality, quality
from lowerbound.tasks import conditional
from lowerbound.warning import warn

STEPS, FEWEST_EPOCHS, MOST_EPOCHS = 13_000, 3, 300  # of the fit
BATCH = 128
SMALL = 10_000  # rows, below which the fit stops early, and networks are half as wide
FEWEST_ROWS = 20
HELD_OUT, FEWEST_HELD_OUT, MOST_HELD_OUT = 0.1, 5, 10_000  # part of the rows that the check is made with, and its ends
N_IMPORTANCE = 100  # of draws given some columns
LEAST_MET = 1e-3  # part of the rows drawn that meet the conditions
IS_MISSING = " is missing"  # ends the name of a column that says where another has gaps


@dataclass(frozen=True)
class Synthetic:
    """A table that a model drew.

    Parameters
    ----------
    rows : DataFrame
    model : estimator
        What drew them: a ``VAE``, or the model that was given.
    quality : Quality or None
        None if it wasn't asked for.
    met : float
        The part of the rows drawn that met the conditions; the others were drawn again.
    """

    rows: Any
    model: Any
    quality: Quality | None
    met: float


def synthesize(
    X: Any, n_rows: int | None = None, *, model: Any = None, target: str | None = None,
    given: Mapping[str, Any] | None = None, where: Sequence[str] = (), unique: Sequence[str] = (),
    keep_gaps: bool = False, max_epochs: int | None = None, check: bool = True, random_state: RandomState = 0,
    watch: Any = None,
) -> Synthetic:  # fmt: skip
    """Draw a table like this one: the same columns, types and levels.

    Parameters
    ----------
    X : DataFrame
    n_rows : int, optional
        Rows to draw; as many as the table has if None.
    model : estimator, optional
        An unfitted density estimator; a ``VAE`` of the table's columns, with parameters that suit its size, if None.
    target : str, optional
        A column that is predicted from the others, to see what the drawn rows teach.
    given : dict, optional
        Values of columns: the others are drawn given these, by importance sampling.
    where : sequence of str
        Conditions that every row has to meet, such as ``"start <= end"``. Rows that break one are drawn again. A
        condition ``"total == price * n"`` of a column of numbers computes that column instead of drawing it.
    unique : sequence of str
        Columns of which no two rows have the same values. One that names the rows, having another value in each, isn't
        learned: the drawn rows get new names.
    keep_gaps : bool
        Draw where values are missing, too; else the drawn rows are complete.
    max_epochs : int, optional
        Of the fit; chosen by the table's size if None.
    check : bool
        Hold out a tenth of the rows, and compare the drawn rows with them.
    random_state : int, RandomState or Generator
    watch : object, optional
        Told of the progress of the fit, as of ``VAE.fit``.

    Returns
    -------
    Synthetic

    Raises
    ------
    ConditionError
        If a condition can't be understood, or hardly any row meets it.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import lowerbound
    >>> rng = np.random.default_rng(0)
    >>> table = pd.DataFrame({"low": rng.random(300), "word": rng.choice(["a", "b"], 300)})
    >>> table["high"] = table["low"] + rng.random(300)
    >>> drawn = lowerbound.synthesize(table, 50, where=["low <= high"], check=False).rows
    >>> len(drawn), bool((drawn["low"] <= drawn["high"]).all())
    (50, True)
    """
    table, names = _table(X)
    given, seed = {str(name): value for name, value in (given or {}).items()}, seed_from(random_state)
    if n_rows is not None and (not isinstance(n_rows, (int, np.integer)) or n_rows < 1):
        raise ValueError(f"n_rows is a whole number of 1 or more, got {n_rows!r}")
    where, unique = ([each] if isinstance(each, str) else each for each in (where, unique))
    conditions = Conditions.of(table, where, [str(name) for name in unique])
    target = None if target is None else str(target)
    _check_asked(table, conditions, given, target)
    fitted, held_out = _split(table, seed) if check else (table, None)
    with_gaps = list(table.columns[table.isna().any()])
    if with_gaps and check and not keep_gaps:
        warn(
            f"values are missing in {counted(len(with_gaps), 'column')} and the drawn rows are complete, which alone "
            "tells them apart: keep_gaps=True (--keep-gaps) draws where values are missing, too"
        )
    drawing = _Drawing(conditions, list(table.columns), with_gaps if keep_gaps else [])
    learned = drawing.learned(fitted)
    estimator: Any = recommended(learned, seed) if model is None else clone(model)
    if max_epochs is not None:
        estimator.set_params(max_epochs=max_epochs)
    estimator.fit(learned, **({} if watch is None else {"watch": watch}))
    n = len(table) if n_rows is None else int(n_rows)
    rows, met = drawing.draw(estimator, n, given, seed)
    found = None
    if held_out is not None:
        enough = min(len(fitted), MOST_HELD_OUT)
        usual = rows if n >= enough and not given else drawing.repeating.draw(estimator, enough, {}, seed)[0]
        log_p = [estimator.score_samples(drawing.learned(some_of(some, COMPARED, seed))) for some in (fitted, held_out)]
        parts = (some.drop(columns=[*conditions.numbered]) for some in (fitted, held_out, usual))
        found = quality(*parts, target=target, log_p=log_p, seed=seed % 2**32)
    return Synthetic(in_container(rows.rename(columns=names), container_of(X)), estimator, found, met)


def _table(X: Any) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The table with words as the names of its columns, and their own names."""
    table = as_pandas(X)
    if not isinstance(table, pd.DataFrame) or len(table) < FEWEST_ROWS:
        raise ValueError(f"synthesize takes a DataFrame of {FEWEST_ROWS} rows or more")
    words = table.columns.map(str)
    if not words.is_unique:
        raise ValueError(f"{words[words.duplicated()][0]!r} is the name of several columns: give each its own")
    return table.set_axis(words, axis=1), dict(zip(words, table.columns, strict=True))


def _check_asked(table: pd.DataFrame, conditions: Conditions, given: Mapping[str, Any], target: str | None) -> None:
    """Refuse columns and values that can't be given, or predicted."""
    for name in [*given, *([] if target is None else [target])]:
        if name not in table:
            raise ValueError(f"the table has no column {name!r}: its columns are {listed(list(table.columns))}")
        if name in conditions.numbered or (name in given and name in conditions.computed):
            why = "has new names of the rows" if name in conditions.numbered else "is computed from others"
            raise ValueError(f"{name} can't be {'given' if name in given else 'the target'}: it {why}")
    for name, value in given.items():
        if pd.isna(value):
            raise ValueError(f"the value of {name} that is given is missing: leave it out")
        if measure_of(type_word(table[name])) == "category" and not (table[name] == value).any():
            raise ValueError(f"no row of the table has {name} = {value!r}, which is given")


def recommended(table: Any, seed: int) -> VAE:
    """The VAE of a table's columns that draws rows; real numbers enter it as their normal scores."""
    columns = VAE(columns="auto").describe(table).columns or ()
    scored, is_small = by_normal_scores(as_pandas(table), columns), len(table) < SMALL
    epochs = min(MOST_EPOCHS, max(FEWEST_EPOCHS, math.ceil(STEPS / math.ceil(len(table) / BATCH))))
    return VAE(
        16, columns=scored or "auto", prior="mixture", network=MLP((256, 256) if is_small else (512, 512)),
        objective=ELBO(warmup_steps=800), optimizer=Adam(3e-3), batch_size=BATCH, max_epochs=epochs, random_state=seed,
        early_stopping=EarlyStopping() if is_small else False,
    )  # fmt: skip


def _split(table: Any, seed: int) -> tuple[Any, Any]:
    """The rows to fit and the rows to compare with."""
    n = min(MOST_HELD_OUT, max(FEWEST_HELD_OUT, round(HELD_OUT * len(table))))
    order = np.random.default_rng(seed).permutation(len(table))
    return tuple(table.iloc[np.sort(part)] for part in (order[n:], order[:n]))  # type: ignore[return-value]


@dataclass(frozen=True)
class _Drawing:
    """From a table to what the model learns of it, and from what the model draws to a table.

    Attributes
    ----------
    conditions : Conditions
    names : list of str
        The columns of the user's table.
    with_gaps : list of str
        Those whose gaps are drawn.
    """

    conditions: Conditions
    names: list[str]
    with_gaps: list[str]

    def __post_init__(self) -> None:
        for name, flag in self.flags.items():
            if flag in self.names:
                raise ValueError(f"the gaps of {name} can't be drawn beside a column {flag!r}: give it another name")

    @property
    def flags(self) -> dict[str, str]:
        """The columns that say where others have gaps."""
        return {name: f"{name}{IS_MISSING}" for name in self.with_gaps}

    @property
    def repeating(self) -> _Drawing:
        """The same without columns that mustn't repeat a value."""
        return replace(self, conditions=replace(self.conditions, unique=[]))

    def learned(self, table: Any) -> Any:
        """The columns that are learned, and where gaps are, if these are drawn."""
        gaps = {flag: table[name].isna().map({True: "yes", False: "no"}) for name, flag in self.flags.items()}
        found = table.assign(**gaps).drop(columns=self.conditions.computed)
        if not found.shape[1]:
            raise ConditionError("every column is computed or names the rows: there is nothing to learn")
        return found

    def draw(self, model: Any, n: int, given: dict[str, Any], seed: int) -> tuple[Any, float]:
        """So many rows that meet the conditions, and the part of those drawn that did."""
        conditions = self.conditions
        found: Any = pd.DataFrame()
        n_kept = n_drawn = trial = 0
        while n_kept < n:
            share = n_kept / n_drawn if n_kept else 1.0
            size = min(max(100, math.ceil(1.2 * (n - n_kept) / share)), 2 * max(n, 5000))
            rows = self._drawn(model, size, given, seed + trial)
            found = conditions.first_of_each(pd.concat([found, rows[conditions.met(rows)]], ignore_index=True))
            n_drawn, n_kept, trial = n_drawn + size, len(found), trial + 1
            if n_drawn > 1000 and n_kept < min(n, LEAST_MET * n_drawn):
                said = [repr(each.text) for each in conditions.checked] + [f"unique {c}" for c in conditions.unique]
                raise ConditionError(
                    f"of {n_drawn:,} rows drawn {n_kept} meet {listed(said)}: ask for fewer rows or conditions"
                )
        rows = found.iloc[:n].assign(**{name: each.column(n) for name, each in conditions.numbered.items()})
        met = n_kept / n_drawn
        if met < 0.1:
            warn(f"{met:.1%} of the rows drawn met the conditions, and the others were drawn again")
        return rows[[name for name in self.names if name in rows]], met

    def _drawn(self, model: Any, n: int, given: dict[str, Any], seed: int) -> Any:
        """Rows of the model, with gaps if these are drawn."""
        known = {self.flags[name]: "no" for name in given if name in self.flags}
        rows = _given(model, n, given | known, seed) if given else as_pandas(model.sample(n, random_state=seed))
        complete = self.conditions.completed(rows, self.names)
        return complete.assign(**{name: complete[name].mask(rows[flag] == "yes") for name, flag in self.flags.items()})


def _given(model: Any, n: int, given: dict[str, Any], seed: int) -> Any:
    """Rows with these values, the others being drawn given them."""
    row = dict.fromkeys(map(str, model.feature_names_in_), np.nan) | given
    on = model.fitted_.on(pd.DataFrame(row, index=range(n)), "synthesize")
    on = replace(on, noise=Noise(make_generator(seed, "synthesize", on.rows.device)))
    filled = conditional.drawn(on, 1, N_IMPORTANCE)
    return as_pandas(model.schema_.restore(filled.x[0], expected=False))
