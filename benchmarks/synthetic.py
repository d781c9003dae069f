"""Synthetic tables by the protocol of published ones: detection and learning by XGBoost, and shapes and trends.

    pip install -r benchmarks/requirements-synthetic.txt
    python benchmarks/synthetic.py --data FOLDER --sets adult default magic --fits 5

FOLDER holds ``adult_train.csv``, ``adult_test.csv``, ``default.csv`` and ``magic.csv``. Every set is fitted with the
defaults of ``lowerbound.synthesize``, once for each seed, and as many rows are drawn as there are for training.

The protocol is TabPC's (2026, arXiv:2603.23016, april-tools/tabpc): adult has a test set of its own, and its gaps are a
word; of the others the first nine tenths of a shuffled order (``numpy.random.seed(1234)``) are for training. Shape and
trend are those of SDMetrics 0.24, against the training rows. Detection: XGBoost tells training rows from drawn ones in
3 stratified folds; the score is 1 − (2 max(½, AUROC) − 1). Learning: XGBoost is fitted to drawn rows, its parameters
chosen on a random ninth of them, and tested on the real test rows (AUROC).

What is done is kept in the JSON of results; run again, the script goes on where it was stopped. ``--validate`` leaves
the test rows alone and takes a tenth of the training rows in their place: choices are made by it.
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
from density import machine, recorded, revision
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.preprocessing import RobustScaler

from lowerbound.storage.atomic import write_text
from lowerbound.synthesis.synthesize import recommended

OUTPUT = Path(__file__).parent / "results" / "synthetic.json"
TARGETS = {"adult": "income", "default": "default payment next month", "magic": "class"}
GRID = {"n_estimators": (10, 50, 100), "min_child_weight": (1, 10), "max_depth": (5, 10, 20), "gamma": (0, 1)}
SHUFFLED_BY = 1234


def read(folder: Path, name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training rows and test rows."""
    if name == "adult":
        train, test = (pd.read_csv(folder / f"adult_{part}.csv") for part in ("train", "test"))
        return train.fillna("?"), test[list(train)].fillna("?")
    rows = pd.read_csv(folder / f"{name}.csv")
    rows[TARGETS[name]] = rows[TARGETS[name]].astype(str)
    order = np.random.RandomState(SHUFFLED_BY).permutation(len(rows))
    n = int(0.9 * len(rows))
    return rows.iloc[order[:n]].reset_index(drop=True), rows.iloc[order[n:]].reset_index(drop=True)


def coded(rows: pd.DataFrame, like: pd.DataFrame) -> np.ndarray:
    """Numbers, and an indicator for each word of a column of words."""
    parts = []
    for name in like:
        if like[name].dtype.kind in "iuf":
            parts.append(rows[[name]].astype(float).to_numpy())
        else:
            words = sorted(like[name].astype(str).unique())
            parts.append((rows[name].astype(str).to_numpy()[:, None] == np.array(words)).astype(float))
    return np.concatenate(parts, 1)


def detection(train: pd.DataFrame, drawn: pd.DataFrame, seed: int) -> float:
    """The score of SDMetrics, by XGBoost."""
    from xgboost import XGBClassifier

    both = pd.concat([train, drawn], ignore_index=True)
    X, y = coded(both, both), np.repeat([1, 0], [len(train), len(drawn)])
    scores = []
    for fit, test in StratifiedKFold(3, shuffle=True, random_state=seed).split(X, y):
        scaler = RobustScaler().fit(X[fit])
        model = XGBClassifier(eval_metric="logloss", enable_categorical=True, random_state=0)
        model.fit(scaler.transform(X[fit]), y[fit])
        area = roc_auc_score(y[test], model.predict_proba(scaler.transform(X[test]))[:, 1])
        scores.append(2 * max(0.5, area) - 1)
    return 1 - float(np.mean(scores))


