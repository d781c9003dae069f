"""The answers of the page of a model of sequences or of texts."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from lowerbound.report import codes, sequence_facts, series_facts, series_unusual, text_facts
from lowerbound.report.series_subject import Piece, SeriesSubject
from lowerbound.report.text_subject import TextSubject
from lowerbound.web import asked
from lowerbound.web.answers import Answers, Body, History, choices, context, places, seed, sliders, some_rows
from lowerbound.web.refusals import Unanswerable

FEW = 1000  # texts whose bound is computed before the page asks for more
LONGEST_TEXT = 20_000  # characters that are typed
MOST_DRAWN = 500  # steps
N_CONTINUATIONS = 5
AROUND = 40  # steps before and after those that are hidden, of which the model is told


class SequenceService(Answers):
    """The facts of sequences, as the panels ask for them.

    Parameters
    ----------
    subject : TextSubject or SeriesSubject
    history : callable, optional
        The records of training up to now.
    """

    def __init__(self, subject: TextSubject | SeriesSubject, history: History | None = None) -> None:
        super().__init__("sequence" if subject is None else subject.one, history or (lambda: subject.run.history))
        self.subject = subject
        self.answers |= {
            "overview": self.overview, "map": self.map, "colors": self.colors, "rows": self.rows, "row": self.row,
            "selection": self.selection, "decode": self.decode, "samples": self.samples, "continue": self.go_on,
            "pairs": self.pairs, "reconstruct": self.reconstruct, "traversals": self.traversals,
            "dimensions": self.dimensions, "outliers": self.outliers, "gaps": self.gaps, "estimates": self.estimates,
        }  # fmt: skip

    @property
    def facts(self) -> Any:
        """The module that has the facts of such data."""
        return sequence_facts.facts_of(self.subject)

    @cached_property
    def some(self) -> TextSubject | SeriesSubject:
        """A few of the texts, from all over, whose bound is quickly known; of sequences all."""
        subject = self.subject
        if isinstance(subject, TextSubject) and len(subject.places) > FEW:
            return subject.with_few(subject.few(FEW))
        return subject

    def overview(self, body: Body) -> Body:
        """The model and the data."""
        found = sequence_facts.overview(self.subject)
        found["has"]["training"] = bool(self.history())
        found["given"] = choices(self.subject)
        if isinstance(self.subject, SeriesSubject) and self.subject.has_rows:
            lengths = self.subject.sequences.lengths.tolist()
            found |= {"lengths": lengths, "names": [self.subject.name_of(i) for i in range(len(lengths))]}
        if self.subject.has_rows and self.subject.latent_dim:
            found |= sliders(self.some)
        return found

    def map(self, body: Body) -> Body:
        """The places of all texts, or of steps, on a map."""
        self._need("map")
        return places(self.subject, self.some, body)

    def colors(self, body: Body) -> list[Body]:
        """The colors that the points can have."""
        self._need("map")
        return self.facts.colors_of(self.subject)

    def rows(self, body: Body) -> Body:
        """Some texts or steps, small, for a map."""
        rows = self._points(body)
        return {"shown": self.facts.thumbnails(self.subject, rows), "names": self.facts.names(self.subject, rows)}

    def row(self, body: Body) -> Body:
        """One text, or the sequence around a step."""
        return self.facts.row(self.subject, int(self._points(body, most=1)[0]))

    def selection(self, body: Body) -> dict[str, str]:
        """Some texts or steps as the text of a .csv file, with their codes."""
        self._need("map")
        rows, subject = self._points(body, most=asked.MOST_ROWS_ASKED), self.subject
        if isinstance(subject, TextSubject):
            table = pd.DataFrame({"row": subject.places[rows], "text": subject.at(rows)})
        else:
            each = [subject.step_at(int(i)) for i in rows]
            table = pd.DataFrame({"sequence": [subject.name_of(s) for s, _ in each]})
            if not subject.is_whole:
                table["step"] = [t for _, t in each]
        for i, column in enumerate(subject.codes[rows].T):
            table[f"z{i}"] = column
        return {"csv": table.to_csv(index=False, float_format="%.9g")}

    def decode(self, body: Body) -> Body:
        """The text of a code."""
        self._need("decode")
        subject = self._texts()
        z = asked.codes(body, subject.latent_dim, 8)
        made = subject.written(z, context(subject, body), draw=asked.flag(body, "draw"), seed=seed(body))
        return {"shown": [text_facts.shown(text) for text in made]}

    def samples(self, body: Body) -> Body:
        """New sequences or texts."""
        return {"sequences": self.facts.samples(self.subject, asked.whole(body, "n", 1, 40, 12))}

    def go_on(self, body: Body) -> Body:
        """Five different continuations of the beginning of a text, or of the first steps of a sequence."""
        if isinstance(self.subject, TextSubject):
            prompt = body.get("prompt", "")
            if not isinstance(prompt, str) or len(prompt) > LONGEST_TEXT:
                raise Unanswerable(f"the beginning is a text of at most {LONGEST_TEXT:,} characters")
            return text_facts.continuations(
                self.subject, prompt, N_CONTINUATIONS, context=context(self.subject, body), seed=seed(body),
                temperature=_number(body, "temperature", 0.0, 10.0), top_p=_number(body, "top_p", 0.01, 1.0),
            )  # fmt: skip
        subject, sequence, n_prompt = self.subject, None, 0
        if body.get("sequence") is not None:
            sequence = asked.whole(body, "sequence", 0, self._n_sequences() - 1, 0)
            n_prompt = asked.whole(body, "n_prompt", 0, int(subject.sequences.lengths[sequence]), 1)
        n_steps = asked.whole(body, "n_steps", 1, MOST_DRAWN, 20)
        return series_facts.continuations(subject, sequence, n_prompt, n_steps, N_CONTINUATIONS, seed=seed(body))

    def pairs(self, body: Body) -> Body:
        """Sequences beside their reconstructions: best, worst, from all over, or those of a selection."""
        self._need("pairs")
        n = asked.whole(body, "n", 1, 40, 10 if isinstance(self.subject, TextSubject) else 6)
        if "rows" not in body:
            return self.facts.pairs(self.subject, n)
        rows = self._points(body)
        if isinstance(self.subject, TextSubject):
            return {"selected": text_facts.pairs_of(self.subject, rows[:40]), "unit": "nats a token"}
        return {"selected": series_facts.pairs_with(self.subject, rows, n), "unit": "nats a step"}

    def reconstruct(self, body: Body) -> Body:
        """A text of the user's own beside what is written from its code."""
        self._need("pairs")
        subject, text = self._texts(), body.get("text")
        if not isinstance(text, str) or len(text) > LONGEST_TEXT:
            raise Unanswerable(f"a text has at most {LONGEST_TEXT:,} characters")
        given = context(subject, body)
        given = subject.first_context if given is None else given
        [made] = subject.model.reconstruct([text], context=given)
        return {"yours": [text_facts.compared("yours", text, made, None)], "unit": ""}

    def traversals(self, body: Body) -> Body:
        """The texts along a path for each active variable."""
        self._need("traversals")
        subject = self._texts()
        start = subject.codes[self._points(body, most=1)[0]] if "rows" in body else None
        return text_facts.traversals(subject, start=start, context=context(subject, body))

    def dimensions(self, body: Body) -> Body:
        """KL of the latent variables."""
        self._need("dimensions")
        return {"dimensions": codes.dimensions(self.some), "traversals": None}

    def outliers(self, body: Body) -> Body:
        """The most unusual sequences or texts."""
        self._need("outliers")
        return sequence_facts.unusual(self.subject, 20 if isinstance(self.subject, TextSubject) else 12)

    def gaps(self, body: Body) -> Body:
        """Fillings of a range of steps of a sequence, in one column or in all; without a range the steps alone."""
        self._need("gaps")
        subject = self.subject
        if isinstance(subject, TextSubject):
            raise Unanswerable("texts have no gaps")
        sequence = asked.whole(body, "sequence", 0, self._n_sequences() - 1, 0)
        length = int(subject.sequences.lengths[sequence])
        first = asked.whole(body, "first", 0, length - 1, 0)
        end = asked.whole(body, "end", first + 1, min(length, first + MOST_DRAWN), first + 1)
        column = asked.whole(body, "column", -1, len(subject.names) - 1, -1)
        piece = Piece(sequence, max(0, first - AROUND), min(length, end + AROUND))
        return series_unusual.filled(subject, piece, (first, end), None if column < 0 else [column], seed(body))

    def estimates(self, body: Body) -> Body:
        """log p(x) and the bound with standard errors, and the bound as a message."""
        self._need("estimates")
        return {"estimates": self.facts.estimates(self.subject), "bits": self.facts.bits(self.subject)}

    def _need(self, what: str) -> None:
        without = sequence_facts.lacks(self.subject)
        if not sequence_facts.can(self.subject, without)[what]:
            raise Unanswerable(without.get(what, "there is nothing to show of this model and these data"))

    def _points(self, body: Body, most: int = 2000) -> np.ndarray:
        return some_rows(body, sequence_facts.n_points(self.subject), most)

    def _n_sequences(self) -> int:
        if not self.subject.has_rows:
            raise Unanswerable("there are no sequences to go on from")
        return len(self.subject.places)

    def _texts(self) -> TextSubject:
        if not isinstance(self.subject, TextSubject):
            raise Unanswerable("that is for models of texts")
        return self.subject


def _number(body: Body, name: str, low: float, high: float) -> float:
    value = body.get(name, 1.0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise Unanswerable(f"{name} must be a number")
    if not low <= value <= high:
        raise Unanswerable(f"{name} must be from {low:g} to {high:g}")
    return float(value)
