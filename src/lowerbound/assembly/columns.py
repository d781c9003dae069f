"""From the schema of mixed columns to what the networks see and say of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lowerbound.data.columns.coding import standardized_atoms
from lowerbound.data.columns.schema import ColumnSchema
from lowerbound.distributions.likelihoods.scale import Scale
from lowerbound.distributions.scaling import Scaling
from lowerbound.nn.columns import CategoryBlock, ColumnInputs, ColumnsHead, RealBlock, WholeBlock

Placed = list[tuple[int, ColumnSchema]]  # columns with their places


def column_inputs(columns: Sequence[ColumnSchema]) -> ColumnInputs:
    """The view of a table's columns that an encoder reads."""
    categories, numbers = _categories(columns), [i for i, column in enumerate(columns) if not column.has_categories]
    shown = [column.n_common + (column.n_rare > 0) for _, column in categories]
    atoms = [standardized_atoms(columns[i]).tolist() for i in numbers]
    return ColumnInputs(numbers, atoms, [i for i, _ in categories], shown)


def columns_head(columns: Sequence[ColumnSchema], scale: str | float, min_scale: float) -> ColumnsHead:
    """The head for columns of several kinds; ``scale`` is "decoder", "feature" or "unit", in standardized units."""
    if scale not in ("auto", "decoder", "feature", "unit"):
        raise ValueError(f"scale={scale!r} has no meaning for columns of several kinds: use 'decoder' or 'feature'")
    blocks: list[nn.Module] = []
    start: list[Tensor] = []
    size = 0
    for group in _by_size(_categories(columns)):
        first = []
        for _, column in group:
            first.append(size)
            start.append(torch.tensor(column.frequencies, dtype=torch.float64).log())
            size += len(start[-1])
        blocks.append(_category_block(group, first))
    numbers = [(i, column) for i, column in enumerate(columns) if not column.has_categories]
    for kind, k in sorted({_family(column) for _, column in numbers}, key=_order):
        group = [(i, column) for i, column in numbers if (kind, k) == _family(column)]
        blocks.append(_number_block(kind, k, group, size, scale, min_scale))
        n_weights = 0 if k == 1 else k * len(group)
        places_and_scales, weights = (torch.zeros(n, dtype=torch.float64) for n in (2 * k * len(group), n_weights))
        start += [places_and_scales, *(_atom_logits(column) for _, column in group), weights]
        size += sum(map(len, start[-2 - len(group) :]))
    unseen = torch.tensor([column.unseen for column in columns], dtype=torch.float64)
    return ColumnsHead(blocks, torch.cat(start).float(), unseen)


def _categories(columns: Sequence[ColumnSchema]) -> Placed:
    return [(i, column) for i, column in enumerate(columns) if column.has_categories]


def _atom_logits(column: ColumnSchema) -> Tensor:
    """log of each atom's share less log of that of all other numbers; one number for a column without atoms."""
    shares = torch.tensor(column.atom_shares or (0.0,), dtype=torch.float64)
    return shares.clamp_min(1e-3 if len(shares) == 1 else 1e-6).log() - (1 - shares.sum()).clamp_min(1e-3).log()


def _family(column: ColumnSchema) -> tuple[str, int]:
    if column.kind == "count":
        return "whole", 1
    return "student" if column.heavy_tails else "normal", column.n_components


def _order(family: tuple[str, int]) -> tuple[int, int]:
    return ("whole", "normal", "student").index(family[0]), family[1]


def _by_size(categories: Placed) -> list[Placed]:
    """Columns whose numbers of categories are within a factor of two: padding wastes no more."""
    groups: dict[int, Placed] = {}
    for i, column in categories:
        groups.setdefault(max(1, column.n_common).bit_length(), []).append((i, column))
    return [groups[size] for size in sorted(groups)]


def _category_block(group: Placed, first: list[int]) -> CategoryBlock:
    widest = max(column.n_common + (column.n_rare > 0) for _, column in group)
    values = torch.full((len(group), widest), math.nan, dtype=torch.float64)
    for row, (_, column) in zip(values, group, strict=True):
        if column.are_numbers:
            row[: len(column.categories)] = torch.tensor(column.categories, dtype=torch.float64)
    places, columns = [i for i, _ in group], [column for _, column in group]
    return CategoryBlock(places, first, [c.n_common for c in columns], [c.n_rare for c in columns], values)


def _scaling(columns: Sequence[ColumnSchema]) -> Scaling:
    """In float64: of log-counts near 10⁶, float32 can't tell one from the next."""

    def of(name: str, otherwise: float = 0.0) -> Tensor:
        values = [getattr(column, name) for column in columns]
        return torch.tensor([otherwise if v is None else v for v in values], dtype=torch.float64)

    ends = of("low", -math.inf), of("high", math.inf)
    return Scaling(of("location"), of("unit"), of("log").bool(), of("shift"), *ends, *_knots(columns))


def _knots(columns: Sequence[ColumnSchema]) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """Quantiles and normal scores, (n, K) each; None if no column has any.

    All rows are filled up to the longest by going on straight, and those of columns without are the identity.
    """
    longest = max(len(column.quantiles) for column in columns)
    if not longest:
        return None, None
    each = [(c.quantiles, c.scores) if c.quantiles else ((0.0, 1.0),) * 2 for c in columns]
    knots = torch.stack([torch.stack([_straight_on(numbers, longest) for numbers in pair]) for pair in each], 1)
    return knots[0], knots[1]


def _straight_on(numbers: Sequence[float], n: int) -> Tensor:
    """n numbers that go on in steps of the last two."""
    known = torch.tensor(numbers, dtype=torch.float64)
    steps = torch.arange(1, n - len(known) + 1, dtype=torch.float64)
    return torch.cat([known, known[-1] + steps * (known[-1] - known[-2])])


def _number_block(
    kind: str, n_components: int, group: Placed, first: int, scale: str | float, min_scale: float
) -> nn.Module:
    places, columns = [i for i, _ in group], [column for _, column in group]
    scaling = _scaling(columns)
    one = torch.ones(len(group))
    how = {"auto": "decoder", "unit": "fixed", "feature": "learned"}.get(str(scale), "decoder")
    if kind == "whole":
        width = torch.tensor([1 / 8 / c.unit if not c.log else min_scale / 10 for c in columns])  # of a bin, in x
        logistic = Scale(how, one * math.sqrt(3) / math.pi, width.clamp(1e-6, 0.1))  # which has sd πs/√3
        lowest = torch.tensor([0.0 if c.log else -math.inf for c in columns])
        return WholeBlock(places, first, scaling, logistic, lowest)
    each = torch.ones(len(group) * n_components)
    within = each if n_components == 1 else math.sqrt(0.5) * each  # the other half of the variance is between them
    scale_of_each = Scale(how, within, min_scale * each)
    atoms = [column.atoms for column in columns]
    return RealBlock(places, first, scaling, scale_of_each, atoms, n_components, heavy=kind == "student")
