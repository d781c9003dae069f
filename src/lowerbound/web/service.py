"""The answers of the page: for each request the facts of a panel, without anything of HTTP."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from lowerbound.report import codes, density, facts, quality, unusual
from lowerbound.report.rows import flat
from lowerbound.report.subject import Subject
from lowerbound.web import asked
from lowerbound.web.answers import Answers, choices, context, places, seed, sliders, some_rows
from lowerbound.web.refusals import Unanswerable

SIDE = 160  # pixels of a large picture
MOST_PIXELS = 2**24  # of an image that is dropped on the page
FEW = 2000  # rows whose bound is computed before the page asks for more


class Service(Answers):
    """The facts of a subject, as the panels ask for them.

    Parameters
    ----------
    subject : Subject
    history : callable, optional
        The records of training up to now.
    """

    def __init__(self, subject: Subject, history: Callable[[], list[dict[str, Any]]] | None = None) -> None:
        super().__init__("row", history or (lambda: subject.run.history))
        self.subject = subject
        self.kept: dict[str, Any] = {}
        self.answers |= {
            "overview": self.overview, "map": self.map, "colors": self.colors, "rows": self.rows,
            "selection": self.selection, "decode": self.decode, "prior": self.prior, "samples": self.samples,
            "pairs": self.pairs, "reconstruct": self.reconstruct, "traversals": self.traversals,
            "dimensions": self.dimensions, "outliers": self.outliers, "gaps": self.gaps, "row": self.row,
            "estimates": self.estimates,
        }  # fmt: skip

    def overview(self, body: dict[str, Any]) -> dict[str, Any]:
        """The model and the rows."""
        subject = self.subject
        found = facts.overview(subject)
        found["has"]["training"] = bool(self.history())
        if found["has"]["decode"]:
            found |= {**sliders(self.some()), "given": choices(subject)}
        return found

    def some(self) -> Subject:
        """A few of the rows, from all over, whose bound is quickly known."""
        if "some" not in self.kept:
            subject = self.subject
            self.kept["some"] = subject if len(subject.places) <= FEW else subject.with_few(subject.few(FEW))
        return self.kept["some"]

    def map(self, body: dict[str, Any]) -> dict[str, Any]:
        """The places of all rows on a map; without ``dimensions`` the first choice."""
        self._need("map")
        return places(self.subject, self.some(), body)

    def colors(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The colors that the points can have; ``known`` for those that need no model, which are there at once."""
        self._need("map")
        return codes.known_colors(self.subject) if asked.flag(body, "known") else codes.colors_of(self.subject)

    def rows(self, body: dict[str, Any]) -> dict[str, Any]:
        """Some rows, small, for a map."""
        rows = self._rows(body)
        side = asked.whole(body, "side", 8, SIDE, 28)
        return {"shown": codes.thumbnails(self.subject, rows, side), "names": self._names(rows)}

    def row(self, body: dict[str, Any]) -> dict[str, Any]:
        """One row in full: its values, its code, its reconstruction."""
        rows = self._rows(body, most=1)
        subject = self.subject
        found = {"row": int(rows[0]), "name": self._names(rows)[0],
                 "label": quality.labels_of(subject, rows)[0],
                 "shown": subject.display.smaller(SIDE).show(subject.at(rows), given=True)[0]}  # fmt: skip
        return {**found, "code": subject.codes[rows[0]].round(4).tolist()} if subject.has_codes else found

    def selection(self, body: dict[str, Any]) -> dict[str, str]:
        """Some rows as the text of a .csv file: places, labels, codes, and the values of tables."""
        rows = self._rows(body, most=asked.MOST_ROWS_ASKED)
        subject = self.subject
        table = pd.DataFrame({"row": subject.places[rows]})
        if subject.labels is not None:
            table[subject.label] = subject.labels[rows]
        if subject.has_codes:
            for i, column in enumerate(subject.codes[rows].T):
                table[f"z{i}"] = column
        if not subject.display.is_image:
            values = pd.DataFrame(flat(subject.at(rows)), columns=subject.names)
            table = pd.concat([table, values.loc[:, ~values.columns.isin(table.columns)]], axis=1)
        return {"csv": table.to_csv(index=False, float_format="%.9g")}

    def decode(self, body: dict[str, Any]) -> dict[str, Any]:
        """E[x|z] or a draw for some codes; of a table with the densities of its numbers."""
        self._need("decode")
        subject = self.subject
        z, given = asked.codes(body, subject.latent_dim), context(subject, body)
        made = subject.decode(z, given, draw=asked.flag(body, "draw"), seed=seed(body))
        found: dict[str, Any] = {"shown": subject.display.smaller(SIDE).show(made)}
        if asked.flag(body, "densities") and not subject.display.is_image:
            found["densities"] = density.densities(subject, z[0], given)
        return found

    def prior(self, body: dict[str, Any]) -> dict[str, Any]:
        """A code from the prior."""
        self._need("decode")
        import torch

        fitted, given = self.subject.fitted, context(self.subject, body)
        noise = fitted.noise("page", seed(body))
        fitted = fitted.given(self.subject.first_context if given is None else given)
        with torch.no_grad():
            z = fitted.model.given(fitted.coded_context(1)).prior().rsample((1, 1), noise)[0, 0]
        return {"z": z.double().cpu().numpy().round(4).tolist()}

    def samples(self, body: dict[str, Any]) -> dict[str, Any]:
        """New rows."""
        self._need("samples")
        n = asked.whole(body, "n", 1, 100, 24)
        found = quality.samples(self.subject, n, mean=asked.flag(body, "mean"))
        return {"shown": found, "columns": self.subject.names}

    def pairs(self, body: dict[str, Any]) -> dict[str, Any]:
        """Rows beside their reconstructions: best, worst, from all over, or those of a selection."""
        self._need("pairs")
        some = self.some()
        if "rows" not in body:
            return quality.pairs(some, asked.whole(body, "n", 1, 40, 12), 96)
        chosen = self.subject.with_few(self._rows(body)[:40])
        nats = quality.reconstruction_nats(chosen)
        shown = quality.pairs_of(chosen, np.arange(len(chosen.places)), nats, 96)
        return {"selected": shown, "unit": "nats", "columns": chosen.names}

    def reconstruct(self, body: dict[str, Any]) -> dict[str, Any]:
        """A row of the user's own beside its reconstruction: an image in base 64, or values by column."""
        self._need("pairs")
        subject = self.subject
        X = self._dropped_image(body) if subject.display.is_image else self._dropped_row(body)
        made = subject.decode(subject.codes_of(X, subject.first_context))
        found = quality.compared(subject, X, made, 96, {"row": [0], "label": ["yours"], "nats": [None]})
        return {"yours": found, "unit": "", "columns": subject.names}

    def traversals(self, body: dict[str, Any]) -> dict[str, Any]:
        """A path for each active variable, from the middle of the prior or from a row."""
        self._need("decode")
        start = self.subject.codes[self._rows(body, most=1)[0]] if "rows" in body else None
        return codes.traversals(self.some(), start=start, side=96, context=context(self.subject, body))

    def dimensions(self, body: dict[str, Any]) -> dict[str, Any]:
        """KL of the latent variables, and what they change."""
        self._need("decode")
        some = self.some()
        return {"dimensions": codes.dimensions(some), "traversals": codes.traversals(some)}

    def outliers(self, body: dict[str, Any]) -> dict[str, Any]:
        """The most unusual rows."""
        self._need("outliers")
        n = 36 if self.subject.display.is_image else 20
        return unusual.outliers(self.subject, n, side=96)

    def gaps(self, body: dict[str, Any]) -> dict[str, Any]:
        """Several fillings of a row in which some entries are hidden, by their places."""
        self._need("gaps")
        rows = self._rows(body, most=1)
        subject, shape = self.subject, self.subject.fitted.schema.row_shape
        entries = body.get("hidden")
        size = int(np.prod(shape))
        if not isinstance(entries, list) or not all(type(k) is int and 0 <= k < size for k in entries):
            raise Unanswerable(f"hidden must be a list of places from 0 to {size - 1}")
        hidden = np.zeros(size, bool)
        hidden[entries] = True
        return unusual.gaps_of(subject, rows, hidden.reshape(1, *shape), 6, 128, seed=seed(body))

    def estimates(self, body: dict[str, Any]) -> dict[str, Any]:
        """log p(x) and the bound with standard errors, and the bound as a message."""
        self._need("estimates")
        return {"estimates": quality.estimates(self.subject, 200, 200), "bits": quality.bits(self.subject, 200)}

    def _names(self, rows: np.ndarray) -> list[str]:
        return [f"row {place:,}" for place in self.subject.places[rows]]

    def _need(self, what: str) -> None:
        if not facts.can(self.subject)[what]:
            raise Unanswerable("there is nothing to show of this model and these data")

    def _rows(self, body: dict[str, Any], most: int = 2000) -> np.ndarray:
        return some_rows(body, len(self.subject.places), most)

    def _dropped_image(self, body: dict[str, Any]) -> np.ndarray:
        from PIL import Image, UnidentifiedImageError

        schema = self.subject.fitted.schema
        channels, height, width = schema.event_shape
        try:
            image = Image.open(io.BytesIO(base64.b64decode(str(body.get("image", "")), validate=True)))
            if image.width * image.height > MOST_PIXELS:
                raise Unanswerable("the image is too large")
            image = image.convert("RGB" if channels >= 3 else "L").resize((width, height), Image.Resampling.BOX)
        except (binascii.Error, UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise Unanswerable("this is no image that can be read") from error
        pixels = np.asarray(image).reshape(height, width, -1)[..., :channels]
        low, high = self.subject.display.low, self.subject.display.grey
        values = low + pixels / 255 * (high - low)
        event = np.moveaxis(values, -1, 0)[None]
        if len(event[0]) != channels:
            raise Unanswerable(f"the model is of images with {channels} channels")
        dtype = np.dtype(schema.dtype)
        return schema.to_rows(np.rint(event) if dtype.kind in "iu" else event).astype(dtype)

    def _dropped_row(self, body: dict[str, Any]) -> Any:
        values = body.get("values")
        if not isinstance(values, dict) or len(values) > 10_000 or not all(
            value is None or isinstance(value, (str, int, float)) for value in values.values()
        ):  # fmt: skip
            raise Unanswerable("values must be a word or a number for each column")
        subject = self.subject
        if not hasattr(subject.X, "columns"):
            try:
                row = [float(np.nan if values.get(name) in (None, "") else values[name]) for name in subject.names]
            except ValueError as error:
                raise Unanswerable(f"the columns are numbers: {error}") from error
            return np.ma.masked_invalid(np.array([row]).reshape(1, *subject.fitted.schema.row_shape))
        one = subject.at([0]).copy()
        for name in subject.names:
            given = values.get(name)
            empty = given is None or given == ""
            number = pd.to_numeric(given, errors="coerce") if not empty else np.nan
            numeric = pd.api.types.is_numeric_dtype(one[name].dtype)
            one[name] = pd.Series([np.nan if empty else number if numeric else given], index=one.index)
        return one
