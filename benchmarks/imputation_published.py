"""Gaps in 13 tables by the protocol of a published table of ten imputers.

    python benchmarks/imputation_published.py --data FOLDER

The protocol is that of ForestDiffusion (Jolicoeur-Martineau, Fatras & Kachman, 2024, arXiv:2309.09968;
SamsungSAILMontreal/ForestDiffusion), for n = 0, 1, 2: a fifth of the rows is put aside (``train_test_split`` by n,
stratified for classes), 20 % of the cells of the features of the others are hidden at random (rows of which nothing is
left are dropped), and the class or outcome is given. All features are scaled to [0, 1] by the training rows. The error
of a cell is |x − x̂|, of a category 0 or 1. "point" is its mean for the fills of ``VAEImputer``, "Avg" for five
imputations, and "Min" for the best of the five in each row.

Of the published 27 sets these are the ones whose licence lets them be shared. Their masks are others: one mask's
standard deviation is 3 to 13 % of an error.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from density import machine, revision
from sklearn.model_selection import train_test_split

from lowerbound import VAEImputer
from lowerbound.storage.atomic import write_text

OUTPUT = Path(__file__).parent / "results" / "imputation-published.json"
HIDDEN, N_DRAWS, SPLITS = 0.2, 5, 3
SETS = {  # by file: the outcome, columns that aren't used, and whether the outcome is a class
    "iris": ("class", (), True), "parkinsons": ("status", ("name",), True),
    "climate": ("outcome", ("Study", "Run"), True),
    "airfoil": ("sound_pressure", (), False), "car": ("class", (), True), "congress": ("class", (), True),
    "ecoli": ("class", ("name",), True), "blood": ("donated", (), True), "glass": ("Type", ("Id",), True),
    "sonar": ("class", (), True), "breast": ("target", (), True), "concrete": ("strength", (), False),
    "wine_red": ("quality", ("fixed_acidity",), False),
}  # fmt: skip


def read(folder: Path, name: str) -> tuple[pd.DataFrame, str, bool]:
    """The table, the name of its outcome, and whether that is a class."""
    outcome, unused, is_class = SETS[name]
    rows = pd.read_csv(folder / f"{name}.csv", skipinitialspace=True).drop(columns=list(unused))
    rows = rows.fillna("?") if name == "congress" else rows  # whose gaps are a third word
    return rows, outcome, is_class


def hide(rows: pd.DataFrame, outcome: str, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows of which something is left, and True where a cell is hidden."""
    hidden = np.random.default_rng(seed).random(rows.shape) < HIDDEN
    hidden[:, rows.columns.get_loc(outcome)] = False
    features = rows.columns != outcome
    left = ~hidden[:, features].all(1)
    return rows[left].reset_index(drop=True), hidden[left]


def errors(truth: pd.DataFrame, filled: pd.DataFrame, scale: pd.Series) -> np.ndarray:
    """|x − x̂| of every cell, in parts of the feature's range, shape (n, F)."""
    each = []
    for name in truth:
        if name in scale:
            each.append((truth[name].astype(float) - filled[name].astype(float)).abs().to_numpy() / scale[name])
        else:
            each.append((truth[name].astype(str) != filled[name].astype(str)).to_numpy(float))
    return np.stack(each, 1)


def measure(rows: pd.DataFrame, outcome: str, is_class: bool, seed: int) -> dict:
    """The three errors for one split."""
    train, _ = train_test_split(rows, test_size=0.2, random_state=seed, stratify=rows[outcome] if is_class else None)
    train, hidden = hide(train, outcome, seed)
    numbers = train.select_dtypes("number").columns
    scale = (train[numbers].max() - train[numbers].min()).replace(0, 1)
    given = train.assign(**{outcome: train[outcome].astype(str)}) if is_class else train
    gaps = given.mask(hidden)
    started = time.process_time()
    imputer = VAEImputer(random_state=seed).set_output(transform="pandas").fit(gaps)
    point = errors(given, imputer.transform(gaps), scale.drop(outcome, errors="ignore"))
    drawn = imputer.sample_imputations(gaps, N_DRAWS)
    each = np.stack([errors(given, draw, scale.drop(outcome, errors="ignore")) for draw in drawn])
    by_row = np.where(hidden, each, 0).sum(-1)
    return {
        "point": float(point[hidden].mean()), "Avg": float(each[:, hidden].mean()),
        "Min": float(by_row.min(0).sum() / hidden.sum()), "cpu_seconds": round(time.process_time() - started, 1),
        "rows": len(train), "commit": revision(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    record = json.loads(arguments.output.read_text()) if arguments.output.exists() else {"results": {}}
    record |= {"command": "python benchmarks/imputation_published.py --data FOLDER", "machine": machine()}
    for seed, name in product(range(SPLITS), arguments.sets):
        key = f"{name}|{seed}"
        if key not in record["results"]:
            record["results"][key] = measure(*read(arguments.data, name), seed)
            write_text(arguments.output, json.dumps(record, indent=1) + "\n")
            print(key, record["results"][key], flush=True)
    lines = ["| set | point | Avg | Min | CPU seconds |", "| --- | --- | --- | --- | --- |"]
    for name in arguments.sets:
        found = [record["results"][f"{name}|{seed}"] for seed in range(SPLITS)]
        cells = [f"{np.mean([each[key] for each in found]):.3f}" for key in ("point", "Avg", "Min", "cpu_seconds")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
