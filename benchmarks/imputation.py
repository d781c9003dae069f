"""How well gaps are filled, beside scikit-learn's imputers.

    python benchmarks/imputation.py numbers --data tabular
    python benchmarks/imputation.py mixed   --data tabular
    python benchmarks/imputation.py draws   --data tabular
    python benchmarks/imputation.py columns --data tabular
    python benchmarks/imputation.py cost    --data tabular

``numbers``: MIWAE's protocol (Mattei & Frellsen, 2019, section 5.2). Tables are standardized with the mean and standard
deviation of the complete data, exactly half of all cells is hidden, and the error is the mean of squares over the
hidden cells of the same rows. ``mixed``: tables with categories, 30 % of the observed cells hidden; root mean squared
error of numbers in standard deviations, and the part of categories that is wrong. ``draws``: 20 draws for each hidden
cell of three tables of ``numbers``: the continuous ranked probability score, and the coverage of central intervals.
``columns``: 20 % of the cells of every table in the folder hidden, at most 1000 rows; for each column the error, that
of the mean or mode, and the standard error of their difference over hidden cells. ``cost``: seconds on tables of three
sizes.

Every method sees the same masks, so that differences are compared mask by mask. What is done is kept in
``benchmarks/results/imputation.json``; run again, the script goes on where it was stopped. After a change of the code
``--again`` replaces what other commits have measured, one by one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from density import machine, revision
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

from lowerbound import PPCA, VAEImputer
from lowerbound.storage.atomic import write_text

OUTPUT = Path(__file__).parent / "results" / "imputation.json"
NUMBERS = {"banknote": 4, "breast": 30, "concrete": 9, "wine_red": 12}  # columns that are used
MIXED = {"heart_c": None, "insurance": None, "credit_g": None, "adult_train": 2000}  # rows that are used
N_DRAWS = 20
DRAWN = ("banknote", "concrete", "wine_red")
LEVELS = (0.5, 0.8, 0.9, 0.95)
FOREST = {"n_estimators": 50, "min_samples_leaf": 5, "max_features": 1 / 3, "n_jobs": 1}
ROUNDS = 5


def forest(seed: int) -> IterativeImputer:
    """As missForest does it (Stekhoven & Bühlmann, 2012)."""
    return IterativeImputer(
        RandomForestRegressor(**FOREST, random_state=seed), max_iter=ROUNDS, random_state=seed, tol=1e-2
    )


IMPUTERS: dict[str, Callable] = {
    "VAEImputer": lambda seed: VAEImputer(random_state=seed),
    "VAEImputer without the network": lambda seed: VAEImputer(models=("gaussian", "mixture"), random_state=seed),
    "Gaussian by EM": lambda seed: VAEImputer(models=("gaussian",), random_state=seed),
    "PPCA by EM": lambda seed: VAEImputer(PPCA(method="em", random_state=seed), random_state=seed),
    "mean": lambda seed: SimpleImputer(),
    "KNN, 20": lambda seed: KNNImputer(n_neighbors=20),
    "IterativeImputer (ridge)": lambda seed: IterativeImputer(max_iter=20, random_state=seed),
    "missForest-like": forest,
}


def hide_half(X: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Standardized rows, and True where a cell is hidden: exactly half of them."""
    hidden = np.zeros(X.size, bool)
    hidden[np.random.default_rng(seed).permutation(X.size)[: X.size // 2]] = True
    return (X - X.mean(0)) / X.std(0), hidden.reshape(X.shape)


def numbers(data: Path, seed: int, record: Callable) -> None:
    for method, make in IMPUTERS.items():
        for name, n_columns in NUMBERS.items():
            X, hidden = hide_half(pd.read_csv(data / f"{name}.csv").iloc[:, :n_columns].to_numpy(float), seed)
            gaps = np.where(hidden, np.nan, X)

            def run(X: np.ndarray = X, hidden: np.ndarray = hidden, gaps: np.ndarray = gaps, make=make) -> dict:
                imputer = make(seed)
                filled = imputer.fit_transform(gaps)
                result = {"error": float(np.mean((filled - X)[hidden] ** 2))}
                if isinstance(imputer, VAEImputer):
                    result["blend"] = {r["name"]: round(r["weight"], 3) for r in imputer.report_ if r["weight"] > 0}
                return result

            record(("numbers", name, method, seed), run)


def crps(draws: np.ndarray, y: np.ndarray) -> float:
    """E|x − y| − ½ E|x − x'| without bias, for draws (m, cells); its mean over cells."""
    m, ordered = len(draws), np.sort(draws, 0)
    spread = (2 * np.arange(1, m + 1) - m - 1) @ ordered / (m * (m - 1))  # ½ E|x − x'|
    return float(np.mean(np.abs(draws - y).mean(0) - spread))


def coverage(ends: Callable[[float], tuple], y: np.ndarray) -> dict:
    """Part of the cells that lie in the central intervals of each level, from the function that gives their ends."""
    inside = {
        level: np.less_equal(low, y) & np.greater_equal(high, y) for level in LEVELS for low, high in [ends(level)]
    }
    return {f"coverage_{100 * level:.0f}": float(here.mean()) for level, here in inside.items()}


def draws(data: Path, seed: int, record: Callable) -> None:
    for name in DRAWN:
        X, hidden = hide_half(pd.read_csv(data / f"{name}.csv").iloc[:, : NUMBERS[name]].to_numpy(float), seed)
        gaps = np.where(hidden, np.nan, X)

        def ours(models: tuple = ("gaussian", "mixture"), X=X, hidden=hidden, gaps=gaps) -> dict:
            imputer = VAEImputer(models=models, random_state=seed).fit(gaps)
            drawn = np.stack(imputer.sample_imputations(gaps, N_DRAWS, refit=False))[:, hidden]
            ends = lambda level: [end[hidden] for end in imputer.impute_interval(gaps, level)]  # noqa: E731
            return {"crps": crps(drawn, X[hidden]), **coverage(ends, X[hidden])}

        def theirs(X=X, hidden=hidden, gaps=gaps) -> dict:
            imputer = IterativeImputer(sample_posterior=True, max_iter=10, random_state=seed).fit(gaps)
            drawn = np.stack([imputer.transform(gaps) for _ in range(N_DRAWS)])[:, hidden]
            ends = lambda level: np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)  # noqa: E731
            return {"crps": crps(drawn, X[hidden]), **coverage(ends, X[hidden])}

        record(("draws", name, "VAEImputer", seed), lambda ours=ours: ours(("gaussian", "mixture", "network")))
        record(("draws", name, "VAEImputer without the network", seed), ours)
        record(("draws", name, "Gaussian by EM", seed), lambda ours=ours: ours(("gaussian",)))
        record(("draws", name, "IterativeImputer, sample_posterior", seed), theirs)


def mixed(data: Path, seed: int, record: Callable) -> None:
    for name, n_rows in MIXED.items():
        frame = pd.read_csv(data / f"{name}.csv", nrows=n_rows)
        hidden = frame.notna().to_numpy() & (np.random.default_rng(seed).random(frame.shape) < 0.3)
        gaps = frame.mask(hidden)
        methods: dict[str, Callable] = {
            "VAEImputer": lambda gaps: VAEImputer(random_state=seed).set_output(transform="pandas").fit_transform(gaps),
            "VAEImputer without the network": lambda gaps: (
                VAEImputer(models=("gaussian", "mixture"), random_state=seed)
                .set_output(transform="pandas")
                .fit_transform(gaps)
            ),
            "Gaussian by EM": lambda gaps: (
                VAEImputer(models=("gaussian",)).set_output(transform="pandas").fit_transform(gaps)
            ),
            "mean or mode": lambda gaps: gaps.fillna({c: start_value(gaps[c]) for c in gaps}),
            "missForest-like": lambda gaps: forest_of_both(gaps, seed),
        }  # fmt: skip
        for method, fill in methods.items():
            record(
                ("mixed", name, method, seed),
                lambda fill=fill, gaps=gaps, frame=frame, hidden=hidden: errors(frame, hidden, fill(gaps)),
            )


def columns(data: Path, seed: int, record: Callable) -> None:
    for path in sorted(data.glob("*.csv")):
        rows = pd.read_csv(path)
        frame = rows.sample(min(len(rows), 1000), random_state=0).reset_index(drop=True)
        hidden = frame.notna().to_numpy() & (np.random.default_rng(seed).random(frame.shape) < 0.2)
        gaps = frame.mask(hidden)
        methods: dict[str, Callable] = {
            "VAEImputer": lambda gaps: VAEImputer(random_state=seed).set_output(transform="pandas").fit_transform(gaps),
            "missForest-like": lambda gaps: forest_of_both(gaps, seed),
        }
        for method, fill in methods.items():
            record(
                ("columns", path.stem, method, seed),
                lambda fill=fill, gaps=gaps, frame=frame, hidden=hidden: beside_mean(frame, hidden, gaps, fill(gaps)),
            )


def beside_mean(frame: pd.DataFrame, hidden: np.ndarray, gaps: pd.DataFrame, filled: pd.DataFrame) -> dict:
    """For each column the error, that of the mean or mode, the standard error of the difference, and the cells."""
    found = {}
    for j, name in enumerate(frame):
        rows, truth = hidden[:, j], frame[name]
        if rows.sum() < 2 or gaps[name].isna().all():
            continue
        start = pd.Series([start_value(gaps[name])] * len(frame))
        ours, plain = (_losses(truth[rows], guess[rows], truth) for guess in (filled[name], start))
        error = float((ours - plain).std(ddof=1) / len(ours) ** 0.5)
        found[name] = [*(round(float(v), 4) for v in (ours.mean(), plain.mean(), error)), len(ours)]
    worse = [name for name, (ours, plain, error, _) in found.items() if ours - plain > max(error, 1e-9)]
    mean, of_start = (float(np.mean([row[i] for row in found.values()])) for i in (0, 1))
    return {"error": mean, "of_mean_or_mode": of_start, "worse_by_a_standard_error": worse, "columns": found}


def _losses(truth: pd.Series, guess: pd.Series, column: pd.Series) -> np.ndarray:
    """Squared errors in standard deviations, or 1 for each wrong category."""
    if is_number(truth):
        spread = column.std(ddof=0) or 1.0
        return ((truth - guess) / spread).to_numpy(float) ** 2
    return (truth != guess).to_numpy(float)


def is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column)


