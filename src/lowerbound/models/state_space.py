"""Sequences whose latent variables are a chain: z_t also depends on z_{t−1} (SRNN: Fraccaro et al., 2016).

d_t = GRU(x_<t), z_t ~ p(z|d_t, z_{t−1}), x_t ~ p(x|d_t, z_t): given d, a state-space model (arXiv:1605.07571, eqs. 1
to 3). log p(x_t|x_<t) is an integral over all of z_1, …, z_t, so that no step has an estimate of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lowerbound.core import Batch, Draw, Objective, once
from lowerbound.distributions.gaussians import DiagonalGaussian, GaussianPrior
from lowerbound.distributions.noise import Noise
from lowerbound.models.masked import MaskedModel
from lowerbound.models.sequence import SequenceDraw, Steps, WithLatentState
from lowerbound.models.vae import LatentModel
from lowerbound.nn.sequence import PastGRU


class TransitionNetwork(Protocol):
    """(c_t, z_{t−1}) → m and log s; ``read`` is its part that needs no z, for all steps at once."""

    def read(self, context: Tensor, /) -> Tensor: ...  # noqa: D102
    def __call__(self, read: Tensor, before: Tensor, /) -> tuple[Tensor, Tensor]: ...  # noqa: D102


class Smoother(Protocol):
    """q(z_t | z_{t−1}, x) of B sequences."""

    def at(self, time: int, before: Tensor, prior: GaussianPrior, /) -> DiagonalGaussian:
        """The Gaussian of step ``time``, given z_{t−1} (S, B, D) and p(z_t|d_t, z_{t−1})."""
        ...


@dataclass
class PathDraw(Draw):
    """A draw of paths z_1, …, z_T; each step's terms are given the z before it, (S, N)."""

    @property
    def samples_kl(self) -> bool:
        """False: given z_{t−1} the KL of a step has a closed form."""
        return False

    @once
    def kl(self) -> Tensor:
        """KL(q(z_t|z_{t−1}, x) ‖ p(z_t|d_t, z_{t−1})), the mean over the draws of z_{t−1}, shape (N, D)."""
        closed_form = self.prior.kl_from(self.posterior)
        assert closed_form is not None
        return closed_form.mean(0)


class StateSpaceModel(WithLatentState):
    """p(x, z) = Π_t p(z_t|d_t, z_{t−1}) p(x_t|d_t, z_t), d_t = GRU(x_<t), z_0 = 0.

    Parameters
    ----------
    past : PastGRU
        x → d_1, …, d_{T+1}.
    step : LatentModel or MaskedModel
        Its ``log_px`` is log p(x_t|d_t, z_t), given d_t as its context; its prior is not used.
    transition : Module
        (d_t, z_{t−1}) → mean and log-scale of p(z_t|d_t, z_{t−1}), as ``TransitionNetwork``.
    ends, dropout
        As in ``SequenceModel``.
    """

    def __init__(
        self, past: PastGRU, step: LatentModel | MaskedModel, transition: nn.Module, ends: nn.Linear | None = None,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(past, step, ends, dropout)
        self.transition: nn.Module = transition

    def prior_at(self, read: Tensor, before: Tensor) -> GaussianPrior:
        """p(z_t|d_t, z_{t−1}) of what the transition has read of d_t (B, ·), and z_{t−1} (S, B, D)."""
        return GaussianPrior(*self.transition(read, before))

    def with_past(self, batch: Batch, steps: Steps) -> Batch:
        """The sequences with the d_t of their steps, (B, T, H), as context: what q reads."""
        assert steps.batch.context is not None
        return replace(batch, context=steps.padded(steps.batch.context))

    def draw(self, batch: Batch, posterior: Any, objective: Objective, noise: Noise) -> SequenceDraw:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Draw a path z_1, …, z_T from q(z_t|z_{t−1}, x), step by step, and score x under it.

        Parameters
        ----------
        batch : Batch
            B sequences.
        posterior : Posterior
            Of a batch that has d as its context, it gives a ``Smoother``.
        objective : Objective
            Its ``samples`` is S, the number of paths; gradients are pathwise.
        noise : Noise
            The random numbers.
        """
        steps = self.steps(batch, noise if self.training else None)
        given = self.with_past(batch, steps)
        path = self.path(given, posterior(given), noise, objective.samples)
        z, *parameters = (each[steps.time, :, steps.row].transpose(0, 1) for each in path)  # (S, N, D)
        p, q = GaussianPrior(*parameters[:2]), DiagonalGaussian(*parameters[2:])
        each = PathDraw(z, self.step.log_px(steps.batch, z), p, q, q)
        over_paths = DiagonalGaussian(q.mean.mean(0), q.log_scale.mean(0))  # its mean is what is reported
        return replace(SequenceDraw.of(steps, each, batch), posterior=over_paths)

    def path(self, batch: Batch, q: Smoother, noise: Noise | None, n_samples: int = 1) -> list[Tensor]:
        """Paths from q, and what they were drawn from; the path of means without noise.

        Parameters
        ----------
        batch : Batch
            B sequences with d as their context.
        q : Smoother
        noise : Noise or None
        n_samples : int
            S.

        Returns
        -------
        list of Tensor, shape (T, S, B, D) each
            z; m and log s of p(z_t|d_t, z_{t−1}); m and log s of q(z_t|z_{t−1}, x).
        """
        read = self.transition.read(batch.context)  # type: ignore[operator]
        z, found = read.new_zeros(n_samples, len(batch.x), self.step.latent_dim), []
        for time in range(batch.x.shape[1]):
            p = self.prior_at(read[:, time], z)
            at = q.at(time, z, p)
            z = at.mean if noise is None else at.rsample((), noise)
            found.append((z, p.mean, p.log_scale, at.mean, at.log_scale))
        return [torch.stack(each) for each in zip(*found, strict=True)]

    # a state is d_t and a z_t that was drawn

    def begin(self, n: int, noise: Noise) -> Tensor:
        """d_1 and z_1 of ``n`` sequences, (n, H + D)."""
        return self.onward(super().begin(n, noise), self.past.first.new_zeros(n, self.step.latent_dim), noise)

    def onward(self, d: Tensor, before: Tensor, noise: Noise) -> Tensor:
        """The state (n, H + D) of d_t (n, H) and a draw of z_t ~ p(z|d_t, z_{t−1})."""
        prior = self.prior_at(self.transition.read(d), before[None])  # type: ignore[operator]
        return torch.cat([d, prior.rsample((1, len(d)), noise)[0]], -1)

    def read(self, batch: Batch, state: Tensor, noise: Noise) -> Tensor:
        """The states after one step more of each sequence."""
        d, z = self.parts(state)
        return self.onward(super().read(batch, d, noise), z, noise)
