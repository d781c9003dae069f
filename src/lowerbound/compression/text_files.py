"""Text files as texts, a line each, and what a file has besides: ends of lines, blank lines, a byte order mark."""

from __future__ import annotations

import codecs
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lowerbound.compression.bits_back import NotCodableError
from lowerbound.data.readers.text import is_blank, split_lines
from lowerbound.data.texts import Texts


@dataclass(frozen=True)
class TextFile:
    """Lines of a text file.

    Attributes
    ----------
    lines, ends : list of str
        The lines, and what ends each of them: "\\n", "\\r\\n" or "\\r", or nothing.
    has_mark : bool
        A byte order mark is before them.
    """

    lines: list[str]
    ends: list[str]
    has_mark: bool = False

    @classmethod
    def read(cls, path: Path) -> TextFile:
        """The lines of a file; raises ``DataError`` as reading its texts does."""
        lines, ends, has_mark = split_lines(path, str(path))
        if not lines[-1]:  # behind the last end
            lines, ends = lines[:-1], ends[:-1]
        file = cls(lines, ends, has_mark)
        if not len(file):
            raise NotCodableError(f"{path} has no text")
        return file

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def texts(self) -> Texts:
        """The lines that aren't blank, which are what is read of a file."""
        return Texts(line for line in self.lines if not is_blank(line))

    def parts(self, n_texts: list[int]) -> Iterator[TextFile]:
        """Parts of so many texts each; blank lines are of the part before them, but those at the beginning."""
        places = [i for i, line in enumerate(self.lines) if not is_blank(line)]
        first, n = 0, 0
        for more in n_texts:
            n += more
            last = places[n] if n < len(places) else len(self.lines)
            yield TextFile(self.lines[first:last], self.ends[first:last], self.has_mark and not first)
            first = last

    def to_bytes(self) -> bytes:
        """The bytes of the file."""
        text = "".join(part for line in zip(self.lines, self.ends, strict=True) for part in line)
        return codecs.BOM_UTF8 * self.has_mark + text.encode()

    def besides(self) -> str:
        """All but the texts, as JSON: the mark, the usual end and others, and blank lines."""
        usual = Counter(self.ends).most_common(1)[0][0]
        others = [[i, end] for i, end in enumerate(self.ends) if end != usual]
        blank = [i for i, line in enumerate(self.lines) if is_blank(line)]
        steps = [place - before for place, before in zip(blank, [0, *blank], strict=False)]
        content = "\n".join(self.lines[i] for i in blank)
        return json.dumps([self.has_mark, usual, others, steps, content], separators=(",", ":"))

    @classmethod
    def of(cls, texts: list[str], besides: str) -> TextFile:
        """The inverse of ``texts`` and ``besides``."""
        has_mark, usual, others, steps, content = json.loads(besides)
        rest, blank, place = iter(texts), {}, 0
        for step, line in zip(steps, content.split("\n"), strict=False):
            place += step
            blank[place] = line
        n = len(texts) + len(blank)
        ends = dict(others)
        lines = [blank[i] if i in blank else next(rest) for i in range(n)]
        return cls(lines, [ends.get(i, usual) for i in range(n)], has_mark)
