"""The seed of a ``random_state``."""

from __future__ import annotations

import numpy as np

RandomState = int | np.random.RandomState | np.random.Generator | None
"""What a ``random_state`` may be."""


def seed_from(random_state: RandomState) -> int:
    """The seed: the number itself, the next draw of a generator, or a fresh seed for None."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31 - 1))
    return int(random_state)
