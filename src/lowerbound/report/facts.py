"""The facts that the panels of a page, or the sections of a report, show: plain data that JSON holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lowerbound.report import codes, quality, unusual
from lowerbound.report.subject import Subject

LOOKED_AT = 5000  # rows of a report, the points of its map
WITH_THUMBNAILS = 1500  # of these points that show their row


def overview(subject: Subject) -> dict[str, Any]:
    """The model and the rows in a few words, and what there is to show of them."""
    schema = subject.fitted.schema
    size = sum(weights.numel() for weights in subject.fitted.model.parameters())
    facts = {
        "title": subject.run.name,
        "model": type(subject.model).__name__ if subject.detector is None else "VAEOutlierDetector",
        "likelihood": subject.described_by,
        "row_shape": list(schema.row_shape),
        "kind": subject.display.kind,
        "columns": [] if subject.display.is_image else subject.names,
        "n_weights": size,
        "source": subject.source,
        "n_rows": subject.n_rows,
        "n_seen": len(subject.places),
        "chosen": subject.chosen,
        "label": None if subject.labels is None else subject.label,
        "latent_dim": subject.latent_dim if subject.has_codes else None,
        "has": can(subject),
        "configuration": subject.run.configuration,
        "command": subject.run.command,
        "versions": subject.run.versions,
    }
    return facts


def can(subject: Subject) -> dict[str, bool]:
    """The panels that there is something to show in."""
    rows = subject.has_rows
    return {
        "samples": subject.has_prior and (rows or not subject.is_given),
        "map": subject.has_codes and rows,
        "decode": subject.has_codes and (rows or not subject.is_given),
        "pairs": subject.has_codes and rows,
        "dimensions": subject.has_codes and (rows or not subject.is_given),
        "outliers": rows and (subject.has_prior or subject.has_bound),
        "gaps": rows and subject.has_prior and unusual.can_fill(subject),
        "training": bool(subject.run.history),
        "estimates": rows and (subject.has_prior or subject.has_bound),
    }


def report_facts(subject: Subject, *, with_rows: bool = True, n_importance: int = 300) -> dict[str, Any]:
    """Everything that a report shows.

    Parameters
    ----------
    subject : Subject
    with_rows : bool
        Include rows of the data: False leaves out all that is of single rows, the codes too, which tell of them.
    n_importance : int
        Importance samples of a row for log p(x).
    """
    has, image = can(subject), subject.display.is_image
    facts: dict[str, Any] = {"overview": overview(subject), "with_rows": with_rows and subject.has_rows}
    if has["estimates"]:
        facts["estimates"] = quality.estimates(subject, n_importance=n_importance)
    if has["samples"]:
        n = 60 if image else 12
        facts["samples"] = {"mean": quality.samples(subject, n, mean=True) if image else [],
                            "draws": quality.samples(subject, n, mean=False), "columns": subject.names}  # fmt: skip
    if has["dimensions"]:
        facts["dimensions"] = codes.dimensions(subject)
        facts["traversals"] = codes.traversals(subject)
    if with_rows:
        parts = {"map": lambda: _map(subject),
                 "pairs": lambda: quality.pairs(subject, 10 if image else 6),
                 "outliers": lambda: unusual.outliers(subject, 24 if image else 12),
                 "gaps": lambda: unusual.gaps(subject)}  # fmt: skip
        facts |= {name: part() for name, part in parts.items() if has[name]}
    found = quality.training(subject.run.history)
    if found is not None:
        facts["training"] = found
    message = quality.bits(subject)
    if message is not None:
        facts["bits"] = message
    return plain(facts)


def _map(subject: Subject) -> dict[str, Any]:
    """The map of some rows, with pictures of some of them."""
    found = codes.map_of(subject)
    shown = subject.few(WITH_THUMBNAILS)
    return {**found, "places": subject.places.tolist(), "thumbnails": {
        "rows": shown.tolist(), "shown": codes.thumbnails(subject, shown), "columns": subject.names,
    }}  # fmt: skip


def plain(value: Any) -> Any:
    """A value that JSON holds: no NaN and no type of numpy."""
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
