"""The facts of a model of sequences of numbers: continuations, the map of steps, reconstructions, quality."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lowerbound.data.frames import as_pandas
from lowerbound.evaluation.bound import elbo_terms, summarize
from lowerbound.evaluation.estimate import mean_over_rows
from lowerbound.evaluation.steps import step_expectations
from lowerbound.report import codes
from lowerbound.report.quality import in_bits, measure, of_bound
from lowerbound.report.rows import word
from lowerbound.report.series_rows import as_floats, keys_of, lines, numbers, path, shown
from lowerbound.report.series_subject import Piece, SeriesSubject, some_of

LONGEST_PROMPT = 2000  # steps
SHOWN_OF_PROMPT = 60  # its last steps
ROUNDS = 10  # draws of continuations until enough differ
IMPORTANCE = 64
Facts = dict[str, Any]


def names(subject: SeriesSubject, points: np.ndarray) -> list[str]:
    """Points of the map by their sequences and steps."""
    if subject.is_whole:
        return [subject.name_of(subject.step_at(point)[0]) for point in points.tolist()]
    return [f"{subject.name_of(sequence)}, step {step:,}" for sequence, step in map(subject.step_at, points.tolist())]


def thumbnails(subject: SeriesSubject, points: np.ndarray) -> list[list[str | None] | Facts]:
    """The steps of some points: the keys that are on, or the values; of sequences the first steps."""
    steps = subject.sequences.steps
    if subject.kind == "roll":
        return [{"kind": "text", "text": keys_on(numbers(steps[place : place + 1])[0])}
                for place in subject.points[points]]  # fmt: skip
    rows = steps.iloc[subject.points[points]] if hasattr(steps, "iloc") else steps[subject.points[points]]
    values = as_pandas(rows).to_numpy(object) if hasattr(rows, "columns") else numbers(rows).tolist()
    return [[word(value) for value in row] for row in values]


def keys_on(step: np.ndarray) -> str:
    """The columns of a step that are 1."""
    on = np.flatnonzero(step > 0)
    return f"on: {', '.join(map(str, on))}" if len(on) else "nothing is on"


def row(subject: SeriesSubject, i: int) -> Facts:
    """One step in full: what is around it, and its code; or the beginning of a sequence, and the sequence's code."""
    sequence, step = subject.step_at(i)
    piece = next(p for p in subject.pieces if p.sequence == sequence and p.first <= step < p.end)
    marks = [] if subject.is_whole else [step - piece.first]
    around = shown(subject, subject.steps_of(piece), first=piece.first, marks=marks)
    found = {"name": names(subject, np.array([i]))[0], "shown": around, "sequence": sequence, "step": step}
    return {**found, "code": subject.codes[i].round(4).tolist()} if subject.latent_dim else found


def colors_of(subject: SeriesSubject) -> list[Facts]:
    """The colors that the points of a map can have."""
    steps, points = subject.sequences.steps, subject.points
    if subject.is_whole:
        return colors_of_sequences(subject)
    times = np.concatenate([np.arange(length) for length in subject.sequences.lengths])[points]
    found = [codes.color("step", times)]
    if not subject.is_chain:
        kl = subject.terms.kl.sum(1).numpy()[points]
        found = [codes.color("KL of the step, in nats", kl), *found]
    if subject.kind == "roll":
        return [*found, codes.color("columns that are on", np.nansum(numbers(steps), 1)[points])]
    for j, name in enumerate(subject.names[:20]):
        values = steps.iloc[points, j] if hasattr(steps, "iloc") else numbers(steps[:, j : j + 1])[points, 0]
        found.append(codes.color(name, as_floats(values) if subject.fitted.schema.columns is None else values))
    return found


def colors_of_sequences(subject: SeriesSubject) -> list[Facts]:
    """The colors of sequences on a map: their KL, their lengths, and the means of their columns."""
    rows = np.array([subject.step_at(point)[0] for point in range(len(subject.points))])
    lengths, starts = subject.sequences.lengths, subject.sequences.starts
    found = [codes.color("KL, in nats", subject.terms.kl.sum(1).numpy()[rows]), codes.color("steps", lengths[rows])]
    steps, is_frame = subject.sequences.steps, hasattr(subject.sequences.steps, "iloc")
    if subject.kind == "roll":
        on = np.add.reduceat(np.nansum(numbers(steps), 1), starts) / lengths
        return [*found, codes.color("columns that are on, the mean of the steps", on[rows])]
    for j, name in enumerate(subject.names[:20]):
        column = steps.iloc[:, j] if is_frame else numbers(steps[:, j : j + 1])[:, 0]
        if is_frame and not pd.api.types.is_numeric_dtype(column.dtype):
            continue
        values = as_floats(column)
        known = np.add.reduceat(np.isfinite(values), starts, dtype=float)
        means = np.add.reduceat(np.nan_to_num(values), starts) / np.where(known, known, np.nan)
        found.append(codes.color(f"mean of {name}", means[rows]))
    return found


