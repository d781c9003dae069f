"""Fillers of a coded table's gaps by exact EM: Gaussians, mixtures of them, and location models.

All work on the matrix of ``TableCode``: rows of standardized numbers with NaN in the gaps.
"""

from __future__ import annotations

import copy
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from lowerbound.core import Batch
from lowerbound.data.columns.inference import FEWEST, MOST_VALUES, ROWS_A_CATEGORY
from lowerbound.data.table_code import Raw
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.inference import em
from lowerbound.models.gaussian import MixtureOfGaussians, rows_at_once
from lowerbound.models.location import LocationModel
from lowerbound.models.ppca import LinearGaussian, spectrum

MAX_FULL = 64  # columns of the matrix up to which a full covariance is fitted
FACTORS = 32  # latent variables of the factor analysis of more columns
STILL = 1e-4  # nats, of all rows together: EM that gains less in a step is at its maximum for all purposes
STEPS = 40  # of EM from the parameters of another fit, and of one Gaussian:
STEPS_OF_ONE = 300
AGAIN = 3  # steps of mixtures from the parameters without the hidden cells: more of them would fit more closely
FACTORS_AGAIN = 10  # of factor analysis
FIT_ELEMENTS = 3e8  # components times rows times columns³ in a step of EM; beyond, a sample of the rows is fitted


class Filler(Protocol):
    """Fills the missing entries of Z (n, P), which are NaN; observed entries are unchanged.

    ``moments`` are the means, and the variances in the columns ``places`` of Z, which count in gaps alone. ``refit``
    gives the same model fitted to other rows, starting from its present parameters.
    """

    def mean(self, Z: np.ndarray) -> np.ndarray: ...  # noqa: D102
    def moments(self, Z: np.ndarray, places: list[int]) -> tuple[np.ndarray, np.ndarray]: ...  # noqa: D102
    def draws(self, Z: np.ndarray, n: int, seed: int) -> np.ndarray: ...  # noqa: D102
    def refit(self, Z: Any, seed: int) -> Self: ...  # noqa: D102


