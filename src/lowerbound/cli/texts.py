"""``generate``, ``encode`` and ``reconstruct`` for texts."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lowerbound.cli.output import Console, Failure
from lowerbound.cli.sequence_files import OF_CODES, OF_TEXTS, check_ending
from lowerbound.cli.sequences import context_for, sequences_of

if TYPE_CHECKING:
    from lowerbound.data.sources import Dataset
    from lowerbound.sequences.sequence_vae import SequenceVAE


@dataclass(frozen=True)
class HowToWrite:
    """The way in which texts are drawn.

    Attributes
    ----------
    prompt, given : str or None
        The beginning of all, and what was said before.
    distinct : bool
        They differ, and come with their log p.
    temperature, top_p : float
        As in ``SequenceVAE.sample``.
    """

    prompt: str | None = None
    given: str | None = None
    distinct: bool = False
    temperature: float = 1.0
    top_p: float = 1.0

    @classmethod
    def of(
        cls, prompt: str | None, given: tuple[str, ...], distinct: bool, temperature: float | None, top_p: float | None
    ) -> HowToWrite:
        """The options of a command line."""
        if len(given) > 1:
            raise click.UsageError("--given is there twice: join what was said before by line ends")
        temperature, top_p = (1.0 if value is None else value for value in (temperature, top_p))
        return cls(prompt, given[0] if given else None, distinct, temperature, top_p)


def generate(
    run: Path, model: SequenceVAE, n: int, output: Path | None, how: HowToWrite, seed: int | None, console: Console
) -> None:
    """Draw texts, or continuations of one, and write or show them."""
    if output is not None:
        check_ending(output, OF_TEXTS)
    if how.given is not None and model.context_ is None:
        raise click.UsageError(f"--given: the model in {run} is not given what was said before, so leave it out")
    if how.given is None and model.context_ is not None:
        raise click.UsageError(f"the model in {run} answers to what was said before: add --given TEXT")
    prompt = how.prompt or ""
    drawn: list[Any] = model.sample(
        n, prompt=prompt, context=how.given, distinct=how.distinct, temperature=how.temperature, top_p=how.top_p,
        random_state=seed,
    )  # pyright: ignore[reportArgumentType, reportCallIssue]  # fmt: skip
    records = [_record(each, how) for each in drawn]
    if output is not None:
        write_records(output, records)
        console.say(f"wrote {output} ({len(records):,} texts)")
    elif console.as_json:
        console.result({"texts": records}, "")
    else:
        console.result({}, "\n".join(_line(record) for record in records))
    if model.context_ is not None:
        console.suggest("chat", run)


def _record(drawn: Any, how: HowToWrite) -> dict[str, Any]:
    """A text with what it begins with, and its log p if it is known."""
    begun = {} if how.given is None else {"context": how.given}
    field, prompt = ("text" if how.given is None else "response"), how.prompt or ""
    if isinstance(drawn, str):
        return {**begun, field: prompt + drawn}
    return {**begun, field: prompt + drawn.text, "log_p": drawn.log_p, "n_draws": drawn.n_draws}


def _said(record: dict[str, Any]) -> str:
    return record["response"] if "response" in record else record["text"]


def _line(record: dict[str, Any]) -> str:
    """A text on a line, behind its probability."""
    text = _said(record).replace("\n", "⏎")
    return text if "log_p" not in record else f"{probability(record['log_p'])}  {text}"


def probability(log_p: float) -> str:
    """A probability with two digits, ``3.1e-05``."""
    return f"{math.exp(log_p):<7.2g}"


def write_records(path: Path, records: list[dict[str, Any]]) -> None:
    """Write texts: one a line, a JSON object a line, or a table."""
    import pandas as pd

    from lowerbound.storage.atomic import write_text
    from lowerbound.storage.results import write_frames

    ending = path.suffix.lower()
    if ending == ".jsonl":
        return write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    if ending != ".txt":
        return write_frames(path, [pd.DataFrame(records)])
    texts = list(map(_said, records))
    if any("\n" in text for text in texts):
        raise Failure(f"{path}: some texts have several lines, so give a name that ends in .jsonl")
    write_text(path, "".join(f"{text}\n" for text in texts))


def encode(model: SequenceVAE, dataset: Dataset, output: Path, console: Console) -> None:
    """Write the posterior mean of every text."""
    from lowerbound.storage.results import write_parts

    check_ending(output, OF_CODES)
    texts = sequences_of(dataset, model)
    codes = model.transform(texts, context=context_for(model, dataset))
    write_parts(output, [(codes, {"text": texts})], [f"z{i}" for i in range(codes.shape[1])], len(codes))
    console.say(f"wrote {output} ({len(codes):,} texts)")


def reconstruct(model: SequenceVAE, dataset: Dataset, output: Path, console: Console) -> None:
    """Write the most probable tokens at the posterior mean of every text."""
    check_ending(output, OF_TEXTS)
    texts, known = sequences_of(dataset, model), context_for(model, dataset)
    found = model.reconstruct(texts, context=known)
    before = [{} for _ in texts] if known is None else [{"context": context} for context in known]
    records = [
        {**c, "original": original, "text": text} for c, original, text in zip(before, texts, found, strict=True)
    ]
    write_records(output, records)
    same = sum(map(str.__eq__, texts, found))
    console.say(f"wrote {output} ({len(found):,} texts, {same:,} of them as they were)")
