"""A fitted model with everything that its uses need: what a codec, a report, an imputer or a detector takes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lowerbound.core import Model, NoPosterior, Posterior
from lowerbound.data.batches import RowsInMemory
from lowerbound.data.context import ContextSchema
from lowerbound.data.gaps import gaps_of, mask_gaps
from lowerbound.data.schema import Schema
from lowerbound.data.sequences import SequenceRows, Sequences
from lowerbound.data.sources import Source, as_source
from lowerbound.data.stream import StreamedRows, streamed
from lowerbound.data.streamed_sequences import StreamedSequenceRows
from lowerbound.data.texts import TextContext, Texts, TextSchema
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.estimators.saving import part
from lowerbound.evaluation.bound import exact_log_prob, importance_weighted
from lowerbound.evaluation.estimate import Estimate, mean_over_rows
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.evaluation.steps import sequence_estimate, step_scores
from lowerbound.models.sequence import SequenceModel
from lowerbound.parameters.seed import RandomState, seed_from
from lowerbound.precision import Undisturbed
from lowerbound.storage.atomic import SavedFileError, load_folder, save_folder
from lowerbound.tasks import generate


def checked(X: Any) -> Any:
    """An array masked where it has gaps, or a source as it is."""
    X = as_source(X)
    return X if isinstance(X, Source) else mask_gaps(np.asarray(X), gaps_of(X))


@dataclass(frozen=True)
class Fitted(Undisturbed):
    """p(x, z) and q(z|x) with the way from the user's rows to theirs.

    Parameters
    ----------
    model : Model
        p(x, z).
    posterior : Posterior
        q(z|x); of a model without latent variables a ``NoPosterior``.
    seed : int
        All noise comes from it and a purpose.
    device : torch.device
    check : callable
        From the user's rows to an array, masked where it has gaps, or a source; raises where they can't be scored.
    check_block : callable
        The same for a block of the rows of a source, an array.
    dtype : torch.dtype
        Of x as the model reads it.
    shared_noise : bool
        All rows share their noise, so that the numbers of a row depend on that row alone.
    context_schema : ContextSchema or TextContext, optional
        The columns of the context that the model is given, or its tokens; None for a model that isn't given any.
    context : array-like, optional
        The context itself, which ``given`` sets.
    schema : Schema or TextSchema
        What the rows are.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from lowerbound import VAE
    >>> from lowerbound.evaluation.bound import elbo_terms
    >>> vae = VAE(2, max_epochs=5, random_state=0).fit(load_iris().data)
    >>> elbo_terms(vae.fitted_.exactly().on(load_iris().data)).elbo.shape
    torch.Size([150])
    """

    model: Model
    posterior: Posterior = field(default_factory=NoPosterior)
    schema: Any = field(kw_only=True)
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    check: Callable[[Any], Any] = checked
    check_block: Callable[[Any], Any] = mask_gaps
    dtype: torch.dtype = torch.float32
    shared_noise: bool = False
    context_schema: ContextSchema | TextContext | None = None
    context: Any = None

    def rows(self, X: Any) -> Any:
        """The rows of ``X`` as the model reads them, in batches; those of a source are read when they are needed."""
        return self.checked_rows(self.check(X))

    def given(self, context: Any) -> Fitted:
        """The same with a context, a row for each of the rows to come, or one for all of them."""
        if self.context_schema is None and context is not None:
            raise ValueError("the model was fitted without a context: leave it out, or fit with fit(X, context=…)")
        return replace(self, context=context)

    def coded_context(self, n_rows: int) -> torch.Tensor | None:
        """The context of ``n_rows`` rows as numbers or tokens (n_rows, C); None for a model that isn't given any.

        Raises
        ------
        ValueError
            If the model is given one and it is missing, or has another number of rows.
        """
        if self.context_schema is None:
            return None
        if self.context is None:
            names = self.context_schema.names
            raise ValueError(f"the model was fitted given a context of the columns {names}: use given(context)")
        coded = torch.from_numpy(self.context_schema.encode(self.context, n_rows)).to(self.device)
        return coded if isinstance(self.context_schema, TextContext) else coded.to(self.dtype)

    def checked_rows(self, X: Any) -> Any:
        """``rows`` of what ``check`` returned."""
        given = self.coded_context(len(X))
        if given is not None and isinstance(X, Source):
            raise ValueError("a model that is given a context needs its rows in memory: give an array")
        schema, dtype = self.schema, self.dtype
        if isinstance(schema, TextSchema):
            return schema.rows(Texts.of(X), self.device, given)
        mask = torch.from_numpy(schema.counted).to(self.device)

        def hold(rows: np.ndarray, grey_levels: int | None = None) -> RowsInMemory:
            raw, observed = schema.store(rows, dtype, grey_levels), schema.observed(rows)
            return RowsInMemory(
                raw, lambda raw, noise: schema.prepare(raw, noise, dtype), mask, self.device, observed, given
            )

        def of_source(source: Source) -> StreamedRows:
            grey_levels = schema.grey_levels if source.dtype.name == schema.dtype else None

            def hold_block(rows: Any) -> RowsInMemory:
                return hold(self.check_block(source.as_array(rows)), grey_levels)

            return streamed(source, hold_block, schema.event_shape, self.device)

        if isinstance(X, Sequences):
            is_streamed = isinstance(X.steps, Source)
            return StreamedSequenceRows.of(of_source(X.steps), X) if is_streamed else SequenceRows.of(hold(X.steps), X)
        return of_source(X) if isinstance(X, Source) else hold(X)

    def noise(self, purpose: str, random_state: RandomState = None) -> Noise:
        """Noise for a purpose, the same at every call unless ``random_state`` says otherwise.

        Parameters
        ----------
        purpose : str
            Any word: noise for different purposes is independent.
        random_state : int, RandomState or Generator, optional
            The seed of the model if None.
        """
        seed = self.seed if random_state is None else seed_from(random_state)
        return Noise(make_generator(seed, purpose, self.device), self.shared_noise)

    def on(self, X: Any, purpose: str = "evaluation") -> Evaluation:
        """The model on some rows, with noise for a purpose.

        Parameters
        ----------
        X : array-like or Source, shape (n, *row)
        purpose : str
            As in ``noise``.
        """
        return Evaluation(self.model, self.posterior, self.rows(X), self.noise(purpose))

    def score_samples(self, X: Any, n_importance: int = 64) -> np.ndarray:
        """log p(x) of every row, exact or a lower bound as in ``log_likelihood``, in nats, shape (n,).

        Parameters
        ----------
        X : array-like, shape (n, *row)
        n_importance : int
            K, samples for each row: nine tenths of q(z|x), a tenth of p(z).
        """
        return self._scores(self.exactly().on(X), n_importance)

    def log_likelihood_rows(self, X: Any, n_importance: int = 64) -> np.ndarray:
        """log p(x) of every row as in ``score_samples``, with noise of its own; ``log_likelihood`` is their mean.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        n_importance : int
            As in ``score_samples``.
        """
        is_exact = self.model.knows_log_prob or isinstance(self.posterior, NoPosterior)
        fitted = replace(self.exactly(), shared_noise=False) if is_exact else self
        return self._scores(fitted.on(X, "log_likelihood"), n_importance)

    def _scores(self, on: Evaluation, n_importance: int) -> np.ndarray:
        if isinstance(self.model, SequenceModel):
            return step_scores(on, n_importance).of_sequences().numpy()
        if self.model.knows_log_prob:
            return exact_log_prob(on).numpy()
        return importance_weighted(on, n_importance)[0].numpy()

    def log_likelihood(self, X: Any, n_importance: int = 5000) -> Estimate:
        """Mean log p(x) over rows, in nats and the user's units.

        Exact for a model that knows it (``Model.knows_log_prob``); else a lower bound by ``n_importance`` samples for
        each row, nine tenths of q(z|x) and a tenth of p(z) (Burda et al., 2016, eq. 8).

        Parameters
        ----------
        X : array-like, shape (n, *row)
        n_importance : int
            K.
        """
        if isinstance(self.model, SequenceModel):
            exact = isinstance(self.posterior, NoPosterior)
            fitted = replace(self.exactly(), shared_noise=False) if exact else self
            return sequence_estimate(fitted.on(X, "log_likelihood"), n_importance)
        if self.model.knows_log_prob:
            exactly = replace(self.exactly(), shared_noise=False)
            return mean_over_rows(exact_log_prob(exactly.on(X, "log_likelihood")), "exact")
        log_p, ess = importance_weighted(self.on(X, "log_likelihood"), n_importance)
        return mean_over_rows(log_p, "lower", n_importance, ess.mean().item())

    def sample(self, n_samples: int = 1, mean: bool = False, random_state: RandomState = None) -> Any:
        """New rows, in the user's units and shape, (n_samples, *row).

        Parameters
        ----------
        n_samples : int
            The number of rows.
        mean : bool
            The means E[x|z] for z from the prior, instead of draws.
        random_state : int, RandomState or Generator, optional
            The seed of the model if None.
        """
        noise = self.noise("sample", random_state)
        x = generate.sample(self.model, n_samples, noise, mean=mean, context=self.coded_context(n_samples))
        return self.schema.restore(x, expected=mean)

    def save(self, folder: str | Path) -> None:
        """Write weights, schema and seed to a folder, atomically; ``load`` gives them back to modules like these."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"posterior.{k}": v for k, v in self.posterior.state_dict().items()}
        tensors |= {f"schema.{k}": v for k, v in self.schema.arrays().items()}
        save_folder(Path(folder), tensors, {"class": "Fitted", "schema": self.schema.metadata(), "seed": self.seed})

    @classmethod
    def load(cls, folder: str | Path, model: Model, posterior: Posterior | None = None, device: str = "cpu") -> Fitted:
        """The fitted model that ``save`` wrote, with its weights put into the modules given.

        Parameters
        ----------
        folder : path
        model : Model
            Of the same kind and size as the one that was saved.
        posterior : Posterior, optional
        device : str

        Raises
        ------
        SavedFileError
            If the folder is damaged or foreign, or of other modules.
        """
        tensors, record = load_folder(Path(folder))
        if posterior is None and part(tensors, "posterior."):
            raise SavedFileError(f"{folder} was saved with a posterior: Fitted.load(folder, model, posterior)")
        posterior = posterior or NoPosterior()
        if record.get("class") != "Fitted":
            raise SavedFileError(f"{folder} holds a saved {record.get('class')}, which lowerbound.load reads")
        try:
            for name, module in (("model", model), ("posterior", posterior)):
                module.load_state_dict(part(tensors, f"{name}."))
                module.to(device)
        except RuntimeError as error:
            raise SavedFileError(f"{folder} was saved from other modules: {error}") from error
        schema = Schema.from_saved(record["schema"], part(tensors, "schema."))
        return cls(model, posterior, schema=schema, seed=record["seed"], device=torch.device(device))

    def with_shared_noise(self) -> Fitted:
        """The same with one noise for all rows."""
        return replace(self, shared_noise=True)

    def exactly(self) -> Fitted:
        """A copy in float64 with one noise for all rows: a row's number depends on that row alone."""
        model, posterior = copy.deepcopy((self.model, self.posterior))  # together: a posterior may hold the model
        return replace(
            self, model=model.double(), posterior=posterior.double(), dtype=torch.float64, shared_noise=True
        )  # fmt: skip