def learning(drawn: pd.DataFrame, test: pd.DataFrame, target: str, seed: int) -> float:
    """The area under the curve of test rows, learned from drawn ones."""
    from xgboost import XGBClassifier

    both = pd.concat([drawn, test]).drop(columns=target)
    X, X_test = (coded(rows.drop(columns=target), both) for rows in (drawn, test))
    y, y_test = ((rows[target].astype(str) == min(drawn[target].astype(str))).to_numpy() for rows in (drawn, test))
    fit, choose = train_test_split(np.arange(len(X)), test_size=1 / 9, random_state=seed)
    models = [XGBClassifier(**dict(zip(GRID, values, strict=True))) for values in product(*GRID.values())]
    areas = [roc_auc_score(y[choose], model.fit(X[fit], y[fit]).predict_proba(X[choose])[:, 1]) for model in models]
    return float(roc_auc_score(y_test, models[int(np.argmax(areas))].predict_proba(X_test)[:, 1]))


def columns_alone(train: pd.DataFrame, drawn: pd.DataFrame, seed: int) -> dict[str, float]:
    """The detection score of each column by itself."""
    return {name: round(detection(train[[name]], drawn[[name]], seed), 3) for name in train}


def shape_and_trend(train: pd.DataFrame, drawn: pd.DataFrame) -> dict[str, float]:
    from sdmetrics.reports.single_table import QualityReport

    kinds = {name: "numerical" if train[name].dtype.kind in "iuf" else "categorical" for name in train}
    report = QualityReport()
    report.generate(train, drawn, {"columns": {name: {"sdtype": kind} for name, kind in kinds.items()}}, verbose=False)
    found = report.get_properties().set_index("Property")["Score"]
    return {"shape": float(found["Column Shapes"]), "trend": float(found["Column Pair Trends"])}


def measure(name: str, train: pd.DataFrame, test: pd.DataFrame, seed: int) -> dict:
    """One fit: its rows by every measure."""
    model = recommended(train, seed).set_params(verbose=1)
    started = time.process_time()
    model.fit(train)
    fit_seconds, started = time.process_time() - started, time.process_time()
    drawn = model.sample(len(train), random_state=seed)
    sample_seconds = time.process_time() - started
    return {
        "detection": detection(train, drawn, seed), "learning": learning(drawn, test, TARGETS[name], seed),
        "learning_from_real": learning(train, test, TARGETS[name], seed),
        "detection_of_columns": columns_alone(train, drawn, seed),
        **shape_and_trend(train, drawn), "fit_seconds": fit_seconds, "sample_seconds": sample_seconds,
        "epochs": model.n_iter_, "parameters": recorded(model.get_params(deep=False)), "commit": revision(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--sets", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--fits", type=int, default=5)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--validate", action="store_true", help="a tenth of the training rows in place of test rows")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    record = json.loads(arguments.output.read_text()) if arguments.output.exists() else {"fits": {}}
    record |= {"command": "python benchmarks/synthetic.py --data FOLDER", "machine": machine()}
    for seed, name in product(range(arguments.fits), arguments.sets):
        key = f"{name}|{seed}"
        if key in record["fits"]:
            continue
        train, test = read(arguments.data, name)
        if arguments.validate:
            train, test = (
                part.reset_index(drop=True) for part in train_test_split(train, test_size=0.1, random_state=0)
            )
        record["fits"][key] = measure(name, train, test, seed)
        write_text(arguments.output, json.dumps(record, indent=1) + "\n")
        print(key, {k: v for k, v in record["fits"][key].items() if k != "parameters"}, flush=True)
    for name in arguments.sets:
        fits = [each for key, each in record["fits"].items() if key.startswith(f"{name}|")]
        for measured in ("shape", "trend", "detection", "learning", "fit_seconds"):
            values = [each[measured] for each in fits]
            spread = np.std(values, ddof=1) if len(values) > 1 else float("nan")
            print(f"{name} {measured}: {np.mean(values):.4f} ± {spread:.4f} (deviation of {len(values)} fits)")


if __name__ == "__main__":
    main()
