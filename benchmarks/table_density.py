"""log p of tables of real numbers by the protocol of the neural autoregressive density estimators.

    python benchmarks/table_density.py --data FOLDER --sets wine_red

FOLDER holds ``wine_red.csv`` (and ``wine_white.csv``, if it is asked for). The protocol is that of Uria, Murray &
Larochelle (2013, arXiv:1306.0186, section 4.1): columns of whole numbers that stand for classes are left out, and one
of each pair whose correlation is above .98; ten folds, of which nine are fitted and one is scored; columns standardized
by the rows that are fitted; log p in these units, the mean over rows. What is chosen for a fold is chosen on a tenth
of its rows to fit.

Every contender is a density: no value has a probability of its own. The values are measured to two or three decimals,
and are repeated; no density here is dequantized, as none of the published ones is.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from density import machine, revision
from sklearn.model_selection import KFold, train_test_split

from lowerbound import ELBO, IWAE, MLP, VAE, Adam, FactorAnalysis, Gaussian, Mixture, PixelRNN
from lowerbound.storage.atomic import write_text

OUTPUT = Path(__file__).parent / "results" / "table-density.json"
CLASSES = {"wine_red": ["quality"], "wine_white": ["quality"]}
MOST_CORRELATED = 0.98
N_COMPONENTS = (1, 2, 3, 5, 8, 12, 20)
N_IMPORTANCE = 1000


def columns_of(folder: Path, name: str) -> np.ndarray:
    """The columns of the protocol."""
    table = pd.read_csv(folder / f"{name}.csv").drop(columns=CLASSES[name])
    correlation = table.corr().abs().to_numpy()
    kept: list[int] = []
    for j in range(len(correlation)):
        if not (correlation[j, kept] > MOST_CORRELATED).any():
            kept.append(j)
    return table.iloc[:, kept].to_numpy(float)


def chosen(X: np.ndarray, seed: int) -> Mixture:
    """The mixture whose number of Gaussians gives a tenth of the rows the highest log p, fitted to all rows."""
    fitted, held_out = train_test_split(X, test_size=0.1, random_state=seed)
    models = [Mixture(k, n_init=3, random_state=seed) for k in N_COMPONENTS]
    scores = [model.fit(fitted).score(held_out) for model in models]
    return models[int(np.argmax(scores))].fit(X)


def vae(X: Any, seed: int, **parameters: Any) -> VAE:
    return VAE(random_state=seed, **parameters).fit(X)


def several(X: np.ndarray) -> dict[str, Any]:
    """Every column a mixture of ten densities given z."""
    return {f"x{j}": {"kind": "continuous", "atoms": [], "n_components": 10} for j in range(X.shape[1])}


CONTENDERS: dict[str, Callable[[np.ndarray, int], Any]] = {
    "Gaussian": lambda X, seed: Gaussian().fit(X),
    "FactorAnalysis": lambda X, seed: FactorAnalysis(4).fit(X),
    "Mixture": chosen,
    "PixelRNN": lambda X, seed: PixelRNN(random_state=seed).fit(X),
    "VAE": vae,
    "VAE, mixture prior": lambda X, seed: vae(
        X, seed, latent_dim=8, prior="mixture", network=MLP((256, 256)), objective=ELBO(warmup_steps=800),
        optimizer=Adam(2e-3),
    ),
    "VAE, mixture prior, importance weighted": lambda X, seed: vae(
        X, seed, latent_dim=8, prior="mixture", network=MLP((256, 256)), objective=IWAE(10), optimizer=Adam(2e-3)
    ),
    "VAE, mixture prior, columns of 10 components": lambda X, seed: vae(
        X, seed, columns=several(X), latent_dim=8, prior="mixture", network=MLP((256, 256)),
        objective=ELBO(warmup_steps=800), optimizer=Adam(2e-3),
    ),
}  # fmt: skip


def scored(model: Any, X: np.ndarray) -> np.ndarray:
    """log p of every row: exact, or the importance-weighted bound."""
    return model.score_samples(X, N_IMPORTANCE) if isinstance(model, VAE) else model.score_samples(X)


def measure(name: str, X: np.ndarray, folds: int) -> dict[str, Any]:
    """The mean log p of a contender over the test rows of all folds, with its standard error over rows."""
    parts, started = [], time.process_time()
    for fold, (fit, test) in enumerate(KFold(10, shuffle=True, random_state=0).split(X)):
        if fold < folds:
            mean, sd = X[fit].mean(0), X[fit].std(0)
            model = CONTENDERS[name]((X[fit] - mean) / sd, fold)
            parts.append(scored(model, (X[test] - mean) / sd))
            print(name, fold, round(float(parts[-1].mean()), 3), file=sys.stderr, flush=True)
    log_p = np.concatenate(parts)
    return {
        "log_p": float(log_p.mean()), "standard_error": float(log_p.std(ddof=1) / len(log_p) ** 0.5),
        "folds": [float(part.mean()) for part in parts], "cpu_seconds": round(time.process_time() - started, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--sets", nargs="+", default=["wine_red"], choices=list(CLASSES))
    parser.add_argument("--models", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS))
    parser.add_argument("--folds", type=int, default=10, help="of the ten, so many are scored")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    record = json.loads(arguments.output.read_text()) if arguments.output.exists() else {"sets": {}}
    record |= {"command": "python benchmarks/table_density.py --data FOLDER", "machine": machine()}
    for name in arguments.sets:
        X = columns_of(arguments.data, name)
        found = record["sets"].setdefault(name, {"rows": len(X), "columns": X.shape[1], "models": {}})
        for model in arguments.models:
            found["models"][model] = measure(model, X, arguments.folds) | {"commit": revision()}
            write_text(arguments.output, json.dumps(record, indent=1) + "\n")
            print(name, model, {k: v for k, v in found["models"][model].items() if k != "folds"}, flush=True)


if __name__ == "__main__":
    main()
