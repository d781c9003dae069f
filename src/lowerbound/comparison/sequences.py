"""The comparison of models of sequences or of texts: the same decoder with latent variables and without."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lowerbound.comparison.comparison import NotApplicable, Result, count_parameters, sentence
from lowerbound.data.checks import counted
from lowerbound.data.frames import is_frame
from lowerbound.data.sequences import Sequences
from lowerbound.estimators.gradient import GradientEstimator
from lowerbound.evaluation.estimate import Estimate, mean_over_rows
from lowerbound.sequences.recurrent import RecurrentVAE
from lowerbound.sequences.sequence_vae import SequenceVAE
from lowerbound.training.state import Training
from lowerbound.training.time_budget import Deadline, Enough, Stopwatch, affordable

FEWEST = 10  # sequences, of which some are held out
FEWEST_FITTED = 64  # sequences, or all, however little time there is
LONGEST = 2.0  # times a model's share of the time: they take unlike times for as many passes
SHARE_OF_TRIAL = 0.1  # of a model's time, to learn what a step takes


@dataclass(frozen=True)
class SequenceCase:
    """Sequences or texts to fit and held out, the same for all models.

    Attributes
    ----------
    train, test : Sequences or list of str
    train_context, test_context : list of str, or None
        What was said before each text.
    seed : int
    n_importance : int
        Importance samples, of each step of a sequence or of each text.
    """

    train: Any
    test: Any
    train_context: list[str] | None
    test_context: list[str] | None
    seed: int
    n_importance: int = 100

    @property
    def kind(self) -> str:
        """``sequences`` of numbers, or ``text``."""
        return "sequences" if isinstance(self.train, Sequences) else "text"

    @property
    def unit(self) -> str:
        """The word for one of the data."""
        return "sequence" if self.kind == "sequences" else "text"

    def fit(self, model: GradientEstimator, n: int, watch: Any) -> None:
        """Fit a model to the first ``n``, which are in no order."""
        X, context = _some(self.train, np.arange(n)), self.train_context
        if context is None:
            model.fit(X, watch=watch)
        else:
            model.fit(X, context=context[:n], watch=watch)

    def given(self, model: Any) -> Any:
        """A fitted model given the context of what is held out, if there is one."""
        return model if self.test_context is None else model.given(self.test_context)


@dataclass
class SequenceResult(Result):
    """The result of one model of sequences or texts.

    Attributes
    ----------
    scores : ndarray, shape (n,), or None
        log p(x) of each held out, in nats.
    kl, information : Estimate or None
        KL(q(z|x) ‖ p(z)) and, of texts, I(x; z), or I(x; z|c) given a context; None without latent variables.
    active_units, latent_dim : int
    """

    scores: np.ndarray | None = None
    kl: Estimate | None = None
    information: Estimate | None = None
    active_units: int = 0
    latent_dim: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The result for JSON, without the score of each."""
        record = {k: v for k, v in super().to_dict().items() if k != "scores"}
        return {k: v.to_dict() if isinstance(v, Estimate) else v for k, v in record.items()}


def _are_bits(steps: Any) -> bool:
    """True for columns of the numbers 0 and 1 without gaps."""
    if is_frame(steps):
        from pandas.api.types import is_numeric_dtype

        if not all(map(is_numeric_dtype, steps.dtypes)):
            return False
        steps = steps.to_numpy(float, na_value=np.nan)
    return not np.ma.getmaskarray(steps).any() and bool(np.isin(steps, (0, 1)).all())


def _masked(case: SequenceCase) -> RecurrentVAE:
    if not _are_bits(case.train.steps):
        raise NotApplicable("its columns are 0 or 1 without gaps, and those of the data are not")
    return RecurrentVAE(0, head="masked", random_state=case.seed)


MODELS: dict[str, dict[str, tuple[str, Callable[[SequenceCase], Any]]]] = {  # from simple to flexible
    "sequences": {
        "gru": ("GRU without z", lambda case: RecurrentVAE(0, random_state=case.seed)),
        "masked": ("GRU, columns one by one", _masked),
        "recurrent_vae": ("RecurrentVAE", lambda case: RecurrentVAE(random_state=case.seed)),
    },
    "text": {
        "gru": ("GRU without z", lambda case: SequenceVAE(0, random_state=case.seed)),
        "sequence_vae": ("SequenceVAE", lambda case: SequenceVAE(random_state=case.seed)),
    },
}
WITH_Z = ("recurrent_vae", "sequence_vae")


def split_sequences(
    X: Any, context: list[str] | None = None, *, seed: int = 0, held_out: float = 0.2, most_scored: int = 1000
) -> SequenceCase:
    """Split sequences or texts once; whole ones are held out.

    Parameters
    ----------
    X : Sequences or list of str
    context : list of str, optional
        What was said before each text.
    seed : int
    held_out : float
        The fraction that is held out.
    most_scored : int
        The most that are scored.

    Raises
    ------
    ValueError
        If there are fewer than 10.
    """
    if len(X) < FEWEST:
        found = counted(len(X), "sequence" if isinstance(X, Sequences) else "text")
        raise ValueError(f"{found} {'is' if len(X) == 1 else 'are'} too few to hold some out: {FEWEST} are needed")
    order, n = np.random.default_rng([seed, 0]).permutation(len(X)), round(held_out * len(X))
    fitted, scored = order[n:], order[:n][:most_scored]
    contexts = [None if context is None else _some(context, part) for part in (fitted, scored)]
    return SequenceCase(_some(X, fitted), _some(X, scored), *contexts, seed=seed)


