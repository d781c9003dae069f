"""The recurrent variational autoencoder of sequences, with the conventions of the other estimators."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lowerbound.assembly.sequence import assemble_recurrent, objective_of_steps
from lowerbound.assembly.vae import objective_of
from lowerbound.core import Objective, Posterior
from lowerbound.data.batches import Rows
from lowerbound.data.schema import Schema
from lowerbound.data.sequences import SequenceRows, Sequences
from lowerbound.distributions.noise import Noise
from lowerbound.estimators.arguments import Columns
from lowerbound.estimators.gradient import GradientEstimator
from lowerbound.estimators.latent import CollapsedPosteriorWarning
from lowerbound.evaluation.bound import ElboTerms, elbo_terms
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.evaluation.steps import SequenceEstimate, step_scores
from lowerbound.parameters.likelihoods import Likelihood
from lowerbound.parameters.parts import ELBO, IWAE, Adam, EarlyStopping, SampledELBO
from lowerbound.parameters.seed import RandomState
from lowerbound.parameters.tables import RECURRENT_VAE_PARAMETERS
from lowerbound.sequences.codes import CodedSeries
from lowerbound.sequences.series import SequenceData
from lowerbound.sequences.warming import WarmedBound
from lowerbound.storage.atomic import SavedFileError
from lowerbound.training.state import Training

SEQUENCES_TO_JUDGE_COLLAPSE = 200
LEAST_KL_OF_STEP, LEAST_KL = 0.01, 0.1  # nats a step; of one z, nats a sequence


class RecurrentVAE(WarmedBound, CodedSeries):
    """Recurrent variational autoencoder: a model of sequences with latent variables at every step, or of the whole.

    d_t = GRU(x_<t), z_t ~ p(z|d_t), x_t ~ p(x|d_t, z_t), and q(z_t|d_t, x_t): what can follow on a past is a mixture
    over z_t, in which the columns of a step depend on each other. d_t also holds the last values of columns that are no
    grey levels. z_t does not enter the recurrence, so that log p(x) = Σ_t log p(x_t|x_<t), and importance weights are
    those of a step. With ``latent_dim=0`` it is the same decoder without z, whose log p(x) is exact.

    Sequences are a list of arrays (T, F) or of DataFrames, one array (n, T, F) if all are of one length, or
    ``Sequences``. NaN is a gap: the entry is in no density, and the recurrence reads 0 and that it is missing. All
    log-densities are in nats, in the user's units.

    Parameters
    ----------
    latent_dim : int
        D, latent variables of each step, or of each sequence; 0 for none.
    hidden_size : int
        H, hidden units of the recurrence, and of the networks of a step.
    likelihood : {"auto", "gaussian", "bernoulli", "categorical", "discretized_logistic"} or a part
        p(x_t|d_t, z_t), as in ``VAE``.
    columns : {None, "auto"}, mapping, sequence or str
        How columns of several kinds are described, as in ``VAE``: None for DataFrames with text, categories or dates.
    head : {"independent", "masked"}
        "masked": each column of a step also depends on those before it (as in RNN-NADE: Boulanger-Lewandowski et al.,
        2012), for columns that are 0 or 1 and have no gaps.
    latents : {"steps", "sequence"}
        "steps": a z_t at every step. "sequence": one z of the whole sequence that every step reads, x_t ~ p(x|d_t, z),
        which says what the sequence is like (VRAE: Fabius & van Amersfoort, 2015); ``transform`` has one row for each.
    chain : bool
        z_t ~ p(z|d_t, z_{t−1}), with an encoder that reads the sequence backward (Fraccaro et al., 2016): what z says
        then lasts. log p(x) is a lower bound by sequential Monte Carlo, and the objective is ``ELBO``.
    dropout : float
        Share of the hidden units of d_t that is set to 0 in training, and half that share of the numbers that are read
        of x_<t, against overfitting. The last values of columns, which d_t has beside hidden units, stay as they are.
    length : {"given", "end"}
        "given": log p(x | T), of sequences whose lengths are known. "end": log p of the sequence and of where it ends;
        after every step it goes on with a probability that is a function of the steps so far.
    window : int or None
        Sequences that are longer are cut into windows of at most so many steps for training, each step in one of them;
        some windows are held out for early stopping. A window begins as a sequence does: no state is carried into it.
        Scores, codes and all else are those of whole sequences. None trains on whole sequences too.
    objective : {"auto", "elbo", "elbo_sampled", "iwae"}, ELBO, SampledELBO or IWAE
        The bound that is raised, of each step, or of a whole sequence with one z. "auto": the ELBO; with one z its KL
        term rises over a fifth of the steps of training and 5 nats of it are free, which keeps z in use. Else as in
        ``VAE``.
    optimizer, early_stopping, max_epochs, batch_size, warm_start, random_state, device, verbose
        As in ``VAE``; a row is a sequence.

    Attributes
    ----------
    model_ : SequenceModel
        p(x, z).
    posterior_ : Posterior
        q(z_t|d_t, x_t), for steps; or q(z|x), for sequences.
    schema_ : Schema
        Of the steps; ``schema_.likelihood`` is the one in use.
    history_ : list of dict
        One record an epoch, nats a sequence, or a window of one.
    kl_ : float
        KL(q ‖ p) in nats a step, of one z in nats a sequence; on some of the sequences.
    n_active_units_ : int
        Of one z: latent variables whose posterior mean varies over these sequences (variance > 0.01).
    reads_last_ : bool
        d_t holds last values: not in models of earlier versions.
    n_features_in_ : int
        F.
    seed_ : int
        What ``random_state`` stood for.

    References
    ----------
    Chung et al., 2015, arXiv:1506.02216; Fraccaro et al., 2016, arXiv:1605.07571.

    Examples
    --------
    >>> import numpy as np
    >>> from lowerbound import Adam, RecurrentVAE
    >>> rng = np.random.default_rng(0)
    >>> songs = [rng.integers(2, size=(length, 1)).repeat(3, 1) for length in rng.integers(4, 12, 40)]
    >>> model = RecurrentVAE(2, hidden_size=16, optimizer=Adam(0.03), max_epochs=30, random_state=0).fit(songs)
    >>> [song.shape for song in model.sample(2, lengths=5)]
    [(5, 3), (5, 3)]
    """

    PARAMETERS = RECURRENT_VAE_PARAMETERS
    FITTED: ClassVar[tuple[str, ...]] = (
        *GradientEstimator.FITTED,
        "mean_length_",
        "longest_",
        "reads_last_",
        "kl_",
        "n_active_units_",
    )
    STREAMS: ClassVar[bool] = True

    layout = "features"  # of a step
    posterior_: Posterior
    mean_length_: float
    longest_: int
    reads_last_: bool = False  # where a saved model doesn't say
    n_active_units_: int = 0
    kl_: float

    def __init__(
        self,
        latent_dim: int = 32,
        *,
        hidden_size: int = 128,
        likelihood: str | Likelihood = "auto",
        columns: Columns = None,
        head: str = "independent",
        latents: str = "steps",
        chain: bool = False,
        dropout: float = 0.2,
        length: str = "given",
        window: int | None = None,
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
        self.likelihood = likelihood
        self.columns = columns
        self.head = head
        self.latents = latents
        self.chain = chain
        self.dropout = dropout
        self.length = length
        self.window = window
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
        if getattr(self._part("likelihood"), "missingness", None) is not None:
            raise ValueError("a RecurrentVAE has no model of the mask: leave missingness=None")
        if self._part("optimizer").compile:
            raise ValueError("steps on sequences differ in length, so they are no one graph: leave compile=False")
        if self.window is not None and self.length == "end":
            raise ValueError("the windows of a sequence don't end where it ends: with length='end' leave window=None")
        if self.latent_dim == 0 and self._part("objective") not in ("auto", ELBO()):
            raise ValueError("latent_dim=0 has no latent variables and no bound: leave objective='auto'")
        if self.chain:
            self._check_chain()
        if self.latents == "sequence":
            self._check_whole()

    def _check_chain(self) -> None:
        objective = self._bound()
        if self.latent_dim == 0:
            raise ValueError("latent_dim=0 has no latent variables to make a chain of: leave chain=False")
        if not isinstance(objective, ELBO) or objective.gradient != "pathwise":
            raise ValueError("a chain of latent variables is fitted by pathwise gradients: take chain=True with ELBO()")

    def _check_whole(self) -> None:
        if self.latent_dim == 0:
            raise ValueError("latent_dim=0 has no latent variable of a whole sequence: leave latents='steps'")
        if self.chain:
            raise ValueError("one z of a whole sequence is no chain: take latents='steps' with chain=True")
        if self.window is not None:
            raise ValueError("one z is of a whole sequence, and window=… cuts it up: give shorter sequences instead")

    def _validate(self, X: Any, *, reset: bool = False) -> Sequences:
        sequences = Sequences.of(X)
        n_columns = sequences.steps.shape[1]
        if not reset and n_columns != self.n_features_in_:
            raise ValueError(
                f"the steps have {n_columns} columns, and the model was fitted to steps of {self.n_features_in_}"
            )
        return sequences.with_steps(super()._validate(sequences.steps, reset=reset))

    def _digest(self, X: Any) -> str:
        return Sequences.of(X).digest()

    def _check_enough(self, X: Sequences) -> None:
        if len(X) < 2 and (self.window is None or X.lengths[0] <= self.window):
            cut = "window=… cuts a long one into several" if self.latents == "steps" else "give several shorter ones"
            raise ValueError(f"there is one sequence of {X.lengths[0]:,} steps, and a density needs at least 2: {cut}")
        if isinstance(X.steps, np.ma.MaskedArray) and not X.steps.count():
            raise ValueError("every value of the sequences is missing: there is nothing to fit")

    def _infer_schema(self, X: Sequences) -> Schema:
        self.mean_length_, self.longest_, self.reads_last_ = float(X.lengths.mean()), int(X.lengths.max()), True
        return replace(super()._infer_schema(X.steps), container=X.container)

    def _rows_to_fit(self, X: Sequences) -> Rows:
        rows = super()._rows_to_fit(X)
        assert isinstance(rows, SequenceRows)
        return rows if self.window is None else rows.windows(self.window)

    def _assemble(self, generator: torch.Generator) -> None:
        if not self.reads_last_ and self.schema_.in_deviations.any():
            raise SavedFileError("it was saved by an earlier version, whose models of numbers differ: fit it again")
        mean_length = self.mean_length_ if self.length == "end" else None
        self.model_, self.posterior_ = assemble_recurrent(  # pyright: ignore[reportIncompatibleVariableOverride]
            self.schema_, self._part("likelihood"), self.latent_dim, self.hidden_size, mean_length, self.dropout,
            generator, latents=self.latents, chain=self.chain, head=self.head, reads_last=self.reads_last_,
        )  # fmt: skip

    def _posterior(self) -> Posterior:
        return self.posterior_

    def _objective_over(self, n_steps: int) -> Objective:
        bound = self._bound(n_steps)
        return objective_of(bound) if self.latents == "sequence" else objective_of_steps(bound)

    @property
    def _n_shared(self) -> int:
        return self.latent_dim if self.latents == "sequence" else 0

    def _likelihood(self) -> Likelihood | str:
        return self._part("likelihood")

    def _independent(self, rows: Rows, noise: Noise) -> Tensor:
        assert isinstance(rows, SequenceRows)
        of_steps = super()._independent(rows.flat(), noise)
        log_p = torch.stack([each.sum() for each in of_steps.split(rows.lengths.tolist())])
        if self.length == "given":
            return log_p
        ends = 1 / self.mean_length_  # after every step
        return log_p + math.log(ends) + (rows.lengths - 1) * (math.log1p(-ends) if ends < 1 else 0.0)

    def _examine(self, training: Training, rows: Rows) -> None:
        few, fitting = rows.few(SEQUENCES_TO_JUDGE_COLLAPSE), self._fitting()
        assert isinstance(few, SequenceRows)
        terms = elbo_terms(Evaluation(fitting.model, fitting.posterior, few, fitting.noise("collapse")))
        self.kl_ = float(terms.kl.sum() / (few.lengths.sum() if self.latents == "steps" else len(few)))
        self.n_active_units_ = terms.active_units if self.latents == "sequence" else 0

    def _unsound(self) -> Warning | None:
        if self.latent_dim == 0:
            return None
        if self.latents == "sequence" and (self.kl_ < LEAST_KL or not self.n_active_units_):
            return CollapsedPosteriorWarning(
                f"the posterior has collapsed: the latent variables of a sequence carry {self.kl_:.2g} nats, and the "
                f"means of {self.n_active_units_} of them vary. Train longer, with objective='auto', which keeps 5 "
                f"nats free, or take latent_dim=0, which is exact"
            )
        if self.latents == "sequence" or self.kl_ >= LEAST_KL_OF_STEP:
            return None
        return CollapsedPosteriorWarning(
            f"the posterior has collapsed: the latent variables of a step carry {self.kl_:.2g} nats. Train longer, set "
            f"ELBO(warmup_steps=…) to a tenth of the steps or free_bits=0.1, or take latent_dim=0, which is exact"
        )

    # scores

    def score_samples(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, X: SequenceData, n_importance: int = 64
    ) -> np.ndarray:
        """log p(x) of every sequence by importance samples of each step (exact without z), in nats, shape (n,).

        Computed in float64 with one seeded noise for all steps, so that a score depends on its sequence alone. With
        ``latents="sequence"`` the samples are of the z of the sequence.

        Parameters
        ----------
        X : list of arrays, shape (T, F) each
        n_importance : int
            K, samples for each step: nine tenths of q(z_t|d_t, x_t), a tenth of p(z_t|d_t). Of one z for a sequence
            half of them are of q(z|x), a tenth of p(z), and the others of q of the beginnings of x.
        """
        return self.fitted_.score_samples(X, n_importance)

    def score_steps(self, X: SequenceData, n_importance: int = 64) -> list[np.ndarray]:
        """log p(x_t | x_<t) of every step, in nats, an array (T,) for each sequence; they add up to ``score_samples``.

        With ``length="end"`` the log p of going on after the step, or of ending there, is in it.
        With ``latents="sequence"`` they are differences of the lower bounds of log p(x_1, …, x_t), no bounds
        themselves.

        Parameters
        ----------
        X : list of arrays, shape (T, F) each
        n_importance : int
            As in ``score_samples``.
        """
        sequences = Sequences.of(X)
        return sequences.cut(step_scores(self.fitted_.exactly().on(sequences), n_importance).log_p.numpy())

    def score(self, X: SequenceData, y: object = None, n_importance: int = 64) -> float:
        """Mean log p(x) in nats a sequence, with noise of each step's own.

        Parameters
        ----------
        X : list of arrays, shape (T, F) each
        y : ignored
        n_importance : int
            As in ``score_samples``.
        """
        return float(step_scores(self.fitted_.on(X, "log_likelihood"), n_importance).of_sequences().mean())

    def log_likelihood(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, X: SequenceData, n_importance: int = 1000
    ) -> SequenceEstimate:
        """Mean log p(x) in nats a sequence, and in nats a step, with standard errors over sequences.

        A lower bound in expectation, by importance samples of each step, or of the z of each sequence; exact without
        latent variables.
        ``UnreliableEstimateWarning`` where few of the samples count.

        Parameters
        ----------
        X : list of arrays, shape (T, F) each
        n_importance : int
            As in ``score_samples``.
        """
        return self.fitted_.log_likelihood(X, n_importance)  # pyright: ignore[reportReturnType]

    def elbo_terms(self, X: SequenceData, n_samples: int = 1) -> ElboTerms:
        """The lower bound's parts for every sequence: reconstruction and KL in nats, and the posterior means.

        The means are those of all steps, (ΣT, D), or of one z for each sequence, (n, D).

        Parameters
        ----------
        X : list of arrays, shape (T, F) each
        n_samples : int
            Draws of z_t for each step, or of z for each sequence.
        """
        return elbo_terms(self.fitted_.on(X, "accounts"), n_samples)
