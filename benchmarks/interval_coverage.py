"""Coverage of intervals for hidden cells, on every table of a folder.

    python benchmarks/interval_coverage.py --data tabular

Of each table at most 500 rows are used. A fifth of the observed cells is hidden, `VAEImputer` is fitted to the rest (by
a small VAE of the columns' kinds, or by the default models without the network), and the part of the hidden numbers in
their intervals is compared with the level. Of laws with frequent values (counts, point masses) one at an end counts
as far as the level needs (`Intervals.covered`); ``closed`` counts them all. ``by_kind`` has means over the cells of
columns that are continuous, or discrete (at most 32 values, or one value in a twentieth of the rows), and the number of
columns that are further than 3 binomial standard errors from the level.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from density import machine, revision

from lowerbound import IWAE, MLP, VAE, Amortized, VAEImputer
from lowerbound.data.table_code import column_numbers
from lowerbound.storage.atomic import write_text

OUTPUT = Path(__file__).parent / "results" / "interval-coverage.json"
ROWS, HIDDEN, LEVELS = 500, 0.2, (0.5, 0.8, 0.9, 0.95)
FEW, FREQUENT = 32, 0.05  # values, and the share of one, of a column that is called discrete
STEPS, BATCH = 800, 64


def vae(n_rows: int, seed: int) -> VAE:
    epochs = max(10, STEPS * BATCH // n_rows)
    return VAE(
        4, columns="auto", network=MLP((32, 32)), objective=IWAE(5), posterior=Amortized(input_dropout=0.3),
        batch_size=BATCH, max_epochs=epochs, early_stopping=False, random_state=seed,
    )  # fmt: skip


METHODS = {
    "VAE": lambda n_rows, seed: VAEImputer(
        vae(n_rows, seed), n_importance=100, keep_empty_features=True, random_state=seed
    ),
    "VAEImputer without the network": lambda n_rows, seed: VAEImputer(
        models=("gaussian", "mixture"), keep_empty_features=True, random_state=seed
    ),
}


def measured(frame: pd.DataFrame, method: str, seed: int) -> dict:
    """Coverage of each column of numbers at each level, and the means over columns of one kind."""
    rng = np.random.default_rng(seed)
    frame = frame.iloc[np.sort(rng.permutation(len(frame))[:ROWS])].reset_index(drop=True)
    numbers = np.stack([column_numbers(frame[name]) for name in frame], 1)
    hidden = frame.notna().to_numpy() & (rng.random(frame.shape) < HIDDEN)
    gaps = frame.mask(hidden)
    imputer = METHODS[method](len(frame), seed).fit(gaps)
    found = {level: imputer.intervals(gaps, level) for level in LEVELS}
    columns = []
    for j, name in enumerate(frame):
        rows, seen = hidden[:, j], numbers[~np.isnan(numbers[:, j]), j]
        if not rows.any() or not len(seen):
            continue
        share = np.unique(seen, return_counts=True)[1]
        kind = "discrete" if len(share) <= FEW or share.max() >= FREQUENT * len(seen) else "continuous"
        result = {"column": name, "kind": kind, "n": int(rows.sum())}
        for level, each in found.items():
            inside = (each.low <= numbers) & (numbers <= each.high)
            result[f"coverage_{100 * level:.0f}"] = float(each.covered(numbers)[rows, j].mean())
            result[f"closed_{100 * level:.0f}"] = float(inside[rows, j].mean())
        columns.append(result)
    return {"n_rows": len(frame), "columns": columns, "by_kind": by_kind(columns)}


def by_kind(columns: list[dict]) -> dict:
    """Means over the cells of each kind of columns, and the columns that are more than 3 standard errors away."""
    found = {}
    for kind in ("continuous", "discrete"):
        of_kind = [column for column in columns if column["kind"] == kind]
        n = sum(column["n"] for column in of_kind)
        if not n:
            continue
        found[kind] = {"cells": n, "columns": len(of_kind)}
        for level in LEVELS:
            name = f"coverage_{100 * level:.0f}"
            found[kind][name] = sum(column["n"] * column[name] for column in of_kind) / n
            error = [(level * (1 - level) / column["n"]) ** 0.5 for column in of_kind]
            far = [abs(c[name] - level) > 3 * e for c, e in zip(of_kind, error, strict=True)]
            found[kind][f"far_{100 * level:.0f}"] = sum(far)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--tables", nargs="*", help="only these")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    arguments = parser.parse_args()
    done = json.loads(arguments.output.read_text(encoding="utf-8")) if arguments.output.exists() else {"results": []}
    for method in arguments.methods:
        for path in sorted(arguments.data.glob("*.csv")):
            key = {"table": path.stem, "method": method}
            if (arguments.tables and path.stem not in arguments.tables) or any(
                key.items() <= r.items() for r in done["results"]
            ):
                continue
            started = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                result = measured(pd.read_csv(path), method, 0)
            done["results"].append(
                {**key, **result, "seconds": round(time.perf_counter() - started, 1), "commit": revision()}
            )
            done["machine"] = machine()
            done["command"] = " ".join(["python", *sys.argv]).replace(str(arguments.data), "tabular")
            arguments.output.parent.mkdir(parents=True, exist_ok=True)
            write_text(arguments.output, json.dumps(done, indent=1) + "\n")
            print(key, json.dumps(result["by_kind"]), flush=True)


if __name__ == "__main__":
    main()
