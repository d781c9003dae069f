"""Texts as rows: sequences of tokens with their end, in batches of like lengths; and texts as a context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from lowerbound.core import Batch
from lowerbound.data.batches import Rows, held_out, scattered
from lowerbound.data.checks import DataError
from lowerbound.data.context import ContextSchema
from lowerbound.data.fingerprint import hashed
from lowerbound.data.sequences import of_like_lengths
from lowerbound.data.tokens import Vocabulary, choose_vocabulary, vocabulary_from
from lowerbound.distributions.noise import Noise
from lowerbound.parallel import ALONE, WHOLE, Processes, Share
from lowerbound.parameters.tokens import BPE
from lowerbound.storage.records import is_of, shown


class Texts(list[str]):
    """Texts that were checked."""

    @classmethod
    def of(cls, X: Any, name: str = "X") -> Self:
        """Texts from a list, an array or a series of str; a text may be empty.

        Raises
        ------
        DataError
            If something is no text.
        """
        if isinstance(X, str):
            raise DataError(f"{name} is one text: give a list of texts, [text]")
        try:
            texts = cls(X)
        except TypeError as error:
            raise DataError(f"{name} must be a list of texts, got {type(X).__name__}") from error
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"{name} must be a list of texts, and entry {i} is {type(text).__name__}: give str")
            if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
                raise DataError(f"text {i} of {name} has half of a surrogate pair, which is no character: remove it")
        if not texts:
            raise DataError(f"{name} has no texts")
        return texts

    def digest(self) -> str:
        """A hash of all texts."""
        return hashed(part for text in self for part in (str(len(text)).encode(), b" ", text.encode()))


def is_text(context: Any) -> bool:
    """True for a context of texts: a str, or a list of them; arrays, series and frames are columns."""
    if isinstance(context, str):
        return True
    return isinstance(context, (list, tuple)) and len(context) > 0 and all(isinstance(c, str) for c in context)


@dataclass(frozen=True)
class TextSchema:
    """The tokens of some texts.

    Attributes
    ----------
    vocabulary : Vocabulary
    frequencies : ndarray, shape (K + 1,)
        Of the tokens, and of the end; one is added to each count.
    longest : int
        Tokens of the longest text.
    """

    vocabulary: Vocabulary
    frequencies: np.ndarray
    longest: int

    layout: ClassVar[str] = "text"
    is_image: ClassVar[bool] = False
    columns: ClassVar[None] = None

    @property
    def likelihood(self) -> str:
        """The kind of tokens."""
        return self.metadata()["kind"]

    @classmethod
    def infer(cls, texts: Sequence[str], tokens: str | BPE) -> TextSchema:
        """The schema of the texts, with the tokens that are asked for."""
        vocabulary = choose_vocabulary(texts, tokens)
        K, counts = vocabulary.n_tokens, np.ones(vocabulary.n_tokens + 1)
        each = vocabulary.encode(texts)
        for tokens_of_text in each:
            counts += np.bincount([*tokens_of_text, K], minlength=K + 1)
        return cls(vocabulary, counts / counts.sum(), max(map(len, each)))

    def rows(self, texts: Sequence[str], device: torch.device, context: Tensor | None = None) -> TextRows:
        """The rows of texts, each with its end."""
        return self.rows_of(self.vocabulary.encode(texts), device, context)

    def rows_of(
        self, tokens: Sequence[Sequence[int]], device: torch.device, context: Tensor | None = None, *, ends: bool = True
    ) -> TextRows:
        """The rows of texts whose tokens are known; without ``ends`` of beginnings of texts, whose end isn't there."""
        K = self.vocabulary.n_tokens
        each = [[*text, K] if ends else text for text in tokens]
        lengths = torch.tensor([len(text) for text in each])
        flat = torch.tensor([token for text in each for token in text], dtype=torch.int64)
        return TextRows(flat, lengths.cumsum(0) - lengths, lengths, (self.longest + 1, K + 1), device, context)

    def metadata(self) -> dict[str, Any]:
        """The schema without its arrays, as JSON holds it."""
        return {**self.vocabulary.metadata(), "longest": self.longest}

    def arrays(self) -> dict[str, Tensor]:
        """The arrays of the schema."""
        return {"frequencies": torch.from_numpy(self.frequencies)}

    @classmethod
    def from_saved(cls, record: Any, arrays: dict[str, Tensor]) -> TextSchema:
        """The inverse of ``metadata`` and ``arrays``."""
        vocabulary, frequencies = vocabulary_from(record), arrays["frequencies"].double().numpy()
        if frequencies.shape != (vocabulary.n_tokens + 1,) or not (frequencies > 0).all():
            raise ValueError("the frequencies aren't one for each token and the end")
        longest = record.get("longest")
        if not is_of(longest, int) or longest < 1:
            raise ValueError(f"the longest text can't have {shown(longest)} tokens")
        return cls(vocabulary, frequencies, longest)


