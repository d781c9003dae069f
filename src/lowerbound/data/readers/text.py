"""Text and dialogues: `.txt` with a sequence a line, and `.jsonl` with a record a line."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lowerbound.data.checks import DataError, check_name, check_rows, counted, listed
from lowerbound.data.readers.content import explained, opened
from lowerbound.data.sources import Dataset

FORMS = (("text",), ("turns",), ("context", "response"))  # fields of a record, of which the first line has one form
BETWEEN_TURNS = "\n"


def read_txt(path: Path, name: str) -> Dataset:
    """Read a `.txt` file: every line is a sequence of characters; blank lines are left out, and ``notes`` say so.

    Parameters
    ----------
    path : Path
        The file, in UTF-8.
    name : str
        The file's name in messages.

    Returns
    -------
    Dataset
        A list of str.
    """
    lines = _lines(path, name)
    texts = [line for line in lines if line and not line.isspace()]
    check_rows(len(texts), name)
    n_blank = len(lines) - len(texts) - (not lines[-1])  # nothing follows on the last end of line
    notes = (f"{counted(n_blank, 'blank line')} left out",) if n_blank else ()
    return Dataset(texts, None, name, notes)


def read_jsonl(path: Path, name: str, *, key: str | None = None) -> Dataset:
    """Read a `.jsonl` file: every line is a JSON object with a text or with a dialogue.

    The fields are ``text``; or ``context`` and ``response``; or ``turns``, a list of what was said, each a text or a
    pair of speaker and text. Every turn but the first is then a response, and its context the turns before it.

    Parameters
    ----------
    path : Path
        The file, in UTF-8.
    name : str
        The file's name in messages.
    key : str | None
        The field that is the text.

    Returns
    -------
    Dataset
        A list of str, or of pairs (context, response).
    """
    records = list(_records(path, name))
    check_rows(len(records), name)
    form = _form(records[0][1], key, f"{name}, line {records[0][0]}")
    read: Callable[[str, Any], list] = {1: _texts, 2: _pairs}[len(form)] if form != ("turns",) else _responses
    found: list[Any] = []
    for line, record in records:
        where = f"{name}, line {line}"
        for field in form:
            check_name(field, list(record), "field", where)
        found += read(where, [record[field] for field in form])
    check_rows(len(found), name)
    return Dataset(found, None, name)


def _lines(path: Path, name: str) -> list[str]:
    """The lines of a file, without their ends, which may be those of any system."""
    with explained(name):
        with opened(path, name) as file:
            raw = file.read().removeprefix(codecs.BOM_UTF8)
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise DataError(
                f"{name}, line {line}: byte 0x{raw[error.start]:02x}, number {error.start:,} of the file, is not UTF-8 "
                f"text; save the file as UTF-8."
            ) from error
        if "\0" in text:
            line = text.count("\n", 0, text.index("\0")) + 1
            raise DataError(f"{name}, line {line} holds a zero byte, so this is not a text file; export it again.")
        return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _records(path: Path, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of all lines that aren't blank, with the numbers of the lines."""
    for number, line in enumerate(_lines(path, name), 1):
        if not line or line.isspace():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", "it is nested too deeply" if isinstance(error, RecursionError) else error)
            place = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
            raise DataError(f"{name}, line {number} is not JSON ({reason}{place}); write one object a line.") from error
        if not isinstance(record, dict):
            raise DataError(f'{name}, line {number} is not a JSON object; write one a line, such as {{"text": …}}.')
        yield number, record


def _form(first: dict[str, Any], key: str | None, where: str) -> tuple[str, ...]:
    """The fields to read: the one asked for, or those that the first record has."""
    if key is not None:
        return (key,)
    form = next((form for form in FORMS if all(field in first for field in form)), None)
    if form is None:
        raise DataError(
            f"{where} has neither 'text', nor 'turns', nor 'context' and 'response', but {listed(list(first))}; "
            f"name the field with the text by key (--key)."
        )
    return form


def _text(where: str, value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where}: {what} is {type(value).__name__}, not text; write it in quotes.")
    return value


def _texts(where: str, values: list[Any]) -> list[str]:
    text = _text(where, values[0], "the text")
    if not text:
        raise DataError(f"{where}: the text is empty; leave the line out.")
    return [text]


def _pairs(where: str, values: list[Any]) -> list[tuple[str, str]]:
    context, response = (_text(where, *each) for each in zip(values, ("the context", "the response"), strict=True))
    if not response:
        raise DataError(f"{where}: the response is empty; leave the line out.")
    return [(context, response)]


def _responses(where: str, values: list[Any]) -> list[tuple[str, str]]:
    """Every turn but the first, with the turns before it."""
    if not isinstance(values[0], list):
        raise DataError(f"{where}: the turns are {type(values[0]).__name__}, not a list of what was said.")
    said = []
    for i, turn in enumerate(values[0]):
        is_pair = isinstance(turn, list) and len(turn) == 2
        said.append(_text(where, turn[1] if is_pair else turn, f"turn {i}"))
        if not said[-1]:
            raise DataError(f"{where}: turn {i} is empty; leave it out.")
    return [(BETWEEN_TURNS.join(said[:i]), turn) for i, turn in enumerate(said) if i]
