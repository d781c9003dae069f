"""Tables for ``outliers.py`` on which the detector was not developed, in the files that it reads.

    python benchmarks/other_tables.py --data FOLDER --output OTHER
    python benchmarks/outliers.py --data OTHER --output benchmarks/results/outliers-other.json

Real ones: of scikit-learn's data sets and of FOLDER (``banknote.csv``, ``wine_red.csv``) one class, or the worst wines,
is made rare. Synthetic ones, after ADBench (Han et al., 2022, arXiv:2206.09426, section 3.2): normal rows from a
mixture of Gaussians that was fitted to real ones, and 60 outliers that are local (5 times the covariance), global
(uniform over a tenth more than the range), clustered (5 times the means) or dependent (each column from another row).
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import scale

N_NORMAL, N_OUTLIERS = 1000, 60
Table = tuple[np.ndarray, np.ndarray]


def real(folder: Path, rng: np.random.Generator) -> Iterator[tuple[str, Table]]:
    cancer, wine, digits = datasets.load_breast_cancer(), datasets.load_wine(), datasets.load_digits()
    yield "wdbc", rare(cancer.data, cancer.target == 0, 0.05, rng)
    yield "wine", rare(wine.data, wine.target == 0, 0.08, rng)
    for digit in (0, 1, 8):
        yield f"digits{digit}", rare(digits.data, digits.target == digit, 0.03, rng)
    notes = csv(folder / "banknote.csv")
    yield "banknote", rare(notes[:, :-1], notes[:, -1] == 1, 0.08, rng)
    red = csv(folder / "wine_red.csv")
    yield "redwine", rare(red[:, :-1], red[:, -1] <= 4, 0.04, rng)


def csv(path: Path) -> np.ndarray:
    return pd.read_csv(path, sep=None, engine="python").to_numpy(float)


def rare(X: np.ndarray, odd: np.ndarray, part: float, rng: np.random.Generator) -> Table:
    """All rows that aren't odd, and so many of the others that these are a small part."""
    normal, others = np.flatnonzero(~odd), rng.permutation(np.flatnonzero(odd))
    return mixed(X[normal], X[others[: max(10, int(part * len(normal) / (1 - part)))]], rng)


def synthetic(folder: Path, rng: np.random.Generator) -> Iterator[tuple[str, Table]]:
    cancer = datasets.load_breast_cancer()
    for name, rows in (("wdbc", cancer.data[cancer.target == 1]), ("redwine", csv(folder / "wine_red.csv")[:, :-1])):
        X, noise = scale(rows), np.random.RandomState(0)
        mixture = GaussianMixture(3, reg_covar=1e-2, random_state=noise).fit(X)
        normal = drawn(mixture, N_NORMAL, noise)
        local = drawn(mixture, N_OUTLIERS, noise, covariances=5)
        clustered = drawn(mixture, N_OUTLIERS, noise, means=5)
        low, high = 1.1 * normal.min(0), 1.1 * normal.max(0)
        shuffled = rng.permuted(normal, axis=0)[:N_OUTLIERS]
        yield f"{name}-local", mixed(normal, local, rng)
        yield f"{name}-global", mixed(normal, rng.uniform(low, high, (N_OUTLIERS, X.shape[1])), rng)
        yield f"{name}-clustered", mixed(normal, clustered, rng)
        yield f"{name}-dependent", mixed(normal, shuffled, rng)


def drawn(
    mixture: GaussianMixture, n: int, noise: np.random.RandomState, *, means: float = 1, covariances: float = 1
) -> np.ndarray:
    """Rows of the mixture with its means and covariances multiplied; every call goes on in ``noise``."""
    other = copy.deepcopy(mixture).set_params(random_state=noise)
    other.means_, other.covariances_ = means * mixture.means_, covariances * mixture.covariances_
    return other.sample(n)[0]


def mixed(normal: np.ndarray, outliers: np.ndarray, rng: np.random.Generator) -> Table:
    """All rows in random order, without columns that are constant."""
    X, y = np.concatenate([normal, outliers]), np.repeat([0, 1], [len(normal), len(outliers)])
    order = rng.permutation(len(X))
    return X[order][:, X.std(0) > 0], y[order]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of banknote.csv and wine_red.csv")
    parser.add_argument("--output", type=Path, required=True, help="folder for the .npz files")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for tables in (real, synthetic):
        for name, (X, y) in tables(arguments.data, rng):
            np.savez_compressed(arguments.output / f"{name}.npz", X=X, y=y)
            print(f"{name}: {len(X)} rows of {X.shape[1]}, {y.sum()} outliers")


if __name__ == "__main__":
    main()
