"""Unusual sequences and steps, with the reasons; and gaps that are filled several times."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lowerbound.data.frames import as_pandas
from lowerbound.data.sequences import Sequences
from lowerbound.report.rows import word
from lowerbound.report.series_rows import lines, path, shown
from lowerbound.report.series_subject import Piece, SeriesSubject

MARKED = 3  # steps of a sequence that are marked and explained
RANKED_AT_ONCE = 400  # whole sequences that are compared with each other
N_DRAWN, N_FILLED = 30, 5  # fillings that are drawn as lines, and as piano rolls
N_PARTICLES = 32
Facts = dict[str, Any]


def outliers(subject: SeriesSubject, n: int) -> Facts:
    """The sequences, or pieces of long ones, that are least probable at their length; the most unusual steps marked."""
    log_p, pieces = subject.of_pieces(subject.log_p), subject.pieces
    share = np.array([(log_p <= each).mean() for each in log_p])
    how = f"the share of the {len(pieces):,} pieces, of about equal lengths, whose steps are as improbable on average"
    if not subject.in_pieces and len(pieces) <= RANKED_AT_ONCE:
        share = subject.model.p_values(subject.sequences, subject.sequences)
        how = f"the share of these {len(pieces):,} sequences that are as improbable at equal lengths"
    order = np.lexsort((log_p, share))[:n]
    steps = [unusual_steps(subject, pieces[i]) for i in order]
    reasons = reasons_of(subject, [pieces[i] for i in order], steps)
    rows = [{"name": subject.name_of_piece(pieces[i]), "share": round(float(share[i]), 4),
             "log_p": round(float(log_p[i] * (pieces[i].end - pieces[i].first)), 2), "n": pieces[i].end -
             pieces[i].first, "reasons": said, "marks": None, "context": None,
             "shown": shown(subject, subject.steps_of(pieces[i]), first=pieces[i].first, marks=marked)}
            for i, marked, said in zip(order, steps, reasons, strict=True)]  # fmt: skip
    none = "" if reasons_known(subject) else "; which columns surprise isn’t known of such a model"
    return {"rows": rows, "n_ranked": len(pieces), "n_rows": subject.n_rows, "unit": "step",
            "meaning": f"{how}; the {MARKED} least probable steps of each are marked{none}"}  # fmt: skip


def unusual_steps(subject: SeriesSubject, piece: Piece) -> list[int]:
    """The least probable steps of a piece, counted from its first."""
    start = subject.sequences.starts[piece.sequence]
    log_p = subject.log_p[start + piece.first : start + piece.end]
    return np.sort(np.argsort(log_p, kind="stable")[:MARKED]).tolist()


def reasons_known(subject: SeriesSubject) -> bool:
    """The model says which columns of a step surprise."""
    return not (subject.is_chain or subject.is_masked or subject.is_whole)


def reasons_of(subject: SeriesSubject, pieces: list[Piece], steps: list[list[int]]) -> list[list[Facts]]:
    """The column that surprises most of some steps of each piece, and what is expected in its place."""
    if not reasons_known(subject) or not pieces:
        return [[] for _ in pieces]
    starts = subject.sequences.starts
    places = np.array([starts[p.sequence] + p.first + k for p, marked in zip(pieces, steps, strict=True)
                       for k in marked])  # fmt: skip
    found = subject.model.explain(subject.sequences, n_columns=1, places=places).to_dict("records")
    each = iter(found)
    return [[_reason(subject, next(each)) for _ in marked] for marked in steps]


def _reason(subject: SeriesSubject, record: dict[str, Any]) -> Facts:
    column = record["column"]
    name = f"column {column}" if isinstance(column, (int, np.integer)) else str(column)
    numbers = {key: word(record[key]) for key in ("value", "expected", "low", "high")}
    same = numbers["low"] == numbers["high"] == numbers["expected"]
    if same:
        numbers["low"] = numbers["high"] = None
    return {"step": int(record["step"]), "feature": name, **numbers}


def why_no_gaps(subject: SeriesSubject) -> str | None:
    """The sentence that gaps can't be filled; None if they can."""
    if subject.is_masked:
        return (
            "The columns of a step depend on each other in this model (head=\"masked\"), which needs all of them: it "
            "fills no gaps."
        )  # fmt: skip
    return None


