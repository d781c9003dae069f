"""One autoencoder of the ensemble and its scores, a part of the rows at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import _num_samples

from lowerbound.data.batches import Rows, RowsInMemory
from lowerbound.data.context import RowsGiven
from lowerbound.data.frames import as_pandas
from lowerbound.data.sources import Source
from lowerbound.distributions.gaussians import DiagonalGaussian
from lowerbound.distributions.noise import DoubleNoise, make_generator
from lowerbound.estimators.arguments import Data
from lowerbound.estimators.fitted import Fitted
from lowerbound.estimators.vae import VAE
from lowerbound.evaluation.bound import Progress, importance_weighted
from lowerbound.evaluation.evaluation import EVALUATION_BATCH, Evaluation
from lowerbound.nn.inputs import FAR_OUT
from lowerbound.outliers.mixture import ROWS_TO_FIT, NumbersMixture
from lowerbound.parameters.tables import CLIMBING
from lowerbound.tasks import outlier_scores

N_PARTS, N_SAMPLES, N_IMPORTANCE = 4, 2, 64
N_CODES = 500  # training rows whose codes are kept
BY_ENTRY = ("reconstruction", "surprise")
ROWS_TO_KNOW_ENTRIES = 1_000  # training rows that tell what is typical of each entry
ENTRIES_TO_KNOW = 2**19  # of fewer rows, where they are larger
PASS_OF_IMAGES = 2**17  # entries in a pass in float64: larger ones leave the cache, and take twice as long
AT_ONCE = 32  # rows that are scored before the progress is told, where they take long
ROWS_AT_ONCE = 10_000  # that are scored together, where they are no larger than that
ENTRIES_AT_ONCE = 2**23
ROWS_IN_SINGLE = 2_000  # of a table, from which on its networks compute in float32, as many rows in a pass
FAR_IN_SINGLE = 100.0  # beyond which numbers are left to float64
IN_SINGLE = {"kl", "aggregate_kl", "reconstruction", "elbo", "surprise"}


def untold(part: float) -> None:
    """Ignore the progress."""


@dataclass
class Member:
    """An autoencoder, and what it found typical of the training rows.

    Attributes
    ----------
    vae : VAE
    typical : dict of ndarray, shape (F,) each
        The medians over training rows of the reconstruction and of the surprise of each entry, in nats.
    codes : DiagonalGaussian or None
        q(z|x) of some training rows, the components of the aggregate posterior; None where it has another form.
    n_left_out : int
        How many of them, the nearest, a row isn't compared with; its own is the nearest only if it is one of them.
    """

    vae: VAE
    typical: dict[str, np.ndarray]
    codes: DiagonalGaussian | None
    n_left_out: int

    @classmethod
    def introduced(
        cls, vae: VAE, X: Data | RowsGiven, seed: int, left_out: float, progress: Progress = untold
    ) -> Member:
        """The member for an autoencoder and its training rows.

        A row isn't compared with the fraction ``left_out`` of the codes that are nearest to its own: outliers come in
        small groups, whose rows would otherwise look normal because of each other. ``progress`` is told what part of
        the work is newly done.
        """
        coded = exactly_on(vae, few(X, N_CODES, seed))
        codes = outlier_scores.codes(coded)
        known = few(X, rows_to_know(coded.rows.event_shape), seed)
        nats = in_parts(lambda rows: by_entry(exactly_on(vae, rows), BY_ENTRY, vae), known, rows_to_tell(vae), progress)
        typical = {name: median_of_known(nats[name]) for name in BY_ENTRY}
        return cls(vae, typical, codes, max(1, round(left_out * len(coded.rows))))

    def scores(self, X: Data | RowsGiven, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Some scores of every row, (n,) each; an entry that is missing counts as typical.

        Of many rows of a table, those without a number beyond ±100 are scored in float32, with the same noise.
        """
        on = exactly_on(self.vae, X)
        if self.vae.schema_.is_image or len(on.rows) < ROWS_IN_SINGLE or not IN_SINGLE.issuperset(names):
            return self._scores(on, names)
        far = has_far_entry(on.rows)
        found = {name: np.empty(len(on.rows)) for name in names}
        for chosen, some in ((~far, in_single(on, self.vae)), (far, on)):
            if chosen.any():
                scores = self._scores(replace(some, rows=some.rows.subset(torch.nonzero(chosen).flatten())), names)
                for name in names:
                    found[name][chosen.numpy()] = scores[name]
        return found

    def _scores(self, on: Evaluation, names: Sequence[str]) -> dict[str, np.ndarray]:
        found = by_entry(on, [*names, *(("kl",) if self.codes is None else ())], self.vae)
        for name in set(BY_ENTRY) & set(found):
            found[name] = np.where(np.isnan(found[name]), self.typical[name], found[name]).sum(1)
        if "elbo" in names:
            found["elbo"] = found["kl"] + found["reconstruction"]
        if "aggregate_kl" in names:
            q = outlier_scores.codes(on)
            if q is None or self.codes is None:
                found["aggregate_kl"] = found["kl"]
            else:
                found["aggregate_kl"] = outlier_scores.aggregate_kl(q, self.codes, self.n_left_out).numpy()
        return {name: found[name] for name in names}

    def mixture(self, X: Data, trimmed: float, left_out: float, seed: int) -> NumbersMixture | None:
        """The mixture of the numbers of the training rows, if they can have one."""
        schema = self.vae.schema_
        if schema.is_image:
            return None
        return NumbersMixture.fitted(schema, exactly_on(self.vae, few(X, ROWS_TO_FIT, seed)), trimmed, left_out, seed)

    def excess(self, X: Data | RowsGiven) -> np.ndarray:
        """The surprise of each entry above what is typical of it, in nats, (n, F); NaN where it is missing."""
        nats = by_entry(exactly_on(self.vae, X), ("surprise",), self.vae)["surprise"]
        return nats - self.typical["surprise"]


