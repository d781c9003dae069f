"""log p(x) of many rows, by any method, with a progress bar, and continued after an interruption."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowerbound.cli.output import Console, write_error
from lowerbound.storage.opening import MOST_JSON, read_bytes

if TYPE_CHECKING:
    import numpy as np

    from lowerbound.estimators.density import DensityEstimator
    from lowerbound.estimators.vae import VAE
    from lowerbound.evaluation.estimate import Estimate

ROWS_IN_A_PART = {"importance": 500, "naive": 500, "ais": 50}
SAVE_SECONDS = 10.0  # least time between two saves
SAVE_COST = 20  # and its least multiple of the time of a save


@dataclass(frozen=True)
class Method:
    """The estimator of log p(x) for models without an exact one."""

    method: str = "importance"
    n_importance: int = 5000
    n_temperatures: int = 500
    n_chains: int = 8

    @property
    def n_samples(self) -> int:
        """Samples, or chains, for each row."""
        return self.n_chains if self.method == "ais" else self.n_importance

    def __str__(self) -> str:
        if self.method == "ais":
            return f"{self.n_chains:,} chains over {self.n_temperatures:,} temperatures"
        return f"{self.n_importance:,} {'importance samples' if self.method == 'importance' else 'draws of the prior'}"


class Partial:
    """Partial results of a long estimate, in a file of the run that is deleted once the result is shown.

    Where the file can't be read or written, the estimate goes on without it, and a warning says so.

    Parameters
    ----------
    folder : Path or None
        The run; None to save nothing.
    what : dict
        Everything that the results depend on.
    """

    def __init__(self, folder: Path | None, what: dict[str, Any]) -> None:
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
        self.path: Path | None
        self.path = folder / f"evaluation-{digest[:16]}.npz" if folder is not None and folder.is_dir() else None
        self.save_after: float = time.monotonic() + SAVE_SECONDS

    def read(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """log p(x) and effective sample sizes of the finished rows; none where the file is damaged."""
        from lowerbound.data.readers.arrays import read_members

        if self.path is None or not self.path.exists():
            return []
        with self._going_on("read"):
            log_p, ess = read_members(self.path, self.path.name, ("log_p", "ess"))
            if log_p.shape != ess.shape or log_p.ndim != 1 or {log_p.dtype.kind, ess.dtype.kind} != {"f"}:
                raise ValueError("it is not what was saved")
            return [(log_p, ess)]
        return []

    def write(self, parts: list[tuple[np.ndarray, np.ndarray]], *, now: bool = False) -> None:
        """Save the results, unless the last save is recent."""
        import numpy as np

        from lowerbound.storage.atomic import write_atomically

        if self.path is None or not parts or (not now and time.monotonic() < self.save_after):
            return
        started = time.monotonic()
        log_p, ess = (np.concatenate(part) for part in zip(*parts, strict=True))
        with self._going_on("written"):
            write_atomically(self.path, lambda path: np.savez(path, log_p=log_p, ess=ess))
        took = time.monotonic() - started
        self.save_after = time.monotonic() + max(SAVE_SECONDS, SAVE_COST * took)

    def remove(self) -> None:
        """Delete the file."""
        from lowerbound.storage.atomic import remove_temporaries_of

        if self.path is not None:
            with self._going_on("deleted"):
                remove_temporaries_of(self.path)
                self.path.unlink(missing_ok=True)

    @contextmanager
    def _going_on(self, done: str) -> Iterator[None]:
        """A context in which an error with the file is a warning, after which there is no file."""
        try:
            yield
        except (OSError, ValueError, KeyError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            write_error(f"warning: {self.path} can't be {done} ({reason}), so an interrupted estimate starts again")
            self.path = None


def score_rows(
    model: DensityEstimator, X: Any, method: Method, console: Console, name: str = "", run: Path | None = None,
    kept: list[Partial] | None = None,
) -> tuple[Estimate, np.ndarray]:  # fmt: skip
    """The mean of log p(x) over rows, and its value for every row; exact if the model has it.

    ``kept`` gets the partial results, which are to be deleted once all is shown.
    """
    from lowerbound.estimators.vae import VAE

    if not isinstance(model, VAE):
        return model.log_likelihood(X), getattr(model, "log_likelihood_rows", model.score_samples)(X)
    import numpy as np
    import torch

    from lowerbound.evaluation.annealing import expected_bias, warning_about
    from lowerbound.evaluation.estimate import mean_over_rows

    if model.context_ is not None:  # rows and their context are not taken apart
        with console.progress(len(X), "log p(x)") as progress:
            log_p, ess = model.log_likelihood_rows(X, progress=progress, **asdict(method))
    else:
        partial = Partial(run, {"method": asdict(method), "data": _digest(X), "model": _digest_of_model(run)})
        log_p, ess = _in_parts(model, X, method, partial, console, name)
        (kept if kept is not None else []).append(partial)
    effective = torch.from_numpy(ess)
    found = mean_over_rows(torch.from_numpy(log_p), "lower", method.n_samples, float(np.mean(ess)))
    message = warning_about(found, expected_bias(effective, method.n_samples), method.method)
    if message:
        console.say(f"warning: {message}")
    return found, log_p


def score(
    model: DensityEstimator, X: Any, method: Method, console: Console, run: Path | None = None,
    kept: list[Partial] | None = None,
) -> Estimate:  # fmt: skip
    """The mean of log p(x) over rows, as in ``score_rows``; exact if the model has it."""
    from lowerbound.estimators.vae import VAE

    if not isinstance(model, VAE):
        return model.log_likelihood(X)
    return score_rows(model, X, method, console, run=run, kept=kept)[0]


def row_parts(X: Any, n_rows: int, first_row: int = 0) -> Iterator[tuple[int, Any]]:
    """Yield the rows from ``first_row`` on, ``n_rows`` at a time, with the place of the first of each part."""
    import numpy as np

    from lowerbound.data.sources import BLOCK_ROWS, Source

    step = n_rows * max(1, min(BLOCK_ROWS, X.rows_in_a_block) // n_rows) if isinstance(X, Source) else len(X)
    for start in range(first_row, len(X), step):
        block: Any = X.read(np.array([[start, min(start + step, len(X))]])).X if isinstance(X, Source) else X[start:]
        for first in range(0, len(block), n_rows):
            yield start + first, block[first : first + n_rows]


def _in_parts(
    model: VAE, X: Any, method: Method, partial: Partial, console: Console, name: str
) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    parts = partial.read()
    done = sum(len(part) for part, _ in parts)
    if done > len(X):
        parts, done = [], 0  # of other rows
    if done:
        console.say(f"continuing after {done:,} of {len(X):,} rows ({partial.path})")
    what = f"{name}: log p(x)" if name else "log p(x)"
    if console.quiet or not sys.stderr.isatty():
        console.say(f"{what} of {len(X):,} rows, {method} each")
    with console.progress(len(X), what, done) as progress:
        try:
            for first, some in row_parts(X, ROWS_IN_A_PART[method.method], done):
                parts.append(model.log_likelihood_rows(some, progress=progress, first_row=first, **asdict(method)))
                partial.write(parts)
        except KeyboardInterrupt:
            partial.write(parts, now=True)
            raise
    log_p, ess = (np.concatenate(part) for part in zip(*parts, strict=True))
    return log_p, ess


def _digest(X: Any) -> str:
    from lowerbound.data.fingerprint import changed, digest
    from lowerbound.data.sources import Source

    return digest(X) + (changed(X) if isinstance(X, Source) else "")


def _digest_of_model(run: Path | None) -> str:
    """A hash of ``model.json``, which contains a hash of the weights."""
    found = [path for path in (run / "model.json", run / "model" / "model.json") if path.exists()] if run else []
    return hashlib.sha256(read_bytes(found[0], most=MOST_JSON)).hexdigest() if found else ""
