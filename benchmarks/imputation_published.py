"""Gaps in 13 tables by the protocol of a published table of ten imputers.

    python benchmarks/imputation_published.py --data FOLDER [--mechanism mcar mar mnar]

The protocol is that of ForestDiffusion (Jolicoeur-Martineau, Fatras & Kachman, 2024, arXiv:2309.09968;
SamsungSAILMontreal/ForestDiffusion), for n = 0, 1, 2: a fifth of the rows is put aside (``train_test_split`` by n,
stratified for classes), 20 % of the cells of the features of the others are hidden at random (rows of which nothing is
left are dropped), and the class or outcome is given. All features are scaled to [0, 1] by the training rows. The error
of a cell is |x − x̂|, of a category 0 or 1. "point" is its mean for the fills of ``VAEImputer``, "Avg" for five
imputations, and "Min" for the best of the five in each row.

Of the published 27 sets these are the ones whose licence lets them be shared. Their masks are others: one mask's
standard deviation is 3 to 13 % of an error.

``--mechanism`` takes other masks beside the published kind, "mcar": "mar" and "mnar" hide by the logistic models of
Muzellec et al. (2020, arXiv:2002.03860), as ``masks`` says; words are inputs by the places of their sorted values. On
these, for which nothing is published, "forests" is the error of random forests that fill every column in turn.
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
from masks import MECHANISMS, hidden_cells
from sklearn.model_selection import train_test_split

from imputation import forest_of_both
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


def hide(rows: pd.DataFrame, outcome: str, seed: int, mechanism: str = "mcar") -> tuple[pd.DataFrame, np.ndarray]:
    """Rows of which something is left, and True where a cell is hidden."""
    rng, features = np.random.default_rng(seed), rows.columns != outcome
    if mechanism == "mcar":
        hidden = hidden_cells(np.zeros(rows.shape), mechanism, HIDDEN, rng)  # as it was before there were others
        hidden[:, ~features] = False
    else:
        hidden = np.zeros(rows.shape, dtype=bool)
        hidden[:, features] = hidden_cells(as_numbers(rows.loc[:, features]), mechanism, HIDDEN, rng)
    left = ~hidden[:, features].all(1)
    return rows[left].reset_index(drop=True), hidden[left]


def as_numbers(rows: pd.DataFrame) -> np.ndarray:
    """Numbers as they are, and the places of words among the sorted ones."""
    coded = {
        name: column if column.dtype.kind in "iuf" else pd.factorize(column, sort=True)[0]
        for name, column in rows.items()
    }
    return pd.DataFrame(coded).to_numpy(float)


def errors(truth: pd.DataFrame, filled: pd.DataFrame, scale: pd.Series) -> np.ndarray:
    """|x − x̂| of every cell, in parts of the feature's range, shape (n, F)."""
    each = []
    for name in truth:
        if name in scale:
            each.append((truth[name].astype(float) - filled[name].astype(float)).abs().to_numpy() / scale[name])
        else:
            each.append((truth[name].astype(str) != filled[name].astype(str)).to_numpy(float))
    return np.stack(each, 1)


def measure(rows: pd.DataFrame, outcome: str, is_class: bool, seed: int, mechanism: str) -> dict:
    """The three errors for one split."""
    train, _ = train_test_split(rows, test_size=0.2, random_state=seed, stratify=rows[outcome] if is_class else None)
    train, hidden = hide(train, outcome, seed, mechanism)
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
    seconds, others = round(time.process_time() - started, 1), {}
    if mechanism != "mcar":
        forests = errors(given, forest_of_both(gaps, seed), scale.drop(outcome, errors="ignore"))
        others = {"forests": float(forests[hidden].mean())}
    return {
        "point": float(point[hidden].mean()), "Avg": float(each[:, hidden].mean()),
        "Min": float(by_row.min(0).sum() / hidden.sum()), "cpu_seconds": seconds, **others,
        "rows": len(train), "commit": revision(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--mechanism", nargs="+", default=["mcar"], choices=MECHANISMS)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    record = json.loads(arguments.output.read_text()) if arguments.output.exists() else {"results": {}}
    record |= {"command": "python benchmarks/imputation_published.py --data FOLDER", "machine": machine()}
    for seed, name, mechanism in product(range(SPLITS), arguments.sets, arguments.mechanism):
        key = key_of(name, seed, mechanism)
        if key not in record["results"]:
            record["results"][key] = measure(*read(arguments.data, name), seed, mechanism)
            write_text(arguments.output, json.dumps(record, indent=1) + "\n")
            print(key, record["results"][key], flush=True)
    lines = [
        "| set | mechanism | point | Avg | Min | forests | CPU seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, mechanism in product(arguments.sets, arguments.mechanism):
        found = [record["results"][key_of(name, seed, mechanism)] for seed in range(SPLITS)]
        keys = ("point", "Avg", "Min", "forests", "cpu_seconds")
        cells = [f"{np.mean([each.get(key, np.nan) for each in found]):.3f}" for key in keys]
        lines.append(f"| {name} | {mechanism} | {' | '.join(cells)} |")
    print("\n".join(lines))


def key_of(name: str, seed: int, mechanism: str) -> str:
    """The name of a result; those of MCAR are named as they were before there were other masks."""
    return f"{name}|{seed}" if mechanism == "mcar" else f"{name}|{seed}|{mechanism}"


if __name__ == "__main__":
    main()
