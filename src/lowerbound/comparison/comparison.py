"""The comparison of models of p(x), fitted to the same rows and scored on the same held-out rows.

All scores have one base measure: probabilities for 0/1 data and grey levels, densities in the user's units for real
values, and products of both for rows of several kinds of columns. A model without such a score gives the reason.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from lowerbound.comparison.comparable import models_the_mask, why_different
from lowerbound.comparison.dequantized import Dequantized
from lowerbound.comparison.split import Case
from lowerbound.estimators.autoencoder import Autoencoder
from lowerbound.estimators.factorized import Factorized
from lowerbound.estimators.gradient import GradientEstimator
from lowerbound.estimators.mixture import Mixture
from lowerbound.estimators.pixel_rnn import PixelRNN
from lowerbound.estimators.ppca import PPCA
from lowerbound.estimators.rbm import RBM
from lowerbound.estimators.vae import VAE
from lowerbound.evaluation.estimate import Estimate, bits_per_dim
from lowerbound.training.time_budget import Deadline, Enough, Stopwatch, affordable
from lowerbound.training.watch import Watch

DRAWS = 1000  # rows drawn to measure the time
MOST_FEATURES_FULL = 100  # for Gaussians with full covariances
MORE_PASSES = 4  # passes of a trial beyond the first
ONE_KIND = "it needs columns of numbers alone, and these are of several kinds"


class NotApplicable(Exception):
    """A model can't score these data; the message says why."""


@dataclass
class Result:
    """The result of one model.

    Attributes
    ----------
    log_p : Estimate or None
        Mean of log p(x) over the rows scored, in nats; its ``kind`` says whether it is exact or a bound. None if there
        is none, for the ``reason`` given.
    bits_per_dim : float or None
        −log₂ p(x) per dimension of discrete data.
    n_parameters : int
        The number of fitted parameters.
    fit_seconds, sample_seconds : float
        Time to fit, and to draw 1,000 rows.
    notes : list of str
        Cuts by the budget, and warnings.
    samples : ndarray or None, shape (1000, *row)
    """

    name: str
    title: str
    log_p: Estimate | None = None
    bits_per_dim: float | None = None
    n_parameters: int | None = None
    fit_seconds: float | None = None
    sample_seconds: float | None = None
    failed: bool = False
    reason: str | None = None
    notes: list[str] = field(default_factory=list)
    samples: np.ndarray | None = None

    def to_dict(self) -> dict[str, Any]:
        """The result for JSON, without the samples."""
        record = {k: v for k, v in vars(self).items() if k not in ("samples", "log_p")}
        return {**record, "log_likelihood": None if self.log_p is None else self.log_p.to_dict()}


@dataclass(frozen=True)
class Contender:
    """A model in the comparison: its construction for a case, and its budget.

    Attributes
    ----------
    make : callable
        Case → unfitted model; raises ``NotApplicable``.
    iterations : str or None
        The parameter with the number of passes over the rows; None for closed forms, which need no budget.
    trial : dict
        Parameters for measuring the time of one pass.
    """

    title: str
    make: Callable[[Case], Any]
    iterations: str | None = None
    fewest: int = 1
    trial: dict[str, Any] = field(default_factory=dict)


def _factorized(case: Case) -> Factorized:
    return Factorized(columns=case.schema.columns, likelihood=case.likelihood, random_state=case.seed, **case.axes)


def _refuse_several_kinds(case: Case) -> None:
    if case.schema.columns is not None:
        raise NotApplicable(ONE_KIND)


