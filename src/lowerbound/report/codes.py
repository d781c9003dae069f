"""Latent variables: the map of codes, traversals, and what each variable tells of each column or pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lowerbound.estimators.autoencoder import Autoencoder
from lowerbound.report.coded import Coded
from lowerbound.report.rows import as_png, flat, floats, is_number, word
from lowerbound.report.subject import Subject
from lowerbound.tasks.traverse import along_each, prior_quantiles

FARTHEST = 2.5  # deviations of the prior on a path
FEW_CLASSES = 20  # labels with a color each; more numbers are shown on a scale
MAPPED_SIDE = 28  # pixels of a thumbnail
FEW = 0.095  # nats, below which a third decimal is shown


def axes_of(subject: Coded) -> list[dict[str, Any]]:
    """The pairs of axes that a map can have by default: two latent variables, or two principal components."""
    d = subject.latent_dim
    first = subject.order[:2].tolist() if d > 1 else [0]
    choices = [{"name": "the two latent variables that tell most" if subject.kl is not None and d > 2 else "z",
                "dimensions": sorted(first)}]  # fmt: skip
    return [*choices, {"name": "principal components of the codes", "dimensions": "pca"}] if d > 2 else choices


def places_on(subject: Coded, dimensions: Any) -> dict[str, Any]:
    """The place of each row on a map: by one or two latent variables, or by principal components.

    ``basis`` and ``center`` are the way back, from a place to a code: center + place · basis.
    """
    codes = subject.codes
    center, basis, names = np.zeros(codes.shape[1]), np.eye(codes.shape[1]), []
    if dimensions == "pca":
        center = codes.mean(0)
        basis = np.linalg.svd(codes - center, full_matrices=False)[2][:2]
        names = ["first principal component", "second principal component"]
    else:
        center = np.zeros(codes.shape[1])
        basis = basis[list(dimensions)]
        names = [name_of(subject, i) for i in dimensions]
    at = (codes - center) @ basis.T
    if at.shape[1] == 1:  # one latent variable: the other axis only sets points apart
        jitter = np.random.default_rng(0).uniform(-1, 1, len(at))
        at, names = np.column_stack([at[:, 0], jitter]), [*names, ""]
    return {"x": floats(at[:, 0]), "y": floats(at[:, 1]), "axes": names, "basis": basis.tolist(),
            "center": center.tolist(), "is_prior": dimensions != "pca" and subject.has_standard_prior}  # fmt: skip


def name_of(subject: Coded, dimension: int) -> str:
    """A latent variable with its KL."""
    if subject.kl is None:
        return f"z{subscript(dimension)}"
    kl = subject.kl[dimension]
    return f"z{subscript(dimension)} (KL {kl:.{3 if kl < FEW else 2}f} nats)"


def subscript(number: int) -> str:
    """A whole number in small digits below the line."""
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def colors_of(subject: Subject) -> list[dict[str, Any]]:
    """The colors that the points of a map can have: the label, KL, the bound, and columns of a table."""
    known, has_label = known_colors(subject), subject.labels is not None
    return [*known[:has_label], *bound_colors(subject), *known[has_label:]]


def known_colors(subject: Subject) -> list[dict[str, Any]]:
    """The colors of a map that need no model: the label, and columns of a table."""
    found = [] if subject.labels is None else [color(subject.label, subject.labels)]
    if not subject.display.is_image:
        columns = subject.X if hasattr(subject.X, "iloc") else None
        for j, name in enumerate(subject.names[:40]):
            found.append(color(name, columns.iloc[:, j] if columns is not None else _column(subject.X, j)))
    return found


def bound_colors(subject: Subject) -> list[dict[str, Any]]:
    """The colors of a map by KL and the bound."""
    if not subject.has_bound:
        return []
    return [color("KL, in nats", subject.terms.kl.sum(1).numpy()),
            color("lower bound of log p(x), in nats", subject.terms.elbo.numpy())]  # fmt: skip


def _column(X: Any, j: int) -> np.ndarray:
    return np.ma.filled(np.ma.asarray(X).reshape(len(X), -1)[:, j].astype(float), np.nan)


def color(name: str, values: Any) -> dict[str, Any]:
    """Numbers on a scale, or a few classes by their places; rare classes are together."""
    array = np.asarray(values, object)
    known = [value for value in array.tolist() if word(value) is not None]
    numbers = all(is_number(value) for value in known)
    words = np.array([word(value) or "missing" for value in array.tolist()])
    classes, which, counts = np.unique(words, return_inverse=True, return_counts=True)
    whole = numbers and all(float(value).is_integer() for value in known)
    if numbers and not (whole and len(classes) <= FEW_CLASSES):
        shown = np.array([float(v) if word(v) is not None else np.nan for v in array.tolist()])
        low, high = np.nanquantile(shown, [0.01, 0.99]).tolist() if known else (0.0, 1.0)
        return {"name": name, "kind": "numbers", "values": floats(shown), "low": low, "high": high}
    common = np.sort(np.argsort(-counts, kind="stable")[: FEW_CLASSES - (len(classes) > FEW_CLASSES)])
    place = np.full(len(classes), len(common))
    place[common] = np.arange(len(common))
    others = ["others"] if len(classes) > len(common) else []
    names = [*classes[common].tolist(), *others]
    if whole and not others:  # in their order as numbers
        order = np.argsort([float(n.replace("−", "-")) if n != "missing" else np.inf for n in names])
        place, names = np.argsort(order)[place], [names[i] for i in order]
    return {"name": name, "kind": "classes", "values": floats(place[which]), "classes": names}


def map_of(subject: Subject, dimensions: Any = None) -> dict[str, Any]:
    """The map of the rows' codes."""
    axes = axes_of(subject)
    return {**places_on(subject, axes[0]["dimensions"] if dimensions is None else dimensions), "colors":
            colors_of(subject), "n": len(subject.codes), "choices": axes}  # fmt: skip


