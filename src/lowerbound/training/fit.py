"""Fitting a model and its posterior by one call, with checkpoints, a lock on their folder and a progress bar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lowerbound.core import ExplicitModel, Model, NoPosterior, Objective, Posterior
from lowerbound.data.batches import Rows, as_rows
from lowerbound.inference.objectives import elbo
from lowerbound.parallel import current
from lowerbound.parameters.parameter import suggestion
from lowerbound.precision import undisturbed
from lowerbound.storage.locks import locked
from lowerbound.training.checkpoints import Checkpoints, Saving
from lowerbound.training.identity import check_same, identity
from lowerbound.training.loop import train
from lowerbound.training.progress import ProgressWatch
from lowerbound.training.settings import Settings
from lowerbound.training.state import Training, TrainingError
from lowerbound.training.watch import Together, Watch


def fit(
    model: Model, posterior: Posterior | None, objective: Objective | None, data: Any, validation: Any = None, *,
    max_epochs: int = 100, batch_size: int = 100, lr: float = 1e-3, seed: int = 0, device: str | torch.device = "cpu",
    checkpoint: str | Path | None = None, watch: Watch | None = None, verbose: bool = False, **settings: Any,
) -> Training:  # fmt: skip
    """Fit a model, which may be the user's own, and its posterior by stochastic gradients.

    Parameters
    ----------
    model : Model
        p(x, z); its parameters are changed in place, and so are the posterior's.
    posterior : Posterior or None
        q(z|x); None for an ``ExplicitModel``, which has no latent variables.
    objective : Objective or None
        The loss; None is the negative ELBO, and −log p(x) for an ``ExplicitModel``.
    data : array-like of shape (n, *event), or Rows
        An array is given to the model as it is, in the type of its weights (float32 as a rule); NaN marks entries that
        are missing.
    validation : array-like or Rows, optional
        Rows held out: training stops when their bound no longer rises (see ``Settings``), and the weights of the best
        epoch are kept.
    max_epochs : int
        Passes over the data.
    batch_size : int
        Rows in a step, of all processes together.
    lr : float
        The highest learning rate, of AdamW.
    seed : int
        The same seed gives the same result.
    device : str or torch.device
        The device of the model and the rows.
    checkpoint : path, optional
        A folder for checkpoints. If it holds one of the same run, training goes on from there, with the result of a
        run that was never interrupted.
    watch : Watch, optional
        Called after every step and epoch; may ask to stop.
    verbose : bool
        Show progress on stderr.
    **settings
        Other fields of ``lowerbound.training.settings.Settings``, such as ``ema`` and ``precision``;
        ``early_stopping`` is True by default if there are validation rows.

    Returns
    -------
    Training
        Its ``progress.history`` has one record an epoch, in nats a row.

    Raises
    ------
    TrainingError
        If many steps in a row have no finite loss or gradient.
    ValueError
        If the checkpoint is of another run.
    FolderInUseError
        If another process trains with the same ``checkpoint``.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from lowerbound import ExplicitModel, fit
    >>> class Normal(ExplicitModel):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.mean = torch.nn.Parameter(torch.zeros(3))
    ...
    ...     def log_prob(self, batch):
    ...         return torch.distributions.Normal(self.mean, 1.0).log_prob(batch.x).sum(-1)
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> training = fit(Normal(), None, None, X, max_epochs=3)
    >>> training.progress.epoch
    3
    """
    _check(model, posterior, objective, settings)
    device, dtype = torch.device(device), next((weight.dtype for weight in model.parameters()), torch.float32)
    with undisturbed(dtype):
        rows = as_rows(data, device, dtype)
        held_out = None if validation is None else as_rows(validation, device, dtype)
        chosen = Settings(max_epochs, batch_size, lr, **{"early_stopping": held_out is not None, **settings})
        training = Training(model, posterior or NoPosterior(), objective or elbo(), chosen, seed, device)
        return run(training, rows, held_out, checkpoint=checkpoint, watch=watch, verbose=verbose)


def _check(model: Any, posterior: Any, objective: Any, settings: dict[str, Any]) -> None:
    """Raise where what was given isn't a model, a posterior, an objective, or a setting."""
    if not isinstance(model, Model):
        raise TypeError(f"model must be a lowerbound.Model, got {type(model).__name__}")
    if posterior is None and not isinstance(model, ExplicitModel):
        raise TypeError(f"{type(model).__name__} has latent variables, so it needs a posterior: a lowerbound.Posterior")
    if not isinstance(posterior, Posterior | None):
        raise TypeError(f"posterior must be a lowerbound.Posterior, got {type(posterior).__name__}")
    if not isinstance(objective, Objective | None):
        raise TypeError(f"objective must be a lowerbound.Objective, got {type(objective).__name__}")
    known = [field.name for field in fields(Settings)]
    for name in settings:
        if name not in known:
            raise TypeError(f"fit has no setting {name!r}{suggestion(name, known)}; there are {', '.join(known)}")


def run(
    training: Training, rows: Rows, validation: Rows | None = None, *, checkpoint: str | Path | None = None,
    watch: Watch | None = None, resume: tuple[dict[str, Tensor], dict[str, Any]] | None = None, verbose: bool = False,
) -> Training:  # fmt: skip
    """Train from where ``training``, the ``checkpoint`` or ``resume`` stands, and put the best weights back.

    They are put back, too, where a ``TrainingError`` ends it.

    Parameters
    ----------
    training : Training
        The model, its posterior, and everything that changes while they are trained.
    rows : Rows
        The rows to fit.
    validation : Rows, optional
        Rows held out, whose bound decides when to stop and which weights are kept.
    checkpoint : path, optional
        A folder for checkpoints; one that it holds is continued, in place of ``resume``.
    watch : Watch, optional
        Called after every step and epoch; may ask to stop.
    resume : (dict of Tensor, dict), optional
        A state to go on from, as ``Training.state`` gives it.
    verbose : bool
        Show progress on stderr, unless there is a ``watch``.
    """
    first = current().is_first
    if not training.identity and (checkpoint, watch, resume) != (None, None, None):
        training.identity = identity(training, rows, validation)
    checkpoints = None if checkpoint is None else Checkpoints(checkpoint)
    with _locked(checkpoints if first else None):
        if checkpoints is None and resume is not None:
            check_same(resume[1], training, "resume is")
        state = resume if checkpoints is None else checkpoints.load_for(training)
        if state is not None:
            training.load_state(*state)
        with _progress_bar(verbose and watch is None and first) as bar:
            saving = Saving(checkpoints) if checkpoints and first else None
            try:
                train(training, rows, validation, Together(*(each for each in (watch, bar, saving) if each)))
            except TrainingError:
                training.restore_best()
                raise
    training.restore_best()
    return training


@contextmanager
def _locked(checkpoints: Checkpoints | None) -> Iterator[None]:
    if checkpoints is None:
        yield
        return
    with locked(checkpoints.folder):
        yield


@contextmanager
def _progress_bar(wanted: bool) -> Iterator[ProgressWatch | None]:
    bar = ProgressWatch() if wanted else None
    try:
        yield bar
    finally:
        if bar is not None:
            bar.close()
