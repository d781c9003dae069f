"""Mixed columns in networks: the encoder's inputs, and the distribution of the columns from the decoder's outputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lowerbound.distributions.atoms import is_atom, place_of, value_of
from lowerbound.distributions.columns import Categories, Columns, Reals, WholeNumbers
from lowerbound.distributions.likelihoods.likelihood import LikelihoodHead
from lowerbound.distributions.likelihoods.scale import Scale
from lowerbound.distributions.scaling import Scaling
from lowerbound.distributions.unseen import is_unseen
from lowerbound.nn.inputs import drawn_in


class ColumnInputs(nn.Module):
    """(B, F) → (B, E): numbers after ``drawn_in``, categories as indicators, zeros where nothing was observed.

    A linear layer after it embeds the categories. A value that wasn't seen in the fit says nothing of z. An atom is
    shown as its number and indicators: that it is an atom, and which. If there is but one, its number says nothing.

    Parameters
    ----------
    numbers : sequence of int
        Places of columns of numbers.
    atoms : sequence of sequences of float
        Standardized values of the atoms of each column of numbers.
    categories : sequence of int
        Places of columns of categories.
    n_shown : sequence of int
        Indicators of each categorical column; the last one stands for all its rare categories.
    """

    def __init__(
        self, numbers: Sequence[int], atoms: Sequence[Sequence[float]], categories: Sequence[int],
        n_shown: Sequence[int],
    ) -> None:  # fmt: skip
        super().__init__()
        self.numbers: Tensor
        self.atoms: Tensor
        self.several: Tensor
        self.first: Tensor
        self.categories: Tensor
        self.last: Tensor
        self.start: Tensor
        shown = torch.tensor(n_shown, dtype=torch.int64)
        self.register_buffer("numbers", torch.tensor(numbers, dtype=torch.int64), persistent=False)
        self.register_buffer("categories", torch.tensor(categories, dtype=torch.int64), persistent=False)
        self.register_buffer("last", shown - 1, persistent=False)
        self.register_buffer("start", shown.cumsum(0) - shown, persistent=False)
        self.n_indicators: int = int(shown.sum())
        n_atoms = torch.tensor([len(each) for each in atoms], dtype=torch.int64)
        several = torch.where(n_atoms > 1)[0]
        self.register_buffer("atoms", padded(atoms, [len(each) > 1 for each in atoms]), persistent=False)
        self.register_buffer("several", several, persistent=False)
        self.register_buffer("first", n_atoms[several].cumsum(0) - n_atoms[several], persistent=False)
        self.n_atoms: int = int(n_atoms[several].sum())

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Numbers, indicators of atoms, of categories, and of which atom it is."""
        mask = ~is_unseen(x) if mask is None else mask & ~is_unseen(x)
        numbers, known = x[:, self.numbers], mask[:, self.numbers]
        at_atom = known & is_atom(numbers)
        place = torch.minimum(x[:, self.categories].clamp_min(0).long(), self.last) + self.start
        indicators = x.new_zeros(len(x), self.n_indicators)
        indicators.scatter_(1, place, mask[:, self.categories].to(x.dtype))
        shown = torch.where(at_atom, value_of(numbers, self.atoms.to(x.dtype)), numbers)
        shown = drawn_in(torch.where(known, shown, 0.0))
        return torch.cat([shown, at_atom.to(x.dtype), indicators, self._which(numbers, at_atom)], 1)

    def _which(self, numbers: Tensor, at_atom: Tensor) -> Tensor:
        """Indicators of each atom of the columns with several, (B, ΣM)."""
        which = numbers.new_zeros(len(numbers), self.n_atoms)
        place = place_of(numbers[:, self.several]).long() + self.first
        return which.scatter_(1, place, at_atom[:, self.several].to(numbers.dtype))


def padded(rows: Sequence[Sequence[float]], kept: Sequence[bool] | None = None) -> Tensor:
    """Numbers of each row, filled up with zeros to the longest row, and at least one, in float64; 0 where not kept."""
    filled = torch.zeros(len(rows), max([1, *map(len, rows)]), dtype=torch.float64)
    for i, row in enumerate(rows):
        if kept is None or kept[i]:
            filled[i, : len(row)] = torch.tensor(row, dtype=torch.float64)
    return filled


