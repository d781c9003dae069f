"""Stacks of fillers: weights for every column of the table, from predictions of hidden cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from lowerbound.data.normal_scores import Scale
from lowerbound.data.table_code import Raw
from lowerbound.imputation.fillers import OfValues, expected_values
from lowerbound.imputation.gaussians import ExactFiller, Filler, derived, stream

OTHERS = 0.1  # weight of a hidden cell for another column of its kind
LEAST_GAIN = 0.02  # part of a column's variance: less isn't worth leaving its mean, and no gain is known so exactly
FEWEST_CELLS = 20  # hidden ones of a column, from which it is known that nothing tells it
LEAST = 0.05  # smaller weights are left out
IMPROBABLE = 1e-6  # the least probability, as linear predictions of indicators may be negative


@dataclass
class Stack:
    """A stack, with the mean Σ_c w_cj E_c[v_j|v_o]; a draw is one filler's, chosen by weight, moved to this mean.

    Means and draws are of standardized values v. Where models see scores, draws aren't moved, so that they stay values
    that the column can have. Categories are drawn by the chosen filler's probabilities, and not moved, so that they
    have the stack's probabilities. Numbers drawn from a mixture Σ_c w_c p_c would have too large a variance: each p_c
    has the variance of its filler's errors, to which the mixture adds that between fillers, while the error of their
    mean is smaller (Hora, 2004, Management Science 50:597).

    Attributes
    ----------
    fillers : list of Filler
    weights : ndarray, shape (C, P)
        Weights of every filler in every column of the matrix; they add up to 1 in each.
    raw : Raw
        The columns that are indicators of categories, whose draws are 0 or 1.
    scale : Scale, optional
        From the models' matrix to values; the same if None.
    """

    fillers: list[Filler]
    weights: np.ndarray
    raw: Raw
    scale: Scale = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.scale = self.scale or Scale.plain(len(self.raw.blocks))

    def mean(self, Z: np.ndarray) -> np.ndarray:
        """Values with Σ_c w_c E_c[v_m|v_o] in the gaps, shape (n, P)."""
        return self._mean(Z, self._means(Z))

    def _means(self, Z: np.ndarray) -> list[np.ndarray]:
        return [expected_values(filler, Z, self.scale) for filler in self.fillers]

    def _mean(self, Z: np.ndarray, means: list[np.ndarray]) -> np.ndarray:
        return np.where(np.isnan(Z), sum(w * mean for w, mean in zip(self.weights, means, strict=True)), Z)

    def draws(self, Z: np.ndarray, n: int, seed: int) -> np.ndarray:
        """Values with draws in the gaps, (n, N, P), of one filler per row as far as the columns' weights agree."""
        return self.mean_and_draws(Z, n, seed)[1]

    def mean_and_draws(self, Z: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Both ``mean`` and ``draws``, at the cost of the draws.

        One uniform number chooses the fillers of all columns of a row, so that most entries of a draw come from one
        filler, with its dependence between columns.
        """
        u = stream(seed, "blend").random((n, len(Z), 1))
        ends = self.weights.cumsum(0)
        ends[-1] = 1
        means = self._means(Z)
        center = self._mean(Z, means)
        moved = self.raw.blocks < 0
        moved[self.scale.places] = False
        x = np.broadcast_to(Z, (n, *Z.shape)).copy()
        for c, filler in enumerate(self.fillers):
            chosen = (u < ends[c]) & (u >= (ends[c - 1] if c else 0))
            drawn = np.stack(list(filler.draws(Z, n, derived(seed, c))))
            drawn = drawn + np.where(moved, center - means[c], 0)
            if not _draws_categories(filler):
                self._draw_categories(drawn, Z, means[c], stream(derived(seed, c), "levels"))
            x = np.where(chosen, drawn, x)
        return center, self.scale.drawn(x, stream(seed, "values"))

    def refit(self, Z: np.ndarray, seed: int) -> Stack:
        """The same stack of models fitted to other rows; the weights are kept."""
        fillers = [filler.refit(Z, derived(seed, c)) for c, filler in enumerate(self.fillers)]
        return Stack(fillers, self.weights, self.raw, self.scale)

    def _draw_categories(self, drawn: np.ndarray, Z: np.ndarray, mean: np.ndarray, rng: np.random.Generator) -> None:
        """Replace a filler's normal draws of indicators by categories drawn from the probabilities of its mean."""
        for block in range(self.raw.blocks.max(initial=-1) + 1):
            places = np.flatnonzero(self.raw.blocks == block)
            rows = np.flatnonzero(np.isnan(Z[:, places[0]]))
            center, spread = self.raw.mean[places], self.raw.spread[places]
            p = np.clip(mean[np.ix_(rows, places)] * spread + center, IMPROBABLE, None)
            ends = (p / p.sum(1, keepdims=True)).cumsum(1)[:, :-1]
            category = (rng.random((len(drawn), len(rows), 1)) > ends).sum(-1)
            drawn[:, rows[:, None], places] = (np.eye(len(places))[category] - center) / spread


def _draws_categories(filler: Filler) -> bool:
    """True for a location model; others draw numbers in place of indicators."""
    filler = filler.filler if isinstance(filler, OfValues) else filler
    return isinstance(filler, ExactFiller) and filler.code is not None


def column_weights(
    predicted: np.ndarray, target: np.ndarray, importance: np.ndarray, row: np.ndarray, owner: np.ndarray,
    kind: np.ndarray, plain: int | None = None,
) -> np.ndarray:  # fmt: skip
    """Weights of every candidate in every column of the table, by stacking and ``cautious`` shrinkage.

    Columns of a kind have common weights, shrunk towards the first candidate. The weights of one column, for which its
    own hidden cells count fully and others of its kind a tenth, are shrunk towards the common ones. A column in which
    this is hardly better than the candidate ``plain``, by its own gain and those of its kind, gets that one alone.

    Parameters
    ----------
    predicted : ndarray, shape (C, cells)
    target, importance : ndarray, shape (cells,)
    row, owner : ndarray of int, shape (cells,)
        The row and the column of the table of each cell; all indicators of a category are cells.
    kind : ndarray, shape (columns,)
    plain : int, optional
        The candidate that fills with means.

    Returns
    -------
    ndarray, shape (C, columns)
    """
    weights, unit = np.empty((len(predicted), len(kind))), np.eye(len(predicted))
    for j in range(len(kind)):
        own, alike = owner == j, kind[owner] == kind[j]
        alike |= not alike.any()  # no cell of this kind was hidden: all cells count
        cells = predicted[:, alike], target[alike], importance[alike]
        weights[:, j] = cautious(stack(*cells), unit[0], *cells, row[alike])
        if own.any():
            w = stack(*cells[:2], cells[2] * np.where(own[alike], 1, OTHERS))
            own_cells = predicted[:, own], target[own], importance[own]
            weights[:, j] = cautious(w, weights[:, j], *own_cells, row[own])
    if plain is not None:
        for of_kind in (kind, ~kind):
            gains, variances = column_gains(predicted, target, importance, row, owner, weights, plain)
            mean, _ = shrunk_gains(gains[of_kind], variances[of_kind])
            enough = np.bincount(owner, minlength=len(kind))[of_kind] >= FEWEST_CELLS
            weights[:, np.flatnonzero(of_kind)[(mean < LEAST_GAIN) & enough]] = unit[:, [plain]]
    return weights


def column_gains(
    predicted: np.ndarray, target: np.ndarray, importance: np.ndarray, row: np.ndarray, owner: np.ndarray,
    weights: np.ndarray, plain: int,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The gain in squared error over the candidate ``plain`` in each column, and the squares of its standard error."""
    mixed = (weights[:, owner] * predicted).sum(0)
    gains = importance * ((predicted[plain] - target) ** 2 - (mixed - target) ** 2)
    columns, variances = np.zeros(weights.shape[1]), np.full(weights.shape[1], np.inf)
    for j in range(weights.shape[1]):
        own = owner == j
        of_rows = np.bincount(row[own], gains[own])[np.unique(row[own])] if own.any() else gains[:0]
        if len(of_rows) > 1:
            columns[j], variances[j] = of_rows.mean(), of_rows.var(ddof=1) / len(of_rows) + LEAST_GAIN**2
    return columns, variances


def shrunk_gains(gains: np.ndarray, variances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of gains given their estimates, which have these variances around them.

    The gains themselves are taken as normal around a common mean; their variance is that of DerSimonian & Laird (1986,
    Controlled Clinical Trials 7:177), as in empirical Bayes (Efron & Morris, 1973).
    """
    precision = 1 / variances
    total = precision.sum()
    if total == 0:
        return gains, np.zeros_like(gains)
    common = (precision @ gains) / total
    excess = precision @ (gains - common) ** 2 - (np.isfinite(variances).sum() - 1)
    between = max(0.0, excess / max(total - (precision**2).sum() / total, 1e-12))
    prior = 1 / (between + 1 / total)
    return (precision * gains + prior * common) / (precision + prior), (precision + prior) ** -0.5


def stack(predicted: np.ndarray, target: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """Weights w ≥ 0 with Σ w = 1 and the least Σ importance (target − Σ_c w_c predicted_c)² (Breiman, 1996).

    Parameters
    ----------
    predicted : ndarray, shape (C, cells)
    target, importance : ndarray, shape (cells,)

    Returns
    -------
    ndarray, shape (C,)
        Weights below 0.05 are set to 0.
    """
    root = np.sqrt(importance / importance.sum())
    deviation = (predicted - target) * root  # with Σ w = 1 the error is Σ_c w_c deviation_c
    heavy = 1e3 * np.sqrt((deviation**2).sum(1).max() + 1e-12)
    A = np.vstack([deviation.T, np.full(len(predicted), heavy)])
    w, _ = nnls(A, np.append(np.zeros(deviation.shape[1]), heavy))
    return without_least(w)


def cautious(
    w: np.ndarray, safe: np.ndarray, predicted: np.ndarray, target: np.ndarray, importance: np.ndarray, row: np.ndarray
) -> np.ndarray:
    """Weights shrunk towards safe ones, as far as the gain over these may be chance.

    With a gain g in the squared error, whose standard error over rows is s, the safe weights get the part
    min(1, (s/g)²) (shrinkage after James & Stein, 1961): all if the gain is at most its standard error. Rows are taken
    as independent; the indicators of one category, and the hidden cells of one row, are not (Liang & Zeger, 1986).

    Parameters
    ----------
    w, safe : ndarray, shape (C,)
    predicted : ndarray, shape (C, cells)
    target, importance, row : ndarray, shape (cells,)
    """
    n_rows = len(np.unique(row))
    if n_rows < 2:
        return without_least(safe)
    gains = (safe @ predicted - target) ** 2 - (w @ predicted - target) ** 2
    gain = np.average(gains, weights=importance)
    of_rows = np.bincount(row, importance * (gains - gain))  # each row's part of Σ importance (gains − gain) = 0
    error = np.sqrt(n_rows / (n_rows - 1) * (of_rows**2).sum()) / importance.sum()
    back = min(1.0, (error / gain) ** 2) if gain > 0 else 1.0
    return without_least((1 - back) * w + back * safe)


def without_least(w: np.ndarray) -> np.ndarray:
    """Weights with those below 0.05 set to 0, adding up to 1 again."""
    w = np.where(w / w.sum() < LEAST, 0.0, w)
    return w / w.sum()
