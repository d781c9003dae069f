"""The density of a table's numbers by a mixture of Gaussians, fitted by EM."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from lowerbound.core import Batch
from lowerbound.data.columns.coding import numbers_of_atoms
from lowerbound.data.schema import Schema
from lowerbound.distributions.atoms import is_atom, value_of
from lowerbound.distributions.unseen import is_unseen
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.inference import em
from lowerbound.models.gaussian import MixtureOfGaussians, rows_at_once

MOST_COLUMNS = 64
ROWS_TO_FIT = 1_000
N_COMPONENTS = (1, 2, 3, 4, 6)  # that are tried; each has more rows than outliers of one kind
ROWS_A_COMPONENT, ROWS_A_COLUMN = 20, 5  # at least, and for each column of each component
ROUNDS = 3  # of EM, each on the rows that are the most probable after the one before
TOLERANCE, MAX_ITER = 3e-3, 30


@dataclass
class NumbersMixture:
    """p(x) = Σ_k π_k N(x; μ_k, Σ_k) of the numbers of a row, on the scale of the autoencoder.

    Attributes
    ----------
    model : MixtureOfGaussians
    places : Tensor, shape (P,)
        The entries of a row that are numbers.
    atoms : Tensor, shape (P, M)
        The numbers that atoms of columns with several stand for. A single one is left out, as it has no density.
    """

    model: MixtureOfGaussians
    places: Tensor
    atoms: Tensor

    @classmethod
    def fitted(cls, schema: Schema, on: Evaluation, trimmed: float, left_out: float, seed: int) -> Self | None:
        """The mixture with the least BIC, of the rows but for the fraction ``trimmed`` of lowest density.

        Trimmed likelihoods are of Neykov et al. (2007, Comput. Stat. Data Anal. 52:299). Components with a weight
        below ``left_out`` are left out, since outliers of one kind may have one of their own. None where there are too
        few rows or numbers, or too many numbers.
        """
        places = torch.from_numpy(np.flatnonzero(schema.in_deviations & schema.counted))
        if not 0 < len(places) <= MOST_COLUMNS:
            return None
        atoms = torch.from_numpy(numbers_of_atoms(schema.columns or (), places.tolist()))
        rows = _whole(on, places, atoms)
        rows = rows.subset(torch.nonzero(rows.mask.any(1)).flatten())
        if len(rows.x) < ROWS_A_COMPONENT:
            return None
        return cls(_without_small_components(_best(rows, trimmed, seed), left_out), places, atoms)

    @classmethod
    def restored(cls, tensors: dict[str, Tensor]) -> Self:
        """The mixture whose ``tensors`` these are."""
        K, n_columns = tensors["means"].shape
        model = MixtureOfGaussians(K, (n_columns,))
        model.load_state_dict({name: tensors[name] for name in model.state_dict()})
        atoms = tensors.get("atoms")  # models of before columns had several atoms have none
        return cls(model, tensors["places"], torch.full((n_columns, 1), torch.nan) if atoms is None else atoms)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that a file keeps."""
        return self.model.state_dict() | {"places": self.places, "atoms": self.atoms}

    def scores(self, on: Evaluation) -> np.ndarray:
        """−log p(x) of the numbers of every row, in nats, (n,); a number that is missing counts as typical."""
        rows, model = _whole(on, self.places, self.atoms), self.model
        return torch.cat([_nats(model, rows.subset(part)) for part in _parts(model, rows)]).numpy()


def _nats(model: MixtureOfGaussians, rows: Batch) -> Tensor:
    """−log p(x_o) of each row, and the mean of −log p(x_m | x_o, k) over x_m and k, for what is missing, (B,).

    Of a Gaussian the latter is that at the mode, where x̂_m = E[x_m|x_o, k], and half a nat for each entry.
    """
    nats = -model.log_prob(rows)
    if rows.mask.all():
        return nats
    given, known = model.condition(rows), torch.ones_like(rows.mask)
    filled = [model.condition(Batch(x, known, rows.index)).log_p[k] for k, x in enumerate(given.filled)]
    at_mode = (model.responsibilities(rows).T * (given.log_p - torch.stack(filled))).sum(0)
    return nats + at_mode + 0.5 * (~rows.mask).sum(1)


