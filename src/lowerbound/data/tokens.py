"""Texts as tokens, and back: characters, bytes, or byte pairs.

Tokens are numbered 0, …, K − 1; K ends a text, and K + 1 is what the vocabulary doesn't have.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, cast

from lowerbound.data.checks import DataError
from lowerbound.parameters.tokens import BPE
from lowerbound.storage.records import is_of, shown

BELOW = 10**6  # bytes of text whose tokens are characters, if nothing else is asked for
CODE_POINTS = 0x110000 - 0x800  # characters that a text can have: Unicode without surrogates
REPLACEMENT = "\ufffd"  # stands for what is not known


class Vocabulary(Protocol):
    """The tokens of texts.

    ``n_tokens`` is K. ``log_unknown`` is the log p of any one character that the vocabulary doesn't have, wherever it
    stands, and ``log_known`` that of all others together; they are −∞ and 0 where it has all.
    """

    @property
    def n_tokens(self) -> int: ...  # noqa: D102
    @property
    def log_unknown(self) -> float: ...  # noqa: D102
    @property
    def log_known(self) -> float: ...  # noqa: D102
    def encode(self, texts: Sequence[str]) -> list[list[int]]: ...  # noqa: D102
    def decode(self, tokens: Sequence[int]) -> str: ...  # noqa: D102
    def metadata(self) -> dict[str, Any]: ...  # noqa: D102


@dataclass(frozen=True)
class Characters:
    """The characters of some texts.

    A character that is not among them has the probability of Good & Turing: all such together as much as the share of
    characters that occurred once, plus one; each of Unicode's others the same.

    Attributes
    ----------
    symbols : str
        The characters, in order.
    unseen : float
        The probability that a character is none of them.
    """

    symbols: str
    unseen: float

    @classmethod
    def of(cls, texts: Iterable[str]) -> Characters:
        """The characters of the texts."""
        counts = Counter(character for text in texts for character in text)
        n, once = sum(counts.values()), sum(count == 1 for count in counts.values())
        return cls("".join(sorted(counts)), (once + 1) / (n + 2))

    @property
    def n_tokens(self) -> int:
        """The number of characters."""
        return len(self.symbols)

    @property
    def log_unknown(self) -> float:
        """The log p of one character that is none of them."""
        return math.log(self.unseen) - math.log(CODE_POINTS - len(self.symbols))

    @property
    def log_known(self) -> float:
        """The log p that a character is one of them, or the end."""
        return math.log1p(-self.unseen)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {symbol: i for i, symbol in enumerate(self.symbols)}

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text."""
        places, unknown = self._places, self.n_tokens + 1
        return [[places.get(character, unknown) for character in text] for text in texts]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens; � for a character that isn't known."""
        return "".join(self.symbols[token] if token < self.n_tokens else REPLACEMENT for token in tokens)

    def metadata(self) -> dict[str, Any]:
        """The vocabulary as JSON holds it."""
        return {"kind": "characters", "symbols": self.symbols, "unseen": self.unseen}


class _OfBytes:
    """Every text is made of bytes, so there is no unknown token."""

    log_unknown, log_known = -math.inf, 0.0


@dataclass(frozen=True)
class Bytes(_OfBytes):
    """The 256 bytes of UTF-8."""

    n_tokens = 256

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text."""
        return [list(text.encode()) for text in texts]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens; � for bytes that are no UTF-8."""
        return bytes(tokens).decode(errors="replace")

    def metadata(self) -> dict[str, Any]:
        """The vocabulary as JSON holds it."""
        return {"kind": "bytes"}


@dataclass(frozen=True)
class BytePairs(_OfBytes):
    """Byte-level byte-pair encoding, of the package ``tokenizers``.

    Attributes
    ----------
    json : str
        All of it, as the package writes it.
    """

    json: str
    _tokenizer: Any = field(repr=False, compare=False)

    @classmethod
    def of(cls, texts: Iterable[str], n_tokens: int) -> BytePairs:
        """The most frequent pairs of the texts."""
        package = _tokenizers()
        tokenizer = package.Tokenizer(package.models.BPE())
        tokenizer.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = package.decoders.ByteLevel()
        alphabet = sorted(package.pre_tokenizers.ByteLevel.alphabet())
        trainer = package.trainers.BpeTrainer(vocab_size=n_tokens, initial_alphabet=alphabet, show_progress=False)
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer.to_str(), tokenizer)

    @classmethod
    def from_json(cls, json: str) -> BytePairs:
        """The inverse of ``json``."""
        try:
            return cls(json, _tokenizers().Tokenizer.from_str(json))
        except Exception as error:  # the package raises no narrower one
            raise ValueError(f"the tokens are no record of the package tokenizers: {error}") from error

    @property
    def n_tokens(self) -> int:
        """The number of tokens."""
        return self._tokenizer.get_vocab_size()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text."""
        return [each.ids for each in self._tokenizer.encode_batch(list(texts))]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens; � for bytes that are no UTF-8."""
        return self._tokenizer.decode(list(tokens))

    def metadata(self) -> dict[str, Any]:
        """The vocabulary as JSON holds it."""
        return {"kind": "bpe", "json": self.json}


def choose_vocabulary(texts: Sequence[str], asked: str | BPE) -> Vocabulary:
    """The vocabulary of some texts.

    Parameters
    ----------
    texts : sequence of str
    asked : {"auto", "characters", "bytes"} or BPE
        "auto": characters below a megabyte, ``BPE()`` of more.

    Raises
    ------
    DataError
        If the package ``tokenizers`` is needed and isn't there.
    """
    if asked == "auto":
        asked = "characters" if sum(map(len, map(str.encode, texts))) < BELOW else BPE()
    if isinstance(asked, BPE):
        return BytePairs.of(texts, asked.n_tokens)
    return Bytes() if asked == "bytes" else Characters.of(texts)


def vocabulary_from(record: Any) -> Vocabulary:
    """The inverse of ``metadata``; raises ``ValueError`` for what is none."""
    kind = record.get("kind") if isinstance(record, dict) else None
    if kind == "bytes":
        return Bytes()
    if kind == "bpe" and is_of(record.get("json"), str):
        return BytePairs.from_json(record["json"])
    if kind == "characters" and is_of(record.get("symbols"), str) and is_of(record.get("unseen"), float):
        symbols, unseen = cast(str, record["symbols"]), cast(float, record["unseen"])
        if len(set(symbols)) == len(symbols) and 0 < unseen < 1:
            return Characters(symbols, unseen)
    raise ValueError(f"tokens can't be {shown(record)}")


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise DataError(
            "tokens of several bytes need the package tokenizers: pip install 'lowerbound[text]', or take "
            "tokens='characters'"
        ) from error
    return tokenizers