def start_value(column: pd.Series) -> object:
    return column.mean() if is_number(column) else column.mode().iloc[0]


def errors(frame: pd.DataFrame, hidden: np.ndarray, filled: pd.DataFrame) -> dict:
    """Root mean squared error in sd over the hidden numbers of all columns; part of hidden categories that is wrong."""
    squares, wrong = [], []
    for j, name in enumerate(frame):
        rows, truth, guess = hidden[:, j], frame[name], filled[name]
        if is_number(truth):
            squares.append(((truth - guess)[rows] / truth.std(ddof=0)).to_numpy(float) ** 2)
        else:
            wrong.append((truth != guess)[rows].to_numpy())
    found = {"rmse": float(np.sqrt(np.concatenate(squares).mean()))}
    return found | ({"wrong": float(np.concatenate(wrong).mean())} if wrong else {})


def forest_of_both(gaps: pd.DataFrame, seed: int) -> pd.DataFrame:
    """missForest: every column in turn from the others, by regression or classification."""
    filled = gaps.fillna({name: start_value(gaps[name]) for name in gaps})
    for _ in range(ROUNDS):
        for name in gaps.isna().sum().sort_values().index:
            rows = gaps[name].isna()
            if not rows.any():
                continue
            others = pd.get_dummies(filled.drop(columns=name), dtype=float)
            kind = RandomForestRegressor if is_number(gaps[name]) else RandomForestClassifier
            model = kind(**FOREST, random_state=seed).fit(others[~rows], gaps.loc[~rows, name])
            filled.loc[rows, name] = model.predict(others[rows])
    return filled