@dataclass
class ExactFiller:
    """A filler by a model with exact conditionals."""

    model: MixtureOfGaussians | LinearGaussian | LocationModel
    code: Raw | None = None  # given if the model reads indicators as 0 and 1, not standardized

    def mean(self, Z: np.ndarray) -> np.ndarray:
        """Z with E[z_m|z_o] in the gaps, shape (n, P)."""
        return self.moments(Z, [])[0]

    def moments(self, Z: np.ndarray, places: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Z with E[z_m|z_o] in the gaps, shape (n, P), and Var[z_j|z_o] for the columns ``places``, (n, Q)."""
        j = torch.tensor(places, dtype=torch.int64)
        with torch.no_grad():
            parts = [self.model.conditional_moments(batch, j) for batch in batches(self._raw(Z))]
        mean, variance = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
        return self._back(mean, Z), variance

    def draws(self, Z: np.ndarray, n: int, seed: int) -> np.ndarray:
        """Z with draws from p(z_m|z_o) in the gaps, shape (n, N, P)."""
        noise = Noise(make_generator(seed, "impute"))
        with torch.no_grad():
            parts = [self.model.conditional_sample(batch, n, noise) for batch in batches(self._raw(Z))]
        return self._back(torch.cat(parts, 1).numpy(), Z)

    def refit(self, Z: np.ndarray, seed: int) -> ExactFiller:
        """The same model fitted to other rows by EM, up to the maximum.

        A step that gains little in nats a row, which is where other fits end, may still be far from it, compared with
        the standard errors of the parameters.
        """
        model, raw = copy.deepcopy(self.model), self._raw(_some_rows(Z, seed))
        one = isinstance(model, MixtureOfGaussians) and model.n_components == 1
        parts = _batches_of if isinstance(model, LinearGaussian) else batches
        em.fit(model, lambda: parts(raw), STILL / len(raw), STEPS_OF_ONE if one else STEPS)
        return ExactFiller(model, self.code)

    def _raw(self, Z: np.ndarray) -> np.ndarray:
        return Z if self.code is None else self.code.raw(Z)

    def _back(self, filled: np.ndarray, Z: np.ndarray) -> np.ndarray:
        return filled if self.code is None else np.where(np.isnan(Z), self.code.standardized(filled), Z)


@dataclass(frozen=True)
class FewValues:
    """Indicators of the values of numbers with few distinct values, on which other columns may depend nonlinearly.

    A school's grade may determine its name, for instance, but the indicators of the name aren't linear in the grade.

    Attributes
    ----------
    places : ndarray
        The column of the matrix of each indicator.
    values : ndarray
        The value of each indicator.
    mean, spread : ndarray
        Mean and standard deviation of the indicators, which are standardized.
    """

    places: np.ndarray
    values: np.ndarray
    mean: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, Z: np.ndarray, numbers: np.ndarray) -> FewValues:
        """The indicators of those columns ``numbers`` with at most 32 values, and 20 rows for each of these."""
        places, values, shares = [], [], []
        for j in numbers:
            seen = Z[~np.isnan(Z[:, j]), j]
            categories, counts = np.unique(seen, return_counts=True)
            if 2 < len(categories) <= MOST_VALUES and len(seen) >= ROWS_A_CATEGORY * len(categories):
                common = counts >= FEWEST
                places.append(np.full(common.sum(), j))
                values.append(categories[common])
                shares.append(counts[common] / len(seen))
        if not places:
            return cls(np.zeros(0, int), *np.zeros((3, 0)))
        p = np.concatenate(shares)
        return cls(np.concatenate(places), np.concatenate(values), p, np.sqrt(p * (1 - p)))

    def widened(self, Z: np.ndarray) -> np.ndarray:
        """The matrix with the indicators to its right."""
        z = Z[:, self.places]
        indicators = np.where(np.isnan(z), np.nan, np.isclose(z, self.values))
        return np.concatenate([Z, (indicators - self.mean) / self.spread], 1)


@dataclass
class CategoryFiller:
    """A filler of the matrix with the indicators of ``FewValues``, which its results leave out."""

    few: FewValues
    filler: ExactFiller

    def mean(self, Z: np.ndarray) -> np.ndarray:
        """Z with E[z_m|z_o] in the gaps, shape (n, P)."""
        return self.moments(Z, [])[0]

    def moments(self, Z: np.ndarray, places: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """``mean``, and Var[z_j|z_o] for the columns ``places``, (n, Q)."""
        mean, variance = self.filler.moments(self.few.widened(Z), places)
        return mean[:, : Z.shape[1]], variance

    def draws(self, Z: np.ndarray, n: int, seed: int) -> np.ndarray:
        """Z with draws from p(z_m|z_o) in the gaps, shape (n, N, P)."""
        return self.filler.draws(self.few.widened(Z), n, seed)[..., : Z.shape[1]]

    def refit(self, Z: np.ndarray, seed: int) -> CategoryFiller:
        """The same model fitted to other rows."""
        return CategoryFiller(self.few, self.filler.refit(self.few.widened(Z), seed))


def stream(seed: int, purpose: str) -> np.random.Generator:
    """A generator for each purpose, independent of ``default_rng(seed)``, which a user may have made the gaps with."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def derived(seed: int, i: int) -> int:
    """The i-th seed derived from a seed; those of neighboring seeds are unrelated."""
    return int(np.random.SeedSequence([seed, i]).generate_state(1)[0])


def batches(Z: np.ndarray) -> Iterator[Batch]:
    """Yield the rows in batches, small enough for a matrix of each row."""
    size = min(rows_at_once(Z.shape[1]), 20_000)
    for first in range(0, len(Z), size):
        yield batch_of(Z[first : first + size], first)


def batch_of(Z: np.ndarray, first: int = 0) -> Batch:
    """All rows as one batch."""
    observed = torch.from_numpy(~np.isnan(Z))
    return Batch(torch.from_numpy(np.nan_to_num(Z)), observed, torch.arange(first, first + len(Z)))


def fit_gaussian(
    Z: np.ndarray, seed: int, start: ExactFiller | None = None, *, tol: float = 1e-4, max_iter: int = 300
) -> ExactFiller:
    """Fit a Gaussian with full covariance by EM, or factor analysis with ``FACTORS`` factors to many columns.

    EM starts from ``start``, if it is given: a Gaussian that was fitted to a part of the cells.
    """
    Z = _some_rows(Z, seed)
    P = Z.shape[1]
    if P > MAX_FULL:
        return _fit_factors(Z, seed, start)
    identity = torch.eye(P, dtype=torch.float64)
    model = MixtureOfGaussians(1, (P,))
    model.start(torch.zeros(1, P, dtype=torch.float64), identity, identity)
    if start is not None:
        model.load_state_dict(start.model.state_dict())
    em.fit(model, lambda: batches(Z), tol, max_iter)
    return ExactFiller(model)


def _fit_factors(Z: np.ndarray, seed: int, start: ExactFiller | None) -> ExactFiller:
    n, P = Z.shape
    D = max(1, min(FACTORS, P // 2, n // 4))
    model = LinearGaussian((P,), D, "feature", torch.full((P,), 0.1, dtype=torch.float64))
    model.start(spectrum(torch.from_numpy(np.nan_to_num(Z))), make_generator(seed, "em"))
    if start is not None:
        model.load_state_dict(start.model.state_dict())
    em.fit(model, lambda: _batches_of(Z), 1e-3, 50 if start is None else FACTORS_AGAIN)
    return ExactFiller(model.requires_grad_(False))


def _batches_of(Z: np.ndarray, size: int = 2000) -> Iterator[Batch]:
    return (batch_of(Z[i : i + size], i) for i in range(0, len(Z), size))


def fit_mixture(
    Z: np.ndarray, gaussian: ExactFiller, n_components: int, shrinkage: float, seed: int,
    start: MixtureOfGaussians | None = None,
) -> ExactFiller:  # fmt: skip
    """Fit K Gaussians, each shrunk towards the Gaussian of all rows, scaled to the K-th part of its volume.

    EM starts from ``start``, or from the groups of k-means in the rows as filled by the Gaussian.
    """
    assert isinstance(gaussian.model, MixtureOfGaussians)
    Z = _some_rows(Z, seed, n_components * Z.shape[1] ** 3)
    P, covariance = Z.shape[1], gaussian.model.covariances[0]
    model = MixtureOfGaussians(n_components, (P,), shrinkage=shrinkage)
    if start is None:
        filled = gaussian.mean(Z)
        means = _centers(filled, n_components, seed)
        model.start(torch.from_numpy(means), 0.5 * covariance, covariance * n_components ** (-2 / P))
    else:
        model.load_state_dict(start.state_dict())
        model.average.copy_(covariance * n_components ** (-2 / P))
    em.fit(model, lambda: batches(Z), 3e-3, 30 if start is None else AGAIN)
    return ExactFiller(model)


def fit_location(
    Z: np.ndarray, code: Raw, gaussian: Filler, n_components: int, shrinkage: float, seed: int,
    start: LocationModel | None = None,
) -> ExactFiller:  # fmt: skip
    """Fit K components of Gaussian numbers and independent categories, from ``start`` or the groups of k-means."""
    here = code.blocks < 0
    Z = _some_rows(Z, seed, n_components * here.sum() ** 3)
    filled = gaussian.mean(Z)
    frequencies = torch.from_numpy(np.where(here, 1.0, code.mean))
    model = LocationModel(n_components, torch.from_numpy(code.blocks), frequencies, shrinkage)
    numbers = filled[:, here]
    covariance = torch.from_numpy(np.atleast_2d(np.cov(numbers.T)) + 1e-3 * np.eye(here.sum()))
    narrow = covariance * n_components ** (-2 / max(1, here.sum()))
    if start is None:
        means = _centers(filled, n_components, seed)
        model.numbers.start(torch.from_numpy(means[:, here]), 0.5 * covariance, narrow)
        theta = torch.from_numpy((means * code.spread + code.mean)[:, ~here]).clamp_min(0.02)
        total = theta.new_zeros(len(theta), model.n_blocks).index_add(1, model.blocks, theta)
        model.log_theta.copy_((theta / total[:, model.blocks]).log())
    else:
        model.load_state_dict(start.state_dict())
        model.numbers.average.copy_(narrow)
    raw = code.raw(Z)
    em.fit(model, lambda: batches(raw), 3e-3, 40 if start is None else AGAIN)
    return ExactFiller(model, code)


def _centers(filled: np.ndarray, n_components: int, seed: int) -> np.ndarray:
    """The centers of the groups of k-means, some of which may coincide, shape (K, P)."""
    k_means = KMeans(n_components, n_init=1, max_iter=20, random_state=seed % 2**32)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than groups
        return k_means.fit(filled).cluster_centers_


def _some_rows(Z: np.ndarray, seed: int, work: float | None = None) -> np.ndarray:
    """A sample of the rows if there are too many for EM, whose steps take so much work a row: columns³ if None."""
    most = int(max(2000, FIT_ELEMENTS / (Z.shape[1] ** 3 if work is None else max(1, work))))
    if len(Z) <= most:
        return Z
    return Z[np.sort(stream(seed, "rows").permutation(len(Z))[:most])]