@dataclass(frozen=True)
class TextContext:
    """A context that is text, in tokens of its own.

    Attributes
    ----------
    vocabulary : Vocabulary
    """

    vocabulary: Vocabulary

    names: ClassVar[list[str]] = ["text"]

    @classmethod
    def infer(cls, context: Sequence[str], tokens: str | BPE) -> TextContext:
        """The tokens of the texts."""
        return cls(choose_vocabulary(Texts.of(context, "the context"), tokens))

    def encode(self, context: Any, n_rows: int) -> np.ndarray:
        """The tokens and the end of each of ``n_rows`` texts, and −1 behind it, shape (n_rows, C); one is of all."""
        texts = Texts.of([context] if isinstance(context, str) else context, "the context")
        if len(texts) not in (1, n_rows):
            raise ValueError(f"the context has {len(texts)} texts, and there are {n_rows} to be given one")
        each = self.vocabulary.encode(texts)
        tokens = np.full((len(each), max(map(len, each)) + 1), -1)
        for row, found in zip(tokens, each, strict=True):
            row[: len(found) + 1] = [*found, self.vocabulary.n_tokens]
        return np.repeat(tokens, n_rows if len(texts) == 1 else 1, 0)

    def metadata(self) -> dict[str, Any]:
        """The context as JSON holds it."""
        return self.vocabulary.metadata()

    @classmethod
    def from_saved(cls, record: Any) -> TextContext | ContextSchema:
        """The inverse of ``metadata``; columns, if the record is a list of them."""
        return ContextSchema.from_saved(record) if isinstance(record, list) else cls(vocabulary_from(record))


@dataclass
class TextRows(Rows):
    """Texts in memory, as tokens one after another.

    In ``Batch(x, mask, index)`` x is (B, T) of int64, T being that of the longest text of the batch with its end;
    ``mask`` is True within the length.

    Parameters
    ----------
    tokens : Tensor of int64, shape (ΣT,)
    starts, lengths : Tensor of int64, shape (n,)
        The place of the first token of each text, and the number of tokens, the end among them.
    sizes : (int, int)
        Tokens of the longest text that was fitted, with its end, and K + 1: how many probabilities there are. Of the
        texts at hand it doesn't tell, so that the numbers of one don't depend on the others.
    device : torch.device
    context : Tensor, shape (n, C), optional
        Tokens of a context, −1 behind their end, or numbers.
    """

    tokens: Tensor
    starts: Tensor
    lengths: Tensor
    sizes: tuple[int, int]
    device: torch.device
    context: Tensor | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """``sizes``."""
        return self.sizes

    def batches(
        self,
        batch_size: int,
        noise: Noise | None = None,
        order: torch.Generator | None = None,
        start: int = 0,
        processes: Processes = ALONE,
    ) -> Iterator[Batch]:
        """Yield batches of like lengths in random order; without ``order``, all in their order, in smaller batches."""
        if processes.size > 1:
            raise ValueError("a model of texts is trained in one process: start it without torchrun")
        for index in of_like_lengths(self.lengths, batch_size, order)[start:]:
            yield self.batch(index, noise)

    def batch(self, index: Tensor, noise: Noise | None = None, share: Share = WHOLE) -> Batch:
        """The texts with the given indices, padded to the longest of them."""
        if noise is not None:
            noise.restart(share)
        lengths = self.lengths[index]
        time = torch.arange(int(lengths.max()))
        within = time < lengths[:, None]
        places = torch.where(within, self.starts[index][:, None] + time, 0)
        x = torch.where(within, self.tokens[places], self.sizes[1] - 1).to(self.device)
        context = None if self.context is None else trimmed(self.context[index.to(self.context.device)])
        return Batch(x, within.to(self.device), index, share, bool(within.all()), context=context)

    def parts(self, batch_size: int) -> Iterator[TextRows]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Yield all texts at once: they are in memory."""
        yield self

    def digest(self) -> str:
        """A hash of all tokens, of the lengths and of the context."""
        tensors = (self.tokens, self.starts, self.lengths, self.context)
        return hashed([b"none" if t is None else t.cpu().numpy() for t in tensors])

    def few(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, n: int, order: torch.Generator | None = None
    ) -> TextRows:
        """Texts from all parts of the data."""
        return self.subset(scattered(len(self), n, order))

    def split(self, fraction: float, order: torch.Generator) -> tuple[TextRows, TextRows | None]:
        """Hold out texts at random."""
        places = held_out(len(self), fraction, order)
        return (self, None) if places is None else (self.subset(places[0]), self.subset(places[1]))

    def subset(self, index: Tensor) -> TextRows:
        """The texts with the given places, in that order; their tokens are shared."""
        context = None if self.context is None else self.context[index.to(self.context.device)]
        return replace(self, starts=self.starts[index], lengths=self.lengths[index], context=context)


def trimmed(context: Tensor) -> Tensor:
    """The context without columns behind the end of all texts."""
    if context.is_floating_point():
        return context
    return context[:, : int((context >= 0).sum(1).max())]


def dialogue_pairs(
    turns: Sequence[Any], n_turns: int | None = None, speaker: str | None = None
) -> list[tuple[str, str]]:
    """The turns of a dialogue as pairs of what was said so far and the response.

    Parameters
    ----------
    turns : sequence of str, or of (speaker, text)
    n_turns : int, optional
        The number of turns before the response, at most; all if None. A line of the context is a turn.
    speaker : str, optional
        Responses of one speaker alone.

    Returns
    -------
    list of (context, response)

    Examples
    --------
    >>> from lowerbound import dialogue_pairs
    >>> dialogue_pairs(["Hello!", "Hello, can I help you?", "A table for two."], n_turns=1)
    [('Hello!', 'Hello, can I help you?'), ('Hello, can I help you?', 'A table for two.')]
    """
    spoken = [(None, turn) if isinstance(turn, str) else tuple(turn) for turn in turns]
    if speaker is not None and speaker not in {who for who, _ in spoken}:
        raise DataError(f"nobody in the dialogue is {speaker!r}: turns are pairs of a speaker and a text")
    first = [0 if n_turns is None else max(0, i - n_turns) for i in range(len(spoken))]
    return [
        ("\n".join(text for _, text in spoken[first[i] : i]), spoken[i][1])
        for i in range(1, len(spoken))
        if speaker is None or spoken[i][0] == speaker
    ]
