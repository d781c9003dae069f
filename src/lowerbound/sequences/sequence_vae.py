"""The variational autoencoder of texts, with one z each and the conventions of the other estimators."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lowerbound.assembly.texts import assemble_texts
from lowerbound.assembly.vae import objective_of
from lowerbound.core import Objective, Posterior
from lowerbound.data.batches import Rows
from lowerbound.data.context import ContextSchema
from lowerbound.data.texts import TextContext, TextRows, Texts, TextSchema, is_text
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.estimators.latent import CollapsedPosteriorWarning
from lowerbound.evaluation.bound import ElboTerms, elbo_terms
from lowerbound.evaluation.estimate import Estimate
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.evaluation.gap import information_given_context, mutual_information
from lowerbound.evaluation.texts import TextEstimate, text_likelihood, token_scores
from lowerbound.models.texts import TextModel
from lowerbound.parameters.parts import ELBO, IWAE, Adam, EarlyStopping, SampledELBO
from lowerbound.parameters.seed import RandomState
from lowerbound.parameters.tables import SEQUENCE_VAE_PARAMETERS
from lowerbound.parameters.tokens import BPE
from lowerbound.sequences.warming import WarmedBound
from lowerbound.sequences.writing import Writing
from lowerbound.training.state import Training

TEXTS_TO_JUDGE_COLLAPSE = 500
LEAST_KL = 0.1  # nats a text


class SequenceVAE(WarmedBound, Writing):
    """Variational autoencoder of texts with one z each: p(x) = ∫ p(z) Π_t p(x_t | x_<t, z) dz, the end included.

    A text is a sequence of tokens and an end. The decoder, a GRU, predicts each from those before it and from z, which
    says what the whole text is about; q(z|x) is a GRU's too. ``fit(X, context=C)`` makes it conditional: p(z|c),
    p(x|z, c) and q(z|x, c). A context that is a list of str is text, such as what was said before a response; an array,
    series or frame holds columns, as in ``VAE``.
    With ``latent_dim=0`` it is the same decoder without z, whose log p(x) is exact. All log-densities are in nats.

    The defaults keep z in use, which a decoder that reads all tokens before can do without: the weight of the KL term
    rises from 0 over a fifth of the steps, 5 nats of it are free, and q(z|x) starts narrow.

    Parameters
    ----------
    latent_dim : int
        D, latent variables of a text; 0 for none.
    hidden_size : int
        H, hidden units of the decoder; networks that read a text or a context have half as many.
    tokens : {"auto", "characters", "bytes", "bpe"} or BPE
        What texts are made of. "auto": characters below a megabyte of text, and byte pairs of more, which need
        ``pip install 'lowerbound[text]'``.
    token_dropout : float
        The share of the tokens that the decoder doesn't read in training (word dropout in Bowman et al.).
    objective : {"auto", "elbo", "elbo_sampled", "iwae"}, ELBO, SampledELBO or IWAE
        The bound that is raised; "auto" as said above, the others as in ``VAE``.
    optimizer, early_stopping, max_epochs, batch_size, warm_start, random_state, device, verbose
        As in ``VAE``; a row is a text.

    Attributes
    ----------
    model_ : TextModel
        p(x, z).
    posterior_ : Posterior
        q(z|x).
    schema_ : TextSchema
        The tokens.
    history_ : list of dict
        One record an epoch, nats a text.
    kl_ : float
        KL(q ‖ p) in nats a text, on some of the texts.
    n_active_units_ : int
        Latent variables whose posterior mean varies over the texts (variance > 0.01).
    seed_ : int
        What ``random_state`` stood for.

    References
    ----------
    Bowman et al., 2016, Generating Sentences from a Continuous Space, arXiv:1511.06349.

    Examples
    --------
    >>> from lowerbound import SequenceVAE
    >>> names = ["anna", "anne", "hanna", "joanna", "otto", "ottilie"] * 20
    >>> model = SequenceVAE(2, hidden_size=16, max_epochs=3, random_state=0).fit(names)
    >>> model.transform(["anna", "otto"]).shape
    (2, 2)
    """

    PARAMETERS = SEQUENCE_VAE_PARAMETERS
    FITTED: ClassVar[tuple[str, ...]] = (
        "seed_", "n_iter_", "n_fits_", "history_", "kl_", "n_active_units_",
    )  # fmt: skip
    STREAMS: ClassVar[bool] = False
    SCHEMA: ClassVar[Any] = TextSchema
    CONTEXT: ClassVar[Any] = TextContext
    LR: ClassVar[float] = 4e-3  # as for a PixelRNN

    model_: TextModel
    posterior_: Posterior
    kl_: float
    n_active_units_: int

    def __init__(
        self,
        latent_dim: int = 32,
        *,
        hidden_size: int = 256,
        tokens: str | BPE = "auto",
        token_dropout: float = 0.0,
        objective: str | ELBO | SampledELBO | IWAE = "auto",
        optimizer: str | Adam = "adam",
        early_stopping: bool | EarlyStopping = True,
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        warm_start: bool = False,
        random_state: RandomState = None,
        device: str | torch.device = "auto",
        verbose: int = 0,
    ) -> None:
        self.latent_dim = latent_dim
        self.hidden_size = hidden_size
        self.tokens = tokens
        self.token_dropout = token_dropout
        self.objective = objective
        self.optimizer = optimizer
        self.early_stopping = early_stopping
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    # fitting

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self._part("optimizer").compile:
            raise ValueError("steps on texts differ in length, so they are no one graph: leave compile=False")
        if self.latent_dim == 0 and self._part("objective") not in ("auto", ELBO()):
            raise ValueError("latent_dim=0 has no latent variables and no bound: leave objective='auto'")

    def _validate(self, X: Any, *, reset: bool = False) -> Texts:
        return Texts.of(X)

    def _digest(self, X: Any) -> str:
        return Texts.of(X).digest()

    def _check_enough(self, X: Texts) -> None:
        if len(X) < 2:
            raise ValueError("there is one text, and a density needs at least 2")
        if not any(X):
            raise ValueError("all texts are empty: there is nothing to fit")

    def _infer_schema(self, X: Texts) -> Any:
        return TextSchema.infer(X, self._part("tokens"))

    def _context_schema(self, context: Any) -> Any:
        return TextContext.infer(context, self._part("tokens")) if is_text(context) else ContextSchema.infer(context)

    def _assemble(self, generator: torch.Generator) -> None:
        self.model_, self.posterior_ = assemble_texts(  # pyright: ignore[reportIncompatibleVariableOverride]
            self.schema_, self.context_, self.latent_dim, self.hidden_size, self.token_dropout, generator
        )

    def _posterior(self) -> Posterior:
        return self.posterior_

    def _objective_over(self, n_steps: int) -> Objective:
        return objective_of(self._bound(n_steps))

    @property
    def _n_shared(self) -> int:
        return self.latent_dim

    def _independent(self, rows: Rows, noise: Noise) -> Tensor:
        assert isinstance(rows, TextRows)
        vocabulary = self.schema_.vocabulary
        log_p = np.log(self.schema_.frequencies) + vocabulary.log_known
        each = torch.from_numpy(np.append(log_p, vocabulary.log_unknown))
        return torch.cat([torch.where(b.mask.cpu(), each[b.x.cpu()], 0.0).sum(-1) for b in rows.batches(500)])

    def _examine(self, training: Training, rows: Rows) -> None:
        self.kl_, self.n_active_units_ = 0.0, 0
        if self.latent_dim == 0:
            return
        fitting = self._fitting()
        few = Evaluation(fitting.model, fitting.posterior, rows.few(TEXTS_TO_JUDGE_COLLAPSE), fitting.noise("collapse"))
        terms = elbo_terms(few)
        self.kl_, self.n_active_units_ = float(terms.kl.sum(-1).mean()), terms.active_units

    def _unsound(self) -> Warning | None:
        if self.latent_dim == 0 or self.kl_ >= LEAST_KL:
            return None
        return CollapsedPosteriorWarning(
            f"the posterior has collapsed: the latent variables of a text carry {self.kl_:.2g} nats. Leave "
            f"objective='auto', which keeps 5 nats free, or take latent_dim=0, which is exact"
        )

    # scores

    def score_samples(self, X: Any, n_importance: int = 64, *, context: Any = None) -> np.ndarray:
        """log p(x) of every text and its end by importance samples (exact without z), in nats, shape (n,).

        Computed in float64 with one seeded noise for all texts, so that a score depends on its text alone.

        Parameters
        ----------
        X : list of str
        n_importance : int
            K, samples for each text: nine tenths of q(z|x), a tenth of p(z).
        context : list of str, array, series or DataFrame, optional
            As for ``given``.
        """
        return self._given_to(context).fitted_.score_samples(X, n_importance)

    def score_steps(self, X: Any, *, context: Any = None) -> list[np.ndarray]:
        """log p of every token and of the end given those before it, in nats, an array (T + 1,) for each text.

        They add up to ``score_samples``. For ``latent_dim=0``: with z no log p of a token is a term of log p(x).

        Parameters
        ----------
        X : list of str
        context : list of str, array, series or DataFrame, optional
            As for ``given``.

        Raises
        ------
        ValueError
            With latent variables.
        """
        on = self._given_to(context).fitted_.exactly().on(X)
        if self.latent_dim:
            raise ValueError(
                "with a z for the whole text log p(x) is no sum over its tokens: fit with latent_dim=0 for score_steps"
            )
        return [each.numpy() for each in token_scores(on)]

    def score(self, X: Any, y: object = None, n_importance: int = 64, *, context: Any = None) -> float:
        """Mean log p(x) in nats a text, with noise of each text's own.

        Parameters
        ----------
        X : list of str
        y : ignored
        n_importance : int
            As in ``score_samples``.
        context : list of str, array, series or DataFrame, optional
            As for ``given``.
        """
        return self._given_to(context).fitted_.log_likelihood(X, n_importance).value

    def log_likelihood(self, X: Any, n_importance: int = 1000, *, context: Any = None) -> TextEstimate:
        """Mean log p(x) in nats a text, a token, and in bits a character and a byte; ends included.

        A lower bound in expectation, by importance samples; exact without latent variables. Of byte pairs it is log p
        of the one way in which they make up the text, which is less than that of the text.
        ``UnreliableEstimateWarning`` where few of the samples count.

        Parameters
        ----------
        X : list of str
        n_importance : int
            As in ``score_samples``.
        context : list of str, array, series or DataFrame, optional
            As for ``given``.
        """
        texts, fitted = Texts.of(X), self._given_to(context).fitted_
        exactly = replace(fitted.exactly(), shared_noise=False) if self.latent_dim == 0 else fitted
        return text_likelihood(exactly.on(texts, "log_likelihood"), texts, n_importance)

    def elbo_terms(self, X: Any, n_samples: int = 1, *, context: Any = None) -> ElboTerms:
        """The lower bound's parts for every text: reconstruction and KL in nats, and the posterior means.

        Parameters
        ----------
        X : list of str
        n_samples : int
            Draws of z for each text.
        context : list of str, array, series or DataFrame, optional
            As for ``given``.
        """
        return elbo_terms(self._given_to(context).fitted_.on(X, "accounts"), n_samples)

    def mutual_information(self, X: Any, n_rows: int | None = None, *, context: Any = None) -> Estimate:
        """I(x; z) under q, in nats, from at most ``n_rows`` texts, of whose number its logarithm is the ceiling.

        For a model that is given a context it is I(x; z|c) of texts that the model writes given these contexts, none
        longer than those that were fitted, by telling the z of each from 499 others: log 500 = 6.2 nats is the ceiling.

        Parameters
        ----------
        X : list of str
        n_rows : int, optional
            If None 2,000, or 100 for a model that is given a context.
        context : list of str, array, series or DataFrame, optional
            As for ``given``.
        """
        self._need_latents("mutual_information")
        on = self._given_to(context).fitted_.on(X, "mutual information")
        n = n_rows or (2000 if self.context_ is None else 100)
        few = replace(on, rows=on.rows.few(n, make_generator(0, "rows of the mutual information")))
        return mutual_information(few) if self.context_ is None else information_given_context(few, self._written_given)
