"""``evaluate`` for models of sequences and of texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lowerbound.cli import sequence_scores, text_scores
from lowerbound.cli.output import Console
from lowerbound.cli.sequences import context_for, sequences_of, takes

if TYPE_CHECKING:
    import numpy as np

    from lowerbound.data.sources import Dataset

OF_ROWS = ("method", "n_temperatures", "n_chains", "bidirectional_bounds", "inference_gap", "given")
N_IMPORTANCE = f"{sequence_scores.SAMPLES} a step of a sequence, {text_scores.SAMPLES} a text"


def evaluate(
    context: click.Context, models: dict[str, Any], dataset: Dataset, n_importance: int | None, output: Path | None,
    console: Console,
) -> None:  # fmt: skip
    """Show the scores of one model, or the difference of two, and write those of every sequence."""
    _refuse_options_of_rows(context)
    for model in models.values():
        sequences_of(dataset, model)
    runs = list(models)
    kind = takes(models[runs[0]])
    scores = {"sequences": sequence_scores, "text": text_scores}[kind]
    if len(runs) == 1:
        record = scores.account(models[runs[0]], dataset, n_importance)
        console.result(record, scores.in_words(record, dataset.source))
    else:
        record = scores.compare(models, dataset, n_importance)
        console.result(record, scores.in_words_of_two(record, dataset.source))
    if output is not None:
        _write(output, models, dataset, n_importance or scores.SAMPLES, console)
    if len(runs) == 1:
        console.suggest("generate", runs[0], "-o", f"{runs[0]}/samples.{'txt' if kind == 'text' else 'npz'}")


def _refuse_options_of_rows(context: click.Context) -> None:
    """Raise a usage error for options that have no meaning for sequences."""
    for name in OF_ROWS:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"--{name.replace('_', '-')} is for models of rows: log p(x) of sequences is estimated by "
                f"--n-importance samples of each step or text"
            )


def _write(output: Path, models: dict[str, Any], dataset: Dataset, n_importance: int, console: Console) -> None:
    """Write log p(x) of every sequence, of two models both and their difference."""
    import numpy as np
    import pandas as pd

    from lowerbound.storage.results import write_frames

    X: Any = dataset.X
    each = [_scores(model, dataset, n_importance) for model in models.values()]
    table = {"sequence": np.arange(len(X)), **_names(dataset)}
    if len(each) == 1:
        table["log_p"] = each[0]
    else:
        table |= {"log_p_1": each[0], "log_p_2": each[1], "difference": each[0] - each[1]}
    write_frames(output, [pd.DataFrame(table)])
    console.say(f"wrote {output} ({len(X):,} sequences)")


def _scores(model: Any, dataset: Dataset, n_importance: int) -> np.ndarray:
    if takes(model) == "text":
        return model.score_samples(dataset.X, n_importance, context=context_for(model, dataset))
    return model.score_samples(dataset.X, n_importance)


def _names(dataset: Dataset) -> dict[str, Any]:
    """Columns that tell sequences apart: their ids and numbers of steps; of texts the texts."""
    X: Any = dataset.X
    if isinstance(X, list):
        return {"text": X}
    return ({} if dataset.ids is None else {dataset.ids.name: X.ids}) | {"steps": X.lengths}
