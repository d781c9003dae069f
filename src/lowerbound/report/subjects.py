"""The subject of a page or a report, whatever the data are: rows, sequences of numbers, or texts."""

from __future__ import annotations

from typing import Any

from lowerbound.models.sequence import SequenceModel
from lowerbound.models.texts import TextModel
from lowerbound.report import facts, sequence_facts
from lowerbound.report.series_subject import SeriesSubject
from lowerbound.report.subject import Run, Subject
from lowerbound.report.text_subject import TextSubject

STEPS_IN_REPORT, POINTS_IN_REPORT, TEXTS_IN_REPORT = 20_000, 4000, 3000

AnySubject = Subject | TextSubject | SeriesSubject


def subject_of(
    model: Any, X: Any = None, labels: Any = None, *, label: str = "label", source: str = "X", run: Run | None = None,
    in_report: bool = False,
) -> AnySubject:  # fmt: skip
    """A fitted model with data to look at it with.

    Parameters
    ----------
    model : estimator
    X : array-like, DataFrame, Source, sequences or texts, optional
    labels : array-like, optional
        Of rows a label each; of texts what each is given.
    label, source : str
        What the labels and the data are called.
    run : Run, optional
    in_report : bool
        Look at as many of the data as a file can hold.

    Raises
    ------
    TypeError
        If there is nothing to show of such a model.
    """
    inner = getattr(model, "model_", None)
    if isinstance(inner, TextModel):
        most = {"most": TEXTS_IN_REPORT} if in_report else {}
        return TextSubject.of(model, X, labels, source=source, run=run, **most)
    if isinstance(inner, SequenceModel):
        most = {"most": STEPS_IN_REPORT, "n_points": POINTS_IN_REPORT} if in_report else {}
        return SeriesSubject.of(model, X, source=source, run=run, **most)
    most = {"most": facts.LOOKED_AT} if in_report else {}
    return Subject.of(model, X, labels, label=label, source=source, run=run, **most)


def report_facts(subject: AnySubject, *, with_rows: bool = True, n_importance: int = 300) -> dict[str, Any]:
    """Everything that a report on a subject shows; parameters as those of the facts of each kind."""
    if isinstance(subject, Subject):
        return facts.report_facts(subject, with_rows=with_rows, n_importance=n_importance)
    return sequence_facts.report_facts(subject, with_rows=with_rows, n_importance=n_importance)
