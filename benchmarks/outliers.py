"""Outliers in tables, against other detectors, on the classical sets of ADBench.

    pip install -r benchmarks/requirements-outliers.txt
    python benchmarks/outliers.py --data FOLDER

FOLDER holds files ``NAME.npz`` with ``X`` (n, d) and ``y`` (1 for outliers), as extracted from
github.com/Minqi824/ADBench (Han et al., 2022, arXiv:2206.09426). A set of more than 5,000 rows is cut to 5,000,
stratified. Two settings: "contaminated" fits all rows and scores the same rows, y unseen; "clean" fits half of the
normal rows and scores all others. Nothing is tuned to a set. What has been computed is kept in the JSON of results, so
that a run that was cut short goes on, with the commit of each score that has one (of the others it is that of the
file); ``--report`` prints the tables of what is there and puts them into docs/outliers.md.

``--protocol dte`` is that of the published tables of 26 detectors (Livernoche et al., 2024, arXiv:2305.18593): all rows
of each set; sets below 1,000 rows are drawn again with replacement, 1,000 rows; and "clean" fits the first half of the
normal rows in the order of the file. Its figures don't compare with those of random halves: k nearest neighbors have
.354 on letter there, and .878 here.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from density import revision
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import LocalOutlierFactor
from sklearn.preprocessing import StandardScaler

from lowerbound.storage.atomic import write_text

MOST_ROWS = 5000
OURS = "VAEOutlierDetector"
PARTS = ("kl", "aggregate_kl", "reconstruction", "elbo", "surprise")
SEEDED = (OURS, "IsolationForest", "PyOD VAE")
METHODS = (OURS, "IsolationForest", "LocalOutlierFactor", "PyOD KNN", "PyOD ECOD", "PyOD VAE")
SETTINGS = ("contaminated", "clean")
PROTOCOLS = ("random", "dte")
FEWEST_ROWS = 1000  # of a set, by the protocol "dte"


def read(path: Path, protocol: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as arrays:
        X, y = arrays["X"].astype(float), arrays["y"]
    if protocol == "dte":
        rows = np.random.default_rng(seed).choice(len(X), FEWEST_ROWS) if len(X) < FEWEST_ROWS else slice(None)
        return X[rows], y[rows]
    if len(X) > MOST_ROWS:
        rows = np.sort(train_test_split(np.arange(len(X)), train_size=MOST_ROWS, stratify=y, random_state=0)[0])
        X, y = X[rows], y[rows]
    return X, y


def divide(
    X: np.ndarray, y: np.ndarray, setting: str, protocol: str, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows to fit, rows to score, and their labels."""
    if setting == "contaminated":
        return X, X, y
    normal = np.flatnonzero(y == 0)
    if protocol == "random":
        normal = np.random.default_rng(seed).permutation(normal)
    fitted = normal[: len(normal) // 2]
    others = np.setdiff1d(np.arange(len(X)), fitted)
    return X[fitted], X[others], y[others]


def score(method: str, train: np.ndarray, test: np.ndarray, setting: str, seed: int) -> dict[str, np.ndarray]:
    """Scores by name, higher is more unusual."""
    if method == OURS:
        from lowerbound import VAEOutlierDetector

        detector = VAEOutlierDetector(novelty=setting == "clean", random_state=seed, device="cpu").fit(train)
        scores = detector.scores(test, ["combined", *PARTS])
        return {OURS: scores.pop("combined").to_numpy(), **{f"{OURS}, {k}": scores[k].to_numpy() for k in scores}}
    if method == "IsolationForest":
        return {method: -IsolationForest(random_state=seed).fit(train).score_samples(test)}
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    if method == "LocalOutlierFactor":
        forest = LocalOutlierFactor(novelty=setting == "clean").fit(train)
        return {method: -(forest.score_samples(test) if setting == "clean" else forest.negative_outlier_factor_)}
    detector = pyod(method, seed).fit(train)
    return {method: detector.decision_scores_ if setting == "contaminated" else detector.decision_function(test)}


def pyod(method: str, seed: int):
    from pyod.models.ecod import ECOD
    from pyod.models.knn import KNN
    from pyod.models.vae import VAE

    make: dict[str, Callable] = {
        "PyOD KNN": KNN,
        "PyOD ECOD": ECOD,
        "PyOD VAE": lambda: VAE(random_state=seed, verbose=0),
    }
    return make[method]()


def measure(
    folder: Path, methods: list[str], settings: list[str], seeds: int, output: Path, protocol: str = "random"
) -> dict:
    record = json.loads(output.read_text()) if output.exists() else {"scores": {}}
    record["machine"] = machine()
    commit = revision()
    done = record["scores"]
    for seed in range(seeds):
        for setting in settings:
            for method in methods:
                for path in sorted(folder.glob("*.npz")):
                    key = f"{setting}|{method}|{path.stem}|{seed}"
                    unseeded = method not in SEEDED and setting == "contaminated" and seed > 0
                    if key in done or unseeded:
                        continue
                    train, test, y = divide(*read(path, protocol, seed), setting, protocol, seed)
                    started = time.process_time()
                    found = score(method, train, test, setting, seed)
                    seconds = time.process_time() - started
                    for name, values in found.items():
                        done[f"{setting}|{name}|{path.stem}|{seed}"] = {
                            "auroc": round(float(roc_auc_score(y, values)), 5),
                            "aupr": round(float(average_precision_score(y, values)), 5),
                            "cpu_seconds": round(seconds, 3),
                            "commit": commit,
                        }
                    write_text(output, json.dumps(record, indent=0) + "\n")
    return record


def machine() -> dict:
    import sklearn
    import torch

    return {"python": platform.python_version(), "torch": torch.__version__, "sklearn": sklearn.__version__}


def tables(record: dict) -> dict[str, str]:
    """Markdown by name: the means over sets of both settings, and the sets one by one."""
    found: dict[tuple[str, str], dict[str, list[dict]]] = {}
    for key, r in record["scores"].items():
        setting, method, name, _ = key.split("|")
        found.setdefault((setting, method), {}).setdefault(name, []).append(r)
    measured = [setting for setting in SETTINGS if (setting, OURS) in found]
    return {setting: overall(found, setting) for setting in measured} | {"sets": each(found)}


def values(runs: dict[str, list[dict]], metric: str) -> np.ndarray:
    """Mean over seeds for every set, in the order of their names."""
    return np.array([np.mean([r[metric] for r in runs[name]]) for name in sorted(runs)])


def overall(found: dict, setting: str) -> str:
    ours = found.get((setting, OURS), {})
    lines = ["| detector | AUROC | AUPR | ours wins, AUROC | AUPR | seeds |", "| --- | --- | --- | --- | --- | --- |"]
    for (s, method), runs in found.items():
        if s != setting or set(runs) != set(ours):
            continue
        cells = []
        for metric in ("auroc", "aupr"):
            seeds = [[r[metric] for r in runs[name]] for name in runs]
            n = min(map(len, seeds))
            over_seeds = np.array([x[:n] for x in seeds]).mean(0)
            error = f" ± {over_seeds.std(ddof=1) / math.sqrt(n):.3f}" if n > 1 else ""
            cells.append(f"{values(runs, metric).mean():.3f}{error}")
        wins = ["" if method.startswith(OURS) else f"{wins_of(ours, runs, m)}" for m in ("auroc", "aupr")]
        lines.append(f"| {method} | {' | '.join(cells)} | {' | '.join(wins)} | {n} |")
    return "\n".join(lines)


def wins_of(ours: dict, runs: dict, metric: str) -> str:
    """On how many sets the mean over seeds is higher, and the mean paired difference with its standard error."""
    difference = values(ours, metric) - values(runs, metric)
    error = difference.std(ddof=1) / math.sqrt(len(difference))
    return f"{(difference > 0).sum()} of {len(difference)} ({difference.mean():+.3f} ± {error:.3f})".replace("-", "−")


def each(found: dict) -> str:
    shown = [m for m in METHODS if set(found.get(("contaminated", m), {})) == set(found[("contaminated", OURS)])]
    lines = [f"| set | {' | '.join(shown)} |", f"| --- |{' --- |' * len(shown)}"]
    for name in sorted(found[("contaminated", OURS)]):
        cells = []
        for method in shown:
            runs = found[("contaminated", method)][name]
            cells.append(" / ".join(f"{np.mean([r[m] for r in runs]):.3f}".lstrip("0") for m in ("auroc", "aupr")))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of .npz files")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--protocol", default="random", choices=PROTOCOLS, help="the rows that are fitted and scored")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--report", action="store_true", help="tables of the results there are")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    which = "" if arguments.protocol == "random" else f"-{arguments.protocol}"
    arguments.output = arguments.output or Path(__file__).parent / "results" / f"outliers{which}.json"
    if not arguments.report:
        options = (arguments.methods, arguments.settings, arguments.seeds, arguments.output, arguments.protocol)
        measure(arguments.data, *options)
    page = Path(__file__).parents[1] / "docs" / "outliers.md"
    text = page.read_text(encoding="utf-8")
    which = arguments.output.stem.removeprefix("outliers")  # of other sets the blocks have other names
    for name, table in tables(json.loads(arguments.output.read_text())).items():
        name += which
        print(f"\n## {name}\n\n{table}")
        block = f"<!-- {name} -->\n{table}\n<!-- end -->"
        text = re.sub(rf"<!-- {name} -->.*?<!-- end -->", lambda _, block=block: block, text, flags=re.DOTALL)
    if arguments.report:
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
