"""The restricted Boltzmann machine, p(v) = exp(−F(v))/Z: its density is known up to Z, a sum over all states.

    p(v, h) = exp(b·v + c·h + v·Wh)/Z,   v ∈ {0, 1}^D, h ∈ {0, 1}^H

Given one layer the units of the other are independent, so each is drawn in one block (Smolensky, 1986; Hinton, 2002).
Z is an exact sum if one layer is small, else it is estimated by annealed importance sampling.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowerbound.core import Batch, ExplicitModel
from lowerbound.distributions.likelihoods.bernoulli import Bernoulli
from lowerbound.distributions.noise import Noise

ENUMERABLE = 20  # units of a layer whose 2²⁰ states are enumerated at most
PASS_NUMBERS = 2**22  # numbers computed together in the enumeration: bounds memory


class Gradient(NamedTuple):
    """A direction in W (D, H), b (D,) and c (H,)."""

    weight: Tensor
    visible_bias: Tensor
    hidden_bias: Tensor


class LogZ(NamedTuple):
    """The logarithm of the normalizer.

    Attributes
    ----------
    value : float
        Exact, or the logarithm of an unbiased estimate of Z, which is too small in expectation.
    standard_error : float
        Standard error of ``value``; 0 if exact.
    ess : float or None
        Effective number of chains, at most the number of chains; None if exact.
    """

    value: float
    standard_error: float = 0.0
    ess: float | None = None


class RBM(ExplicitModel):
    """The restricted Boltzmann machine, with binary visible units v and hidden units h.

    Parameters
    ----------
    base : Tensor, shape (*event)
        Logits of the base-rate model, in which visible units are independent: the logits of the data's means. b starts
        from them, as do annealing and chains (Hinton, 2010, A Practical Guide to Training Restricted Boltzmann
        Machines, section 8.1; Salakhutdinov & Murray, 2008, section 4.1).
    n_hidden : int
        H.
    generator : torch.Generator
        Draws the initial W ~ N(0, 0.01²) (Hinton, 2010, section 8).
    burn_in : int
        Steps of block Gibbs sampling before a draw.
    """

    def __init__(self, base: Tensor, n_hidden: int, generator: torch.Generator, burn_in: int = 1000) -> None:
        super().__init__()
        self.event_shape: torch.Size
        self.burn_in: int
        self.log_unit: Tensor | None
        self.event_shape, self.burn_in, self.log_unit = base.shape, burn_in, None
        self.weight: nn.Parameter = nn.Parameter(0.01 * torch.randn(base.numel(), n_hidden, generator=generator))
        self.visible_bias: nn.Parameter = nn.Parameter(base.flatten().clone())
        self.hidden_bias: nn.Parameter = nn.Parameter(torch.zeros(n_hidden))
        self.base: Tensor
        self.log_z: Tensor
        self.register_buffer("base", base.flatten().clone())
        self.register_buffer("log_z", torch.tensor(math.nan, dtype=torch.float64))

    # the density

    def hidden_logits(self, v: Tensor) -> Tensor:
        """Logits of p(h|v): c + Wᵀv, shape (n, H)."""
        return v @ self.weight + self.hidden_bias

    def visible_logits(self, h: Tensor) -> Tensor:
        """Logits of p(v|h): b + Wh, shape (n, D)."""
        return h @ self.weight.T + self.visible_bias

    def free_energy(self, v: Tensor) -> Tensor:
        """F(v) = −log Σ_h exp(b·v + c·h + v·Wh) = −b·v − Σ_j log(1 + exp(c + Wᵀv)_j), shape (n,)."""
        return -v @ self.visible_bias - F.softplus(self.hidden_logits(v)).sum(-1)

    def free_energy_gradient(self, v: Tensor) -> Gradient:
        """The mean over rows of ∂F/∂W = −v σ(c + Wᵀv)ᵀ, ∂F/∂b = −v, ∂F/∂c = −σ(c + Wᵀv)."""
        h = self.hidden_logits(v).sigmoid()
        return Gradient(-v.T @ h / len(v), -v.mean(0), -h.mean(0))

    def log_prob(self, batch: Batch) -> Tensor:
        """log p(x) = −F(x) − log Z, in nats, shape (B,); too large by the amount that ``log_z`` is too small.

        Raises
        ------
        ValueError
            If an entry is missing.
        """
        if not batch.mask.all():
            raise ValueError("an RBM scores whole rows only: the sum over a missing entry's values is as hard as Z")
        return -self.free_energy(batch.x.flatten(1)) - self.log_z

    # drawing

    def gibbs_step(self, v: Tensor, noise: Noise, beta: float = 1.0) -> Tensor:
        """h ~ p(h|v), then v ~ p(v|h), shape (n, D), of the model annealed to ``beta``: base rates at 0, this at 1."""
        return self._v_given_h(bernoulli(beta * self.hidden_logits(v), noise), noise, beta)

    def _v_given_h(self, h: Tensor, noise: Noise, beta: float) -> Tensor:
        return bernoulli((1 - beta) * self.base + beta * self.visible_logits(h), noise)

    def base_rates(self, n: int, noise: Noise) -> Tensor:
        """Draws of independent units, shape (n, D)."""
        return bernoulli(self.base.expand(n, -1), noise)

    @torch.no_grad()
    def sample(self, n: int, noise: Noise, *, mean: bool = False) -> Tensor:
        """``n`` states v, each from its own Gibbs chain, or their p(v = 1|h), shape (n, *event).

        A chain starts from the base rates and makes ``burn_in`` steps. In the first half it is annealed, with β rising
        from 0 to 1, so that it moves between modes. Its state is a draw from p(v) only in the limit of many steps.
        """
        v = self.base_rates(n, noise)
        for step in range(1, self.burn_in + 1):
            v = self.gibbs_step(v, noise, min(1.0, 2 * step / self.burn_in))
        if mean:
            v = self.visible_logits(bernoulli(self.hidden_logits(v), noise)).sigmoid()
        return v.view(n, *self.event_shape)


def bernoulli(logits: Tensor, noise: Noise) -> Tensor:
    """Draw 0 or 1 for every logit."""
    return Bernoulli(logits).sample(noise)


@torch.no_grad()
def contrastive_divergence(
    rbm: RBM, v: Tensor, chains: Tensor, n_steps: int, noise: Noise
) -> tuple[Gradient, Tensor]:  # fmt: skip
    """An estimate of the gradient of mean log p(v), and the new states of the chains.

    ∂ log p(v)/∂θ = −∂F(v)/∂θ + E_p[∂F/∂θ]; the expectation is replaced by the mean over chains after k steps of block
    Gibbs sampling. They start from the data (CD-k; Hinton, 2002) or from their last states (persistent CD; Tieleman,
    2008). The estimate is not the gradient of any loss, and is biased for finite k.

    Parameters
    ----------
    v : Tensor, shape (n, D)
        Data.
    chains : Tensor, shape (m, D)
        The states from which the chains start.
    n_steps : int
        k.
    """
    for _ in range(n_steps):
        chains = rbm.gibbs_step(chains, noise)
    data, model = rbm.free_energy_gradient(v), rbm.free_energy_gradient(chains)
    return Gradient(*(negative - positive for positive, negative in zip(data, model, strict=True))), chains


def pseudo_log_likelihood(rbm: RBM, v: Tensor, noise: Noise) -> Tensor:
    """Σ_i log p(v_i | v_−i) of each row (Besag, 1975), unbiased from one i drawn for each, shape (n,).

    p(v_i | v_−i) = p(v)/(p(v) + p(v̄)) with v_i flipped in v̄, so Z cancels.
    """
    i = (noise.uniform((len(v), 1), v) * v.shape[1]).long()
    flipped = v.scatter(1, i, 1 - v.gather(1, i))
    return v.shape[1] * F.logsigmoid(rbm.free_energy(flipped) - rbm.free_energy(v))


def log_z(rbm: RBM, n_chains: int, n_temperatures: int, noise: Noise) -> LogZ:
    """log Z, by enumeration if a layer has at most 20 units, else by annealing."""
    if min(rbm.weight.shape) <= ENUMERABLE:
        return enumerated_log_z(rbm)
    return annealed_log_z(rbm, n_chains, n_temperatures, noise)


@torch.no_grad()
def enumerated_log_z(rbm: RBM) -> LogZ:
    """The exact log Z, by the states s of the smaller layer: Z = Σ_s exp(a·s) Π_i (1 + exp(d + Ms)_i).

    a and d are the biases of the smaller and the larger layer, M the weights from one to the other.
    """
    a, d, M = rbm.visible_bias, rbm.hidden_bias, rbm.weight
    if len(a) > len(d):
        a, d, M = d, a, M.T
    bits = torch.arange(len(a), device=a.device)
    total = torch.full((), -math.inf, dtype=a.dtype, device=a.device)
    n_states, n_together = 2 ** len(a), max(1, PASS_NUMBERS // len(d))
    for first in range(0, n_states, n_together):
        number = torch.arange(first, min(first + n_together, n_states), device=a.device)
        s = (number[:, None] >> bits & 1).to(a.dtype)
        total = torch.logaddexp(total, (s @ a + F.softplus(s @ M + d).sum(-1)).logsumexp(0))
    return LogZ(total.item())


@torch.no_grad()
def annealed_log_z(rbm: RBM, n_chains: int, n_temperatures: int, noise: Noise) -> LogZ:
    """Annealed importance sampling (Neal, 2001; Salakhutdinov & Murray, 2008, section 4.1).

    Between the base rates (β = 0), whose Z₀ = 2^H Π_i (1 + e^{a_i}) is known, and the RBM (β = 1) lie

        p_β(v) ∝ exp((1−β) a·v + β b·v) Π_j (1 + exp β(c + Wᵀv)_j)

    Each chain makes one step of block Gibbs sampling at each β, and its weight is the product of
    p_{β_k}(v)/p_{β_{k−1}}(v) before each step. E[w] = Z/Z₀ exactly, so that log mean w is too small in expectation
    (Jensen) and log p(x) too large; the error is unknown if the chains miss a mode.

    Parameters
    ----------
    n_chains : int
        M, run in parallel.
    n_temperatures : int
        Steps of β, smaller near 1, where the weights vary most: β = 1 − (1 − t)² with t in equal steps.

    Returns
    -------
    LogZ
        The standard error of log mean w is by the delta method: √((M/ess − 1)/(M − 1)), ess = (Σw)²/Σw².
    """
    v = rbm.base_rates(n_chains, noise)
    log_w = torch.zeros(n_chains, dtype=v.dtype, device=v.device)
    cold = torch.linspace(1, 0, n_temperatures + 1, dtype=torch.float64)
    for before, beta in pairwise((1 - cold.square()).tolist()):
        logits = rbm.hidden_logits(v)
        log_w += (beta - before) * (v @ (rbm.visible_bias - rbm.base))
        log_w += (F.softplus(beta * logits) - F.softplus(before * logits)).sum(-1)
        v = rbm._v_given_h(bernoulli(beta * logits, noise), noise, beta)
    log_z0 = len(rbm.hidden_bias) * math.log(2) + F.softplus(rbm.base).sum()
    ess = (2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp().item()
    error = math.sqrt(max(0.0, n_chains / ess - 1) / (n_chains - 1))
    return LogZ((log_z0 + log_w.logsumexp(0) - math.log(n_chains)).item(), error, ess)
