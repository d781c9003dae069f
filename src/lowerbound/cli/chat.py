"""``lowerbound chat``: several answers to each line, with their probabilities."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lowerbound.cli.generate import load
from lowerbound.cli.options import console_options, run_argument, seed_option
from lowerbound.cli.output import Console
from lowerbound.cli.run import data_of
from lowerbound.cli.texts import probability

if TYPE_CHECKING:
    from lowerbound.sequences.sequence_vae import SequenceVAE
    from lowerbound.sequences.writing import Continuation

PROMPT, ANEW = "> ", "/new"
HELP = "a number says that answer instead, /new begins anew, Ctrl-D ends"


@click.command(short_help="Give several answers to each line, in a terminal.")
@run_argument
@click.option("-n", "--n-samples", type=click.IntRange(1), default=5, show_default=True, help="Answers to each line.")
@click.option("--temperature", type=click.FloatRange(0), default=1.0, show_default=True, help="0: z alone is drawn.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True,
              help="Draw from the most probable tokens that have this much probability together.")  # fmt: skip
@seed_option("Seed; the run's own if not given.")
@console_options
def chat(
    run: Path, n_samples: int, temperature: float, top_p: float, random_state: int | None, console: Console
) -> None:
    """Read lines, and give different answers to each by the model of text in RUN, the most probable first.

    Before an answer stands its probability under the model, whatever the temperature. A model of dialogues answers to
    what was said so far, its first answer included (a number says another one, /new forgets all). Other models of
    text continue the line.
    """
    model: SequenceVAE = load(run, "chat")
    is_dialogue, turns = model.context_ is not None, data_of(run).get("turns")
    if sys.stdin.isatty():
        console.say(HELP if is_dialogue else "each line is continued; Ctrl-D ends")
    said: list[str] = []
    answers: list[Continuation] = []
    how: dict[str, Any] = {"distinct": True, "temperature": temperature, "top_p": top_p}
    for i, line in enumerate(_lines()):
        if line == ANEW:
            said, answers = [], []
            continue
        if is_dialogue and answers and line.isdigit() and 1 <= int(line) <= len(answers):
            said[-1] = answers[int(line) - 1].text
            console.say(f"said: {said[-1]}")
            continue
        said.append(line)
        begun = {"context": "\n".join(said[-turns:] if turns else said)} if is_dialogue else {"prompt": line}
        answers = model.sample(n_samples, **begun, **how, random_state=_seed(random_state, model, i))
        _show(console, line, answers)
        said.append(answers[0].text)


def _seed(asked: int | None, model: SequenceVAE, i: int) -> int:
    """Another seed for every line."""
    return ((model.seed_ if asked is None else asked) + i) % 2**32


def _lines() -> Iterator[str]:
    """The lines of a terminal, or of a pipe, that are not blank."""
    while True:
        if sys.stdin.isatty():
            click.echo(PROMPT, nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def _show(console: Console, line: str, answers: list[Continuation]) -> None:
    records = [{"text": each.text, "log_p": each.log_p, "n_draws": each.n_draws} for each in answers]
    lines = [f"{i}  {probability(each.log_p)}  {each.text.replace(chr(10), '⏎')}" for i, each in enumerate(answers, 1)]
    console.result({"line": line, "answers": records}, "\n".join(lines))
