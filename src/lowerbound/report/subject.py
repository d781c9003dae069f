"""A fitted model with some rows of data: what a page or a report is about."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import torch

from lowerbound.data.frames import as_pandas
from lowerbound.data.sources import Source, as_source
from lowerbound.data.table_code import missing
from lowerbound.estimators.autoencoder import Autoencoder
from lowerbound.estimators.density import DensityEstimator
from lowerbound.estimators.fitted import Fitted
from lowerbound.estimators.latent import LatentEstimator
from lowerbound.evaluation.bound import ElboTerms, elbo_terms
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.models.sequence import SequenceModel
from lowerbound.outliers.detector import VAEOutlierDetector
from lowerbound.outliers.member import take
from lowerbound.report.coded import Coded
from lowerbound.report.rows import Display
from lowerbound.tasks import generate, represent

MOST_ROWS = 100_000
DRAWS_OF_BOUND = 4


@dataclass(frozen=True)
class Run:
    """The training of a model, as far as it is known.

    Attributes
    ----------
    name : str
        What the model is called on the page.
    history : list of dict
        One record an epoch.
    configuration : str
        The parameters, as TOML.
    command : str
    versions : dict
    """

    name: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)
    configuration: str = ""
    command: str = ""
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject(Coded):
    """A fitted model and rows to look at it with.

    Attributes
    ----------
    model : DensityEstimator
    X : array or DataFrame, shape (n, *row), or None
        Rows in memory.
    labels : ndarray, shape (n,), or None
        Of these rows.
    label : str
        What the labels are called.
    places : ndarray of int64, shape (n,)
        The places of the rows in the data.
    n_rows : int
        The number of rows of the data.
    source : str
        What the data are called.
    chosen : str
        How the rows were chosen among those of the data; empty if all are here.
    run : Run
    detector : VAEOutlierDetector, optional
        The one that the model is of.
    """

    model: Any
    X: Any = None
    labels: np.ndarray | None = None
    label: str = "label"
    places: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    n_rows: int = 0
    source: str = ""
    chosen: str = ""
    run: Run = Run()
    detector: VAEOutlierDetector | None = None

    @classmethod
    def of(
        cls, model: Any, X: Any = None, labels: Any = None, *, label: str = "label", source: str = "X",
        run: Run | None = None, most: int = MOST_ROWS,
    ) -> Subject:  # fmt: skip
        """A model with at most so many rows of some data.

        Parameters
        ----------
        model : estimator
            Fitted; of a detector its first autoencoder is looked at.
        X : array-like, DataFrame or Source, shape (n, *row), optional
        labels : array-like, shape (n,), optional
        label, source : str
            What the labels and the data are called.
        run : Run, optional
        most : int
            Of more rows some are taken, of every label its share.

        Raises
        ------
        TypeError
            If there is nothing to show of such a model.
        """
        detector = model if isinstance(model, VAEOutlierDetector) else None
        model = model if detector is None else detector.estimators_[0]
        if not isinstance(model, DensityEstimator) or isinstance(model.fitted_.model, SequenceModel):
            raise TypeError(f"there is no page of a {type(model).__name__} yet: take a model of images or of a table")
        subject = cls(model, run=run or Run(type(model).__name__), detector=detector, label=label, source=source)
        return subject if X is None else subject.with_rows(X, labels, most)

    def with_rows(self, X: Any, labels: Any = None, most: int = MOST_ROWS) -> Subject:
        """The same with rows of data, at most so many."""
        X = as_source(as_pandas(X))
        X = X if isinstance(X, Source) or hasattr(X, "iloc") else np.asanyarray(X)
        n, chosen = len(X), ""
        labels = None if labels is None or isinstance(X, Source) else np.asarray(labels)
        places = spread(n, labels, most)
        if len(places) < n:
            by_label = "" if labels is None else ", each label with its share"
            chosen = f"{len(places):,} of {n:,} rows, from all over{by_label}"
        if isinstance(X, Source):
            dataset = X.take(places)
            X, labels = dataset.X, dataset.labels
        elif len(places) < n:
            X, labels = take(X, places), None if labels is None else labels[places]
        return replace(self, X=X, labels=labels, places=places, n_rows=n, chosen=chosen)

    def at(self, rows: Sequence[int] | np.ndarray) -> Any:
        """Some of the rows."""
        return take(self.X, np.asarray(rows, np.int64))

    def with_few(self, rows: np.ndarray) -> Subject:
        """The same with some of its rows alone."""
        labels = None if self.labels is None else self.labels[rows]
        return replace(self, X=self.at(rows), labels=labels, places=self.places[rows])

    def few(self, most: int) -> np.ndarray:
        """Numbers of at most so many rows, of every label its share."""
        return spread(len(self.places), self.labels, most)

    @property
    def has_rows(self) -> bool:
        """There are rows of data."""
        return self.X is not None and len(self.X) > 0

    @property
    def latent_dim(self) -> int:
        """D; 0 for a model without latent variables."""
        return int(self.model.latent_dim_) if self.has_codes else 0

    @property
    def has_codes(self) -> bool:
        """The model has latent variables and says which a row has."""
        return hasattr(self.model, "transform") and hasattr(self.model, "latent_dim_")

    @property
    def has_prior(self) -> bool:
        """New rows can be drawn."""
        return not isinstance(self.model, Autoencoder)

    @property
    def has_bound(self) -> bool:
        """The evidence lower bound is known of every row."""
        return isinstance(self.model, LatentEstimator)

    @property
    def is_given(self) -> bool:
        """The model is one of rows given a context, which are then their labels."""
        return self.fitted.context_schema is not None

    def fitted_to(self, rows: Sequence[int] | np.ndarray) -> Fitted:
        """The model for some of the rows, given their context if it is given one."""
        return self.fitted.given(self.labels[rows]) if self.is_given and self.labels is not None else self.fitted

    def on(self, rows: Sequence[int] | np.ndarray, purpose: str = "report") -> Evaluation:
        """The model on some of the rows, of which each has the same numbers whatever the others are."""
        return self.fitted_to(rows).with_shared_noise().on(self.at(rows), purpose)

    @cached_property
    def names(self) -> list[str]:
        """The names of the columns of a table."""
        schema = self.fitted.schema
        named = getattr(self.model, "feature_names_in_", None)
        return [f"x{i}" for i in range(math.prod(schema.row_shape))] if named is None else list(map(str, named))

    @cached_property
    def display(self) -> Display:
        """The way in which rows are shown."""
        rows = self.at(self.few(500)) if self.has_rows else None
        return Display.of(self.fitted.schema, self.names, rows)

    @cached_property
    def codes(self) -> np.ndarray:
        """Posterior means of the rows, (n, D)."""
        return self.codes_of(self.X, self.labels if self.is_given else None)

    def codes_of(self, X: Any, context: Any = None) -> np.ndarray:
        """Posterior means of any rows, (n, D)."""
        if hasattr(self.model, "posterior_"):
            return (
                represent.encode(self.fitted.given(context).with_shared_noise().on(X), full=False)[0]
                .cpu()
                .double()
                .numpy()
            )
        return np.asarray(self.model.transform(X), np.float64)

    @cached_property
    def terms(self) -> ElboTerms:
        """The lower bound's parts for every row."""
        return elbo_terms(self.on(np.arange(len(self.X))), DRAWS_OF_BOUND)

    @cached_property
    def kl(self) -> np.ndarray | None:
        """The mean KL of each latent variable in nats, (D,); None where it isn't known of each."""
        if not (self.has_bound and self.has_rows) or self.terms.kl.shape[1] < self.latent_dim:
            return None
        return self.terms.kl.mean(0)[: self.latent_dim].numpy()

    def decode(self, codes: np.ndarray, context: Any = None, *, draw: bool = False, seed: int = 0) -> Any:
        """E[x|z], or draws from p(x|z), in the user's units; of a model given a context that of the first row."""
        if self.is_given and context is None:
            context = self.first_context
        fitted = self.fitted.given(context)
        weights = next(
            each for each in chain(fitted.model.parameters(), fitted.model.buffers()) if each.is_floating_point()
        )
        z = torch.as_tensor(np.asarray(codes), dtype=weights.dtype).to(fitted.device)
        noise = fitted.noise("page", seed) if draw else None
        x = generate.decode(fitted.model, z, noise, fitted.coded_context(len(z)))
        return fitted.schema.restore(x, expected=not draw)

    @property
    def first_context(self) -> Any:
        """The context of the first row, one for all codes; None for a model that isn't given any."""
        if not self.is_given:
            return None
        if self.labels is None:
            raise ValueError("the model is given a context: give rows of data with their context as labels")
        return self.labels[:1]

    @property
    def described_by(self) -> str:
        """p(x|z) in words."""
        schema = self.fitted.schema
        return "one density for each column" if schema.columns is not None else schema.likelihood.replace("_", " ")

    def has_gaps(self) -> bool:
        """A value of the rows is missing."""
        return self.has_rows and bool(missing(self.X).any())


def spread(n: int, labels: np.ndarray | None, most: int) -> np.ndarray:
    """The places of at most ``most`` of ``n`` rows, from all over; of every label its share."""
    if n <= most:
        return np.arange(n)
    chosen = np.linspace(0, n - 1, most).round().astype(np.int64)
    if labels is None:
        return chosen
    _, which = np.unique(labels.astype(str), return_inverse=True)
    return np.sort(np.argsort(which, kind="stable")[chosen])