def cost(data: Path, seed: int, record: Callable) -> None:
    """Seconds of ``fit_transform`` with 20 % of the cells hidden, and the error of numbers."""
    adult = pd.read_csv(data / "adult_train.csv")
    tables: dict[str, pd.DataFrame] = {
        "900 × 15 mixed": mixed_table(900, seed), "50,000 × 50 numbers": factor_table(50_000, 50, seed),
        "32,561 × 15 mixed (adult)": adult,
    }  # fmt: skip
    for name, frame in tables.items():
        hidden = frame.notna().to_numpy() & (np.random.default_rng(seed).random(frame.shape) < 0.2)
        gaps = frame.mask(hidden)
        methods: dict[str, Callable] = {"VAEImputer": lambda: VAEImputer(random_state=seed)}
        if "numbers" in name:
            methods["IterativeImputer (ridge)"] = lambda: IterativeImputer(random_state=seed)
        for method, make in methods.items():

            def run(make=make, frame=frame, hidden=hidden, gaps=gaps) -> dict:
                return errors(frame, hidden, make().set_output(transform="pandas").fit_transform(gaps))

            record(("cost", name, method, seed), run)


def mixed_table(n: int, seed: int) -> pd.DataFrame:
    """Five normal columns, two lognormal ones, a count, a curve, and six of categories, of three common factors."""
    rng = np.random.default_rng(seed)
    z, table = rng.normal(size=(n, 3)), {}
    for j in range(5):
        table[f"normal {j}"] = z @ rng.normal(size=3) + rng.normal(size=n)
    for j in range(2):
        table[f"lognormal {j}"] = np.exp(0.5 * (z @ rng.normal(size=3) + rng.normal(size=n)))
    table["count"] = rng.poisson(np.exp(0.5 + 0.5 * z[:, 0]))
    table["curve"] = z[:, 0] ** 2 + 0.3 * rng.normal(size=n)
    for K in (2, 2, 3, 4, 5, 8):
        chosen = (z @ rng.normal(size=(3, K)) + rng.gumbel(size=(n, K))).argmax(1)
        table[f"category {len(table)}"] = np.array(list("abcdefgh"))[chosen]
    return pd.DataFrame(table)