def _some(X: Any, places: np.ndarray) -> Any:
    return X.subset(places) if isinstance(X, Sequences) else [X[i] for i in places]


def compare_sequences(
    case: SequenceCase, names: Sequence[str], *, seconds: float, say: Callable[[str], object] = lambda message: None
) -> Iterator[SequenceResult]:
    """Fit and score the models, one after another, in the order of ``MODELS``; all make as many passes at most.

    Parameters
    ----------
    case : SequenceCase
    names : sequence of str
        Names in ``MODELS[case.kind]``.
    seconds : float
        Time to fit all models. If it is too short they make fewer passes, and if it is too short for one pass, over
        fewer sequences, with a note.
    say : callable
        Called with a message when a fit begins.

    Yields
    ------
    SequenceResult
        One for each model; for a model that fails, with the reason.
    """
    chosen = [name for name in MODELS[case.kind] if name in names]
    results = {name: SequenceResult(name, MODELS[case.kind][name][0]) for name in chosen}
    models: dict[str, Any] = {}
    for name, result in results.items():
        with _reason_in(result):
            models[name] = MODELS[case.kind][name][1](case)
    pace = _Pace.of(models, results, case, seconds)
    for name, result in results.items():
        if name in models and not result.failed:
            say(f"fitting {result.title}")
            with _reason_in(result):
                _measure(result, models[name], case, pace)
        yield result


@contextmanager
def _reason_in(result: SequenceResult) -> Iterator[None]:
    """An error of one model is said in its result, and doesn't end the comparison."""
    try:
        yield
    except NotApplicable as reason:
        result.reason = str(reason)
    except Exception as error:  # whatever it is
        result.failed, result.reason, result.log_p = True, sentence(error), None


@dataclass(frozen=True)
class _Pace:
    """The passes that all models make, and over how many sequences.

    Attributes
    ----------
    passes, n : int
    seconds : float
        Of one model.
    notes : list of str
        What the budget didn't allow.
    """

    passes: int
    n: int
    seconds: float
    notes: list[str]

    @classmethod
    def of(
        cls, models: dict[str, Any], results: dict[str, SequenceResult], case: SequenceCase, seconds: float
    ) -> _Pace:
        """The pace that the time allows, by a trial of each model."""
        started, n, share = time.perf_counter(), len(case.train), seconds / max(1, len(models))
        trials = {name: _Trial(SHARE_OF_TRIAL * share) for name in models}
        for name, model in models.items():
            with _reason_in(results[name]), warnings.catch_warnings(), suppress(Enough):
                warnings.simplefilter("ignore")
                case.fit(type(model)(**model.get_params(deep=False)), n, trials[name])
        left = max(0.0, seconds - (time.perf_counter() - started))
        each = sum(trial.seconds_per_row for trial in trials.values() if trial.seconds_per_row > 0)
        wanted = max((trial.n_epochs for trial in trials.values()), default=1)
        passes, n_fitted = affordable(left / each, wanted, 1, n, min(n, FEWEST_FITTED)) if each else (wanted, n)
        notes = [f"the budget allowed {passes} of {wanted} epochs"] * (passes < wanted)
        notes += [f"the budget allowed {n_fitted:,} of {n:,} {case.unit}s"] * (n_fitted < n)
        return cls(passes, n_fitted, share, notes)


class _Trial(Stopwatch):
    """Also sees how many passes a fit would make."""

    n_epochs: int = 1

    def on_step(self, training: Training) -> None:
        """Note the passes, and measure."""
        self.n_epochs = training.settings.max_epochs
        super().on_step(training)


def _measure(result: SequenceResult, model: Any, case: SequenceCase, pace: _Pace) -> None:
    """Fit and score the model, and fill in the result."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        started = time.perf_counter()
        watch = Deadline(started + LONGEST * pace.seconds)
        case.fit(model.set_params(max_epochs=pace.passes), pace.n, watch)
        result.fit_seconds, result.notes = time.perf_counter() - started, [*pace.notes]
        if watch.stopped_after:
            result.notes.append(f"stopped by the budget after epoch {watch.stopped_after}")
        given = case.given(model)
        result.log_p = given.log_likelihood(case.test, case.n_importance)
        result.scores = given.fitted_.log_likelihood_rows(case.test, case.n_importance)
        if model.latent_dim:
            _of_latents(result, given, case)
    result.notes += list(dict.fromkeys(str(each.message) for each in caught))
    result.n_parameters, result.latent_dim = count_parameters(model), model.latent_dim


def _of_latents(result: SequenceResult, model: Any, case: SequenceCase) -> None:
    terms = model.elbo_terms(case.test)
    result.kl, result.active_units = mean_over_rows(terms.kl.sum(-1), "estimate"), terms.active_units
    result.information = model.mutual_information(case.test) if case.kind == "text" else None


def brought_by_z(results: Sequence[SequenceResult]) -> Estimate | None:
    """The mean of log p(x) with latent variables less that without, of the same decoder, paired; a lower bound."""
    scores = {each.name: each.scores for each in results if each.scores is not None}
    with_z = next((scores[name] for name in WITH_Z if name in scores), None)
    if with_z is None or "gru" not in scores:
        return None
    return mean_over_rows(torch.from_numpy(with_z - scores["gru"]), "lower")
