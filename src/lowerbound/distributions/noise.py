"""The one source of randomness: generators from a seed and a purpose, and how their draws are laid over rows."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lowerbound.parallel import WHOLE, Share
from lowerbound.warning import warn


def make_generator(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own for each purpose ("weights", "order", "noise", …), all from one seed."""
    state = np.random.SeedSequence([seed, zlib.crc32(purpose.encode())]).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0]) >> 1)


def continued(generator: torch.Generator, state: Tensor, seed: int, purpose: str) -> torch.Generator:
    """The generator at a saved state; with a warning a new one, if the state is of another kind of device.

    What CPUs and GPUs draw, and their states, have nothing in common.
    """
    if len(state) == len(generator.get_state()):
        generator.set_state(state)
        return generator
    warn("the checkpoint is of another kind of device: the noise from here on is another")
    return make_generator(seed, purpose, generator.device)


@dataclass
class Noise:
    """The one source of randomness: a generator, and how its draws are laid over rows.

    Parameters
    ----------
    generator : torch.Generator
        Where the numbers come from; the global generator is never touched.
    shared : bool
        Give every row the same numbers, so that what is computed for a row depends neither on its
        neighbors nor on their order.

    One of several processes draws the numbers of the whole batch and takes those of its own rows: a row's noise
    depends on its place in the batch alone, and the generators of all processes stay alike.
    """

    generator: torch.Generator
    shared: bool = False

    def __post_init__(self) -> None:
        self._start = self.generator.get_state() if self.shared else None
        self._share = WHOLE

    def restart(self, share: Share = WHOLE) -> None:
        """Go back to the first number when rows share them; called before every batch, of which this is our share."""
        self._share = share
        if self._start is not None:
            self.generator.set_state(self._start)

    def own(self) -> Noise:
        """The same generator with numbers of each row's own: for new rows, which have nothing to share."""
        return Noise(self.generator) if self.shared else self

    def normal(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Standard normal numbers of shape ``(S, B, ...)``, with the dtype and device of ``like``."""
        return self.draw(torch.randn, shape, like)

    def uniform(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Uniform numbers in [0, 1) of shape ``(S, B, ...)``, with the dtype and device of ``like``."""
        return self.draw(torch.rand, shape, like)

    def draw(self, how: Callable[..., Tensor], shape: Sequence[int], like: Tensor) -> Tensor:
        """Numbers by ``torch.rand`` or ``torch.randn``."""
        share = self._share
        n_rows = 1 if self.shared else share.n_rows or shape[1]
        drawn = (shape[0], n_rows, *shape[2:])
        numbers = how(drawn, generator=self.generator, dtype=like.dtype, device=self.generator.device)
        if not self.shared:
            numbers = numbers[:, share.start : share.stop]
        return numbers.to(like.device).expand(tuple(shape))


class DoubleNoise(Noise):
    """Noise that is drawn in float64 and then rounded, so that computations in any type have the same draws."""

    def draw(self, how: Callable[..., Tensor], shape: Sequence[int], like: Tensor) -> Tensor:
        """Numbers by ``torch.rand`` or ``torch.randn``."""
        return super().draw(how, shape, like.new_empty(0, dtype=torch.float64)).to(like.dtype)
