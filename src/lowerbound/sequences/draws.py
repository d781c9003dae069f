"""Draws of the steps of sequences in the user's units, and what they say of each value: mean, median, quantiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from lowerbound.data.frames import as_pandas, in_container
from lowerbound.data.sequences import Sequences, cut
from lowerbound.warning import warn

if TYPE_CHECKING:
    import pandas as pd

Summary = Callable[[np.ndarray], np.ndarray]  # (n, N) → (N,)


class Draws:
    """n draws of N steps.

    Parameters
    ----------
    values : ndarray or DataFrame, shape (nN, F)
        The steps of the first draw, then those of the second, and so on.
    n : int
    """

    def __init__(self, values: Any, n: int) -> None:
        self.values: Any = values if isinstance(values, np.ndarray) else as_pandas(values)
        self.n: int = n

    def one(self, i: int) -> Any:
        """Draw i, shape (N, F)."""
        size = len(self.values) // self.n
        values = self.values if isinstance(self.values, np.ndarray) else self.values.iloc
        return values[i * size : (i + 1) * size]

    def mean(self) -> Any:
        """Means of numbers, the most frequent one of categories, shape (N, F)."""
        return self._by_column(lambda v: v.mean(0))

    def quantile(self, q: float) -> Any:
        """Quantiles of numbers and dates, the most frequent one of categories, shape (N, F).

        The k-th of n draws in order is the quantile k/(n + 1), which one draw more is below with this probability.
        """
        return self._by_column(lambda v: np.quantile(v, q, axis=0, method="weibull"))

    def _by_column(self, of: Summary) -> Any:
        if isinstance(self.values, np.ndarray):
            return of(self.values.reshape(self.n, -1, self.values.shape[1]).astype(np.float64))
        import pandas as pd

        columns = {name: _summary(column, self.n, of) for name, column in self.values.items()}
        return pd.DataFrame(columns)


def _summary(column: pd.Series, n: int, of: Summary) -> pd.Series:
    """One value of each step, from the n draws of a column."""
    import pandas as pd

    dtype = column.dtype
    if not len(column):
        return column
    if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype):
        return pd.Series(of(column.to_numpy(np.float64).reshape(n, -1)))
    if dtype.kind in "mM" and isinstance(dtype, np.dtype):
        numbers = column.to_numpy().view(np.int64).reshape(n, -1)
        return pd.Series(of(numbers.astype(np.float64)).round().astype(np.int64).view(dtype))
    codes, categories = pd.factorize(column)
    codes = codes.reshape(n, -1)
    counts = np.stack([(codes == k).sum(0) for k in range(len(categories))])
    return pd.Series(categories[counts.argmax(0)]).astype(dtype)


class FilledSequences:
    """Sequences with their gaps filled, several times.

    Attributes
    ----------
    n : int
        The number of draws.
    ess : ndarray, shape (sequences,)
        The least effective number of particles at any step of each sequence; NaN where there is no gap.

    Examples
    --------
    >>> import numpy as np
    >>> from lowerbound import Adam, RecurrentVAE
    >>> rng = np.random.default_rng(0)
    >>> walks = [rng.normal(size=(20, 1)).cumsum(0) for _ in range(40)]
    >>> model = RecurrentVAE(0, hidden_size=8, optimizer=Adam(0.02), max_epochs=20, random_state=0).fit(walks)
    >>> walks[0][5:8] = np.nan
    >>> filled = model.impute(walks[:1], n=20)
    >>> low, high = filled.interval(0.8)
    >>> bool((low[0][5:8] < high[0][5:8]).all())
    True
    """

    def __init__(
        self, sequences: Sequences, places: np.ndarray, gaps: np.ndarray, draws: Draws, ess: np.ndarray
    ) -> None:
        self._sequences, self._places, self._gaps, self._draws = sequences, places, gaps, draws
        self.n: int = draws.n
        self.ess: np.ndarray = ess

    def draws(self) -> list[list[Any]]:
        """n times all sequences, each with draws from p(x_m|x_o) in the gaps: multiple imputations."""
        return [self._with(self._draws.one(i)) for i in range(self.n)]

    def mean(self) -> list[Any]:
        """The sequences with the means of the draws in the gaps; of categories the most frequent ones."""
        return self._with(self._draws.mean())

    def median(self) -> list[Any]:
        """The sequences with the medians of the draws in the gaps; of categories the most frequent ones."""
        return self._with(self._draws.quantile(0.5))

    def interval(self, level: float = 0.9) -> tuple[list[Any], list[Any]]:
        """The ends of the central interval that one more draw would be in with a probability; x where it is observed.

        Parameters
        ----------
        level : float
            The probability, between 0 and 1: with n draws at most (n − 1)/(n + 1), and a warning above. Of categories
            both ends are the most frequent one.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, got {level!r}")
        if level > (most := (self.n - 1) / (self.n + 1)):
            warn(f"intervals of {self.n} draws hold one more in {most:.3g} of cases at most: impute more for {level:g}")
        low, high = (self._with(self._draws.quantile(0.5 + half * level)) for half in (-0.5, 0.5))
        return low, high

    def _with(self, values: Any) -> list[Any]:
        """The sequences with these values (G, F) in the gaps of the steps that have some."""
        steps = self._sequences.steps
        if isinstance(steps, np.ndarray):
            values = np.asarray(values)
            dtype = np.result_type(steps.dtype, values.dtype)
            filled = np.array(np.ma.filled(steps.astype(dtype), np.nan if dtype.kind == "f" else 0))
            at = filled[self._places]
            filled[self._places] = np.where(self._gaps, values, at)
            return cut(filled, self._sequences.lengths)
        container = self._sequences.container
        return [in_container(each, container) for each in cut(self._in_frame(steps, values), self._sequences.lengths)]

    def _in_frame(self, steps: pd.DataFrame, values: Any) -> pd.DataFrame:
        import pandas as pd

        columns, new = {}, pd.DataFrame(values)
        for j, name in enumerate(steps.columns):
            rows = self._gaps[:, j]
            chosen = new.iloc[:, j][rows].set_axis(self._places[rows])
            columns[name] = _replaced(steps.iloc[:, j].reset_index(drop=True), chosen)
        return pd.DataFrame(columns).set_axis(steps.index)


def _replaced(column: pd.Series, new: pd.Series) -> pd.Series:
    """A column with other values at some rows; of numbers as floats where these are no whole ones."""
    import pandas as pd

    if not len(new):
        return column
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        column = column.astype(np.result_type(new.to_numpy().dtype, np.float64))
    column = column.copy()
    column.iloc[new.index] = new.to_numpy()
    return column if column.isna().any() else column.infer_objects()
