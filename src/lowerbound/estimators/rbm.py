"""The restricted Boltzmann machine as a scikit-learn estimator.

It is fitted by contrastive divergence, whose step is no gradient of any loss, so not by the one training loop: the
loop here is its own. Nothing is stopped early, because log p(x) isn't known while it learns.
"""

from __future__ import annotations

import copy
import math
import sys
import time
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from lowerbound.data.batches import RowsInMemory
from lowerbound.data.schema import Schema, infer_schema
from lowerbound.data.statistics import Extent, measure, row_blocks
from lowerbound.distributions.likelihoods.kind import LikelihoodError
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.estimators.arguments import Data, warn_of_labels
from lowerbound.estimators.density import ExactEstimator, Gaps
from lowerbound.evaluation.estimate import Estimate
from lowerbound.models.rbm import RBM as Model
from lowerbound.models.rbm import Gradient, contrastive_divergence, log_z, pseudo_log_likelihood
from lowerbound.parameters.seed import RandomState
from lowerbound.parameters.tables import RBM_PARAMETERS
from lowerbound.training.state import TrainingError
from lowerbound.warning import warn

MONITORED_ROWS = 500  # of the training rows, and of those held out: what an epoch's record is computed on
TRUSTED_PART = 0.1  # of the chains must be effective, else there is a warning
STEPS, MIN_EPOCHS, MAX_EPOCHS = 10_000, 10, 200  # of max_epochs="auto"


class AnnealingWarning(UserWarning):
    """The estimate of log Z rests on few of its chains."""