def gaps(subject: SeriesSubject, n: int = 4) -> list[Facts]:
    """Some pieces whose middle quarter is hidden, and what the model puts in its place."""
    few = np.linspace(0, len(subject.pieces) - 1, min(n, len(subject.pieces))).round().astype(int)
    return [hidden_middle(subject, subject.pieces[k]) for k in few]


def hidden_middle(subject: SeriesSubject, piece: Piece) -> Facts:
    """A piece with the middle quarter of its steps hidden."""
    length = piece.end - piece.first
    first = piece.first + 3 * length // 8
    return filled(subject, piece, (first, first + max(1, length // 4)), None)


def filled(
    subject: SeriesSubject, piece: Piece, steps: tuple[int, int], columns: list[int] | None, seed: int | None = None
) -> Facts:
    """A piece with some steps hidden, in some columns or in all, and what the model puts in their place.

    Parameters
    ----------
    piece : Piece
        What the model is shown of the sequence.
    steps : (int, int)
        The first step that is hidden, and the one after the last.
    columns : list of int or None
    seed : int, optional
    """
    given = subject.steps_of(piece)
    hidden = np.zeros(given.shape, bool)
    hidden[steps[0] - piece.first : steps[1] - piece.first, slice(None) if columns is None else columns] = True
    with_gap = wiped_out(given, hidden)
    n = N_FILLED if subject.kind == "roll" else N_DRAWN
    found = subject.model.impute(Sequences.of([with_gap]), n, n_particles=N_PARTICLES, random_state=seed)
    draws = [each[0] for each in found.draws()]
    facts: Facts = {"name": subject.name_of_piece(piece), "hidden": list(steps), "ess": float(found.ess[0]),
                    "n_particles": N_PARTICLES}  # fmt: skip
    if subject.kind == "roll":
        made = [shown(subject, draw, first=piece.first, hidden=hidden) for draw in draws]
        return {**facts, "input": shown(subject, given, first=piece.first), "draws": made,
                "seen": shown(subject, with_gap, first=piece.first, hidden=hidden)}  # fmt: skip
    return {**facts, "overlay": fan(subject, piece, given, draws, found.median()[0], hidden)}


def fan(subject: SeriesSubject, piece: Piece, given: Any, draws: list[Any], median: Any, hidden: np.ndarray) -> Facts:
    """The lines of all fillings, their median, and what was there."""
    first, last = np.flatnonzero(hidden.any(1))[[0, -1]]
    inside = slice(max(0, first - 1), min(len(given), last + 2))  # lines begin and end at what was seen
    paths = [path(subject, as_pandas(draw)[inside], "filling", start=inside.start) for draw in draws]
    middle = path(subject, as_pandas(median)[inside], "median", start=inside.start, name="median of the fillings")
    paths += [path(subject, given, "given", name="data"), middle]
    columns = np.flatnonzero(hidden.any(0)).tolist()
    return {**lines(subject, paths, first=piece.first), "hidden": [int(first), int(last) + 1, columns]}


def wiped_out(steps: Any, hidden: np.ndarray) -> Any:
    """Steps with values missing."""
    if isinstance(frame := as_pandas(steps), pd.DataFrame):
        whole = {name: "float64" for name in frame.columns if frame[name].dtype.kind in "iu"}
        flags = {name: object for name in frame.columns if frame[name].dtype.kind == "b"}
        return frame.astype({**whole, **flags}).mask(hidden)
    return np.ma.masked_array(np.ma.getdata(steps), hidden | np.ma.getmaskarray(steps))
