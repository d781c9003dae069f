"""Writes the tables of docs/results.md, between its markers, from the JSON in benchmarks/results.

python benchmarks/report.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PUBLISHED = {
    "mlp": "86.76 (Burda et al. 2016, 3,280 epochs)",
    "conv": "82.14 (gated convolutions, Tomczak & Welling 2018)",
}


def density() -> str:
    """A row for each recipe."""
    lines = [
        "| recipe | epochs | ELBO, all test rows | NLL | rows, K, effective samples | active units "
        "| minutes to fit | published |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in ("mlp", "conv"):
        r = json.loads((ROOT / f"benchmarks/results/density-{name}.json").read_text(encoding="utf-8"))
        elbo, nll = r["test_elbo"], r["test_nll"]
        lines.append(
            f"| `{name}` | {r['epochs']} | −{-elbo['mean']:.2f} ± {elbo['standard_error']:.2f} "
            f"| **≤ {nll['mean']:.2f} ± {nll['standard_error']:.2f}** "
            f"| {nll['rows']}, {nll['n_importance']}, {nll['ess']:.0f} | {r['active_units']} "
            f"| {r['fit_seconds'] / 60:.0f} | {PUBLISHED[name]} |"
        )
    return "\n".join(lines)


def main() -> None:
    path = ROOT / "docs/results.md"
    text = path.read_text(encoding="utf-8")
    block = f"<!-- density -->\n{density()}\n<!-- end -->"
    path.write_text(re.sub(r"<!-- density -->.*?<!-- end -->", block, text, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