class RBM(ExactEstimator):
    """Restricted Boltzmann machine: p(v) = Σ_h exp(b·v + c·h + v·Wh)/Z for 0/1 data v and hidden units h.

    Fits 0/1 arrays of any number of dimensions; anything else must be made 0/1 by ``binarize``, and log p is then that
    of the zeros and ones. All log-probabilities are in nats, for one row.

    log p(x) needs Z, a sum over all states. Where there are at most 20 hidden (or visible) units it is summed, and log
    p(x) is exact. Else it is estimated by annealed importance sampling: the estimate of Z is unbiased, so that of log Z
    is too small in expectation, and that of log p(x) **too large**: an upper bound in expectation, unlike a VAE's.
    ``estimate_log_z`` repeats the estimate with more chains and temperatures. The price of a draw is ``burn_in`` steps
    of Gibbs sampling, after which it is still only nearly one from p.

    ``sample`` takes a Gibbs chain of its own for each row, of ``burn_in`` steps; with ``mean=True`` it gives p(v = 1|h)
    at the end of each, instead of the zeros and ones that are drawn with it.

    Parameters
    ----------
    n_hidden : int
    binarize : {None, "sample", "threshold", "mean"}
        Grey values (uint8, or real in [0, 1]) become 0 or 1: redrawn as Bernoulli for every minibatch, or cut at ½.
        "mean" takes any numbers, 1 standing for those above the mean of their feature in the training rows; 0/1
        features stay what they are. None refuses all but 0/1 data.
    image_shape : tuple of int, optional
        (H, W), (H, W, C) or (C, H, W), for images given as flat rows; for pictures of draws only.
    layout : {"auto", "image", "channels_first", "features"}
        The axes of a row, as in ``VAE``.
    method : {"pcd", "cd"}
        Gibbs chains go on from where they were (persistent contrastive divergence; better densities), or start from the
        data at every step (contrastive divergence).
    n_gibbs_steps : int
        k, steps of the chains for each step of learning.
    max_epochs : int or "auto"
        All are run. "auto": about 10,000 steps, from 10 to 200 epochs.
    batch_size : int
        Rows in a step; persistent chains are as many.
    lr : float
        Learning rate at the start; it falls linearly to 0, which persistent chains need to catch up with the model.
    momentum : float
        Part of the last step that is kept in the next.
    weight_decay : float
        λ in the pull −λW on the weights.
    validation_fraction : float
        Part of the rows that is held out to watch for overfitting, see ``history_``.
    n_chains, n_temperatures : int
        Of annealed importance sampling.
    burn_in : int
        Steps of block Gibbs sampling before a draw: a chain of its own for each, from independent units, annealed
        in the first half.
    random_state : int, RandomState or None
        With the same seed, the same result. Nothing global is touched.
    device : str
        "auto" takes a GPU if there is one.
    verbose : int
        1 prints a line for each epoch on stderr.

    Attributes
    ----------
    model_ : lowerbound.models.rbm.RBM
        W, b and c; ``free_energy`` is known without Z.
    log_z_ : float
        log Z, in nats.
    log_z_standard_error_ : float
        0 where log Z is exact.
    log_z_ess_ : float or None
        Effective number of chains behind it, None where it is exact. Below a tenth of ``n_chains``, which draws an
        ``AnnealingWarning``, neither log Z nor its standard error can be trusted.
    history_ : list of dict
        One record an epoch. ``reconstruction_error``: mean over rows of the squared difference between v and its mean
        after a step down from E[h|v]. ``pseudo_likelihood``: the log-probability of each feature given all others,
        summed (Besag, 1975), in nats a row; not an estimate of log p. ``free_energy_gap``: mean free energy of the rows
        held out less that of training rows, which grows with overfitting (Hinton, 2010, section 6); None without any.
    n_iter_ : int
        Epochs.
    schema_ : Schema
    n_features_in_ : int
    feature_names_in_ : ndarray of str
    seed_ : int
        What ``random_state`` stood for.

    References
    ----------
    Hinton, 2002, Training products of experts by minimizing contrastive divergence.
    Tieleman, 2008, Training restricted Boltzmann machines using approximations to the likelihood gradient.
    Salakhutdinov & Murray, 2008, On the quantitative analysis of deep belief networks.

    Examples
    --------
    >>> import numpy as np
    >>> from lowerbound import RBM
    >>> X = np.repeat([[0, 0, 1, 1], [1, 1, 0, 0]], 50, axis=0)
    >>> rbm = RBM(n_hidden=2, max_epochs=100, random_state=0).fit(X)
    >>> rbm.log_likelihood(X).kind
    'exact'
    """

    PARAMETERS = RBM_PARAMETERS
    GAPS: ClassVar[Gaps] = "nowhere"
    FITTED: ClassVar[tuple[str, ...]] = (
        *ExactEstimator.FITTED, "n_iter_", "history_", "log_z_", "log_z_standard_error_", "log_z_ess_"
    )  # fmt: skip

    model_: Model
    log_z_: float
    log_z_standard_error_: float
    log_z_ess_: float | None
    n_iter_: int
    history_: list[dict[str, Any]]

    def __init__(
        self, *, n_hidden: int = 128, binarize: str | None = None, image_shape: tuple[int, ...] | None = None,
        layout: str = "auto", method: str = "pcd", n_gibbs_steps: int = 1, max_epochs: int | str = "auto",
        batch_size: int = 64, lr: float = 0.05, momentum: float = 0.5, weight_decay: float = 1e-4,
        validation_fraction: float = 0.0, n_chains: int = 100, n_temperatures: int = 1000, burn_in: int = 1000,
        random_state: RandomState = None, device: str = "auto", verbose: int = 0,
    ) -> None:  # fmt: skip
        self.n_hidden = n_hidden
        self.binarize = binarize
        self.image_shape = image_shape
        self.layout = layout
        self.method = method
        self.n_gibbs_steps = n_gibbs_steps
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.n_chains = n_chains
        self.n_temperatures = n_temperatures
        self.burn_in = burn_in
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def _infer_schema(self, X: Any) -> Schema:
        if self.binarize is None:
            extent = measure(Extent.of, row_blocks(X))
            if not extent.binary.all():
                raise LikelihoodError(
                    f"the units of an RBM are 0 or 1, but X has values from {extent.lowest:g} to {extent.highest:g}: "
                    f"RBM(binarize='sample') redraws grey values as 0 or 1, 'threshold' and 'mean' cut values; for "
                    f"others use VAE"
                )
        return infer_schema(
            X, likelihood="bernoulli", binarize=self.binarize, image_shape=self.image_shape, layout=self.layout,
            names=self._names,
        )  # fmt: skip

    def _assemble(self, generator: torch.Generator) -> None:
        model = Model(self.schema_.output_bias(1)[0], self.n_hidden, generator, self.burn_in)
        self.model_ = model  # pyright: ignore[reportIncompatibleVariableOverride]

    @torch.no_grad()
    def fit(self, X: Data, y: object = None) -> Self:
        """Fit to the rows of ``X``, then estimate log Z.

        Parameters
        ----------
        X : array-like, shape (n, *row)
        y : ignored, with a warning

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range; ``LikelihoodError`` if the data aren't 0/1 and not to be made so.
        TrainingError
            If the weights stop being numbers.
        """
        warn_of_labels(self, y)
        X = self._start(X)
        rows = self._fitting().checked_rows(X)
        self.model_.to(self._device())
        order = torch.randperm(len(rows), generator=make_generator(self.seed_, "split"))
        n_held_out = round(self.validation_fraction * len(rows))
        training, held_out = rows.subset(order[n_held_out:]), rows.subset(order[:n_held_out])
        self._learn(training, held_out if n_held_out else None)
        return self.estimate_log_z()

    def estimate_log_z(
        self, n_chains: int | None = None, n_temperatures: int | None = None, random_state: RandomState = None
    ) -> Self:
        """Estimate log Z again, by other chains or more temperatures; exact where a layer has at most 20 units.

        Parameters
        ----------
        n_chains, n_temperatures : int, optional
            The estimator's if None.
        random_state : int, optional
            The estimator's if None.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        noise = self._fitting().noise("log Z") if random_state is None else self._fresh_noise(random_state, "log Z")
        exact = copy.deepcopy(self.model_).double()
        n_chains, n_temperatures = n_chains or self.n_chains, n_temperatures or self.n_temperatures
        result = log_z(exact, n_chains, n_temperatures, noise)
        self.log_z_, self.log_z_standard_error_, self.log_z_ess_ = result
        self.model_.log_z.fill_(self.log_z_)
        if result.ess is not None and result.ess < TRUSTED_PART * n_chains:
            warn(
                f"log Z rests on {result.ess:.1f} of {n_chains} chains: log p(x) may be much too large, and its "
                f"standard error too small. Try estimate_log_z(n_temperatures={10 * n_temperatures})",
                AnnealingWarning,
            )
        return self

    # learning

    def _learn(self, rows: RowsInMemory, held_out: RowsInMemory | None) -> None:
        rbm, noise = self.model_, self._fitting().noise("learning")
        order, start = make_generator(self.seed_, "order"), time.perf_counter()
        n_batches = math.ceil(len(rows) / self.batch_size)
        automatic = min(MAX_EPOCHS, max(MIN_EPOCHS, STEPS // n_batches))
        self.n_iter_ = automatic if self.max_epochs == "auto" else int(self.max_epochs)
        velocity = Gradient(*map(torch.zeros_like, rbm.parameters()))
        chains = rbm.base_rates(self.batch_size, noise)
        self.history_, step = [], 0
        for epoch in range(1, self.n_iter_ + 1):
            for batch in rows.batches(self.batch_size, noise, order):
                v = batch.x.flatten(1)
                begin = chains if self.method == "pcd" else v
                gradient, chains = contrastive_divergence(rbm, v, begin, self.n_gibbs_steps, noise)
                self._step(gradient, velocity, self.lr * (1 - step / (self.n_iter_ * n_batches)))
                step += 1
            record = {"epoch": epoch, "step": step, **self._monitor(rows, held_out)}
            self.history_.append(record | {"seconds": round(time.perf_counter() - start, 3)})
            self._report()

    def _step(self, gradient: Gradient, velocity: Gradient, lr: float) -> None:
        """velocity ← μ·velocity + gradient, θ ← θ + lr·velocity; W decays."""
        decayed = gradient._replace(weight=gradient.weight - self.weight_decay * self.model_.weight)
        for parameter, speed, slope in zip(self.model_.parameters(), velocity, decayed, strict=True):
            speed.mul_(self.momentum).add_(slope)
            parameter.add_(speed, alpha=lr)

    def _monitor(self, rows: RowsInMemory, held_out: RowsInMemory | None) -> dict[str, Any]:
        """The record of an epoch, without Z; from the same rows, features and noise each time."""
        rbm, noise = self.model_, self._fitting().noise("monitor")
        v = _first(rows, noise)
        energy = rbm.free_energy(v).mean().item()
        if not math.isfinite(energy):
            raise TrainingError(f"the weights are no longer numbers: lower the learning rate (lr={self.lr:g})")
        reconstruction = rbm.visible_logits(rbm.hidden_logits(v).sigmoid()).sigmoid()
        gap = None if held_out is None else rbm.free_energy(_first(held_out, noise)).mean().item() - energy
        return {
            "reconstruction_error": (v - reconstruction).square().sum(1).mean().item(),
            "pseudo_likelihood": pseudo_log_likelihood(rbm, v, noise).mean().item(),
            "free_energy_gap": gap,
        }

    def _report(self) -> None:
        if self.verbose:
            parts = (f"{k} {v:.6g}" for k, v in self.history_[-1].items() if v is not None)
            print("  ".join(parts), file=sys.stderr)

    # using

    def score_samples(self, X: Data) -> np.ndarray:
        """log p(x) of every row in nats, −F(x) − log Z, shape (n,).

        Exact where log Z is (``log_z_ess_`` is None); else too large in expectation, all rows by the same amount, so
        that differences between rows are exact. Computed in float64; grey values under ``binarize="sample"`` are scored
        on one fixed binarization.
        """
        return super().score_samples(X)

    def log_likelihood(self, X: Data) -> Estimate:
        """Mean log p(x) over rows, in nats.

        Returns
        -------
        Estimate
            Exact, or "upper": above log p(x) in expectation by as much as the estimate of log Z is below it (Jensen).
            The standard error joins that over rows and that of log Z, which are independent.
        """
        over_rows = super().log_likelihood(X)
        if self.log_z_ess_ is None:
            return over_rows
        error = math.hypot(over_rows.standard_error, self.log_z_standard_error_)
        return replace(over_rows, standard_error=error, kind="upper")


def _first(rows: RowsInMemory, noise: Noise) -> Tensor:
    """The first rows, as the model reads them, shape (n, D)."""
    return rows.prepare(rows.raw[:MONITORED_ROWS].to(rows.device), noise).flatten(1)
