"""The imputer, with scikit-learn's conventions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, clone
from sklearn.impute import MissingIndicator
from sklearn.utils import Tags
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted, validate_data

from lowerbound.data import filling
from lowerbound.data.frames import as_pandas, container_of, in_container
from lowerbound.data.gaps import naming_words, nan_in_gaps
from lowerbound.data.table_code import TableCode, column_numbers, columns_of, missing
from lowerbound.estimators.arguments import check_no_sequences
from lowerbound.estimators.density import DensityEstimator
from lowerbound.estimators.saving import Restore, Saved
from lowerbound.imputation import saved
from lowerbound.imputation.budget import Budget
from lowerbound.imputation.completion import completed, gap_intervals, with_summaries
from lowerbound.imputation.gaussians import derived
from lowerbound.imputation.multiple import fillers, imputed
from lowerbound.imputation.network import EstimatorFiller, network_candidate
from lowerbound.imputation.selection import choose
from lowerbound.imputation.summaries import Intervals
from lowerbound.parameters.parameter import Parameter, check_count
from lowerbound.parameters.seed import RandomState, seed_from
from lowerbound.parameters.setting import Settable
from lowerbound.parameters.tables import CANDIDATES, IMPUTER_PARAMETERS
from lowerbound.precision import Undisturbed
from lowerbound.warning import warn

IMPORTANCE, NETWORK_IMPORTANCE = 1000, 100  # samples for an estimator, and for the network of the stack


class VAEImputer(OneToOneFeatureMixin, TransformerMixin, Undisturbed, Settable, BaseEstimator):
    r"""Fill the gaps of a table, given its observed entries: by E[x_m|x_o], draws, or intervals.

    By default several models compete: a Gaussian with full covariance (exact EM), mixtures of 4 to 48 of them (in
    tables with categories these are independent given the component), and a variational autoencoder trained with the
    importance-weighted bound (MIWAE). A tenth of the observed cells is hidden from them, and the weighted mean of
    models (stack) with the least squared error there is fitted again to all observed cells. For a nearly Gaussian
    table the result is that of the Gaussian, and a column that nothing tells is filled with its mean or mode;
    ``report_`` has the weights. Skewed and heavy-tailed columns are modeled by their normal scores, too; all fills lie
    in the support of their columns. ``VAEImputer(estimator=vae)`` fills the gaps
    with your own model.

    It takes arrays of numbers, and DataFrames with columns of numbers, categories, words, booleans and dates. NaN, None
    and NA are gaps, and so are masked entries. New rows, and gaps in other columns than in ``fit``, can be filled.
    Observed values are returned bit for bit. Entries are assumed to be missing at random: the chance that an entry is
    missing may depend on observed entries, but not on its own value.

    Parameters
    ----------
    estimator : estimator of lowerbound, optional
        A fitted ``VAE``, ``PPCA``, ``FactorAnalysis``, ``Gaussian``, ``Mixture`` or ``Factorized`` is used unchanged,
        an unfitted one is fitted to X. No cells are hidden, and there is no stack.
    models : tuple of {"gaussian", "mixture", "network"}
        The candidates if there is no ``estimator``. The Gaussian is always one.
    n_importance : int or "auto"
        K, importance samples of a row, for models without exact conditionals; auto: 1000, 100 for the stack's network.
    n_imputations : int
        The number of completed tables of ``sample_imputations``.
    fill : {"mean", "median", "draw", "mode"}
        The number in a gap: E[x_m|x_o], which has the least squared error; the median, which has the least absolute
        error; one draw; or the most probable value. Categories are the most probable, unless drawn.
    add_indicator : bool
        Append a 0/1 column for each column that had gaps in ``fit``.
    keep_empty_features : bool
        Columns without any value in ``fit`` are filled with 0 (numbers) instead of being left out, as in scikit-learn.
    max_seconds : float, optional
        The stack is made of what was fitted by then, which depends on the machine; so it is after Ctrl-C, too.
    random_state : int, RandomState or None
        The same seed gives the same result.
    verbose : int
        1 prints each candidate's error on hidden cells, and its weight.

    Attributes
    ----------
    report_ : list of dict
        For each candidate its ``name``, its ``error`` on hidden cells (squared, 1 for predicting the mean) and its
        ``weight`` in the stack, the mean over columns.
    ess_ : float or None
        With an ``estimator``: the mean effective number of importance samples of a row in the last ``transform`` or
        ``sample_imputations``; None if nothing was sampled.
    indicator_ : MissingIndicator or None
    n_features_in_ : int
    row_shape_ : tuple of int
        The shape of a row of numbers.
    feature_names_in_ : ndarray of str
    seed_ : int

    References
    ----------
    Mattei & Frellsen, 2019, arXiv:1812.02633. Rubin, 1987, Multiple Imputation for Nonresponse in Surveys.

    Examples
    --------
    >>> import numpy as np
    >>> from lowerbound import VAEImputer
    >>> X = np.array([[1.0, 2.0], [2.0, 4.0], [3.0, np.nan], [4.0, 8.0], [5.0, 10.0]])
    >>> round(float(VAEImputer(random_state=0).fit_transform(X)[2, 1]))
    6
    """

    PARAMETERS: ClassVar[dict[str, Parameter]] = IMPUTER_PARAMETERS

    seed_: int
    row_shape_: tuple[int, ...]
    indicator_: MissingIndicator | None
    report_: list[dict[str, Any]]
    ess_: float | None

    def __init__(
        self, estimator: DensityEstimator | None = None, *, models: Sequence[str] = CANDIDATES,
        n_importance: int | str = "auto", n_imputations: int = 20, fill: str = "mean", add_indicator: bool = False,
        keep_empty_features: bool = False, max_seconds: float | None = None, random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:  # fmt: skip
        self.estimator = estimator
        self.models = models
        self.n_importance = n_importance
        self.n_imputations = n_imputations
        self.fill = fill
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.max_seconds = max_seconds
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Fit the candidates and their weights, or the ``estimator``.

        Parameters
        ----------
        X : array-like or DataFrame, shape (n, columns)
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, or X has infinite values.
        """
        self._check_parameters()
        self.row_shape_ = ()
        rows: Any = self._check(X, reset=True)
        self.seed_ = seed_from(self.random_state)
        gaps = missing(rows)
        given: Any = None if self.estimator is None else self._fitted(rows)
        auto = NETWORK_IMPORTANCE if given is None else IMPORTANCE
        n_importance = auto if self.n_importance == "auto" else int(self.n_importance)
        every = self.keep_empty_features or given is not None  # a fitted estimator needs the columns of its fit
        self._kept = np.flatnonzero(~gaps.all(0) | every)
        if len(self._kept) < rows.shape[1]:
            self._warn_empty(gaps)
        self.indicator_ = (
            MissingIndicator(error_on_new=False).fit(filling.gaps_as_nan(gaps)) if self.add_indicator else None
        )
        table = filling.some_columns(rows, self._kept)
        self._code = TableCode(table)
        self._rows, self._n_rows = table if self.estimator is not None else self._code.encode(table), len(table)
        if given is not None:
            self._filler: Any = EstimatorFiller(given, n_importance)
            self.report_ = [{"name": type(given).__name__, "error": None, "weight": 1.0}]
            return self
        network = network_candidate(n_importance) if "network" in self.models else None
        with Budget(self.max_seconds) as budget:
            asked: dict[str, Any] = {"mixtures": "mixture" in self.models, "verbose": self.verbose}
            self._filler, self.report_ = choose(self._rows, self._code, self.seed_, network, budget, **asked)
        return self

    def _fitted(self, X: Any) -> DensityEstimator:
        if not isinstance(self.estimator, DensityEstimator):
            raise TypeError(f"estimator must be one of lowerbound's, got {type(self.estimator).__name__}")
        fitted: Any = self.estimator if hasattr(self.estimator, "model_") else clone(self.estimator)
        return fitted if fitted is self.estimator else fitted.fit(X)

    def transform(self, X: ArrayLike) -> np.ndarray | pd.DataFrame:
        """Fill the gaps as ``fill`` says: with E[x_m|x_o], or with the most probable category.

        Parameters
        ----------
        X : array-like or DataFrame, shape (n, columns)

        Returns
        -------
        ndarray or DataFrame, shape (n, columns)
            Observed values are unchanged. A DataFrame, with the types of X, after ``set_output(transform="pandas")``.
        """
        check_is_fitted(self, "report_")
        rows: Any = self._check(X)
        table, gaps = filling.some_columns(rows, self._kept), missing(rows)
        if not gaps[:, self._kept].any():
            filled = table.copy()
        elif self.fill == "draw":
            filled = imputed(self, table, [self._filler], 1, self.seed_)[0]
        else:
            filled = self._expected(table)
            filled = filled if self.fill == "mean" else with_summaries(self, table, filled)
        return self._output(filled, gaps)

    def sample_imputations(
        self, X: ArrayLike, m: int | None = None, random_state: RandomState = None, *, refit: bool | str = "auto"
    ) -> list[np.ndarray | pd.DataFrame]:
        """Multiple imputation: completed tables with draws from p(x_m|x_o) in the gaps.

        Each table is drawn by models of its own, fitted to a bootstrap of the rows of ``fit``, so that the differences
        between tables show the uncertainty about the gaps and that about the models (Rubin, 1987); ``lowerbound.pool``
        takes both into account. Which models there are, and their weights, stay.

        Parameters
        ----------
        X : array-like or DataFrame, shape (n, columns)
        m : int, optional
            The number of tables; ``n_imputations`` if None.
        random_state : int, RandomState or Generator, optional
            The estimator's if None: with a fixed one, two calls give the same tables.
        refit : {"auto", True, False}
            False draws all tables by the one fitted model, for which intervals by Rubin's rules are too narrow. "auto"
            is True, but for an ``estimator`` that was fitted before, which is used unchanged. An imputer that was saved
            doesn't hold the rows of ``fit``, and takes those of X in their place.

        Returns
        -------
        list of ndarray or DataFrame
            The m tables, of the type of X.
        """
        check_is_fitted(self, "report_")
        m = self.n_imputations if m is None else m
        check_count("m", m)
        seed = self.seed_ if random_state is None else seed_from(random_state)
        table = filling.some_columns(self._check(X), self._kept)
        return [self._like(X, one) for one in imputed(self, table, fillers(self, table, m, seed, refit), m, seed)]

    def impute_interval(self, X: ArrayLike, level: float = 0.9, random_state: RandomState = None) -> tuple[Any, Any]:
        """An interval of a given probability for each missing number, date or duration.

        It is central, from its (1 − level)/2 to its (1 + level)/2 quantile, or the shortest where one value has a
        twentieth of the probability or more: a count, a number with few values, a column with atoms. Such an
        interval has more than the level where no interval has it exactly.

        Parameters
        ----------
        X : array-like or DataFrame, shape (n, columns)
        level : float
            The probability of the interval.
        random_state : int, RandomState or Generator, optional
            The seed of the draws whose quantiles are taken.

        Returns
        -------
        low, high : ndarray, or DataFrames for a DataFrame
            Both equal x at observed entries, and are NaN for categories, which have no interval.
        """
        found = self.intervals(X, level, random_state)
        rows, ends = as_pandas(X), (found.low, found.high)
        if isinstance(rows, pd.DataFrame):
            table = filling.some_columns(rows, self._kept)
            ends = filling.like_table(table, found.low), filling.like_table(table, found.high)
        low, high = (self._like(X, end) for end in ends)
        return low, high

    def intervals(self, X: ArrayLike, level: float = 0.9, random_state: RandomState = None) -> Intervals:
        """The intervals of ``impute_interval``, and what counts at their ends, shape (n, columns).

        Those of dates are in days since 1970, those of durations in seconds.

        Parameters
        ----------
        X : array-like or DataFrame, shape (n, columns)
        level : float
        random_state : int, RandomState or Generator, optional
        """
        check_is_fitted(self, "report_")
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, got {level:g}")
        seed = self.seed_ if random_state is None else seed_from(random_state)
        table = filling.some_columns(self._check(X), self._kept)
        return gap_intervals(self, table, level, seed)

    def save(self, path: str | Path) -> None:
        """Write a folder of safetensors and JSON, atomically; ``lowerbound.load`` reads it.

        Raises
        ------
        ValueError
            If a column has categories that JSON can't hold, such as dates among words.
        """
        check_is_fitted(self, "report_")
        saved.save(self, Path(path))

    @classmethod
    def from_saved(cls, contents: Saved, restore: Restore) -> VAEImputer:
        """The imputer that ``save`` wrote; ``lowerbound.load`` calls this."""
        return saved.restored(cls, contents, restore)

    # tables and matrices

    def _given(self, table: Any) -> Any:
        """The input of the filler: the matrix, or the rows for an ``estimator``."""
        return self._code.encode(table) if self.estimator is None else table

    def _expected(self, table: Any) -> Any:
        """The table with expectations, or modes, in the gaps."""
        filled = self._filler.mean(self._given(table))
        if self.estimator is None:
            return completed(self._code, table, filled)
        self.ess_ = self._filler.ess
        return filling.with_gaps_from(table, filled)

    def _drawn(self, filler: Any, table: Any, m: int, seed: int) -> list[Any]:
        """m completed tables with draws of one filler."""
        given = self._given(table)
        if self.estimator is not None:
            return [filling.with_gaps_from(table, one) for one in filler.draws(given, m, seed)]
        expected, draws = filler.mean_and_draws(given, m, seed)
        return [completed(self._code, table, Z, expected, derived(seed, i)) for i, Z in enumerate(draws)]

    def _like(self, X: Any, table: Any) -> Any:
        """A table in the library of X, or in the shape of its rows."""
        return in_container(table, container_of(X)) if isinstance(table, pd.DataFrame) else self._shaped(table)

    def _output(self, filled: Any, gaps: np.ndarray) -> Any:
        library = _get_output_config("transform", self)["dense"]
        as_frame = library != "default" and isinstance(filled, pd.DataFrame)
        if self.indicator_ is None:
            return in_container(filled, library) if as_frame else self._shaped(np.asarray(filled))
        marks = self.indicator_.transform(filling.gaps_as_nan(gaps))
        if as_frame:
            names = self.get_feature_names_out()[filled.shape[1] :]
            marked = pd.concat([filled, pd.DataFrame(marks, index=filled.index, columns=names)], axis=1)
            return in_container(marked, library)
        return np.hstack([np.asarray(filled), np.asarray(marks)])

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Names of the columns of ``transform``: those of X that were kept, then the indicators."""
        check_is_fitted(self, "report_")
        names: Any = super().get_feature_names_out(input_features)
        if self.indicator_ is None:
            return names[self._kept]
        marks = [f"missingindicator_{names[j]}" for j in self.indicator_.features_]
        return np.concatenate([names[self._kept], np.asarray(marks, object)])

    def _check_parameters(self) -> None:
        for name, parameter in self.PARAMETERS.items():
            parameter.check(getattr(self, name))
        if self.estimator is not None and tuple(self.models) != CANDIDATES:
            raise ValueError(
                f"models={self.models!r} are for an imputer without an estimator, and one is given: leave them out"
            )

    def _check(self, X: Any, *, reset: bool = False) -> Any:
        """An array of numbers, with NaN where a masked array has gaps, or a DataFrame unchanged."""
        check_no_sequences(X)
        X = nan_in_gaps(as_pandas(X))
        several = not reset and not self.row_shape_  # fit saw columns of several kinds
        if isinstance(X, pd.DataFrame) and (several or not all(map(pd.api.types.is_numeric_dtype, X.dtypes))):
            validate_data(self, X, reset=reset, skip_check_array=True)  # type: ignore[arg-type]
            if not reset:
                self._code.check(filling.some_columns(X, self._kept))
            if len(X) == 0:
                raise ValueError("X has 0 rows: there is nothing to fill")
            if any(np.isinf(column_numbers(values)).any() for values in columns_of(X)):
                raise ValueError("Input X contains infinity: replace infinite values, or make them NaN to be filled")
            return X
        own = self.estimator is not None  # may be fitted to images
        checks: Any = {"dtype": "numeric", "ensure_all_finite": "allow-nan", "allow_nd": own}
        with naming_words(X):
            checked: Any = validate_data(self, X, reset=reset, **checks)  # type: ignore[arg-type]
        if reset:
            self.row_shape_ = checked.shape[1:]
        elif checked.shape[1:] != self.row_shape_:
            raise ValueError(f"rows have shape {checked.shape[1:]}, but the imputer was fitted to {self.row_shape_}")
        return X if isinstance(X, pd.DataFrame) else checked.reshape(len(checked), -1)

    def _shaped(self, rows: Any) -> Any:
        """Flattened rows in the shape of the user's rows."""
        shape = getattr(self, "row_shape_", ())
        return rows.reshape(len(rows), *shape) if len(shape) > 1 else rows

    def _warn_empty(self, gaps: np.ndarray) -> None:
        empty = getattr(self, "feature_names_in_", np.arange(gaps.shape[1]))[gaps.all(0)]
        warn(f"left out {len(empty)} column(s) without any value: {', '.join(map(str, empty[:10]))}")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.non_deterministic = False
        return tags