def scores_of(
    members: Sequence[Member], mixture: NumbersMixture | None, X: Data | RowsGiven, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Some scores of every row by every autoencoder, (n, M) each; of the mixture (n, 1)."""
    by_vae = [name for name in names if name != "mixture"]
    found = [member.scores(X, by_vae) for member in members] if by_vae else []
    scores = {name: np.column_stack([each[name] for each in found]) for name in by_vae}
    if "mixture" in names:
        if mixture is None:
            raise ValueError(
                "the mixture needs a table of 20 rows or more with 1 to 64 columns of numbers, and no context"
            )
        scores["mixture"] = mixture.scores(exactly_on(members[0].vae, X))[:, None]
    return scores


def fitted_to(vae: VAE, X: Data | RowsGiven) -> VAE:
    """The autoencoder, fitted to rows that may have a context."""
    return vae.fit(X.X, context=X.context) if isinstance(X, RowsGiven) else vae.fit(X)


def on_rows(fitted: Fitted, X: Data | RowsGiven) -> Evaluation:
    """A fitted autoencoder on rows that may have a context."""
    return fitted.given(X.context).on(X.X) if isinstance(X, RowsGiven) else fitted.on(X)


def exactly_on(vae: VAE, X: Data | RowsGiven) -> Evaluation:
    """The same in float64, with one noise for all rows."""
    on = on_rows(vae.fitted_.exactly(), X)
    return replace(on, pass_elements=PASS_OF_IMAGES) if vae.schema_.is_image else on


def in_single(on: Evaluation, vae: VAE) -> Evaluation:
    """The same in float32, with the noise that float64 has."""
    rows, fitted = cast(RowsInMemory, on.rows), vae.fitted_
    single = replace(
        rows,
        prepare=lambda raw, noise: rows.prepare(raw, noise).float(),
        context=None if rows.context is None else rows.context.float(),
    )
    noise = DoubleNoise(on.noise.generator, shared=True)
    return Evaluation(fitted.model, fitted.posterior, single, noise, on.pass_elements, ROWS_IN_SINGLE)


def has_far_entry(rows: Rows) -> torch.Tensor:
    """True for the rows with a number beyond ±100 in the model's units, (n,)."""
    limit = torch.tensor(FAR_IN_SINGLE)
    far = [(outlier_scores.beyond(batch.x, limit) & batch.mask).flatten(1).any(1) for batch in rows.batches(len(rows))]
    return torch.cat(far).cpu()


def limit_of(vae: VAE) -> torch.Tensor:
    """The limit in the model's units beyond which an entry is no evidence about the others, (*event)."""
    return torch.where(torch.from_numpy(vae.schema_.in_deviations), FAR_OUT, torch.inf)


def by_entry(on: Evaluation, names: Sequence[str], vae: VAE) -> dict[str, np.ndarray]:
    """Scores of one autoencoder, (n,) each; reconstruction and surprise by entry, (n, F), NaN where it is missing."""
    found: dict[str, torch.Tensor] = {}
    if {"kl", "reconstruction", "elbo"} & set(names):
        found["kl"], found["reconstruction"] = outlier_scores.bound(on, N_SAMPLES)
    if "surprise" in names:
        is_image = vae.schema_.is_image
        found["surprise"] = outlier_scores.surprise(on, N_PARTS, N_SAMPLES, limit_of(vae), is_image=is_image)
    if "log_p" in names:
        found["log_p"] = -importance_weighted(on, N_IMPORTANCE)[0]
    if {"regret", "relative_regret"} & set(names):
        if "relative_regret" in names and on.model.log_unit is not None:
            raise ValueError(
                "relative_regret is a part of a code's length, which continuous data don't have: use regret"
            )
        single = replace(on, model=vae.fitted_.model, posterior=vae.fitted_.posterior)
        before, after = outlier_scores.refined(on, single)
        found |= {"regret": after - before, "relative_regret": (after - before) / -before}
    if "level_ratio" in names:
        found["level_ratio"] = outlier_scores.level_ratio(on)
    return {name: (nats if nats.ndim == 1 else nats.flatten(1)).double().numpy() for name, nats in found.items()}


def median_of_known(nats: np.ndarray) -> np.ndarray:
    """The median of each column's numbers, 0 where there are none."""
    known = ~np.isnan(nats)
    return np.array([np.median(column[k]) if k.any() else 0.0 for column, k in zip(nats.T, known.T, strict=True)])


def take(X: Data | RowsGiven, places: np.ndarray) -> Any:
    """Some rows of an array, a frame, a list, a source, or rows that have a context."""
    if isinstance(X, RowsGiven):
        return X.take(places)
    if isinstance(X, Source):
        return X.take(places).X
    iloc: Any = getattr(X, "iloc", None)
    if iloc is not None:
        return iloc[places]
    return X[places] if isinstance(X, np.ndarray) else np.asarray(X)[places]


def has_index(X: Data | RowsGiven) -> bool:
    """The rows are those of a frame."""
    return isinstance(X.X if isinstance(X, RowsGiven) else X, pd.DataFrame)


def index_of(X: Any) -> pd.Index:
    """The index of a frame, or the places of other rows."""
    rows = X.X if isinstance(X, RowsGiven) else X
    return rows.index if isinstance(rows, pd.DataFrame) else pd.RangeIndex(_num_samples(rows))


def few(X: Data | RowsGiven, n: int, seed: int) -> Any:
    """At most ``n`` rows, from all over."""
    if _num_samples(X) <= n:
        return X
    return take(X, np.sort(torch.randperm(_num_samples(X), generator=make_generator(seed, "few"))[:n].numpy()))


def split(X: Data | RowsGiven, fraction: float, seed: int) -> tuple[Any, Any]:
    """Rows to fit, and a fraction that is held out for calibration; None if there are none."""
    n = _num_samples(X)
    n_held_out = round(fraction * n)
    if n_held_out == 0:
        return X, None
    order = torch.randperm(n, generator=make_generator(seed, "calibration")).numpy()
    return take(X, np.sort(order[n_held_out:])), take(X, np.sort(order[:n_held_out]))


def rows_to_know(row_shape: Sequence[int]) -> int:
    """The number of training rows that tell what is typical of each entry."""
    return max(AT_ONCE, min(ROWS_TO_KNOW_ENTRIES, ENTRIES_TO_KNOW // max(1, math.prod(row_shape))))


def rows_to_tell(vae: VAE, criterion: str = "auto") -> int | None:
    """The number of rows that are scored before the progress is told; None for as many as memory allows."""
    return AT_ONCE if vae.schema_.is_image or criterion in CLIMBING else None


def in_parts(
    score: Callable[[Any], dict[str, np.ndarray]], X: Data | RowsGiven, n_rows: int | None, progress: Progress
) -> dict[str, np.ndarray]:
    """Scores of all rows, ``n_rows`` at a time; ``progress`` is told which part of them is newly done."""
    parts = []
    for rows in chunks(X, n_rows):
        parts.append(score(rows))
        progress(_num_samples(rows) / _num_samples(X))
    return {name: np.concatenate([scores[name] for scores in parts]) for name in parts[0]}


def rows_at_once(row_shape: Sequence[int]) -> int:
    """The number of rows that are scored together, which bounds memory."""
    rows = ENTRIES_AT_ONCE // max(1, math.prod(row_shape))
    return max(1, min(ROWS_AT_ONCE, rows - rows % EVALUATION_BATCH if rows > EVALUATION_BATCH else rows))


def chunks(X: Data | RowsGiven, n_rows: int | None = None) -> Iterator[Any]:
    """The rows in order, ``n_rows`` at a time: so many that working on them needs little memory."""
    X = as_pandas(X)
    shape = X.shape if hasattr(X, "shape") else np.asarray(X).shape  # pyright: ignore[reportAttributeAccessIssue]
    n, step = _num_samples(X), n_rows or rows_at_once(shape[1:])
    if isinstance(X, Source):
        yield from (block.X for block in X.blocks(step))
    elif n <= step:
        yield X
    else:
        yield from (take(X, np.arange(i, min(n, i + step))) for i in range(0, n, step))
