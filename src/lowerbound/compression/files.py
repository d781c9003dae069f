"""Rows to a file that a fitted model reads again, with as many bytes as −log p of the rows has."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lowerbound.compression.arrays import RowsCode
from lowerbound.compression.bits_back import NotCodableError
from lowerbound.compression.codec import Codec, Header
from lowerbound.compression.container import (
    Block,
    CompressedFileError,
    DamagedError,
    OtherArithmeticError,
    Reader,
    Writer,
    WrongModelError,
    opened,
)
from lowerbound.compression.models import digest_of, on_cpu
from lowerbound.compression.packed import Packed, pack
from lowerbound.compression.parts import Part, as_rows, parts_of, rows_code
from lowerbound.estimators.fitted import Fitted
from lowerbound.evaluation.bound import elbo_terms, exact_log_prob
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.precision import undisturbed_by_contexts
from lowerbound.storage.atomic import write_atomically
from lowerbound.warning import warn

Make = Callable[[bytes], Any]  # the estimator that a file holds


@dataclass(frozen=True)
class Compressed:
    """A file of compressed rows.

    Parameters
    ----------
    path : Path
    n_rows : int
        Rows, sequences or texts.
    n_dimensions : float
        The numbers of a row, on average where rows have unequal lengths; of a text its bytes, with one for its end.
    n_bytes : int
        Of the file.
    model_bytes : int
        Of these the model's, if it is in the file.
    bound : float
        −log2 p(x), or its upper bound −ELBO/ln 2, of all rows, in bits, and of where entries are missing: what the file
        should have.
    half_precision : bool
        The model in the file has weights of half precision.
    """

    path: Path
    n_rows: int
    n_dimensions: float
    n_bytes: int
    model_bytes: int
    bound: float
    half_precision: bool = False

    @property
    def bits_per_row(self) -> float:
        """Bits of the file a row, without the model."""
        return 8 * (self.n_bytes - self.model_bytes) / self.n_rows

    @property
    def bits_per_dim(self) -> float:
        """Bits of the file for each number, without the model."""
        return self.bits_per_row / max(1, self.n_dimensions)

    @property
    def overhead(self) -> float:
        """The part by which the file, without the model, exceeds the bound."""
        return 8 * (self.n_bytes - self.model_bytes) / self.bound - 1 if self.bound else math.inf


def fitted_of(model: Any) -> Fitted:
    """An estimator as a fitted model."""
    return model if isinstance(model, Fitted) else model.fitted_


@undisturbed_by_contexts
def compress(
    model: Any, X: Any, path: str | Path, *, decimals: int | None = None, with_model: bool = False,
    verify: bool = True,
) -> Compressed:  # fmt: skip
    """Write rows to a file from which ``decompress`` and the same model read them again, without loss.

    Parameters
    ----------
    model : estimator or Fitted
        A fitted model; one that is given a context is ``model.given(context)``.
    X : array-like or Source, shape (n, *row); list of sequences; list of str; Path
        A path is that of a text file, which comes back byte for byte.
    path : path
    decimals : int, optional
        To which real values are given.
    with_model : bool
        Put the model, an estimator, into the file too: with weights of half precision where these save more than they
        cost.
    verify : bool
        Read every block again before the next one is written.

    Raises
    ------
    NotCodableError
        If the model has no code, or the rows have no finite one.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import lowerbound
    >>> X = (np.random.default_rng(0).random((500, 8)) < 0.1).astype(np.uint8)
    >>> model = lowerbound.Factorized().fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = lowerbound.compress(model, X, f"{folder}/x.lb")
    ...     again = lowerbound.decompress(file.path, model)
    >>> bool((again == X).all())
    True
    """
    path, X = Path(path), as_rows(fitted_of(model), X)
    inside = packed(model, X) if with_model else Packed(model)
    fitted = fitted_of(inside.model)
    writing = _Writing(fitted, on_cpu(fitted), rows_code(fitted, X, decimals), inside, verify)
    write_atomically(path, lambda temporary: writing.write(X, temporary))
    n_rows, n_numbers, n_bytes = writing.n_rows, writing.n_numbers, path.stat().st_size
    n_dimensions = n_numbers / n_rows if n_numbers % n_rows else n_numbers // n_rows
    return Compressed(path, n_rows, n_dimensions, n_bytes, len(inside.content), writing.bound, inside.is_half)


@dataclass
class _Writing:
    """A file in the making, with the rows and the bound so far."""

    fitted: Fitted
    exact: Fitted
    rows: RowsCode
    inside: Packed
    verify: bool
    n_rows: int = 0
    n_numbers: int = 0
    bound: float = 0.0

    def write(self, X: Any, path: Path) -> None:
        """Write all blocks."""
        codec = writer = None
        with path.open("wb") as file:
            for part in parts_of(self.exact, X, self.rows):
                coded = self.rows.take(part.X)
                if codec is None or writer is None:
                    codec = Codec.suited(self.exact, self.rows, coded, part.context)
                    header = Header(digest_of(self.fitted), codec.probe(), codec.record(), self.inside.content)
                    writer = Writer(file, header.to_bytes())
                writer.write(self._block(codec, coded, part))
                self.n_rows += len(coded)
                self.n_numbers += self.rows.n_numbers(coded)
                self.bound += bound_of(self.exact, part) + self.rows.bits_besides(coded)
            assert writer is not None
            writer.finish()

    def _block(self, codec: Codec, coded: Any, part: Part) -> Block:
        block = codec.write(coded, part.context)
        if self.verify:
            again = codec.read(block, part.context)
            if again is None or not self.rows.are_same(part.X, self.rows.give(again)):
                raise NotCodableError("what was written doesn't give the same rows again on this machine: report it")
        return block


def bound_of(fitted: Fitted, part: Part) -> float:
    """−log2 p(x) of some rows, or its upper bound by one draw of z for each, in bits."""
    noise = replace(fitted, shared_noise=False).noise("compression")
    rows = replace(fitted, context_schema=None).checked_rows(part.checked)
    rows = rows if part.context is None else replace(rows, context=part.context)
    on = Evaluation(fitted.model, fitted.posterior, rows, noise)
    log_p = exact_log_prob(on) if fitted.model.knows_log_prob else elbo_terms(on).elbo
    return -log_p.sum().item() / math.log(2)


def packed(model: Any, X: Any) -> Packed:
    """A model as it goes into the file, of the precision that makes the file smaller, by the bound of some rows."""
    full, half = (pack(model, half=half) for half in (False, True))
    some = next(iter(parts_of(on_cpu(fitted_of(full.model)), X, rows_code(fitted_of(full.model), X, 0))))
    costs = [bound_of(on_cpu(fitted_of(each.model)), some) for each in (full, half)]
    more = (costs[1] - costs[0]) / len(some.checked) * len(X)
    return half if more < 8 * (len(full.content) - len(half.content)) else full


def estimate(model: Any, X: Any, *, decimals: int | None = None, with_model: bool = False) -> tuple[float, int]:
    """Bits of the rows, and bytes of the model, that a file would take; parameters as of ``compress``."""
    X = as_rows(fitted_of(model), X)
    inside = packed(model, X) if with_model else Packed(model)
    exact = on_cpu(fitted_of(inside.model))
    rows, bits = rows_code(exact, X, decimals), 0.0
    for part in parts_of(exact, X, rows):
        bits += bound_of(exact, part) + rows.bits_besides(rows.take(part.X))
    return bits, len(inside.content)


@contextmanager
def reading(path: str | Path, model: Any = None, make: Make | None = None) -> Iterator[Reading]:
    """A file that ``compress`` wrote, opened.

    Parameters
    ----------
    path : path
    model : estimator or Fitted, optional
        The model that the rows were compressed with; None if it is in the file.
    make : callable, optional
        Makes the estimator that is in the file.

    Raises
    ------
    CompressedFileError
        If the file can't be read; its subclasses say why.
    """
    with opened(path) as reader:
        yield Reading(reader, _codec_of(reader, Header.from_bytes(reader.header), model, make))


@dataclass(frozen=True)
class Reading:
    """An opened file.

    Attributes
    ----------
    reader : Reader
    codec : Codec
    """

    reader: Reader
    codec: Codec

    def __len__(self) -> int:
        return len(self.reader)

    @property
    def n_rows(self) -> int:
        """The rows of all blocks."""
        return sum(n for _, n in self.reader.places)

    def intact(self, blocks: Sequence[int]) -> list[int]:
        """Select the blocks whose bytes are as they were written; a warning names every other."""
        found = []
        for i in blocks:
            try:
                self.reader.block(i)
                found.append(i)
            except DamagedError as error:
                warn(f"{error}; its rows are left out")
        return found

    def rows(self, blocks: Sequence[int]) -> Iterator[Any]:
        """The rows of some blocks, counted from 0, one after another."""
        starts = np.cumsum([0, *(n for _, n in self.reader.places)])
        context = self.codec.fitted.coded_context(self.n_rows)
        for i in blocks:
            given = None if context is None else context[starts[i] : starts[i + 1]]
            yield _rows_of(self.codec, self.reader, i, given)


def _rows_of(codec: Codec, reader: Reader, i: int, context: Tensor | None) -> Any:
    """The rows of block ``i``."""
    coded = codec.read(reader.block(i), context)
    if coded is None:
        why = OTHER if context is None else f"the model is given another context, or {OTHER}"
        raise OtherArithmeticError(f"block {i} of {reader.name} decodes to other rows than were written: {why}")
    return codec.rows.give(coded)


OTHER = "this machine, or this version of torch, rounds otherwise; read the file where it was written"


def _codec_of(reader: Reader, header: Header, model: Any, make: Make | None) -> Codec:
    """The codec of a file, after the model and the arithmetic were checked."""
    if model is None:
        if not header.model or make is None:
            raise CompressedFileError(f"{reader.name} doesn't hold its model: say with which one it was written")
        model = make(header.model)
    fitted = fitted_of(model)
    digest = digest_of(fitted)
    if digest != header.sha256:
        raise WrongModelError(
            f"{reader.name} was written with the model {header.sha256.hex()[:16]}…, and this is "
            f"{digest.hex()[:16]}…: give the very model"
        )
    codec = Codec.of(on_cpu(fitted), header.record)
    if codec.probe() != header.probe:
        raise OtherArithmeticError(f"{reader.name} can't be read here: {OTHER}")
    return codec
