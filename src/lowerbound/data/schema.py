"""The schema of a data set's rows, and the way between the user's units and the model's.

Real values are standardized and kept as float32, 0/1 data and 8-bit images as bytes, categories as integers. Images
have events of shape (C, H, W), whatever the order of the user's axes; all else is (F,).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lowerbound.data.columns.coding import decode
from lowerbound.data.columns.schema import ColumnSchema
from lowerbound.data.frames import in_container
from lowerbound.data.gaps import gaps_of
from lowerbound.data.integers import whole
from lowerbound.data.layout import arrange
from lowerbound.data.likelihoods import BINARY, check_grey, check_grey_scale, choose, grey_levels, grey_levels_of
from lowerbound.data.saved import schema_fields
from lowerbound.data.sources import Source
from lowerbound.data.statistics import Extent, Statistics, measure, row_blocks
from lowerbound.distributions.likelihoods.kind import LikelihoodError, LikelihoodKind
from lowerbound.distributions.likelihoods.table import kind_of
from lowerbound.distributions.noise import Noise

CACHED = 2**16  # values that are standardized at once


class ConstantFeatureWarning(UserWarning):
    """A feature has one value only, so it is kept out of the density."""


@dataclass(frozen=True)
class Schema:
    """The type, layout and statistics of the rows. Arrays have the event's shape.

    Attributes
    ----------
    likelihood : str
        A word of ``parameters.likelihoods.LIKELIHOODS``, or "columns" where each column has its own.
    row_shape : tuple of int
        Shape of a row as the user gives it.
    event_shape : tuple of int
        Shape of a row as the networks see it.
    layout : {"features", "image", "columns"}
        What the axes of an event are: (F,), or (C, H, W), or the columns of a table of several kinds.
    channels_last : bool
        The user's images are (H, W, C); else (C, H, W), or (H, W) with a channel of no axis.
    dtype : str
        The user's dtype, for the draws that are given back.
    binarize : {None, "sample", "threshold", "mean"}
        How x becomes 0 or 1: drawn with grey values as probabilities, cut at half of them, or cut at the mean of each
        feature (which leaves 0/1 features as they are).
    grey_levels : int
        What stands for 1 in grey values to be binarized: 255 for bytes, else 1.
    n_categories : int
        K of a categorical likelihood.
    location, unit : ndarray of float64
        Real values enter the model as (x − location)/unit; where they are cut at the mean, as 1 above location.
    mean, spread : ndarray of float64
        Mean and standard deviation of the features, in the model's units; a mean is NaN where nothing was observed.
    counted : ndarray of bool
        False for features that are constant or were never observed, which are kept out of the density.
    frequencies : ndarray of float64, shape (K, *event)
        How often each category of a categorical feature occurs; empty otherwise.
    gaps : bool
        Some entries were missing.
    columns : tuple of ColumnSchema or None
        Of a table whose columns are of several kinds; x is then what ``columns.encode`` makes of it.
    container : {"pandas", "polars", "pyarrow"}
        The library in which rows of such a table are given back.
    n_directions : int
        ``spectrum.informative_directions``, or 0.
    """

    likelihood: str
    row_shape: tuple[int, ...]
    event_shape: tuple[int, ...]
    layout: str
    channels_last: bool
    dtype: str
    binarize: str | None
    grey_levels: int
    n_categories: int
    location: np.ndarray
    unit: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    counted: np.ndarray
    frequencies: np.ndarray
    gaps: bool = False
    columns: tuple[ColumnSchema, ...] | None = None
    container: str = "pandas"
    n_directions: int = 0

    ARRAYS = ("location", "unit", "mean", "spread", "counted", "frequencies")

    @property
    def kind(self) -> LikelihoodKind:
        """The likelihood itself, of data that are no columns of several kinds."""
        return kind_of(self.likelihood)

    @property
    def is_image(self) -> bool:
        """Events are (C, H, W)."""
        return self.layout == "image"

    @property
    def axes(self) -> str:
        """The order of the axes of the user's rows, or that in which the values of flat ones lie: "(H, W, C)"."""
        if not self.is_image or self.channels_last:
            return "(H, W, C)" if self.is_image else "(F)"
        return "(C, H, W)" if self.event_shape[0] > 1 or self.row_shape == self.event_shape else "(H, W)"

    @property
    def is_standardized(self) -> bool:
        """Real values reach the networks with mean 0 and standard deviation 1."""
        if self.columns is not None or not self.kind.can_standardize:
            return False
        mean, spread = self.mean[self.counted], self.spread[self.counted]
        return np.allclose(mean, 0, atol=1e-6) and np.allclose(spread, 1)

    @property
    def in_deviations(self) -> np.ndarray:
        """Entries of a table that reach the model in standard deviations from their mean, (*event) of bool."""
        if self.columns is not None:
            return np.array([not column.has_categories for column in self.columns])
        return np.full(self.event_shape, self.is_standardized and not self.is_image)

    @property
    def row_unit(self) -> np.ndarray:
        """The user's units in one unit of x, shape (*row)."""
        return self.to_rows(self.unit[None])[0] if self.unit.size else np.ones(self.row_shape)

    @property
    def is_discrete(self) -> bool:
        """log p(x) is a log-probability, so that it can be read in bits."""
        if self.columns is not None:
            return all(column.has_categories or column.kind == "count" for column in self.columns)
        return self.kind.is_discrete

    @property
    def n_dimensions(self) -> int:
        """Entries of a row that count in the density."""
        return int(self.counted.sum())

    def to_event(self, X: np.ndarray) -> np.ndarray:
        """(n, *row) → (n, *event), a view."""
        if self.channels_last:
            channels, height, width = self.event_shape
            return np.moveaxis(X.reshape(len(X), height, width, channels), -1, 1)
        return X.reshape(len(X), *self.event_shape)

    def to_rows(self, x: np.ndarray) -> np.ndarray:
        """(n, *event) → (n, *row)."""
        x = np.moveaxis(x, 1, -1) if self.channels_last else x
        return np.ascontiguousarray(x).reshape(len(x), *self.row_shape)

    def store(self, X: np.ndarray, dtype: torch.dtype = torch.float32, grey_levels: int | None = None) -> Tensor:
        """The user's rows as they are kept for the model, shape (n, *event): bytes, categories or real numbers.

        What stands for 1 in grey values is seen from ``X``, unless ``X`` is a part of the data that may be too dark.
        """
        if X.shape[1:] != self.row_shape:
            raise ValueError(
                f"rows have shape {X.shape[1:]}, but the model was fitted to rows of shape {self.row_shape}"
            )
        self.check(X)
        x = self.to_event(np.ma.getdata(X))
        if self.columns is not None:
            return torch.from_numpy(x).to(dtype)
        if not self.is_discrete:
            return self._standardized(x, dtype)
        if self.binarize == "mean":
            return torch.from_numpy((x > self.location).astype(np.uint8))
        if self.binarize:
            return _read_only(self._to_grey(x, grey_levels or grey_levels_of(x)))
        return _read_only(np.ascontiguousarray(x).astype(self.kind.storage(self.n_categories), copy=False))

    def _standardized(self, x: np.ndarray, dtype: torch.dtype) -> Tensor:
        """(x − location)/unit, computed in float64 a few rows at a time: temporary arrays stay in the cache."""
        raw = torch.empty(x.shape, dtype=dtype)
        step = max(1, CACHED // max(1, math.prod(x.shape[1:])))
        for first in range(0, len(x), step):
            raw[first : first + step] = torch.from_numpy((x[first : first + step] - self.location) / self.unit)
        return raw

    def observed(self, X: np.ndarray) -> Tensor | None:
        """The mask of observed entries, shape (n, *event); None if no entry is missing."""
        gaps = gaps_of(X)
        return None if gaps is None else torch.from_numpy(np.ascontiguousarray(self.to_event(~gaps)))

    def _to_grey(self, x: np.ndarray, grey_levels: int) -> np.ndarray:
        """Grey values on the scale that the model was fitted on, whether they come as bytes, in [0, 1], or as 0/1."""
        if (factor := self.grey_levels / grey_levels) != 1 or x.dtype != np.uint8:
            return np.ascontiguousarray(x, np.float32) * np.float32(factor)
        return np.ascontiguousarray(x)

    def prepare(self, raw: Tensor, noise: Noise | None, dtype: torch.dtype = torch.float32) -> Tensor:
        """Rows as they are kept → x as the model reads it; grey values become 0 or 1 here."""
        x = raw.to(dtype)
        if self.binarize == "threshold":
            return (x >= 0.5 * self.grey_levels).to(dtype)
        if self.binarize == "sample":
            if noise is None:
                raise ValueError("binarize='sample' needs noise to draw from")
            return (noise.uniform((1, *x.shape), x)[0] * self.grey_levels < x).to(dtype)
        return x

    def restore(self, x: Tensor, *, expected: bool) -> Any:
        """x from the model, (n, *event), in the user's units and shape.

        Parameters
        ----------
        x : Tensor
        expected : bool
            x is an expectation, so it stays real; else it is a draw, given in the user's dtype. Grey values that
            were binarized come back as probabilities or as 0 and 1.
        """
        values = x.detach().cpu().double().numpy()
        if self.columns is not None:
            return in_container(decode(values, self.columns, expected=expected), self.container)
        if not self.is_discrete:
            values = np.where(self.counted, values, self.mean) * self.unit + self.location  # what is constant stays so
        dtype = np.dtype(self.dtype)
        if self.is_discrete and not self.counted.all():  # never observed
            values = np.where(self.counted, values, np.nan if expected or dtype.kind == "f" else 0)
        real = dtype if dtype.kind == "f" else np.dtype(np.float64)
        if expected and not self.kind.is_nominal:
            return self.to_rows(values).astype(real)
        return self.to_rows(whole(values, dtype) if dtype.kind in "iu" else values).astype(dtype)

    def check(self, X: np.ndarray) -> None:
        """Raise ``LikelihoodError`` if the likelihood can't describe ``X``."""
        if self._refuses_some and X.size:
            try:
                self.check_extent(measure(Extent.of, row_blocks(X)), X.dtype)
            except LikelihoodError as error:
                raise error.after_fit() from None

    def check_extent(self, extent: Extent, dtype: np.dtype) -> None:
        """Raise ``LikelihoodError`` if the likelihood can't describe data of this extent."""
        if not self._refuses_some:
            return
        if self.binarize:
            return check_grey(extent, dtype)
        self.kind.check(extent, dtype, self.n_categories)

    @property
    def _refuses_some(self) -> bool:
        """Data have to be looked at before the likelihood can be said to describe them."""
        return self.columns is None and not self.kind.takes_all and self.binarize != "mean"

    def output_bias(self, n_parameters: int) -> Tensor:
        """The start of the decoder's raw parameters, shape (P, *event): the features' own distributions."""
        return self.kind.start(self, n_parameters)

    def metadata(self) -> dict[str, Any]:
        """The fields that JSON can hold."""
        return {k: v for k, v in asdict(self).items() if k not in self.ARRAYS}

    def arrays(self) -> dict[str, Tensor]:
        """The fields that go into the tensor file."""
        return {name: torch.from_numpy(np.ascontiguousarray(getattr(self, name))) for name in self.ARRAYS}

    @classmethod
    def from_saved(cls, metadata: dict[str, Any], arrays: dict[str, Tensor]) -> Schema:
        """The inverse of ``metadata`` and ``arrays``; raises ``ValueError`` where they are no schema's."""
        return cls(**schema_fields(cls, metadata, arrays, cls.ARRAYS))

    @classmethod
    def of_columns(cls, columns: tuple[ColumnSchema, ...], *, gaps: bool, container: str = "pandas") -> Schema:
        """The schema of a table of several kinds; columns without any value are kept out of the density."""
        n, zero, one = len(columns), np.zeros(len(columns)), np.ones(len(columns))
        counted = np.array([column.categories != (None,) for column in columns])
        return cls(
            likelihood="columns", row_shape=(n,), event_shape=(n,), layout="columns", channels_last=False,
            dtype="float64", binarize=None, grey_levels=1, n_categories=0, location=zero, unit=one, mean=zero.copy(),
            spread=one.copy(), counted=counted, frequencies=zero[:0], gaps=gaps, columns=columns, container=container,
        )  # fmt: skip


def _read_only(x: np.ndarray) -> Tensor:
    """The array as a tensor that shares its memory, which may be a read-only file: nothing writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(x)


def infer_schema(
    X: np.ndarray | Source,
    *,
    likelihood: str = "auto",
    binarize: str | None = None,
    standardize: bool | str = "auto",
    image_shape: Sequence[int] | None = None,
    layout: str = "auto",
    names: list[str] | None = None,
) -> Schema:
    """Look at the data and say what they are.

    Parameters
    ----------
    X : ndarray or Source, shape (n, *row)
    likelihood : str
        "auto", or a word of ``parameters.likelihoods.LIKELIHOODS``.
    binarize : {None, "sample", "threshold", "mean"}
    standardize : bool or "auto"
        Real values only; "auto" is True.
    image_shape : tuple of int, optional
        (H, W), (H, W, C) or (C, H, W) of images given flat.
    layout : {"auto", "image", "channels_first", "features"}
        As in ``layout.arrange``.
    names : list of str, optional
        Names of the features, for messages.

    Raises
    ------
    LikelihoodError
        If the likelihood can't describe the data.
    ValueError
        If the layout isn't clear: ``layout.arrange``.
    """
    arranged = arrange(X, image_shape, layout)
    seen = measure(Statistics.of, row_blocks(X))
    is_image = arranged.layout == "image"
    chosen = choose(seen.extent, X.dtype, binarize, images=is_image) if likelihood == "auto" else likelihood
    if binarize and chosen != BINARY:
        raise LikelihoodError(
            f"binarize={binarize!r} makes 0/1 data, which likelihood={chosen!r} doesn't describe: use 'bernoulli'"
        )
    kind = kind_of(chosen)
    if standardize is True and not kind.can_standardize:
        raise LikelihoodError(
            f"standardize=True is for real values; likelihood={chosen!r} works on the data as they are"
        )
    empty = np.zeros(0)
    schema = Schema(
        likelihood=chosen, row_shape=X.shape[1:], **vars(arranged),
        dtype=X.dtype.name, binarize=binarize, grey_levels=grey_levels(X.dtype, seen.extent.highest),
        n_categories=kind.count_categories(seen.extent), location=empty, unit=empty, mean=empty, spread=empty,
        counted=np.ones(arranged.event_shape, bool), frequencies=empty, gaps=bool((seen.count < seen.n_rows).any()),
    )  # fmt: skip
    schema.check_extent(seen.extent, X.dtype)
    check_grey_scale(seen.extent, X.dtype, binarize)
    return _with_statistics(schema, X, seen, standardize, names)


def _with_statistics(
    schema: Schema, X: np.ndarray | Source, seen: Statistics, standardize: bool | str, names: list[str] | None
) -> Schema:
    shape, kind = schema.event_shape, schema.kind
    mean, spread, count = (schema.to_event(a[None])[0].copy("C") for a in (seen.mean, seen.spread, seen.count))
    mean, schema = np.where(count > 0, mean, np.nan), replace(schema, counted=count > 0)
    if kind.is_nominal:
        schema = replace(schema, frequencies=_category_counts(schema, X) / np.maximum(count, 1))
    if schema.binarize == "mean":
        above = measure(Statistics.of, (schema.to_event(block) > mean for block in row_blocks(X)))
        return replace(schema, location=mean, mean=above.mean, spread=above.spread)
    if kind.is_discrete:
        mean, spread = kind.in_model_units(mean / (schema.grey_levels if schema.binarize else 1), spread)
        return replace(schema, mean=mean, spread=spread)
    counted = spread > 1e-12 * np.maximum(np.abs(mean), 1e-300)
    _warn_constant(schema, counted, names)
    spread = np.where(counted, spread, 1.0)
    zero, one = np.zeros(shape), np.ones(shape)
    if standardize and kind.can_standardize:
        location, mean = np.nan_to_num(mean), mean - np.nan_to_num(mean)
        return replace(schema, location=location, unit=spread, mean=mean, spread=one, counted=counted)
    return replace(schema, location=zero, unit=one, mean=mean, spread=spread, counted=counted)


def _category_counts(schema: Schema, X: np.ndarray | Source) -> np.ndarray:
    """The number of occurrences of each category, shape (K, *event)."""
    counts = np.zeros((schema.n_categories, *schema.event_shape), np.int64)
    for block in row_blocks(X):
        x = schema.to_event(block)
        counts += np.stack([(x == category).sum(0) for category in range(schema.n_categories)])
    return counts


def _warn_constant(schema: Schema, counted: np.ndarray, names: list[str] | None) -> None:
    if counted.all():
        return
    if not counted.any():
        raise ValueError("every feature of X is constant: there is no density to fit")
    positions = np.flatnonzero(~schema.to_rows(counted[None])[0].ravel())
    listed = [str(names[i]) if names else str(i) for i in positions[:10]] + (["…"] if len(positions) > 10 else [])
    warnings.warn(
        f"{len(positions)} constant feature(s) kept out of the density: {', '.join(listed)}",
        ConstantFeatureWarning,
        stacklevel=2,
    )
