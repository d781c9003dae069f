"""Series with gaps and with anomalies: ``RecurrentVAE`` beside what is usually done.

    python benchmarks/series.py gaps --data FOLDER
    python benchmarks/series.py anomalies --data FOLDER

``gaps``: FOLDER/beijing_pm25.csv, hours of PM2.5 and weather. A fifth of the hours with PM2.5 are hidden, half of them
singly, half in runs of 6 to 24 hours, and filled given all else: mean absolute error of the median of the draws, beside
linear interpolation and forward fill, and the share of hidden values within the 80 % intervals. The model is fitted to
the series with these gaps. ``--validate`` hides other hours, as many, of those that are left, and measures these alone,
in some pieces of the series: choices are made by it.

``anomalies``: FOLDER/nab_eight.csv, eight series, each step of which is labeled. The area under the precision-recall
curve over steps, without point adjustment (under which a random score is as good as the best published ones: Kim et
al., 2022, arXiv:2109.05257): log p of a step given those before, and its mean over the last 24, beside a random score,
the distance from a rolling median, and a ``VAE`` on windows. Each is fitted to the series that it scores, without
labels.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from density import machine, recorded, revision
from sklearn.metrics import average_precision_score

from lowerbound import VAE, Adam, RecurrentVAE, Sequences
from lowerbound.storage.atomic import write_text

RESULTS = Path(__file__).parent / "results"
TARGET = "pm2.5"
WEATHER = ["DEWP", "TEMP", "PRES", "cbwd", "Iws"]
PIECE = 1461  # hours, 60.9 days: the series in 30 pieces
GAPS: dict[str, Any] = {
    "hidden_size": 128,
    "dropout": 0.4,
    "columns": {"DEWP": "continuous"},
    "window": 48,
    "optimizer": Adam(3e-3, ema=0.99),
    "batch_size": 16,
}
ANOMALIES: dict[str, Any] = {"hidden_size": 32, "window": 96, "optimizer": Adam(3e-3), "batch_size": 16}
WINDOW = 24  # steps of the windows of the VAE, and of the rolling median


# gaps


def hidden(observed: np.ndarray, share: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Hours to hide: half of them singly, with both neighbors left, half in runs of 6 to 24."""
    n, wanted = len(observed), share * observed.sum() / 2
    runs, single = np.zeros(n, bool), np.zeros(n, bool)
    while runs.sum() < wanted:
        first, length = rng.integers(1, n - 26), rng.integers(6, 25)
        if not runs[first - 1 : first + length + 1].any() and observed[first - 1 : first + length + 1].all():
            runs[first : first + length] = True
    free = observed & ~runs
    for t in rng.permutation(np.arange(1, n - 1)):
        if single.sum() >= wanted:
            break
        single[t] = free[t - 1 : t + 2].all() and not single[t - 1 : t + 2].any()
    return {"single": single, "runs": runs}


def measured_gaps(data: Path, latent_dim: int, epochs: int, seed: int, *, validate: bool) -> dict[str, Any]:
    """Errors and coverage on the hidden hours."""
    table = pd.read_csv(data / "beijing_pm25.csv")
    truth, rng = table[TARGET].to_numpy(), np.random.default_rng(seed)
    parts = hidden(~np.isnan(truth), 0.2, rng)
    given = np.where(parts["single"] | parts["runs"], np.nan, truth)
    if validate:
        parts = hidden(~np.isnan(given), 0.2, rng)
        given = np.where(parts["single"] | parts["runs"], np.nan, given)
    known = np.flatnonzero(~np.isnan(given))
    cuts = [0, *(int(known[np.searchsorted(known, c)]) for c in range(PIECE, len(table) - 24, PIECE)), len(table)]
    frame = table[WEATHER].assign(**{TARGET: given})
    pieces = [frame.iloc[a:b] for a, b in itertools.pairwise(cuts)]
    model = RecurrentVAE(latent_dim, **GAPS, max_epochs=epochs, random_state=seed)
    cpu = time.process_time()
    model.fit(pieces)
    fitting, cpu = time.process_time() - cpu, time.process_time()
    if validate:
        pieces, chosen = pieces[::4], [np.arange(a, b) for a, b in itertools.pairwise(cuts)][::4]
        truth, given = truth[np.concatenate(chosen)], given[np.concatenate(chosen)]
        parts = {name: where[np.concatenate(chosen)] for name, where in parts.items()}
    filled = model.impute(pieces, 40, n_particles=16)
    impute = time.process_time() - cpu
    median, low, high = (
        np.concatenate([x[TARGET].to_numpy() for x in each]) for each in (filled.median(), *filled.interval(0.8))
    )
    line, forward = (pd.Series(given).interpolate(limit_direction="both"), pd.Series(given).ffill().bfill())
    fills = {"RecurrentVAE": median, "linear interpolation": line.to_numpy(), "forward fill": forward.to_numpy()}
    result: dict[str, Any] = {
        "parameters": recorded(model.get_params(deep=False)), "fit_cpu_seconds": round(fitting, 1),
        "impute_cpu_seconds": round(impute, 1), "epochs": model.n_iter_, "kl_per_step": model.kl_,
        "least_ess": float(np.nanmedian(filled.ess)),
    }  # fmt: skip
    for name, where in parts.items():
        errors = {fill: float(np.abs(x - truth)[where].mean()) for fill, x in fills.items()}
        paired = np.abs(median - truth)[where] - np.abs(fills["linear interpolation"] - truth)[where]
        covered = ((low <= truth) & (truth <= high))[where]
        result[name] = {
            "hours": int(where.sum()), "mean_absolute_error": errors, "coverage_of_80": float(covered.mean()),
            "less_linear": float(paired.mean()), "standard_error": float(paired.std() / np.sqrt(where.sum())),
        }  # fmt: skip
        print(latent_dim, name, json.dumps(result[name]), flush=True)
    print(
        {k: v for k, v in result.items() if "seconds" in k or k in ("epochs", "kl_per_step", "least_ess")}, flush=True
    )
    return result


