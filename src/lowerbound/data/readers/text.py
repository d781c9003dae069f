"""Text and dialogues: `.txt` with a sequence a line, and `.jsonl` with a record a line."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lowerbound.data.checks import DataError, check_name, check_rows, counted, listed
from lowerbound.data.readers.content import explained, opened
from lowerbound.data.sources import Dataset

FORMS = (("text",), ("turns",), ("context", "response"))  # fields of a record, of which the first line has one form


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
    texts: Any = [line for line in lines if not is_blank(line)]
    check_rows(len(texts), name)
    n_blank = len(lines) - len(texts) - (not lines[-1])  # nothing follows on the last end of line
    notes = (f"{counted(n_blank, 'blank line')} left out",) if n_blank else ()
    return Dataset(texts, None, name, notes)


def read_jsonl(
    path: Path, name: str, *, key: str | None = None, turns: int | None = None, speaker: str | None = None
) -> Dataset:
    """Read a `.jsonl` file: every line is a JSON object with a text or with a dialogue.

    The fields are ``text``; or ``context`` and ``response``; or ``turns``, a list of what was said, each a text or a
    pair of speaker and text. Every turn but the first is then a response, and its context the turns before it, a line
    for each.

    Parameters
    ----------
    path : Path
        The file, in UTF-8.
    name : str
        The file's name in messages.
    key : str | None
        The field that is the text.
    turns, speaker : int | None, str | None
        The number of turns in a context, at most; whose turns are responses.

    Returns
    -------
    Dataset
        A list of str; those of dialogues are the responses, and ``context`` has what was said before each.
    """
    records = list(_records(path, name))
    check_rows(len(records), name)
    form = _form(records[0][1], key, f"{name}, line {records[0][0]}")
    if form != ("turns",) and (turns, speaker) != (None, None):
        raise DataError(f"{name} has no turns of dialogues but {listed(form)}; leave turns and speaker out.")
    found: list[Any] = []
    for line, record in records:
        where = f"{name}, line {line}"
        for field in form:
            if field not in record:
                check_name(field, list(record), "field", where)
        values = [record[field] for field in form]
        found += _responses(where, values[0], turns, speaker) if form == ("turns",) else [_fields(where, form, values)]
    check_rows(len(found), name)
    contexts = None if len(found[0]) == 1 else [context for context, _ in found]
    texts: Any = [each[-1] for each in found]
    return Dataset(texts, None, name, context=contexts)


def is_blank(line: str) -> bool:
    """True for a line without a character that is seen."""
    return not line or line.isspace()


def _lines(path: Path, name: str) -> list[str]:
    """The lines of a file, without their ends, which may be those of any system."""
    return split_lines(path, name)[0]


def split_lines(path: Path, name: str) -> tuple[list[str], list[str], bool]:
    """Split a file into its lines, which are one more than there are ends of lines.

    Parameters
    ----------
    path : Path
        The file, in UTF-8.
    name : str
        The file's name in messages.

    Returns
    -------
    lines : list of str
    ends : list of str
        What ends each line; nothing ends the last one.
    has_mark : bool
        The file begins with a byte order mark.
    """
    with explained(name):
        with opened(path, name) as file:
            content = file.read()
        raw = content.removeprefix(codecs.BOM_UTF8)
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
        found = re.split("(\r\n|\r|\n)", text)
        return found[::2], [*found[1::2], ""], len(raw) < len(content)


def _records(path: Path, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of all lines that aren't blank, with the numbers of the lines."""
    for number, line in enumerate(_lines(path, name), 1):
        if is_blank(line):
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


def _fields(where: str, form: tuple[str, ...], values: list[Any]) -> tuple[str, ...]:
    """The texts of the fields of a record."""
    return tuple(_text(where, value, f"'{field}'") for field, value in zip(form, values, strict=True))


def _responses(where: str, said: Any, turns: int | None, speaker: str | None) -> list[tuple[str, str]]:
    """Every turn but the first, with the turns before it."""
    from lowerbound.data.texts import dialogue_pairs

    if not isinstance(said, list):
        raise DataError(f"{where}: the turns are {type(said).__name__}, not a list of what was said.")
    for i, turn in enumerate(said):
        is_pair = isinstance(turn, list) and len(turn) == 2
        _text(where, turn[1] if is_pair else turn, f"turn {i}")
    try:
        return dialogue_pairs(said, turns, speaker)
    except DataError as error:
        raise DataError(f"{where}: {error}.") from error
