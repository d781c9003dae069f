"""Models of sequences: log p(x) = Σ_t log p(x_t | x_<t), with one model of a step that is given what was before it.

d_t = GRU(x_<t) is the context of the step: z_t ~ p(z|d_t), x_t ~ p(x|d_t, z_t). As no z_t enters the recurrence, d does
not depend on z: all steps are rows of one conditional model, and each is an integral of its own,

    log p(x) = Σ_t log ∫ p(z_t|d_t) p(x_t|d_t, z_t) dz_t.

A stochastic recurrent network (VRNN: Chung et al., 2015, arXiv:1506.02216) without the path from z to the next state.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowerbound.core import Batch, Draw, Infer, Model, Objective, ObjectiveState, once
from lowerbound.distributions.noise import Noise
from lowerbound.models.masked import MaskedModel
from lowerbound.models.vae import LatentModel
from lowerbound.nn.sequence import PastGRU, within


@dataclass(frozen=True)
class Steps:
    """The steps of the sequences of a batch, one after another.

    Attributes
    ----------
    batch : Batch
        The N steps as rows, each with its context d_t.
    row, time : Tensor of int64, shape (N,)
        The sequence of the batch that each belongs to, and its place there.
    log_length : Tensor, shape (N,)
        log p of going on after the step, or of ending there, in nats; 0 where the length is given.
    n_rows : int
        B.
    """

    batch: Batch
    row: Tensor
    time: Tensor
    log_length: Tensor
    n_rows: int

    def padded(self, each: Tensor) -> Tensor:
        """Values of the steps in their places, and zeros behind the ends, (N, ·) → (B, T, ·)."""
        out = each.new_zeros(self.n_rows, int(self.time.max()) + 1, each.shape[-1])
        return out.index_put((self.row, self.time), each)

    def sums(self, each: Tensor) -> Tensor:
        """Σ_t for every sequence, (…, N) → (…, B)."""
        return each.new_zeros((*each.shape[:-1], self.n_rows)).index_add(-1, self.row, each)


@dataclass
class SequenceDraw(Draw):
    """A draw of z_t for all steps of some sequences; its terms are those of the sequences.

    Attributes
    ----------
    steps : Steps
    each : Draw
        The draw of the steps, whose terms are those of the steps, (S, N).
    """

    steps: Steps = field(kw_only=True)
    each: Draw = field(kw_only=True)

    @classmethod
    def of(cls, steps: Steps, each: Draw, batch: Batch) -> SequenceDraw:
        """The draw of the sequences of a batch, from that of their steps."""
        log_px = steps.sums(each.log_px + steps.log_length)
        return cls(each.z, log_px, each.prior, each.posterior, each.density, batch.share, steps=steps, each=each)

    @once
    def log_pz(self) -> Tensor:
        """Σ_t log p(z_t|d_t), shape (S, B)."""
        return self.steps.sums(self.each.log_pz)

    @once
    def log_qz(self) -> Tensor:
        """Σ_t log q(z_t|d_t, x_t), shape (S, B)."""
        return self.steps.sums(self.each.log_qz)

    @once
    def kl(self) -> Tensor:
        """Σ_t KL(q(z_t|d_t, x_t) ‖ p(z_t|d_t)) of each latent variable, shape (B, D)."""
        return self.steps.sums(self.each.kl.mT).mT


class SequenceModel(Model):
    """log p(x) = Σ_t log p(x_t | d_t), d_t = GRU(x_<t); with ``ends`` that of x and of where it ends.

    Parameters
    ----------
    past : PastGRU
        x → d_1, …, d_{T+1}.
    step : LatentModel or MaskedModel
        p(x_t|d_t), given d_t as its context; without latent variables if its ``latent_dim`` is 0.
    ends : Linear, optional
        d_{t+1} → the logit that the sequence goes on after step t. Without it the length is given: log p(x | T).
    dropout : float
        Share of the numbers of h_t that is set to 0 in training, and half that share of those that are read of x_<t.
    """

    def __init__(
        self, past: PastGRU, step: LatentModel | MaskedModel, ends: nn.Linear | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.dropout: float = dropout
        self.past: PastGRU
        self.step: LatentModel | MaskedModel
        self.ends: nn.Linear | None
        self.past, self.step, self.ends = past, step, ends
        self.log_unit: Tensor | None = None  # that of a step is in ``step``

    def steps(self, batch: Batch, noise: Noise | None = None) -> Steps:
        """The steps of the sequences within their lengths, each given what was before it.

        Parameters
        ----------
        batch : Batch
            B sequences.
        noise : Noise, optional
            Says what is dropped; nothing is without it.
        """
        d, inside = self.past(batch, dropout=self.dropout / 2, noise=noise), within(batch)
        row, time = inside.nonzero(as_tuple=True)
        missing = None if batch.missing is None else batch.missing[inside]
        flat = Batch(
            batch.x[inside], batch.mask[inside], batch.index[row.to(batch.index.device)], complete=batch.complete,
            missing=missing, context=self.past.dropped(d[row, time], self.dropout, noise),
        )  # fmt: skip
        return Steps(flat, row, time, self._log_length(d[row, time + 1], inside), len(batch.x))

    def _log_length(self, after: Tensor, inside: Tensor) -> Tensor:
        """log p of going on after each step, or of ending there, (N,); ``after`` (N, H) is d_{t+1}."""
        if self.ends is None:
            return after.new_zeros(len(after))
        more = F.pad(inside, (0, 1))[:, 1:][inside]
        logit = self.ends(after).squeeze(-1)
        return F.logsigmoid(torch.where(more, logit, -logit))

    def draw(self, batch: Batch, posterior: Infer, objective: Objective, noise: Noise) -> SequenceDraw:
        """Draw z_t for every step from the posterior, and score x under each.

        Parameters
        ----------
        batch : Batch
            B sequences.
        posterior : Infer
            It gives q(z_t|d_t, x_t) for steps.
        objective : Objective
            As in ``Model.draw``.
        noise : Noise
            The random numbers.
        """
        steps = self.steps(batch, noise if self.training else None)
        each = self.step.draw(steps.batch, posterior, objective, noise)
        return SequenceDraw.of(steps, each, batch)

    def begin(self, n: int, noise: Noise) -> Tensor:
        """The state before the first step of ``n`` sequences: d_1, (n, H)."""
        return self.past.first.expand(n, -1)

    def read(self, batch: Batch, state: Tensor, noise: Noise) -> Tensor:
        """d after the steps of a batch whose sequences are of equal length, (B, H), from d before them."""
        return self.past(batch, state)[:, -1]

    def draw_step(self, state: Tensor, noise: Noise) -> Tensor:
        """x_t ~ p(x|d_t), one for every d (n, H), shape (n, F)."""
        step = self.step.given(state)
        z = step.prior().rsample((1, len(state)), noise)
        return step.draw_x(z, noise)[0]

    def draw_goes_on(self, state: Tensor, noise: Noise) -> Tensor:
        """Draw if sequences go on, from d after their last step, (n,) of bool; always where lengths are given."""
        if self.ends is None:
            return torch.ones(len(state), dtype=torch.bool, device=state.device)
        logit = self.ends(state).squeeze(-1)
        return noise.uniform((1, len(state)), logit)[0] < logit.sigmoid()


class WithLatentState(SequenceModel):
    """A model of sequences whose state is d_t and a z that was drawn, (n, H + D)."""

    def draw_step(self, state: Tensor, noise: Noise) -> Tensor:
        """x_t ~ p(x|d_t, z), one for every state (n, H + D), shape (n, F)."""
        d, z = self.parts(state)
        return self.step.given(d).draw_x(z[None], noise)[0]

    def draw_goes_on(self, state: Tensor, noise: Noise) -> Tensor:
        """Draw if sequences go on, from the states after their last step, (n,) of bool."""
        return super().draw_goes_on(self.parts(state)[0], noise)

    def parts(self, state: Tensor) -> tuple[Tensor, ...]:
        """d (n, H) and z (n, D)."""
        return state.tensor_split([self.past.hidden_size], dim=-1)


def by_step(objective: Objective) -> Objective:
    """An objective of the steps as one of sequences: the sum of its loss over steps, less the log p of the length."""

    def loss(draw: Draw, state: ObjectiveState) -> Tensor:
        assert isinstance(draw, SequenceDraw)
        return draw.steps.sums(objective.loss(draw.each, state) - draw.steps.log_length)

    return replace(objective, loss=loss)
