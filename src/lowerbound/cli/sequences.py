"""Sequences and text on the command line: what they are in words, and which models take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lowerbound.cli.models import MODELS, TAKEN, model_called
from lowerbound.cli.output import Failure, listing, short
from lowerbound.data.checks import counted

if TYPE_CHECKING:
    import numpy as np

    from lowerbound.data.sequences import Sequences
    from lowerbound.data.sources import Dataset

LETTERS = 60  # of an alphabet, shown


def kind_of(X: Any) -> str:
    """The kind of the data: "rows", "sequences" of numbers, or "text"."""
    from lowerbound.data.sequences import Sequences

    if isinstance(X, Sequences):
        return "sequences"
    return "text" if isinstance(X, list) else "rows"


def check_kind(dataset: Dataset, model: str) -> None:
    """Refuse data that a model of this name doesn't take, and name those that do."""
    kind, takes = kind_of(dataset.X), MODELS[model].takes
    if kind == takes:
        return
    able = [name for name, each in MODELS.items() if each.takes == kind]
    raise Failure(
        f"{dataset.source} holds {TAKEN[kind]}, and a model of kind {model} takes {TAKEN[takes]}: "
        f"{'add --model ' + ' or '.join(able[:3]) if able else 'no model on the command line takes them'}"
    )


def takes(model: Any) -> str:
    """The kind of data that a fitted estimator takes."""
    name = model_called(type(model).__name__)
    return "rows" if name is None else MODELS[name].takes


def sequences_of(dataset: Dataset, model: Any) -> Any:
    """The sequences or texts of a dataset; fails if they are no data of such a model."""
    name = model_called(type(model).__name__)
    assert name is not None
    check_kind(dataset, name)
    return dataset.X


def unit(kind: str) -> str:
    """The word for one of the data, of which log p(x) is."""
    return {"rows": "row", "sequences": "sequence", "text": "text"}[kind]


def in_a_line(dataset: Dataset) -> str:
    """Sequences or text in a line."""
    if kind_of(dataset.X) == "text":
        return f"{dataset.source}: {_of_text(dataset.X)}"
    X: Any = dataset.X
    spread = _lengths(X.lengths)
    return f"{dataset.source}: {counted(len(X), 'sequence')} of {spread} steps ({len(X.steps):,} in all), {_width(X)}"


def _width(X: Sequences) -> str:
    return counted(X.steps.shape[1], "column")


def _lengths(lengths: np.ndarray) -> str:
    low, high = int(lengths.min()), int(lengths.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def texts_of(X: list[Any]) -> list[str]:
    """The texts that are modeled: of dialogues, the responses."""
    return [each if isinstance(each, str) else each[1] for each in X]


def _of_text(X: list[Any]) -> str:
    """The number of texts and of their characters."""
    import numpy as np

    texts = texts_of(X)
    what = "text" if isinstance(X[0], str) else "pair of context and response"
    many = counted(len(X), what) if what == "text" else f"{len(X):,} pairs of context and response"
    return f"{many}, of {_lengths(np.array([len(each) for each in texts]))} characters"


def describe(dataset: Dataset) -> dict[str, Any]:
    """The record of ``data check``."""
    return _describe_text(dataset) if kind_of(dataset.X) == "text" else _describe_steps(dataset)


def _quantiles(lengths: np.ndarray) -> dict[str, Any]:
    import numpy as np

    return {
        "shortest": int(lengths.min()),
        "median": float(np.median(lengths)),
        "longest": int(lengths.max()),
    }


def _in_words(lengths: dict[str, Any]) -> str:
    return listing({name: f"{value:,.15g}" for name, value in lengths.items()})


def _describe_text(dataset: Dataset) -> dict[str, Any]:
    from collections import Counter

    import numpy as np

    X: Any = dataset.X
    counts: Counter[str] = Counter()
    for text in (texts := texts_of(X)):
        counts.update(text)
    alphabet = "".join(letter for letter, _ in counts.most_common())
    contexts = None if isinstance(X[0], str) else _quantiles(np.array([len(context) for context, _ in X]))
    return {
        "source": dataset.source,
        "sequences": len(X),
        "characters": counts.total(),
        "bytes": sum(len(text.encode()) for text in texts),
        **_quantiles(np.array([len(text) for text in texts])),
        "alphabet": alphabet,
        "distinct": len(set(texts)),
        "context": contexts,
    }


def _describe_steps(dataset: Dataset) -> dict[str, Any]:
    import numpy as np

    from lowerbound.data.likelihoods import choose
    from lowerbound.data.statistics import Statistics, measure, row_blocks

    X: Any = dataset.X
    seen = measure(Statistics.of, row_blocks(X.steps))
    low, high = np.ravel(seen.extent.low), np.ravel(seen.extent.high)
    return {
        "source": dataset.source,
        "sequences": len(X),
        "steps": len(X.steps),
        **_quantiles(X.lengths),
        "columns": X.steps.shape[1],
        "dtype": X.steps.dtype.name,
        "missing": int((seen.n_rows - seen.count).sum()),
        "minimum": seen.extent.lowest.item(),
        "maximum": seen.extent.highest.item(),
        "constant": np.flatnonzero(~(low < high)).tolist(),
        "likelihood": choose(seen.extent, X.steps.dtype, None, images=False),
    }


def in_words(record: dict[str, Any]) -> dict[str, str]:
    """The lines of ``data check``."""
    lengths = _in_words({name: record[name] for name in ("shortest", "median", "longest")})
    rows = {"data": record["source"], "sequences": f"{record['sequences']:,}"}
    if "alphabet" in record:
        letters = record["alphabet"]
        more = f" and {len(letters) - LETTERS:,} more" if len(letters) > LETTERS else ""
        rows |= {
            "different": f"{record['distinct']:,}",
            "characters": f"{record['characters']:,} ({record['bytes']:,} bytes)",
            "length": f"{lengths} characters",
            "alphabet": f"{len(letters):,}: {letters[:LETTERS]!r}{more}",
        }
        of = record["context"]
        return rows | ({} if of is None else {"contexts": f"{_in_words(of)} characters"})
    n_entries, missing = record["steps"] * record["columns"], record["missing"]
    constant = len(record["constant"])
    return rows | {
        "steps": f"{record['steps']:,}",
        "length": f"{lengths} steps",
        "a step": f"{counted(record['columns'], 'column')}, {record['dtype']}",
        "range": f"{short(record['minimum'])} to {short(record['maximum'])}",
        "gaps": f"{missing:,} ({missing / n_entries:.1%})" if missing else "none",
        "constant": f"{constant:,} of the {record['columns']:,} columns" if constant else "none",
        "likelihood": f'{record["likelihood"]} (what "auto" chooses)',
    }