class CategoryBlock(nn.Module):
    """Columns with similar numbers of categories, whose logits are padded with −∞.

    Parameters
    ----------
    places : sequence of int
        Places of the columns in x.
    first : sequence of int
        Place of each column's first logit in the decoder's output.
    n_common, n_rare : sequence of int
    values : Tensor, shape (n, K)
        See `lowerbound.distributions.columns.Categories`.
    """

    def __init__(
        self, places: Sequence[int], first: Sequence[int], n_common: Sequence[int], n_rare: Sequence[int],
        values: Tensor,
    ) -> None:  # fmt: skip
        super().__init__()
        self.places: Tensor
        self.index: Tensor
        self.pad: Tensor
        self.n_common: Tensor
        self.n_rare: Tensor
        self.values: Tensor
        n_logits = torch.tensor([c + (r > 0) for c, r in zip(n_common, n_rare, strict=True)])
        k = torch.arange(int(n_logits.max()))
        self.register_buffer("places", torch.tensor(places), persistent=False)
        self.register_buffer("pad", k >= n_logits[:, None], persistent=False)
        index = torch.tensor(first)[:, None] + torch.minimum(k, n_logits[:, None] - 1)
        self.register_buffer("index", index, persistent=False)
        self.register_buffer("n_common", torch.tensor(n_common), persistent=False)
        self.register_buffer("n_rare", torch.tensor(n_rare), persistent=False)
        self.register_buffer("values", values, persistent=False)

    def forward(self, raw: Tensor) -> Categories:
        """(S, B, P) → the categories' probabilities."""
        logits = raw[..., self.index].masked_fill(self.pad, -torch.inf)
        return Categories(logits, self.n_common, self.n_rare, self.values)


class NumberBlock(nn.Module):
    """n columns of numbers of one kind, each with a location and a scale from the decoder.

    Parameters
    ----------
    places : sequence of int
        Places of the columns in x.
    first : int
        Place of the first of n locations in the decoder's output; n scales follow.
    scaling : Scaling
    scale : Scale
    """

    n_components = 1  # components of each column's density

    def __init__(self, places: Sequence[int], first: int, scaling: Scaling, scale: Scale) -> None:
        super().__init__()
        self.places: Tensor
        self.location: Tensor
        self.unit: Tensor
        self.log: Tensor
        self.shift: Tensor
        self.low: Tensor
        self.high: Tensor
        self.quantiles: Tensor | None
        self.scores: Tensor | None
        self.first: int
        self.scale: Scale
        self.first, self.scale = first, scale
        self.register_buffer("places", torch.tensor(places), persistent=False)
        for name, value in vars(scaling).items():
            self.register_buffer(name, value, persistent=False)

    @property
    def scaling(self) -> Scaling:
        """The transform from the user's numbers to entries of x."""
        ends = self.low, self.high
        return Scaling(self.location, self.unit, self.log, self.shift, *ends, self.quantiles, self.scores)

    def part(self, raw: Tensor, i: int) -> Tensor:
        """Locations (i = 0) or scales (1) of every column's components, (S, B, nK)."""
        n = len(self.places) * self.n_components
        return raw[..., self.first + i * n : self.first + (i + 1) * n]

    def scale_of(self, raw: Tensor) -> Tensor:
        """σ or s of every column's components, (S, B, nK)."""
        scale = self.scale(self.part(raw, 1) if self.scale.kind == "decoder" else None)
        return scale.expand_as(self.part(raw, 0))


class WholeBlock(NumberBlock):
    """Columns of whole numbers; ``lowest`` (n,) is the smallest possible value."""

    def __init__(self, places: Sequence[int], first: int, scaling: Scaling, scale: Scale, lowest: Tensor) -> None:
        super().__init__(places, first, scaling, scale)
        self.lowest: Tensor
        self.register_buffer("lowest", lowest, persistent=False)

    def forward(self, raw: Tensor) -> WholeNumbers:
        """(S, B, P) → the numbers' probabilities."""
        return WholeNumbers(self.part(raw, 0), self.scale_of(raw), self.scaling, self.lowest)


