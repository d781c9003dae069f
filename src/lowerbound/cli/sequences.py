"""Sequences and text on the command line: what they are in words, and which models take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lowerbound.cli.models import MODELS, TAKEN, model_called
from lowerbound.cli.output import Failure, listing, short
from lowerbound.data.checks import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import pandas as pd

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


def context_for(model: Any, dataset: Dataset) -> list[str] | None:
    """The context of texts for a model that is given one; None for others."""
    if getattr(model, "context_", None) is None:
        return None
    if dataset.context is None:
        raise Failure(
            f"the model is given what was said before, and {dataset.source} has no context: give a .jsonl file"
        )
    return dataset.context


def unit(kind: str) -> str:
    """The word for one of the data, of which log p(x) is."""
    return {"rows": "row", "sequences": "sequence", "text": "text"}[kind]


def in_a_line(dataset: Dataset) -> str:
    """Sequences or text in a line."""
    if kind_of(dataset.X) == "text":
        return f"{dataset.source}: {_of_text(dataset)}"
    X: Any = dataset.X
    spread = _lengths(X.lengths)
    return f"{dataset.source}: {counted(len(X), 'sequence')} of {spread} steps ({len(X.steps):,} in all), {_width(X)}"


def _width(X: Sequences) -> str:
    return counted(X.steps.shape[1], "column")


def _lengths(lengths: np.ndarray) -> str:
    low, high = int(lengths.min()), int(lengths.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _of_text(dataset: Dataset) -> str:
    """The number of texts and of their characters."""
    import numpy as np

    X: Any = dataset.X
    what = counted(len(X), "text" if dataset.context is None else "response")
    after = "" if dataset.context is None else ", each given what was said before"
    return f"{what} of {_lengths(np.array([len(each) for each in X]))} characters{after}"


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
    for text in X:
        counts.update(text)
    alphabet = "".join(letter for letter, _ in counts.most_common())
    before = dataset.context
    contexts = None if before is None else _quantiles(np.array([len(context) for context in before]))
    return {
        "source": dataset.source,
        "sequences": len(X),
        "characters": counts.total(),
        "bytes": sum(len(text.encode()) for text in X),
        **_quantiles(np.array([len(text) for text in X])),
        "alphabet": alphabet,
        "distinct": len(set(X)),
        "context": contexts,
    }


def _describe_steps(dataset: Dataset) -> dict[str, Any]:
    X: Any = dataset.X
    is_frame = not X.is_streamed and hasattr(X.steps, "columns")
    missing, empty = _count_gaps(X.steps if X.is_streamed else [X.steps])
    record = {
        "source": dataset.source,
        "sequences": len(X),
        "steps": len(X.steps),
        **_quantiles(X.lengths),
        "columns": X.steps.shape[1],
        "missing": missing,
        "empty_steps": empty,
    }
    if is_frame and X.steps.index.name is not None:
        record["time"] = [str(X.steps.index.min()), str(X.steps.index.max())]
    if is_frame:
        return record | _describe_columns(X.steps)
    return record | _describe_numbers(X.steps)


def _count_gaps(blocks: Iterable[Any]) -> tuple[int, int]:
    """The values that are missing, and the steps without any."""
    import numpy as np
    import pandas as pd

    n_missing = n_empty = 0
    for block in blocks:
        missing = np.ma.getmaskarray(block) if isinstance(block, np.ma.MaskedArray) else np.asarray(pd.isna(block))
        n_missing, n_empty = n_missing + int(missing.sum()), n_empty + int(missing.all(1).sum())
    return n_missing, n_empty


def _describe_columns(steps: pd.DataFrame) -> dict[str, Any]:
    from lowerbound.data.columns.inference import summarize_columns

    each = [(summary.schema(), summary) for summary in summarize_columns(steps)]
    columns = [
        {
            "name": schema.name,
            "dtype": schema.dtype,
            "description": schema.describe(),
            "missing": len(steps) - summary.n,
        }
        for schema, summary in each
    ]
    return {"kinds": columns, "likelihood": "columns"}


def _describe_numbers(steps: np.ndarray) -> dict[str, Any]:
    import numpy as np

    from lowerbound.data.likelihoods import choose
    from lowerbound.data.statistics import Statistics, measure, row_blocks

    plain = np.ma.filled(steps.astype(np.float64), np.nan) if isinstance(steps, np.ma.MaskedArray) else steps
    seen = measure(Statistics.of, row_blocks(plain))
    low, high = np.ravel(seen.extent.low), np.ravel(seen.extent.high)
    return {
        "dtype": steps.dtype.name,
        "minimum": seen.extent.lowest.item(),
        "maximum": seen.extent.highest.item(),
        "constant": np.flatnonzero(~(low < high)).tolist(),
        "likelihood": choose(seen.extent, plain.dtype, None, images=False),
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
    empty = f", {counted(record['empty_steps'], 'step')} without any value" if record["empty_steps"] else ""
    rows |= {
        "steps": f"{record['steps']:,}",
        "length": f"{lengths} steps",
        "gaps": f"{missing:,} of the values ({missing / n_entries:.1%}){empty}" if missing else "none",
    }
    if "time" in record:
        rows["time"] = " to ".join(record["time"])
    if "kinds" in record:
        return rows | {each["name"]: _column(each) for each in record["kinds"]}
    constant = len(record["constant"])
    return rows | {
        "a step": f"{counted(record['columns'], 'column')}, {record['dtype']}",
        "range": f"{short(record['minimum'])} to {short(record['maximum'])}",
        "constant": f"{constant:,} of the {record['columns']:,} columns" if constant else "none",
        "likelihood": f'{record["likelihood"]} (what "auto" chooses)',
    }


def _column(record: dict[str, Any]) -> str:
    """A column of the steps in words."""
    missing = f", {record['missing']:,} missing" if record["missing"] else ""
    return f"{record['dtype']}, {record['description']}{missing}"
