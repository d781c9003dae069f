"""The code for a fitted model: which way its rows go, on which grid, and how many at a time."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lowerbound.compression.bits_back import Grid, LatentCode, NotCodableError, OneLevel, gaussian_of, unwrapped
from lowerbound.compression.entries import widest
from lowerbound.compression.exact import Components, EntryByEntry, IndependentEntries
from lowerbound.compression.levels import ChainOfLevels, LadderOfLevels
from lowerbound.core import Batch, ElementwiseModel, Infer
from lowerbound.estimators.fitted import Fitted
from lowerbound.inference.posteriors import Refined
from lowerbound.models.autoregressive import Autoregressive
from lowerbound.models.bernoulli_mixture import MixtureOfBernoullis
from lowerbound.models.chain import Chain
from lowerbound.models.factorized import Independent
from lowerbound.models.ladder import Levels
from lowerbound.models.ppca import LinearGaussian

COARSEST, FINEST = 4, 10  # steps of a latent variable's grid are 2⁻⁴ to 2⁻¹⁰
NARROW = 0.1  # of the posterior deviations may be below a step
LEAST_REACH, DEVIATIONS = 8.0, 8.0  # how far the grid goes: from 0, and beyond the posterior means
MOST_CELLS = 2**19  # on each side of 0
ENTRIES, MOST_ROWS = 2**15, 256  # of a step; functions of so few numbers are computed by one thread


def on_cpu(fitted: Fitted) -> Fitted:
    """A copy in float64 on the CPU."""
    exactly = fitted.exactly()
    exactly.model.to("cpu").eval()
    exactly.posterior.to("cpu").eval()
    return replace(exactly, device=torch.device("cpu"), posterior=exactly.posterior.for_new_rows())


def infer_of(fitted: Fitted) -> Infer:
    """q(z|x): the encoder's, or the exact one."""
    return fitted.model.posterior if isinstance(fitted.model, LinearGaussian) else fitted.posterior


def latents_of(fitted: Fitted, example: Batch, grid: Grid) -> LatentCode:
    """The way of rows through the latent variables of a model.

    Parameters
    ----------
    fitted : Fitted
    example : Batch
        Some row.
    grid : Grid

    Raises
    ------
    NotCodableError
        If there is none.
    """
    model = fitted.model
    if isinstance(model, Independent):
        return IndependentEntries(model)
    if isinstance(model, Autoregressive):
        return EntryByEntry(model)
    if isinstance(model, MixtureOfBernoullis):
        return Components(model)
    if not isinstance(model, ElementwiseModel) or isinstance(fitted.posterior, Refined):
        raise NotCodableError(
            f"a {type(model).__name__} with a {type(fitted.posterior).__name__} has no code for its rows: compress "
            "with a VAE that has an encoder, PPCA, FactorAnalysis, Factorized, PixelRNN or a mixture of Bernoullis"
        )
    infer = infer_of(fitted)
    q = unwrapped(infer(example))
    if isinstance(q, Levels):
        return LadderOfLevels(q.ladder, infer, grid)
    if isinstance(q, Chain):
        return ChainOfLevels(model, infer, grid, q.links)
    gaussian_of(q)
    return OneLevel(model, infer, grid)


def grid_for(fitted: Fitted, rows: Batch) -> Grid:
    """The grid for some rows: no coarser than most posteriors are wide, and beyond their means.

    A posterior narrower than a step costs bits: x is then coded given a z that it isn't sure of.
    """
    return grid_of(moments_of(unwrapped(infer_of(fitted)(rows))) if isinstance(fitted.model, ElementwiseModel) else [])


def grid_of(parts: list[tuple[Tensor, Tensor]]) -> Grid:
    """The grid for posteriors of some means and deviations, level by level."""
    step, far = 2.0**-COARSEST, LEAST_REACH
    if parts and parts[0][0].numel():
        scales = torch.cat([scale.flatten() for _, scale in parts])
        narrow = scales[:: max(1, len(scales) // 2**20)].quantile(NARROW).item()
        step = 2.0 ** min(-COARSEST, max(-FINEST, math.floor(math.log2(max(narrow, 1e-9)))))
        far = max(far, max((mean.abs() + DEVIATIONS * scale).max().item() for mean, scale in parts))
    return Grid(step, min(MOST_CELLS, math.ceil(far / step)))


def moments_of(q: Any) -> list[tuple[Tensor, Tensor]]:
    """Means and deviations of q(z|x), level by level; of a ladder relative to its prior."""
    if isinstance(q, Levels):
        relative = [g.relative_to(p) for p, g in zip(q.at_mean.prior, q.at_mean.posterior, strict=True)]
        return [(g.mean, g.scale) for g in relative]
    return [(q.mean, q.scale)] if q.mean.numel() else []


def rows_of_a_step(fitted: Fitted, example: Batch) -> int:
    """The most rows that go through the networks together, by the numbers that these give for ``example``."""
    model = fitted.model.given(example.context)
    if isinstance(model, ElementwiseModel):
        q = unwrapped(infer_of(fitted)(example))
        p = model.likelihood(torch.zeros(1, 1, q.mean.shape[-1], dtype=torch.float64))
        return max(1, min(MOST_ROWS, ENTRIES // max(1, widest(p))))
    return MOST_ROWS if isinstance(model, Autoregressive) else max(1, min(MOST_ROWS, ENTRIES // example.x[0].numel()))


def digest_of(fitted: Fitted) -> bytes:
    """SHA-256 of the weights and of what the rows are."""
    digest = hashlib.sha256(json.dumps(fitted.schema.metadata(), sort_keys=True, default=str).encode())
    tensors = [*fitted.schema.arrays().items(), *fitted.model.state_dict().items()]
    for name, tensor in [*tensors, *fitted.posterior.state_dict().items()]:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.digest()
