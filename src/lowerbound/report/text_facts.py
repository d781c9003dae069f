"""The facts of a model of texts: continuations, the map, reconstructions, paths, unusual texts, quality."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from lowerbound.evaluation.bound import elbo_terms, summarize
from lowerbound.evaluation.texts import token_scores
from lowerbound.report import codes
from lowerbound.report.quality import in_bits, measure, of_bound
from lowerbound.report.rows import word
from lowerbound.report.text_subject import TextSubject
from lowerbound.tasks.traverse import along_each

LONGEST_SHOWN = 2000  # characters of a text
ALIKE = 100  # texts of about the same length, of which the share is counted that are as improbable
RANKED = 1000  # texts that are ranked
IMPORTANCE = 64
Facts = dict[str, Any]


def shown(text: str) -> Facts:
    """A text as a page shows it."""
    cut = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]} …"
    return {"kind": "text", "text": cut}


def names(subject: TextSubject, rows: np.ndarray) -> list[str]:
    """The texts by their places in the data."""
    return [f"text {place:,}" for place in subject.places[rows]]


def thumbnails(subject: TextSubject, rows: np.ndarray) -> list[Facts]:
    """The texts beside points of the map, their beginnings."""
    return [shown(text if len(text) <= 200 else f"{text[:200]} …") for text in subject.at(rows)]


def row(subject: TextSubject, i: int) -> Facts:
    """One text in full, its context and its code."""
    rows = np.array([i])
    found = {"name": names(subject, rows)[0], "shown": shown(subject.at(rows)[0]), "context": said(subject, rows)[0]}
    return {**found, "code": subject.codes[i].round(4).tolist()} if subject.latent_dim else found


def said(subject: TextSubject, rows: np.ndarray) -> list[str | None]:
    """The contexts of some texts in words."""
    if subject.context is None:
        return [None] * len(rows)
    each = subject.context_at(rows)
    if subject.is_given_text:
        return list(each)
    return [", ".join(f"{name} {word(value)}" for name, value in record.items()) for record in each.to_dict("records")]


def colors_of(subject: TextSubject) -> list[Facts]:
    """The colors that the points of a map can have."""
    assert subject.X is not None
    found = [codes.color("lower bound of log p(x), in nats a token", subject.terms.elbo.numpy() / subject.n_tokens),
             codes.color("KL, in nats", subject.terms.kl.sum(1).numpy()),
             codes.color("characters", [len(text) for text in subject.X])]  # fmt: skip
    if subject.context is not None and not subject.is_given_text:
        frame = subject.context_at(np.arange(len(subject.X)))
        found = [*(codes.color(str(name), frame[name]) for name in frame.columns), *found]
    return found


def samples(subject: TextSubject, n: int) -> list[Facts]:
    """New texts; of a model given a context one after each of some contexts."""
    if subject.fitted.context_schema is None:
        return [{"shown": shown(text)} for text in subject.model.sample(n)]
    rows = subject.few(n)
    made = [subject.model.sample(1, context=subject.context_at(rows[i : i + 1]))[0] for i in range(len(rows))]
    return [{"shown": shown(text), "context": context} for text, context in zip(made, said(subject, rows), strict=True)]


def continuations(
    subject: TextSubject, prompt: str, n: int = 5, *, context: Any = None, temperature: float = 1.0,
    top_p: float = 1.0, seed: int = 0,
) -> Facts:  # fmt: skip
    """Different texts that may follow on a beginning, the most probable first, each with its log p.

    Parameters
    ----------
    prompt : str
    n : int
    context : array-like, optional
        Of one row; that of the first text if None.
    temperature, top_p : float
        As in ``SequenceVAE.sample``.
    seed : int
    """
    context = subject.first_context if context is None else context
    drawn = subject.model.sample(
        n, prompt=prompt, context=context, distinct=True, temperature=temperature, top_p=top_p, random_state=seed
    )
    each = [{"shown": shown(one.text), "log_p": round(one.log_p, 3), "p": in_digits(math.exp(one.log_p)),
             "n_draws": one.n_draws} for one in drawn]  # fmt: skip
    exact = subject.latent_dim == 0
    return {"prompt": shown(prompt), "each": each, "asked": n, "sign": "" if exact else "≥", "is_density": False,
            "unit": "text", "context": context[0] if subject.is_given_text else None}  # fmt: skip


def in_digits(p: float) -> str:
    """A probability with two digits."""
    if p >= 1e-4 or p == 0:
        return f"{p:.2g}"
    digits, power = f"{p:.1e}".split("e")
    return f"{digits} · 10{str(int(power)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def pairs(subject: TextSubject, n: int) -> Facts:
    """Texts beside what is written from their codes: those that are rebuilt best, worst, and some from all over."""
    nats = subject.terms.reconstruction.numpy() / subject.n_tokens
    order = np.argsort(-nats, kind="stable")
    chosen = {"random": subject.few(n), "worst": order[::-1][:n], "best": order[:n]}
    return {**{name: pairs_of(subject, rows) for name, rows in chosen.items()}, "unit": "nats a token"}


def pairs_of(subject: TextSubject, rows: np.ndarray) -> list[Facts]:
    """Some texts, and the most probable tokens at their posterior means."""
    made = subject.written(subject.codes[rows], subject.context_at(rows))
    nats = subject.terms.reconstruction.numpy()[rows] / subject.n_tokens[rows]
    return [compared(*each) for each in zip(names(subject, rows), subject.at(rows), made, nats, strict=True)]


def compared(name: str, text: str, made: str, nats: float | None) -> Facts:
    """A text beside what was written from its code."""
    return {"name": name, "input": shown(text), "output": shown(made), "same": text == made,
            "nats": None if nats is None else round(float(nats), 3)}  # fmt: skip


def traversals(
    subject: TextSubject, steps: int = 7, most: int = 8, start: np.ndarray | None = None, context: Any = None
) -> Facts:
    """The most probable text of each place, as each latent variable runs through the prior and the others stay."""
    context = subject.first_context if context is None else context
    t, values = codes.path_values(subject, steps, context)
    chosen = subject.order[: min(most, max(1, int(subject.active.sum())))]
    begin = values[0] if start is None else np.asarray(start, np.float64)
    along = along_each(torch.from_numpy(begin), torch.from_numpy(values[1:])).numpy()[chosen]
    written = subject.written(along.reshape(-1, along.shape[-1]), context)
    paths = [{"dimension": int(d), "name": codes.name_of(subject, int(d)),
              "texts": [shown(text) for text in written[k * steps : (k + 1) * steps]]}
             for k, d in enumerate(chosen)]  # fmt: skip
    return {"deviations": t.round(3).tolist(), "paths": paths,
            "from": "the middle of the prior" if start is None else "the chosen text"}  # fmt: skip


def outliers(subject: TextSubject, n: int) -> Facts:
    """The texts that are least probable among those of about their length, with the tokens that surprise."""
    few = subject.with_few(subject.few(RANKED))
    every = np.arange(len(few.places))
    log_p = few.fitted_to(every).score_samples(few.X, IMPORTANCE)
    share, off = among_like_lengths(log_p, few.n_tokens)
    order = np.lexsort((off, share))[:n]
    marks = [marked(few, int(i)) for i in order]
    rows = [{"name": name, "shown": shown(text), "marks": mark, "context": context, "log_p": round(float(log_p[i]), 2),
             "share": round(float(share[i]), 4), "n": int(few.n_tokens[i]), "reasons": []}
            for i, name, text, mark, context in zip(
                order, names(few, order), few.at(order), marks, said(few, order), strict=True)]  # fmt: skip
    given = "" if few.latent_dim == 0 else " and the text’s own code"
    return {"rows": rows, "n_ranked": len(every), "n_rows": subject.n_rows, "unit": "token",
            "meaning": f"the share of the {min(ALIKE, len(every))} texts nearest in length that are as improbable a "
            f"token; a token is marked the darker, the more it surprises given those before it{given}"}  # fmt: skip


def among_like_lengths(log_p: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each text the share of those nearest in length that are as improbable, and how far it is from their median.

    They are compared by log p a token, as their lengths differ a little. The distance is in interquartile ranges; below
    zero for less probable ones.
    """
    log_p, order = log_p / lengths, np.argsort(lengths, kind="stable")
    n, share, off = len(order), np.empty(len(order)), np.empty(len(order))
    wide = min(ALIKE, n)
    for k, i in enumerate(order):
        first = min(max(0, k - wide // 2), n - wide)
        theirs = log_p[order[first : first + wide]]
        low, middle, high = np.quantile(theirs, [0.25, 0.5, 0.75])
        share[i], off[i] = (theirs <= log_p[i]).mean(), (log_p[i] - middle) / max(high - low, 1e-9)
    return share, off


def marked(subject: TextSubject, i: int) -> list[list[Any]] | None:
    """The tokens of a text and −log p of each in nats, the end last; None where single tokens are no text."""
    rows = np.array([i])
    [text] = subject.at(rows)
    vocabulary = subject.fitted.schema.vocabulary
    tokens = [vocabulary.decode([token]) for token in vocabulary.encode([text])[0]]
    if "".join(tokens) != text or len(text) > LONGEST_SHOWN:
        return None
    nats = -token_scores(subject.fitted_to(rows).exactly().on([text]))[0].numpy()
    return [[token, round(float(each), 2)] for token, each in zip([*tokens, "⏎"], nats, strict=True)]


def estimates(subject: TextSubject, n_rows: int = 300, n_importance: int = 100) -> list[Facts]:
    """log p(x), the bound and its parts: means over some texts, each with its standard error."""
    rows = subject.few(n_rows)
    texts, context, model = subject.at(rows), subject.context_at(rows), subject.model
    log_p = model.log_likelihood(texts, n_importance, context=context)
    how = "exact" if log_p.n_importance is None else (
        f"{log_p.n_importance:,} importance samples a text, {log_p.ess:.0f} effective on average"
    )  # fmt: skip
    found = [measure("log p(x)", log_p, how, "text"),
             {**measure("a token", log_p, f"perplexity {log_p.perplexity:.4g}", "text"), "value": log_p.per_token,
              "error": log_p.per_token_error},
             {"name": "bits a byte", "sign": "" if log_p.n_importance is None else "≤", "value": log_p.bits_per_byte,
              "error": None, "unit": "bits", "how": "ends included; it compares models of different tokens",
              "n": len(rows), "one": "text"}]  # fmt: skip
    if subject.latent_dim:
        summary = summarize([elbo_terms(subject.fitted_to(rows).on(texts, "report"), 4)])
        found += of_bound(summary, model.mutual_information(texts, context=context), "text")
    return found


def bits(subject: TextSubject, n_rows: int = 300) -> Facts | None:
    """The bound as a message of a text, in bits; None without texts or latent variables."""
    if not (subject.has_rows and subject.latent_dim):
        return None
    rows = subject.few(n_rows)
    return in_bits(summarize([elbo_terms(subject.fitted_to(rows).on(subject.at(rows), "report"), 4)]), "text")


def of_map(subject: TextSubject, dimensions: Any = None) -> Facts:
    """The map of the texts’ codes for a report."""
    axes = codes.axes_of(subject)
    every = np.arange(len(subject.places))
    place = codes.places_on(subject, axes[0]["dimensions"] if dimensions is None else dimensions)
    return {**place, "colors": colors_of(subject), "n": len(every), "choices": axes, "names": names(subject, every),
            "thumbnails": {"rows": every.tolist(), "shown": thumbnails(subject, every), "columns": []}}  # fmt: skip
