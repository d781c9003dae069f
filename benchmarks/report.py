"""Writes the tables of docs/results.md and docs/missing-values.md, between their markers, from benchmarks/results.

python benchmarks/report.py
"""

from __future__ import annotations

import json
import re
import statistics
import tomllib
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
SIGNS = {"exact": "=", "lower": "≥", "upper": "≤", "estimate": "≈"}


def read(name: str) -> dict:
    return json.loads((ROOT / f"benchmarks/results/{name}.json").read_text(encoding="utf-8"))


def table(head: str, rows: list[list[str]]) -> str:
    columns = head.split(" | ")
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def estimate(record: dict | None, digits: int = 2) -> str:
    """≥ −23.9 ± 0.2."""
    if record is None:
        return "none"
    value = f"{record['mean']:.{digits}f}".replace("-", "−")
    return f"{SIGNS[record['kind']]} {value} ± {record['standard_error']:.{digits}f}"


def read_recipe(name: str) -> dict:
    return tomllib.loads((ROOT / f"benchmarks/recipes/{name}.toml").read_text(encoding="utf-8"))


def epochs_of(recipe: dict) -> int:
    """In all, with those of the recipe it continues."""
    before = epochs_of(read_recipe(recipe["continues"])) if "continues" in recipe else 0
    return before + recipe["parameters"]["max_epochs"]


def bits_of(r: dict) -> str:
    """A dimension, of the rows that were scored and by difference; binarized digits have none."""
    if "bits_per_dim" not in r:
        return ""
    of_rows = r["bits_per_dim"]
    if "test_nll_by_difference" not in r:
        return f"{of_rows:.3f}"
    return f"{of_rows:.3f}, by difference {of_rows * r['test_nll_by_difference']['mean'] / r['test_nll']['mean']:.3f}"


def density() -> str:
    rows = []
    for path in sorted((ROOT / "benchmarks/results").glob("density-*.json")):
        r, nll = read(path.stem), read(path.stem)["test_nll"]
        recipe = read_recipe(r["recipe"])
        planned = epochs_of(recipe) if "continues" in recipe else r["parameters"]["max_epochs"]
        epochs = str(r["epochs"]) if r["epochs"] == planned else f"{r['epochs']} of {planned}"
        scored = f"{nll['rows']}, {nll['n_importance']:,}, {nll['ess']:.0f}"
        bits = bits_of(r)
        better = estimate(r["test_nll_by_difference"]) if "test_nll_by_difference" in r else ""
        numbers = [estimate(r["test_elbo"]), f"**{estimate(nll)}**", better, bits, scored, str(r["active_units"])]
        words = [f"{r['fit_seconds'] / 60:.0f}", recipe["published"], recipe["deviations"]]
        rows.append([f"`{r['recipe']}`", f"{r['n_weights']:,}", epochs, *numbers, *words])
    head = "recipe | weights | epochs | ELBO, all test rows | NLL | NLL, by difference | bits/dim"
    return table(
        f"{head} | rows, K, effective samples | active units | minutes to fit | published | how ours differs", rows
    )


def evidence() -> str:
    titles = {
        "elbo": "lower bound", "naive": "draws of the prior", "importance": "importance sampling from q",
        "ais": "annealed importance sampling from q", "lower": "both sides, from below",
        "upper": "both sides, from above",
        "gap": "both sides, gap",
    }  # fmt: skip
    rows = []
    for r in read("evidence")["measured"]:
        samples = f"{r['n_importance']:,}" if "n_importance" in r else ""
        effective = f"{r['ess']:.1f}" if "ess" in r else ""
        rows.append([titles[r["of"]], estimate(r), samples, effective, str(r["n_rows"]), str(r["seconds"])])
    return table("log p(x) | nats a row | samples or chains a row | effective | rows | seconds", rows)


def comparison() -> str:
    rows = []
    for r in read("comparison")["models"]:
        if r.get("log_likelihood") is None:
            rows.append([r["title"], "not applicable", "", "", "", r["reason"] or ""])
            continue
        seconds = [f"{r['fit_seconds']:.0f}", f"{r['sample_seconds']:.2f}"]
        rows.append(
            [r["title"], estimate(r["log_likelihood"], 1), f"{r['n_parameters']:,}", *seconds, "; ".join(r["notes"])]
        )
    return table("model | log p(x), nats | parameters | seconds to fit | seconds to draw 1,000 | notes", rows)


