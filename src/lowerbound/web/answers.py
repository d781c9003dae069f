"""The answers that every page has: requests by name, training up to now, the map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lowerbound.precision import undisturbed_by_contexts
from lowerbound.report import codes, facts, quality
from lowerbound.report.coded import Coded
from lowerbound.report.context import chosen, fields
from lowerbound.web import asked
from lowerbound.web.refusals import Unanswerable

Body = dict[str, Any]
History = Callable[[], list[dict[str, Any]]]


class Answers:
    """The answers to requests, by name.

    Parameters
    ----------
    one : str
        The word for one of the data.
    history : callable
        The records of training up to now.
    """

    def __init__(self, one: str, history: History) -> None:
        self.one: str = one
        self.history: History = history
        self.answers: dict[str, Callable[[Body], Any]] = {"training": self.training}

    @undisturbed_by_contexts
    def answer(self, name: str, body: Body) -> Any:
        """The facts that a request asks for; raises ``Unanswerable``."""
        if name not in self.answers:
            raise Unanswerable("there is nothing to show of this model and these data")
        return facts.plain(self.answers[name](body))

    def training(self, body: Body) -> Body:
        """The curves of training up to now."""
        return {"training": quality.training(self.history(), self.one)}


def sliders(some: Coded) -> Body:
    """The latent variables in their order, with their names, and which are active."""
    return {"order": some.order.tolist(), "active": some.active.tolist(),
            "dimension_names": [codes.name_of(some, i) for i in range(len(some.order))]}  # fmt: skip


def places(subject: Coded, some: Coded, body: Body) -> Body:
    """The places of all points on a map, by the variables that are asked for or the first choice; their KL of some."""
    axes = codes.axes_of(some)
    wanted = axes[0]["dimensions"] if "dimensions" not in body else asked.dimensions(body, subject.latent_dim)
    found = codes.places_on(subject, wanted)
    if wanted != "pca":
        found["axes"] = [*(codes.name_of(some, int(i)) for i in wanted), *[""] * (len(wanted) == 1)]
    return {**found, "dimensions": wanted, "choices": axes, "n": len(subject.codes)}


def choices(subject: Coded) -> list[Body]:
    """The choices of the context that the model is given."""
    schema = subject.fitted.context_schema
    return [] if schema is None else fields(schema, subject.first_context)


def context(subject: Coded, body: Body) -> Any:
    """The context that is asked for; None where it is left to the model."""
    schema = subject.fitted.context_schema
    if schema is None or "given" not in body:
        return None
    values = body["given"]
    if not isinstance(values, list):
        raise Unanswerable("given must be a list of values")
    return chosen(schema, values, subject.first_context)


def seed(body: Body) -> int:
    """``seed``, of draws."""
    return asked.whole(body, "seed", 0, 2**31 - 1, 0)


def some_rows(body: Body, n_rows: int, most: int = 2000) -> np.ndarray:
    """``rows``, of which there has to be one."""
    found = asked.row_numbers(body, n_rows, most)
    if not len(found):
        raise Unanswerable("name a row")
    return found
