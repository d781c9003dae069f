"""log p(x) of many rows, by any method, with a progress bar, and continued after an interruption."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator
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
    """Partial results of a long estimate, in a file of the run that is deleted at the end.

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
        try:
            log_p, ess = read_members(self.path, str(self.path), ("log_p", "ess"))
        except ValueError as error:
            write_error(f"warning: {error} All rows are scored anew.")
            return []
        if log_p.shape != ess.shape or log_p.ndim != 1 or {log_p.dtype.kind, ess.dtype.kind} != {"f"}:
            write_error(f"warning: {self.path} is not what was saved. All rows are scored anew.")
            return []
        return [(log_p, ess)]

    def write(self, parts: list[tuple[np.ndarray, np.ndarray]], *, now: bool = False) -> None:
        """Save the results, unless the last save is recent."""
        import numpy as np

        from lowerbound.storage.atomic import write_atomically

        if self.path is None or not parts or (not now and time.monotonic() < self.save_after):
            return
        started = time.monotonic()
        log_p, ess = (np.concatenate(part) for part in zip(*parts, strict=True))
        write_atomically(self.path, lambda path: np.savez(path, log_p=log_p, ess=ess))
        took = time.monotonic() - started
        self.save_after = time.monotonic() + max(SAVE_SECONDS, SAVE_COST * took)

    def remove(self) -> None:
        """Delete the file."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def score_rows(
    model: DensityEstimator, X: Any, method: Method, console: Console, name: str = "", run: Path | None = None
) -> tuple[Estimate, np.ndarray]:
    """The mean of log p(x) over rows, and its value for every row; exact if the model has it."""
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
        partial.remove()
    effective = torch.from_numpy(ess)
    found = mean_over_rows(torch.from_numpy(log_p), "lower", method.n_samples, float(np.mean(ess)))
    message = warning_about(found, expected_bias(effective, method.n_samples), method.method)
    if message:
        console.say(f"warning: {message}")
    return found, log_p


def score(model: DensityEstimator, X: Any, method: Method, console: Console, run: Path | None = None) -> Estimate:
    """The mean of log p(x) over rows; exact if the model has it."""
    from lowerbound.estimators.vae import VAE

    return score_rows(model, X, method, console, run=run)[0] if isinstance(model, VAE) else model.log_likelihood(X)


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
    import numpy as np
    from pandas.util import hash_pandas_object

    from lowerbound.cli.run import fingerprint_of_source
    from lowerbound.data.sources import Source

    if isinstance(X, Source):
        return fingerprint_of_source(X)["sha256"]
    if hasattr(X, "iloc"):
        rows = hash_pandas_object(X, index=False)  # pyright: ignore[reportCallIssue]
        return hashlib.sha256(rows.to_numpy().tobytes()).hexdigest()
    return hashlib.sha256(np.ascontiguousarray(X).tobytes()).hexdigest()


def _digest_of_model(run: Path | None) -> str:
    """A hash of ``model.json``, which contains a hash of the weights."""
    found = [path for path in (run / "model.json", run / "model" / "model.json") if path.exists()] if run else []
    return hashlib.sha256(read_bytes(found[0], most=MOST_JSON)).hexdigest() if found else ""
