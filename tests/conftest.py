"""What tests share. Workers and the processes they start use one thread each: small tensors are quicker so."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch

from lowerbound.core import Batch
from lowerbound.distributions.noise import Noise, make_generator


@pytest.fixture(autouse=True)
def _nothing_global_changes(request):
    """No test may leave the global generators, the default type or the number of threads changed."""
    if request.node.get_closest_marker("touches_global_random_state"):  # scikit-learn's own checks do
        yield
        return
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_default_dtype(), torch.get_num_threads()  # noqa: NPY002
    yield
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    assert before[2:] == (torch.get_default_dtype(), torch.get_num_threads())


@pytest.fixture
def noise():
    return Noise(make_generator(0, "test"))


def whole_batch(x: torch.Tensor) -> Batch:
    """All rows, everything observed."""
    return Batch(x, torch.ones_like(x, dtype=torch.bool), torch.arange(len(x)))