def _mixture(case: Case) -> Mixture | Dequantized:
    _refuse_several_kinds(case)
    n, n_features = len(case.train), math.prod(case.schema.event_shape)
    if case.kind == "binary":
        return Mixture(min(100, max(2, n // 50)), likelihood=case.likelihood, random_state=case.seed, **case.axes)
    is_small = n_features <= MOST_FEATURES_FULL and n >= 20 * n_features
    gaussians = Mixture(
        min(10, max(2, n // 100)), covariance="full" if is_small else "diagonal",
        reg_covar=1e-3 if case.kind == "grey_levels" else 1e-6, random_state=case.seed, **case.axes,
    )  # fmt: skip
    return Dequantized(gaussians, case.seed) if case.kind == "grey_levels" else gaussians


def _pixel_rnn(case: Case) -> PixelRNN:
    _refuse_several_kinds(case)
    return PixelRNN(likelihood=case.likelihood, batch_size=case.batch_size, random_state=case.seed, **case.axes)


def _rbm(case: Case) -> RBM:
    _refuse_several_kinds(case)
    if case.kind != "binary":
        what = "8-bit grey levels" if case.kind == "grey_levels" else "real values"
        raise NotApplicable(f"its units are 0 or 1, and the data are {what}: --binarize makes them so for all models")
    return RBM(binarize=case.binarize, batch_size=case.batch_size, random_state=case.seed, **case.axes)


def _ppca(case: Case) -> PPCA | Dequantized:
    _refuse_several_kinds(case)
    if case.kind == "binary":
        raise NotApplicable("it is a density of real values, and 0/1 data need probabilities")
    ppca = PPCA(random_state=case.seed, **case.axes)
    return Dequantized(ppca, case.seed) if case.kind == "grey_levels" else ppca


def _autoencoder(case: Case) -> Autoencoder:
    raise NotApplicable("it has no p(x): it has no distribution of codes, so it neither scores nor draws")


def _vae(case: Case) -> VAE:
    columns, size = case.schema.columns, case.batch_size
    return VAE(columns=columns, likelihood=case.likelihood, batch_size=size, random_state=case.seed, **case.axes)


MODELS: dict[str, Contender] = {  # from simple to flexible
    "factorized": Contender("independent features", _factorized),
    "mixture": Contender("mixture", _mixture, "max_iter", fewest=10, trial={"tol": 0.0}),
    "pixel_rnn": Contender("pixel RNN", _pixel_rnn, "max_epochs"),
    "rbm": Contender("RBM", _rbm, "max_epochs", trial={"n_chains": 2, "n_temperatures": 2}),
    "ppca": Contender("PPCA", _ppca),
    "autoencoder": Contender("autoencoder", _autoencoder),
    "vae": Contender("VAE", _vae, "max_epochs"),
}


def compare_models(
    case: Case,
    names: Sequence[str] = tuple(MODELS),
    *,
    seconds: float = math.inf,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    say: Callable[[str], object] = lambda message: None,
) -> Iterator[Result]:
    """Fit and score the models, one after another, in the order of ``MODELS``.

    Parameters
    ----------
    case : Case
    names : sequence of str
        Names in ``MODELS``.
    seconds : float
        Time to fit all models. The remaining time is shared evenly by the models that are fitted by iterations. If it
        is too short they make fewer passes, and if it is too short for one pass, over fewer rows, with a note.
    parameters : mapping, optional
        Parameters of each model that replace the defaults of the comparison.
    say : callable
        Called with a message when a fit begins.

    Yields
    ------
    Result
        One for each model; for a model that fails, with the reason.
    """
    chosen = [name for name in MODELS if name in names]
    left = seconds
    for i, name in enumerate(chosen):
        waiting = sum(MODELS[other].iterations is not None for other in chosen[i:])
        contender, started = MODELS[name], time.perf_counter()
        result = Result(name, contender.title)
        try:
            model = contender.make(case).set_params(**(parameters or {}).get(name, {}))
            say(f"fitting {contender.title}")
            _measure(result, model, contender, case, left / max(1, waiting))
        except NotApplicable as reason:
            result.reason = str(reason)
        except Exception as error:  # the failure of one model must not end the comparison
            result = Result(name, contender.title, failed=True, reason=sentence(error), notes=result.notes)
        left = max(0.0, left - (result.fit_seconds or time.perf_counter() - started))
        yield result


def sentence(error: Exception) -> str:
    """The message of an error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _measure(result: Result, model: Any, contender: Contender, case: Case, seconds: float) -> None:
    """Fit and score the model, and fill in the result."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        started = time.perf_counter()
        n_rows = _pace(result, model, contender, case, seconds) if contender.iterations else len(case.train)
        warnings.simplefilter("always", UserWarning)
        watch = Deadline(started + 1.25 * seconds)
        _fit(model, case.train[:n_rows], watch)
        result.fit_seconds = time.perf_counter() - started
        _check_measure(model, case)
        if watch.stopped_after:
            result.notes.append(f"stopped by the budget after epoch {watch.stopped_after}")
        result.log_p = _score(model, case)
        started = time.perf_counter()
        result.samples = model.sample(DRAWS)
        result.sample_seconds = time.perf_counter() - started
    result.notes += list(dict.fromkeys(str(each.message) for each in caught))
    result.title, result.n_parameters = title(model, contender.title), count_parameters(model)
    if case.kind in ("binary", "grey_levels"):
        result.bits_per_dim = bits_per_dim(result.log_p.value, case.schema.n_dimensions)


def _check_measure(model: Any, case: Case) -> None:
    """Raise ``NotApplicable`` if log p(x) is of other things than that of the other models."""
    if isinstance(model, Dequantized):
        return
    why = "log p(x) is of which values are missing too" if models_the_mask(model) else None
    why = why or why_different(model.schema_, case.schema, ("it", "the others"))
    if why is not None:
        raise NotApplicable(f"it can't be compared: {why}")


def _fit(model: Any, X: np.ndarray, watch: Watch) -> None:
    if isinstance(model, GradientEstimator):
        model.fit(X, watch=watch)
    else:
        model.fit(X)


def _score(model: Any, case: Case) -> Estimate:
    vae = isinstance(model, VAE)
    log_p = model.log_likelihood(case.test, case.n_importance) if vae else model.log_likelihood(case.test)
    if not math.isfinite(log_p.value):
        raise ArithmeticError(f"log p(x) of the rows held out is {log_p.value:g}")
    return log_p


def _pace(result: Result, model: Any, contender: Contender, case: Case, seconds: float) -> int:
    """Set the number of passes that the budget allows; return the number of rows."""
    inner = model.density if isinstance(model, Dequantized) else model
    name: str = contender.iterations or ""
    asked = getattr(inner, name)
    wanted = case.n_epochs if asked == "auto" else asked
    n = len(case.train)
    passes, n_rows = wanted, n
    if seconds < math.inf:
        started = time.perf_counter()
        each = _seconds_per_row(model, contender, case, seconds)
        left = max(0.0, seconds - (time.perf_counter() - started))
        passes, n_rows = affordable(left / each, wanted, contender.fewest, n, _fewest_rows(inner, case))
    model.set_params(**{name: passes})
    if passes < wanted:
        what = "EM steps" if name == "max_iter" else "epochs"
        result.notes.append(f"the budget allowed {passes} of {wanted} {what}")
    if n_rows < n:
        result.notes.append(f"the budget allowed {n_rows:,} of {n:,} rows")
    return n_rows


def _fewest_rows(model: Any, case: Case) -> int:
    return min(len(case.train), 2 * max(case.batch_size, getattr(model, "n_components", 0)))


def _seconds_per_row(model: Any, contender: Contender, case: Case, most: float) -> float:
    """Seconds per row of one pass: by the steps of a trial, or by the time of additional passes over a few rows."""
    inner = model.density if isinstance(model, Dequantized) else model
    trial: Any = type(inner)(**{**inner.get_params(deep=False), str(contender.iterations): 1, **contender.trial})
    if isinstance(trial, GradientEstimator):
        watch = Stopwatch(most / 4)
        with suppress(Enough):
            trial.fit(case.train, watch=watch)
        return watch.seconds_per_row
    if isinstance(model, Dequantized):
        trial = Dequantized(trial, case.seed)
    X = case.train[: 2 * _fewest_rows(inner, case)]
    _seconds(trial, X)  # the first call also loads libraries
    once, more = _seconds(trial, X), _seconds(trial.set_params(**{str(contender.iterations): 1 + MORE_PASSES}), X)
    return max((more - once) / MORE_PASSES, once / (5 * MORE_PASSES)) / len(X)


def _seconds(model: Any, X: np.ndarray) -> float:
    started = time.perf_counter()
    model.fit(X)
    return time.perf_counter() - started


def title(model: Any, plain: str) -> str:
    """The fitted model in words."""
    inner = model.density if isinstance(model, Dequantized) else model
    if isinstance(inner, Mixture):
        components = "Bernoullis" if inner.schema_.likelihood == "bernoulli" else "Gaussians"
        plain = f"mixture of {inner.n_components} {components}"
    size = {RBM: "n_hidden", PPCA: "latent_dim_", VAE: "latent_dim_"}.get(type(inner))
    return plain if size is None else f"{plain}-{getattr(inner, size)}"


def count_parameters(model: Any) -> int:
    """The number of fitted parameters: weights, and buffers that closed forms and EM fit."""
    modules: list[nn.Module] = [model.model_, *([model.posterior_] if hasattr(model, "posterior_") else [])]
    weights = sum(weight.numel() for module in modules for weight in module.parameters())
    return weights + sum(_free(name, buffer.shape) for name, buffer in modules[0].named_buffers())


def _free(name: str, shape: Sequence[int]) -> int:
    """The degrees of freedom of a buffer: probabilities sum to 1, and a triangle is half a square."""
    if name == "log_weights":
        return shape[0] - 1
    if name == "log_probability":
        return (shape[0] - 1) * math.prod(shape[1:])
    if name == "scale_trils":
        return shape[0] * shape[1] * (shape[1] + 1) // 2
    return math.prod(shape) if name in ("logits", "mean", "scale", "means", "scales") else 0