def samples(subject: SeriesSubject, n: int, seed: int | None = None) -> list[Facts]:
    """New sequences of about the mean length of those that were fitted."""
    model = subject.model
    lengths = None if model.length == "end" else max(1, min(2 * SHOWN_OF_PROMPT, round(model.mean_length_)))
    return [{"shown": shown(subject, each[: 2 * SHOWN_OF_PROMPT])}
            for each in model.sample(n, lengths=lengths, random_state=seed)]  # fmt: skip


def continuations(
    subject: SeriesSubject, sequence: int | None, n_prompt: int, n_steps: int, n: int = 5, *, seed: int = 0
) -> Facts:
    """Different sequences that may follow on the first steps of one, the most probable first, each with its log p.

    Parameters
    ----------
    sequence : int or None
        The one that is continued; None for new sequences.
    n_prompt : int
        Steps of it that are given.
    n_steps : int
        Steps that are drawn; ignored by a model that says where sequences end.
    n : int
    seed : int
    """
    before = None
    if sequence is not None and n_prompt:
        before = subject.steps_of(Piece(sequence, max(0, n_prompt - LONGEST_PROMPT), n_prompt))
    drawn, n_draws = different(subject, before, n_steps, n, seed)
    log_p = log_p_after(subject, before, drawn)
    order = np.argsort(-log_p, kind="stable")
    past = None if before is None else before[-SHOWN_OF_PROMPT:]
    first = 0 if past is None else n_prompt - len(past)
    each = [{"shown": beside(subject, past, drawn[i], first), "log_p": round(float(log_p[i]), 2), "n_steps":
             len(drawn[i]), "n_draws": n_draws[i]} for i in order]  # fmt: skip
    discrete = subject.fitted.schema.columns is None and subject.fitted.schema.is_discrete
    found: Facts = {"each": each, "asked": n, "sign": "" if subject.is_exact else "≥", "is_density": not discrete,
                    "unit": "sequence", "prompt": None}  # fmt: skip
    if subject.kind == "series":
        found["overlay"] = overlay(subject, past, [drawn[i] for i in order], first)
    return found


def beside(subject: SeriesSubject, past: Any, drawn: Any, first: int) -> Facts:
    """A continuation behind the last steps of what it follows on."""
    if past is None:
        return shown(subject, drawn)
    return shown(subject, joined(past, drawn), first=first, n_prompt=len(past))


def overlay(subject: SeriesSubject, past: Any, drawn: list[Any], first: int) -> Facts:
    """The lines of all continuations behind what they follow on."""
    n = 0 if past is None else len(past)
    given = [] if past is None else [path(subject, past, "given")]
    each = [path(subject, draw, "draw", start=n, name=str(k + 1)) for k, draw in enumerate(drawn)]
    return {**lines(subject, [*given, *each], first=first), "n_prompt": n}


def joined(before: Any, after: Any) -> Any:
    """The steps of one after those of another."""
    before, after = as_pandas(before), as_pandas(after)
    if isinstance(before, pd.DataFrame):
        after = after if isinstance(after, pd.DataFrame) else pd.DataFrame(after, columns=before.columns)
        return pd.concat([before.reset_index(drop=True), after.reset_index(drop=True)], ignore_index=True)
    return np.ma.concatenate([before, after]) if np.ma.isMaskedArray(before) else np.concatenate([before, after])


def different(subject: SeriesSubject, before: Any, n_steps: int, n: int, seed: int) -> tuple[list[Any], list[int]]:
    """At most ``n`` different draws, and the draw in which each came up first, counted from 1."""
    model, found, first = subject.model, {}, {}
    lengths = None if model.length == "end" else n_steps
    for k in range(ROUNDS):
        each = model.sample(n, lengths=lengths, prompt=before, random_state=seed + k)
        for i, draw in enumerate(each):
            key = as_pandas(draw).to_csv() if hasattr(draw, "columns") else (draw.shape, draw.tobytes())
            found.setdefault(key, draw)
            first.setdefault(key, k * n + i + 1)
        if len(found) >= n:
            break
    return list(found.values())[:n], list(first.values())[:n]


def log_p_after(subject: SeriesSubject, before: Any, drawn: list[Any]) -> np.ndarray:
    """log p of what follows, given what was before, in nats, (n,)."""
    whole = drawn if before is None else [joined(before, draw) for draw in drawn]
    steps = subject.model.score_steps(whole, IMPORTANCE)
    return np.array([each[len(each) - len(draw) :].sum() for each, draw in zip(steps, drawn, strict=True)])


def reconstruction_nats(subject: SeriesSubject) -> np.ndarray:
    """The reconstruction of each piece, in nats a step."""
    if not (subject.is_chain or subject.is_whole):
        return subject.of_pieces(subject.terms.reconstruction.numpy())
    lengths = subject.sequences.lengths
    terms = subject.terms if subject.is_whole else elbo_terms(subject.on())
    return subject.of_pieces(np.repeat(terms.reconstruction.numpy() / lengths, lengths))


def pairs_with(subject: SeriesSubject, points: np.ndarray, n: int) -> list[Facts]:
    """The pieces that have some points of the map, at most ``n``."""
    steps = [subject.step_at(int(point)) for point in points]
    found = [k for k, p in enumerate(subject.pieces) if any(p.sequence == s and p.first <= t < p.end for s, t in steps)]
    return pairs_of(subject, np.array(found[:n]), expectations(subject), reconstruction_nats(subject))