def _whole(on: Evaluation, places: Tensor, atoms: Tensor) -> Batch:
    """The numbers of all rows; single atoms and values never seen have no density, and are left out."""
    parts = [(batch.x[:, places].double().cpu(), batch.mask[:, places].cpu()) for batch in on.batches()]
    x, mask = (torch.cat(part) for part in zip(*parts, strict=True))
    x = torch.where(is_atom(x), value_of(x, atoms), x)
    return Batch(x.nan_to_num(), mask & ~x.isnan() & ~is_unseen(x), torch.arange(len(x)))


def _best(rows: Batch, trimmed: float, seed: int) -> MixtureOfGaussians:
    """The mixture with the least BIC on the rows that it was fitted to.

    Covariances are shrunk towards that of all rows, which is shrunk towards independent columns.
    """
    n, n_columns = rows.x.shape
    start = _one_gaussian(rows, trimmed)
    filled, covariance = start.conditional_mean(rows).numpy(), start.covariances[0]
    tried = []
    for K in N_COMPONENTS:
        if K == 1 or n >= K * max(ROWS_A_COMPONENT, ROWS_A_COLUMN * n_columns):
            centers = KMeans(K, n_init=1, random_state=seed % 2**32).fit(filled).cluster_centers_  # type: ignore[arg-type]
            model = MixtureOfGaussians(K, (n_columns,), shrinkage=float(n_columns))
            model.start(torch.from_numpy(centers), 0.5 * covariance, covariance * K ** (-2 / n_columns))
            tried.append(_climbed(model, rows, trimmed))
    return min(tried, key=lambda model: _bic(model, rows, trimmed))


def _one_gaussian(rows: Batch, trimmed: float) -> MixtureOfGaussians:
    n_columns = rows.x.shape[1]
    known = torch.where(rows.mask, rows.x, torch.nan)
    mean = known.nanmean(0).nan_to_num()
    variances = (known - mean).square().nanmean(0).nan_to_num() + 1e-6
    model = MixtureOfGaussians(1, (n_columns,), shrinkage=float(n_columns))
    model.start(mean[None], variances.diag(), variances.diag())
    return _climbed(model, rows, trimmed)


def _climbed(model: MixtureOfGaussians, rows: Batch, trimmed: float) -> MixtureOfGaussians:
    """Fit by EM to all rows, then again and again to those that are the most probable."""
    some = rows
    for _ in range(ROUNDS if trimmed else 1):
        em.fit(model, lambda some=some: [some], TOLERANCE, MAX_ITER)
        some = rows.subset(_most_probable(model, rows, trimmed))
    return model


def _most_probable(model: MixtureOfGaussians, rows: Batch, trimmed: float) -> Tensor:
    """The places of the rows of highest density, of which what is missing counts as typical."""
    nats = torch.cat([_nats(model, rows.subset(part)) for part in _parts(model, rows)])
    return nats.argsort(stable=True)[: math.ceil((1 - trimmed) * len(nats))].sort().values


def _parts(model: MixtureOfGaussians, rows: Batch) -> tuple[Tensor, ...]:
    """The places of as many rows at a time as fit into memory."""
    return torch.arange(len(rows.x)).split(rows_at_once(rows.x.shape[1], model.n_components))


def _bic(model: MixtureOfGaussians, rows: Batch, trimmed: float) -> float:
    """−2 log p of the most probable rows + log n for each parameter."""
    some = rows.subset(_most_probable(model, rows, trimmed))
    n_columns = rows.x.shape[1]
    n_parameters = model.n_components * (1 + n_columns + n_columns * (n_columns + 1) / 2) - 1
    return float(-2 * model.log_prob(some).sum()) + n_parameters * math.log(len(some.x))


def _without_small_components(model: MixtureOfGaussians, least: float) -> MixtureOfGaussians:
    """The components with a weight of at least ``least``, or the largest one."""
    weights = model.log_weights.exp()
    kept = weights >= min(least, float(weights.max()))
    smaller = MixtureOfGaussians(int(kept.sum()), model.event_shape, shrinkage=model.shrinkage)
    smaller.log_weights.copy_(weights[kept].log() - weights[kept].sum().log())
    smaller.means.copy_(model.means[kept])
    smaller.scale_trils.copy_(model.scale_trils[kept])
    return smaller