def factor_table(n: int, n_columns: int, seed: int) -> pd.DataFrame:
    """Numbers of ten common factors, which are half of their variance."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 10)) @ rng.normal(size=(10, n_columns)) / 10**0.5 + rng.normal(size=(n, n_columns))
    return pd.DataFrame(X, columns=[f"x{j}" for j in range(n_columns)])


PARTS = {"numbers": (numbers, 5), "mixed": (mixed, 3), "draws": (draws, 3), "columns": (columns, 1), "cost": (cost, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--methods", nargs="*", help="only these")
    parser.add_argument("--tables", nargs="*", help="only these")
    parser.add_argument("--again", action="store_true", help="also what was measured by another commit")
    parser.add_argument("--masks", type=int, help="only the first so many")
    arguments = parser.parse_args()
    part, n_masks = PARTS[arguments.part]
    done = json.loads(arguments.output.read_text(encoding="utf-8")) if arguments.output.exists() else {"results": []}
    commit = revision()

    def record(key: tuple, run: Callable[[], dict]) -> None:
        names = dict(zip(("part", "table", "method", "mask"), key, strict=True))
        asked = {"table": arguments.tables, "method": arguments.methods}
        if any(chosen and names[what] not in chosen for what, chosen in asked.items()):
            return
        measured = [r for r in done["results"] if names.items() <= r.items()]
        if measured and not (arguments.again and measured[0]["commit"] != commit):
            return
        started, cpu = time.perf_counter(), time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            result = run()
        times = {"seconds": round(time.perf_counter() - started, 1), "cpu_seconds": round(time.process_time() - cpu, 1)}
        row = {**names, **result, **times, "commit": commit}
        if measured:
            done["results"][done["results"].index(measured[0])] = row
        else:
            done["results"].append(row)
        done["machine"] = machine()
        done["command"] = " ".join(["python", *sys.argv]).replace(str(arguments.data), "tabular")
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        write_text(arguments.output, json.dumps(done, indent=1) + "\n")
        print(names, {k: round(v, 4) if isinstance(v, float) else v for k, v in result.items()}, times, flush=True)

    for seed in range(arguments.masks or n_masks):
        part(arguments.data, seed, record)


if __name__ == "__main__":
    main()
