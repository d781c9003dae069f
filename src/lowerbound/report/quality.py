"""The quality of a model: log p(x) with its standard error, the bound and its parts, reconstructions, training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lowerbound.data.gaps import nan_in_gaps
from lowerbound.data.table_code import missing
from lowerbound.evaluation.bound import Summary, elbo_terms, summarize
from lowerbound.evaluation.estimate import Estimate, bits_per_dim
from lowerbound.evaluation.gap import at_its_ceiling
from lowerbound.report.subject import Subject

CURVES = {
    "elbo": "lower bound, training rows", "validation_elbo": "lower bound, held-out rows",
    "reconstruction": "reconstruction, E log p(x|z)", "kl": "KL(q(z|x) ‖ p(z))",
}  # fmt: skip
MOST_EPOCHS = 2000
KINDS = {"exact": "", "lower": "≥", "upper": "≤", "estimate": "≈"}


def estimates(subject: Subject, n_rows: int = 300, n_importance: int = 300) -> list[dict[str, Any]]:
    """log p(x), the lower bound and its parts: means over some rows, each with its standard error, in nats."""
    rows = subject.few(n_rows)
    fitted, X = subject.fitted_to(rows), subject.at(rows)
    found = []
    if subject.has_prior:
        log_p = fitted.log_likelihood(X, n_importance)
        how = "exact" if log_p.n_importance is None else (
            f"{log_p.n_importance:,} importance samples a row, {log_p.ess:.0f} effective on average"
        )  # fmt: skip
        found.append(measure("log p(x)", log_p, how))
        if subject.fitted.schema.is_discrete and not missing(X).any():
            n = subject.fitted.schema.n_dimensions
            bits = bits_per_dim(log_p.value, n)
            error = log_p.standard_error / (math.log(2) * n)
            above = {"≥": "≤", "≤": "≥"}.get(KINDS[log_p.kind], KINDS[log_p.kind])
            found.append({"name": "bits per dimension", "sign": above, "value": bits, "error": error, "unit": "bits",
                          "how": "the same as a code length for each value of a row", "n": len(rows),
                          "one": "row"})  # fmt: skip
    if subject.has_bound:
        found += _of_bound(subject, rows)
    return found


def _of_bound(subject: Subject, rows: np.ndarray) -> list[dict[str, Any]]:
    summary = summarize([elbo_terms(subject.fitted_to(rows).on(subject.at(rows), "report"), 16)])
    model = subject.model.given(subject.labels[rows]) if subject.is_given and subject.labels is not None else (
        subject.model
    )  # fmt: skip
    return of_bound(summary, model.mutual_information(subject.at(rows)), "row")


def of_bound(summary: Summary, information: Estimate | None, one: str) -> list[dict[str, Any]]:
    """The lower bound, its KL, and the information about which row it is, if it is known."""
    found = [measure("ELBO", summary.elbo, "the evidence lower bound, by draws of z", one),
             measure("KL", summary.total_kl, f"of q(z|x) from the prior: what z says of a {one}", one)]  # fmt: skip
    if information is None:
        return found
    how = f"information about which {one} it is"
    if information.n_importance:
        how = f"what a {one} drawn given its context tells of z"
    if said := at_its_ceiling(information.value, information.n_rows, information.n_importance):
        how = f"{how}; {said}"
    return [*found, measure("I(x; z|c)" if information.n_importance else "I(x; z)", information, how, one)]


def measure(name: str, estimate: Estimate, how: str, one: str = "row") -> dict[str, Any]:
    """A mean over rows with its standard error, in words."""
    return {"name": name, "sign": KINDS[estimate.kind], "value": estimate.value, "error": estimate.standard_error,
            "unit": "nats", "how": how, "n": estimate.n_rows, "one": one}  # fmt: skip


def bits(subject: Subject, n_rows: int = 300) -> dict[str, Any] | None:
    """The bound as a message of a row, in bits; None for data that are no message."""
    if not (subject.has_bound and subject.has_rows and subject.fitted.schema.is_discrete):
        return None
    rows = subject.few(n_rows)
    return in_bits(summarize([elbo_terms(subject.fitted_to(rows).on(subject.at(rows), "report"), 16)]), "row")


def in_bits(summary: Summary, one: str) -> dict[str, Any]:
    """The message of the mean of some rows."""
    return {**{name: round(value, 2) for name, value in vars(summary.bits).items()}, "one": one}


def samples(subject: Subject, n: int, *, mean: bool, side: int = 64) -> list[Any]:
    """New rows: draws from p(x), or E[x|z] for z from the prior."""
    fitted = subject.fitted
    if subject.is_given and subject.labels is not None:
        each = np.linspace(0, len(subject.labels) - 1, n).round().astype(int)
        fitted = fitted.given(subject.labels[each])
    return subject.display.smaller(side).show(fitted.sample(n, mean=mean, random_state=0))


def pairs(subject: Subject, n: int, side: int = 64) -> dict[str, Any]:
    """Rows beside their reconstructions: those that are rebuilt best, worst, and some from all over."""
    nats = reconstruction_nats(subject)
    order = np.argsort(-nats, kind="stable")
    n = min(n, len(order))
    chosen = {"random": subject.few(n), "worst": order[::-1][:n], "best": order[:n]}
    unit = "nats" if subject.has_bound else "of −squared error"
    return {**{name: pairs_of(subject, rows, nats, side) for name, rows in chosen.items()}, "unit": unit,
            "columns": subject.names}  # fmt: skip


def reconstruction_nats(subject: Subject) -> np.ndarray:
    """The reconstruction of each row, (n,): E_q log p(x|z), or minus the squared error where that isn't known."""
    if subject.has_bound:
        return subject.terms.reconstruction.numpy()
    terms = elbo_terms(subject.on(np.arange(len(subject.X)))) if hasattr(subject.model, "posterior_") else None
    if terms is not None:
        return terms.reconstruction.numpy()
    made = np.asarray(subject.decode(subject.codes), np.float64)
    return -np.nansum(np.square(made - np.asarray(nan_in_gaps(subject.X), np.float64)).reshape(len(made), -1), 1)


