"""The service of a model, whatever its data are; and that of a run whose model is waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from lowerbound.report.subject import Subject
from lowerbound.report.subjects import AnySubject
from lowerbound.web.answers import Answers, Body, History
from lowerbound.web.refusals import Unanswerable
from lowerbound.web.sequence_service import SequenceService
from lowerbound.web.service import Service

NOT_YET = "The run has no model yet: this appears when training has ended, and Training shows how it goes."
PANELS = ("map", "sample", "pairs", "traversals", "dimensions", "outliers", "gaps")


def service_of(subject: AnySubject, history: History | None = None) -> Answers:
    """The service of a subject.

    Parameters
    ----------
    subject : Subject, TextSubject or SeriesSubject
    history : callable, optional
        The records of training up to now.
    """
    return Service(subject, history) if isinstance(subject, Subject) else SequenceService(subject, history)


class Waiting(Answers):
    """The answers of a run that trains and has no model yet; those of the model from when it is there.

    Parameters
    ----------
    title : str
        The name of the run.
    is_there : callable
        True when there is a model.
    make : callable
        Loads it, and gives its service.
    one : str
        The word for one of the data.
    history : callable
    """

    def __init__(
        self, title: str, is_there: Callable[[], bool], make: Callable[[], Answers], one: str, history: History
    ) -> None:
        super().__init__(one, history)
        self.title, self.is_there, self.make = title, is_there, make
        self.service: Answers | None = None
        self.problem: str | None = None  # why the model can't be shown
        self.lock = threading.Lock()
        self.answers["overview"] = self.overview

    def answer(self, name: str, body: Body) -> Any:
        """The facts that a request asks for; raises ``Unanswerable`` for what needs the model."""
        with self.lock:
            self._look()
        if self.problem is not None:
            raise Unanswerable(self.problem)
        if self.service is not None:
            return self.service.answer(name, body)
        if name not in self.answers:
            raise Unanswerable(NOT_YET)
        return super().answer(name, body)

    def _look(self) -> None:
        if self.service is not None or self.problem is not None or not self.is_there():
            return
        try:
            self.service = self.make()
        except Exception as error:
            self.problem = str(error) or type(error).__name__

    def overview(self, body: Body) -> Body:
        """The run, whose model is waited for."""
        return {"title": self.title, "kind": "waiting", "one": self.one, "has": {"training": True},
                "lacks": dict.fromkeys(PANELS, NOT_YET)}  # fmt: skip
