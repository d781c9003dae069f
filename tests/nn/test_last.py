"""The last values of sequences, all steps at once and one by one, and what they tell."""

import numpy as np
import pandas as pd
import pytest
import torch

from lowerbound import Adam, RecurrentVAE
from lowerbound.core import Batch
from lowerbound.distributions.atoms import FIRST
from lowerbound.nn.initialization import linear
from lowerbound.nn.last import LastValues, WithLast

GENERATOR = torch.Generator().manual_seed(0)
LAST = LastValues([0, 2], np.array([[np.nan], [2.5]]), [1, 3], [3, 2])


def batch(x, mask):
    x, mask = torch.tensor(x), torch.tensor(mask)
    return Batch(x[None], mask[None], torch.zeros(1).long())


def test_last_values_changes_and_places():
    x = [[1.0, 0.0, 4.0, 1.0], [3.0, 2.0, 0.0, 0.0], [9.0, 1.0, FIRST, 0.0], [2.0, 7.0, 1.0, 1.0]]
    mask = [[True] * 4, [True, True, False, False], [False, True, True, True], [True] * 4]
    before = torch.tensor([[0.5, 1.0, 0.0, 0.0, 0.0, 0.0]])
    found = LAST(batch(x, mask), before)[0]
    numbers, changes, places = found.split(LAST.sizes, -1)
    assert numbers.tolist() == [[1, 4], [3, 4], [3, 2.5], [2, 1]]  # the atom is the number it stands for
    assert changes.tolist() == [[0.5, 3], [2, 3], [2, -1.5], [-1, -1.5]]
    assert places.tolist() == [[-1, 1], [1, 1], [0, -1], [1, 1]]  # what is beyond the last category counts as it


def test_all_steps_at_once_are_those_one_by_one():
    rng = np.random.default_rng(0)
    x = np.where([True, False, True, False], rng.normal(size=(40, 4)), rng.integers(0, 3, (40, 4))).astype(np.float32)
    mask = rng.random(x.shape) < 0.6
    state = torch.randn(1, LAST.n_values, generator=torch.Generator().manual_seed(0))
    at_once = LAST(batch(x, mask), state)[0]
    for t in range(len(x)):
        state = LAST(batch(x[t : t + 1], mask[t : t + 1]), state)[:, -1]
        assert torch.equal(state[0], at_once[t])


def test_categories_that_are_all_seen_are_the_same_without_a_search():
    x, mask = np.random.default_rng(0).integers(0, 3, (9, 2)).astype(np.float32), np.ones((9, 2), bool)
    found = [
        LastValues([], None, [0, 1], [3, 2], all_seen=seen)(batch(x, mask), torch.zeros(1, 2)) for seen in (True, False)
    ]
    assert torch.equal(*found)


def test_logits_fall_with_the_distance_from_the_last_category():
    last = LastValues([], None, [0, 1], [3, 3])
    network = WithLast(linear(4, 6, GENERATOR), last, 6, [{0: 0, 1: 1, 2: 2}, {0: 3, 1: 4, 2: 5}], [True, False])
    v = torch.tensor([[0.3, -1.0, 1.0, 0.0]])  # the last categories are 2, and 1
    plain = network(v)
    assert torch.equal(plain, network.network(v))
    with torch.no_grad():
        network.nearness.copy_(torch.tensor([[0.5, 0.25], [1.0, 9.0], [0.1, 9.0]]))
    added = (network(v) - plain).detach()
    assert added[0] == pytest.approx([-2.4, -1.1, 0.5, 0, 0.25, 0], abs=1e-6)  # the second has no order
    nothing = torch.cat([v[:, :2], last.start()[None]], 1)
    assert torch.equal(network(nothing), network.network(nothing))


def test_one_jump_of_a_level_does_not_decide():
    network = WithLast(
        linear(1, 200, GENERATOR), LastValues([], None, [0], [200]), 200, [dict(enumerate(range(200)))], [True]
    )
    with torch.no_grad():
        network.nearness.copy_(torch.tensor([[0.0], [1.0], [0.5]]))
    v = torch.tensor([[-1.0]])
    added = (network(v) - network.network(v))[0].detach()
    assert added[5] == pytest.approx(-5 - 12.5)
    assert added.min() > -70  # of a Gaussian they would be -20000


def test_a_level_that_changes_little_is_predicted_by_the_last_one():
    rng, levels = np.random.default_rng(0), 60
    walks = np.clip(rng.integers(0, levels, (60, 1)) + np.cumsum(rng.choice([-1, 0, 1], (60, 50)), 1), 0, levels - 1)
    frames = [pd.DataFrame({"level": walk.astype(float)}) for walk in walks]
    options = {"optimizer": Adam(0.02), "max_epochs": 20, "early_stopping": False, "random_state": 0}
    model = RecurrentVAE(0, hidden_size=8, columns={"level": "ordinal"}, **options).fit(frames[:45])
    later = np.concatenate([steps[1:] for steps in model.score_steps(frames[45:])])
    assert -later.mean() < np.log(3) + 0.4  # the entropy of a step is log 3 at most