# anomalies


def anomaly_scores(x: np.ndarray, latent_dim: int, epochs: int, seed: int) -> dict[str, np.ndarray]:
    """Scores of every step of a series, higher where it is more unusual."""
    model = RecurrentVAE(latent_dim, **ANOMALIES, max_epochs=epochs, random_state=seed).fit([x[:, None]])
    (log_p,) = model.score_steps([x[:, None]])
    series = pd.Series(x)
    windows = np.lib.stride_tricks.sliding_window_view(np.r_[np.full(WINDOW - 1, x[0]), x], WINDOW)
    vae = VAE(4, random_state=seed, max_epochs=30).fit(windows)
    median = series.rolling(WINDOW, min_periods=1).median().to_numpy()
    smooth = pd.Series(-log_p).rolling(WINDOW, min_periods=1).mean().to_numpy()
    return {
        "RecurrentVAE": -log_p, "RecurrentVAE, mean over a window": smooth,
        "random": np.random.default_rng(seed).random(len(x)),
        "distance from a rolling median": np.abs(x - median), "VAE on windows": -vae.score_samples(windows),
    }  # fmt: skip


def measured_anomalies(data: Path, latent_dim: int, epochs: int, seed: int) -> dict[str, Any]:
    """Average precision of each score on each series."""
    table = pd.read_csv(data / "nab_eight.csv")
    table = table.groupby(["id", "timestamp"], sort=False, as_index=False).agg({"value": "mean", "anomaly": "max"})
    sequences = Sequences.from_frame(table, id="id", time="timestamp")
    results: dict[str, Any] = {}
    assert sequences.ids is not None
    for name, each in zip(sequences.ids, sequences, strict=True):
        label, cpu = each["anomaly"].to_numpy(), time.process_time()
        scores = anomaly_scores(each["value"].to_numpy(np.float64), latent_dim, epochs, seed)
        results[str(name)] = {
            "steps": len(each), "share": float(label.mean()), "cpu_seconds": round(time.process_time() - cpu, 1),
            "average_precision": {k: float(average_precision_score(label, v)) for k, v in scores.items()},
        }  # fmt: skip
        print(name, json.dumps(results[str(name)]), flush=True)
    kinds = list(next(iter(results.values()))["average_precision"])
    mean = {k: float(np.mean([each["average_precision"][k] for each in results.values()])) for k in kinds}
    print("mean", json.dumps(mean), flush=True)
    return {"series": results, "mean": mean}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("gaps", "anomalies"))
    parser.add_argument("--data", type=Path, required=True, help="folder with the .csv files")
    parser.add_argument("--latent-dims", type=int, nargs="+", default=[0, 8])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--random-state", type=int, default=0)
    parser.add_argument("--validate", action="store_true", help="measure other hidden hours, to choose by")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    asked = {"epochs": arguments.epochs, "seed": arguments.random_state}
    models = []
    for latent_dim in arguments.latent_dims:
        if arguments.what == "gaps":
            models.append(measured_gaps(arguments.data, latent_dim, **asked, validate=arguments.validate))
        else:
            models.append({"latent_dim": latent_dim, **measured_anomalies(arguments.data, latent_dim, **asked)})
    record = {
        "command": " ".join(["python", *sys.argv]).replace(str(arguments.data), "FOLDER"), "commit": revision(),
        "machine": machine(), "models": models,
    }  # fmt: skip
    output = arguments.output or RESULTS / f"series-{arguments.what}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
