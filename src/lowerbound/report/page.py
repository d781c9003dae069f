"""One HTML file of what there is to see of a model: it opens from disk, asks for nothing and sends nothing."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from lowerbound.report.subject import Run
from lowerbound.report.subjects import report_facts, subject_of
from lowerbound.storage.atomic import write_text

MODULES = (  # each imports those before it
    "dom", "palette", "geometry", "plane", "scatter", "charts", "captions", "sequences", "rows", "views",
    "sequence_views", "report.sequences",
)  # fmt: skip
LARGEST = 5_000_000  # bytes of a report
_IMPORT = re.compile(r"^import\s[^;]*;\n", re.M)
_EXPORT = re.compile(r"^export (?=(async )?(function|class|const|let))", re.M)

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
script-src 'sha256-{digest}'; form-action 'none'; base-uri 'none'">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<noscript><p>This report is drawn by a script that it contains: open it in a browser that runs scripts.</p></noscript>
<script type="application/json" id="facts">{facts}</script>
<script type="module">{script}</script>
</body>
</html>
"""


def static(name: str) -> str:
    """The text of a file that the report and the page share."""
    return (files("lowerbound.report") / "static" / name).read_text(encoding="utf-8")


def bundled(names: tuple[str, ...]) -> str:
    """Modules one after another as one script, without their imports and exports."""
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", static(f"{name}.js"))) for name in names)


def html_of(facts: dict[str, Any]) -> str:
    """The page that shows facts."""
    script = f"\n{bundled((*MODULES, 'report'))}"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = json.dumps(facts, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    title = html.escape(f"{facts['overview']['title']} – lowerbound report")
    style = static("style.css") + static("report.css")
    return PAGE.format(digest=digest, title=title, style=style, facts=text, script=script)


def write_report(
    model: Any, path: str | Path, X: Any = None, labels: Any = None, *, label: str = "label", source: str = "X",
    run: Run | None = None, with_rows: bool = True, n_importance: int = 300,
) -> int:  # fmt: skip
    """Write a report on a fitted model: one HTML file, atomically.

    Parameters
    ----------
    model : estimator
        Fitted.
    path : path
    X : array-like, DataFrame or Source, shape (n, *row), sequences or texts, optional
        Data to show it with; at most 5,000 rows of them, from all over, are looked at.
    labels : array-like, shape (n,), optional
        Of texts what the model is given with each.
    label, source : str
        What the labels and the data are called.
    run : Run, optional
        Its name, history, configuration and command.
    with_rows : bool
        Include rows of the data in the file.
    n_importance : int
        Importance samples of a row for log p(x).

    Returns
    -------
    int
        The size of the file in bytes.

    Examples
    --------
    >>> import tempfile
    >>> from lowerbound import VAE, read
    >>> from lowerbound.report.page import write_report
    >>> digits = read("digits")
    >>> vae = VAE(2, max_epochs=2, random_state=0).fit(digits.X[:200])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     size = write_report(vae, f"{folder}/report.html", digits.X[:100], digits.labels[:100])
    >>> size < 5_000_000
    True
    """
    subject = subject_of(model, X, labels, label=label, source=source, run=run, in_report=True)
    text = html_of(within(report_facts(subject, with_rows=with_rows, n_importance=n_importance)))
    write_text(Path(path), text)
    return len(text.encode())


def within(facts: dict[str, Any], most: int = LARGEST) -> dict[str, Any]:
    """The facts with fewer pictures on the map, so many that the report is small enough."""
    spare = most - 400_000 - len(json.dumps(facts, ensure_ascii=False).encode())
    shown = facts.get("map", {}).get("thumbnails")
    if spare >= 0 or not shown:
        return facts
    size = len(json.dumps(shown["shown"], ensure_ascii=False).encode())
    n = max(0, int(len(shown["shown"]) * (1 + spare / size)))
    step = len(shown["rows"]) / max(n, 1)
    kept = [int(k * step) for k in range(n)]
    fewer = {"rows": [shown["rows"][k] for k in kept], "shown": [shown["shown"][k] for k in kept]}
    return {**facts, "map": {**facts["map"], "thumbnails": {**shown, **fewer}}}