class RealBlock(NumberBlock):
    """Columns of real numbers, each with a list of ``atoms``. With heavy tails ν > 2 is learned.

    A column's density has K components, which start side by side, with half of its variance between them. After nK
    locations and nK scales come the logits of the atoms, one unused for a column without, and if K > 1 nK logits of
    components.
    """

    def __init__(
        self, places: Sequence[int], first: int, scaling: Scaling, scale: Scale, atoms: Sequence[Sequence[float]],
        n_components: int, *, heavy: bool,
    ) -> None:  # fmt: skip
        super().__init__(places, first, scaling, scale)
        self.atoms: Tensor
        self.no_atom: Tensor
        self.index: Tensor
        self.offset: Tensor
        self.n_components = n_components
        n_logits = torch.tensor([max(1, len(each)) for each in atoms])
        self.n_logits: int = int(n_logits.sum())
        k = torch.arange(int(n_logits.max()))
        own = n_logits.cumsum(0) - n_logits
        self.register_buffer("atoms", padded(atoms), persistent=False)
        self.register_buffer("no_atom", k >= torch.tensor([len(each) for each in atoms])[:, None], persistent=False)
        self.register_buffer("index", own[:, None] + torch.minimum(k, n_logits[:, None] - 1), persistent=False)
        self.register_buffer("offset", side_by_side(n_components), persistent=False)
        self.raw_df: nn.Parameter | None = nn.Parameter(torch.full((len(places),), 3.0)) if heavy else None

    def forward(self, raw: Tensor) -> Reals:
        """(S, B, P) → densities."""
        k, n = self.n_components, len(self.places)
        df = None if self.raw_df is None else 2 + nn.functional.softplus(self.raw_df)
        location, scale = (part.unflatten(-1, (n, k)) for part in (self.part(raw, 0), self.scale_of(raw)))
        of_atoms, of_components = raw[..., self.first + 2 * n * k :].tensor_split([self.n_logits], -1)
        log_weight = torch.zeros_like(location) if k == 1 else of_components[..., : n * k].unflatten(-1, (n, k))
        logits = of_atoms[..., self.index].masked_fill(self.no_atom, -torch.inf)
        weights = log_weight.log_softmax(-1)
        return Reals(location + self.offset, scale, weights, df, logits, self.atoms, self.scaling)


def side_by_side(n_components: int) -> Tensor:
    """Initial locations of the components, with half of a variance of 1 between them; 0 for one component."""
    if n_components == 1:
        return torch.zeros(1)
    places = torch.linspace(-1, 1, n_components)
    return places * (0.5 / places.square().mean()).sqrt()


class ColumnsHead(LikelihoodHead):
    """The head from a vector of P numbers for every row to the distribution of its columns.

    Parameters
    ----------
    blocks : sequence of Module
        Each turns the vector into the distribution of the columns ``places``.
    start : Tensor, shape (P,)
        The initial vector.
    unseen : Tensor, shape (F,)
        Probabilities of values that weren't seen in the fit.
    """

    n_parameters = 1

    def __init__(self, blocks: Sequence[nn.Module], start: Tensor, unseen: Tensor) -> None:
        super().__init__()
        self.blocks: nn.ModuleList
        self.unseen: Tensor
        self.register_buffer("unseen", unseen, persistent=False)
        self.blocks, self._start = nn.ModuleList(blocks), start
        self.parameter_shape: tuple[int, ...] | None = (len(start),)

    @property
    def start(self) -> Tensor:
        """The start of the raw parameters, (P,)."""
        return self._start

    @property
    def logits(self) -> dict[int, dict[int, int]]:
        """The places in the vector of the logits of each column of categories, by the column's place in x."""
        blocks = [block for block in self.blocks if isinstance(block, CategoryBlock)]
        each = (parts for b in blocks for parts in zip(b.places.tolist(), b.index, b.pad, strict=True))
        return {place: dict(enumerate(index[~pad].tolist())) for place, index, pad in each}

    def forward(self, raw: Tensor) -> Columns:
        """(S, B, 1, P) → p(x|z)."""
        vector = raw.squeeze(2)
        return Columns([(block.places, block(vector)) for block in self.blocks], self.unseen)  # type: ignore[misc]
