"""The facts of models of sequences and of texts: what there is to show, and why other panels stay out."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from lowerbound.report import codes, quality, series_facts, series_unusual, text_facts
from lowerbound.report.facts import plain
from lowerbound.report.series_subject import SeriesSubject
from lowerbound.report.text_subject import TextSubject

SequenceSubject = TextSubject | SeriesSubject
Facts = dict[str, Any]
NO_PATH = (
    "Every step has latent variables of its own, and what they do depends on the steps before: there is no path that a "
    "whole sequence follows."
)
NO_PATH_OF_ONE = (
    "Steps are drawn one after another given z, so that two sequences of one code differ, too: the method interpolate "
    "of the model draws some along a path."
)
NO_DATA = "There are no data: name them after the run, lowerbound explore RUN DATA."


def facts_of(subject: SequenceSubject) -> ModuleType:
    """The module that has the facts of such data."""
    return text_facts if isinstance(subject, TextSubject) else series_facts


def lacks(subject: SequenceSubject) -> dict[str, str]:
    """The panels that there is nothing to show in, each with the sentence why."""
    found: dict[str, str] = {}
    if not subject.has_rows:
        found |= dict.fromkeys(("map", "pairs", "outliers", "gaps"), NO_DATA)
    if not subject.latent_dim:
        no_codes = "The model has no latent variables (latent_dim=0), so there are no codes"
        found |= {"map": f"{no_codes} to map.", "dimensions": f"{no_codes}.",
                  "traversals": f"{no_codes} to move along."}  # fmt: skip
    if isinstance(subject, TextSubject):
        found["gaps"] = (
            "A text is written from left to right, each token given those before it, so there is no filling of gaps "
            "within one: Sample continues a beginning."
        )
        if not subject.latent_dim:
            found["pairs"] = "The model has no latent variables (latent_dim=0), so no text goes through a code."
        return found
    if subject.latent_dim:
        found["traversals"] = NO_PATH_OF_ONE if subject.is_whole else NO_PATH
        if not subject.has_rows:
            found["dimensions"] = NO_DATA
    if subject.is_masked and subject.has_rows:
        found["pairs"] = (
            "The columns of a step depend on each other in this model (head=\"masked\"), so that a code alone gives "
            "no expectation of them."
        )  # fmt: skip
    if subject.has_rows and (why := series_unusual.why_no_gaps(subject)):
        found["gaps"] = why
    return found


def can(subject: SequenceSubject, without: dict[str, str]) -> dict[str, bool]:
    """The panels that there is something to show in."""
    found = {name: name not in without for name in ("map", "pairs", "traversals", "dimensions", "outliers", "gaps")}
    is_text = isinstance(subject, TextSubject)
    return {**found, "samples": True, "decode": is_text and found["traversals"], "place": is_text and found["map"],
            "training": bool(subject.run.history), "estimates": subject.has_rows}  # fmt: skip


def overview(subject: SequenceSubject) -> Facts:
    """The model and the data in a few words, and what there is to show of them."""
    without = lacks(subject)
    schema = subject.fitted.schema
    is_text = isinstance(subject, TextSubject)
    tokens = f"tokens: {schema.likelihood}" if is_text else None
    of_steps = "one density for each column" if schema.columns is not None else schema.likelihood.replace("_", " ")
    facts = {
        "title": subject.run.name, "model": type(subject.model).__name__, "likelihood": tokens or of_steps,
        "kind": subject.kind, "one": subject.one, "columns": [] if is_text else subject.names,
        "row_shape": [], "n_weights": sum(weights.numel() for weights in subject.fitted.model.parameters()),
        "source": subject.source, "n_rows": subject.n_rows, "n_seen": len(subject.places), "chosen": subject.chosen,
        "label": None, "latent_dim": subject.latent_dim, "has": can(subject, without), "lacks": without,
        "n_points": n_points(subject),
        "configuration": subject.run.configuration, "command": subject.run.command, "versions": subject.run.versions,
    }  # fmt: skip
    return facts | ({} if isinstance(subject, TextSubject) else series_facts.described(subject))


def n_points(subject: SequenceSubject) -> int:
    """The points of the map."""
    if not subject.has_rows:
        return 0
    return len(subject.places) if isinstance(subject, TextSubject) else len(subject.points)


def report_facts(subject: SequenceSubject, *, with_rows: bool = True, n_importance: int = 64) -> Facts:
    """Everything that a report shows.

    Parameters
    ----------
    subject : TextSubject or SeriesSubject
    with_rows : bool
        Include the data: False leaves out all that is of single sequences, the codes too, which tell of them.
    n_importance : int
        Importance samples for log p(x).
    """
    about, of = overview(subject), facts_of(subject)
    has, facts = about["has"], {"overview": about, "with_rows": with_rows and subject.has_rows}
    if has["estimates"]:
        facts["estimates"] = of.estimates(subject, n_importance=n_importance)
    facts["samples"] = {"sequences": of.samples(subject, 12 if subject.kind == "text" else 6)}
    if has["dimensions"]:
        facts["dimensions"] = codes.dimensions(subject)
    if has["traversals"]:
        facts["traversals"] = text_facts.traversals(subject)  # type: ignore[arg-type]
    if with_rows and subject.has_rows:
        parts = {"continuations": lambda: prompted(subject), "map": lambda: of.of_map(subject),
                 "pairs": lambda: of.pairs(subject, 8 if subject.kind == "text" else 4),
                 "outliers": lambda: unusual(subject, 12),
                 "gaps": lambda: {"sequences": series_unusual.gaps(subject)}}  # type: ignore[arg-type]  # fmt: skip
        facts |= {name: part() for name, part in parts.items() if has.get(name, True)}
    facts["training"] = quality.training(subject.run.history, subject.one)
    facts["bits"] = of.bits(subject)
    return plain({name: value for name, value in facts.items() if value is not None})


def prompted(subject: SequenceSubject) -> Facts:
    """Continuations of the beginning of one of the data."""
    if isinstance(subject, TextSubject):
        assert subject.X is not None
        text = subject.X[0]
        return text_facts.continuations(subject, text[: max(1, len(text) // 3)])
    length = int(subject.sequences.lengths[0])
    n_prompt = min(length, 200) // 2
    return series_facts.continuations(subject, 0, n_prompt, min(30, max(1, length - n_prompt)))


def unusual(subject: SequenceSubject, n: int) -> Facts:
    """The most unusual of the data."""
    if isinstance(subject, TextSubject):
        return text_facts.outliers(subject, n)
    return series_unusual.outliers(subject, n)