def inference() -> str:
    rows = []
    for r in read("inference")["ways"]:
        fitted = "none" if r["training_elbo"] is None else f"{r['training_elbo']:.2f}".replace("-", "−")
        bounds = [fitted, estimate(r["test_elbo"]), estimate(r["test_log_likelihood"])]
        sizes = [f"{r['fit_seconds']:.0f}", f"{r['parameters']:,}", f"{r['numbers_of_training_rows']:,}"]
        rows.append([f"`{r['inference']}`", *bounds, *sizes, f"{r['milliseconds_a_new_row']:.2f}"])
    head = "inference | ELBO, fitted rows | ELBO, new rows | log p(x), new rows | seconds to fit | parameters"
    return table(f"{head} | numbers of the rows' own | ms to infer a new row", rows)


def gradients() -> str:
    measured = read("gradients")["toy"]["importance_weighted"]
    names = list(dict.fromkeys(name for r in measured.values() for name in r["variance"]))
    rows = []
    for K, r in measured.items():
        variances = [f"{_number(r['variance'].get(name))}" for name in names]
        rows.append([K, *variances, *(f"{_number(r['snr'].get(name))}" for name in ("pathwise", "dreg"))])
    return table(f"K | {' | '.join(names)} | SNR pathwise | SNR dreg", rows)


def _number(record: dict | float | None) -> str:
    if record is None:
        return ""
    return f"{record['value'] if isinstance(record, dict) else record:.3g}"


def imputation() -> str:
    """Mean squared error; in brackets the paired difference from the first method, over the masks that both have."""
    return _by_table("numbers", ("error",), 3)


def imputation_mixed() -> str:
    return _by_table("mixed", ("rmse", "wrong"), 3)


def imputation_draws() -> str:
    return _by_table("draws", ("crps", *(f"coverage_{level}" for level in (50, 80, 90, 95))), 3)


def _by_table(part: str, keys: tuple[str, ...], digits: int) -> str:
    results = [r for r in read("imputation")["results"] if r["part"] == part]
    tables, methods = (list(dict.fromkeys(r[name] for r in results)) for name in ("table", "method"))
    found = {(r["table"], r["method"], r["mask"]): r for r in results}
    masks = sorted({r["mask"] for r in results})
    rows = []
    for method in methods:
        cells = []
        for name in tables:
            own = [found[name, method, mask] for mask in masks if (name, method, mask) in found]
            means = "/".join(f"{sum(r[key] for r in own) / len(own):.{digits}f}" for key in keys) if own else ""
            both = [m for m in masks if (name, method, m) in found and (name, methods[0], m) in found]
            differences = [found[name, method, m][keys[0]] - found[name, methods[0], m][keys[0]] for m in both]
            cells.append(f"{means} ({len(own)}{_paired(differences, digits)})" if own else "")
        rows.append([method, *cells])
    return table(f"method | {' | '.join(tables)}", rows)


def _paired(differences: list[float], digits: int) -> str:
    if len(differences) < 2 or not any(differences):
        return ""
    error = statistics.stdev(differences) / len(differences) ** 0.5
    return f"; {statistics.mean(differences):+.{digits}f} ± {error:.{digits}f}".replace("-", "−")


TABLES: dict[str, Callable[[], str]] = {
    "density": density,
    "evidence": evidence,
    "comparison": comparison,
    "inference": inference,
    "gradients": gradients,
    "imputation": imputation,
    "imputation-mixed": imputation_mixed,
    "imputation-draws": imputation_draws,
}


def main() -> None:
    for document in ("results", "missing-values"):
        path = ROOT / f"docs/{document}.md"
        text = path.read_text(encoding="utf-8")
        for name, make in TABLES.items():
            if f"<!-- {name} -->" in text:
                block = f"<!-- {name} -->\n{make()}\n<!-- end -->"
                text = re.sub(rf"<!-- {name} -->.*?<!-- end -->", lambda _, block=block: block, text, flags=re.DOTALL)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