def expectations(subject: SeriesSubject) -> Any:
    """The expectation of every step, in the user's units."""
    return subject.fitted.schema.restore(step_expectations(subject.on()), expected=True)


def pairs(subject: SeriesSubject, n: int) -> Facts:
    """Sequences beside what the model makes of them: those that are rebuilt best, worst, and some from all over."""
    nats = reconstruction_nats(subject)
    order = np.argsort(-nats, kind="stable")
    few = np.linspace(0, len(order) - 1, min(n, len(order))).round().astype(int)
    chosen = {"random": few, "worst": order[::-1][:n], "best": order[:n]}
    made = expectations(subject)
    return {**{name: pairs_of(subject, places, made, nats) for name, places in chosen.items()}, "unit": "nats a step"}


def pairs_of(subject: SeriesSubject, places: np.ndarray, made: Any, nats: np.ndarray) -> list[Facts]:
    """Some pieces, and what is expected of their steps."""
    found = []
    for k in places:
        piece = subject.pieces[k]
        start = subject.sequences.starts[piece.sequence]
        rows = slice(start + piece.first, start + piece.end)
        output = made.iloc[rows] if hasattr(made, "iloc") else made[rows]
        found.append({"name": subject.name_of_piece(piece), "nats": round(float(nats[k]), 3),
                      **both(subject, subject.steps_of(piece), output, piece.first)})  # fmt: skip
    return found


def both(subject: SeriesSubject, given: Any, made: Any, first: int) -> Facts:
    """Steps and what is expected of them: two piano rolls, or two lines in one chart."""
    if subject.kind == "roll":
        return {"input": shown(subject, given, first=first), "output": shown(subject, made, first=first)}
    paths = [path(subject, given, "given", name="input"), path(subject, made, "draw", name="output")]
    return {"overlay": lines(subject, paths, first=first)}


def estimates(subject: SeriesSubject, n_rows: int = 100, n_importance: int = 32) -> list[Facts]:
    """log p(x), the bound and its parts: means over some sequences, each with its standard error."""
    X = subject.sequences
    few = X if len(X) <= n_rows else some_of(X, np.linspace(0, len(X) - 1, n_rows).round().astype(int))
    log_p = subject.model.log_likelihood(few, n_importance)
    one = "sequence" if subject.is_whole else "step"
    how = "exact" if log_p.n_importance is None else (
        f"{log_p.n_importance:,} importance samples a {one}, {log_p.ess:.0f} effective on average"
    )  # fmt: skip
    ends = "" if log_p.length == "given" else ", ends included"
    found = [measure("log p(x)", log_p, f"{how}{ends}", "sequence"),
             {**measure("a step", log_p, f"{log_p.n_steps:,} steps in all", "sequence"), "value": log_p.per_step,
              "error": log_p.per_step_error}]  # fmt: skip
    if subject.latent_dim and not subject.is_chain:
        information = subject.model.mutual_information(few) if subject.is_whole else None
        found += of_bound(summarize([elbo_terms(subject.fitted.on(few, "report"), 4)]), information, "sequence")
    elif subject.latent_dim:
        terms = elbo_terms(subject.fitted.on(few, "report"), 4)
        found.append(measure("ELBO", mean_over_rows(terms.elbo, "lower"), "the evidence lower bound", "sequence"))
    return found


def bits(subject: SeriesSubject) -> Facts | None:
    """The bound as a message of a step, or a sequence with one z, in bits; None for data that are no message."""
    schema = subject.fitted.schema
    discrete = schema.columns is None and schema.is_discrete
    if not (subject.has_rows and subject.latent_dim and discrete) or subject.is_chain or subject.is_masked:
        return None
    return in_bits(summarize([subject.terms]), "sequence" if subject.is_whole else "step")


def of_map(subject: SeriesSubject, dimensions: Any = None) -> Facts:
    """The map of the steps’ codes for a report."""
    axes, every = codes.axes_of(subject), np.arange(len(subject.points))
    place = codes.places_on(subject, axes[0]["dimensions"] if dimensions is None else dimensions)
    few = every[:: max(1, len(every) // 1500)]
    beside_points = {"rows": few.tolist(), "shown": thumbnails(subject, few), "columns": subject.names}
    return {**place, "colors": colors_of(subject), "n": len(every), "choices": axes, "names": names(subject, every),
            "thumbnails": beside_points}  # fmt: skip


def described(subject: SeriesSubject) -> Facts:
    """The steps in words: how many, of which columns, and how sequences end."""
    keys = keys_of(subject) if subject.kind == "roll" else None
    model = subject.model
    return {"is_whole": subject.is_whole, "keys": None if keys is None else [keys.start, keys.stop - 1],
            "ends": model.length == "end", "mean_length": round(float(model.mean_length_)),
            "in_pieces": subject.has_rows and subject.in_pieces,
            "n_steps": len(subject.sequences.steps) if subject.has_rows else 0}  # fmt: skip
