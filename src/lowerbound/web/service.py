"""The answers of the page: for each request the facts of a panel, without anything of HTTP."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from lowerbound.precision import undisturbed_by_contexts
from lowerbound.report import codes, density, facts, quality, unusual
from lowerbound.report.rows import flat
from lowerbound.report.subject import Subject
from lowerbound.web import asked
from lowerbound.web.refusals import Unanswerable

SIDE = 160  # pixels of a large picture
MOST_PIXELS = 2**24  # of an image that is dropped on the page
FEW = 2000  # rows whose bound is computed before the page asks for more


class Service:
    """The facts of a subject, as the panels ask for them.

    Parameters
    ----------
    subject : Subject
    history : callable, optional
        The records of training up to now.
    """

    def __init__(self, subject: Subject, history: Callable[[], list[dict[str, Any]]] | None = None) -> None:
        self.subject = subject
        self.history: Callable[[], list[dict[str, Any]]] = history or (lambda: subject.run.history)
        self.kept: dict[str, Any] = {}
        self.answers: dict[str, Callable[[dict[str, Any]], Any]] = {
            "overview": self.overview, "map": self.map, "colors": self.colors, "rows": self.rows,
            "selection": self.selection, "decode": self.decode, "prior": self.prior, "samples": self.samples,
            "pairs": self.pairs, "reconstruct": self.reconstruct, "traversals": self.traversals,
            "dimensions": self.dimensions, "outliers": self.outliers, "gaps": self.gaps, "row": self.row,
            "training": self.training, "estimates": self.estimates,
        }  # fmt: skip

    @undisturbed_by_contexts
    def answer(self, name: str, body: dict[str, Any]) -> Any:
        """The facts that a request asks for; raises ``Unanswerable``."""
        return facts.plain(self.answers[name](body))

    def overview(self, body: dict[str, Any]) -> dict[str, Any]:
        """The model and the rows."""
        subject = self.subject
        found = facts.overview(subject)
        found["has"]["training"] = bool(self.history())
        if found["has"]["decode"]:
            some = self.some()
            found |= {"order": some.order.tolist(), "active": some.active.tolist(),
                      "dimension_names": [codes.name_of(some, i) for i in range(len(some.order))]}  # fmt: skip
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
        some, d = self.some(), self.subject.model.latent_dim_
        axes = codes.axes_of(some)
        chosen = axes[0]["dimensions"] if "dimensions" not in body else asked.dimensions(body, d)
        found = codes.places_on(self.subject, chosen)
        if chosen != "pca":
            found["axes"] = [*(codes.name_of(some, int(i)) for i in chosen), *[""] * (len(chosen) == 1)]
        return {**found, "dimensions": chosen, "choices": axes, "n": len(self.subject.codes)}

    def colors(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The colors that the points can have."""
        self._need("map")
        return codes.colors_of(self.subject)

    def rows(self, body: dict[str, Any]) -> dict[str, Any]:
        """Some rows, small, for a map."""
        rows = self._rows(body)
        side = asked.whole(body, "side", 8, SIDE, 28)
        return {"shown": codes.thumbnails(self.subject, rows, side), "places": self.subject.places[rows].tolist()}

    def row(self, body: dict[str, Any]) -> dict[str, Any]:
        """One row in full: its values, its code, its reconstruction."""
        rows = self._rows(body, most=1)
        subject = self.subject
        found = {"row": int(rows[0]), "place": int(subject.places[rows[0]]),
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
        z = asked.codes(body, subject.model.latent_dim_)
        made = subject.decode(z, draw=asked.flag(body, "draw"), seed=asked.whole(body, "seed", 0, 2**31 - 1, 0))
        found: dict[str, Any] = {"shown": subject.display.smaller(SIDE).show(made)}
        if asked.flag(body, "densities") and not subject.display.is_image:
            found["densities"] = density.densities(subject, z[0])
        return found

    def prior(self, body: dict[str, Any]) -> dict[str, Any]:
        """A code from the prior."""
        self._need("decode")
        import torch

        fitted = self.subject.fitted
        noise = fitted.noise("page", asked.whole(body, "seed", 0, 2**31 - 1, 0))
        fitted = fitted.given(self.subject.first_context)
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
        return codes.traversals(self.some(), start=start, side=96)

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
        seed = asked.whole(body, "seed", 0, 2**31 - 1, 0)
        return unusual.gaps_of(subject, rows, hidden.reshape(1, *shape), 6, 128, seed=seed)

    def training(self, body: dict[str, Any]) -> dict[str, Any]:
        """The curves of training up to now."""
        return {"training": quality.training(self.history())}

    def estimates(self, body: dict[str, Any]) -> dict[str, Any]:
        """log p(x) and the bound with standard errors, and the bound as a message."""
        self._need("estimates")
        return {"estimates": quality.estimates(self.subject, 200, 200), "bits": quality.bits(self.subject, 200)}

    def _need(self, what: str) -> None:
        if not facts.can(self.subject)[what]:
            raise Unanswerable("there is nothing to show of this model and these data")

    def _rows(self, body: dict[str, Any], most: int = 2000) -> np.ndarray:
        found = asked.row_numbers(body, len(self.subject.places), most)
        if not len(found):
            raise Unanswerable("name a row")
        return found

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
