"""Objectives: the loss of a draw, and the estimator of its gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from lowerbound.core import Draw, Objective, ObjectiveState
from lowerbound.inference import gradients

Mode = Literal["pathwise", "score", "fixed_density"]
Mean = Callable[[Tensor, Draw, ObjectiveState], Tensor]

GRADIENTS: dict[str, tuple[str, ...]] = {
    "elbo": ("pathwise", "score"),
    "elbo_sampled": ("pathwise", "score", "stl"),
    "iwae": ("pathwise", "score", "vimco", "stl", "dreg"),
}
MODES: dict[str, Mode] = {
    "pathwise": "pathwise",
    "score": "score",
    "vimco": "score",
    "stl": "fixed_density",
    "dreg": "fixed_density",
}
BASELINES = ("auto", "none", "running", "leave_one_out")


def make_objective(
    objective: str = "elbo", gradient: str = "pathwise", n_samples: int = 1, kl_weight: float = 1.0,
    kl_warmup_steps: int = 0, free_bits: float = 0.0, baseline: str = "auto",
) -> Objective:  # fmt: skip
    """An objective and an estimator of its gradient, by name.

    Parameters
    ----------
    objective : {"elbo", "elbo_sampled", "iwae"}
        The evidence lower bound with its KL in closed form, or estimated from the same draws; or the
        importance-weighted bound over ``n_samples`` draws (Burda et al., 2016, arXiv:1509.00519).
    gradient : {"pathwise", "score", "vimco", "stl", "dreg"}
        Pathwise (reparameterization); score function; VIMCO (Mnih & Rezende, 2016); sticking the landing (Roeder et
        al., 2017, arXiv:1703.09194), which is biased for "iwae" with more than one draw; doubly reparameterized
        (Tucker et al., 2018).
    n_samples : int
        Draws of z a row: S of the mean, K of the importance-weighted bound.
    kl_weight, kl_warmup_steps, free_bits
        As in ``elbo``; free bits need the KL in closed form, and "iwae" has no KL term to weight.
    baseline : {"auto", "none", "running", "leave_one_out"}
        Baseline of the score function: none, the running mean of the signal, or the row's other draws. "auto" takes
        the other draws if there are any, else the running mean.

    Raises
    ------
    ValueError
        If the arguments don't go together; the message says which, and what to use.
    """
    _check_names(objective, gradient, n_samples, baseline)
    if objective == "iwae":
        if (kl_weight, kl_warmup_steps, free_bits) != (1, 0, 0):
            raise ValueError(
                "objective='iwae' has no KL term: leave kl_weight=1, kl_warmup_steps=0 and free_bits=0, "
                "or use objective='elbo'"
            )
        return iwae(n_samples, gradient, baseline)
    if objective == "elbo_sampled":
        if free_bits != 0:
            raise ValueError("free_bits needs the KL of each latent variable in closed form: use objective='elbo'")
        return elbo_sampled(n_samples, kl_weight, kl_warmup_steps, gradient, baseline)
    return elbo(n_samples, kl_weight, kl_warmup_steps, free_bits, gradient, baseline)


def elbo(
    n_samples: int = 1, kl_weight: float = 1.0, kl_warmup_steps: int = 0, free_bits: float = 0.0,
    gradient: str = "pathwise", baseline: str = "auto",
) -> Objective:  # fmt: skip
    """The negative evidence lower bound with the KL in closed form.

    loss = −(1/S) Σ_s log p(x|z_s) + β_t Σ_g max(λ, KL_g), in nats a row.

    Parameters
    ----------
    n_samples : int
        S, latent vectors drawn for each row.
    kl_weight : float
        β (Higgins et al., 2017); 1 is the lower bound.
    kl_warmup_steps : int
        β_t rises linearly from 0 to β over this many steps (Bowman et al., 2016, arXiv:1511.06349).
    free_bits : float
        λ, nats for each latent dimension below which its KL, averaged over the batch, has no gradient
        (Kingma et al., 2016, arXiv:1606.04934, section 6.1).
    gradient, baseline : str
        As in ``make_objective``.
    """
    expectation = _mean(gradient, baseline, n_samples)

    def loss(draw: Draw, state: ObjectiveState) -> Tensor:
        beta = kl_weight * _warmup(state, kl_warmup_steps)
        return beta * _at_least(draw, free_bits) - expectation(draw.log_px, draw, state)

    return Objective(loss, n_samples, MODES[gradient], kl_warmup_steps)


def elbo_sampled(
    n_samples: int = 1, kl_weight: float = 1.0, kl_warmup_steps: int = 0, gradient: str = "pathwise",
    baseline: str = "auto",
) -> Objective:  # fmt: skip
    """The negative evidence lower bound, all of it estimated from the draws.

    loss = −(1/S) Σ_s [log p(x|z_s) + β_t (log p(z_s) − log q(z_s|x))], in nats a row. Its score-function gradient
    leaves ∇ log q out of ∇f, whose mean is 0.
    """
    expectation = _mean(gradient, baseline, n_samples)

    def loss(draw: Draw, state: ObjectiveState) -> Tensor:
        beta = kl_weight * _warmup(state, kl_warmup_steps)
        log_q = draw.log_qz.detach() if gradient == "score" else draw.log_qz
        return -expectation(draw.log_px + beta * (draw.log_pz - log_q), draw, state)

    return Objective(loss, n_samples, MODES[gradient], kl_warmup_steps)


def iwae(n_samples: int, gradient: str = "pathwise", baseline: str = "auto") -> Objective:
    """The negative importance-weighted bound, −log (1/K) Σ_k w_k (Burda et al., 2016, arXiv:1509.00519, eq. 8)."""
    bound = {
        "pathwise": gradients.importance_weighted,
        "stl": gradients.importance_weighted,
        "dreg": gradients.doubly_reparameterized,
        "vimco": gradients.score_importance_weighted(gradients.geometric_mean_of_others),
        "score": gradients.score_importance_weighted(
            {
                "none": gradients.no_baseline,
                "running": gradients.running_mean(gradients.log_mean_exp),
                "leave_one_out": gradients.log_mean_exp_of_others,
            }[_choose(baseline, n_samples)]
        ),
    }[gradient]
    return Objective(lambda draw, state: -bound(draw, state), n_samples, MODES[gradient])


def trimmed(objective: Objective, share: float) -> Objective:
    """An objective without the rows of each batch whose loss is highest, which are probably outliers.

    Least trimmed squares (Rousseeuw, 1984) for any loss. The result is not a bound of the mean over all rows.

    Parameters
    ----------
    objective : Objective
    share : float
        The share of the rows that is left out.
    """

    def loss(draw: Draw, state: ObjectiveState) -> Tensor:
        rows = objective.loss(draw, state)
        everyone = draw.share.gather(rows.detach())
        n_kept = max(1, math.floor((1 - share) * everyone.shape[-1] + 1e-9))
        return torch.where(rows <= everyone.kthvalue(n_kept, -1, keepdim=True).values, rows, 0.0)

    return replace(objective, loss=loss) if share else objective


def of_members(trim: float = 0.0) -> Objective:
    """The sum of the negative bounds of M autoencoders that are trained together, so that each has its own gradient.

    In a draw, ``z`` (M, B, D) holds one draw from each member's q, and the KL of each member, divided by M, is a group.

    Parameters
    ----------
    trim : float
        The share of the rows that each member leaves out, those of its highest loss.
    """

    def each(draw: Draw, state: ObjectiveState) -> Tensor:
        return len(draw.log_px) * draw.kl.mT - draw.log_px  # (M, B)

    members = trimmed(Objective(each), trim)
    return replace(members, loss=lambda draw, state: members.loss(draw, state).sum(0))


def _mean(gradient: str, baseline: str, n_samples: int) -> Mean:
    """The estimator of E_q[f]."""
    if gradient != "score":
        return gradients.mean
    of_mean = {
        "none": gradients.no_baseline,
        "running": gradients.running_mean(lambda f: f.mean(0)),
        "leave_one_out": gradients.mean_of_others,
    }
    return gradients.score_mean(of_mean[_choose(baseline, n_samples)])


def _choose(baseline: str, n_samples: int) -> str:
    if baseline != "auto":
        return baseline
    return "leave_one_out" if n_samples > 1 else "running"


def _check_names(objective: str, gradient: str, n_samples: int, baseline: str) -> None:
    """Raise ``ValueError`` for unknown names, and for those that make no estimator together."""
    for name, word, words in (
        ("objective", objective, tuple(GRADIENTS)),
        ("gradient", gradient, tuple(MODES)),
        ("baseline", baseline, BASELINES),
    ):
        if word not in words:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, words))}, got {word!r}")
    if gradient not in GRADIENTS[objective]:
        able = " or ".join(f"objective={o!r}" for o, possible in GRADIENTS.items() if gradient in possible)
        hint = "; for the lower bound it would be gradient='stl'" if gradient == "dreg" else ""
        raise ValueError(f"gradient={gradient!r} needs {able}, not {objective!r}{hint}")
    if gradient != "score" and baseline != "auto":
        raise ValueError(f"baseline={baseline!r} is for gradient='score'; gradient={gradient!r} chooses its own")
    if n_samples < 2 and (gradient == "vimco" or baseline == "leave_one_out"):
        what = "gradient='vimco'" if gradient == "vimco" else "baseline='leave_one_out'"
        raise ValueError(f"{what} compares the draws of a row: it needs n_samples ≥ 2, got {n_samples}")


def _warmup(state: ObjectiveState, steps: int) -> float:
    """β_t/β, the weight of the KL term at the present step."""
    return min(1.0, state.step / steps) if steps else 1.0


def _at_least(draw: Draw, free_bits: float) -> Tensor:
    """Σ_g KL_g, where groups whose mean over the batch is below ``free_bits`` are replaced by it, shape (B,)."""
    if free_bits == 0:
        return draw.kl.sum(-1)
    return torch.where(draw.share.mean(draw.kl.detach()) > free_bits, draw.kl, free_bits).sum(-1)
