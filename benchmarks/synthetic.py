"""How much a synthetic table is worth: rows drawn from a VAE of the columns of adult.

    python benchmarks/synthetic.py --data tabular

As many rows as there are for training are drawn. Three questions are asked of them:

- Do they teach what the real ones teach? Gradient boosting learns ``income`` from either, and both are tested on
  ``adult_test`` (train on synthetic, test on real: Esteban et al., 2017).
- Can they be told apart? Gradient boosting learns to tell synthetic rows from those of ``adult_test``; area under the
  curve of ten folds, .5 if it can't.
- Are they copies? Distances to the closest training row, beside those of held-out rows.

Settings were chosen with two thirds of adult_train for training and the rest held out; adult_test had no part in it.

Synthetic rows have no gaps, so the last two compare them with real rows that have none. Areas have the standard errors
of DeLong et al. (1988): over the rows that are tested, for one fit.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from density import machine, recorded, revision
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import NearestNeighbors

from lowerbound import ELBO, MLP, VAE, Adam
from lowerbound.data.table_code import TableCode
from lowerbound.storage.atomic import write_text

OUTPUT = Path(__file__).parent / "results" / "synthetic.json"
TARGET = "income"
PARAMETERS = {
    "latent_dim": 16,
    "prior": "mixture",
    "batch_size": 128,
    "early_stopping": False,
    "optimizer": Adam(3e-3),
    "network": MLP((256, 256)),
    "objective": ELBO(warmup_steps=800),
}
COMPARED = 2000  # rows whose distances are taken


def booster(seed: int) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=seed)


def features(frame: pd.DataFrame, like: pd.DataFrame) -> pd.DataFrame:
    """Words as categories, the same ones everywhere."""
    words = like.select_dtypes(exclude="number")
    return frame.astype({name: pd.CategoricalDtype(sorted(words[name].dropna().unique())) for name in words})


def placements(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each positive the part of the negatives below it, for each negative that of the positives above it."""
    rank, positives, negatives = rankdata(p), rankdata(p[y]), rankdata(p[~y])
    return (rank[y] - positives) / len(negatives), 1 - (rank[~y] - negatives) / len(positives)


def area(of_positives: np.ndarray, of_negatives: np.ndarray) -> dict:
    """Under the curve, or a difference of two such areas, with its standard error (DeLong et al., 1988)."""
    variance = sum(v.var(ddof=1) / len(v) for v in (of_positives, of_negatives))
    return {"mean": float(of_positives.mean()), "standard_error": float(np.sqrt(variance))}


def learned(rows: pd.DataFrame, test: pd.DataFrame, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Placements of the test rows by the target."""
    both = pd.concat([rows, test]).drop(columns=TARGET)
    model = booster(seed).fit(features(rows.drop(columns=TARGET), both), rows[TARGET])
    p = model.predict_proba(features(test.drop(columns=TARGET), both))[:, 1]
    return placements((test[TARGET] == model.classes_[1]).to_numpy(), p)


def told_apart(synthetic: pd.DataFrame, real: pd.DataFrame, seed: int) -> dict:
    """Area under the curve of a classifier of as many rows of each, cross-validated."""
    n = min(len(synthetic), len(real))
    both = pd.concat([synthetic[:n], real[:n]], ignore_index=True)
    y = np.repeat([1, 0], n)
    order = np.random.default_rng(seed).permutation(2 * n)
    X = features(both, both).iloc[order]
    p = cross_val_predict(booster(seed), X, y[order], cv=10, method="predict_proba")[:, 1]
    return area(*placements(y[order] == 1, p))


def distances(synthetic: pd.DataFrame, train: pd.DataFrame, test: pd.DataFrame) -> dict:
    """To the closest training row, in units in which each column of two random rows is √2 apart (root mean square)."""
    code = TableCode(train)

    def places(rows: pd.DataFrame) -> np.ndarray:
        unseen_as_usual = np.nan_to_num(code.encode(rows))
        return unseen_as_usual * np.sqrt(code.importance)

    nearest = NearestNeighbors(n_neighbors=1).fit(places(train))
    found = {}
    for name, rows in (("synthetic", synthetic[:COMPARED]), ("held out", test[:COMPARED])):
        d = nearest.kneighbors(places(rows))[0][:, 0]
        quantiles = np.quantile(d, [0.05, 0.25, 0.5, 0.75])
        found[name] = {
            "quantiles_5_25_50_75": [round(float(q), 3) for q in quantiles],
            "copies": float((d < 1e-6).mean()),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--rows", type=int, help="of adult_train; all if it isn't given")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--prior", default=PARAMETERS["prior"])
    parser.add_argument("--random-state", type=int, default=0)
    arguments = parser.parse_args()
    seed = arguments.random_state
    train = pd.read_csv(arguments.data / "adult_train.csv", nrows=arguments.rows)
    test = pd.read_csv(arguments.data / "adult_test.csv")[list(train)]
    parameters = {**PARAMETERS, "prior": arguments.prior, "max_epochs": arguments.epochs}
    started, cpu = time.perf_counter(), time.process_time()
    vae = VAE(**parameters, random_state=seed, verbose=1).fit(train)
    times = {"seconds": round(time.perf_counter() - started, 1), "cpu_seconds": round(time.process_time() - cpu, 1)}
    synthetic = vae.sample(len(train), random_state=seed)
    from_real, from_synthetic = learned(train, test, seed), learned(synthetic, test, seed)
    result = {
        "log_p_test": vae.log_likelihood(test[:COMPARED], n_importance=100).to_dict(),
        "auroc_trained_on_real": area(*from_real),
        "auroc_trained_on_synthetic": area(*from_synthetic),
        "auroc_lost": area(*(a - b for a, b in zip(from_real, from_synthetic, strict=True))),
        "complete_rows": {"train": len(train.dropna()), "test": len(test.dropna())},
        "auroc_told_apart": told_apart(synthetic, test.dropna(), seed),
        "distances": distances(synthetic, train.dropna(), test.dropna()),
    }
    print(json.dumps(result, indent=1))
    record = {
        "command": " ".join(["python", *sys.argv]).replace(str(arguments.data), "tabular"),
        "commit": revision(),
        "machine": machine(), "rows": len(train), "parameters": {**recorded(parameters), "random_state": seed},
        **times, **result,
    }  # fmt: skip
    write_text(arguments.output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
