"""Texts as tokens, and what the tokens don't say: characters that nobody knows, and all but the lines of a file."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowerbound.compression.arrays import RowsCode, pattern
from lowerbound.compression.bits_back import NotCodableError
from lowerbound.compression.sequences import EXAMPLE, Ragged, rows_of_blocks
from lowerbound.compression.text_files import TextFile
from lowerbound.data.texts import Texts, TextSchema
from lowerbound.data.tokens import Characters

FORMS = ("list", "file")


@dataclass
class CodedTexts(Ragged):
    """Texts as tokens.

    Attributes
    ----------
    tokens : ndarray of int64, shape (ΣT,)
        One text after another, each with its end.
    lengths : ndarray of int64, shape (n,)
        Tokens of each, the end among them.
    apart : bytes
        JSON of the characters that nobody knows, and of what a file has besides.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    apart: bytes


@dataclass
class TextsCode(RowsCode):
    """Lists of texts, and text files.

    Parameters
    ----------
    schema : TextSchema
    form : {"list", "file"}
    """

    schema: TextSchema
    form: str = "list"

    def __post_init__(self) -> None:
        self.counted: np.ndarray = np.ones(1, bool)
        self.end: int = self.schema.vocabulary.n_tokens

    def describe(self) -> list[Any]:
        """The form."""
        return [self.form]

    @classmethod
    def of(cls, schema: TextSchema, record: list[Any]) -> TextsCode:
        """The inverse of ``describe``."""
        (form,) = record
        if form not in FORMS:
            raise ValueError(f"there are no texts in a {form!r}")
        return cls(schema, form)

    def example(self, n_rows: int) -> CodedTexts:
        """Fixed tokens."""
        lengths = np.resize(EXAMPLE, n_rows).astype(np.int64)
        tokens = pattern((int(lengths.sum()),), self.end)
        tokens[np.cumsum(lengths) - 1] = self.end
        return CodedTexts(tokens, lengths, b"")

    def of_user(self, X: Texts | TextFile, checked: Texts) -> Texts | TextFile:
        """The texts, or the lines of a file."""
        return X

    def take(self, X: Texts | TextFile) -> CodedTexts:
        """Texts as tokens; raises ``NotCodableError`` for one that isn't made of them."""
        texts = X.texts if isinstance(X, TextFile) else X
        each = self.schema.vocabulary.encode(texts)
        lengths = np.array([len(tokens) + 1 for tokens in each], np.int64)
        tokens = np.fromiter((t for text in each for t in (*text, self.end)), np.int64, int(lengths.sum()))
        unknown = ""
        if (tokens > self.end).any():
            with_ends = "".join(part for text in texts for part in (text, "\n"))  # characters and tokens are as many
            unknown = "".join(with_ends[i] for i in np.flatnonzero(tokens > self.end))
        apart = json.dumps([unknown, X.besides() if isinstance(X, TextFile) else None])
        found = CodedTexts(tokens, lengths, apart.encode())
        again = self._texts(found)
        if again != texts:
            i = next(i for i, (a, b) in enumerate(zip(texts, again, strict=True)) if a != b)
            raise NotCodableError(f"text {i} can't be told by the model's tokens: {texts[i][:60]!r} would be another")
        return found

    def n_numbers(self, block: CodedTexts) -> int:
        """Bytes of the file, or of the texts with one for each end."""
        given = self.give(block)
        return len(given) if isinstance(given, bytes) else sum(len(text.encode()) + 1 for text in given)

    def bits_besides(self, block: CodedTexts) -> float:
        """Bits of what a file has besides."""
        besides = json.loads(block.apart)[1]
        return 0.0 if besides is None else 8.0 * len(zlib.compress(besides.encode(), 9))

    def give(self, block: CodedTexts) -> list[str] | bytes:
        """The texts, or the bytes of the file."""
        texts, besides = self._texts(block), json.loads(block.apart)[1]
        return texts if besides is None else TextFile.of(texts, besides).to_bytes()

    def _texts(self, block: CodedTexts) -> list[str]:
        vocabulary, starts = self.schema.vocabulary, block.starts
        if not isinstance(vocabulary, Characters):
            ends = starts + block.lengths - 1
            return [vocabulary.decode(block.tokens[a:b].tolist()) for a, b in zip(starts, ends, strict=True)]
        symbols = np.array([ord(c) for c in [*vocabulary.symbols, "\n", "\n"]], "<u4")
        found = symbols[block.tokens]
        found[block.tokens > self.end] = [ord(c) for c in json.loads(block.apart)[0]]
        text = found.tobytes().decode("utf-32-le")
        return [text[a : a + n - 1] for a, n in zip(starts.tolist(), block.lengths.tolist(), strict=True)]

    def join(self, blocks: Sequence[Any]) -> list[str] | bytes:
        """The texts, or the bytes, of all blocks."""
        return b"".join(blocks) if self.form == "file" else [text for block in blocks for text in block]

    def are_same(self, X: Texts | TextFile, again: list[str] | bytes) -> bool:
        """The same texts, or bytes."""
        return (X.to_bytes() if isinstance(X, TextFile) else X) == again

    def digest(self, block: CodedTexts) -> int:
        """A checksum of the tokens, which say the lengths, and of what is apart."""
        return zlib.crc32(block.tokens.astype("<i8").tobytes(), zlib.crc32(block.apart))


def blocks_of(X: Texts | TextFile, n_characters: int) -> Iterator[tuple[Texts | TextFile, Texts]]:
    """The texts, or the lines of a file and their texts, in blocks of so many characters."""
    texts = X.texts if isinstance(X, TextFile) else X
    rows = list(rows_of_blocks(np.array([len(text) + 1 for text in texts]), n_characters))
    files = X.parts([part.stop - part.start for part in rows]) if isinstance(X, TextFile) else None
    for part in rows:
        some = Texts(texts[part])
        yield (some if files is None else next(files)), some
