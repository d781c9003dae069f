"""``generate`` and ``encode`` for sequences of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lowerbound.cli.options import DataOptions
from lowerbound.cli.output import Console, Failure
from lowerbound.cli.run import data_of
from lowerbound.cli.sequence_files import OF_CODES, OF_SEQUENCES, SEQUENCE, check_ending, done, write_sequences
from lowerbound.cli.sequences import sequences_of

if TYPE_CHECKING:
    import numpy as np

    from lowerbound.data.sources import Dataset
    from lowerbound.sequences.recurrent import RecurrentVAE


@dataclass(frozen=True)
class Continuation:
    """The number of steps to draw, and what they follow on.

    Attributes
    ----------
    steps : int or None
        Steps to draw.
    prompt : str or None
        A file of sequences, one of which is continued.
    row : int
        Its place in the file.
    prompt_steps : int or None
        How many of its steps are continued; all if None.
    key : str or None
        The array of an ``.npz`` file of prompts.
    """

    steps: int | None = None
    prompt: str | None = None
    row: int | None = None
    prompt_steps: int | None = None
    key: str | None = None


def generate(
    run: Path, model: RecurrentVAE, n: int, output: Path, how: Continuation, seed: int | None, console: Console
) -> None:
    """Draw sequences, or continuations of one, and write them."""
    check_ending(output, OF_SEQUENCES)
    prompt = None if how.prompt is None else _prompt(run, model, how, console)
    steps = how.steps
    if steps is None and model.length == "given":
        steps = max(1, round(model.mean_length_) - (0 if prompt is None else len(prompt)))
        console.say(f"drawing {steps:,} steps, by the mean length of the training sequences; --steps says how many")
    if steps is not None and model.length == "end":
        raise click.UsageError("--steps: the model says itself where sequences end (it was trained with --length end)")
    each = model.sample(n, lengths=steps, prompt=prompt, random_state=seed)
    if output.suffix.lower() == ".png":
        from lowerbound.pictures.sequences import save_sequences

        save_sequences(each, output, prompt)
    else:
        kept = data_of(run)
        write_sequences(output, each, names_of(model), kept.get("bits"), id=kept.get("id") or SEQUENCE)
    done(console, output, [len(x) for x in each])
    console.suggest("evaluate", run, "DATA")


def _prompt(run: Path, model: RecurrentVAE, how: Continuation, console: Console) -> np.ndarray:
    """The steps to be continued."""
    assert how.prompt is not None
    dataset = DataOptions(how.prompt, key=how.key).like_those_of(run).read(console)
    sequences, row = sequences_of(dataset, model), how.row or 0
    if row >= len(sequences):
        raise Failure(f"{dataset.source} has {len(sequences):,} sequences, so there is no --row {row} (from 0)")
    return list(sequences)[row][: how.prompt_steps]


def encode(model: RecurrentVAE, dataset: Dataset, output: Path, console: Console) -> None:
    """Write the posterior means of every step, or of every sequence that has one z."""
    if model.latents == "sequence":
        return _encode_whole(model, dataset, output, console)
    check_ending(output, OF_SEQUENCES)
    if output.suffix.lower() == ".png":
        raise click.UsageError(
            f"{output}: codes of steps make no map yet: give a name that ends in .npz, .csv or .parquet"
        )
    if not model.latent_dim:
        raise Failure("the model has no latent variables (it was trained with --latent-dim 0), so there are no codes")
    sequences = sequences_of(dataset, model)
    codes, names = model.transform(sequences), [f"z{i}" for i in range(model.latent_dim)]
    if output.suffix.lower() != ".npz":
        codes = with_times(codes, names, sequences)
    write_sequences(output, codes, names, ids=sequences.ids, id=id_name(dataset))
    done(console, output, [len(x) for x in codes])


def _encode_whole(model: RecurrentVAE, dataset: Dataset, output: Path, console: Console) -> None:
    """Write a row for each sequence."""
    from lowerbound.storage.results import write_parts

    check_ending(output, OF_CODES)
    sequences = sequences_of(dataset, model)
    codes = model.transform(sequences)
    ids = range(len(codes)) if sequences.ids is None else sequences.ids
    named = {} if output.suffix.lower() == ".npy" else {id_name(dataset): ids}
    write_parts(output, [(codes, named)], [f"z{i}" for i in range(codes.shape[1])], len(codes))
    console.say(f"wrote {output} ({len(codes):,} sequences)")


def reconstruct(model: RecurrentVAE, dataset: Dataset, output: Path, console: Console) -> None:
    """Write what is expected of every step given those before it and z."""
    check_ending(output, OF_SEQUENCES)
    sequences = sequences_of(dataset, model)
    found: list[Any] = model.reconstruct(sequences)
    if output.suffix.lower() == ".png":
        from lowerbound.pictures.sequences import save_sequences

        save_sequences(found, output)
    else:
        found = found if hasattr(found[0], "columns") else with_times(found, names_of(model), sequences)
        write_sequences(output, found, names_of(model), ids=sequences.ids, id=id_name(dataset))
    done(console, output, [len(x) for x in found])


def with_times(each: list[np.ndarray], names: Sequence[str], sequences: Any) -> list[Any]:
    """Arrays with a row for each step of sequences as frames, with the times of these where they have some."""
    import pandas as pd

    frames = [pd.DataFrame(x, columns=list(names)) for x in each]
    if sequences.is_streamed or not hasattr(sequences.steps, "columns"):
        return frames
    return [frame.set_axis(steps.index) for frame, steps in zip(frames, sequences, strict=True)]


def id_name(dataset: Dataset) -> str:
    """The name of the column that tells the sequences of a dataset apart."""
    return SEQUENCE if dataset.ids is None else dataset.ids.name


def names_of(model: Any) -> list[str]:
    """The names of the columns of a step."""
    return list(getattr(model, "feature_names_in_", [f"x{i}" for i in range(model.n_features_in_)]))