def pairs_of(subject: Subject, rows: np.ndarray, nats: np.ndarray, side: int = 64) -> list[dict[str, Any]]:
    """Some rows, E[x|z] at their posterior means, and the differences."""
    X = subject.at(rows)
    context = subject.labels[rows] if subject.is_given and subject.labels is not None else None
    return compared(subject, X, subject.decode(subject.codes[rows], context), side, {
        "row": subject.places[rows].tolist(), "nats": [round(float(v), 2) for v in nats[rows]],
        "label": labels_of(subject, rows),
    })  # fmt: skip


def compared(subject: Subject, X: Any, made: Any, side: int, more: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Rows of data beside rows of the model."""
    display = subject.display.smaller(side)
    parts = {"input": display.show(X, given=True), "output": display.show(made),
             "difference": display.differences(X, made), **more}  # fmt: skip
    return [dict(zip(parts, each, strict=True)) for each in zip(*parts.values(), strict=True)]


def labels_of(subject: Subject, rows: np.ndarray) -> list[str | None]:
    """The labels of some rows as words."""
    if subject.labels is None:
        return [None] * len(rows)
    return [str(value) for value in subject.labels[rows].tolist()]


def training(history: list[dict[str, Any]], one: str = "row") -> dict[str, Any] | None:
    """The curves of training, one number an epoch; None without a history."""
    records = [each for each in history if isinstance(each.get("epoch"), int)]
    if not records:
        return None
    step = math.ceil(len(records) / MOST_EPOCHS)
    records = records[::step]
    found: dict[str, Any] = {"epoch": [each["epoch"] for each in records], "curves": [], "one": one}
    for name, words in CURVES.items():
        values = [_number(each.get(name)) for each in records]
        if any(value is not None for value in values):
            found["curves"].append({"key": name, "name": words.replace("rows", f"{one}s"), "values": values})
    found["n_skipped"] = sum(each.get("n_skipped") or 0 for each in records)
    return found


def _number(value: Any) -> float | None:
    return round(value, 4) if isinstance(value, (int, float)) and math.isfinite(value) else None
