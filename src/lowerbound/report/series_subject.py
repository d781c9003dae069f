"""A model of sequences of numbers with some sequences: what a page or a report is about."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from lowerbound.core import NoPosterior
from lowerbound.data.sequences import Sequences
from lowerbound.evaluation.bound import ElboTerms, elbo_terms
from lowerbound.evaluation.evaluation import Evaluation
from lowerbound.evaluation.steps import step_means, step_scores, step_terms
from lowerbound.models.masked import MaskedModel
from lowerbound.models.state_space import StateSpaceModel
from lowerbound.models.whole_sequence import WholeSequenceModel
from lowerbound.report.coded import Coded
from lowerbound.report.subject import DRAWS_OF_BOUND, Run, spread

MOST_STEPS = 100_000  # of all sequences
MOST_POINTS = 20_000  # steps on a map
LONG, PIECE = 200, 100  # steps of a sequence from which pieces are shown, and about so many each
IMPORTANCE = 32


class Piece(NamedTuple):
    """Steps ``first`` to ``end`` of a sequence."""

    sequence: int
    first: int
    end: int


@dataclass(frozen=True)
class SeriesSubject(Coded):
    """A fitted model of sequences, and sequences to look at it with.

    Attributes
    ----------
    model : RecurrentVAE
    X : Sequences or None
    places : ndarray of int64, shape (n,)
        The places of the sequences in the data.
    n_rows : int
        The number of sequences of the data.
    source, chosen : str
        As in ``Subject``.
    run : Run
    n_points : int
        Steps on a map, at most.
    """

    model: Any
    X: Sequences | None = None
    places: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    n_rows: int = 0
    source: str = ""
    chosen: str = ""
    run: Run = field(default_factory=Run)
    n_points: int = MOST_POINTS

    one = "sequence"

    @classmethod
    def of(
        cls, model: Any, X: Any = None, *, source: str = "X", run: Run | None = None, most: int = MOST_STEPS,
        n_points: int = MOST_POINTS,
    ) -> SeriesSubject:  # fmt: skip
        """A model with some sequences, at most so many steps of them, or a single one."""
        subject = cls(model, source=source, run=run or Run(type(model).__name__), n_points=n_points)
        if X is None:
            return subject
        X = Sequences.of(X)
        n = max(1, int(len(X) * most / max(most, X.lengths.sum())))
        places = spread(len(X), None, n)
        chosen = f"{len(places):,} of {len(X):,} sequences, from all over" if len(places) < len(X) else ""
        return replace(subject, X=some_of(X, places), places=places, n_rows=len(X), chosen=chosen)

    @property
    def kind(self) -> str:
        """``roll`` for steps of zeros and ones, ``series`` for others."""
        schema = self.fitted.schema
        return "roll" if schema.columns is None and schema.likelihood == "bernoulli" else "series"

    @property
    def has_rows(self) -> bool:
        """There are sequences."""
        return self.X is not None

    @property
    def sequences(self) -> Sequences:
        """The sequences; there have to be some."""
        assert self.X is not None
        return self.X

    @property
    def latent_dim(self) -> int:
        """D of each step; 0 for a model without latent variables."""
        return int(self.model.latent_dim)

    @property
    def first_context(self) -> Any:
        """None: such a model isn't given any."""
        return None

    @property
    def is_chain(self) -> bool:
        """z_t also depends on z_{t−1}."""
        return isinstance(self.fitted.model, StateSpaceModel)

    @property
    def is_whole(self) -> bool:
        """One z says what a whole sequence is like: points of a map are sequences, and so are the rows of ``terms``."""
        return isinstance(self.fitted.model, WholeSequenceModel)

    @property
    def is_masked(self) -> bool:
        """The columns of a step depend on each other given z."""
        return isinstance(getattr(self.fitted.model, "step", None), MaskedModel)

    @property
    def is_exact(self) -> bool:
        """log p(x) is no bound."""
        return isinstance(self.fitted.posterior, NoPosterior)

    @cached_property
    def names(self) -> list[str]:
        """The names of the columns of a step."""
        named = getattr(self.model, "feature_names_in_", None)
        return [f"x{i}" for i in range(self.model.n_features_in_)] if named is None else list(map(str, named))

    def name_of(self, sequence: int) -> str:
        """A sequence by its name, or by its place in the data."""
        ids = self.sequences.ids
        return f"sequence {self.places[sequence]:,}" if ids is None else str(ids[sequence])

    def name_of_piece(self, piece: Piece) -> str:
        """A sequence, with the steps of a piece that is less than all of it."""
        name = self.name_of(piece.sequence)
        whole = piece.end - piece.first == self.sequences.lengths[piece.sequence]
        return name if whole else f"{name}, steps {piece.first:,} to {piece.end - 1:,}"

    def steps_of(self, piece: Piece) -> Any:
        """The steps of a piece, (T, F)."""
        start = self.sequences.starts[piece.sequence]
        steps = self.sequences.steps
        steps = steps.iloc if hasattr(steps, "iloc") else steps
        return steps[start + piece.first : start + piece.end]

    @cached_property
    def pieces(self) -> list[Piece]:
        """All sequences, the long ones in pieces of about equal lengths."""
        found = []
        for i, length in enumerate(self.sequences.lengths.tolist()):
            n = 1 if length <= LONG else -(-length // PIECE)
            ends = [length * k // n for k in range(n + 1)]
            found += [Piece(i, first, end) for first, end in pairwise(ends)]
        return found

    @property
    def in_pieces(self) -> bool:
        """Some of the sequences are longer than what is shown at once."""
        return len(self.pieces) > len(self.sequences)

    def of_pieces(self, each_step: np.ndarray) -> np.ndarray:
        """Means over the steps of each piece."""
        ends = np.concatenate([[0], np.cumsum(each_step)])
        starts = self.sequences.starts
        return np.array([(ends[starts[p.sequence] + p.end] - ends[starts[p.sequence] + p.first]) / (p.end - p.first)
                         for p in self.pieces])  # fmt: skip

    def on(self) -> Evaluation:
        """The model on the sequences, with noise of each step’s own."""
        return self.fitted.on(self.X, "report")

    @cached_property
    def points(self) -> np.ndarray:
        """The steps that are on a map, by their places among all steps; the first of each where z is of the whole."""
        starts = self.sequences.starts
        return (
            starts[spread(len(starts), None, self.n_points)]
            if self.is_whole
            else spread(len(self.sequences.steps), None, self.n_points)
        )

    def step_at(self, point: int) -> tuple[int, int]:
        """The sequence and the step of a point."""
        place = int(self.points[point])
        sequence = int(np.searchsorted(self.sequences.starts, place, "right")) - 1
        return sequence, place - int(self.sequences.starts[sequence])

    @cached_property
    def codes(self) -> np.ndarray:
        """Posterior means of the points of a map, (n, D)."""
        return step_means(self.on()).cpu().double().numpy()[self.points]

    @cached_property
    def terms(self) -> ElboTerms:
        """The lower bound's parts for every step, or for every sequence that has one z; z must be no chain."""
        if self.is_whole:
            return elbo_terms(self.on(), DRAWS_OF_BOUND)
        return step_terms(self.on(), DRAWS_OF_BOUND)

    @cached_property
    def kl(self) -> np.ndarray | None:
        """The mean KL of each latent variable in nats a step, or a sequence, (D,); None without sequences."""
        if not (self.has_rows and self.latent_dim):
            return None
        if self.is_chain:
            return (elbo_terms(self.on()).kl.sum(0) / len(self.sequences.steps)).numpy()
        return self.terms.kl.mean(0).numpy()

    @cached_property
    def log_p(self) -> np.ndarray:
        """log p(x_t|x_<t) of every step, without that of the end, (ΣT,)."""
        return step_scores(self.on(), IMPORTANCE).of_values().numpy()


def some_of(X: Sequences, places: np.ndarray) -> Sequences:
    """Some of the sequences."""
    if len(places) == len(X) and not X.is_streamed:
        return X
    found = X.subset(places)
    found.container = X.container
    return found
