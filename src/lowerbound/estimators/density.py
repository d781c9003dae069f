"""The base of all estimators of p(x): checks, the schema, seeds, sampling, saving.

``DensityEstimator`` is for all of them; ``GradientEstimator`` adds what the one training loop needs.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

import lowerbound
from lowerbound.core import Model, NoPosterior, Posterior
from lowerbound.data.checks import check_finite, check_rectangular
from lowerbound.data.context import ContextSchema
from lowerbound.data.far import warn_of_far
from lowerbound.data.frames import as_pandas
from lowerbound.data.gaps import mask_gaps, naming_words, without_na
from lowerbound.data.schema import Schema, infer_schema
from lowerbound.data.sources import Source, as_source
from lowerbound.data.spectrum import informative_directions
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.estimators import saving
from lowerbound.estimators.arguments import Data, check_no_sequences
from lowerbound.estimators.fitted import Fitted
from lowerbound.evaluation.bound import exact_log_prob
from lowerbound.evaluation.estimate import Estimate, mean_over_rows
from lowerbound.parallel import current
from lowerbound.parameters.parameter import Parameter, check_count
from lowerbound.parameters.seed import RandomState, seed_from
from lowerbound.parameters.setting import Settable
from lowerbound.precision import Undisturbed
from lowerbound.tasks import generate

Gaps = Literal["anywhere", "somewhere", "nowhere"]  # where values may be missing


class DensityEstimator(Undisturbed, Settable, BaseEstimator):
    """A model of p(x) behind scikit-learn's conventions.

    A subclass lists its parameters in ``PARAMETERS``, makes its modules from ``schema_`` in ``_assemble``, fits them
    in ``fit``, and scores rows in ``score_samples`` and ``log_likelihood``. What must come back after ``load`` is in
    the modules, or named in ``FITTED``. Entries that are NaN, None or NA, or masked in a ``numpy.ma.MaskedArray``, were
    not observed: they are in no statistic and in no density. ``GAPS`` says where a subclass can do without values.
    """

    PARAMETERS: ClassVar[dict[str, Parameter]]
    FITTED: ClassVar[tuple[str, ...]] = ("seed_", "n_features_in_")
    STREAMS: ClassVar[bool] = False  # a `Source` can be given, whose rows are read when they are needed
    GAPS: ClassVar[Gaps] = "anywhere"
    SCHEMA: ClassVar[Any] = Schema  # what rows are,
    CONTEXT: ClassVar[Any] = ContextSchema  # and a context: each has a ``from_saved``

    random_state: RandomState
    schema_: Schema
    _inferred: Schema | None = None  # from columns of several kinds
    context_: ContextSchema | None = None  # the columns of what the model is given
    _given: Any = None  # the context itself
    _built_with: dict[str, Any] | None = None  # the parameters that the model was made from
    model_: Model
    seed_: int

    def _assemble(self, generator: torch.Generator) -> None:
        """Make ``model_`` (and a posterior, where there is one) from ``schema_``, weights from ``generator``."""
        raise NotImplementedError(f"{type(self).__name__} does not say how its model is made")

    def _modules(self) -> dict[str, nn.Module]:
        """The modules whose weights are saved, by name."""
        posterior = self._posterior()
        own = {} if isinstance(posterior, NoPosterior) else {"posterior": posterior}
        return {"model": self.model_, **own}

    def _start(self, X, *, keep_weights: bool = False, reset: bool = True) -> Any:
        """Check everything; make the model unless the weights are to be kept."""
        self._check_parameters()
        X = self._validate(X, reset=reset)
        if keep_weights and hasattr(self, "model_"):
            self._check_unchanged("the weights there are can't be continued: set warm_start=False, or set it back")
            return X
        self.n_fits_ = 0
        self._check_enough(X)
        self.seed_ = current().number_of_first(seed_from(self.random_state))  # the same in all processes
        self.schema_ = self._infer_schema(X)
        self._assemble(make_generator(self.seed_, "weights"))
        self._built_with = self._structure()
        return X

    def _check_enough(self, X: Any) -> None:
        """Raise ``ValueError`` unless there are rows to fit, and values in them."""
        if len(X) < 2:
            raise ValueError(f"X has 1 sample (n_samples = {len(X)}): a density needs at least 2 rows")
        if isinstance(X, np.ma.MaskedArray) and not X.count():
            raise ValueError("every value of X is missing: there is nothing to fit")

    def _check_parameters(self) -> None:
        """Raise ``ValueError`` unless all parameters are allowed."""
        for name, parameter in self.PARAMETERS.items():
            parameter.check(getattr(self, name))

    def _structure(self) -> dict[str, Any]:
        """The parameters that the model was made from; others may change from fit to fit."""
        return {name: self._part(name) for name in self.PARAMETERS if name not in saving.OF_FITTING}

    def _check_unchanged(self, otherwise: str) -> None:
        """Raise ``ValueError`` if the model was made from other parameters than there are now."""
        now = self._structure()
        for name, before in (self._built_with or now).items():
            if now[name] is not before and now[name] != before:
                raise ValueError(f"{name} was {before!r} in the fit and is {now[name]!r} now, so {otherwise}")

    def _part(self, name: str) -> Any:
        """A parameter's value; the part with its defaults, where a word stands for one."""
        return self.PARAMETERS[name].part(getattr(self, name))

    def describe(self, X: Data) -> Schema:
        """The schema of the rows of ``X``, as ``fit`` would see it: likelihood, layout, columns; nothing is fitted."""
        like: Any = clone(self)
        X = like._validate(X, reset=True)
        like._check_enough(X)
        return like._infer_schema(X)

    def _infer_schema(self, X: Any) -> Schema:
        if self._inferred is not None:
            return self._inferred
        asked = {k: getattr(self, k) for k in ("binarize", "standardize", "image_shape", "layout") if hasattr(self, k)}
        if "likelihood" in self.PARAMETERS:
            asked |= self._asked_likelihood()
        return self._with_directions(infer_schema(X, names=self._names, **asked), X)

    def _with_directions(self, schema: Schema, X: Any) -> Schema:
        """The schema with the number of directions in X, where that of latent variables is chosen by it."""
        wanted = getattr(self, "latent_dim", None)
        chooses = "auto" in (wanted, getattr(wanted, "latent_dim", None)) and not schema.kind.is_nominal
        return replace(schema, n_directions=informative_directions(X, schema.row_unit)) if chooses else schema

    @property
    def _names(self) -> list[str] | None:
        """The names of the columns of the frame that is fitted."""
        names = getattr(self, "feature_names_in_", None)
        return None if names is None else list(names)

    def _asked_likelihood(self) -> dict[str, Any]:
        """The likelihood by its word, and what it asks of the data."""
        part = self._part("likelihood")
        if isinstance(part, str):
            return {"likelihood": part}
        found = {name: getattr(part, name) for name in ("binarize", "standardize") if hasattr(part, name)}
        return {"likelihood": part.kind, **found}

    def _validate(self, X, *, reset: bool = False) -> Any:
        """An array, checked, masked where it has gaps; a source, of which only a few rows are checked now."""
        encoded = self._encode_columns(X, reset=reset)
        rows = self._validate_numbers(as_pandas(X), reset=reset) if encoded is None else encoded
        if not reset:
            warn_of_far(rows, self.schema_, self._names)
        return rows

    def _encode_columns(self, X, *, reset: bool) -> Any | None:
        """The rows of a table whose columns are of several kinds as numbers; None for other data."""
        return None

    def _validate_numbers(self, X, *, reset: bool) -> Any:
        X = as_source(X)
        if isinstance(X, Source):
            if not self.STREAMS:
                raise ValueError(f"{type(self).__name__} needs all rows in memory: give an array, or part of them")
            self._validate_numbers(X.spread(2).X, reset=reset)
            return X
        check_no_sequences(X)
        check_rectangular(X)
        if not reset:
            self._check_shape(X.shape if hasattr(X, "shape") else np.asarray(X).shape)
        mask = np.ma.getmaskarray(X) if isinstance(X, np.ma.MaskedArray) else None
        checks = {"reset": reset, "allow_nd": True, "dtype": "numeric", "ensure_all_finite": False}
        with naming_words(X):
            X = np.asarray(validate_data(self, without_na(X), **checks))
        names = getattr(self, "feature_names_in_", None)
        place = None if names is None else lambda row, column: f"row {row}, column {str(names[column])!r}"
        check_finite(X, "X", place, allow_nan=self.GAPS != "nowhere")
        return self._mask_gaps(X.astype(np.float32) if X.dtype == np.float16 else X, mask)

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise ``ValueError`` for rows of another shape; scikit-learn itself compares the columns of tables."""
        row_shape = self.schema_.row_shape
        if shape == row_shape and len(shape) > 1:
            raise ValueError(f"X has the shape of one row, {shape}: give it as X[None], of shape {(1, *shape)}")
        if shape[1:] != row_shape and (len(row_shape) > 1 or len(shape) > 2):
            raise ValueError(f"rows of X have shape {shape[1:]}, but the model was fitted to rows of shape {row_shape}")

    def _mask_gaps(self, X: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        X = mask_gaps(X, mask)
        if self.GAPS == "nowhere" and isinstance(X, np.ma.MaskedArray):
            raise ValueError(f"{type(self).__name__} needs complete data, and X has missing values: drop or fill them")
        return X

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.GAPS == "anywhere"
        return tags

    def _device(self) -> torch.device:
        device = getattr(self, "device", "cpu")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            return torch.empty(0, device=device).device  # with its number: of several GPUs the current one
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"device={device!r} can't be used on this machine: use 'cpu', or 'auto'") from error

    def _posterior(self) -> Posterior:
        """q(z|x); a model without latent variables has none."""
        return NoPosterior()

    def _fitting(self, dtype: torch.dtype = torch.float32) -> Fitted:
        """``fitted_`` of a model that is made and needn't be fitted yet."""
        return Fitted(
            self.model_, self._posterior(), schema=self.schema_, seed=self.seed_, device=self._device(),
            check=self._validate, check_block=self._mask_gaps, dtype=dtype,
            context_schema=self.context_, context=self._given,
        )  # fmt: skip

    def _fresh_noise(self, random_state: RandomState, purpose: str) -> Noise:
        """Noise from the seed that the caller gives, else from the estimator's."""
        seed = seed_from(self.random_state if random_state is None else random_state)
        return self._fitting().noise(purpose, seed)

    @property
    def fitted_(self) -> Fitted:
        """The fitted model as all its uses take it: model, posterior, schema, seed and device."""
        check_is_fitted(self)
        return self._fitting()

    def given(self, context: Any) -> Self:
        """The fitted model given a context: all methods of it are then conditional on it, p(x|c) in place of p(x).

        Parameters
        ----------
        context : array, series or DataFrame
            A row for each row, or code, or draw to come; or one for all.

        Raises
        ------
        ValueError
            If the model was fitted without a context.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from lowerbound import VAE
        >>> X, species = load_iris(return_X_y=True)
        >>> vae = VAE(2, max_epochs=5, random_state=0).fit(X, context=species)
        >>> vae.given(2).sample(3).shape
        (3, 4)
        """
        check_is_fitted(self)
        if self.context_ is None:
            raise ValueError("the model was fitted without a context: fit it with fit(X, context=…)")
        same = copy.copy(self)
        same._given = context
        return same

    def _given_to(self, context: Any) -> Self:
        """This model, given a context where there is one."""
        return self if context is None else self.given(context)

    def score_samples(self, X: Data) -> np.ndarray:
        """log p(x) of every row, in nats, shape (n,)."""
        raise NotImplementedError(f"{type(self).__name__} does not score rows")

    def log_likelihood(self, X: Data) -> Estimate:
        """Mean of log p(x) over rows, in nats, with its standard error."""
        raise NotImplementedError(f"{type(self).__name__} does not score data")

    def sample(
        self, n_samples: int = 1, mean: bool = False, random_state: RandomState = None, *, context: Any = None
    ) -> np.ndarray:
        """New rows.

        Parameters
        ----------
        n_samples : int
            The number of rows.
        mean : bool
            The mean E[x|z] for z from the prior, instead of draws from p(x|z).
        random_state : int, RandomState or Generator, optional
            The estimator's if None: with a fixed one, two calls give the same rows.
        context : array, series or DataFrame, optional
            As for ``given``.

        Returns
        -------
        ndarray, shape (n_samples, *row)
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples)
        noise = self._fresh_noise(random_state, "sample")
        c = self._given_to(context)._fitting().coded_context(n_samples)
        x = generate.sample(self.model_, n_samples, noise, mean=mean, context=c)
        return self.schema_.restore(x, expected=mean)

    def explore(self, X: Any = None, labels: Any = None, **options: Any) -> Any:
        """Open a page on this machine to look at the fitted model, live; it needs the extra ``ui``.

        Parameters
        ----------
        X : array-like, shape (n, *row), optional
            Rows to look at it with.
        labels : array-like, shape (n,), optional
        **options
            As for ``lowerbound.explore``.

        Returns
        -------
        Page
            Its ``url`` is the address; ``wait()`` serves it until Ctrl-C, ``close()`` ends it.
        """
        return lowerbound.explore(self, X, labels, **options)

    def compress(self, X: Any, path: str | Path, *, decimals: int | None = None, with_model: bool = False) -> Any:
        """Write rows to a file without loss; `lowerbound.decompress` reads it with this model.

        Parameters
        ----------
        X : array-like, shape (n, *row), or what the model was fitted to
            Of a model of texts also the ``Path`` of a text file, which comes back byte for byte.
        path : path
        decimals : int, optional
            To which real values are given.
        with_model : bool
            Put the model into the file, too.

        Returns
        -------
        Compressed
            Bytes of the file, bits a row and a dimension, and the bound that they should have.
        """
        return lowerbound.compress(self, X, path, decimals=decimals, with_model=with_model)

    def save(self, path: str | Path) -> None:
        """Write a folder of safetensors and JSON, atomically; ``lowerbound.load`` reads it."""
        check_is_fitted(self)
        self._check_unchanged(
            "the fitted model can't be saved as one with these parameters: fit it again, or set it back"
        )
        saving.save(self, Path(path))

    @classmethod
    def from_saved(cls, saved: saving.Saved, restore: saving.Restore) -> Any:
        """The estimator that ``save`` wrote; ``lowerbound.load`` calls this."""
        return saving.restored(cls, saved, restore)


class ExactEstimator(DensityEstimator):
    """A model that knows its log p(x) exactly."""

    def score(self, X: Data, y: object = None) -> float:
        """Mean of ``score_samples``, in nats a row.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        y : ignored
        """
        return float(self.score_samples(X).mean())

    def score_samples(self, X: Data) -> np.ndarray:
        """log p(x) of every row, exact, in nats and the user's units, shape (n,).

        Computed in float64; grey values under ``binarize="sample"`` are scored on one fixed binarization.
        """
        return exact_log_prob(self.fitted_.exactly().on(X)).numpy()

    def log_likelihood_rows(self, X: Data) -> np.ndarray:
        """log p(x) of every row, exact, shape (n,); like ``score_samples``, but binarizations are independent."""
        exactly = replace(self.fitted_.exactly(), shared_noise=False)
        return exact_log_prob(exactly.on(X, "log_likelihood")).numpy()

    def log_likelihood(self, X: Data) -> Estimate:
        """Mean log p(x) over rows, exact, with its standard error; binarizations are independent."""
        return mean_over_rows(torch.from_numpy(self.log_likelihood_rows(X)), "exact")