def path_values(subject: Coded, steps: int, context: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Deviations of the prior (m,), and what each latent variable is there, (m, D); the first row is the middle."""
    t = np.linspace(-FARTHEST, FARTHEST, steps)
    if isinstance(subject.model, Autoencoder):
        codes = subject.codes if subject.has_rows else np.array([[-1.0], [1.0]]).repeat(subject.latent_dim, 1)
        return t, codes.mean(0) + np.concatenate([[0], t])[:, None] * codes.std(0)
    fitted = subject.fitted.given(subject.first_context if context is None else context)
    deviations = torch.from_numpy(np.concatenate([[0.0], t]))
    found = prior_quantiles(fitted.model, deviations, fitted.noise("traverse"), fitted.coded_context(1))
    return t, found.double().numpy()


def traversals(
    subject: Subject, steps: int = 11, most: int = 12, start: np.ndarray | None = None, side: int = 64,
    context: Any = None,
) -> dict[str, Any]:  # fmt: skip
    """E[x|z] as each latent variable runs through the prior and the others stay, of those that tell most."""
    t, values = path_values(subject, steps, context)
    chosen = subject.order[: min(most, max(1, int(subject.active.sum())))]
    begin = values[0] if start is None else np.asarray(start, np.float64)
    codes = along_each(torch.from_numpy(begin), torch.from_numpy(values[1:])).numpy()[chosen]
    rows = subject.decode(codes.reshape(-1, codes.shape[-1]), context)
    shown = subject.display.smaller(side).show(rows)
    influence = influences(subject, rows, steps)
    paths = [
        {"dimension": int(d), "name": name_of(subject, int(d)), "rows": shown[k * steps : (k + 1) * steps],
         "values": codes[k, :, d].round(3).tolist(), "influence": influence[k]}
        for k, d in enumerate(chosen)
    ]  # fmt: skip
    numbers = [] if subject.display.is_image else numbers_on(subject, rows, len(chosen), steps)
    return {"deviations": t.round(3).tolist(), "paths": paths, "numbers": numbers, "columns": subject.names,
            "from": "the middle of the prior" if start is None else "the chosen row"}  # fmt: skip


def numbers_on(subject: Subject, rows: Any, n_paths: int, steps: int) -> list[list[list[float | None] | None]]:
    """The columns of numbers along each path, for small curves; None for columns of other kinds."""
    values = _as_columns(rows)
    found: list[list[list[float | None] | None]] = [[] for _ in range(n_paths)]
    for column in values:
        numbers = _numbers(column)
        for k in range(n_paths):
            part = None if numbers is None else numbers[k * steps : (k + 1) * steps]
            found[k].append(None if part is None else [float(f"{v:.5g}") if np.isfinite(v) else None for v in part])
    return found


def _as_columns(rows: Any) -> list[list[Any]]:
    return [list(column) for column in zip(*flat(rows), strict=True)]


def _numbers(column: list[Any]) -> np.ndarray | None:
    known = [value for value in column if word(value) is not None]
    if not known or not all(is_number(value) for value in known):
        return None
    return np.array([float(value) if word(value) is not None else np.nan for value in column])


def influences(subject: Subject, rows: Any, steps: int) -> list[Any]:
    """The changes along each path: of images a picture of the deviation of each pixel along it; of columns a share.

    The share of a column of numbers is their deviation along the path in deviations of the data (or, without data, of
    all paths together); of other columns the part of the path on which they have another than their most frequent
    value.
    """
    if subject.display.is_image:
        pixels = subject.display.pixels(rows).astype(np.float64)
        pixels = pixels.reshape(-1, steps, *pixels.shape[1:]).std(1)
        pixels = pixels.mean(-1) if pixels.ndim == 4 else pixels
        brightest = np.maximum(pixels.max((1, 2), keepdims=True), 8.0)  # a scale for each, but faint ones stay faint
        return [as_png(np.rint(255 - 255 * each).astype(np.uint8)) for each in pixels / brightest]
    data = _as_columns(subject.at(subject.few(2000))) if subject.has_rows else None
    columns = []
    for j, column in enumerate(_as_columns(rows)):
        numbers = _numbers(column)
        if numbers is None:
            parts = np.array([str(value) for value in column]).reshape(-1, steps)
            columns.append([1 - np.unique(part, return_counts=True)[1].max() / steps for part in parts])
            continue
        known = _numbers(data[j]) if data is not None else None
        scale = np.nanstd(numbers if known is None else known)
        columns.append((np.nanstd(numbers.reshape(-1, steps), 1) / max(scale, 1e-12)).tolist())
    return [[round(min(float(column[k]), 9.0), 3) for column in columns] for k in range(len(columns[0]))]


def dimensions(subject: Coded) -> dict[str, Any]:
    """The KL of each latent variable, whether it is active, and what it changes."""
    d = subject.latent_dim
    amounts = subject.variances if subject.kl is None else subject.kl
    found = {"order": subject.order.tolist(), "amounts": [round(float(v), 4) for v in amounts],
             "is_kl": subject.kl is not None, "active": subject.active.tolist(), "n_active": int(subject.active.sum()),
             "names": [f"z{subscript(i)}" for i in range(d)]}  # fmt: skip
    if not subject.active.any():
        found["collapsed"] = (
            "No latent variable is active: q(z|x) is the prior for every row, so z says nothing of x (posterior "
            "collapse). Train longer, warm the KL up with ELBO(warmup_steps=…), a tenth of the steps, set "
            "free_bits=0.1, or ask for fewer latent variables."
        )
    return found


def thumbnails(subject: Subject, rows: np.ndarray, side: int = MAPPED_SIDE) -> list[Any]:
    """Some of the rows as they are shown beside a point of the map."""
    return subject.display.smaller(side).show(subject.at(rows), given=True)
