"""Hamiltonian Monte Carlo over the rows of a batch, and the posterior that is a chain for every row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lowerbound.core import Batch, Draw, Objective, ObjectiveState, Posterior
from lowerbound.distributions.noise import Noise

TARGET_ACCEPTANCE = 0.75
ADAPTATION = 0.05  # rate at which the logarithm of the step size follows the acceptance
MAX_STEP_SIZE = 1.0


@torch.enable_grad()
def value_and_gradient(log_density: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    """log p and its gradient at z, shapes (B,) and (B, D)."""
    z = z.detach().requires_grad_()
    log_p = log_density(z)
    return log_p.detach(), torch.autograd.grad(log_p.sum(), z)[0]


def hmc(
    log_density: Callable[[Tensor], Tensor], z: Tensor, step_size: float | Tensor, n_leapfrog: int, noise: Noise
) -> tuple[Tensor, Tensor]:
    """Make one transition of Hamiltonian Monte Carlo for every row, which leaves p invariant.

    Leapfrog steps of (z, v) under H = −log p(z) + ½‖v‖², then a Metropolis test (Duane et al., 1987; Neal, 2011,
    arXiv:1206.1901, section 5.3.2).

    Parameters
    ----------
    log_density : callable
        log p(z) up to a constant, ``(B, D) → (B,)``.
    z : Tensor, shape (B, D)
    step_size : float or Tensor
        Broadcastable to z.
    n_leapfrog : int
    noise : Noise

    Returns
    -------
    z : Tensor, shape (B, D)
    acceptance : Tensor, shape (B,)
        The probability with which each move was accepted.
    """
    start, v = z, noise.normal((1, *z.shape), z)[0]
    log_p, gradient = value_and_gradient(log_density, z)
    energy = 0.5 * v.square().sum(-1) - log_p
    for _ in range(n_leapfrog):
        v = v + 0.5 * step_size * gradient
        z = z + step_size * v
        log_p, gradient = value_and_gradient(log_density, z)
        v = v + 0.5 * step_size * gradient
    change = energy - (0.5 * v.square().sum(-1) - log_p)
    acceptance = torch.nan_to_num(change, nan=-math.inf).clamp(max=0).exp()
    accepted = noise.uniform((1, len(z)), z)[0] < acceptance
    return torch.where(accepted[:, None], z, start), acceptance


@dataclass
class Draws:
    """Draws of z by Markov chains, one for every row; their density is unknown."""

    mean: Tensor

    prior = None

    @property
    def scale(self) -> Tensor:
        """NaN, shape (B, D): unknown."""
        return torch.full_like(self.mean, torch.nan)

    @property
    def scale_tril(self) -> Tensor:
        """NaN on the diagonal, shape (B, D, D): unknown."""
        return torch.diag_embed(self.scale)

    def rsample(self, shape: Sequence[int], noise: Noise) -> Tensor:
        """The chain's state, shape (1, B, D)."""
        if tuple(shape) != (1,):
            raise ValueError(f"a chain gives one z for a row, {shape} were asked for: use n_samples=1")
        return self.mean[None]

    def log_prob(self, z: Tensor) -> Tensor:
        """Raise ``TypeError``: the density of a chain's draws is unknown."""
        raise TypeError("draws of a Markov chain have no density, so there is no lower bound: use importance sampling")

    def kl_to_standard_normal(self) -> Tensor:
        """NaN, shape (B, 1): unknown."""
        return torch.full_like(self.mean[:, :1], torch.nan)

    def detach(self) -> Draws:
        """The draws themselves, which have no gradient."""
        return self


class Chains(Posterior):
    """The E-step of Monte-Carlo EM: a chain for every training row, continued from its last state.

    The step size is adapted towards an acceptance of 75 %; ``acceptance`` is a running mean (Wei & Tanner, 1990).

    Parameters
    ----------
    n_rows, latent_dim : int
    log_joint : callable
        log p(x, z), ``(batch, z of shape (1, B, D)) → (1, B)``; usually ``model.log_joint``.
    new_rows : Posterior
        For rows that have no chain.
    n_transitions, n_leapfrog : int
        Transitions for each row and step, and leapfrog steps in each.
    """

    keeps_rows = True

    def __init__(
        self,
        n_rows: int,
        latent_dim: int,
        log_joint: Callable[[Batch, Tensor], Tensor],
        new_rows: Posterior,
        n_transitions: int = 2,
        n_leapfrog: int = 5,
    ) -> None:
        super().__init__()
        self.log_joint: Callable[[Batch, Tensor], Tensor]
        self.new_rows: Posterior
        self.log_joint, self.new_rows = log_joint, new_rows
        self.n_transitions: int
        self.n_leapfrog: int
        self.n_transitions, self.n_leapfrog = n_transitions, n_leapfrog
        self.state: Tensor
        self.log_step_size: Tensor
        self.acceptance: Tensor
        self.register_buffer("state", torch.zeros(n_rows, latent_dim))
        self.register_buffer("log_step_size", torch.tensor(math.log(0.1)))
        self.register_buffer("acceptance", torch.tensor(TARGET_ACCEPTANCE))

    def forward(self, batch: Batch, noise: Noise | None = None) -> Draws:
        """Advance the rows' chains under the present model."""
        if noise is None:
            raise ValueError("a Markov chain needs noise")
        index = batch.index.to(self.state.device)
        z = self.state[index]
        for _ in range(self.n_transitions):
            z, acceptance = hmc(
                lambda z: self.log_joint(batch, z[None])[0], z, self.log_step_size.exp(), self.n_leapfrog, noise
            )
            self._adapt(acceptance.mean())
        self.state[index] = z
        return Draws(z)

    def for_new_rows(self) -> Posterior:
        """The posterior of rows that have no chain."""
        return self.new_rows

    def findings(self) -> dict[str, float]:
        """The running mean of the part of moves that are accepted."""
        return {"acceptance": self.acceptance.item()}

    def _adapt(self, acceptance: Tensor) -> None:
        self.acceptance.lerp_(acceptance, ADAPTATION)
        self.log_step_size += ADAPTATION * (acceptance - TARGET_ACCEPTANCE)
        self.log_step_size.clamp_(max=math.log(MAX_STEP_SIZE))


def complete_data() -> Objective:
    """The M-step: −log p(x, z) at the chains' z, in nats a row."""

    def loss(draw: Draw, state: ObjectiveState) -> Tensor:
        return -(draw.log_px + draw.log_pz).mean(0)

    return Objective(loss)
